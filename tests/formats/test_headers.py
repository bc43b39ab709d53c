"""Headers to columns: every known form, files of real headers, and a plain-Python parser as the oracle."""

import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.headers import DATABASE_NAMES, HEADER_SCHEMA, parse_headers

HEADERS_FOLDER = Path(__file__).parents[1] / "data" / "headers"
HEADER_FILES = sorted(HEADERS_FOLDER.glob("*.txt"))

Row = tuple[str, str, int | None, str | None, str | None]

XYLANASE = "Endo-1,4-beta-xylanase n=1 Tax=Fusarium venenatum TaxID=56646 RepID=A0A2L2TCV1_9HYPO"
FAMILY_11 = "glycoside hydrolase family 11 protein n=1 Tax=Ruminococcus flavefaciens TaxID=1265 RepID=UPI00048CCA0F"
UNKNOWN = "UPI001B37708D UniRef100 entry n=1 Tax=unknown TaxID=N/A RepID=UPI001B37708D"
ZETA = "[subseq from] Hemoglobin subunit zeta n=1 Tax=Monodon monoceros TaxID=40151 RepID=A0A4U1FNC5_MONMO"
NESTED = "Protein n=3 Tax=x TaxID=5 5'->3' (EC=3.1) TaxID=7 Tax=y n=2 Tax=Bos TaxID=9913 RepID=A_BOVIN"
RPOS = "RNA polymerase sigma factor RpoS OS=Escherichia coli (strain K12) OX=83333 GN=rpoS PE=1 SV=3"
SRNB = "Isoform srnB' of Protein SrnB OS=Escherichia coli (strain K12) OX=83333 GN=srnB"
NEMVE = "Predicted protein (Fragment) OS=Nematostella vectensis GN=v1g153959 PE=4 SV=1 Split=0"
JCM = "LtrC-like protein OS=Lactobacillus farraginis DSM 18382 = JCM 14108 (OX=1) OX=5 OX=1423743 GN=FD41 PE=4 SV=1"
PRODIGAL_ID = "AntAceMinimDraft_17_1070374.scaffolds.fasta_scaffold84181_2"
PRODIGAL = "# 210 # 1007 # -1 # ID=84181_2;partial=00;start_type=ATG;rbs_motif=TATAA;rbs_spacer=11bp;gc_cont=0.301"
AUREI = "Bifunctional protein OS=Streptomyces aurei OX="

