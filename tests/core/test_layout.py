"""Layout: the arrays that a loop over segments and residues would make, and the residues back from them."""

from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core import layout
from pipeline.core.layout import lay_out, position_ids, segment_places, sequence_ids
from pipeline.errors import ConfigurationError, IntegrityError

LETTERS = b"ACDEFGHIKLMNPQRSTVWYXBZUO"


@dataclass(frozen=True)
class Family:
    """How a tokenizer family dresses a segment."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad_id: int
    dtype: type


FAMILIES = {
    "esm2": Family((0,), (2,), 1, np.uint8),
    "prott5": Family((), (1,), 0, np.uint8),
    "progen": Family((1, 3), (4, 2, 2), 0, np.uint8),
    "bare": Family((), (), 255, np.uint8),
    "wide": Family((300,), (40_000,), 65_535, np.uint16),
}
families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def table_of(family):
    """A token for each byte, no two alike: so a byte of the wrong place shows."""
    return (np.arange(256)[::-1] * (257 if family.dtype is np.uint16 else 1)).astype(family.dtype)


def round_up(length, alignment):
    return -(-length // alignment) * alignment


@dataclass(frozen=True)
class Problem:
    """Records, and for each row its segments as (record, start, length)."""

    records: list[bytes]
    rows: list[list[tuple[int, int, int]]]
    row_length: int
    alignment: int

    def lengths(self, family):
        extra = len(family.prefix) + len(family.suffix)
        return [[length + extra for _, _, length in row] for row in self.rows]


@st.composite
def problems(draw, family, num_letters=200):
    """Rows of any number of segments, none included; the longest row decides the row length."""
    alignment = draw(st.sampled_from([1, 1, 8, 16]))
    num_residues = st.integers(0, num_letters) | st.sampled_from([1, 2, 63, 64, 65, 127, 128, 129])
    records = [bytes(draw(st.randoms(use_true_random=False)).choices(LETTERS, k=draw(num_residues)))]
    records += [records[0][k:] + records[0][:k] for k in draw(st.lists(st.integers(0, num_letters), max_size=4))]

    def segment(record):
        total = len(records[record])
        start = draw(st.integers(0, total))
        return record, start, draw(st.integers(0, total - start))

    rows = [
        [segment(draw(st.integers(0, len(records) - 1))) for _ in range(draw(st.integers(0, 5)))]
        for _ in range(draw(st.integers(0, 4)))
    ]
    extra = len(family.prefix) + len(family.suffix)
    longest = max((sum(round_up(length + extra, alignment) for _, _, length in row) for row in rows), default=0)
    row_length = max(alignment, longest + alignment * draw(st.integers(0, 3)))
    return Problem(records, rows, row_length, alignment)


def lay_out_problem(problem, family, **changes):
    segments = [(row, *segment) for row, of_row in enumerate(problem.rows) for segment in of_row]
    row, record, start, length = np.array(segments, dtype=np.uint32).reshape(-1, 4).T
    arguments = {
        "row": row,
        "record": record,
        "start": start,
        "length": length,
        "num_rows": len(problem.rows),
        "row_length": problem.row_length,
        "table": table_of(family),
        "prefix": family.prefix,
        "suffix": family.suffix,
        "pad_id": family.pad_id,
        "alignment": problem.alignment,
    }
    residues = np.frombuffer(b"".join(problem.records), dtype=np.uint8)
    offsets = np.array([0, *accumulate(len(record) for record in problem.records)], dtype=np.int64)
    return lay_out(residues, offsets, **(arguments | changes))


def expected_arrays(problem, family, has_suffix=None):
    """input_ids, sequence_id and position_ids by loops over rows, segments and residues."""
    table, rows = table_of(family).tolist(), []
    has_suffix = iter(has_suffix or [True] * sum(len(row) for row in problem.rows))
    for segments in problem.rows:
        tokens, sequence, position = [], [], []
        for number, (record, start, length) in enumerate(segments):
            letters = problem.records[record][start : start + length]
            suffix = family.suffix if next(has_suffix) else ()
            segment = [*family.prefix, *(table[letter] for letter in letters), *suffix]
            gap = round_up(len(segment), problem.alignment) - len(segment)
            tokens += segment + [family.pad_id] * gap
            sequence += [number] * len(segment) + [-1] * gap
            position += [*range(len(segment)), *[0] * gap]
        rest = problem.row_length - len(tokens)
        rows.append((tokens + [family.pad_id] * rest, sequence + [-1] * rest, position + [0] * rest))
    return (np.array([row[k] for row in rows]).reshape(len(rows), problem.row_length) for k in range(3))


def flat_lengths(problem, family):
    lengths = problem.lengths(family)
    offsets = np.array([0, *accumulate(len(row) for row in lengths)], dtype=np.int64)
    return np.array([length for row in lengths for length in row], dtype=np.uint32), offsets


@families
@settings(max_examples=40)
@given(st.data())
def test_rows_are_what_loops_would_make(family, data):
    problem = data.draw(problems(family))
    block = lay_out_problem(problem, family)
    input_ids, sequence_id, positions = expected_arrays(problem, family)
    lengths, row_offsets = flat_lengths(problem, family)
    assert_array_equal(block.input_ids, input_ids)
    assert_array_equal(block.sequence_id, sequence_id)
    assert_array_equal(block.lengths, lengths)
    assert_array_equal(block.row_offsets, row_offsets)
    assert_array_equal(block.num_sequences, [len(row) for row in problem.rows])
    assert_array_equal(block.num_tokens, [sum(row) for row in problem.lengths(family)])
    dtypes = [
        block.input_ids,
        block.sequence_id,
        block.lengths,
        block.row_offsets,
        block.num_tokens,
        block.num_sequences,
    ]
    expected = [family.dtype, np.int16, np.uint32, np.int64, np.uint32, np.uint16]
    assert [array.dtype for array in dtypes] == expected
    assert_array_equal(position_ids(lengths, row_offsets, problem.row_length, problem.alignment), positions)


@families
@settings(max_examples=40)
@given(st.data())
def test_the_suffix_may_be_left_out_of_some_segments(family, data):
    problem = data.draw(problems(family))
    num_segments = sum(len(row) for row in problem.rows)
    chosen = data.draw(st.lists(st.booleans(), min_size=num_segments, max_size=num_segments))
    block = lay_out_problem(problem, family, has_suffix=np.array(chosen, dtype=bool))
    input_ids, sequence_id, _ = expected_arrays(problem, family, chosen)
    assert_array_equal(block.input_ids, input_ids)
    assert_array_equal(block.sequence_id, sequence_id)
    residues = [length for row in problem.rows for _, _, length in row]
    extra = [len(family.prefix) + len(family.suffix) * ends for ends in chosen]
    assert_array_equal(block.lengths, np.add(residues, extra))
    assert block.num_tokens.sum() == block.lengths.sum()


@families
@settings(max_examples=40)
@given(st.data())
def test_what_follows_from_lengths_alone(family, data):
    problem = data.draw(problems(family))
    _, sequence_id, positions = expected_arrays(problem, family)
    lengths, row_offsets = flat_lengths(problem, family)
    arguments = (lengths, row_offsets, problem.row_length, problem.alignment)
    assert_array_equal(sequence_ids(*arguments), sequence_id)
    assert_array_equal(position_ids(*arguments), positions)
    assert sequence_ids(*arguments).dtype == np.int16
    assert position_ids(*arguments).dtype == np.int32
    starts = []
    for number, row in enumerate(problem.lengths(family)):
        within = [0, *accumulate(round_up(length, problem.alignment) for length in row)][: len(row)]
        starts += [number * problem.row_length + start for start in within]
    assert_array_equal(segment_places(*arguments), starts)


@families
@settings(max_examples=40)
@given(st.data())
def test_cutting_rows_by_their_lengths_gives_the_residues_back(family, data):
    problem = data.draw(problems(family))
    block = lay_out_problem(problem, family)
    letter_of_token = {token: letter for letter, token in enumerate(table_of(family).tolist())}
    starts = segment_places(block.lengths, block.row_offsets, problem.row_length, problem.alignment)
    for row, (begin, end) in enumerate(pairwise(block.row_offsets.tolist())):
        for slot, (start, length) in enumerate(zip(starts[begin:end], block.lengths[begin:end], strict=True)):
            record, first, num_residues = problem.rows[row][slot]
            tokens = block.input_ids.reshape(-1)[start : start + length].tolist()
            residues = tokens[len(family.prefix) : len(tokens) - len(family.suffix)]
            assert tuple(tokens[: len(family.prefix)]) == family.prefix
            assert tuple(tokens[len(tokens) - len(family.suffix) :]) == family.suffix
            expected = problem.records[record][first : first + num_residues]
            assert bytes(letter_of_token[token] for token in residues) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_length_of_segment_is_copied_whole(dtype):
    """Each length up to 400 once, from either end of a record: all sizes of block, whole and overlapping."""
    residues = np.random.default_rng(0).integers(65, 91, 400).astype(np.uint8)
    table = np.arange(256).astype(dtype)
    lengths = np.arange(1, 401)
    for start in (np.zeros_like(lengths), 400 - lengths):
        block = lay_out(
            residues,
            np.array([0, 400]),
            row=lengths - 1,
            record=np.zeros_like(lengths),
            start=start,
            length=lengths,
            num_rows=400,
            row_length=400,
            table=table,
        )
        for row in range(400):
            expected = np.zeros(400, dtype=dtype)
            expected[: row + 1] = residues[start[row] : start[row] + row + 1]
            assert_array_equal(block.input_ids[row], expected)


def test_chunks_do_not_show(monkeypatch):
    family = FAMILIES["esm2"]
    problem = Problem([LETTERS * 40], [[(0, 3, 700), (0, 0, 5)], [(0, 100, 600)]], 800, 1)
    whole = lay_out_problem(problem, family).input_ids
    monkeypatch.setattr(layout, "_CHUNK", 64)
    assert_array_equal(lay_out_problem(problem, family).input_ids, whole)


def test_residues_may_be_a_slice_of_a_read_only_buffer():
    """Arrow hands out such arrays, with offsets that do not begin at 0."""
    residues = np.frombuffer(b"--MKVL--AC", dtype=np.uint8)
    segments = {name: np.array(values) for name, values in {"row": [0, 0], "start": [1, 0], "length": [3, 2]}.items()}
    offsets = np.array([2, 6, 8, 10], dtype=np.int32)
    arguments = {"num_rows": 1, "row_length": 6, "table": np.arange(256, dtype=np.uint8), "pad_id": 95}
    for source in (residues, np.repeat(residues, 2)[::2]):
        block = lay_out(source, offsets, record=np.array([0, 2]), **segments, **arguments)
        assert block.input_ids.tobytes() == b"KVLAC_"


FITS = Problem([b"MKVLAC", b"GG"], [[(0, 0, 6), (1, 0, 2)], [(0, 2, 4)]], 12, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row": np.array([0, 1, 0])}, "segment 2 of the plan is in row 0, but rows rise from 0 to 1"),
        ({"row": np.array([0, 0, 2])}, "segment 2 of the plan is in row 2"),
        ({"row": np.array([-1, 0, 1])}, "segment 0 of the plan is in row -1"),
        ({"record": np.array([0, 2, 0])}, "2 residues from 0 on of record 2, which is not among 2 records"),
        ({"record": np.array([0, -1, 0])}, "of record -1, which is not among 2 records"),
        ({"record": np.array([0, 1, 1])}, "4 residues from 2 on of record 1, which has 2 residues"),
        ({"start": np.array([0, 1, 2])}, "2 residues from 1 on of record 1, which has 2 residues"),
        ({"start": np.array([0, -1, 2])}, "2 residues from -1 on of record 1"),
        ({"length": np.array([6, -1, 4])}, "-1 residues from 0 on of record 1"),
        ({"row_length": 11}, "at most 11 tokens, but the segments of row 0 make 12"),
        ({"row": np.array([0, 0, 0]), "row_length": 17}, "at most 17 tokens, but the segments of row 0 make 18"),
        ({"alignment": 6}, "at most 12 tokens, but the segments of row 0 make 18"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(changes, message):
    assert lay_out_problem(FITS, FAMILIES["esm2"]).num_sequences.tolist() == [2, 1]
    with pytest.raises(IntegrityError, match=message):
        lay_out_problem(FITS, FAMILIES["esm2"], **changes)


def test_a_row_that_runs_into_an_empty_one_is_refused():
    for function in (sequence_ids, position_ids):
        with pytest.raises(IntegrityError, match="the segments of row 0 make 9"):
            function(np.array([9]), np.array([0, 1, 1]), 8)


def test_more_segments_than_sequence_id_can_number_are_refused():
    lengths = np.ones(32_768, dtype=np.uint32)
    assert sequence_ids(lengths[1:], np.array([0, 32_767]), 1 << 15)[0, -2:].tolist() == [32_766, -1]
    with pytest.raises(IntegrityError, match="at most 32,767 segments, but the segments of row 0 make 32,768"):
        sequence_ids(lengths, np.array([0, 32_768]), 1 << 15)


def test_row_length_is_a_multiple_of_the_alignment():
    with pytest.raises(ConfigurationError, match="multiple of the alignment 8, found 12"):
        sequence_ids(np.array([3]), np.array([0, 1]), 12, 8)


def test_no_rows():
    assert sequence_ids(np.zeros(0, dtype=np.uint32), np.zeros(1, dtype=np.int64), 8).shape == (0, 8)
    assert lay_out_problem(Problem([b"MK"], [], 8, 1), FAMILIES["esm2"]).input_ids.shape == (0, 8)
    assert lay_out_problem(Problem([], [[], []], 8, 1), FAMILIES["esm2"]).input_ids.tolist() == [[1] * 8] * 2
