"""Row order: a permutation, equal work for neighbours when balanced, and nothing that says more than that."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core.bins import first_fit_decreasing
from pipeline.core.packing import length_histogram, pack
from pipeline.core.row_order import (
    NUM_CLASSES,
    RowOrder,
    attention_cost,
    balanced_order,
    length_order,
    random_order,
    rank_spread,
)
from pipeline.errors import ConfigurationError

costs = st.lists(st.integers(0, 2**40), max_size=300).map(lambda cost: np.array(cost, dtype=np.int64))
seeds = st.integers(-(2**70), 2**70)


def protein_costs(num_records=400_000, capacity=1024):
    rng = np.random.default_rng(5)
    lengths = np.clip(rng.lognormal(5.2, 0.85, num_records), 11, capacity - 2).astype(np.int64) + 2
    return attention_cost(first_fit_decreasing(length_histogram(lengths, capacity), capacity, 32_767))


def in_order(cost, number):
    ordered = np.empty_like(cost)
    ordered[number] = cost
    return ordered


@pytest.fixture(scope="module")
def proteins():
    return protein_costs()


@given(costs, seeds)
def test_both_orders_are_permutations(cost, seed):
    for number in (balanced_order(cost, seed), random_order(len(cost), seed)):
        assert number.dtype == np.uint32
        assert sorted(number.tolist()) == list(range(len(cost)))


@given(st.integers(1, 700), seeds)
def test_every_aligned_power_of_two_of_rows_holds_one_of_each_class(num_rows, seed):
    """With costs 0 … n − 1 the class of a row among k is cost · k div n."""
    ordered = in_order(np.arange(num_rows), balanced_order(np.arange(num_rows), seed))
    cost_class = ordered * NUM_CLASSES // num_rows
    for size in (2, 4, 8, 16, 32, 64):
        whole = cost_class[: num_rows // NUM_CLASSES * NUM_CLASSES].reshape(-1, size)
        wider = np.sort(whole * size // NUM_CLASSES, axis=1)
        assert_array_equal(wider, np.broadcast_to(np.arange(size), wider.shape))
    assert len(set(cost_class[num_rows // NUM_CLASSES * NUM_CLASSES :].tolist())) == num_rows % NUM_CLASSES


@given(st.lists(st.integers(1, 40), max_size=100))
def test_attention_cost_by_hand(lengths):
    histogram = length_histogram(np.array(lengths, dtype=np.int64), 40)
    fills = first_fit_decreasing(histogram, 40, 4)
    expected = [0] * fills.total_bins
    for length, first, bins, each in zip(fills.length, fills.first_bin, fills.num_bins, fills.per_bin, strict=True):
        for number in range(first, first + bins):
            expected[number] += each * length**2
    assert attention_cost(fills).tolist() == expected


def test_balanced_rows_are_the_rows_of_the_packing_in_another_order():
    lengths = np.random.default_rng(2).integers(1, 900, 5000)
    placements = [pack(lengths, 1024, seed=4, order=order) for order in RowOrder]
    rows = [
        sorted(tuple(sorted(lengths[part].tolist())) for part in np.split(placement.order, placement.row_offsets[1:-1]))
        for placement in placements
    ]
    assert rows[0] == rows[1]
    assert placements[0].order.tolist() != placements[1].order.tolist()


def test_placements_are_balanced_when_asked():
    lengths = np.random.default_rng(3).integers(1, 900, 60_000)
    spread = {}
    for order in RowOrder:
        placement = pack(lengths, 1024, seed=4, order=order)
        cost = np.add.reduceat(lengths[placement.order] ** 2, placement.row_offsets[:-1])
        spread[order] = rank_spread(cost, world_size=16, rows_per_rank=16)
    assert spread["balanced"] - 1 < 0.4 * (spread["random"] - 1)


@pytest.mark.parametrize("world_size", [8, 64, 512])
@pytest.mark.parametrize("rows_per_rank", [16, 32, 64])
def test_no_rank_waits_long(proteins, world_size, rows_per_rank):
    spreads = [
        rank_spread(in_order(proteins, number), world_size=world_size, rows_per_rank=rows_per_rank)
        for number in (random_order(len(proteins), 1), balanced_order(proteins, 1))
    ]
    assert spreads[1] - 1 < 0.3 * (spreads[0] - 1), spreads


def test_rank_spread_by_hand():
    cost = np.array([1, 1, 3, 3, 2, 2, 2, 2, 100])
    assert rank_spread(cost, world_size=2, rows_per_rank=2) == pytest.approx((6 / 4 + 1) / 2)
    assert rank_spread(cost, world_size=4, rows_per_rank=2) == pytest.approx(6 / 4)
    assert np.isnan(rank_spread(cost, world_size=5, rows_per_rank=2))


def test_within_balance_everything_is_chance():
    """Where a class stands among 64 rows, and which row of a class comes first, follow nothing."""
    num_rows = 64 * 3000
    ordered = in_order(np.arange(num_rows), balanced_order(np.arange(num_rows), 9)).reshape(-1, 64)
    cost_class, rank_in_class = ordered // 3000, ordered % 3000
    counts = np.zeros((64, 64))
    np.add.at(counts, (np.tile(np.arange(64), 3000), cost_class.reshape(-1)), 1)
    expected = 3000 / 64
    # A chi-squared with 63² degrees of freedom, four standard deviations.
    assert abs(((counts - expected) ** 2 / expected).sum() - 63**2) < 4 * np.sqrt(2 * 63**2) * np.sqrt(64 / 63)
    limit = 4 / np.sqrt(num_rows)
    assert abs(np.corrcoef(np.repeat(np.arange(3000), 64), rank_in_class.reshape(-1))[0, 1]) < limit
    assert abs(np.corrcoef(rank_in_class[:, :-1].reshape(-1), rank_in_class[:, 1:].reshape(-1))[0, 1]) < limit
    # Neighbouring 64s are independent. Half of a class's place is one random bit, so only the 3,000 count.
    places = np.argsort(cost_class, axis=1)
    assert abs(np.corrcoef(places[:-1].reshape(-1), places[1:].reshape(-1))[0, 1]) < 4 / np.sqrt(3000)


def test_the_seed_changes_both_orders(proteins):
    for order in (lambda seed: random_order(1000, seed), lambda seed: balanced_order(proteins[:1000], seed)):
        assert len({order(seed).tobytes() for seed in range(5)}) == 5
        assert order(3).tobytes() == order(3).tobytes()


def test_golden_order():
    """Computed once and never to change."""
    assert balanced_order(np.array([9, 4, 1, 7, 7, 0, 3, 12, 5, 2]), 7).tolist() == GOLDEN


GOLDEN = [6, 9, 0, 5, 1, 3, 7, 8, 2, 4]


def test_an_unknown_order_is_answered_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"row order 'sorted' is not known .*random, balanced"):
        pack([1], 10, order="sorted")


@given(st.lists(st.integers(0, 50), max_size=200).map(lambda tokens: np.array(tokens, dtype=np.int64)), seeds)
def test_the_order_by_length_sorts_and_is_a_permutation(num_tokens, seed):
    number = length_order(num_tokens, seed)
    assert_array_equal(np.sort(number), np.arange(len(num_tokens)))
    assert_array_equal(in_order(num_tokens, number), np.sort(num_tokens))


def test_rows_of_equal_length_come_at_random():
    num_tokens = np.full(1000, 7)
    first, other = length_order(num_tokens, 1), length_order(num_tokens, 2)
    assert (first != other).sum() > 900
    assert (first != np.arange(1000)).sum() > 900


def test_packing_by_length_stores_short_rows_first():
    lengths = np.random.default_rng(0).integers(1, 100, 500)
    placement = pack(lengths, capacity=100, algorithm="pad", seed=4, order="length")
    used = np.bincount(placement.row, weights=lengths)
    assert (np.diff(used) >= 0).all()
