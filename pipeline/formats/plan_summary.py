"""What the statistics of a plan come to: the numbers that people ask for, and ``report.json`` that holds both.

::

    report.json    format_version, fingerprint of the plan, summary (this module), statistics (the counts)

A plan can be made again without its report and a report from its corpus: neither is part of the other's fingerprint.
"""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.core.concatenation import CONCATENATE
from pipeline.core.tokenizer import Tokenizer
from pipeline.formats.corpus_summary import QUANTILES, quantile, share
from pipeline.formats.manifest import Manifest
from pipeline.formats.plan_statistics import PlanStatistics
from pipeline.formats.plan_words import ALGORITHM_NAMES, other_order, sentences, splits_sentence
from pipeline.formats.report_file import load_report, make_report
from pipeline.formats.report_tables import grouped
from pipeline.formats.report_words import percent

MOST_GROUPS = 16
"""Groups of rows by how many segments they hold, those of a few that hold very many left out."""

_NEARLY_ALL = 0.99


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class AlgorithmRows(_Model):
    """Rows that an algorithm needs for these proteins."""

    name: str
    """The algorithm."""
    rows: int
    """Rows."""
    share_real: float
    """Tokens that are no padding, as a share of all."""
    is_chosen: bool
    """Whether the plan was made by it."""


class PolicyLoss(_Model):
    """What an over-length policy loses, or makes, of all proteins."""

    name: str
    """The policy."""
    residues_lost: int
    """Residues that are in no segment."""
    share_lost: float
    """The same as a share of all residues."""
    records_dropped: int
    """Proteins that are left out."""
    segments_more: int
    """Segments beyond one for each protein that is kept."""
    is_chosen: bool
    """Whether the plan was made with it."""


class RankWait(_Model):
    """How much longer the slowest rank computes than the mean one, in steps of one size."""

    world_size: int
    """Ranks."""
    rows_per_rank: int
    """Rows that each takes in a step, as they are stored."""
    num_steps: int
    """Whole steps that the rows make."""
    excess: dict[str, float]
    """Attention cost of the slowest rank over that of the mean one, less 1, by order of the rows."""


class PlanSummary(_Model):
    """The numbers that people ask for."""

    sentences: tuple[str, ...]
    """What they come to."""
    algorithm: str
    """What made the rows."""
    order: str
    """How they follow each other."""
    row_length: int
    """Tokens in a row."""
    max_residues: int
    """Residues of the longest protein that fits a row whole."""
    num_rows: int
    """Rows."""
    rows_lower_bound: int
    """Rows that no packing can do without, as far as was proven."""
    num_segments: int
    """Segments."""
    segments_per_row: float
    """Segments in a row on average."""
    tokens: dict[str, int]
    """Tokens of all rows: residues, special, aligning and padding."""
    quantiles: dict[str, int]
    """Tokens of a segment by quantile: 0.5 is the median."""
    algorithms: tuple[AlgorithmRows, ...]
    """Fewest rows first."""
    records_divided: int
    """Proteins with residues in more than one segment."""
    records_longer: int
    """Proteins that are longer than fits a row."""
    policies: tuple[PolicyLoss, ...]
    """By what they lose, the least first; none where records run on from row to row."""
    waits: tuple[RankWait, ...]
    """For some numbers of ranks and rows."""

    @property
    def share_real(self) -> float:
        """Tokens that are no padding, as a share of all."""
        return share(self.tokens["residues"] + self.tokens["special"], self.num_rows * self.row_length)

    @property
    def orders(self) -> tuple[str, str]:
        """The order of the rows, and the one that it is compared with."""
        return self.order, other_order(self.order).value


def summarise(manifest: Manifest, statistics: PlanStatistics) -> PlanSummary:
    """The summary of a plan.

    Args:
        manifest: Of the plan.
        statistics: Of all its parts.
    """
    configuration, counts = manifest.configuration, manifest.counts
    row_length, names = configuration["length"], {name: configuration[name] for name in ("algorithm", "order")}
    told = sentences(statistics, counts, policy=configuration["overlong"], row_length=row_length, **names)
    return PlanSummary(
        sentences=(*told, *splits_sentence(counts, manifest.reasons)),
        **names,
        row_length=row_length,
        max_residues=Tokenizer.from_document(configuration["tokenizer"]).max_residues(row_length),
        num_rows=counts["rows"],
        rows_lower_bound=statistics.lower_bound,
        num_segments=counts["segments"],
        segments_per_row=share(counts["segments"], counts["rows"]),
        tokens=_tokens(manifest),
        quantiles={str(q): quantile(statistics.segment_tokens, q) for q in QUANTILES},
        algorithms=_algorithms(manifest, statistics),
        records_divided=statistics.records_divided,
        records_longer=statistics.records_longer,
        policies=_policies(manifest, statistics),
        waits=_waits(statistics),
    )


