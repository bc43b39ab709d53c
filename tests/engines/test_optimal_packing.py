"""Optimal packing: the same items in no more bins than first fit, and in hardly more than any packing needs."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core.bins import first_fit_decreasing
from pipeline.core.packing import MAX_SEGMENTS, length_histogram, lower_bound, pack
from pipeline.core.patterns import PatternPool, patterns_of
from pipeline.engines.optimal_packing import check_installed, find_patterns, optimal
from pipeline.errors import MissingExtraError


def histogram_of(lengths, capacity):
    return length_histogram(np.array(lengths, dtype=np.int64), capacity)


def protein_lengths(num_records, longest, seed=0):
    """UniRef50-like, a quarter as long: distinct lengths are few enough for a test."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.lognormal(5.2, 0.85, num_records) / 4, 3, longest).astype(np.int64)


def fewest_bins(lengths, capacity, max_segments):
    """By trying everything, but no two bins that are alike."""

    def search(rest, bins, best):
        if len(bins) >= best:
            return best
        if not rest:
            return len(bins)
        for free, count in set(bins):
            if free >= rest[0] and count < max_segments:
                tried = list(bins)
                tried.remove((free, count))
                best = search(rest[1:], [*tried, (free - rest[0], count + 1)], best)
        return search(rest[1:], [*bins, (capacity - rest[0], 1)], best)

    return search(sorted(lengths, reverse=True), [], len(lengths) + 1)


def check_laws(fills, histogram, capacity, max_segments):
    """Each item has one place, no bin holds too much, and no fewer bins would be enough for first fit."""
    assert np.all(np.diff(fills.length) <= 0)
    placed = np.zeros_like(histogram)
    np.add.at(placed, fills.length, fills.num_bins * fills.per_bin)
    assert_array_equal(placed, histogram)
    uses = patterns_of(fills)
    assert sum(uses.values()) == fills.total_bins
    assert all(1 <= len(pattern) <= max_segments and sum(pattern) <= capacity for pattern in uses)
    assert lower_bound(histogram, capacity, max_segments) <= fills.total_bins
    assert fills.total_bins <= first_fit_decreasing(histogram, capacity, max_segments).total_bins


def assert_same(first, second):
    for column in ("length", "first_bin", "num_bins", "per_bin", "total_bins"):
        assert_array_equal(getattr(first, column), getattr(second, column))


segments = st.sampled_from([1, 2, 3, 5, 32_767])


@st.composite
def problems(draw, num_parts=1):
    """Lengths of parts, capacity and most items a bin: few distinct lengths or many, once or a hundred times."""
    capacity = draw(st.integers(1, 40) | st.integers(41, 300))
    some_lengths = draw(st.lists(st.integers(1, capacity), min_size=1, max_size=12))
    times = draw(st.sampled_from([1, 1, 10, 100]))
    one_part = st.lists(st.sampled_from(some_lengths) | st.integers(1, capacity), max_size=40)
    parts = [draw(one_part) * times for _ in range(num_parts)]
    return *parts, capacity, draw(segments)


@given(problems())
@settings(max_examples=60)
@example(([], 10, 5))
@example(([1], 1, 1))
@example(([10] * 3000, 10, 5))
@example(([3] * 3001, 10, 5))
@example(([10, 9, 1, 5, 5, 5], 10, 1))
@example(([6, 5, 5, 4] * 500, 10, 2))
def test_every_item_has_one_place_and_no_bin_holds_too_much(problem):
    lengths, capacity, max_segments = problem
    histogram = histogram_of(lengths, capacity)
    before = histogram.copy()
    check_laws(optimal(histogram, capacity, max_segments), histogram, capacity, max_segments)
    assert_array_equal(histogram, before)


