"""Bounds of sequences in rows laid end to end: what each says of every token, against sequence_id."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.layout import sequence_ids
from pipeline.core.variable_length import cumulative_lengths, most_sequences, segment_bounds
from pipeline.errors import IntegrityError

LENGTH = 24


@st.composite
def rows(draw):
    """Lengths, row offsets and alignment of some rows; rows of padding among them."""
    alignment = draw(st.sampled_from([1, 4, 8]))
    lengths, counts = [], []
    for _ in range(draw(st.integers(1, 5))):
        room, count = LENGTH // alignment, 0
        while room and draw(st.booleans()):
            blocks = draw(st.integers(1, room))
            lengths.append(draw(st.integers((blocks - 1) * alignment + 1, blocks * alignment)))
            room, count = room - blocks, count + 1
        counts.append(count)
    return np.array(lengths, dtype=np.int64), np.concatenate(([0], np.cumsum(counts))).astype(np.int64), alignment


@given(rows())
def test_sequences_tile_the_tokens_and_none_holds_two_segments_or_padding_beside_one(made):
    lengths, offsets, alignment = made
    num_rows = len(offsets) - 1
    size = most_sequences(num_rows, int(np.diff(offsets).max()), alignment)
    bounds = cumulative_lengths(lengths, offsets, LENGTH, alignment=alignment, size=size)
    assert bounds.dtype == np.int32
    assert bounds.shape == (size + 1,)
    assert (bounds[0], bounds[-1]) == (0, num_rows * LENGTH)
    sizes = np.diff(bounds)
    assert (sizes >= 0).all()
    assert (sizes <= LENGTH).all()
    assert sizes[: np.count_nonzero(sizes)].all()  # empty ones come last
    ids = sequence_ids(lengths, offsets, LENGTH, alignment=alignment)
    in_batch = np.where(ids < 0, -1, ids.astype(np.int64) + LENGTH * np.arange(num_rows)[:, None]).reshape(-1)
    whole = [in_batch[begin:end] for begin, end in pairwise(bounds) if end > begin]
    assert all(len(np.unique(part)) == 1 for part in whole)
    # Every segment is one sequence: as many sequences of tokens as segments.
    assert sum(part[0] >= 0 for part in whole) == len(lengths)


@given(rows())
def test_segments_with_and_without_padding(made):
    lengths, offsets, alignment = made
    size = len(lengths) + 3
    tokens, places = segment_bounds(lengths, offsets, LENGTH, alignment=alignment, size=size)
    assert tokens.dtype == places.dtype == np.int32
    assert np.diff(tokens)[: len(lengths)].tolist() == lengths.tolist()
    assert (tokens[len(lengths) :] == lengths.sum()).all()
    assert (places[len(lengths) :] == (len(offsets) - 1) * LENGTH).all()
    ids = sequence_ids(lengths, offsets, LENGTH, alignment=alignment).reshape(-1)
    within = np.arange(len(lengths)) - np.repeat(offsets[:-1], np.diff(offsets))
    for begin, length, segment in zip(places, lengths, within, strict=False):
        assert (ids[begin : begin + length] == segment).all()
        assert begin + length == len(ids) or ids[begin + length] != segment or (begin + length) % LENGTH == 0


def test_more_sequences_than_there_is_room_for_are_told():
    with pytest.raises(IntegrityError, match="expected at most 2 sequences"):
        cumulative_lengths(np.array([3, 4, 5]), np.array([0, 3]), LENGTH, alignment=1, size=2)
