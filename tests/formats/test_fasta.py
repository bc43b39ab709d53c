"""The reader against a plain loop over lines, for every block size, and against real awkward files."""

import bz2
import gzip
import lzma
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from Bio.SeqIO.FastaIO import SimpleFastaParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.fasta import read_fasta

NASTY = Path(__file__).parents[1] / "data" / "nasty"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "zstd": lambda content: zstandard.ZstdCompressor(write_checksum=True).compress(content),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
KINDS = pytest.mark.parametrize("kind", COMPRESS)
CONTENT = b"# two records\n>first one\nMKVACDEFGHIKLM\nNPQ\n>second\nmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm\n"


class Record(NamedTuple):
    header: str
    residues: bytes
    byte: int
    line: int


class Parsed(NamedTuple):
    records: list[Record]
    num_comment_lines: int


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """One file that every example overwrites."""
    return tmp_path_factory.mktemp("fasta") / "content.fasta"


def parse(path: Path, block_bytes: int = 1 << 20) -> Parsed:
    """What ``read_fasta`` gives, as a list of records, its arrays checked on the way."""
    records: list[Record] = []
    num_comment_lines = 0
    for block in read_fasta(path, block_bytes=block_bytes):
        assert block.headers.type == pa.large_string()
        assert block.residues.dtype == np.uint8
        assert {block.offsets.dtype, block.byte_offsets.dtype, block.lines.dtype} == {np.dtype(np.int64)}
        assert block.first_record == len(records)
        assert block.num_records >= 1
        assert block.offsets[0] == 0
        assert block.offsets[-1] == len(block.residues)
        block.headers.validate(full=True)
        residues = [
            block.residues[start:end].tobytes()
            for start, end in zip(block.offsets[:-1], block.offsets[1:], strict=True)
        ]
        columns = block.headers.to_pylist(), residues, block.byte_offsets.tolist(), block.lines.tolist()
        records += [Record(*values) for values in zip(*columns, strict=True)]
        num_comment_lines += block.num_comment_lines
    return Parsed(records, num_comment_lines)


def parse_text(path: Path, text: bytes, block_bytes: int = 1 << 20) -> Parsed:
    path.write_bytes(text)
    return parse(path, block_bytes)


def oracle(text: bytes) -> Parsed | None:
    """The same by reading line after line; None for what is no FASTA."""
    if b"\r" in text and b"\n" not in text:
        text = text.replace(b"\r", b"\n")
    byte = 3 if text.startswith(b"\xef\xbb\xbf") else 0
    records: list[Record] = []
    num_comment_lines = 0
    for line_number, line in enumerate(text[byte:].split(b"\n"), start=1):
        if line.startswith(b">"):
            records.append(Record(decode(line[1:].rstrip(b" \t\r\n\v\f")), b"", byte, line_number))
        elif line.startswith((b";", b"#")):
            num_comment_lines += 1
        elif records:
            residues = b"".join(line.split()).upper()
            records[-1] = records[-1]._replace(residues=records[-1].residues + residues)
        elif line.strip():
            return None
        byte += len(line) + 1
    return Parsed(records, num_comment_lines) if records else None


def decode(header: bytes) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


FRAGMENTS = [
    b">",
    b"\n",
    b"\n>",
    b"\r\n",
    b"\r",
    b" ",
    b"\t\v\f",
    b";",
    b"#",
    b"acGT",
    b"MKV\n",
    b"M-.*1?",
    b">id name\n",
]
STRANGE = [b"\xc3\xa9", b"\xe9", b"\xc3", b"\xa9", b"\xff", b"\0", b"\xef\xbb\xbf", b"\x1c", b"\x85"]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.sampled_from(FRAGMENTS + STRANGE), max_size=25).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS | TEXTS.map(lambda text: b">" + text), st.integers(1, 40))
@example(b">\xc3\n>\xa9\nM\n", 100)
@example(b"\xef\xbb\xbf# one\n\n \t\n;two\n>a\n#three", 1)
@example(b">a\rMK\rV\r>b", 2)
@example(b">a\n\n\n>b\n>c", 4)
@example(b"#>a\n>b\n;>c\nM\n>d", 3)
def test_records_are_those_of_a_loop_over_lines_for_every_block_size(path, text, block_bytes):
    expected = oracle(text)
    if expected is None:
        with pytest.raises(InputFormatError):
            parse_text(path, text, block_bytes)
    else:
        assert parse_text(path, text, block_bytes) == expected


def test_block_borders_anywhere(path):
    text = b"\n# c\r\n>a  b \r\nMK v\r\n\r\n;c\r\nac\r\n>\r\n> x >y\r\n>z\xe9\r\n" + b"MKVA\r\n" * 20 + b"\n>last\nM*"
    expected = oracle(text)
    assert expected is not None
    assert len(expected.records) == 5
    for block_bytes in range(1, len(text) + 2):
        assert parse_text(path, text, block_bytes) == expected