@given(problems(num_parts=2))
@settings(max_examples=60)
@example(([], [7, 3, 3], 10, 5))
@example(([7, 3, 3], [], 10, 5))
@example(([5] * 2000, [7, 6, 6, 3, 3, 1] * 400, 10, 3))
def test_a_pool_of_other_lengths_keeps_every_law(problem):
    """Also its bound: no fewer bins are possible than it says, whatever the histogram it was made from."""
    others, lengths, capacity, max_segments = problem
    pool = find_patterns(histogram_of(others, capacity), capacity, max_segments)
    histogram = histogram_of(lengths, capacity)
    fills = optimal(histogram, capacity, max_segments, pool=pool)
    check_laws(fills, histogram, capacity, max_segments)
    assert pool.lower_bound(histogram) <= fills.total_bins
    if len(lengths) <= 9:
        assert pool.lower_bound(histogram) <= fewest_bins(lengths, capacity, max_segments)


few_lengths_and_capacity = st.integers(4, 30).flatmap(
    lambda capacity: st.tuples(st.lists(st.integers(1, capacity), min_size=1, max_size=10), st.just(capacity))
)


@given(few_lengths_and_capacity, segments, st.lists(st.integers(1, 30), max_size=30))
@settings(max_examples=60)
@example(([6, 6, 5, 5, 4, 4, 4, 3, 3], 20), 32_767, [])
def test_one_bin_more_than_the_fewest_at_most(problem, max_segments, others):
    lengths, capacity = problem
    histogram = histogram_of(lengths, capacity)
    fewest = fewest_bins(lengths, capacity, max_segments)
    pool = find_patterns(histogram, capacity, max_segments)
    assert pool.lower_bound(histogram) <= fewest
    for made_from in (lengths, [length for length in others if length <= capacity]):
        pool = find_patterns(histogram_of(made_from, capacity), capacity, max_segments)
        assert fewest <= optimal(histogram, capacity, max_segments, pool=pool).total_bins <= fewest + 1


@pytest.mark.parametrize("times", [1, 100, 10_000_000])
def test_where_first_fit_needs_eleven_bins_optimal_needs_nine(times):
    """Johnson (1973), Near-optimal bin packing algorithms: items of a little more than a half, of about a quarter."""
    histogram = np.zeros(101, dtype=np.int64)
    histogram[[51, 27, 26, 23]] = np.array([6, 6, 6, 12]) * times
    fills = optimal(histogram, 100, MAX_SEGMENTS)
    check_laws(fills, histogram, 100, MAX_SEGMENTS)
    assert first_fit_decreasing(histogram, 100, MAX_SEGMENTS).total_bins == 11 * times
    assert fills.total_bins == 9 * times


