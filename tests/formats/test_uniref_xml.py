"""UniRef's XML becomes the columns of UniRef's FASTA, however it is written; damage is told or counted."""

import gzip
import random
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputFormatError
from pipeline.formats import records
from pipeline.formats.fasta import read_fasta
from pipeline.formats.headers import parse_headers
from pipeline.formats.problems import OnError, Problems
from pipeline.formats.uniref_xml import read_uniref_xml

REAL = Path(__file__).parents[1] / "data" / "uniref" / "UniRef90_P99999.xml"
ROOT = '<UniRef50 xmlns="http://uniprot.org/uniref" \nxmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \n'
DECLARATION = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n'
MEMBER = """<member>
<dbReference type="UniProtKB ID" id="CYC_GORGO">
<property type="UniProtKB accession" value="Q6WUX8"/>
<property type="length" value="105"/>
</dbReference>
<sequence length="2" checksum="0">WW</sequence>
</member>
"""


def entry(
    name="Cytochrome c",
    *,
    key="UniRef50_P99999",
    count="27",
    taxon="Catarrhini",
    taxon_id="9526",
    reference="CYC_HUMAN",
    residues="MGDVEK",
    length=None,
    members=2,
):
    """An entry as UniProt writes it."""
    properties = {"member count": count, "common taxon": taxon, "common taxon ID": taxon_id, "GO Function": "GO:1"}
    lines = [f'<property type="{kind}" value={quoteattr(value)}/>\n' for kind, value in properties.items() if value]
    return f"""<entry id="{key}" updated="2023-09-13">
<name>Cluster: {escape(name)}</name>
{"".join(lines)}<representativeMember>
<dbReference type="UniProtKB ID" id="{reference}">
<property type="source organism" value="Homo sapiens (Human)"/>
<property type="UniProtKB accession" value="P99999"/>
</dbReference>
<sequence length="{len(residues) if length is None else length}" checksum="8EE9">{residues}</sequence>
</representativeMember>
{MEMBER * members}</entry>
"""


def document(*entries, declaration=DECLARATION):
    return f'{declaration}{ROOT} releaseDate="2023-11-08" version="2023_05"> \n{"".join(entries)}</UniRef50>\n'


@pytest.fixture(scope="module")
def read(gather, tmp_path_factory):
    path = tmp_path_factory.mktemp("uniref") / "x.xml"

    def read_text(text, **options):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return gather(read_uniref_xml(path, **options))

    return read_text


def test_a_real_entry(gather):
    read = gather(read_uniref_xml(REAL))
    assert read.columns == [
        {
            "accession": "UniRef90_P99999",
            "source": "uniref90",
            "taxon_id": 9526,
            "cluster": "UniRef90_P99999",
            "description": "Cytochrome c n=27 Tax=Catarrhini TaxID=9526 RepID=CYC_HUMAN",
        }
    ]
    (residues,) = read.residues
    assert residues.startswith("MGDVEKGKKIFIMKCSQC")
    assert len(residues) == 105
    assert read.places == ["line 3, byte 240"]


def test_entries_as_uniprot_writes_them_need_no_parser(read, monkeypatch):
    monkeypatch.setattr("pipeline.formats.uniref_xml.ET.fromstring", None)
    assert read(document(entry(), entry(taxon="", members=0))).residues == ["MGDVEK"] * 2
    with pytest.raises(TypeError):
        read(document(entry("5'-3' exonuclease & more")))


def test_columns_are_those_of_the_fasta_of_the_same_cluster(read, tmp_path):
    title = "UniRef50_P99999 Cytochrome c n=27 Tax=Catarrhini TaxID=9526 RepID=CYC_HUMAN"
    (tmp_path / "x.fasta").write_text(f">{title}\nMGDVEK\n")
    (block,) = read_fasta(tmp_path / "x.fasta")
    assert read(document(entry())).columns == parse_headers(block.headers).to_pylist()


def test_what_is_not_known_is_said_as_fasta_says_it(read):
    (row,) = read(document(entry(taxon="", taxon_id="", count="", reference="UPI0000000001"))).columns
    assert row["description"] == "Cytochrome c Tax=unknown TaxID=N/A RepID=UPI0000000001"
    assert row["taxon_id"] is None
    (row,) = read(document(entry("", taxon="unknown"))).columns
    assert row["description"] == "n=27 Tax=unknown TaxID=9526 RepID=CYC_HUMAN"


def test_members_are_no_records_and_places_are_the_file_s(read):
    text = document(entry(), entry(key="UniRef50_B", members=0), entry(key="UniRef50_C"))
    found = read(text)
    assert found.accessions == ["UniRef50_P99999", "UniRef50_B", "UniRef50_C"]
    for place, accession in zip(found.places, found.accessions, strict=True):
        line, byte = (int(word.split()[-1]) for word in place.split(","))
        assert text[byte:].startswith(f'<entry id="{accession}"')
        assert text[:byte].count("\n") == line - 1


def test_sequences_of_many_lines_as_before_2019(read):
    assert read(document(entry(residues="MGDVEK", length=6).replace("MGDVEK", "\nMGD\nvek\n"))).residues == ["MGDVEK"]


def test_the_source_may_be_given(read):
    assert read(document(entry()), source="mine").columns[0]["source"] == "mine"


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x85\xa0"), min_size=1)


