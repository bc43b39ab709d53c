"""A3M against a plain loop over lines, real alignments, and rows that do not fit."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats import records
from pipeline.formats.alignment import Insertions, count_match_columns, read_a3m, skipped_kind
from pipeline.formats.problems import OnError, Problems

MSA = Path(__file__).parents[1] / "data" / "msa"
KEEP, REMOVE = Insertions.KEEP, Insertions.REMOVE


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """One file that every example overwrites."""
    return tmp_path_factory.mktemp("a3m") / "rows.a3m"


def read_text(gather, path, text, **options):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return gather(read_a3m(path, **options))


def oracle(text: str, insertions: Insertions) -> list[tuple[str, str]]:
    """Header and residues of each row, line after line, character after character."""
    rows: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith(">"):
            rows.append((line[1:].strip(), ""))
        elif not line.startswith("#"):
            keep = [c.upper() for c in line if not c.isspace() and c not in "-."]
            if insertions is REMOVE:
                keep = [c for c in line if not c.isspace() and c not in "-." and not c.islower()]
            rows[-1] = (rows[-1][0], rows[-1][1] + "".join(keep))
    return rows


@pytest.mark.parametrize("insertions", Insertions)
@pytest.mark.parametrize(
    ("name", "num_rows", "num_residues"),
    [
        ("UniRef50_UPI0003674933.a3m.gz", 1065, {KEEP: 116694, REMOVE: 114472}),
        ("UniRef50_E9K9Y4.a3m", 17, {KEEP: 1444, REMOVE: 1313}),
        ("1a3a_1_A.a3m.gz", 1024, {KEEP: 141947, REMOVE: 141947}),
        ("6A5J.a3m", 2, {KEEP: 26, REMOVE: 26}),
    ],
)
def test_real_alignments(gather, name, num_rows, num_residues, insertions):
    content = (MSA / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith("gz") else content).decode()
    read = gather(read_a3m(MSA / name, insertions=insertions))
    expected = oracle(text, insertions)
    assert read.residues == [residues for _, residues in expected]
    assert len(read.residues) == num_rows
    assert sum(map(len, read.residues)) == num_residues[insertions]
    for place, (header, _) in zip(read.places, expected, strict=True):
        line, byte = (int(word.split()[1]) for word in place.split(", "))
        assert text[byte:].startswith(">" + header)
        assert text[:byte].count("\n") == line - 1


def test_headers_are_those_of_fasta(gather):
    columns = gather(read_a3m(MSA / "UniRef50_E9K9Y4.a3m")).columns
    assert (columns[0]["accession"], columns[0]["source"]) == ("UniRef50_E9K9Y4", "uniref50")
    assert (columns[1]["accession"], columns[1]["source"]) == ("A0A161UNY6", "trembl")
    assert {row["source"] for row in gather(read_a3m(MSA / "UniRef50_E9K9Y4.a3m", source="bfd")).columns} == {"bfd"}
    assert set(gather(read_a3m(MSA / "1a3a_1_A.a3m.gz")).accessions) == {""}


HHSUITE = """\
#cl-1 a cluster
>ss_pred PSIPRED
CHHHCCC
>ss_conf PSIPRED
9876543
>aa_dssp
MKVACDE
>sa_dssp
ABCDE--
>cl-1_consensus
MKxACDE-H
>cl-1_consensus2 a protein
-KVACDEH
>SRR5512133_130811\x20
MKVefgAC-..EH
# a comment within
>my_consensus_protein
MKVA
-DEH
"""


@pytest.mark.parametrize(("insertions", "residues"), [(KEEP, "MKVEFGACEH"), (REMOVE, "MKVACEH")])
def test_pseudo_records_and_consensus_rows_are_skipped(gather, path, insertions, residues):
    read = read_text(gather, path, HHSUITE, insertions=insertions)
    assert read.accessions == ["cl-1_consensus2", "SRR5512133_130811", "my_consensus_protein"]
    assert read.residues == ["KVACDEH", residues, "MKVADEH"]
    assert read.skipped == {"pseudo-record": 4, "consensus": 1}
    assert read.num_comment_lines == 2
    assert read.places[1] == f"line 14, byte {HHSUITE.index('>SRR')}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"ss_dssp", "pseudo-record"),
        (b"aa_pred", "pseudo-record"),
        (b"cl-2_consensus", "consensus"),
        (b"cl-2_consensus a", "consensus"),
        (b"a cl-2_consensus", None),
        (b"cl-2_consensus2", None),
        (b"class_a", None),
        (b"", None),
    ],
)
def test_names_that_are_no_protein(name, kind):
    assert skipped_kind(name) == kind


def test_match_columns():
    assert count_match_columns(b"MK-v.e\r\n-DE* ") == 7


RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
NAMES = st.text("abcXYZ019|_/.", min_size=1, max_size=12).filter(lambda name: skipped_kind(name.encode()) is None)


@st.composite
def alignments(draw):
    """Rows of one number of match columns: name and row."""
    num_columns = draw(st.integers(1, 30))
    column = st.tuples(st.text(RESIDUES.lower() + ".", max_size=3), st.sampled_from(RESIDUES + "---"))
    row = st.lists(column, min_size=num_columns, max_size=num_columns)
    rows = draw(st.lists(st.tuples(NAMES, row), min_size=1, max_size=8))
    return [(name, "".join(insert + match for insert, match in pairs)) for name, pairs in rows]


def as_a3m(rows, width, line_end="\n"):
    lines = []
    for name, row in rows:
        lines += [f">{name}", *(row[start : start + width] for start in range(0, len(row), width))]
    return line_end.join(lines) + line_end


LAYOUTS = st.tuples(st.integers(1, 40), st.sampled_from(["\n", "\r\n", "\n\n", " \n"]))


@given(alignments(), st.sampled_from(Insertions), LAYOUTS)
@example([("a", "M-"), ("b", "--")], KEEP, (1, "\n"))
def test_rows_that_were_written_are_read(gather, path, rows, insertions, layout):
    text = as_a3m(rows, *layout)
    read = read_text(gather, path, text, insertions=insertions)
    assert read.accessions == [name for name, _ in rows]
    assert read.residues == [residues for _, residues in oracle(text, insertions)]
    for place, (name, _) in zip(read.places, rows, strict=True):
        line, byte = (int(word.split()[1]) for word in place.split(", "))
        assert path.read_bytes()[byte:].startswith(f">{name}".encode())
        assert path.read_bytes()[:byte].count(b"\n") == line - 1
    if insertions is REMOVE:
        assert [len(residues) for residues in read.residues] == [sum(c.isupper() for c in row) for _, row in rows]


@given(alignments(), st.integers(0, 10_000))
def test_a_file_cut_anywhere_has_its_first_rows_or_is_an_error(gather, path, rows, cut):
    text = as_a3m(rows, 40)
    part = text[: cut % (len(text) + 1)]
    try:
        read = read_text(gather, path, part)
    except InputFormatError:
        return
    # What is cut off behind the last match column cannot be known to be missing.
    whole = [residues for _, residues in oracle(text, KEEP)]
    assert len(read.residues) <= len(whole)
    if len(read.residues) > 1:
        assert read.residues[:-1] == whole[: len(read.residues) - 1]
        assert whole[len(read.residues) - 1].startswith(read.residues[-1])


ROWS = ">query\nMKVAC\n>second one\nMKVA\n>third\n-KefVAC\n>fourth\nMKVACD\n"


def test_a_row_of_another_length_is_named(gather, path):
    with pytest.raises(InputFormatError) as caught:
        read_text(gather, path, ROWS)
    assert caught.value.message == (
        f"{path}: line 3, byte 13: expected 5 match columns, as in the first row ('query'), found 4 in 'second one'"
    )


def test_rows_of_another_length_are_skipped(gather, path):
    problems = Problems(OnError.SKIP)
    read = read_text(gather, path, ROWS, problems=problems)
    assert read.accessions == ["query", "third"]
    assert problems.counts == {"unequal-columns": 2}
    assert [example.rpartition(" in ")[2] for example in problems.examples] == ["'second one'", "'fourth'"]


def test_blocks_make_no_difference(gather, path, monkeypatch):
    text = HHSUITE + ">ss_dssp\nCCCCCCCC\n"
    whole = read_text(gather, path, text)
    monkeypatch.setattr(records, "RECORDS_PER_BLOCK", 2)
    blocks = list(read_a3m(path))
    assert [block.num_records for block in blocks] == [2, 1]
    assert gather(blocks) == whole


def test_lengths_of_colabfold_are_a_comment(gather, path):
    read = read_text(gather, path, "#5\t1\n>101\nMKVAC\n>UniRef100_A\t55\t0.9\nM-VAC\n")
    assert read.accessions == ["101", "UniRef100_A"]
    assert read.num_comment_lines == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected aligned rows, found none"),
        ("\n \n", "expected aligned rows, found none"),
        ("#5\t1\n", "expected aligned rows, found none"),
        (">ss_pred\nCC\n>a_consensus\nMK\n", "found 1 skipped as pseudo-record, 1 skipped as consensus"),
        ("MKV\n>a\nMKV\n", "line 1, byte 0: expected a row that starts with '>', found 'MKV'"),
        ("#5\n\nx >a\n>b\nMKV\n", "line 3, byte 0: expected a row that starts with '>', found 'x >a'"),
        ("#59,60\t1,1\n>101\t102\nMKV\n", "expected an alignment of one chain, found one of several, '#59,60"),
        (">a\n>b\nMKV\n", "line 1, byte 0: expected residues, found 0 in 'a'"),
        (">a\nMKV\n>b\n", "line 3, byte 7: expected 3 match columns, as in the first row ('a'), found 0 in 'b'"),
        (">a\nMKV\n\0>b\nMKV\n\0", "a zero byte"),
        (">a\n<html>\n>b\nMKV\n", "as in the first row"),
    ],
)
def test_files_that_are_something_else(gather, path, text, message):
    with pytest.raises(InputFormatError) as caught:
        read_text(gather, path, text)
    assert message in caught.value.message


def test_what_cannot_be_read(gather, tmp_path, path):
    with pytest.raises(ConfigurationError, match="No such file"):
        gather(read_a3m(tmp_path / "none"))
    with pytest.raises(InputFormatError, match="cut short"):
        read_text(gather, path, gzip.compress(ROWS.encode())[:-9])
    with pytest.raises(InputFormatError, match="found none"):
        gather(read_a3m(MSA / "empty.a3m"))


def test_memory_does_not_grow_with_the_file(path, monkeypatch):
    monkeypatch.setattr(records, "RECORDS_PER_BLOCK", 100)

    def peak(num_rows):
        path.write_bytes((b">row\n" + b"MKV-" * 500 + b"\n") * num_rows)
        tracemalloc.start()
        try:
            assert sum(block.num_records for block in read_a3m(path)) == num_rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(16_000) < 1.1 * peak(8_000)


def test_what_was_skipped_is_told_where_no_row_is_left(gather, path):
    """The first row is no protein, and no other has as many columns."""
    problems = Problems(OnError.SKIP)
    text = "#a comment\n>ss_pred\nCC\n>q_consensus\nMKV\n>a\nMK\n>b\nM\n"
    assert read_text(gather, path, text, problems=problems).residues == []
    assert problems.counts == {"unequal-columns": 2}
    assert problems.skipped == {"pseudo-record": 1, "consensus": 1}
    assert problems.num_comment_lines == 1
