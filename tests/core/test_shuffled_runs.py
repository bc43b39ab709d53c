"""Random orders and subsets: the definition, law 7, uniformity."""

from itertools import permutations
from math import factorial, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import shuffled_runs as module
from pipeline.core.randomness import draw
from pipeline.core.shuffled_runs import random_subsets, shuffled_runs

segments = st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, 12)), max_size=10)


def arrays(pairs):
    return (np.array([pair[place] for pair in pairs], dtype=kind) for place, kind in ((0, np.uint64), (1, np.int64)))


def by_definition(key, count):
    """By the upper halves of the draws, then by position."""
    return sorted(range(count), key=lambda position: (int(draw(key, position)) >> 32, position))


@given(segments)
def test_orders_are_those_of_the_definition(pairs):
    keys, counts = arrays(pairs)
    expected = [position for key, count in pairs for position in by_definition(key, count)]
    assert shuffled_runs(keys, counts).tolist() == expected


@given(segments, st.data())
def test_a_subset_is_the_beginning_of_an_order_and_rises(pairs, data):
    keys, counts = arrays(pairs)
    sizes = [data.draw(st.integers(0, count)) for _, count in pairs]
    chosen = [sorted(by_definition(key, count)[:size]) for (key, count), size in zip(pairs, sizes, strict=True)]
    found = random_subsets(keys, counts, np.array(sizes, dtype=np.int64)).tolist()
    assert found == [position for positions in chosen for position in positions]


@given(segments)
def test_numbers_too_long_for_64_bits_are_ordered_alike(pairs):
    keys, counts = arrays(pairs)
    expected = shuffled_runs(keys, counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_OTHER_BITS", 0)
        assert shuffled_runs(keys, counts).tolist() == expected.tolist()


@pytest.mark.parametrize("other_bits", [32, 0])
def test_equal_draws_are_ordered_by_position(other_bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "draw_runs", lambda keys, counts: np.array([5, 5, 2, 5, 5], dtype=np.uint64) << 32)
        patch.setattr(module, "_OTHER_BITS", other_bits)
        order = shuffled_runs(np.zeros(2, dtype=np.uint64), np.array([3, 2]))
    assert order.tolist() == [2, 0, 1, 0, 1]


def test_all_orders_are_equally_likely():
    num = 24_000
    orders = shuffled_runs(np.arange(num, dtype=np.uint64), np.full(num, 4)).reshape(num, 4)
    seen, times = np.unique(orders, axis=0, return_counts=True)
    assert sorted(map(tuple, seen.tolist())) == sorted(permutations(range(4)))
    share = 1 / factorial(4)
    assert np.all(np.abs(times - num * share) < 4.5 * sqrt(num * share))
