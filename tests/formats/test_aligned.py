"""Whole alignments from every format: match columns and gaps as they are, damage left out and counted."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.aligned import open_alignments
from pipeline.formats.problems import OnError, Problems

DATA = Path(__file__).parents[1] / "data"

A3M = "#6\t1\n>ss_pred\nCCCC\n>query\nMKVA\n>one\nM-VefgA\n>x_consensus\nMKVA\n>two\n-..KVA.\n>two\n-KVA\n"


def texts(alignment):
    return [row.tobytes().decode() for row in alignment.letters]


def read(path, **options):
    return list(open_alignments(path, **options))


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def database(entries):
    data, lines = b"", []
    for name, text in sorted(entries.items()):
        entry = text.encode() + b"\0"
        lines.append(f"{name}\t{len(data)}\t{len(entry)}\n")
        data += entry
    return data, "".join(lines).encode()


def test_a3m_keeps_rows_order_repeats_and_gaps(tmp_path):
    problems = Problems()
    (found,) = read(write(tmp_path / "x.a3m", A3M), problems=problems)
    assert [title.decode() for title in found.titles] == ["query", "one", "two", "two"]
    assert texts(found) == ["MKVA", "M-VA", "-KVA", "-KVA"]
    assert found.num_insertions == 3
    assert problems.skipped == {"pseudo-record": 1, "consensus": 1}
    assert problems.num_comment_lines == 1


@pytest.mark.parametrize(
    "name", ["1a3a_1_A.a3m.gz", "UniRef50_UPI0003674933.a3m.gz", "UniRef50_E9K9Y4.a3m", "6A5J.a3m"]
)
def test_the_shipped_alignments_are_what_a_naive_parser_reads(name):
    path = DATA / "msa" / name
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    rows = ["".join(piece.split("\n")[1:]) for piece in text.split(">")[1:]]
    expected = ["".join(letter for letter in row if letter.isupper() or letter == "-") for row in rows]
    (found,) = read(path)
    assert texts(found) == expected
    assert found.num_insertions == sum(letter.islower() for row in rows for letter in row)


LETTERS = st.text("ACDEFGHIKLMNPQRSTVWYX-", min_size=5, max_size=5)
INSERTIONS = st.text("acd.", max_size=3)


@given(
    query=st.text("ACDEFGHIKLMNPQRSTVWY", min_size=5, max_size=5),
    rows=st.lists(st.tuples(LETTERS, st.lists(INSERTIONS, min_size=5, max_size=5)), max_size=6),
    width=st.integers(1, 80),
)
def test_insertions_and_line_breaks_change_nothing(tmp_path_factory, query, rows, width):
    written = [query, *("".join(a + b for a, b in zip(row, inserted, strict=True)) for row, inserted in rows)]
    wrapped = ["\n".join(row[at : at + width] for at in range(0, len(row), width)) for row in written]
    path = tmp_path_factory.mktemp("a3m") / "x.a3m"
    write(path, "".join(f">row{at}\n{row}\n" for at, row in enumerate(wrapped)))
    (found,) = read(path)
    assert texts(found) == [query, *(row for row, _ in rows)]


DAMAGED = ">query\nMKVA\n>good\nMKVC\n>long\nMKVAA\n>good\nM--A\n>cut\nMK"


def test_a_damaged_row_goes_and_its_alignment_stays(tmp_path):
    path = write(tmp_path / "x.a3m", DAMAGED)
    with pytest.raises(InputFormatError, match=r"x.a3m: line 5, byte 23: expected 4 match columns.*found 5 in 'long'"):
        read(path)
    problems = Problems(OnError.SKIP)
    (found,) = read(path, problems=problems)
    assert texts(found) == ["MKVA", "MKVC", "M--A"]
    assert problems.counts == {"unequal-columns": 2}


@pytest.mark.parametrize(
    ("text", "said"), [("", "found none"), ("MKVA\n", "starts with '>'"), (">a_consensus\nMK\n", "1 skipped")]
)
def test_a_file_without_an_alignment_is_an_error(tmp_path, text, said):
    with pytest.raises(InputFormatError, match=said):
        read(write(tmp_path / "x.a3m", text), file_format="a3m")


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"expected alignments.*found csv"):
        read(write(tmp_path / "x.csv", "id,sequence\na,MKV\n"))


ENTRIES = {
    "cl-1": ">cl-1_consensus\nMKVA\n>a\nMkV-A\n>b\n-KVA\n",
    "cl-2": ">c\nMK\n",
    "cl-3": "",
    "cl-4": "no alignment",
    "cl-5": ">d\n\n",
    "cl-6": ">e\nMKVAC\n>f\nMK\n",
}


def test_a_database_is_an_alignment_an_entry_however_it_is_packed(tmp_path):
    data, index = database(ENTRIES)
    write(tmp_path / "x_a3m.ffdata", data)
    write(tmp_path / "x_a3m.ffindex", index)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for name, content in {"x_a3m.ffindex": index, "x_hhm.ffdata": b"no\0", "x_a3m.ffdata": data}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    for path in (tmp_path / "x_a3m.ffdata", tmp_path / "x_a3m.ffindex", tmp_path / "x.tar.gz"):
        problems = Problems(OnError.SKIP)
        found = read(path, problems=problems)
        assert [texts(one) for one in found] == [["MV-A", "-KVA"], ["MK"], ["MKVAC"]]
        assert problems.counts == {"no-alignment": 1, "unequal-columns": 2, "no-rows": 1}
        assert problems.skipped["empty-entry"] == 1
        assert problems.skipped["consensus"] == 1


def test_an_index_of_another_database_is_refused(tmp_path):
    data, _ = database({"a": ">a\nMK\n", "b": ">b\nMK\n"})
    write(tmp_path / "x_a3m.ffdata", data)
    write(tmp_path / "x_a3m.ffindex", "a\t0\t4\nb\t4\t4\n")
    with pytest.raises(InputFormatError, match="expected 2 entries"):
        read(tmp_path / "x_a3m.ffdata")


def test_a_database_that_is_cut_short_is_an_error(tmp_path):
    data, _ = database({"a": ">a\nMK\n", "b": ">b\nMK\n"})
    with pytest.raises(InputFormatError, match=r"entry 2, .*expected a zero byte"):
        read(write(tmp_path / "x.ffdata", data[:-1]), file_format="ffindex", problems=Problems(OnError.SKIP))


def test_a_database_read_as_one_alignment_says_what_it_is(tmp_path):
    data, _ = database({"a": ">a\nMK\n", "b": ">b\nMK\n"})
    with pytest.raises(InputFormatError, match="found a zero byte") as caught:
        read(write(tmp_path / "x", data), file_format="a3m", problems=Problems(OnError.SKIP))
    assert "--format ffindex" in caught.value.hint


STOCKHOLM = """# STOCKHOLM 1.0
#=GS query DE the first
query   MK..VA
two     M-fg~A