def test_records_do_not_wait_for_a_cut_inside_a_block(path):
    path.write_bytes(b">a\nM\n" * 10)
    assert [block.num_records for block in read_fasta(path, block_bytes=1)] == [1] * 10
    assert [block.num_records for block in read_fasta(path, block_bytes=5)] == [1] * 10


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("block_bytes", [1000, 64 << 10, 200_000])
def test_more_than_one_head_of_a_file_with_each_kind_of_line_end(path, line_end, block_bytes):
    generator = random.Random(0)
    lines = []
    for number in range(1500):
        lines += [b">record %d" % number, *[bytes(generator.choices(b"ACDEFGHIKLMNPQRSTVWY", k=60))] * (number % 4)]
    text = line_end.join(lines)
    assert len(text) > 150_000
    assert parse_text(path, text, block_bytes) == oracle(text)


def test_a_carriage_return_is_white_space_where_lines_end_otherwise(path):
    parsed = parse_text(path, b">a\rb\nMK\rV\r\n\r>\n")
    assert parsed.records == [Record("a\rb", b"MKV>", 0, 1)]


def test_every_byte_among_residues(path):
    for character in range(256):
        text = b">x\nM" + bytes([character]) + b"M\n"
        assert parse_text(path, text) == oracle(text), character


def test_headers_that_are_no_utf8_are_latin_1_and_the_others_are_not(path):
    parsed = parse_text(path, ">é\n>ü".encode() + b"\n>\xe9 \n>\xc3\n>\xa9\n>\xed\xa0\x80\n")
    assert [record.header for record in parsed.records] == ["é", "ü", "é", "Ã", "©", "í\xa0\x80"]


def test_a_record_larger_than_many_blocks_takes_linear_time(path):
    sequence = b"ACDEFGHIKLMNPQRSTVWY" * 3 + b"\n"
    text = b">small\nMKV\n>giant\n" + sequence * 200_000 + b">small\nMKV\n"
    started = time.perf_counter()
    parsed = parse_text(path, text, block_bytes=1024)
    # A fraction of a second here; searching again what has been searched takes minutes.
    assert time.perf_counter() - started < 15
    assert [(record.header, len(record.residues)) for record in parsed.records] == [
        ("small", 3),
        ("giant", 12_000_000),
        ("small", 3),
    ]
    assert parsed.records[2].byte == len(text) - len(">small\nMKV\n")
    assert parsed.records[2].line == 200_004


ASTER = "gi|3298468|dbj|BAA31520.1| SAMIPF"
MULTI_EX = [562, 74, 267, 260, 594, 79, 593, 71]
PROTEIN_LIB = [54, 222, 351, 108, 106, 160, 567, 218, 139, 95, 142, 105]
CAS9 = [1368, 1345, 1388, 1409, 1334, 1053, 1056, 1082, 1082, 1121]