EXAMPLES: dict[str, Row] = {
    # UniRef: the whole id; TaxID from the right; N/A; bare ids.
    f"UniRef100_A0A2L2TCV1 {XYLANASE}": ("UniRef100_A0A2L2TCV1", "uniref100", 56646, "UniRef100_A0A2L2TCV1", XYLANASE),
    f"UniRef100_UPI00048CCA0F {FAMILY_11}": (
        *("UniRef100_UPI00048CCA0F", "uniref100", 1265, "UniRef100_UPI00048CCA0F", FAMILY_11),
    ),
    f"UniRef100_UPI001B37708D {UNKNOWN}": (
        *("UniRef100_UPI001B37708D", "uniref100", None, "UniRef100_UPI001B37708D", UNKNOWN),
    ),
    f"UniRef90_Q1 {NESTED}": ("UniRef90_Q1", "uniref90", 9913, "UniRef90_Q1", NESTED),
    "UniRef90_Q1 x TaxID=5 y n=1 Tax=z RepID=Q1_X": (
        *("UniRef90_Q1", "uniref90", None, "UniRef90_Q1", "x TaxID=5 y n=1 Tax=z RepID=Q1_X"),
    ),
    "UniRef50_Q1 x n=1 Tax=root TaxID=1": ("UniRef50_Q1", "uniref50", 1, "UniRef50_Q1", "x n=1 Tax=root TaxID=1"),
    "UniRef50_Q1 x Tax=z TaxID=1 RepID=Q1_X Split=0 ": (
        *("UniRef50_Q1", "uniref50", 1, "UniRef50_Q1", "x Tax=z TaxID=1 RepID=Q1_X Split=0"),
    ),
    "UniRef50_P13970-2": ("UniRef50_P13970-2", "uniref50", None, "UniRef50_P13970-2", None),
    "UniRef50_Q1 OX=9606": ("UniRef50_Q1", "uniref50", None, "UniRef50_Q1", "OX=9606"),
    "UniRef50_": ("UniRef50_", "other", None, None, None),
    "UniRef50": ("UniRef50", "other", None, None, None),
    "UniRef30_Q1": ("UniRef30_Q1", "other", None, None, None),
    f"UniRef90_A0A4U1FNC5/143-271 {ZETA}": (
        *("UniRef90_A0A4U1FNC5/143-271", "uniref90", 40151, "UniRef90_A0A4U1FNC5", ZETA),
    ),
    # UniProtKB: the middle field; isoforms; no OX; the last OX.
    f"sp|P13445|RPOS_ECOLI {RPOS}": ("P13445", "swissprot", 83333, None, RPOS),
    f"sp|P13970-2|SRNB_ECOLI {SRNB}": ("P13970-2", "swissprot", 83333, None, SRNB),
    f"tr|A7TBS3|A7TBS3_NEMVE {NEMVE} ": ("A7TBS3", "trembl", None, None, NEMVE),
    f"tr|X0PKM7|X0PKM7_9LACO {JCM} ": ("X0PKM7", "trembl", 1423743, None, JCM),
    "sp|Q99ZW2.1|CAS9_STRP1 RecName: Full=Cas9": ("Q99ZW2.1", "swissprot", None, None, "RecName: Full=Cas9"),
    "sp|P13445|RPOS_ECOLI/12-90 [subseq from] RpoS OX=83333": (
        *("P13445/12-90", "swissprot", 83333, None, "[subseq from] RpoS OX=83333"),
    ),
    "sp|P13445": ("P13445", "swissprot", None, None, None),
    "sp|P13445|": ("P13445", "swissprot", None, None, None),
    "sp|P13445/3-5": ("P13445/3-5", "swissprot", None, None, None),
    "sp||RPOS_ECOLI": ("sp||RPOS_ECOLI", "other", None, None, None),
    "sp|": ("sp|", "other", None, None, None),
    f"tr|A|A {AUREI}4294967295 GN=a": ("A", "trembl", 4294967295, None, f"{AUREI}4294967295 GN=a"),
    f"tr|A|A {AUREI}4294967296 GN=a": ("A", "trembl", None, None, f"{AUREI}4294967296 GN=a"),
    f"tr|A|A {AUREI}99999999999999999999999": ("A", "trembl", None, None, f"{AUREI}99999999999999999999999"),
    f"tr|A|A {AUREI}N/A GN=a": ("A", "trembl", None, None, f"{AUREI}N/A GN=a"),
    f"tr|A|A {AUREI}12x GN=a": ("A", "trembl", None, None, f"{AUREI}12x GN=a"),
    # UniParc, MGnify.
    "UPI0000000011 status=active": ("UPI0000000011", "uniparc", None, None, "status=active"),
    "UPI00048CCA0F/5-9 status=active": ("UPI00048CCA0F/5-9", "uniparc", None, None, "status=active"),
    "UPI000000001": ("UPI000000001", "other", None, None, None),
    "UPI00000000111": ("UPI00000000111", "other", None, None, None),
    "MGYP000510094044 FL=1": ("MGYP000510094044", "mgnify", None, None, "FL=1"),
    "MGYP001810100752 FL=0 CR=1": ("MGYP001810100752", "mgnify", None, None, "FL=0 CR=1"),
    "MGYP00051009404": ("MGYP00051009404", "other", None, None, None),
    "MGYP0005100940441": ("MGYP0005100940441", "other", None, None, None),
    "MGYP000406148242 PL=00 UP=0 BIOMES=0101000000000": (
        *("MGYP000406148242", "mgnify", None, None, "PL=00 UP=0 BIOMES=0101000000000"),
    ),
    "MGYP000406148242/1-68 [subseq from] PL=00": (
        *("MGYP000406148242/1-68", "mgnify", None, None, "[subseq from] PL=00"),
    ),
    # BFD and Metaclust.
    "SRR5512133_130811 ": ("SRR5512133_130811", "bfd", None, None, None),
    "ERR1711966_109761 ": ("ERR1711966_109761", "bfd", None, None, None),
    "DRR000001_7_2": ("DRR000001_7_2", "bfd", None, None, None),
    "SRR5512133": ("SRR5512133", "other", None, None, None),
    f"{PRODIGAL_ID} {PRODIGAL}": (PRODIGAL_ID, "bfd", None, None, PRODIGAL),
    'OM-RGC.v1.029978909 GOS_1\tNOG289343\t""': ("OM-RGC.v1.029978909", "bfd", None, None, 'GOS_1\tNOG289343\t""'),
    # NCBI, prokka, antibodies, bare ids.
    "gi|5|ref|NP_1.1| a title": ("gi|5|ref|NP_1.1|", "other", None, None, "a title"),
    "gi|1|gb|G1|G1 human\x01gi|2|gb|G2|G2 human.": (
        *("gi|1|gb|G1|G1", "other", None, None, "human\x01gi|2|gb|G2|G2 human."),
    ),
    "NP_1.1 a title >NP_2.1 another": ("NP_1.1", "other", None, None, "a title >NP_2.1 another"),
    "NP_1.1\x01NP_2.1 another": ("NP_1.1", "other", None, None, "NP_2.1 another"),
    "gnl|BL_ORD_ID|3 x": ("gnl|BL_ORD_ID|3", "other", None, None, "x"),
    "pdb|1JLY|B Chain B": ("pdb|1JLY|B", "other", None, None, "Chain B"),
    "PROKKA_00001 1.1.1.1~~~thrA~~~Product~~~COG0460": (
        *("PROKKA_00001", "other", None, None, "1.1.1.1~~~thrA~~~Product~~~COG0460"),
    ),
    "0a1b2c3d-0000-4000-8000-00000000000f|A": ("0a1b2c3d-0000-4000-8000-00000000000f|A", "other", None, None, None),
    "query OS=Homo sapiens OX=9606 TaxID=9606": ("query", "other", None, None, "OS=Homo sapiens OX=9606 TaxID=9606"),
    # A joined title is not read for the first one's taxon.
    "sp|A1|A_X a OX=5 PE=1\x01sp|B1|B_X b OX=6": ("A1", "swissprot", 5, None, "a OX=5 PE=1\x01sp|B1|B_X b OX=6"),
    "sp|A1|A_X a \x01sp|B1|B_X b OX=6": ("A1", "swissprot", None, None, "a \x01sp|B1|B_X b OX=6"),
    "sp|A1|A_X\x01sp|B1|B_X b OX=6": ("A1", "swissprot", None, None, "sp|B1|B_X b OX=6"),
    "tr|A1|A_X a OX=5 >tr|B1|B_X b OX=6": ("A1", "trembl", 5, None, "a OX=5 >tr|B1|B_X b OX=6"),
    "tr|A1|A_X a >5 kDa OX=5": ("A1", "trembl", 5, None, "a >5 kDa OX=5"),
    "UniRef50_A a TaxID=5 RepID=A >UniRef50_B b TaxID=6 RepID=B": (
        *("UniRef50_A", "uniref50", 5, "UniRef50_A", "a TaxID=5 RepID=A >UniRef50_B b TaxID=6 RepID=B"),
    ),
    "UniRef50_A a TaxID=5 RepID=A \t\x01UniRef50_B b TaxID=6 RepID=B": (
        *("UniRef50_A", "uniref50", 5, "UniRef50_A", "a TaxID=5 RepID=A \t\x01UniRef50_B b TaxID=6 RepID=B"),
    ),
    # Blanks and bytes.
    "": ("", "other", None, None, None),
    " \t\x01 ": ("", "other", None, None, None),
    " s10": ("s10", "other", None, None, None),
    "s10  two  blanks\t ": ("s10", "other", None, None, "two  blanks"),
    "s10\ttab": ("s10", "other", None, None, "tab"),
    "s10\u00a0no-break\u3000wide": ("s10", "other", None, None, "no-break\u3000wide"),
    "s\x0010 a\x00b": ("s\x0010", "other", None, None, "a\x00b"),
    "Sübtilisin|µ 枯草 \U0001f9ec": ("Sübtilisin|µ", "other", None, None, "枯草 \U0001f9ec"),
}


