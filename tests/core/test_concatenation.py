"""Concatenation: the stream that a loop would write, nothing lost, and no pattern in the order."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.concatenation import carries_separator, concatenate
from pipeline.errors import ConfigurationError


def segments_of(made):
    columns = (getattr(made, name).tolist() for name in ("row", "slot", "record", "start", "length"))
    return list(zip(*columns, strict=True))


def tokens_of(made, lengths, row_length):
    """The rows as lists of (record, residue), the separator being the residue after the last."""
    is_end = made.start.astype(int) + made.length == np.array(lengths, dtype=int)[made.record]
    carries = carries_separator(made.row, made.length, is_end, row_length)
    rows = [[] for _ in range(made.num_rows)]
    for (row, slot, record, start, length), separated in zip(segments_of(made), carries, strict=True):
        assert slot == len({(r, s) for r, s, *_ in segments_of(made) if r == row and s < slot})
        rows[row] += [(record, residue) for residue in range(start, start + length + separated)]
    return rows


problems = st.tuples(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 24), st.integers(0, 2**63 - 1))


@given(problems)
@example(([5, 2, 7], 8, 0))
@example(([7], 8, 0))  # the separator ends the row
@example(([8], 8, 0))  # the separator is alone in the next one
@example(([8, 8, 8], 9, 0))
def test_rows_are_the_stream_that_a_loop_would_write(problem):
    lengths, row_length, seed = problem
    made = concatenate(np.array(lengths, dtype=np.uint32), row_length, seed=seed)
    rows = tokens_of(made, lengths, row_length)
    order = list(dict.fromkeys(record for row in rows for record, _ in row))
    assert sorted(order) == list(range(len(lengths)))
    stream = [(record, residue) for record in order for residue in range(lengths[record] + 1)]
    assert rows == [stream[first : first + row_length] for first in range(0, len(stream), row_length)]


@given(problems)
def test_segments_are_as_long_as_they_can_be(problem):
    """A record is cut where a row ends and nowhere else; so a row begins with what the last one left."""
    lengths, row_length, seed = problem
    made = concatenate(np.array(lengths, dtype=np.uint32), row_length, seed=seed)
    assert segments_of(made) == sorted(segments_of(made))
    assert all(slot == 0 for _, slot, _, start, _ in segments_of(made) if start)
    dtypes = [made.row.dtype, made.slot.dtype, made.record.dtype, made.start.dtype, made.length.dtype]
    assert dtypes == [np.uint32, np.uint16, np.uint32, np.uint32, np.uint32]


def test_the_example_of_the_docstring():
    made = next(
        made
        for seed in range(100)
        if (made := concatenate(np.array([5, 2, 7]), 8, seed=seed)).record.tolist() == [0, 1, 1, 2, 2]
    )
    assert segments_of(made) == [(0, 0, 0, 0, 5), (0, 1, 1, 0, 2), (1, 0, 1, 2, 0), (1, 1, 2, 0, 7), (2, 0, 2, 7, 0)]


def test_the_loss_is_less_than_a_row():
    lengths = np.random.default_rng(0).integers(1, 3000, 1000)
    made = concatenate(lengths, 1024, seed=0)
    assert made.num_rows == -(-int(lengths.sum() + 1000) // 1024)


def first_segments(made):
    return made.record[made.start == 0].astype(int)


def test_the_order_shows_neither_lengths_nor_record_numbers():
    """Sorted lengths, as the worst corpus has them; with the records in order every one of these fails."""
    lengths = np.sort(np.random.default_rng(0).integers(10, 2000, 20_000))
    made = concatenate(lengths, 1024, seed=3)
    order = first_segments(made)
    place = np.argsort(order)
    assert abs(np.corrcoef(np.arange(20_000), order)[0, 1]) < 0.03
    assert abs(np.corrcoef(np.arange(20_000), lengths[order])[0, 1]) < 0.03
    assert abs(np.corrcoef(lengths[order][:-1], lengths[order][1:])[0, 1]) < 0.03
    assert np.mean(np.abs(np.diff(place)) == 1) < 0.001  # neighbours in the corpus do not stay neighbours
    quarters = lengths[order].reshape(4, -1).mean(axis=1)
    assert quarters.max() / quarters.min() < 1.03


def test_the_seed_decides_the_order_and_lengths_do_not():
    lengths = np.arange(1, 51)
    orders = {tuple(first_segments(concatenate(lengths, 64, seed=seed))) for seed in (0, 1, 2, 0)}
    assert len(orders) == 3
    assert tuple(first_segments(concatenate(lengths[::-1], 64, seed=1))) in orders


def test_golden_order():
    """Computed once and never to change."""
    made = concatenate(np.array([5, 20, 1, 9, 3, 12]), 8, seed=7)
    assert segments_of(made) == GOLDEN


GOLDEN = [
    (0, 0, 5, 0, 8), (1, 0, 5, 8, 4), (1, 1, 0, 0, 3), (2, 0, 0, 3, 2), (2, 1, 2, 0, 1), (2, 2, 1, 0, 3),
    (3, 0, 1, 3, 8), (4, 0, 1, 11, 8), (5, 0, 1, 19, 1), (5, 1, 3, 0, 6), (6, 0, 3, 6, 3), (6, 1, 4, 0, 3),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.uint64])
def test_the_dtype_of_lengths_does_not_matter(dtype):
    lengths = np.array([5, 20, 1, 9, 3, 12], dtype=dtype)
    before = lengths.copy()
    assert segments_of(concatenate(lengths, 8, seed=7)) == GOLDEN
    assert lengths.tolist() == before.tolist()


def test_no_records():
    made = concatenate(np.empty(0, dtype=np.uint32), 8, seed=0)
    assert (made.num_rows, segments_of(made)) == (0, [])
    assert carries_separator(made.row, made.length, np.empty(0, dtype=bool), 8).tolist() == []


def test_more_segments_than_sequence_id_can_number_are_refused():
    lengths = np.ones(32_768, dtype=np.uint32)
    assert concatenate(lengths[1:], 1 << 20, seed=0).slot.max() == 32_766
    with pytest.raises(ConfigurationError, match="at most 32,767 segments, but row 0 would hold more") as caught:
        concatenate(lengths, 1 << 20, seed=0)
    assert "--length" in caught.value.hint


def test_who_carries_a_separator():
    """A row with room, one that is full with its separator, and one that is full without."""
    row, length = np.array([0, 0, 1, 1, 2, 2, 3]), np.array([3, 2, 3, 3, 3, 4, 0])
    is_end = np.array([True, True, True, True, True, True, True])
    assert carries_separator(row, length, is_end, 8).tolist() == [True, True, True, True, True, False, True]
    assert carries_separator(row, length, ~is_end, 8).tolist() == [False] * 7