@given(NAMES, NAMES, st.booleans())
@settings(max_examples=100)
def test_names_of_any_characters(read, name, taxon, is_declared):
    """References, quotes, Latin-1 and UTF-8: what the regular expression does not match, the parser reads."""
    text = document(entry(name, taxon=taxon), declaration=DECLARATION if is_declared else "")
    (row,) = read(text.encode("latin-1" if is_declared else "utf-8")).columns
    assert row["description"] == f"{name} n=27 Tax={taxon} TaxID=9526 RepID=CYC_HUMAN"
    assert row["taxon_id"] == 9526


VARIANTS = {
    "single quotes": lambda text: text.replace('"', "'"),
    "other spaces": lambda text: text.replace(' value="', '\n  value = "').replace("<name>", "<name >"),
    "attributes turned round": lambda text: text.replace(
        'type="UniProtKB ID" id="CYC_HUMAN"', 'id="CYC_HUMAN" type="UniProtKB ID"'
    ),
    "comments": lambda text: text.replace("<name>", "<!-- </representativeMember> --><name>"),
    "character data": lambda text: text.replace("Cytochrome", "<![CDATA[Cytochrome]]>"),
    "a namespace": lambda text: text.replace("<entry ", '<entry xmlns="http://uniprot.org/uniref" '),
    "a prefix": lambda text: text.replace("<entry ", '<entry xmlns:u="http://u" ').replace("name>", "u:name>"),
    "indented": lambda text: text.replace("\n<", "\n    <"),
    "line ends of Windows": lambda text: text.replace("\n", "\r\n"),
    "on one line": lambda text: text.replace("\n", ""),
    "unknown elements": lambda text: text.replace("<representativeMember>", "<score>1</score><representativeMember>"),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_in_other_words(read, name):
    plain, other = entry(), VARIANTS[name](entry())
    assert other != plain
    expected, found = read(document(plain, plain)), read(document(other, other))
    assert (found.columns, found.residues) == (expected.columns, expected.residues)


def test_markup_around_entries(read):
    text = document(f"<!-- a comment -->\n{entry()}<?x y?>{entry()}<copyright>c</copyright>")
    assert len(read("\ufeff" + text).accessions) == 2
    assert len(read(text + document(entry())).accessions) == 3


def test_compressed(gather, tmp_path):
    (tmp_path / "x.xml.gz").write_bytes(gzip.compress(document(entry()).encode()))
    assert gather(read_uniref_xml(tmp_path / "x.xml.gz")).residues == ["MGDVEK"]


DAMAGED = {
    "another length": (entry(length=7), "expected 7 residues as UniRef50_P99999 says itself, found 6"),
    "no sequence": (entry(members=0).replace("sequence", "residues"), "KeyError: 'sequence'"),
    "no representative": (entry().replace("representativeMember", "other"), "KeyError: 'representativeMember'"),
    "no id": (entry().replace('id="UniRef50_P99999"', ""), "KeyError: 'id'"),
    "a number that is none": (entry(length="six"), "ValueError: invalid literal"),
    "an element that does not end": (entry().replace("</name>", ""), "ParseError: mismatched tag"),
    "an unknown reference": (entry().replace("Cytochrome", "&harm;"), "ParseError: undefined entity"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_entry(read, name):
    damaged, message = DAMAGED[name]
    text = document(entry(key="UniRef50_A"), damaged, entry(key="UniRef50_B"))
    with pytest.raises(InputFormatError) as caught:
        read(text)
    assert "x.xml: entry 2 (line " in caught.value.message
    assert message in caught.value.message
    problems = Problems(OnError.SKIP)
    assert read(text, problems=problems).accessions == ["UniRef50_A", "UniRef50_B"]
    assert problems.counts == {"unreadable-entry": 1}


def test_every_entry_may_be_damaged(read):
    problems = Problems(OnError.SKIP)
    assert read(document(entry(length=7)), problems=problems).residues == []
    assert problems.counts == {"unreadable-entry": 1}


WHOLE = document(entry(), entry(key="UniRef50_B")).rstrip()


@given(st.integers(0, len(WHOLE) - 1))
@settings(max_examples=150)
def test_a_file_cut_anywhere_is_an_error(read, cut):
    with pytest.raises(InputFormatError):
        read(WHOLE[:cut])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected UniRef entries, found none"),
        (document(), "expected UniRef entries, found none"),
        ("<uniprot>\n", "expected '<UniRef100', '<UniRef90' or '<UniRef50', found '<uniprot>"),
        (WHOLE.replace("\n<entry", "\nrubbish<entry"), "expected '<entry' or the end of the root element"),
        (WHOLE.removesuffix("</UniRef50>"), "expected the end of the root element behind the last entry"),
        (WHOLE[:-60], "expected '</entry>' at the end of the entry, found the end of the file"),
    ],
)  # fmt: skip
def test_what_is_no_such_file(read, text, message):
    with pytest.raises(InputFormatError, match=message.replace("(", "\\(")):
        read(text)


def test_blocks_make_no_difference(gather, tmp_path, monkeypatch):
    rng = random.Random(1)
    text = document(*(entry(key=f"UniRef50_{number}", members=rng.randrange(3)) for number in range(20)))
    (tmp_path / "x.xml").write_text(text)
    whole = gather(read_uniref_xml(tmp_path / "x.xml"))
    monkeypatch.setattr(records, "RECORDS_PER_BLOCK", 3)
    blocks = list(read_uniref_xml(tmp_path / "x.xml"))
    assert len(blocks) == 7
    assert gather(blocks) == whole