query   CD
two     .d
{rf}//
# STOCKHOLM 1.0
other   MKV
broken  MK
//
# STOCKHOLM 1.0
last    MK
//
"""


def test_stockholm_with_match_columns(tmp_path):
    problems = Problems(OnError.SKIP)
    found = read(write(tmp_path / "x.sto", STOCKHOLM.format(rf="#=GC RF xx..xx.x\n")), problems=problems)
    assert [texts(one) for one in found] == [["MKVAD", "M--AD"], ["MK"]]
    assert found[0].titles == [b"query the first", b"two"]
    assert found[0].num_insertions == 3
    assert problems.counts == {"unreadable-alignment": 1}


def test_stockholm_without_match_columns_takes_lower_case_for_insertions(tmp_path):
    found = read(write(tmp_path / "x.sto", STOCKHOLM.format(rf="")), problems=Problems(OnError.SKIP))
    assert texts(found[0]) == ["MKVAC", "M--A-"]
    assert found[0].num_insertions == 4


def test_jackhmmer_hits_have_the_columns_of_the_query():
    (found,) = read(DATA / "stockholm" / "openfold_test.uniref90_hits.sto")
    assert found.letters.shape == (57, 73)
    assert np.array_equal(np.unique(found.letters[0] == ord("-")), [False])  # the query has no gap in its own columns


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_bad_stockholm_is_an_error(number):
    with pytest.raises(InputFormatError):
        read(DATA / "stockholm" / f"easel_stockholm.bad.{number}", file_format="stockholm")
