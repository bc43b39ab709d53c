"""Spans: T5's own arithmetic as the oracle, uniform compositions, law 7, and the bound on targets."""

from collections import Counter
from itertools import combinations
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.ragged import offsets_of
from pipeline.core.spans import SpanRule, compositions, draw_spans

T5 = SpanRule(density=0.15, mean_length=3.0, most_spans=100)
counts = st.lists(st.integers(0, 400), max_size=8).map(lambda values: np.array(values, dtype=np.int64))
rules = st.builds(
    SpanRule,
    density=st.floats(0.01, 0.99),
    mean_length=st.floats(1, 20),
    most_spans=st.integers(1, 100),
)


def keys(num, seed=0):
    return np.random.default_rng(seed).integers(0, 1 << 64, num, dtype=np.uint64)


def t5(length, density, mean):
    """Noise tokens and spans as random_spans_noise_mask of the released T5 has them, for 2 tokens or more."""
    noise = min(max(int(np.round(length * density)), 1), length - 1)
    return noise, max(int(np.round(noise / mean)), 1)


@pytest.mark.parametrize(("density", "mean"), [(0.15, 3.0), (0.5, 3.0), (0.15, 10.0)])
def test_numbers_are_those_of_t5(density, mean):
    rule = SpanRule(density=density, mean_length=mean, most_spans=10**6)
    lengths = np.arange(2, 3000)
    expected = [t5(length, density, mean) for length in lengths.tolist()]
    assert list(zip(rule.num_noise(lengths).tolist(), rule.num_spans(lengths).tolist(), strict=True)) == expected


def test_segments_of_no_or_one_residue_have_no_span():
    assert T5.num_noise(np.array([0, 1, 2])).tolist() == [0, 0, 1]
    assert T5.num_spans(np.array([0, 1, 2])).tolist() == [0, 0, 1]
    assert T5.target_lengths(np.array([0, 1, 2])).tolist() == [0, 0, 3]


def test_no_more_spans_than_sentinels_but_as_much_noise():
    lengths = np.array([1999, 2001, 5000, 100_000])
    assert T5.num_spans(lengths).max() == 100
    assert T5.num_noise(lengths).tolist() == [300, 300, 750, 15_000]
    assert T5.num_spans(lengths).tolist() == [100, 100, 100, 100]
    runs = draw_spans(keys(4), keys(4, 1), lengths, T5)
    assert np.add.reduceat(runs.lengths[:, 1], [0, 100, 200, 300]).tolist() == [300, 300, 750, 15_000]


@given(counts, rules)
def test_gaps_and_spans_cover_a_segment(lengths, rule):
    runs = draw_spans(keys(len(lengths)), keys(len(lengths), 1), lengths, rule)
    borders = offsets_of(runs.num_pairs)
    assert borders[-1] == len(runs.lengths)
    for segment, length in enumerate(lengths.tolist()):
        pairs = runs.lengths[borders[segment] : borders[segment + 1]]
        assert pairs.sum() == length
        assert pairs[:, 1].sum() == rule.num_noise(lengths)[segment]
        num_spans = rule.num_spans(lengths)[segment]
        assert num_spans <= rule.most_spans
        if length >= 2:
            assert len(pairs) == num_spans
            assert pairs.min() >= 1
        else:
            assert pairs.tolist() == [[length, 0]]


@given(st.permutations(range(6)), st.integers(0, 6))
def test_spans_of_a_segment_do_not_depend_on_the_others(order, cut):
    """Law 7."""
    lengths, gap_keys, span_keys = np.array([0, 1, 50, 51, 300, 700]), keys(6), keys(6, 1)

    def spans(which):
        chosen = np.array(which, dtype=np.int64)
        runs = draw_spans(gap_keys[chosen], span_keys[chosen], lengths[chosen], T5)
        borders = offsets_of(runs.num_pairs)
        return {one: runs.lengths[borders[i] : borders[i + 1]].tolist() for i, one in enumerate(which)}

    alone = {one: spans([one])[one] for one in range(6)}
    assert spans(order[:cut]) | spans(order[cut:]) == alone


def test_all_compositions_are_equally_likely():
    num = 20_000
    parts = compositions(np.arange(num, dtype=np.uint64), np.full(num, 7), np.full(num, 3)).reshape(num, 3)
    times = Counter(map(tuple, parts.tolist()))
    expected = {(a, b - a, 7 - b) for a, b in combinations(range(1, 7), 2)}
    assert times.keys() == expected
    mean = num / comb(6, 2)
    assert all(abs(found - mean) < 4.5 * sqrt(mean) for found in times.values())


def longest_by_knapsack(row_length, rule, special, alignment, shortest):
    """The most that the targets of a row can need: best[c] of c tokens of the row, over all last segments."""
    best = [0] * (row_length + 1)
    lengths = rule.target_lengths(np.arange(row_length + 1)).tolist()
    for tokens in range(1, row_length + 1):
        best[tokens] = best[tokens - 1]
        for residues in range(shortest, tokens - special + 1):
            occupied = -(-(residues + special) // alignment) * alignment
            if 0 < occupied <= tokens:
                best[tokens] = max(best[tokens], best[tokens - occupied] + lengths[residues])
    return best[row_length]


@given(
    st.integers(1, 90),
    rules,
    st.integers(0, 2),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([1, 2, 7, 30]),
)
def test_no_row_needs_more_than_the_longest_targets(row_length, rule, special, alignment, shortest):
    row_length *= alignment if row_length < 20 else 1
    row_length -= row_length % alignment
    bound = rule.longest_targets(row_length, num_special=special, alignment=alignment, shortest=shortest)
    most = longest_by_knapsack(row_length, rule, special, alignment, shortest)
    assert most <= bound
    assert bound <= 3 * row_length  # no bound would be one, too


def test_the_bound_is_near():
    assert T5.longest_targets(1024, num_special=1) == 1024  # dipeptides: three tokens each, in rows and in targets
    assert longest_by_knapsack(300, T5, 1, 1, 30) <= T5.longest_targets(300, num_special=1, shortest=30) <= 300 / 4
