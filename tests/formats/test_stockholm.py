"""Stockholm: blocks, several alignments, match columns by RF, and each way to be malformed."""

import tracemalloc
from pathlib import Path

import pytest
from Bio import AlignIO
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputFormatError
from pipeline.formats import records
from pipeline.formats.alignment import Insertions, skipped_kind
from pipeline.formats.problems import OnError, Problems
from pipeline.formats.stockholm import read_stockholm

STOCKHOLM = Path(__file__).parents[1] / "data" / "stockholm"
KEEP, REMOVE = Insertions.KEEP, Insertions.REMOVE


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """One file that every example overwrites."""
    return tmp_path_factory.mktemp("stockholm") / "rows.sto"


def read_text(gather, path, text, **options):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return gather(read_stockholm(path, **options))


@pytest.mark.parametrize(
    ("name", "num_rows", "num_kept", "num_removed"),
    [
        ("Pkinase.sto", 38, 10156, 10156),
        ("pfam5.seed.txt", 11, 3511, 3161),
        ("PF05371_seed.sth", 7, 355, 355),
        ("openfold_test.uniref90_hits.sto", 57, 3750, 3747),
        ("openfold_test.mgnify_hits.sto", 59, 3856, 3853),
    ],
)
def test_real_alignments(gather, name, num_rows, num_kept, num_removed):
    kept, removed = (
        gather(read_stockholm(STOCKHOLM / name)),
        gather(read_stockholm(STOCKHOLM / name, insertions=REMOVE)),
    )
    rows = AlignIO.read(STOCKHOLM / name, "stockholm")
    assert kept.accessions == removed.accessions
    assert kept.residues == [str(row.seq).replace("-", "").replace(".", "").upper() for row in rows]
    assert len(kept.residues) == num_rows
    assert sum(map(len, kept.residues)) == num_kept
    assert sum(map(len, removed.residues)) == num_removed


def test_descriptions_complete_the_title_line(gather):
    read = gather(read_stockholm(STOCKHOLM / "openfold_test.uniref90_hits.sto"))
    assert read.columns[1] == {
        "accession": "UniRef90_D7BIZ4/1-73",
        "source": "uniref90",
        "taxon_id": 526227,
        "cluster": "UniRef90_D7BIZ4",
        "description": "[subseq from] Uncharacterized protein n=1 Tax=Meiothermus silvanus "
        "(strain ATCC 700542 / DSM 9946 / VI-R2) TaxID=526227 RepID=D7BIZ4_MEISD",
    }
    read = gather(read_stockholm(STOCKHOLM / "openfold_test.mgnify_hits.sto"))
    assert read.columns[1]["source"] == "mgnify"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1, "alignment 1, line 1: expected '# STOCKHOLM 1.0', found 'missing Stockholm header'"),
        (2, "alignment 1, line 4: expected 40 columns in 'seq2' as in 'seq1', found 20"),
        (3, "alignment 1, line 4: expected a row 'seq2', which #=GS describes, found none"),
        (4, "expected '//' at the end of the alignment that starts in line 1, found the end of the file"),
    ],
)
def test_malformed_files_of_easel(gather, number, message):
    path = STOCKHOLM / f"easel_stockholm.bad.{number}"
    with pytest.raises(InputFormatError) as caught:
        gather(read_stockholm(path))
    assert message in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


BLOCKS = """\
# STOCKHOLM 1.0
#=GF ID two
# by hand
#=GS b DE a  protein
#=GS b DE of two lines

a \tMK-V_a
b   MK.VACx
#=GR b SS HHHHHHH
ss_pred CCCCCCC
#=GC RF xx.xxxx

a   AC
b   a-
ss_pred CC
#=GC RF x.
//

# STOCKHOLM 1.0
a MKV
//
"""


@pytest.mark.parametrize(
    ("insertions", "residues"), [(KEEP, ["MKVAAC", "MKVACXA", "MKV"]), (REMOVE, ["MKVAA", "MKVACXA", "MKV"])]
)
def test_interleaved_blocks_and_several_alignments(gather, path, insertions, residues):
    text = BLOCKS.replace("MK-V_a\n", "MK-V_a.\n")
    read = read_text(gather, path, text, insertions=insertions)
    assert read.residues == residues
    assert read.accessions == ["a", "b", "a"]
    assert read.columns[1]["description"] == "a  protein of two lines"
    assert read.places == ["alignment 1, line 7", "alignment 1, line 8", "alignment 2, line 20"]
    assert read.skipped == {"pseudo-record": 1}
    assert read.num_comment_lines == 1


def test_without_an_rf_line_insertions_are_lower_case(gather, path):
    text = "# STOCKHOLM 1.0\na MKvvA-C\n//\n"
    assert read_text(gather, path, text, insertions=REMOVE).residues == ["MKAC"]
    assert read_text(gather, path, text, insertions=KEEP).residues == ["MKVVAC"]