def rows(headers: list[str], **options: str) -> list[Row]:
    return as_rows(parse_headers(pa.array(headers, pa.large_string()), **options))


def as_rows(batch: pa.RecordBatch) -> list[Row]:
    batch.validate(full=True)
    assert batch.schema == HEADER_SCHEMA
    return [tuple(row.values()) for row in batch.to_pylist()]


def is_blank(character: str) -> bool:
    return character == "\x01" or character.isspace()


def strip_blanks(text: str) -> str:
    kept = [position for position, character in enumerate(text) if not is_blank(character)]
    return text[kept[0] : kept[-1] + 1] if kept else ""


def first_title(header: str) -> str:
    ends = [header.find(mark) for mark in ("\x01", " >sp|", " >tr|")] + [
        match.start() for match in re.finditer(r" >UniRef[0-9]", header)
    ]
    return strip_blanks(header[: min([end for end in ends if end >= 0], default=len(header))])


def expected_taxon(title: str, marker: str) -> int | None:
    _, found, tail = title.rpartition(marker)
    digits, *pairs = tail.split(" ")
    if not found or not re.fullmatch("[0-9]+", digits) or int(digits) >= 2**32 or len(digits) > 10:
        return None
    if marker == " TaxID=" and not all(re.match("[A-Z][A-Za-z]*=", pair) for pair in pairs):
        return None
    return int(digits)


