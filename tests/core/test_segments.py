"""Where segments lie: against loops over rows and segments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core.ragged import offsets_of, ramps
from pipeline.core.randomness import PURPOSE_MASK, derive_key
from pipeline.core.segments import Segments, slices

counts = st.lists(st.integers(0, 9), max_size=12)


def segments_of(rows, **options):
    flat = [length for row in rows for length in row]
    return Segments(
        row_offsets=np.cumsum([0, *map(len, rows)]),
        lengths=np.array(flat, dtype=np.uint32),
        record_keys=np.arange(len(flat), dtype=np.uint64) * 7,
        starts=np.arange(len(flat), dtype=np.uint32),
        **{"num_prefix": 1, "num_suffix": 1, **options},
    )


@given(st.lists(counts, max_size=5), st.integers(0, 2), st.integers(0, 2), st.sampled_from([1, 2, 8]))
def test_places_are_those_of_a_loop(rows, num_prefix, num_suffix, alignment):
    segments = segments_of(rows, num_prefix=num_prefix, num_suffix=num_suffix, alignment=alignment)
    firsts, residues = [], []
    for row, lengths in enumerate(rows):
        column = 0
        for length in lengths:
            firsts.append(row * 200 + column)
            residues.append(max(0, length - num_prefix - num_suffix))
            column += -(-length // alignment) * alignment
    assert_array_equal(segments.firsts(200), firsts)
    assert_array_equal(segments.first_residues(200), np.array(firsts, dtype=np.int64) + num_prefix)
    assert_array_equal(segments.num_residues(), residues)
    by_token = np.full(len(rows) * 200, -7)
    for value, (first, length) in enumerate(zip(firsts, segments.lengths, strict=True)):
        by_token[first : first + length] = value
    found = segments.by_token(np.arange(len(firsts)), (len(rows), 200), padding=-7, dtype=np.int16)
    assert found.dtype == np.int16
    assert_array_equal(found, by_token.reshape(-1, 200))


def test_a_suffix_may_be_of_some_segments_only():
    segments = segments_of([[4, 4], [1]], num_prefix=0, num_suffix=np.array([1, 0, 1]))
    assert segments.num_residues().tolist() == [3, 4, 0]


def test_keys_are_those_of_the_identity():
    segments = segments_of([[4, 4], [1]])
    expected = [int(derive_key(PURPOSE_MASK, 3, 5, 7 * i, i)) for i in range(3)]
    assert segments.keys(PURPOSE_MASK, 3, 5).tolist() == expected


@given(counts, st.data())
def test_ramps_are_ranges_end_to_end(many, data):
    firsts = data.draw(st.lists(st.integers(0, 1000), min_size=len(many), max_size=len(many)))
    expected = [first + i for count, first in zip(many, firsts, strict=True) for i in range(count)]
    assert ramps(np.array(many, dtype=np.int64), np.array(firsts, dtype=np.int64)).tolist() == expected
    assert ramps(np.array(many, dtype=np.int64)).tolist() == [i for count in many for i in range(count)]
    assert offsets_of(np.array(many, dtype=np.int64)).tolist() == [sum(many[:i]) for i in range(len(many) + 1)]


@given(counts, st.integers(1, 20))
def test_slices_cover_all_segments_once(many, at_a_time):
    cut = list(slices(np.array(many, dtype=np.int64), at_a_time))
    assert [i for few in cut for i in range(len(many))[few]] == list(range(len(many)))
    longest = max(many, default=0)
    assert all(sum(many[few]) <= at_a_time + 2 * longest for few in cut)


@pytest.mark.parametrize("rows", [[], [[]], [[], [3]]])
def test_empty_rows_have_places_too(rows):
    assert segments_of(rows).firsts(10).tolist() == ([10] if rows and rows[-1] else [])