# file: number of comment lines, length of each record, start of the first header, start and end of the last residues
EXPECTED = {
    "biopython_aster.pro": (0, [107], ASTER, b"GGHVNPAVTF", b"IGFIVGANI"),
    "biopython_aster_blast.pro": (3, [122], ASTER, b"GGHVNPAVTF", b"IGFIVGANI!ONEMORECOMMENT"),
    "biopython_aster_no_wrap.pro": (0, [107], ASTER, b"GGHVNPAVTF", b"IGFIVGANI"),
    "biopython_dups.fasta": (0, [5, 4, 5, 5, 5], "alpha", b"CGCGC", b"CGCGC"),
    "biopython_f001": (0, [79], "gi|3318709|pdb|1A91|  Subunit C", b"MENLNMDLLY", b"LGLYVMFAVA"),
    "biopython_f002": (
        0,
        [633, 413, 471],
        "gi|1348912|gb|G26680|G26680 human STS STS_D11729.^Agi|",
        b"GATCAAATCTGC",
        b"",
    ),
    "biopython_fa01": (0, [378, 382], "AK1H_ECOLI/1-378", b"-----------------VEDAVK", b""),
    "biopython_flowers.pro.gz": (0, [304, 600, 473], "gi|2781234|pdb|1JLY|B", b"MSPQTETKAS", b"KFEFPAMD"),
    "biopython_loveliesbleeding.pro": (0, [304], "gi|2781234|pdb|1JLY|B", b"XAGLPVIMCL", b"ILEIIELGQNN"),
    "biopython_multi_ex.fasta": (0, MULTI_EX, "sp|P00750|TPA_HUMAN Tissue-type", b"", b""),
    "biopython_protein_lib.fa": (0, PROTEIN_LIB, "sp|P00193|FER_PEPAS", b"", b""),
    "biopython_rose.pro": (0, [600], "gi|4959044|gb|AAD34209.1|AF069992_1 LIM", b"MENSDSNDKG", b"SSGNRESVV"),
    "biopython_rosemary.pro": (0, [473], "gi|671626|emb|CAA85685.1| rubisco large subunit", b"MSPQ", b"AMD"),
    "biotite_cas9.fasta": (0, CAS9, "sp|Q99ZW2.1|CAS9_STRP1 RecName", b"", b""),
    "biotite_invalid.fasta": (0, [6], "its a trap", b"ACG?TG", b"ACG?TG"),
    "biotite_prot.fasta": (0, [10], "protein sequence, only a test", b"YAHUGFRTGS", b"YAHUGFRTGS"),
    "biotite_selenocysteine.fasta": (1, [792], "Query", b"MHGEKYYSACALNC", b"LVRVKPFAK"),
    "dnaio_simple.fasta": (0, [9, 9], "first_sequence", b"SEQUENCE2", b"SEQUENCE2"),
    "dnaio_simple.fasta.bz2": (0, [9, 9], "first_sequence", b"SEQUENCE2", b"SEQUENCE2"),
    "dnaio_simple.fasta.gz": (0, [9, 9], "first_sequence", b"SEQUENCE2", b"SEQUENCE2"),
    "dnaio_simple.fasta.xz": (0, [9, 9], "first_sequence", b"SEQUENCE2", b"SEQUENCE2"),
    "dnaio_with_comment.fasta": (2, [9, 9], "first_sequence", b"SEQUENCE2", b"SEQUENCE2"),
    "seqkit_empty_id_and_seq.fa": (0, [1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1], "s1", b"C", b"C"),
    "seqkit_empty_id_and_seq2.fa": (0, [0, 4, 4], "seq1", b"CCCC", b"CCCC"),
    "seqkit_titin.fas": (0, [18141], "sp|Q9I7U4|TITIN_DROME Titin OS=", b"MQRQNPNPYQQQNQ", b""),
}
NO_FASTA = {"biopython_aster_pearson.pro"}
PLAIN = sorted(name for name in EXPECTED if not name.endswith((".gz", ".bz2", ".xz")))
COMMENTED = {"biopython_aster_blast.pro", "biotite_selenocysteine.fasta"}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("block_bytes", [1, 13, 1 << 20])
def test_awkward_files_hold_what_is_written_down(name, block_bytes):
    num_comment_lines, lengths, header, start, end = EXPECTED[name]
    parsed = parse(NASTY / name, block_bytes)
    assert parsed.num_comment_lines == num_comment_lines
    assert [len(record.residues) for record in parsed.records] == lengths
    assert parsed.records[0].header.startswith(header)
    assert parsed.records[-1].residues.startswith(start)
    assert parsed.records[-1].residues.endswith(end)


def test_every_awkward_file_is_in_a_table():
    files = {file.name for file in NASTY.iterdir()} - {"README.md", ".gitattributes"}
    assert files == EXPECTED.keys() | NO_FASTA


@pytest.mark.parametrize("name", PLAIN)
def test_awkward_files_equal_the_loop_over_lines(name):
    assert parse(NASTY / name) == oracle((NASTY / name).read_bytes())


@pytest.mark.parametrize("name", sorted(set(PLAIN) - COMMENTED))
def test_files_without_comments_inside_equal_biopython(name):
    with (NASTY / name).open(encoding="latin-1") as file:
        expected = [(header.rstrip(), residues.upper()) for header, residues in SimpleFastaParser(file)]
    parsed = parse(NASTY / name)
    assert [(record.header, record.residues.decode()) for record in parsed.records] == expected


def test_text_in_front_of_the_first_header_is_an_error():
    with pytest.raises(InputFormatError) as caught:
        parse(NASTY / "biopython_aster_pearson.pro")
    assert caught.value.message == (
        f"{NASTY / 'biopython_aster_pearson.pro'}: expected a header line starting with '>' in line 1 (byte 0), "
        "found 'Some header'"
    )


@pytest.mark.parametrize(
    ("text", "line", "byte", "found"),
    [
        (b"# c\r\n\n \t\n  x\0\x7fy\n>a\n", 4, 11, "'  x\\x00\\x7fy'"),
        (b"\xef\xbb\xbf\n\nMKV\n>a\n", 3, 5, "'MKV'"),
        (b" >a\nMKV\n", 1, 1, "' >a'"),
        (b"M" * 5000, 1, 0, repr("M" * 40)),
        (b"\xffMKV\n", 1, 0, "'\\\\xffMKV'"),
        (b"; c\r\rMKV", 3, 5, "'MKV'"),
    ],
)
def test_an_error_says_which_line_and_byte(path, text, line, byte, found):
    start = f"{path}: expected a header line starting with '>' in line {line} (byte {byte}), found "
    for block_bytes in (1, 3, 1 << 20):
        with pytest.raises(InputFormatError) as caught:
            parse_text(path, text, block_bytes)
        assert caught.value.message.startswith(start)
        # White space in front is shown as far as the block still holds it.
        assert caught.value.message.removeprefix(start).replace("  ", " ") == found.replace("  ", " ")


