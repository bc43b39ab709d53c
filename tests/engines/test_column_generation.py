"""Column generation: the linear program over all patterns, without ever looking at all of them."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.bins import first_fit_decreasing
from pipeline.core.packing import length_histogram, lower_bound
from pipeline.core.patterns import most_valuable, patterns_of
from pipeline.engines import column_generation
from pipeline.engines.column_generation import relax, simple_prices
from pipeline.errors import ExecutionError


def histogram_of(lengths, capacity):
    return length_histogram(np.array(lengths, dtype=np.int64), capacity)


def relaxed_from_first_fit(histogram, capacity, max_segments, max_rounds=200):
    bins = first_fit_decreasing(histogram, capacity, max_segments)
    prices = simple_prices(histogram, capacity, max_segments)
    return relax(histogram, capacity, max_segments, patterns_of(bins), prices=prices, gap=1e-5, max_rounds=max_rounds)


def every_pattern(lengths, capacity, max_segments, longest=None):
    """All ways to fill a bin with some of these lengths, longest item first."""
    patterns = [()]
    if max_segments:
        for length in lengths:
            if length <= min(capacity, longest or capacity):
                rest = every_pattern(lengths, capacity - length, max_segments - 1, length)
                patterns += [(length, *pattern) for pattern in rest]
    return patterns


def fewest_fractions(histogram, capacity, max_segments):
    """The linear program over all patterns, at once."""
    lengths = np.flatnonzero(histogram)
    patterns = every_pattern(lengths.tolist(), capacity, max_segments)
    held = np.array([[pattern.count(length) for pattern in patterns] for length in lengths.tolist()])
    return scipy.optimize.linprog(np.ones(len(patterns)), A_ub=-held, b_ub=-histogram[lengths]).fun


@st.composite
def problems(draw):
    """Histogram, capacity and most items a bin: few lengths, some of them many times."""
    capacity = draw(st.integers(1, 18))
    counts = st.dictionaries(
        st.integers(1, capacity), st.integers(1, 3) | st.integers(50, 2000), min_size=1, max_size=6
    )
    histogram = np.zeros(capacity + 1, dtype=np.int64)
    for length, count in draw(counts).items():
        histogram[length] = count
    return histogram, capacity, draw(st.sampled_from([1, 2, 3, 5, 32_767]))


@given(problems())
@example((histogram_of([1], 1), 1, 1))
@example((histogram_of([51] * 600 + [27] * 600 + [26] * 600 + [23] * 1200, 100), 100, 32_767))
def test_relaxed_is_what_the_program_over_all_patterns_gives(problem):
    histogram, capacity, max_segments = problem
    relaxed = relaxed_from_first_fit(histogram, capacity, max_segments)
    best = fewest_fractions(histogram, capacity, max_segments)
    allowed = max(1e-5 * best, 0.25) + 1e-6 * best
    # Patterns that ask for more items than there are do not count, so that few items may need a little more.
    scarce = np.any((histogram > 0) & (histogram < capacity))
    assert best - 1e-6 * best <= relaxed.uses.sum()
    assert scarce or relaxed.uses.sum() <= best + allowed
    if not scarce:
        assert best - allowed <= relaxed.lower_bound
    assert relaxed.lower_bound <= max(lower_bound(histogram, capacity, max_segments), np.ceil(best - 1e-6 * best))


@given(problems(), st.sampled_from([1, 2, 200]))
def test_patterns_hold_what_is_demanded_and_prices_are_worth_a_bin_at_most(problem, max_rounds):
    """However soon it ends."""
    histogram, capacity, max_segments = problem
    relaxed = relaxed_from_first_fit(histogram, capacity, max_segments, max_rounds)
    held = np.zeros(capacity + 1)
    for pattern, uses in zip(relaxed.patterns, relaxed.uses.tolist(), strict=True):
        assert uses >= 0
        assert sum(pattern) <= capacity
        assert 1 <= len(pattern) <= max_segments
        assert np.all(np.bincount(pattern, minlength=capacity + 1) <= histogram)
        np.add.at(held, list(pattern), uses)
    assert np.all(held >= histogram * (1 - 1e-6) - 1e-6)
    assert set(relaxed.used()) <= set(relaxed.patterns)
    everything = np.arange(1, capacity + 1)
    assert most_valuable(everything, relaxed.prices[1:], capacity, max_segments)[0] <= 1 + 1e-9


def test_patterns_that_are_dropped_are_not_missed(monkeypatch):
    """The result is the same where all are kept."""
    lengths = np.clip(np.random.default_rng(4).lognormal(5.2, 0.85, 100_000) / 5, 3, 200).astype(np.int64)
    histogram = length_histogram(lengths, 200)
    solve, sizes = column_generation._solve, []

    def counting(columns, *arguments):
        sizes.append(len(columns))
        return solve(columns, *arguments)

    monkeypatch.setattr(column_generation, "_solve", counting)
    few = relaxed_from_first_fit(histogram, 200, 4)
    most_of_few, sizes = max(sizes), []
    monkeypatch.setattr(column_generation, "_PATTERNS_PER_LENGTH", 1000)
    all_kept = relaxed_from_first_fit(histogram, 200, 4)
    assert most_of_few < max(sizes)  # so that some were dropped
    assert few.uses.sum() == pytest.approx(all_kept.uses.sum(), abs=0.5)
    assert few.lower_bound >= few.uses.sum() - 0.5


def test_simple_prices_are_by_the_token_or_by_the_item():
    many_short, few_long = histogram_of([1] * 10, 10), histogram_of([9, 9], 10)
    assert simple_prices(many_short, 10, 2) @ many_short == 5
    assert simple_prices(few_long, 10, 2) @ few_long == pytest.approx(1.8)


def test_highs_that_gives_up_is_an_error_that_says_so(monkeypatch):
    solve = scipy.optimize.linprog
    monkeypatch.setattr(
        scipy.optimize,
        "linprog",
        lambda *args, **kwargs: solve(*args, **kwargs, options={"maxiter": 0, "presolve": False}),
    )
    with pytest.raises(ExecutionError, match=r"HiGHS did not solve 3 patterns of 4 lengths: .*limit") as caught:
        relaxed_from_first_fit(histogram_of([51] * 6 + [27] * 6 + [26] * 6 + [23] * 12, 100), 100, 32_767)
    assert "first-fit-decreasing" in caught.value.hint