def expected_source(word: str, description: str) -> str:
    whole, *_ = re.split("/[0-9]+-[0-9]+$", word)
    if word.startswith(("sp|", "tr|")) and word[3:4] not in ("", "|"):
        return "swissprot" if word.startswith("sp") else "trembl"
    for size in ("100", "90", "50"):
        if word.startswith(f"UniRef{size}_") and word.partition("_")[2][:1] not in ("", "/"):
            return f"uniref{size}"
    if whole.startswith("UPI") and re.fullmatch("[0-9A-F]{10}", whole[3:]):
        return "uniparc"
    if whole.startswith("MGYP") and re.fullmatch("[0-9]{12}", whole[4:]):
        return "mgnify"
    is_bfd = re.fullmatch(r"[SED]RR[0-9]+(_[0-9]+)+|OM-RGC\.v[0-9]+\.[0-9]+", whole)
    return "bfd" if is_bfd or re.match("# [0-9]+ # [0-9]+ # -?1 # ID=", description) else "other"


def expected_row(header: str) -> Row:
    """The oracle: one header at a time, by plain string methods."""
    header = strip_blanks(header)
    end = next((position for position, character in enumerate(header) if is_blank(character)), len(header))
    word, description = header[:end], strip_blanks(header[end:])
    source = expected_source(word, description)
    if source in ("swissprot", "trembl"):
        _, accession, *rest = word.split("|")
        piece = re.search("/[0-9]+-[0-9]+$", word) if rest else None
        accession += piece.group() if piece else ""
        return accession, source, expected_taxon(first_title(header), " OX="), None, description or None
    if source.startswith("uniref"):
        taxon = expected_taxon(first_title(header), " TaxID=")
        return word, source, taxon, word.split("/")[0], description or None
    return word, source, None, None, description or None


FRAGMENTS = [
    *("UniRef100_A", "UniRef90_", "UniRef50_UPI0000000011", "sp|P1|X_Y", "tr|A", "sp||", "UPI0000000011", "UPI"),
    *("MGYP000510094044", "SRR5_1", "OM-RGC.v1.2", "gi|5|", " # 1 # 2 # -1 # ID=3;", "/1-20", "/", "->"),
    *("=", "|", ">", "#", " >", " >sp|", " >UniRef5", " n=1", " Tax=x y", " TaxID=", " OX=", " OS=", " RepID=A_B"),
    *("N/A", "9606", "4294967296", "\x01", " ", "  ", "\t", "\x00", "\u2028", "é", "\U0001f9ec", " PE=1 SV=2"),
]
anything = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=8).map("".join)
few = settings(max_examples=50, deadline=None)
many = settings(max_examples=200, deadline=None)


@pytest.mark.parametrize("header", EXAMPLES)
def test_known_form_alone(header: str) -> None:
    assert rows([header]) == [EXAMPLES[header]]


def test_known_forms_together() -> None:
    assert rows(list(EXAMPLES)) == list(EXAMPLES.values())


def test_plain_ascii_headers_take_the_short_way_to_the_same_rows() -> None:
    plain = {header: row for header, row in EXAMPLES.items() if header.isascii() and header.isprintable()}
    assert rows(list(plain)) == list(plain.values())


