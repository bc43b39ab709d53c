"""What a plan looks like, in numbers that add up: gathered part by part, merged in any order.

::

    part 0 ──▶ PlanStatistics ┐
    part 1 ──▶ PlanStatistics ┼──▶ merge ──▶ report.json, the report page, `pipeline inspect`
    part 2 ──▶ PlanStatistics ┘

Merging is associative and commutative, and no statistics are its neutral element. Everything is an integer, so that
this holds to the last digit: the spread of the ranks is kept as its sum over steps, in millionths. Histograms are exact
up to 4,096; above, they are binned as lengths are in the statistics of a corpus.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

MILLION = 1_000_000


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PolicyOutcome(_Model):
    """What an over-length policy would make of all records."""

    segments: int = 0
    """Segments in all."""
    residues_lost: int = 0
    """Residues that would be in no segment."""
    records_dropped: int = 0
    """Records without a segment."""

    def __add__(self, other: "PolicyOutcome") -> "PolicyOutcome":
        return PolicyOutcome(
            segments=self.segments + other.segments,
            residues_lost=self.residues_lost + other.residues_lost,
            records_dropped=self.records_dropped + other.records_dropped,
        )


class RankSpread(_Model):
    """How long ranks wait for the slowest one, where rows are read in the order in which they are stored."""

    order: str
    """Order of rows."""
    world_size: int
    """Ranks."""
    rows_per_rank: int
    """Rows that each takes in a step."""
    num_steps: int
    """Whole steps that the rows make."""
    total: int
    """The slowest rank's attention cost as a multiple of the mean rank's, summed over steps, in millionths."""

    @property
    def mean(self) -> float:
        """Mean over steps of the slowest rank's cost divided by that of the mean rank: at least 1."""
        return self.total / (MILLION * self.num_steps)


class PlanStatistics(_Model):
    """Counts over the rows of some parts."""

    segment_tokens: dict[int, int] = {}
    """Segments by their tokens, special ones included; above 4,096 by bin."""
    segments_per_row: dict[int, int] = {}
    """Rows by how many segments they hold; above 4,096 by bin."""
    rows: dict[str, int] = {}
    """Rows by algorithm: those of the plan, and what others would need for the same segments."""
    lower_bound: int = 0
    """Rows that no packing of the segments can do without, as far as was proven."""
    records_divided: int = 0
    """Records with residues in more than one segment."""
    records_longer: int = 0
    """Records that have more residues than fit a row."""
    policies: dict[str, PolicyOutcome] = {}
    """What each over-length policy would come to, by its name."""
    spreads: tuple[RankSpread, ...] = ()
    """By order, world size and rows a rank; those that do not make a step are left out."""

    def __add__(self, other: "PlanStatistics") -> "PlanStatistics":
        return merge((self, other))


def merge(many: Iterable[PlanStatistics]) -> PlanStatistics:
    """The statistics of all parts together; one at a time is held beside the sum."""
    counters: dict[str, Counter[Any]] = {name: Counter() for name in _COUNTERS}
    numbers: Counter[str] = Counter()
    policies: dict[str, PolicyOutcome] = {}
    steps: Counter[tuple[str, int, int]] = Counter()
    totals: Counter[tuple[str, int, int]] = Counter()
    for one in many:
        for name, counter in counters.items():
            counter.update(getattr(one, name))
        numbers.update({name: getattr(one, name) for name in _NUMBERS})
        for policy, outcome in one.policies.items():
            policies[policy] = policies.get(policy, PolicyOutcome()) + outcome
        for spread in one.spreads:
            key = (spread.order, spread.world_size, spread.rows_per_rank)
            steps[key] += spread.num_steps
            totals[key] += spread.total
    return PlanStatistics(
        **{name: _sorted(counter) for name, counter in counters.items()},
        policies=_sorted(policies),
        spreads=tuple(
            RankSpread(
                order=order, world_size=size, rows_per_rank=rows, num_steps=number, total=totals[order, size, rows]
            )
            for (order, size, rows), number in sorted(steps.items())
        ),
        **numbers,
    )


_COUNTERS = ("segment_tokens", "segments_per_row", "rows")
_NUMBERS = ("lower_bound", "records_divided", "records_longer")


def _sorted(items: Mapping[Any, Any]) -> dict[Any, Any]:
    return dict(sorted(items.items()))
