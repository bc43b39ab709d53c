"""The account of concatenated records: sound streams pass, and whatever is no such stream does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.concatenation import carries_separator, concatenate
from pipeline.stages.verify.run_on import RunOn
from pipeline.stages.verify.segments import Segments

ROW_LENGTH = 8


def rows_of(lengths, seed=0):
    """Rows of (record, start, residues, has separator)."""
    made = concatenate(np.array(lengths, dtype=np.int64), ROW_LENGTH, seed=seed)
    is_end = made.start.astype(int) + made.length == np.array(lengths, dtype=int)[made.record]
    separated = carries_separator(made.row, made.length, is_end, ROW_LENGTH)
    rows = [[] for _ in range(made.num_rows)]
    for row, *segment in zip(
        made.row.tolist(),
        made.record.tolist(),
        made.start.tolist(),
        made.length.tolist(),
        separated.tolist(),
        strict=True,
    ):
        rows[row].append(tuple(segment))
    return rows


def segments_of(rows, first_row=0):
    record, start, length, has_suffix = np.array([s for row in rows for s in row], dtype=np.int64).reshape(-1, 4).T
    return Segments(
        first_row=first_row,
        row_offsets=np.cumsum([0, *(len(row) for row in rows)]),
        record=record,
        start=start,
        length=length,
        has_suffix=has_suffix.astype(bool),
    )


def account(lengths, groups):
    run_on = RunOn(np.array(lengths, dtype=np.int64), ROW_LENGTH)
    findings, first_row = [], 0
    for rows in groups:
        findings += run_on.enter("file", segments_of(rows, first_row))
        first_row += len(rows)
    closed = run_on.close("part")
    return [*findings, *closed.findings], closed.counts


def is_stream(lengths, rows):
    """By hand: whole records, each once, full rows, and no segment that could have been longer."""
    tokens = [(r, t) for row in rows for r, start, size, has in row for t in range(start, start + size + has)]
    order = list(dict.fromkeys(record for record, _ in tokens))
    is_whole = tokens == [(record, token) for record in order for token in range(lengths[record] + 1)]
    used = [sum(size + has for _, _, size, has in row) for row in rows]
    is_full = all(tokens == ROW_LENGTH for tokens in used[:-1]) and all(
        0 < tokens <= ROW_LENGTH for tokens in used[-1:]
    )
    is_uncut = all(start == 0 for row in rows for _, start, _, _ in row[1:])
    no_empty = all(size + has for row in rows for _, _, size, has in row)
    return is_whole and len(order) == len(lengths) and is_full and is_uncut and no_empty


lengths_lists = st.lists(st.integers(0, 20), min_size=1, max_size=8)


def cut_into_groups(data, rows):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    return [rows[first:last] for first, last in zip([0, *cuts], [*cuts, len(rows)], strict=True)]


@given(lengths_lists, st.integers(0, 100), st.data())
def test_what_is_sound_passes_however_it_is_cut_into_row_groups(lengths, seed, data):
    rows = rows_of(lengths, seed)
    findings, counts = account(lengths, cut_into_groups(data, rows))
    assert findings == []
    assert is_stream(lengths, rows)
    assert counts["residues"] == counts["residues_packed"] == sum(lengths)
    assert (counts["records"], counts["segments"]) == (len(lengths), sum(len(row) for row in rows))
    assert counts["residues_lost"] == counts["overlong"] == 0


def tampered(data, lengths, rows):
    """One or two changes that keep every segment inside its record."""
    rows = [list(row) for row in rows]
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(rows) - 1))
        slot = data.draw(st.integers(0, max(0, len(rows[at]) - 1)))
        how = data.draw(
            st.sampled_from(["swap rows", "drop row", "double row", "drop", "double", "change", "separator"])
        )
        if how == "swap rows":
            other = data.draw(st.integers(0, len(rows) - 1))
            rows[at], rows[other] = rows[other], rows[at]
        elif how == "drop row" and len(rows) > 1:
            del rows[at]
        elif how == "double row":
            rows.insert(at, list(rows[at]))
        elif not rows[at]:
            continue
        elif how == "drop":
            del rows[at][slot]
        elif how == "double":
            rows[at].insert(slot, rows[at][slot])
        elif how == "change":
            record = data.draw(st.integers(0, len(lengths) - 1))
            start = data.draw(st.integers(0, lengths[record]))
            size = data.draw(st.integers(0, lengths[record] - start))
            rows[at][slot] = (record, start, size, start + size == lengths[record] and data.draw(st.booleans()))
        elif how == "separator":
            record, start, size, has = rows[at][slot]
            rows[at][slot] = (record, start, size, not has and start + size == lengths[record])
    return rows


@given(lengths_lists, st.integers(0, 100), st.data())
def test_whatever_is_no_such_stream_is_found(lengths, seed, data):
    rows = tampered(data, lengths, rows_of(lengths, seed))
    findings, _ = account(lengths, cut_into_groups(data, rows))
    assert (findings == []) == is_stream(lengths, rows)


LENGTHS = [5, 2, 7]
SOUND = [[(0, 0, 5, True), (1, 0, 2, False)], [(1, 2, 0, True), (2, 0, 7, False)], [(2, 7, 0, True)]]


@pytest.mark.parametrize(
    ("rows", "place", "told"),
    [
        (
            [SOUND[0], [(2, 0, 7, True)]],
            "file",
            "row 1: expected a segment that begins with the separator of record 1, found one that begins with residue",
        ),
        (SOUND[:2], "part", "expected another segment with the separator of record 2, found the end"),
        (
            [SOUND[0], SOUND[2], SOUND[1]],
            "file",
            "row 1: expected a segment that begins with the separator of record 1",
        ),
        ([SOUND[0], SOUND[0]], "part", "record 0: expected it once, found 2 beginnings of it (and 2 more)"),
        ([SOUND[0][:1], *SOUND[1:]], "file", "row 0: 6 tokens of 8, but it is not the part's last row"),
        (
            [[(0, 0, 5, True), (1, 0, 1, False), (1, 1, 1, False)], *SOUND[1:]],
            "file",
            "row 0: a segment begins with residue 1 of 2 of record 1, though it is not the first of its row",
        ),
        ([*SOUND, []], "file", "row 2: 1 tokens of 8"),
        (
            [[(0, 0, 5, True), (1, 0, 2, False), (1, 2, 0, False)], *SOUND[1:]],
            "file",
            "row 0: a segment without tokens",
        ),
    ],
)
def test_the_place_and_what_was_expected_are_told(rows, place, told):
    assert account(LENGTHS, [SOUND])[0] == []
    findings, _ = account(LENGTHS, [rows])
    assert any(finding.path == place and finding.message.startswith(told) for finding in findings), findings


def test_a_row_that_is_not_full_is_the_last_across_row_groups():
    findings, _ = account([3, 3], [[[(0, 0, 3, True)]], [[(1, 0, 3, True)]]])
    (finding,) = findings
    assert finding.message == "row 1: expected none after row 0 of file, which is not full"


def test_rows_that_could_not_be_read_are_not_held_against_those_that_follow():
    lengths = [5, 2, 7, 30]
    rows = rows_of(lengths)
    for missing in range(len(rows)):
        run_on = RunOn(np.array(lengths), ROW_LENGTH)
        findings = run_on.enter("file", segments_of(rows[:missing]))
        run_on.skip()
        assert findings + run_on.enter("file", segments_of(rows[missing + 1 :], missing + 1)) == []
    run_on = RunOn(np.array(lengths), ROW_LENGTH)
    run_on.enter("file", segments_of([*rows[:1], rows[1][:-1]]))
    run_on.skip()
    assert run_on.enter("file", segments_of(rows[2:4])) == []
    assert run_on.enter("file", segments_of(rows[2:4])) != []


def test_a_part_without_records():
    assert account([], [])[0] == []
    assert account([], [[]])[0] == []