def test_every_source_has_an_example() -> None:
    assert {row[1] for row in EXAMPLES.values()} == set(DATABASE_NAMES)


@many
@given(st.lists(anything, max_size=12))
def test_rows_are_the_oracles(headers: list[str]) -> None:
    assert rows(headers) == [expected_row(header) for header in headers]


@few
@given(st.lists(anything, max_size=8))
def test_no_row_affects_another(headers: list[str]) -> None:
    assert rows(headers) == [row for header in headers for row in rows([header])]


@few
@given(st.lists(anything, max_size=8))
def test_accession_is_one_word_and_empty_only_for_blank_headers(headers: list[str]) -> None:
    for header, (accession, *_) in zip(headers, rows(headers), strict=True):
        assert not any(map(is_blank, accession))
        assert (accession == "") == (strip_blanks(header) == "")


@few
@given(st.lists(anything, max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_arrow_shape_does_not_matter(headers: list[str], start: int, cut: int) -> None:
    wanted = rows(headers)[start:]
    whole = pa.array(headers, pa.large_string())
    for kind in (pa.large_string(), pa.string(), pa.large_binary(), pa.binary()):
        assert as_rows(parse_headers(whole.cast(kind).slice(start))) == wanted
    sliced = whole.slice(start)
    chunked = pa.chunked_array([sliced.slice(0, cut), whole.slice(0, 0), sliced.slice(cut)])
    assert as_rows(parse_headers(chunked)) == wanted


def test_no_headers_at_all() -> None:
    assert rows([]) == []
    assert as_rows(parse_headers(pa.chunked_array([], pa.string()))) == []
    assert as_rows(parse_headers(pa.array([]))) == []


def test_null_is_an_empty_header() -> None:
    assert as_rows(parse_headers(pa.array([None, "a b"]))) == [EXAMPLES[""], ("a", "other", None, None, "b")]


@few
@given(st.lists(anything, max_size=8), st.sampled_from(["bfd", "our own proteins"]))
def test_source_given_by_the_user_changes_nothing_else(headers: list[str], source: str) -> None:
    assert rows(headers, source=source) == [(row[0], source, *row[2:]) for row in rows(headers)]


def test_bytes_that_are_no_utf8_spoil_no_header() -> None:
    latin = pa.array([b"sp|P1|A_B \xb5-protein OX=5", b"\xff\xfe", "µ ü".encode()], pa.binary())
    wanted = [
        ("P1", "swissprot", 5, None, "\ufffd-protein OX=5"),
        ("\ufffd\ufffd", "other", None, None, None),
        ("µ", "other", None, None, "ü"),
    ]
    assert as_rows(parse_headers(latin)) == wanted
    unchecked = pa.StringArray.from_buffers(len(latin), *latin.buffers()[1:])
    assert as_rows(parse_headers(unchecked)) == wanted


@pytest.mark.parametrize("path", HEADER_FILES, ids=lambda path: path.stem)
def test_real_headers(path: Path) -> None:
    headers = path.read_bytes().decode().split("\n")[:-1]
    parsed = rows(headers)
    assert parsed == [expected_row(header) for header in headers]
    assert {source for _, source, *_ in parsed} == {path.stem.split("_")[0]}
    assert all(accession for accession, *_ in parsed) or path.stem == "other_nasty"


def test_real_headers_are_all_there() -> None:
    assert {path.stem.split("_")[0] for path in HEADER_FILES} == set(DATABASE_NAMES)


def test_escherichia_coli_proteome() -> None:
    headers = (HEADERS_FOLDER / "swissprot_ecoli.txt").read_text().splitlines()
    parsed = rows(headers)
    assert [row[0] for row in parsed] == [header.split("|")[1] for header in headers]
    assert {row[2] for row in parsed} == {83333}
    assert len({row[0] for row in parsed}) == len(headers) == 440


def test_unknown_taxa_of_uniref() -> None:
    headers = (HEADERS_FOLDER / "uniref90_1a00A.txt").read_text().splitlines()
    is_unknown = ["TaxID=N/A" in header for header in headers]
    assert [row[2] is None for row in rows(headers)] == is_unknown
    assert any(is_unknown)
