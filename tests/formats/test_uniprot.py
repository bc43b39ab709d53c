"""Flat file, XML and FASTA of the same entries give the same records; damage is told from data."""

import gzip
import itertools
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats import records
from pipeline.formats.fasta import read_fasta
from pipeline.formats.headers import parse_headers
from pipeline.formats.problems import OnError, Problems
from pipeline.formats.uniprot_dat import read_uniprot_dat
from pipeline.formats.uniprot_xml import read_uniprot_xml

DATA = Path(__file__).parents[1] / "data"
FLATFILE = DATA / "flatfile"
DAT = (FLATFILE / "multi_ex.txt").read_bytes()
XML = (FLATFILE / "multi_ex.xml").read_bytes()
READERS = {"dat": read_uniprot_dat, "xml": read_uniprot_xml}
FILES = {"dat": DAT, "xml": XML}
BOTH = pytest.mark.parametrize("kind", READERS)
NUM_ENTRIES = 8

ENTRY = """\
ID   F2CXE6_HORVD            Unreviewed;        12 AA.
AC   F2CXE6;
DT   31-MAY-2011, integrated into UniProtKB/TrEMBL.
DT   31-MAY-2011, sequence version 3.
DT   07-JAN-2015, entry version 17.
DE   SubName: Full=Plasma membrane intrinsic protein {ECO:0000313|EMBL:BAN04711.1};
DE   SubName: Full=Predicted protein {ECO:0000313|EMBL:BAJ87517.1};
GN   Name=HvPIP2;8 {ECO:0000313|EMBL:BAN04711.1};
OS   Hordeum vulgare var. distichum (Domesticated barley).
OX   NCBI_TaxID=112509 {ECO:0000313|EMBL:BAJ87517.1};
PE   2: Evidence at transcript level;
SQ   SEQUENCE   12 AA;  30495 MW;  07E95E632BD020E9 CRC64;
     MTMAAAQGKL SP
//
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """One file that every example overwrites."""
    return tmp_path_factory.mktemp("uniprot") / "entries"


def read_text(gather, path, text, read=read_uniprot_dat, **options):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return gather(read(path, **options))


def fasta_of_multi_ex():
    blocks = list(read_fasta(DATA / "nasty" / "biopython_multi_ex.fasta"))
    columns = [row for block in blocks for row in parse_headers(block.headers).to_pylist()]
    pieces = [
        block.residues[start:end].tobytes().decode()
        for block in blocks
        for start, end in itertools.pairwise(block.offsets.tolist())
    ]
    return columns, pieces


@BOTH
def test_entries_are_what_uniprot_writes_as_fasta(gather, kind):
    read = gather(READERS[kind](FLATFILE / {"dat": "multi_ex.txt", "xml": "multi_ex.xml"}[kind]))
    columns, residues = fasta_of_multi_ex()
    assert read.residues == residues
    assert [row["taxon_id"] for row in read.columns] == [9606, 1049, 297, 287, 9606, 8620, 9606, 10665]
    for row, expected in zip(read.columns, columns, strict=True):
        # The FASTA file is older than taxa in title lines.
        row["description"] = re.sub(r" OX=\d+", "", row["description"])
        assert row == {**expected, "taxon_id": row["taxon_id"]}


@pytest.mark.parametrize(("dat", "xml"), [("multi_ex.txt", "multi_ex.xml"), ("H2CNN8.txt", "H2CNN8.xml")])
def test_flat_file_and_xml_agree(gather, dat, xml):
    first, second = gather(read_uniprot_dat(FLATFILE / dat)), gather(read_uniprot_xml(FLATFILE / xml))
    assert first.columns == second.columns
    assert first.residues == second.residues


def test_a_fragment_of_trembl(gather):
    (row,) = gather(read_uniprot_dat(FLATFILE / "H2CNN8.txt")).columns
    assert row == {
        "accession": "H2CNN8",
        "source": "trembl",
        "taxon_id": 418404,
        "cluster": None,
        "description": "Ammonia monooxygenase subunit A (Fragment) OS=uncultured ammonia-oxidizing archaeon OX=418404 "
        "GN=amoA PE=4 SV=1",
    }


def test_isoforms_are_no_records(gather):
    read = gather(read_uniprot_xml(FLATFILE / "Q13639.xml"))
    assert read.accessions == ["Q13639"]
    assert [len(residues) for residues in read.residues] == [388]
    assert read.places == ["line 3, byte 234"]


def test_a_long_compressed_entry(gather):
    read = gather(read_uniprot_dat(FLATFILE / "P04439.txt.gz"))
    assert read.accessions == ["P04439"]
    assert read.columns[0]["description"] == (
        "HLA class I histocompatibility antigen, A alpha chain OS=Homo sapiens OX=9606 GN=HLA-A PE=1 SV=2"
    )


@BOTH
def test_places_are_lines_and_bytes_of_the_entries(gather, path, kind):
    text = FILES[kind]
    start = {"dat": b"\nID   ", "xml": b"\n<entry "}[kind]
    places = []
    for place in gather(READERS[kind](FLATFILE / {"dat": "multi_ex.txt", "xml": "multi_ex.xml"}[kind])).places:
        line, byte = map(int, re.fullmatch(r"line (\d+), byte (\d+)", place).groups())
        assert (b"\n" + text)[byte:].startswith(start)
        assert text[:byte].count(b"\n") == line - 1
        places.append(byte)
    assert len(set(places)) == NUM_ENTRIES


@pytest.mark.parametrize(
    ("old", "new", "description"),
    [
        ("", "", "Plasma membrane intrinsic protein OS=Hordeum vulgare var. distichum OX=112509 GN=HvPIP2;8 PE=2 SV=3"),
        ("var. distichum (Domesticated barley)", "(strain K12) (Barley) (Bere)", "OS=Hordeum vulgare (strain K12) OX="),
        ("var. distichum (Domesticated barley)", "(strain A / mc(2)155) (B (C))", "vulgare (strain A / mc(2)155) OX="),
        ("distichum (Domesticated barley).", "distichum\nOS   (isolate 7) (HV).", "distichum (isolate 7) OX="),
        (" (Domesticated barley).", " B1(2017).", " B1(2017) OX="),
        ("SubName: Full=Pl", "RecName: Full=Pl", "Plasma membrane intrinsic protein OS="),
        ("GN   Name=HvPIP2;8", "GN   OrderedLocusNames=B_1, B_2; ORFNames=C", " GN=B_1 PE="),
        ("GN   Name=HvPIP2;8", "GN   ORFNames=C_1 {ECO:1, ECO:2}, C_2", " GN=C_1 PE="),
        ("BAN04711.1};\nOS", "BAN04711.1,\nGN   ECO:7};\nGN   and\nGN   Name=B;\nOS", " GN=HvPIP2;8 PE="),
        ("GN   Name=HvPIP2;8 {ECO:0000313|EMBL:BAN04711.1};\n", "", " OX=112509 PE=2 SV=3"),
        ("GN   ", "DE   Flags: Precursor; Fragments;\nGN   ", "intrinsic protein (Fragments) OS="),
        ("PE   2: Evidence at transcript level;\n", "", " GN=HvPIP2;8 SV=3"),
        ("OX   NCBI_TaxID=112509 {ECO:0000313|EMBL:BAJ87517.1};\n", "", " distichum GN=HvPIP2;8 "),
    ],
)
def test_title_lines(gather, path, old, new, description):
    assert old in ENTRY
    (row,) = gather_one(gather, path, ENTRY.replace(old, new) if old else ENTRY)
    assert description in row["description"]
    assert row["accession"] == "F2CXE6"
    assert row["source"] == "trembl"


def gather_one(gather, path, text):
    return read_text(gather, path, text).columns


def test_old_releases(gather, path):
    text = """\
