"""Histogram algorithms: the same bins as the loop anyone would write, item by item."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.bins import best_fit_decreasing, first_fit_decreasing, one_item_a_bin
from pipeline.core.packing import length_histogram


def textbook_first_fit_decreasing(lengths, capacity, max_segments):
    """Bins in opening order, each a list of lengths in the order of placement."""
    filled, free = [], []
    for length in sorted(lengths, reverse=True):
        for number in range(len(filled)):
            if free[number] >= length and len(filled[number]) < max_segments:
                break
        else:
            number = len(filled)
            filled.append([])
            free.append(capacity)
        filled[number].append(length)
        free[number] -= length
    return filled


def textbook_best_fit_decreasing(lengths, capacity, max_segments):
    """The same, each length into the fullest bin that takes it; of equally full ones the first."""
    filled, free = [], []
    for length in sorted(lengths, reverse=True):
        fitting = [at for at in range(len(filled)) if free[at] >= length and len(filled[at]) < max_segments]
        number = min(fitting, key=lambda at: (free[at], at), default=len(filled))
        if number == len(filled):
            filled.append([])
            free.append(capacity)
        filled[number].append(length)
        free[number] -= length
    return filled


both = pytest.mark.parametrize(
    ("algorithm", "textbook"),
    [
        pytest.param(first_fit_decreasing, textbook_first_fit_decreasing, id="first fit"),
        pytest.param(best_fit_decreasing, textbook_best_fit_decreasing, id="best fit"),
    ],
)


def bins_of(fills):
    """The bins that fills describe, and a check that these follow the docstring."""
    filled = [[] for _ in range(fills.total_bins)]
    columns = (fills.length, fills.first_bin, fills.num_bins, fills.per_bin)
    for length, first_bin, num_bins, per_bin in zip(*(column.tolist() for column in columns), strict=True):
        assert num_bins >= 1
        assert per_bin >= 1
        for number in range(first_bin, first_bin + num_bins):
            filled[number] += [length] * per_bin
    return filled


@st.composite
def problems(draw):
    """Lengths, capacity and most items a bin: few distinct lengths or many, caps that bind and caps that do not."""
    capacity = draw(st.one_of(st.integers(1, 40), st.integers(41, 3000)))
    some_lengths = draw(st.lists(st.integers(1, capacity), min_size=1, max_size=draw(st.sampled_from([2, 8, 60]))))
    short = st.integers(1, min(capacity, 7))
    one_length = st.sampled_from(some_lengths) | short if draw(st.booleans()) else st.sampled_from(some_lengths)
    lengths = draw(st.lists(one_length, max_size=300))
    max_segments = draw(st.sampled_from([1, 2, 3, 5, 17, 32_767]))
    return lengths, capacity, max_segments


@both
@given(problem=problems())
@example(problem=([], 10, 5))
@example(problem=([10, 10], 10, 5))
@example(problem=([7, 7, 3, 3, 3, 3], 10, 32_767))
@example(problem=([1] * 25, 10, 3))
@example(problem=([6, 3, 3, 2, 2, 2, 1], 8, 2))
@example(problem=([6, 5, 6, 4, 2, 3, 2], 10, 32_767))
def test_decreasing_is_the_textbook_loop(algorithm, textbook, problem):
    lengths, capacity, max_segments = problem
    histogram = length_histogram(np.array(lengths, dtype=np.int64), capacity)
    assert bins_of(algorithm(histogram, capacity, max_segments)) == textbook(lengths, capacity, max_segments)


@both
@pytest.mark.parametrize(("capacity", "max_segments"), [(1024, 32_767), (1024, 3), (8192, 32_767), (8192, 20)])
def test_decreasing_is_the_textbook_loop_where_runs_are_many(algorithm, textbook, capacity, max_segments):
    rng = np.random.default_rng(capacity + max_segments)
    lengths = np.clip(rng.lognormal(5.2, 0.85, 3000), 11, 1022).astype(np.int64) + 2
    fills = algorithm(length_histogram(lengths, capacity), capacity, max_segments)
    assert bins_of(fills) == textbook(lengths.tolist(), capacity, max_segments)


def test_best_fit_takes_the_fuller_bin_where_first_fit_takes_the_earlier_one():
    """Free are 6 and 4 when the item of 4 comes."""
    histogram = length_histogram(np.array([14, 8, 8, 4, 3, 3]), 20)
    assert bins_of(first_fit_decreasing(histogram, 20, 5)) == [[14, 4], [8, 8, 3], [3]]
    assert bins_of(best_fit_decreasing(histogram, 20, 5)) == [[14, 3, 3], [8, 8, 4]]


@both
def test_fills_go_from_long_to_short(algorithm, textbook):
    lengths = np.random.default_rng(0).integers(1, 500, 2000)
    assert np.all(np.diff(algorithm(length_histogram(lengths, 512), 512, 32_767).length) <= 0)


@both
def test_the_number_of_items_costs_nothing(algorithm, textbook):
    """A billion items are as many fills as a thousand; a loop over items would not come back."""
    histogram = np.zeros(1025, dtype=np.int64)
    histogram[[13, 200, 300, 513, 1024]] = 500_000_000
    fills = algorithm(histogram, 1024, 32_767)
    assert len(fills.length) < 100
    placed = np.bincount(fills.length, weights=fills.num_bins * fills.per_bin, minlength=1025)
    np.testing.assert_array_equal(placed.astype(np.int64), histogram)


@given(st.lists(st.integers(1, 50), max_size=50))
def test_one_item_a_bin(lengths):
    fills = one_item_a_bin(length_histogram(np.array(lengths, dtype=np.int64), 50), 50, 32_767)
    assert bins_of(fills) == [[length] for length in sorted(lengths, reverse=True)]