@pytest.mark.parametrize("text", [b"", b"\n", b"# c", b"# c\n\n;\n", b" ", b"\xef\xbb\xbf", b"\r\n\r\n"])
@pytest.mark.parametrize("block_bytes", [1, 100])
def test_a_file_without_records_is_an_error(path, text, block_bytes):
    found = "only blank lines and comments" if text else "an empty file"
    with pytest.raises(InputFormatError, match=f"expected FASTA records, found {found}"):
        parse_text(path, text, block_bytes)


LOOKALIKES = {
    "FASTQ": b"@read1\nACGT\n+\nIIII\n",
    "flat file": b"ID   TPA_HUMAN               Reviewed;         562 AA.\nAC   P00750;\n",
    "XML": b"<?xml version='1.0' encoding='UTF-8'?>\n<uniprot xmlns='http://uniprot.org/uniprot'>\n",
    "web page": b"<!DOCTYPE html>\n<html><body>503 Service Unavailable</body></html>\n",
    "Parquet": b"PAR1\x15\x04\x15\x80",
    "tar": b"uniref50.fasta" + bytes(243) + b"ustar\x0000" + bytes(200),
    "zip": b"PK\x03\x04\x14\x00",
    "GenBank": b"LOCUS       SCU49845     5028 bp    DNA\n",
    "binary": b"MKV\x00\x01\x02\n",
    "UTF-16": ">a\nMKV\n".encode("utf-16"),
    "Clustal": b"CLUSTAL W (1.82) multiple sequence alignment\n",
    "JSON": b'{"sequence": "MKV"}\n',
    "table": b"accession\tsequence\nP1\tMKV\n",
    "without a header": b"MKVLAAGIVGLLLAQWERTYIPASDFGHKLCVNM\n",
    "not read here": b"7z\xbc\xaf\x27\x1c",
    "white space in front": b"  >a\nMKV\n",
}


@pytest.mark.parametrize("lookalike", LOOKALIKES)
@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_the_hint_names_what_the_file_looks_like(path, lookalike, block_bytes):
    with pytest.raises(InputFormatError) as caught:
        parse_text(path, LOOKALIKES[lookalike], block_bytes)
    assert lookalike in (caught.value.hint or "")


@pytest.mark.parametrize("inner", COMPRESS)
def test_a_file_compressed_twice_is_named(path, inner):
    with pytest.raises(InputFormatError) as caught:
        parse_text(path, gzip.compress(COMPRESS[inner](CONTENT)))
    assert "twice" in (caught.value.hint or "")


@KINDS
@pytest.mark.parametrize("num_members", [1, 2, 5])
@pytest.mark.parametrize("block_bytes", [1, 1000])
def test_compressed_files_hold_the_records_of_the_plain_one(path, kind, num_members, block_bytes):
    step = -(-len(CONTENT) // num_members)
    members = [CONTENT[start : start + step] for start in range(0, len(CONTENT), step)]
    assert len(members) == num_members
    assert parse_text(path, b"".join(map(COMPRESS[kind], members)), block_bytes) == oracle(CONTENT)


@KINDS
def test_a_compressed_file_cut_anywhere_is_an_error(path, kind):
    compressed = COMPRESS[kind](CONTENT[:50]) + COMPRESS[kind](CONTENT[50:])
    first_half = len(COMPRESS[kind](CONTENT[:50]))
    for cut in range(len(compressed)):
        if cut == first_half:
            assert parse_text(path, compressed[:cut]) == oracle(CONTENT[:50])
            continue
        with pytest.raises(InputFormatError):
            parse_text(path, compressed[:cut])


@KINDS
def test_a_compressed_file_with_a_damaged_byte_is_an_error_or_right(path, kind):
    compressed = COMPRESS[kind](CONTENT)
    for position in range(len(compressed)):
        damaged = bytearray(compressed)
        damaged[position] ^= 0x5A
        try:
            parsed = parse_text(path, bytes(damaged))
        except InputFormatError:
            continue
        assert parsed == oracle(CONTENT)


@pytest.mark.parametrize("name", ["dnaio_simple.fasta.gz", "dnaio_simple.fasta.bz2", "dnaio_simple.fasta.xz"])
def test_a_real_compressed_file_cut_anywhere_is_an_error(path, name):
    compressed = (NASTY / name).read_bytes()
    for cut in range(len(compressed)):
        with pytest.raises(InputFormatError):
            parse_text(path, compressed[:cut])


def test_a_path_that_does_not_exist_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file"):
        parse(tmp_path / "missing.fasta")
