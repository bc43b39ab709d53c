"""What the numbers of a plan come to, in sentences that a person can act upon.

99.9 % of the tokens in the rows are real: 1,325 rows, and no packing takes fewer than 1,324.
First-fit decreasing is within 1 row (0.08 %) of what any packing needs: optimal is not worth it here.
"""

from collections.abc import Iterator, Mapping

from pipeline.core.concatenation import CONCATENATE
from pipeline.core.pieces import Overlong
from pipeline.core.row_order import RowOrder
from pipeline.formats.clusters import TRAIN
from pipeline.formats.corpus_summary import share
from pipeline.formats.plan import NOT_DRAWN, OVERLONG, SPLITS
from pipeline.formats.plan_statistics import PlanStatistics, RankSpread
from pipeline.formats.report_words import counted, listed, percent

FIRST_FIT, BEST_FIT, OPTIMAL, PAD = "first-fit-decreasing", "best-fit-decreasing", "optimal", "pad"

ALGORITHM_NAMES = {
    FIRST_FIT: "first-fit decreasing",
    BEST_FIT: "best-fit decreasing",
    OPTIMAL: "optimal packing",
    CONCATENATE: "concatenation",
    PAD: "one protein a row",
}
"""What people call the algorithms."""

POLICY_NAMES: dict[str, str] = {
    Overlong.CROP_START: "cropped to their first residues",
    Overlong.CROP_RANDOM: "cropped from a random start on",
    Overlong.WINDOWS: "cut into windows",
    Overlong.DROP: "left out",
}
"""What the over-length policies do."""

TOKEN_NAMES = {
    "residues": "residues",
    "special": "special tokens",
    "aligning": "padding between aligned segments",
    "padding": "padding at the end of rows",
}
"""What the tokens of rows are."""

RUN_ON_NOTE = "it does not hold for concatenation, which loses no residue and cuts proteins where rows end"
"""What to know where concatenation is compared with packing."""

WORTH_IT = 0.005
"""Share of the rows from which on it is worth saving them."""


def sentences(
    statistics: PlanStatistics, counts: Mapping[str, int], *, algorithm: str, policy: str, order: str, row_length: int
) -> Iterator[str]:
    """What there is to say, most important first.

    Args:
        statistics: Of all parts.
        counts: Of the plan's manifest.
        algorithm: That made the rows.
        policy: For records longer than a row.
        order: Of the rows.
        row_length: Tokens a row holds.
    """
    yield _fullness(counts, row_length, statistics.lower_bound)
    if algorithm == CONCATENATE:
        yield _divided(statistics, counts)
    else:
        yield _padding(statistics, counts, algorithm, row_length)
        yield _others(statistics, algorithm)
        yield _overlong(statistics, counts, policy)
    yield from _waiting(statistics.spreads, order)


def splits_sentence(counts: Mapping[str, int], reasons: Mapping[str, int]) -> Iterator[str]:
    """What became of the proteins by their clusters; nothing where there are none.

    Args:
        counts: Of the plan's manifest.
        reasons: Of the plan's manifest.
    """
    if f"records_{TRAIN}" not in counts:
        return
    splits = [
        f"{split} has {counted(number, 'protein')} in {counted(counts[f'rows_{split}'], 'row')}"
        for split in SPLITS
        if (number := counts[f"records_{split}"])
    ]
    excluded = sum(number for reason, number in reasons.items() if reason not in {NOT_DRAWN, OVERLONG})
    left_out = [
        *([f"{reasons[NOT_DRAWN]:,} of train are not drawn in this epoch"] if reasons[NOT_DRAWN] else []),
        *([f"{excluded:,} are excluded by the clusters"] if excluded else []),
    ]
    yield f"By clusters {listed(splits)}{f'; {listed(left_out)}' if left_out else ''}."


def _fullness(counts: Mapping[str, int], row_length: int, bound: int) -> str:
    rows = counts["rows"]
    full = fullness(share(counts["tokens"], rows * row_length))
    least = "no packing takes fewer" + (f" than {bound:,}" if bound < rows else "")
    return f"{full} of the tokens in the rows are real: {counted(rows, 'row')} of {row_length:,}, and {least}."


def fullness(fraction: float) -> str:
    """A share in per cent where the second digit behind the point matters; 100 % only of all."""
    return "> 99.99 %" if 0.99995 <= fraction < 1 else f"{100 * fraction:.2f} %"


