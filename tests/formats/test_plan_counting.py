"""What a part counts, against loops over segments and rows."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.packing import ALGORITHMS, length_histogram, pack
from pipeline.core.pieces import Overlong, cut
from pipeline.core.row_order import RowOrder, rank_spread
from pipeline.formats.corpus_statistics import bin_edges
from pipeline.formats.plan_counting import (
    RANKS,
    attention_cost,
    count_overlong,
    count_rows,
    count_segments,
    rank_spreads,
)
from pipeline.formats.plan_statistics import MILLION, PlanStatistics

ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=5), max_size=20
)


def arrays(rows):
    """Row, record, residues and tokens of each segment."""
    flat = [
        (row, record, residues, residues + more)
        for row, segments in enumerate(rows)
        for record, residues, more in segments
    ]
    return [np.array(column, dtype=np.uint32) for column in (zip(*flat, strict=True) if flat else [[]] * 4)]


@given(ROWS)
def test_histograms_are_of_the_segments(rows):
    row, record, residues, tokens = arrays(rows)
    counted = count_segments(row=row, record=record, residues=residues, tokens=tokens)
    assert counted.segment_tokens == Counter(tokens.tolist())
    assert counted.segments_per_row == Counter(len(segments) for segments in rows)
    of_record = Counter(name for segments in rows for name, length, _ in segments if length)
    assert counted.records_divided == sum(number > 1 for number in of_record.values())


def test_many_tokens_are_binned():
    tokens = np.array([4_095, 4_096, 4_100, 4_160, 70_001])
    counted = count_segments(row=np.zeros(5, dtype=np.uint32), record=np.arange(5), residues=tokens, tokens=tokens)
    assert counted.segment_tokens == Counter(bin_edges(tokens).tolist())
    assert counted.segment_tokens == {4_095: 1, 4_096: 2, 4_160: 1, 69_632: 1}


def test_a_part_without_rows_counts_nothing():
    none = np.array([], dtype=np.uint32)
    assert count_segments(row=none, record=none, residues=none, tokens=none) == PlanStatistics()
    assert rank_spreads(attention_cost(none, none), order=RowOrder.RANDOM, others=(RowOrder.BALANCED,), seed=0) == ()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 5), st.sampled_from([*ALGORITHMS]))
def test_rows_of_others_are_those_that_they_would_make(lengths, max_segments, chosen):
    lengths = np.array(lengths)
    histogram = length_histogram(lengths + 2, 42)
    rows = count_rows(histogram, 42, max_segments, lengths=lengths, known={chosen: 12_345})
    assert rows.pop(chosen) == 12_345
    assert rows.pop("concatenate") == -(-int((lengths + 1).sum()) // 42)
    assert rows.keys() == ALGORITHMS.keys() - {chosen}
    for name, number in rows.items():
        assert number == pack(lengths + 2, 42, algorithm=name, max_segments=max_segments).num_rows


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 30))
def test_policies_come_to_what_cutting_by_them_comes_to(lengths, max_residues):
    lengths = np.array(lengths, dtype=np.uint32)
    counted = count_overlong(lengths, max_residues)
    assert counted.records_longer == sum(length > max_residues for length in lengths.tolist())
    assert counted.policies.keys() == set(Overlong)
    keys = np.arange(len(lengths), dtype=np.uint64)
    for policy, outcome in counted.policies.items():
        pieces = cut(lengths, max_residues=max_residues, policy=policy, record_keys=keys, seed=5)
        assert outcome.segments == len(pieces.record)
        assert outcome.residues_lost == pieces.counts.residues_lost == int(lengths.sum()) - int(pieces.length.sum())
        assert outcome.records_dropped == len(lengths) - len(set(pieces.record.tolist()))


@given(ROWS)
def test_attention_costs_the_squares(rows):
    row, _, _, tokens = arrays(rows)
    expected = [sum((residues + more) ** 2 for _, residues, more in segments) for segments in rows]
    assert attention_cost(row, tokens).tolist() == expected


def test_attention_cost_of_the_longest_row_is_exact():
    most = (1 << 20) - 1
    assert attention_cost(np.zeros(1, dtype=np.uint32), np.array([most])).tolist() == [most**2]


@pytest.mark.parametrize("order", RowOrder)
def test_ranks_are_told_for_the_rows_as_stored_and_in_another_order(order):
    cost = np.random.default_rng(0).integers(1, 1_000_000, 3_000)
    other = next(name for name in RowOrder if name is not order)
    spreads = rank_spreads(cost, order=order, others=(other,), seed=3)
    assert {(spread.order, spread.world_size, spread.rows_per_rank) for spread in spreads} == {
        (name.value, *ranks) for name in (order, other) for ranks in RANKS
    }
    for spread in spreads:
        size, rows = spread.world_size, spread.rows_per_rank
        assert spread.num_steps == 3_000 // (size * rows)
        if spread.order == order:
            assert spread.mean == pytest.approx(rank_spread(cost, world_size=size, rows_per_rank=rows), abs=1 / MILLION)
    means = {spread.order: spread.mean for spread in spreads if (spread.world_size, spread.rows_per_rank) == (8, 8)}
    if order is RowOrder.RANDOM:
        assert means["balanced"] - 1 < 0.5 * (means["random"] - 1)


def test_ranks_for_which_there_are_too_few_rows_are_left_out():
    spreads = rank_spreads(np.ones(300, dtype=np.int64), order=RowOrder.RANDOM, others=(), seed=0)
    assert [(spread.world_size, spread.rows_per_rank, spread.mean) for spread in spreads] == [(8, 8, 1), (8, 32, 1)]
