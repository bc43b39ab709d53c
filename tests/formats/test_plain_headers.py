"""Plain headers: the same columns as by patterns, and which headers are plain at all."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.headers import DATABASE_NAMES, parse_headers, read_by_patterns
from pipeline.formats.plain_headers import OTHER_SOURCE, UNIPROT_SOURCES, PlainHeaders, array_of, mask_of, read_plain

HEADERS_FOLDER = Path(__file__).parents[1] / "data" / "headers"
HEADER_FILES = sorted(HEADERS_FOLDER.glob("*.txt"))

ZETA = "Hemoglobin subunit zeta n=1 Tax=Monodon monoceros"
RPOS = "RNA polymerase sigma factor RpoS OS=Escherichia coli (strain K12)"
FAR = "a" * 47

PLAIN = {
    "UniRef100_A0A4U1FNC5 " + ZETA + " TaxID=40151 RepID=A0A4U1FNC5_MONMO": "40151",
    "UniRef90_A0A4U1FNC5/143-271 [subseq from] " + ZETA + " TaxID=40151 RepID=A0A4U1FNC5_MONMO": "40151",
    "UniRef50_UPI001B37708D entry n=1 Tax=unknown TaxID=N/A RepID=UPI001B37708D": None,
    "UniRef50_Q1 5'->3' n=2 Tax=x TaxID=99999999 RepID=": "99999999",
    "UniRef50_Q1 TaxID=007 RepID=Q1_X ": "7",
    "UniRef50_Q1 TaxID= RepID=Q1_X": None,
    "UniRef50_Q1 TaxID=12x RepID=Q1_X": None,
    f"UniRef50_{FAR}{FAR}": None,
    f"UniRef50_{FAR}{FAR} x TaxID=5 RepID=Q1_X": "5",
    "sp|P13445|RPOS_ECOLI " + RPOS + " OX=83333 GN=rpoS PE=1 SV=3": "83333",
    "sp|P13970-2|SRNB_ECOLI " + RPOS + " OX=83333": "83333",
    "tr|A7TBS3|A7TBS3_NEMVE Predicted protein OS=Nematostella vectensis PE=4 Split=0 ": None,
    "tr|X0PKM7|X0PKM7_9LACO a (OX=1) OX=5 OX=1423743 GN=OX SV=1": "1423743",
    "tr|A|A OX=12345678": "12345678",
    "tr|A|A x OX=6 EX=7 OXY8": "6",
    "tr|A|A x OX=1234567x": None,
    "tr|A|A x OX=": None,
    "tr|A|A": None,
    "UPI0000000011 status=active": None,
    "MGYP000510094044 FL=1": None,
    "SRR5512133_130811 ": None,
    f"{FAR}{FAR} # 210 # 1007 # -1 # ID=84181_2;partial=00": None,
    "NP_1.1 a title TaxID=5 OX=5": None,
    "UniRef50_": None,
    "UniRef50_/5": None,
    "UniRef10A_B TaxID=5 RepID=B": None,
    "sp|": None,
}
"""Plain headers, each with its taxon."""

DOUBTFUL = [
    *("", " ", " s10", "s10  two blanks", "s10 two blanks behind  ", "s10\ttab", "Sübtilisin x", "a\x01b", "a\x7f b"),
    *("NP_1.1 a title >NP_2.1 another", "tr|A1|A_X a OX=5 >tr|B1|B_X b OX=6"),
    *("UniRef50_Q1 x", "UniRef50_Q1 x TaxID=5", "UniRef50_Q1 x TaxID=5 x", "UniRef50_Q1 x TaxID=5 RepId=x"),
    *("UniRef50_Q1 x TaxIX=5 RepID=Q", "UniRef50_Q1 TaxID=5 y RepID=Q", "UniRef50_Q1 x TaxID=5 RepID=Q1 Split=0"),
    *("UniRef50_Q1 x TaxID=123456789 RepID=Q1_X", f"UniRef50_Q1 x TaxID=5 RepID={FAR}", "UniRef50_Q1 TaxID=5 RepID"),
    *("sp|P13445", "sp||RPOS", "sp|P13445/3-5", "sp|P13445|RPOS_ECOLI/12-90", "sp|A/B|C", "sp|A|B|C", f"sp|A|{FAR}"),
    *("tr|A|A x OX=123456789", "tr|A|A x OX=4294967296 GN=a"),
]

WORDS = [
    *("UniRef100_A0A1", "UniRef90_UPI0000000011", "UniRef50_A/1-20", "UniRef50_", "UniRef10A_A", "UniRef", "Un", ""),
    *("sp|P1|X_Y", "tr|A0A1|A0A1_9X", "sp|P1-2|X", "tr|A|B/1-20", "sp|A", "sp||B", "sp|A|B|C", "sp|A/B|C", "sp|", "s"),
    *("MGYP000510094044", "UPI0000000011", "SRR5_1", "gi|5|ref|N.1|", "OX=5", "TaxID=5", ">tr|A|B", "/", "|", FAR),
]
NAMES = [
    *("", " a", " ", "  a", " -> b", " >", " >sp|", " 5'->3'", " OX=", " OX=9", " EX=9", " TaxID=", " TaxID=5"),
    *(" RepID=A", " n=1 Tax=x y", " OS=x (strain)", "=", "/", "|", "\x01", "\t", "\x7f", "é", "\u2028", "\x00", FAR),
]
TAILS = [
    *("", " ", "  ", "/1-2", " x", " TaxID=9606 RepID=A_B", " TaxID=N/A RepID=UPI0", " TaxID=4294967296 RepID=A"),
    *(" TaxID=12345678 RepID=A", " TaxID=123456789 RepID=A", " TaxID= RepID=A", " TaxID=5x RepID=A", " TaxID=5"),
    *(" TaxID=5 RepID=", " TaxID=5 RepID", " TaxID=5 x", f" RepID={FAR}", " PE=1", " O", " OX", " OX=", " OX=:1"),
    *(" OX=83333 GN=a PE=1 SV=2", " OX=9", " OX=9 ", " OX=12345678", " OX=123456789 GN=a", " OX=4294967295 GN=a"),
    *(" OX=9\x01sp|B|C OX=5", " OX=9 >sp|B|C OX=5"),
]
words, names, tails = (st.sampled_from(pieces) for pieces in (WORDS, NAMES, TAILS))
regular = st.builds("{} protein{}".format, words, tails)
mixed = st.builds("".join, st.tuples(words | names, names, names, tails | names, tails))
free = st.lists(words | names | tails | st.text(max_size=3), max_size=5).map("".join)
headers_of_any_form = st.lists(regular | mixed | free, max_size=12)


def strings(headers: list[str]) -> pa.LargeStringArray:
    return pa.array(headers, pa.large_string())


def plain(headers: list[str]) -> PlainHeaders:
    return read_plain(strings(headers).cast(pa.large_binary()))


def assert_same(headers: list[str]) -> None:
    read, wanted = parse_headers(strings(headers)), read_by_patterns(strings(headers))
    read.validate(full=True)
    assert read.to_pylist() == wanted.to_pylist()
    assert read.equals(wanted)


@settings(max_examples=300, deadline=None)
@given(headers_of_any_form)
def test_columns_are_those_by_patterns(headers: list[str]) -> None:
    assert_same(headers)


@settings(max_examples=200, deadline=None)
@given(headers_of_any_form, st.integers(0, 3))
def test_a_plain_header_is_plain_in_any_company(headers: list[str], start: int) -> None:
    read = read_plain(strings(headers).cast(pa.large_binary()).slice(start))
    alone = [plain([header]).is_plain.tolist() == [True] for header in headers[start:]]
    # Company may only cast doubt on a neighbour, never remove it.
    assert np.all(np.array(alone, dtype=bool) >= read.is_plain)
    kept = [header for header, is_plain in zip(headers[start:], read.is_plain, strict=True) if is_plain]
    assert read.descriptions.equals(plain(kept).descriptions)
    assert read.taxon_ids.equals(plain(kept).taxon_ids)
    assert read.accessions.equals(plain(kept).accessions)


@pytest.mark.parametrize("header", PLAIN)
def test_plain_form(header: str) -> None:
    read = plain([header])
    assert read.is_plain.tolist() == [True]
    assert read.taxon_ids.cast(pa.string()).to_pylist() == [PLAIN[header]]
    assert_same([header])


@pytest.mark.parametrize("header", DOUBTFUL)
def test_doubtful_form(header: str) -> None:
    assert plain([header]).is_plain.tolist() == [False]
    assert_same([header])


def test_plain_and_doubtful_forms_side_by_side() -> None:
    pairs = zip([*PLAIN, *PLAIN], [*DOUBTFUL, *DOUBTFUL, *DOUBTFUL], strict=False)
    assert_same([header for pair in pairs for header in pair])


def test_what_goes_on_in_the_next_header_does_not_count() -> None:
    cuts = [(header[:cut], header[cut:]) for header in (*PLAIN, *DOUBTFUL) for cut in range(len(header) + 1)]
    assert_same([piece for pieces in cuts for piece in pieces])
    assert_same([piece for pieces in cuts for piece in (*pieces, "sp|P2|A_B b")])


def test_what_goes_on_in_the_first_header_does_not_count_in_the_last() -> None:
    for header in ("OX=5 a", ">tr|A|B", "é", "TaxID=5 RepID=A", "/", "|"):
        assert_same([header, "sp|A|B x"])
        assert plain([header, "sp|A|B x"]).is_plain[1]


def test_what_comes_next_casts_no_doubt_on_a_lone_id() -> None:
    assert plain(["UniRef50_A", "a b", "sp|A|B", " b", "MGYP000510094044"]).is_plain.tolist() == [1, 1, 1, 0, 1]


@pytest.mark.parametrize("form", ["UniRef50_A x TaxID={} RepID=A_B", "sp|A|B x OX={} GN=a", "tr|A|B x OX={}"])
@given(number=st.from_regex(r"\A[0-9]{1,12}\Z|\A[!-~]{1,9}\Z"))
@settings(max_examples=100, deadline=None)
def test_taxon_is_a_number_of_up_to_eight_digits(form: str, number: str) -> None:
    read = plain([form.format(number)])
    is_number = number.isdecimal()
    assert not (is_number and len(number) <= 8) or read.taxon_ids.to_pylist() == [int(number)]
    assert not (is_number and len(number) > 8) or not read.is_plain.any()
    assert_same([form.format(number), form.format(number + "1")])


def test_words_may_be_out_of_sight() -> None:
    forms = [
        *(
            "UniRef50_{} x TaxID=5 RepID=A",
            "UniRef50_A x TaxID=5 RepID={}",
            "UniRef50_{}",
            "UniRef50_A {} TaxID=5 RepID=A",
        ),
        *(
            "UniRef50_A TaxID=5 {} RepID=A",
            "UniRef50_A x TaxID={} RepID=A",
            "{}",
            "{} x",
            "{} /",
            "{} # 1 # 2 # 1 # ID=5",
        ),
        *("sp|A|{} x OX=5", "sp|{}|A x OX=5", "tr|A|{}/1-2 x", "sp|A|{}|/1-2", "sp|{}/1-2|A", "sp|A|B OX=5 GN={}"),
    ]
    assert_same([form.format("a" * length) for form in forms for length in range(100)])
    assert_same([form.format("a" * length) for length in range(100) for form in forms])


@pytest.mark.parametrize("path", HEADER_FILES, ids=lambda path: path.stem)
def test_real_headers(path: Path) -> None:
    assert_same(path.read_bytes().decode().split("\n")[:-1])


def test_real_headers_of_all_databases_mixed() -> None:
    headers = [header for path in HEADER_FILES for header in path.read_bytes().decode().split("\n")[:-1]]
    shuffled = np.random.default_rng(0).permutation(headers).tolist()
    assert_same(shuffled)
    read = plain(shuffled)
    assert 0.9 < read.is_plain.mean() < 1
    sources = parse_headers(strings(shuffled)).column("source").to_numpy(zero_copy_only=False)[read.is_plain]
    wanted = [UNIPROT_SOURCES.index(name) if name in UNIPROT_SOURCES else OTHER_SOURCE for name in sources]
    assert read.sources.tolist() == wanted
    assert DATABASE_NAMES[: len(UNIPROT_SOURCES)] == UNIPROT_SOURCES


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.string()])
def test_no_headers(kind: pa.DataType) -> None:
    bare = pa.Array.from_buffers(pa.large_binary(), 0, [None, pa.py_buffer(b""), pa.py_buffer(b"")])
    for headers in (
        pa.array([], kind).cast(pa.large_binary()),
        pa.array(["a"], kind).cast(pa.large_binary())[:0],
        bare,
    ):
        read = read_plain(headers)
        assert [len(values) for values in read] == [0] * len(read)


def test_a_slice_ends_where_it_ends() -> None:
    headers = strings(list(PLAIN)).cast(pa.large_binary())
    for start, length in ((0, 1), (3, 5), (len(headers) - 1, 1), (4, 0)):
        read = read_plain(headers.slice(start, length))
        assert read.is_plain.tolist() == [True] * length
        assert read.taxon_ids.cast(pa.string()).to_pylist() == list(PLAIN.values())[start : start + length]


def test_arrays_of_numbers_and_flags() -> None:
    numbers, flags = np.arange(11, dtype=np.uint32), np.arange(11) % 3 == 0
    assert array_of(pa.uint32(), numbers).equals(pa.array(numbers))
    assert array_of(pa.uint32(), numbers, flags).equals(pa.array(numbers, mask=~flags))
    assert array_of(pa.uint32(), numbers, numbers < 11).null_count == 0
    assert mask_of(flags).equals(pa.array(flags))


def test_pandas_is_not_looked_for() -> None:
    program = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        assert name.partition(".")[0] != "pandas", "pandas is imported"
sys.meta_path.insert(0, Watch())
import pyarrow as pa
from pipeline.formats.headers import parse_headers
text = b"sp|P1|A_B b OX=5" + b"UniRef50_A" + b"MGYP1 FL=1"
offsets = b"".join(offset.to_bytes(8, "little") for offset in (0, 16, 26, 36))
headers = pa.Array.from_buffers(pa.large_string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(text)])
print(parse_headers(headers).to_pylist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'P1'" in done.stdout
    assert "'other'" in done.stdout