ID   CSP_BOVIN      STANDARD;      PRT;     3 AA.
AC   P01100; Q1;
AC   Q2;
DT   01-FEB-1995 (Rel. 31, Last sequence update)
DE   Proto-oncogene protein c-fos (Cellular oncogene
DE   fos) (Fragment).
OS   Bos taurus (Bovine).
SQ   SEQUENCE   3 AA;  21641 MW;  1E4E6A76ECF7AAA4 CRC64;
     MKV
//
"""
    (row,) = gather_one(gather, path, text)
    assert row["source"] == "swissprot"
    assert row["accession"] == "P01100"
    assert row["taxon_id"] is None
    assert row["description"] == "Proto-oncogene protein c-fos (Cellular oncogene fos) (Fragment) OS=Bos taurus"


def test_an_entry_of_neither_database(gather, path):
    (row,) = gather_one(gather, path, ENTRY.replace("Unreviewed;", "IPI;       "))
    assert (row["accession"], row["source"]) == ("F2CXE6", "other")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\n\n" + text + b"\n\n",
        lambda text: text.rstrip(),
        gzip.compress,
    ],
    ids=["crlf", "blank", "no-final-newline", "gzip"],
)
@BOTH
def test_what_makes_no_difference(gather, path, kind, change):
    plain = read_text(gather, path, FILES[kind], READERS[kind])
    changed = read_text(gather, path, change(FILES[kind]), READERS[kind])
    assert changed.columns == plain.columns
    assert changed.residues == plain.residues


@BOTH
def test_blocks_make_no_difference(gather, path, kind, monkeypatch):
    whole = read_text(gather, path, FILES[kind], READERS[kind])
    monkeypatch.setattr(records, "RECORDS_PER_BLOCK", 3)
    blocks = list(READERS[kind](path))
    assert [block.num_records for block in blocks] == [3, 3, 2]
    assert gather(blocks) == whole


@BOTH
def test_a_source_that_was_given(gather, path, kind):
    assert {row["source"] for row in read_text(gather, path, FILES[kind], READERS[kind], source="mine").columns} == {
        "mine"
    }


XML_CHANGES = {
    "https": lambda text: text.replace(b'xmlns="http://uniprot.org', b'xmlns="https://uniprot.org'),
    "https-on-entries": lambda text: text.replace(b'xmlns="http://', b'xmlns="https://').replace(
        b"<entry ", b'<entry xmlns="https://uniprot.org/uniprot" '
    ),
    "single-quotes": lambda text: re.sub(rb'(\w)="([^"]*)"', rb"\1='\2'", text),
    "cdata": lambda text: text.replace(b"<comment type=", b"<comment><![CDATA[<gene>]]></comment><comment type="),
    "xml-comment": lambda text: text.replace(b"<organism>", b"<!-- <comment> --><organism>"),
    "greater-than-in-attributes": lambda text: text.replace(b"<comment type=", b'<comment note="a /> b" type='),
    "indented": lambda text: text.replace(b"\n<", b"\n    <"),
    "two-files": lambda text: text.partition(b"<entry")[0] + b"</uniprot>\n" + text,
    "prolog": lambda text: text.replace(b"<uniprot ", b"<!-- by hand --><?style no?>\n<uniprot ", 1),
    "no-declaration": lambda text: text.partition(b"?>")[2],
    "further-gene": lambda text: text.replace(b"</gene>", b'</gene><gene><name type="primary">x</name></gene>'),
}


@pytest.mark.parametrize("name", XML_CHANGES)
def test_xml_that_says_the_same(gather, path, name):
    changed = XML_CHANGES[name](XML)
    assert changed != XML
    plain, read = (
        gather(read_uniprot_xml(FLATFILE / "multi_ex.xml")),
        read_text(gather, path, changed, read_uniprot_xml),
    )
    assert read.columns == plain.columns
    assert read.residues == plain.residues


def test_cutting_out_what_is_not_wanted_changes_nothing(gather, path, monkeypatch):
    plain = gather(read_uniprot_xml(FLATFILE / "multi_ex.xml")), gather(read_uniprot_dat(FLATFILE / "multi_ex.txt"))
    never = re.compile(rb"(?!)")
    monkeypatch.setattr("pipeline.formats.uniprot_dat._UNWANTED_LINES", never)
    monkeypatch.setattr("pipeline.formats.uniprot_xml._UNWANTED", re.compile(rb'<name type="common".*?</name>'))
    assert plain == (
        gather(read_uniprot_xml(FLATFILE / "multi_ex.xml")),
        gather(read_uniprot_dat(FLATFILE / "multi_ex.txt")),
    )


@BOTH
@given(st.data())
@settings(max_examples=60)
def test_a_file_cut_anywhere_is_an_error_or_ends_between_two_entries(gather, path, kind, data):
    text = FILES[kind]
    cut = data.draw(st.integers(0, len(text) - 1) | st.integers(len(text) - 200, len(text) - 1))
    whole = gather(READERS[kind](FLATFILE / {"dat": "multi_ex.txt", "xml": "multi_ex.xml"}[kind]))
    end = b"\n//" if kind == "dat" else b"</uniprot>"
    if text[:cut].rstrip().endswith(end):
        part = read_text(gather, path, text[:cut], READERS[kind])
        assert part.columns == whole.columns[: len(part.columns)]
        assert len(part.columns) == text[:cut].count(b"\n//" if kind == "dat" else b"</entry>")
    else:
        with pytest.raises(InputFormatError, match=r"cut short|found none|expected '<uniprot'"):
            read_text(gather, path, text[:cut], READERS[kind])


@pytest.mark.parametrize("num_entries", [1, 7, 8])
def test_xml_cut_behind_an_entry(gather, path, num_entries):
    entries = XML.split(b"</entry>")[:num_entries]
    with pytest.raises(InputFormatError, match=rf"entry {num_entries + 1} .*: expected '</uniprot>'.*, found the end"):
        read_text(gather, path, b"</entry>".join(entries) + b"</entry>\n", read_uniprot_xml)


@pytest.mark.parametrize(("fragment", "words"), [("single", " (Fragment) OS="), ("multiple", " (Fragments) OS=")])
def test_fragments_in_xml(gather, path, fragment, words):
    text = (FLATFILE / "H2CNN8.xml").read_bytes().replace(b'fragment="single"', f'fragment="{fragment}"'.encode())
    assert words in read_text(gather, path, text, read_uniprot_xml).columns[0]["description"]


def test_a_compressed_file_cut_short(gather, path):
    with pytest.raises(InputFormatError, match="cut short"):
        read_text(gather, path, gzip.compress(DAT)[:-100])


DAMAGED = {
    "dat": {
        "length": (
            b"562 AA.",
            b"563 AA.",
            "expected 563 residues as P00750 says",
        ),
        "residues": (
            b"\n     MDAMKRGLCC",
            b"\n     MDAMKRG",
            "expected 562 residues as P00750 says itself, found 559",
        ),
        "code": (b"\nGN   Name=PLAT", b"\nXX   Name=PLAT", "Unknown keyword 'XX'"),
        "class": (b"TPA_HUMAN               Reviewed", b"TPA_HUMAN               Rewieved", "Rewieved"),
    },
    "xml": {
        "length": (
            b'<sequence length="562"',
            b'<sequence length="563"',
            "expected 563 residues as P00750 says",
        ),
        "tag": (b"</organism>", b"</organsm>", "mismatched tag"),
        "entity": (b"Homo sapiens", b"Homo &sapiens;", "undefined entity"),
        "no-sequence": (b"<sequence length=", b"<sequenze length=", "Biopython cannot read"),
    },
}


@pytest.mark.parametrize(("kind", "damage"), [(kind, damage) for kind in DAMAGED for damage in DAMAGED[kind]])
def test_a_damaged_entry_is_named_or_skipped(gather, path, kind, damage):
    old, new, message = DAMAGED[kind][damage]
    assert old in FILES[kind]
    text = FILES[kind].replace(old, new, 1)
    first_line = {"dat": 1, "xml": 3}[kind]
    with pytest.raises(InputFormatError, match=message) as caught:
        read_text(gather, path, text, READERS[kind])
    assert f"{path}: entry 1 (line {first_line}, byte " in caught.value.message
    assert "\n" not in caught.value.message
    problems = Problems(OnError.SKIP)
    read = read_text(gather, path, text, READERS[kind], problems=problems)
    assert len(read.columns) == NUM_ENTRIES - 1
    assert "P00750" not in read.accessions
    assert problems.counts == {"unreadable-entry": 1}
    assert problems.examples == [caught.value.message]


def test_no_entry_but_damaged_ones(gather, path):
    problems = Problems(OnError.SKIP)
    assert read_text(gather, path, ENTRY.replace("12 AA.", "13 AA."), problems=problems).columns == []
    assert problems.counts.total() == 1


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("dat", "", "expected UniProt entries, found none"),
        ("dat", "\n\n", "expected UniProt entries, found none"),
        ("dat", ">P1\nMKV\n", "line 1, byte 0.: expected '//' at the end of the entry, found the end of the file"),
        ("dat", ENTRY + "ID   ", "entry 2 .line 15, byte 628.: expected '//'"),
        ("dat", ENTRY + "junk\n" + ENTRY, "entry 2 .line 15, byte 628.: expected a UniProt entry"),
        ("xml", "", "expected UniProt entries, found none"),
        ("xml", "<uniprot></uniprot>", "expected UniProt entries, found none"),
        ("xml", ">P1\nMKV\n", "expected '<uniprot', found '>P1"),
        ("xml", "<entry/>", "expected '<uniprot', found '<entry/>'"),
        ("xml", '<UniRef90 xmlns="http://uniprot.org/uniref">\n<entry id="a"></entry></UniRef90>', "UniRef's XML is"),
        ("xml", "<uniprot><x></x><entry></entry></uniprot>", "expected '<entry' or '</uniprot>', found '<x></x>"),
        ("xml", "<uniprot><entry></entry></uniprot>junk", "entry 1 "),
    ],
)
def test_files_that_are_something_else(gather, path, kind, text, message):
    with pytest.raises(InputFormatError, match=message):
        read_text(gather, path, text, READERS[kind])


def test_a_file_that_is_not_there(gather, tmp_path):
    for read in READERS.values():
        with pytest.raises(ConfigurationError, match="found: No such file"):
            gather(read(tmp_path / "none"))


def test_the_rest_of_a_file_is_read_after_a_damaged_entry(gather, path):
    text = ENTRY + "junk\n//\n" + ENTRY.replace("F2CXE6", "F2CXE7")
    problems = Problems(OnError.SKIP)
    read = read_text(gather, path, text, problems=problems)
    assert read.accessions == ["F2CXE6", "F2CXE7"]
    assert problems.counts == {"unreadable-entry": 1}


SEQUENCES = st.text("ACDEFGHIKLMNPQRSTVWYX", min_size=1, max_size=150)


@given(st.lists(SEQUENCES, min_size=1, max_size=5))
@example(["M" * 60, "M" * 61])
@settings(max_examples=30)
def test_sequences_that_were_written_are_read(gather, path, sequences):
    dat = "".join(
        f"ID   A{i}_X  Reviewed;  {len(sequence)} AA.\nAC   A{i};\nDE   RecName: Full=A;\nOS   B.\n"
        f"SQ   SEQUENCE {len(sequence)} AA; 1 MW; 1 CRC64;\n{wrapped(sequence)}//\n"
        for i, sequence in enumerate(sequences)
    )
    xml = "".join(
        f'<entry dataset="Swiss-Prot"><accession>A{i}</accession><name>A{i}_X</name>'
        f"<protein><recommendedName><fullName>A</fullName></recommendedName></protein>"
        f'<organism><name type="scientific">B</name></organism>'
        f'<sequence length="{len(sequence)}">{sequence}</sequence></entry>'
        for i, sequence in enumerate(sequences)
    )
    first = read_text(gather, path, dat)
    second = read_text(gather, path, f'<uniprot xmlns="https://uniprot.org/uniprot">{xml}</uniprot>', read_uniprot_xml)
    assert first.residues == second.residues == sequences
    assert first.columns == second.columns
    assert first.accessions == [f"A{i}" for i in range(len(sequences))]


def wrapped(sequence: str) -> str:
    tens = [sequence[start : start + 10] for start in range(0, len(sequence), 10)]
    return "".join(f"     {' '.join(tens[start : start + 6])}\n" for start in range(0, len(tens), 6))


@BOTH
def test_memory_does_not_grow_with_the_file(path, kind, monkeypatch):
    monkeypatch.setattr(records, "RECORDS_PER_BLOCK", 16)
    prolog, entry, end = {
        "dat": (b"", ENTRY.replace("PE  ", "CC   -!- MISCELLANEOUS: None.\n" * 400 + "PE  ").encode(), b""),
        "xml": (
            XML.partition(b"<entry")[0],
            b"<entry" + XML.rpartition(b"<entry")[2].partition(b"<copy")[0],
            b"</uniprot>",
        ),
    }[kind]
    entry = entry.replace(b"<sequence", b"<comment type='miscellaneous'>None.</comment>\n" * 300 + b"<sequence")

    def peak(repeats):
        path.write_bytes(prolog + entry * repeats + end)
        tracemalloc.start()
        try:
            assert sum(block.num_records for block in READERS[kind](path)) == repeats
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # What is imported on first use does not count, and files smaller than a few of their blocks say nothing.
    peak(1)
    assert peak(1600) < 1.1 * peak(800)


def test_biopython_is_imported_when_needed():
    code = "import sys, pipeline.formats.uniprot_dat, pipeline.formats.uniprot_xml; print('Bio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