def _tokens(manifest: Manifest) -> dict[str, int]:
    counts = manifest.counts
    aligning = counts["tokens_aligned"] - counts["tokens"]
    return {
        "residues": counts["residues_packed"],
        "special": counts["tokens"] - counts["residues_packed"],
        "aligning": aligning,
        "padding": counts["tokens_padding"] - aligning,
    }


def _algorithms(manifest: Manifest, statistics: PlanStatistics) -> tuple[AlgorithmRows, ...]:
    counts, configuration = manifest.counts, manifest.configuration
    # Records that run on are whole, with one separator each, whatever the policy for longer ones.
    run_on = counts["residues"] + counts["records"]
    names = list(ALGORITHM_NAMES)
    algorithms = (
        AlgorithmRows(
            name=name,
            rows=rows,
            share_real=share(run_on if name == CONCATENATE else counts["tokens"], rows * configuration["length"]),
            is_chosen=name == configuration["algorithm"],
        )
        for name, rows in statistics.rows.items()
    )
    return tuple(
        sorted(algorithms, key=lambda algorithm: (algorithm.rows, not algorithm.is_chosen, names.index(algorithm.name)))
    )


def _policies(manifest: Manifest, statistics: PlanStatistics) -> tuple[PolicyLoss, ...]:
    counts = manifest.counts
    losses = (
        PolicyLoss(
            name=name,
            residues_lost=outcome.residues_lost,
            share_lost=share(outcome.residues_lost, counts["residues"]),
            records_dropped=outcome.records_dropped,
            segments_more=outcome.segments + outcome.records_dropped - counts["records"],
            is_chosen=name == manifest.configuration["overlong"],
        )
        for name, outcome in statistics.policies.items()
    )
    return tuple(sorted(losses, key=lambda loss: loss.residues_lost))


def _waits(statistics: PlanStatistics) -> tuple[RankWait, ...]:
    steps = {(spread.world_size, spread.rows_per_rank): spread.num_steps for spread in statistics.spreads}
    return tuple(
        RankWait(
            world_size=world_size,
            rows_per_rank=rows_per_rank,
            num_steps=num_steps,
            excess={
                spread.order: spread.mean - 1
                for spread in statistics.spreads
                if (spread.world_size, spread.rows_per_rank) == (world_size, rows_per_rank)
            },
        )
        for (world_size, rows_per_rank), num_steps in sorted(steps.items())
    )


def against(algorithm: AlgorithmRows, summary: PlanSummary) -> tuple[str, str, str, str]:
    """What an algorithm is called, its rows, those over the lower bound, and how many more than the plan has."""
    over = "-" if algorithm.name == CONCATENATE else f"{algorithm.rows - summary.rows_lower_bound:,}"
    more = algorithm.rows - summary.num_rows
    difference = f"{'-' if more < 0 else '+'}{percent(share(abs(more), summary.num_rows))}"
    return ALGORITHM_NAMES[algorithm.name], f"{algorithm.rows:,}", over, difference if more else "same"


def even_groups(counts: Mapping[int, int]) -> dict[tuple[int, int], int]:
    """How often values occur in a few ranges of equal, round width; the last one takes the rest.

    Args:
        counts: How often each value occurs; values from 1, at least one.

    Returns:
        By first and last value of the range.
    """
    nearly_all = quantile(counts, _NEARLY_ALL)
    steps = (step * 10**power for power in count() for step in (1, 2, 5))
    width = next(step for step in steps if step * MOST_GROUPS >= nearly_all)
    return grouped(counts, range(1, nearly_all + width + 1, width))


def report_document(manifest: Manifest, statistics: PlanStatistics) -> dict[str, Any]:
    """What ``report.json`` holds.

    Args:
        manifest: Of the plan.
        statistics: Of all its parts.
    """
    return make_report(manifest.fingerprint, summarise(manifest, statistics), statistics)


def read_report(path: Path) -> tuple[PlanSummary, PlanStatistics]:
    """What the ``report.json`` of a plan holds.

    Raises:
        ArtefactError: The file cannot be read or is no report.
    """
    return load_report(path, "plan", PlanSummary, PlanStatistics)