@pytest.mark.parametrize("seed", range(4))
def test_triplets_that_fill_every_bin(seed):
    """Falkenauer (1996), A hybrid grouping genetic algorithm: each bin of the best packing is three items and full."""
    rng, capacity, num_bins = np.random.default_rng(seed), 200, 60
    longest = rng.integers(76, 99, num_bins)
    second = rng.integers(51, (capacity - longest) // 2 + 1)
    lengths = np.concatenate((longest, second, capacity - longest - second))
    histogram = histogram_of(lengths, capacity)
    fills = optimal(histogram, capacity, MAX_SEGMENTS)
    check_laws(fills, histogram, capacity, MAX_SEGMENTS)
    assert first_fit_decreasing(histogram, capacity, MAX_SEGMENTS).total_bins > num_bins + 1
    assert fills.total_bins <= num_bins + 1


@pytest.fixture(scope="module", params=[(256, MAX_SEGMENTS), (256, 4), (128, MAX_SEGMENTS)], ids=str)
def parts(request):
    """Three parts of one corpus, and the pool of all: capacity, most items a bin, histograms, pool."""
    capacity, max_segments = request.param
    histograms = [length_histogram(protein_lengths(50_000, capacity, seed), capacity) for seed in range(3)]
    return capacity, max_segments, histograms, find_patterns(sum(histograms), capacity, max_segments)


def test_parts_are_within_a_row_or_a_ten_thousandth_of_the_lower_bound(parts):
    capacity, max_segments, histograms, pool = parts
    for histogram in histograms:
        fills = optimal(histogram, capacity, max_segments, pool=pool)
        check_laws(fills, histogram, capacity, max_segments)
        bound = max(lower_bound(histogram, capacity, max_segments), pool.lower_bound(histogram))
        own = find_patterns(histogram, capacity, max_segments).lower_bound(histogram)
        assert fills.total_bins - max(bound, own) <= max(1, own // 10_000)


def test_parts_do_not_know_of_each_other(parts):
    """In any order, once more, and with a pool that went through a file: the same bins."""
    capacity, max_segments, histograms, pool = parts
    alone = [optimal(histogram, capacity, max_segments, pool=pool) for histogram in histograms]
    read = PatternPool.from_document(pool.document())
    for histogram, expected in list(zip(histograms, alone, strict=True))[::-1]:
        assert_same(optimal(histogram, capacity, max_segments, pool=read), expected)


def test_a_pool_is_found_the_same_way_each_time(parts):
    capacity, max_segments, histograms, pool = parts
    again = find_patterns(sum(histograms), capacity, max_segments)
    assert again.patterns == pool.patterns
    assert_array_equal(again.prices, pool.prices)


def test_without_a_pool_the_patterns_are_found_on_the_way(parts):
    capacity, max_segments, histograms, _ = parts
    own = find_patterns(histograms[0], capacity, max_segments)
    found = optimal(histograms[0], capacity, max_segments)
    assert_same(found, optimal(histograms[0], capacity, max_segments, pool=own))


def test_an_empty_histogram_needs_no_bins_and_proves_none():
    empty = np.zeros(11, dtype=np.int64)
    pool = find_patterns(empty, 10)
    assert pool.patterns == ()
    assert pool.lower_bound(empty) == 0
    assert optimal(empty, 10, 5).total_bins == optimal(empty, 10, 5, pool=pool).total_bins == 0


@pytest.mark.parametrize(
    ("lengths", "max_segments", "expected"),
    [
        ([10], MAX_SEGMENTS, 1),
        ([1], 1, 1),
        ([10] * 2500, MAX_SEGMENTS, 2500),
        ([3] * 3000, MAX_SEGMENTS, 1000),
        ([3] * 3000, 2, 1500),
        ([3] * 3000, 1, 3000),
        ([7, 3, 4, 4, 2] * 100, MAX_SEGMENTS, 200),
        ([9, 1, 8, 2, 7, 3] * 50, 2, 150),
    ],
)
def test_by_hand(lengths, max_segments, expected):
    assert optimal(histogram_of(lengths, 10), 10, max_segments).total_bins == expected


def test_it_is_an_algorithm_of_pack(parts):
    capacity, max_segments, histograms, pool = parts
    lengths = protein_lengths(50_000, capacity, seed=0)
    algorithm = partial(optimal, pool=pool)
    placement = pack(lengths, capacity, algorithm=algorithm, seed=3, max_segments=max_segments)
    fills = algorithm(histograms[0], capacity, max_segments)
    tokens = np.add.reduceat(lengths[placement.order], placement.row_offsets[:-1])
    assert placement.num_rows == fills.total_bins
    assert_array_equal(np.sort(placement.order), np.arange(len(lengths)))
    assert tokens.max() <= capacity
    assert np.diff(placement.row_offsets).max() <= max_segments
    expected = sorted(sum(pattern) for pattern, bins in patterns_of(fills).items() for _ in range(bins))
    assert sorted(tokens.tolist()) == expected


def test_a_missing_scipy_is_named_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    packed_at_once = histogram_of([10], 10)
    for work in (
        check_installed,
        partial(find_patterns, packed_at_once, 10),
        partial(optimal, packed_at_once, 10, 5),
    ):
        with pytest.raises(MissingExtraError, match="needs scipy") as caught:
            work()
        assert caught.value.hint == "pip install 'protein-pipeline[optimal]'"


def test_scipy_is_loaded_by_whoever_asks_for_it_only():
    code = (
        "import sys; import pipeline.engines.optimal_packing, pipeline.stages.pack.stage\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'scipy'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert done.stdout == "[]\n"
