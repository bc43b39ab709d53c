"""Clusters that others made: two columns, UniProt's mapping of ids, UniRef's XML."""

import gzip

import pyarrow as pa
import pytest

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.memberships import detect_memberships, kinds_of, read_memberships

# Columns as in https://ftp.uniprot.org/pub/databases/uniprot/current_release/knowledgebase/idmapping/README
IDMAPPING = "{accession}\t{entry}\t\t\t\t\tGO:0005829\t{u100}\t{u90}\t{u50}\t{uniparc}\t\t83333\t\t\t\t\t\t\t\t\t\n"


def rows(path, kinds=("accession",), **options):
    tables = list(read_memberships(path, set(kinds), **options))
    return [tuple(row.values()) for table in tables for row in table.to_pylist()]


@pytest.fixture
def mapping(tmp_path):
    lines = [
        IDMAPPING.format(
            accession="P0A7M2",
            entry="RL28_ECOLI",
            u100="UniRef100_P0A7M2",
            u90="UniRef90_P0A7M2",
            u50="UniRef50_P0A7M6",
            uniparc="UPI0000112D6F",
        ),
        IDMAPPING.format(accession="Q00001", entry="X_YEAST", u100="", u90="", u50="UniRef50_Q00001", uniparc=""),
        IDMAPPING.format(accession="Q00002", entry="Y_YEAST", u100="", u90="", u50="", uniparc="UPI00000000FF"),
    ]
    path = tmp_path / "idmapping_selected.tab"
    path.write_text("".join(lines))
    return path


@pytest.fixture
def xml(root):
    return root / "tests" / "data" / "uniref" / "UniRef90_P99999.xml"


def test_what_a_file_is(tmp_path, mapping, xml):
    (tmp_path / "table.tsv").write_text("a\tb\n")
    (tmp_path / "other.tsv").write_text("a\tb\tc\n")
    assert detect_memberships(tmp_path / "table.tsv") == "table"
    assert detect_memberships(mapping) == "idmapping"
    assert detect_memberships(xml) == "uniref-xml"
    with pytest.raises(InputFormatError, match=r"other.tsv: expected UniRef XML, 22 .* found 3 in the first line"):
        detect_memberships(tmp_path / "other.tsv")
    with pytest.raises(ConfigurationError, match="expected a file"):
        detect_memberships(tmp_path / "nothing")


def test_a_table(tmp_path):
    path = tmp_path / "table.tsv.gz"
    path.write_bytes(gzip.compress(b"rep\tmember one\nrep\trep\nsp|P1|A_B\ttr|Q2-2|C_D\n\"q\t'x\n", mtime=0))
    assert rows(path, level=3) == [
        (3, "member one", "rep"),
        (3, "rep", "rep"),
        (3, "Q2-2", "P1"),
        (3, "'x", '"q'),
    ]


@pytest.mark.parametrize("text", ["a\tb\nc\n", "a\tb\nc\td\te\n", "a\tb\n\tc\n", "a\tb\nc\t\n", "a\tb\n\xff\tc\n"])
def test_a_damaged_table_is_told(tmp_path, text):
    path = tmp_path / "table.tsv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputFormatError, match=r"table.tsv: expected"):
        rows(path)


def test_a_mapping_has_two_levels_by_the_names_that_matter(mapping):
    assert sorted(rows(mapping)) == [
        (0, "P0A7M2", "UniRef50_P0A7M6"),
        (0, "Q00001", "UniRef50_Q00001"),
        (1, "P0A7M2", "UniRef90_P0A7M2"),
    ]
    assert sorted(rows(mapping, ["UniRef90"])) == [
        (0, "UniRef90_P0A7M2", "UniRef50_P0A7M6"),
        (1, "UniRef90_P0A7M2", "UniRef90_P0A7M2"),
    ]
    assert len(rows(mapping, ["UniParc", "UniRef100"])) == 4


def test_uniref_as_xml(xml):
    found = rows(xml)
    finer = [(name, representative) for level, name, representative in found if level == 1]
    assert len(finer) == len({name for name, _ in finer})
    assert {representative for _, representative in finer} == {"UniRef90_P99999"}
    assert {"P99999", "Q6WUX8", "P99998", "Q5RFH4"} <= {name for name, _ in finer}
    assert "A4D166" not in {name for name, _ in finer}  # a secondary accession
    # Only the representative says which UniRef50 all of them are in.
    assert {name for level, name, representative in found if level == 0 and representative == "UniRef50_P99999"} == {
        name for name, _ in finer
    }
    by_uniparc = {name for level, name, _ in rows(xml, ["UniParc"]) if level == 1}
    assert "UPI000013EAA0" in by_uniparc
    assert all(name.startswith("UPI") for name in by_uniparc)
    of_all = xml.read_text()
    assert len(rows(xml, ["UniParc"])) == 2 * of_all.count("<dbReference ")


def test_several_entries_and_compression(xml, tmp_path):
    text = xml.read_bytes()
    entry = text[text.index(b"<entry") : text.index(b"</entry>") + len(b"</entry>")]
    other = entry.replace(b"UniRef90_P99999", b"UniRef90_X00001")
    path = tmp_path / "two.xml.gz"
    path.write_bytes(gzip.compress(text.replace(entry, entry + b"\n" + other), mtime=0))
    assert len(rows(path)) == 2 * len(rows(xml))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.index(b"</entry>")], "cut short"),
        (lambda text: text[: text.index(b"</entry>") + 8], "cut short"),
        (lambda text: text.replace(b"<dbReference", b"<other"), "entry 1: expected an id of UniRef and members"),
        (lambda text: text.replace(b'UniRef90_P99999"', b'P99999"'), "entry 1: expected an id of UniRef"),
    ],
)
def test_damaged_xml_is_told(xml, tmp_path, change, message):
    path = tmp_path / "damaged.xml"
    path.write_bytes(change(xml.read_bytes()))
    with pytest.raises(InputFormatError) as caught:
        rows(path)
    assert message in str(caught.value)
    assert str(path) in caught.value.message


def test_names_say_of_what_database_they_are():
    names = pa.array(["P12345", "UniRef90_P12345", "UPI000013EAA0", "UPI00", "MGYP000001"])
    assert kinds_of(names) == {"accession", "UniRef90", "UniParc"}
    assert kinds_of(names[1:2]) == {"UniRef90"}
    assert kinds_of(pa.array([], pa.string())) == set()