def _divided(statistics: PlanStatistics, counts: Mapping[str, int]) -> str:
    divided = percent(share(statistics.records_divided, counts["records"]))
    return (
        f"Proteins run on from row to row: {counted(statistics.records_divided, 'protein')} ({divided}) have residues "
        "in several rows, and none loses any."
    )


def _padding(statistics: PlanStatistics, counts: Mapping[str, int], algorithm: str, row_length: int) -> str:
    if algorithm == PAD:
        fewest = statistics.rows[FIRST_FIT]
        return f"First-fit decreasing would take {counted(fewest, 'row')}, {counts['rows'] / fewest:.2f} times fewer."
    padded = statistics.rows[PAD]
    padding = percent(1 - share(counts["tokens"], padded * row_length))
    return (
        f"With one protein a row it would be {counted(padded, 'row')}, {padded / counts['rows']:.2f} times as many, "
        f"and {padding} of their tokens padding."
    )


def _others(statistics: PlanStatistics, algorithm: str) -> str:
    """Whether another algorithm would help, and how much at most."""
    rows, bound = statistics.rows, statistics.lower_bound
    if algorithm == OPTIMAL:
        return _worth_of_optimal(rows[FIRST_FIT], rows[OPTIMAL])
    named, mine = (FIRST_FIT, rows[FIRST_FIT]) if algorithm == PAD else (algorithm, rows[algorithm])
    if mine == bound:
        return f"{_capitalised(named)} takes as few rows as any packing can: no other algorithm would help."
    other = BEST_FIT if named == FIRST_FIT else FIRST_FIT
    saved = mine - rows[other]
    told = f"; {ALGORITHM_NAMES[other]} would save {_rows(saved, mine)}" if saved > 0 else ""
    if (mine - bound) / mine < WORTH_IT:
        return (
            f"{_capitalised(named)} is within {_rows(mine - bound, mine)} of what any packing needs: optimal is not "
            f"worth it here{told}."
        )
    most = _rows(mine - bound, mine)
    return f"Optimal packing would save at most {most}: --algorithm optimal may be worth it here{told}."


def _worth_of_optimal(first_fit: int, optimal: int) -> str:
    saved = first_fit - optimal
    if saved <= 0:
        return f"First-fit decreasing would take {counted(first_fit, 'row')}, too: optimal is not worth it here."
    verdict = "was worth it" if saved / first_fit >= WORTH_IT else "is hardly worth it"
    return f"Optimal packing saves {_rows(saved, first_fit)} of first-fit decreasing's: it {verdict} here."


def _rows(number: int, of: int) -> str:
    return f"{counted(number, 'row')} ({percent(share(number, of))})"


def _capitalised(algorithm: str) -> str:
    name = ALGORITHM_NAMES[algorithm]
    return name[0].upper() + name[1:]


def _overlong(statistics: PlanStatistics, counts: Mapping[str, int], policy: str) -> str:
    longer = statistics.records_longer
    if not longer:
        return "Every protein fits a row: no over-length policy applies."
    outcome = statistics.policies[policy]
    lost = f"{counted(outcome.residues_lost, 'residue')} ({percent(share(outcome.residues_lost, counts['residues']))})"
    more = counted(outcome.segments - counts["records"], "segment")
    told = {
        Overlong.WINDOWS: f"cut into windows they are {more} more, and lose nothing",
        Overlong.DROP: f"they are left out, with {lost}",
    }.get(Overlong(policy), f"cropping them loses {lost}")
    return f"{counted(longer, 'protein')} ({percent(share(longer, counts['records']))}) do not fit a row: {told}."


def _waiting(spreads: tuple[RankSpread, ...], order: str) -> Iterator[str]:
    mine = next((spread for spread in spreads if spread.order == order), None)
    if mine is None:
        return
    other = next((spread for spread in spreads if spread.order != order and _ranks(spread) == _ranks(mine)), None)
    compared = f"; in {other.order} order {percent(other.mean - 1)}" if other else ""
    yield (
        f"Of {mine.world_size} ranks that take {mine.rows_per_rank} rows each, as they are stored, the slowest has "
        f"{percent(mine.mean - 1)} more attention to compute than the mean one{compared}."
    )


def _ranks(spread: RankSpread) -> tuple[int, int]:
    return spread.world_size, spread.rows_per_rank


def other_order(order: str) -> RowOrder:
    """The order to compare one with."""
    return RowOrder.RANDOM if order == RowOrder.BALANCED else RowOrder.BALANCED
