"""The counter hash: golden vectors that must never change, shape independence, uniformity."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core import randomness
from pipeline.core.randomness import below, derive_key, draw, draw_runs, mix, uniform, words

MASK = (1 << 64) - 1
uint64s = st.integers(0, MASK)
integers = st.integers(-(1 << 70), 1 << 70)


def reference_mix(value):
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def reference_draw(key, counter):
    return reference_mix((key + (counter + 1) * 0x9E3779B97F4A7C15) & MASK)


def reference_key(purpose, *parts):
    key = reference_draw(purpose, 0)
    for part in parts:
        key = reference_mix(key ^ reference_draw(part, 1))
    return key


# The published outputs of SplitMix64 with seed 1234567 (https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64).
SPLITMIX64 = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def test_draws_are_splitmix64():
    assert_array_equal(draw(1234567, np.arange(5)), np.array(SPLITMIX64, dtype=np.uint64))


def test_keys_are_pinned():
    assert int(derive_key(randomness.PURPOSE_MASK, 0, 0)) == 4898336188541931472
    assert int(derive_key(randomness.PURPOSE_CROP, 7, 3, 0xDEADBEEFDEADBEEF)) == 6099848740159545060
    assert int(derive_key(randomness.PURPOSE_NOISE_RATE, -1, MASK, np.uint64(5), 1 << 64)) == 13638387856914661008


def test_purposes_are_pinned():
    purposes = {name: value for name, value in vars(randomness).items() if name.startswith("PURPOSE_")}
    assert len(set(purposes.values())) == len(purposes)
    # A new one may be added; these must stay.
    assert (
        purposes.items()
        >= {
            "PURPOSE_PLACE": 1,
            "PURPOSE_ROW": 2,
            "PURPOSE_SLOT": 3,
            "PURPOSE_CROP": 4,
            "PURPOSE_ROW_GROUP": 5,
            "PURPOSE_ROW_IN_GROUP": 6,
            "PURPOSE_NOISE_RATE": 7,
            "PURPOSE_MASK": 8,
            "PURPOSE_REPLACEMENT": 9,
            "PURPOSE_PART": 10,
            "PURPOSE_TIMESTEP": 11,
            "PURPOSE_SPAN": 12,
            "PURPOSE_GAP": 13,
            "PURPOSE_FACTORISATION": 14,
        }.items()
    )


@given(integers, integers)
def test_draw_equals_the_arithmetic_of_the_paper(key, counter):
    assert int(draw(key, counter)) == reference_draw(key & MASK, counter & MASK)


@given(st.integers(0, 20), st.lists(integers, max_size=5))
def test_derive_key_equals_its_reference(purpose, parts):
    assert int(derive_key(purpose, *parts)) == reference_key(purpose, *(part & MASK for part in parts))


@given(st.lists(uint64s, min_size=1, max_size=8), uint64s)
def test_a_draw_does_not_depend_on_the_shape_it_is_drawn_in(keys, counter):
    array = np.array(keys, dtype=np.uint64)
    expected = [reference_draw(key, counter) for key in keys]
    assert draw(array, counter).tolist() == expected
    assert draw(array.reshape(-1, 1, 1), np.array([[counter]], dtype=np.uint64)).ravel().tolist() == expected
    assert [int(draw(key, np.uint64(counter))) for key in array] == expected
    assert [int(draw(np.array(key, dtype=np.uint64), counter)) for key in keys] == expected


@given(st.lists(uint64s, min_size=1, max_size=8), uint64s, uint64s)
def test_a_key_does_not_depend_on_the_shape_it_is_derived_in(keys, seed, start):
    array = np.array(keys, dtype=np.uint64)
    expected = [reference_key(4, seed, key, start) for key in keys]
    assert derive_key(4, seed, array, start).tolist() == expected
    assert derive_key(4, np.uint64(seed), array, np.full(len(keys), start, dtype=np.uint64)).tolist() == expected
    assert [int(derive_key(4, seed, key, np.uint64(start))) for key in array] == expected


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int16, np.uint32])
def test_a_draw_does_not_depend_on_the_integer_type(dtype):
    values = np.array([0, 1, 77, np.iinfo(dtype).max, np.iinfo(dtype).min], dtype=dtype)
    assert draw(values, values).tolist() == [reference_draw(int(v) & MASK, int(v) & MASK) for v in values]


def test_largest_scalars_wrap_without_warning():
    # Warnings are errors here; numpy's scalar operators would warn.
    assert int(draw(np.uint64(MASK), np.uint64(MASK))) == reference_draw(MASK, MASK)
    assert int(mix(np.uint64(MASK))) == reference_mix(MASK)
    assert int(below(np.uint64(MASK), 1 << 32)) == (1 << 32) - 1
    assert draw_runs(np.array([MASK], dtype=np.uint64), np.array([1])).tolist() == [reference_draw(MASK, 0)]


@given(st.lists(st.tuples(uint64s, st.integers(0, 5)), max_size=8))
def test_runs_are_draws_end_to_end(runs):
    keys = np.array([key for key, _ in runs], dtype=np.uint64)
    counts = np.array([count for _, count in runs], dtype=np.int64)
    expected = [reference_draw(key, counter) for key, count in runs for counter in range(count)]
    assert draw_runs(keys, counts).tolist() == expected


def test_arguments_are_left_alone_and_results_may_be_changed():
    keys = np.arange(3, dtype=np.uint64)
    mix(keys), draw(keys, keys), draw_runs(keys, keys), derive_key(1, keys)
    assert keys.tolist() == [0, 1, 2]
    key = derive_key(1, 2, 3)
    key[...] = 0
    assert int(derive_key(1, 2, 3)) == reference_key(1, 2, 3)


def test_purpose_order_and_every_part_matter():
    keys = {
        int(derive_key(*parts))
        for parts in [(1, 2, 3), (1, 3, 2), (2, 1, 3), (1, 2), (1, 2, 3, 0), (1, 5, 0), (1, 0, 5), (1, 2, 4), (1, 3, 3)]
    }
    assert len(keys) == 9


def test_neighbouring_parts_give_unrelated_keys():
    keys = derive_key(1, np.arange(300)[:, None], np.arange(300))
    assert np.unique(keys).size == keys.size
    assert abs(np.bitwise_count(keys[1:] ^ keys[:-1]).mean() - 32) < 0.1
    assert abs(np.bitwise_count(keys[:, 1:] ^ keys[:, :-1]).mean() - 32) < 0.1


def test_every_input_bit_moves_half_of_the_output_bits():
    values = draw(3, np.arange(20_000))
    moved = [np.bitwise_count(mix(values) ^ mix(values ^ np.uint64(1 << bit))).mean() for bit in range(64)]
    assert max(abs(mean - 32) for mean in moved) < 5 * 4 / sqrt(20_000)  # one count has a standard deviation of 4


def test_every_output_bit_is_set_half_of_the_time():
    bits = draw(5, np.arange(100_000))
    shares = [float(((bits >> np.uint64(bit)) & np.uint64(1)).mean()) for bit in range(64)]
    assert max(abs(share - 0.5) for share in shares) < 5 * 0.5 / sqrt(100_000)


@pytest.mark.parametrize("layout", ["one key, many counters", "many keys, one counter"])
def test_uniform_numbers_are_uniform(layout):
    number = np.arange(200_000)
    bits = draw(11, number) if layout.startswith("one") else draw(derive_key(1, number), 0)
    values = np.sort(uniform(bits))
    empirical = np.arange(values.size + 1) / values.size
    distance = max(np.max(empirical[1:] - values), np.max(values - empirical[:-1]))
    assert distance < sqrt(-log(1e-4 / 2) / 2 / values.size)  # Kolmogorov and Smirnov, at 1 in 10,000


def test_consecutive_uniform_numbers_are_not_correlated():
    values = uniform(draw(11, np.arange(200_000)))
    for lag in (1, 2, 7):
        assert abs(np.corrcoef(values[lag:], values[:-lag])[0, 1]) < 4 / sqrt(values.size)


def test_uniform_reaches_zero_and_stays_below_one():
    values = uniform(np.array([0, (1 << 11) - 1, 1 << 11, MASK], dtype=np.uint64))
    assert values.tolist() == [0.0, 0.0, 2.0**-53, 1 - 2.0**-53]


@given(st.lists(uint64s, max_size=5), st.integers(1, 1 << 32))
def test_below_stays_below(bits, bound):
    values = below(np.array(bits, dtype=np.uint64), bound)
    assert values.dtype == np.uint64
    assert values.tolist() == [((word >> 32) * bound) >> 32 for word in bits]
    assert all(value < bound for value in values.tolist())


def test_below_takes_a_bound_for_each_draw():
    assert below(np.full(3, MASK, dtype=np.uint64), np.array([1, 7, 40_000])).tolist() == [0, 6, 39_999]


def test_below_gives_every_integer_equally_often():
    counts = np.bincount(below(draw(9, np.arange(200_000)), 20).astype(np.int64), minlength=20)
    chi_square = float(((counts - 10_000) ** 2 / 10_000).sum())
    assert counts.size == 20
    assert chi_square < 50.8  # 19 degrees of freedom, 1 in 10,000


@pytest.mark.parametrize("bound", [0, (1 << 32) + 1, -1])
def test_below_refuses_bounds_that_would_wrap(bound):
    with pytest.raises(AssertionError, match="bound"):
        below(np.zeros(2, dtype=np.uint64), bound)


def test_only_integers_are_hashed():
    with pytest.raises(AssertionError, match="float64"):
        words(np.array([0.5]))
