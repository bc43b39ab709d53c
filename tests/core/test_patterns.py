"""Patterns: bins and back, items dealt to longer places, prices that prove a bound, and the knapsack by trying all."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core.bins import best_fit_decreasing, first_fit_decreasing
from pipeline.core.packing import length_histogram
from pipeline.core.patterns import (
    PatternPool,
    count_lengths,
    deal_shorter,
    extended_prices,
    fills_of,
    join,
    most_valuable,
    patterns_of,
)


def bins_of(fills):
    """The bins that fills describe, longest item first, and a check that these follow the docstring of ``Fills``."""
    assert np.all(np.diff(fills.length) <= 0)
    filled = [[] for _ in range(fills.total_bins)]
    columns = (fills.length, fills.first_bin, fills.num_bins, fills.per_bin)
    for length, first_bin, num_bins, per_bin in zip(*(column.tolist() for column in columns), strict=True):
        assert num_bins >= 1
        assert per_bin >= 1
        for number in range(first_bin, first_bin + num_bins):
            filled[number] += [length] * per_bin
    return [tuple(items) for items in filled]


def every_pattern(lengths, capacity, max_segments, longest=None):
    """All ways to fill a bin with some of these lengths, the empty one among them, longest item first."""
    patterns = [()]
    if max_segments:
        for length in lengths:
            if length <= min(capacity, longest or capacity):
                rest = every_pattern(lengths, capacity - length, max_segments - 1, length)
                patterns += [(length, *pattern) for pattern in rest]
    return patterns


def histogram_of(lengths, capacity):
    return length_histogram(np.array(lengths, dtype=np.int64), capacity)


@st.composite
def problems(draw):
    """Lengths, capacity and most items a bin."""
    capacity = draw(st.integers(1, 60))
    lengths = draw(st.lists(st.integers(1, capacity), max_size=100))
    return lengths, capacity, draw(st.sampled_from([1, 2, 3, 5, 32_767]))


algorithms = st.sampled_from([first_fit_decreasing, best_fit_decreasing])


@given(problems(), algorithms)
@example(([], 10, 5), first_fit_decreasing)
@example(([7, 7, 3, 3, 3, 3], 10, 5), first_fit_decreasing)
def test_patterns_of_bins_and_bins_of_patterns(problem, algorithm):
    lengths, capacity, max_segments = problem
    fills = algorithm(histogram_of(lengths, capacity), capacity, max_segments)
    uses = patterns_of(fills)
    assert uses == Counter(bins_of(fills))
    assert list(uses) == list(dict.fromkeys(bins_of(fills)))
    assert bins_of(fills_of(uses)) == [pattern for pattern, num_bins in uses.items() for _ in range(num_bins)]


def test_a_billion_bins_are_patterns_as_fast_as_one():
    fills = fills_of({(7, 3): 1_000_000_000, (4, 4): 2_000_000_000})
    assert fills.total_bins == 3_000_000_000
    assert patterns_of(fills) == {(7, 3): 1_000_000_000, (4, 4): 2_000_000_000}


def test_lengths_of_a_pattern():
    assert list(count_lengths((7, 4, 4, 1, 1, 1)).items()) == [(7, 1), (4, 2), (1, 3)]


@given(problems(), problems())
def test_joined_bins_are_those_of_both(first, second):
    made = [
        first_fit_decreasing(histogram_of(lengths, capacity), capacity, most)
        for lengths, capacity, most in (first, second)
    ]
    assert bins_of(join(*made)) == bins_of(made[0]) + bins_of(made[1])


@given(problems(), st.data(), algorithms)
def test_shorter_items_take_the_places_of_longer_ones(problem, data, algorithm):
    lengths, capacity, max_segments = problem
    fills = algorithm(histogram_of(lengths, capacity), capacity, max_segments)
    shorter = [data.draw(st.integers(1, length)) for length in lengths]
    dealt = bins_of(deal_shorter(fills, histogram_of(shorter, capacity)))
    assert sorted(length for items in dealt for length in items) == sorted(shorter)
    for items, places in zip(dealt, bins_of(fills), strict=True):
        assert len(items) == len(places)
        assert all(length <= place for length, place in zip(items, places, strict=True))


@st.composite
def knapsacks(draw):
    """Rising lengths, a price for each, capacity and most items a bin; any prices, or much the same a token."""
    capacity = draw(st.integers(1, 16))
    lengths = sorted(draw(st.sets(st.integers(1, capacity), min_size=1, max_size=6)))
    price = st.integers(0, 64).map(lambda sixtyfourths: sixtyfourths / 64)  # sums are exact
    prices = draw(st.lists(price, min_size=len(lengths), max_size=len(lengths)))
    if draw(st.booleans()):
        prices = [length / 16 + price / 64 for length, price in zip(lengths, prices, strict=True)]
    return lengths, prices, capacity, draw(st.sampled_from([1, 2, 3, 5, 32_767]))


@given(knapsacks(), st.data())
def test_most_valuable_is_the_best_of_all_patterns(knapsack, data):
    """The best bin; and around each length the best company that it can have among the others."""
    lengths, prices, capacity, max_segments = knapsack
    first = data.draw(st.integers(0, len(lengths) - 1))
    beside = slice(first, None, data.draw(st.integers(1, 3)))
    price, others = dict(zip(lengths, prices, strict=True)), lengths[beside]

    def worth(pattern):
        return sum(price[length] for length in pattern)

    arguments = (np.array(lengths), np.array(prices), capacity, max_segments, beside)
    most, found = most_valuable(*arguments)
    assert most == max(map(worth, every_pattern(others, capacity, max_segments)))
    assert len(set(found)) == len(found)
    assert set(found) <= set(every_pattern(lengths, capacity, max_segments))
    assert all(list(pattern) == sorted(pattern, reverse=True) for pattern in found)
    for length in lengths:
        company = every_pattern(others, capacity - length, max_segments - 1)
        best = price[length] + max(map(worth, company))
        assert any(length in pattern and worth(pattern) >= best for pattern in found)


def test_the_example_of_the_module():
    prices = np.array([0.25, 0.5, 0.75])
    most, found = most_valuable(np.array([3, 4, 7]), prices, 10, 32_767)
    assert most == 1.0
    assert (7, 3) in found
    pool = PatternPool(patterns=(), prices=extended_prices(np.array([3, 4, 7]), prices, 10))
    assert pool.lower_bound(histogram_of([7, 7, 4, 4, 3], 10)) == 3


@given(knapsacks())
def test_prices_of_all_lengths_prove_what_those_of_some_prove(knapsack):
    lengths, prices, capacity, max_segments = knapsack
    worth, _ = most_valuable(np.array(lengths), np.array(prices), capacity, max_segments)
    extended = extended_prices(np.array(lengths), np.array(prices), capacity)
    assert extended.shape == (capacity + 1,)
    assert np.all(extended[lengths] >= prices)
    everything = np.arange(1, capacity + 1)
    assert most_valuable(everything, extended[1:], capacity, max_segments)[0] == worth


def test_a_longer_item_costs_what_the_dearest_shorter_one_costs():
    prices = extended_prices(np.array([2, 4, 5]), np.array([0.5, 0.25, 0.75]), 7)
    assert prices.tolist() == [0, 0, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75]


@given(st.lists(st.lists(st.integers(1, 2**20), min_size=1).map(tuple)), st.lists(st.floats(0, 1), min_size=1))
def test_a_pool_comes_back_from_json_to_the_last_bit(patterns, prices):
    pool = PatternPool(patterns=tuple(patterns), prices=np.array(prices))
    again = PatternPool.from_document(json.loads(json.dumps(pool.document())))
    assert again.patterns == pool.patterns
    assert_array_equal(again.prices, pool.prices)
    assert again.prices.dtype == np.float64


@pytest.mark.parametrize(
    ("price", "num_items", "expected"),
    [
        (1 / 3, 3, 1),
        (0.07, 100, 7),  # 7.000000000000001
        (0.07, 101, 8),
        (1 / 7, 7_000_000, 1_000_000),
        (0.5, 0, 0),
    ],
)
def test_a_whole_bound_is_not_rounded_up_further(price, num_items, expected):
    assert PatternPool(patterns=(), prices=np.array([0, price])).lower_bound(np.array([0, num_items])) == expected