@pytest.mark.parametrize("change", [lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff\n" + t, str.rstrip])
def test_what_makes_no_difference(gather, path, change):
    text = BLOCKS.replace("MK-V_a\n", "MK-V_a.\n")
    assert read_text(gather, path, change(text)).residues == read_text(gather, path, text).residues


HEADER = "# STOCKHOLM 1.0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected Stockholm alignments, found none"),
        ("\n\n", "expected Stockholm alignments, found none"),
        (">a\nMKV\n", "line 1: expected '# STOCKHOLM 1.0', found '>a'"),
        (HEADER + "a MKV\n//\njunk\n", "line 4: expected '# STOCKHOLM 1.0', found 'junk'"),
        (HEADER + "//\n", "line 1: expected an alignment with rows, found none"),
        (HEADER + "a\n//\n", "line 2: expected a name and aligned residues, found 'a'"),
        (HEADER + "a MKV\na MKV\n//\n", "line 3: expected one line for 'a' in a block, found another one"),
        (HEADER + "a MKV\n#=GC RF xx\n//\n", "line 1: expected 3 columns in '#=GC RF' as in the rows, found 2"),
        (HEADER + "a MKV\n" + HEADER + "a MKV\n//\n", "line 3: expected '//' before the next alignment, found none"),
        (HEADER + "a MKV", "line 2: expected '//' at the end of the alignment that starts in line 1"),
    ],
)
def test_malformed_files(gather, path, text, message):
    with pytest.raises(InputFormatError) as caught:
        read_text(gather, path, text)
    assert message in caught.value.message


@pytest.mark.parametrize(
    "malformed",
    [
        HEADER + "a\nb MKV\n//\n",
        HEADER + "a MKV\nb MK\n//\n",
        HEADER + "//\n",
        HEADER + "a MKV\na MKV\nb\n//\n",
        HEADER + "a MKV\n",
    ],
)
def test_a_malformed_alignment_is_skipped_whole(gather, path, malformed):
    problems = Problems(OnError.SKIP)
    good = HEADER + "c MKV\n//\n"
    read = read_text(gather, path, good + malformed + good, problems=problems)
    assert read.accessions == ["c", "c"]
    assert problems.counts == {"unreadable-alignment": 1}
    assert "alignment 2, line" in problems.examples[0]


NAMES = st.text("abcXYZ019|_/.", min_size=1, max_size=12).filter(lambda name: skipped_kind(name.encode()) is None)


@st.composite
def alignments(draw):
    num_columns = draw(st.integers(1, 30))
    rows = st.dictionaries(
        NAMES, st.text("ACDEFGacdefg-.", min_size=num_columns, max_size=num_columns), min_size=1, max_size=6
    )
    return draw(rows)


def as_stockholm(rows, width):
    num_columns = len(next(iter(rows.values())))
    blocks = [
        "".join(f"{name} {row[start : start + width]}\n" for name, row in rows.items())
        for start in range(0, num_columns, width)
    ]
    return HEADER + "\n".join(blocks) + "//\n"


@given(st.lists(alignments(), min_size=1, max_size=3), st.integers(1, 40))
def test_rows_that_were_written_are_read(gather, path, written, width):
    read = read_text(gather, path, "".join(as_stockholm(rows, width) for rows in written))
    rows = [pair for rows in written for pair in rows.items()]
    assert read.accessions == [name for name, _ in rows]
    assert read.residues == ["".join(c for c in row if c not in "-.").upper() for _, row in rows]


@given(st.lists(alignments(), min_size=1, max_size=2), st.integers(1, 40), st.integers(0, 10_000))
def test_a_file_cut_anywhere_is_an_error_or_ends_between_two_alignments(gather, path, written, width, cut):
    text = "".join(as_stockholm(rows, width) for rows in written)
    part = text[: cut % len(text)]
    num_whole = part.count("\n//")
    if num_whole and part.rstrip("\n").endswith("\n//"):
        assert len(read_text(gather, path, part).residues) == sum(map(len, written[:num_whole]))
    else:
        with pytest.raises(InputFormatError):
            read_text(gather, path, part)


def test_memory_is_that_of_an_alignment(path, monkeypatch):
    monkeypatch.setattr(records, "RECORDS_PER_BLOCK", 10)
    text = as_stockholm({f"row{number}": "MKV-" * 1000 for number in range(50)}, 100)

    def peak(num_alignments):
        path.write_text(text * num_alignments)
        tracemalloc.start()
        try:
            assert sum(block.num_records for block in read_stockholm(path)) == 50 * num_alignments
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(80) < 1.1 * peak(40)


def test_what_was_skipped_is_told_where_no_row_is_left(gather, path):
    problems = Problems(OnError.SKIP)
    text = "# STOCKHOLM 1.0\n# a comment\nq_consensus MKV\n//\n# STOCKHOLM 1.0\na MK\nb M\n//\n"
    assert read_text(gather, path, text, problems=problems).residues == []
    assert problems.counts == {"unreadable-alignment": 1}
    assert problems.skipped == {"consensus": 1}
    assert problems.num_comment_lines == 1
