"""What one part of a plan adds to the statistics of all: histograms, and how else its records could have been packed.

Other algorithms are run on the histogram of lengths alone, which says how many rows they need but places nothing; the
over-length policies on the records that are too long; the other order of rows on what attention costs in each.

Cost, one core: 33 ms for a part of 250,000 records in rows of 1,024, and 75 ms in rows of 8,192; half of it or more for
the other algorithms.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from pipeline.core.concatenation import CONCATENATE
from pipeline.core.packing import ALGORITHMS
from pipeline.core.pieces import Overlong, cut
from pipeline.core.row_order import RowOrder, balanced_order, random_order, rank_spread
from pipeline.formats.corpus_statistics import bin_edges
from pipeline.formats.plan_statistics import MILLION, PlanStatistics, PolicyOutcome, RankSpread

IntArray = npt.NDArray[np.integer]
Int64Array = npt.NDArray[np.int64]

RANKS = ((8, 8), (8, 32), (64, 8))
"""World size and rows a rank for which the spread is told."""


def count_segments(*, row: IntArray, record: IntArray, residues: IntArray, tokens: IntArray) -> PlanStatistics:
    """Histograms of the segments of a part.

    Args:
        row: Integers [segments], the row of each, from 0 and dense.
        record: Integers [segments], the record of each.
        residues: Integers [segments], of each.
        tokens: Integers [segments], of each, with special tokens.
    """
    in_how_many = np.bincount(record[residues > 0])
    return PlanStatistics(
        segment_tokens=_binned(np.bincount(tokens)),
        segments_per_row=_binned(np.bincount(np.bincount(row))),
        records_divided=int(np.count_nonzero(in_how_many > 1)),
    )


def _binned(counts: Int64Array) -> dict[int, int]:
    """Numbers by bin, from how often each value occurs."""
    values = np.flatnonzero(counts)
    edges, firsts = np.unique(bin_edges(values), return_index=True)
    numbers = np.add.reduceat(counts[values], firsts) if len(values) else counts
    return dict(zip(edges.tolist(), numbers.tolist(), strict=True)) if len(values) else {}


def count_rows(
    histogram: Int64Array, capacity: int, max_segments: int, *, lengths: IntArray, known: Mapping[str, int]
) -> dict[str, int]:
    """Rows by algorithm: those that are known, and those that others would need.

    Args:
        histogram: int64 [capacity + 1], segments by what they occupy of a row.
        capacity: Tokens a row holds.
        max_segments: Most segments a row may hold.
        lengths: Integers [records], residues: whole records run on with one separator each where concatenated.
        known: Rows of algorithms that need not be run.
    """
    residues = int(lengths.sum(dtype=np.int64))
    rows = {CONCATENATE: -(-(residues + len(lengths)) // capacity)} | dict(known)
    for name, fill_bins in ALGORITHMS.items():
        if name not in rows:
            rows[name] = fill_bins(histogram, capacity, max_segments).total_bins
    return rows


def count_overlong(lengths: IntArray, max_residues: int) -> PlanStatistics:
    """Records that are longer than a row, and what each over-length policy would make of them.

    Args:
        lengths: Integers [records], residues.
        max_residues: Residues that fit a row.
    """
    longer = lengths[lengths > max_residues]
    # How much a crop loses does not depend on where it starts.
    keys = np.zeros(len(longer), dtype=np.uint64)
    policies = {}
    for policy in Overlong:
        pieces = cut(longer, max_residues=max_residues, policy=policy, record_keys=keys, seed=0)
        policies[policy.value] = PolicyOutcome(
            segments=len(lengths) - len(longer) + len(pieces.record),
            residues_lost=pieces.counts.residues_lost,
            records_dropped=pieces.counts.records_dropped,
        )
    return PlanStatistics(records_longer=len(longer), policies=policies)


def attention_cost(row: IntArray, occupied: IntArray) -> Int64Array:
    """Sum of the squared lengths in each row: int64 [rows].

    Args:
        row: Integers [segments], the row of each, from 0 and dense.
        occupied: Integers [segments], tokens of each, rounded up to the alignment.
    """
    squares = occupied.astype(np.float64) ** 2  # exact: a row costs at most 2^40
    return np.bincount(row, weights=squares).astype(np.int64)


def rank_spreads(cost: Int64Array, *, order: RowOrder, others: Iterable[RowOrder], seed: int) -> tuple[RankSpread, ...]:
    """How long ranks wait for each other in the order of the rows, and how long in others.

    Args:
        cost: int64 [rows], of attention, as the rows are stored.
        order: Their order.
        others: Orders to compare it with.
        seed: Of those.
    """
    stored = {order: cost} | {other: _reordered(cost, other, seed) for other in others}
    return tuple(
        RankSpread(
            order=name.value,
            world_size=world_size,
            rows_per_rank=rows_per_rank,
            num_steps=num_steps,
            total=round(rank_spread(costs, world_size=world_size, rows_per_rank=rows_per_rank) * num_steps * MILLION),
        )
        for name, costs in stored.items()
        for world_size, rows_per_rank in RANKS
        if (num_steps := len(cost) // (world_size * rows_per_rank))
    )


def _reordered(cost: Int64Array, order: RowOrder, seed: int) -> Int64Array:
    number = balanced_order(cost, seed) if order is RowOrder.BALANCED else random_order(len(cost), seed)
    reordered = np.empty_like(cost)
    reordered[number] = cost
    return reordered
