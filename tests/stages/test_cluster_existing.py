"""Clusters that others made, joined to a corpus: what does not fit is counted and shown, whatever the order of rows."""

import random

import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.cluster_config import ClusterConfig
from pipeline.config import IngestConfig
from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.manifest import read_manifest
from pipeline.stages.cluster.stage import Cluster
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.verify.stage import verify

NAMES = ("A", "B", "C", "D", "E", "F", "G", "H")


class Listener(SilentWatcher):
    """Keeps what a person is told."""

    def __init__(self):
        self.said = []

    def warning(self, text):
        self.said.append(text)


def residues(name):
    return "".join(random.Random(name).choices("ACDEFGHIKLMNPQRSTVWY", k=40))


def make_corpus(folder, records):
    """A corpus of headers and residues, in several parts."""
    (folder / "in.fasta").write_text("".join(f">{header}\n{text}\n" for header, text in records))
    config = IngestConfig(files=(str(folder / "in.fasta"),), records_per_part=2)
    with SerialExecutor() as executor:
        run_stage(Ingest(config), folder / "corpus", executor=executor)
    return folder / "corpus"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Records A to H; Z was merged into A."""
    records = [*((name, residues(name)) for name in NAMES), ("Z", residues("A"))]
    return make_corpus(tmp_path_factory.mktemp("existing"), records)


def write(path, rows):
    path.write_text("".join(f"{representative}\t{member}\n" for representative, member in rows))
    return path


def adopt(corpus, out, *files, executor=None):
    listener = Listener()
    stage = Cluster(corpus, ClusterConfig(existing=tuple(map(str, files))))
    outcome = run_stage(stage, out, executor=executor or SerialExecutor(), watcher=listener)
    return outcome.manifest, listener.said


def clusters_of(corpus, out, suffix=""):
    """Representative, size and index of every record by its accession."""
    found = {}
    for file in read_manifest(corpus).tables:
        accessions = pq.read_table(corpus / file.path).column("accession").to_pylist()
        rows = pq.read_table(out / file.path).to_pylist()
        for accession, row in zip(accessions, rows, strict=True):
            found[accession] = tuple(
                row[f"{name}{suffix}"] for name in ("representative", "cluster_size", "member_index")
            )
    return found


def findings(out):
    with SerialExecutor() as executor:
        return verify(out, executor=executor, watcher=SilentWatcher()).findings


ROWS = [("A", "A"), ("A", "B"), ("A", "C"), ("D", "D"), ("D", "E"), ("absent", "F"), ("G", "G"), ("H", "H")]


def test_a_table_of_representatives_and_members(corpus, tmp_path):
    manifest, said = adopt(corpus, tmp_path / "out", write(tmp_path / "c.tsv", ROWS))
    found = clusters_of(corpus, tmp_path / "out")
    assert {name: found[name][:2] for name in NAMES} == {
        "A": ("A", 3),
        "B": ("A", 3),
        "C": ("A", 3),
        "D": ("D", 2),
        "E": ("D", 2),
        "F": ("absent", 1),
        "G": ("G", 1),
        "H": ("H", 1),
    }
    assert sorted(found[name][2] for name in "ABC") == [0, 1, 2]
    assert said == []
    assert manifest.counts == {
        "clusters": 5,
        "excluded_records": 0,
        "excluded_residues": 0,
        "most_members": 3,
        "records": 8,
        "records_contradictory": 0,
        "records_uniparc_only": 0,
        "records_unlisted": 0,
        "representatives_renamed": 0,
        "rows_contradictory": 0,
        "rows_read": 8,
        "rows_repeated": 0,
        "rows_unknown": 0,
        "singletons": 3,
        "test_clusters": 0,
        "test_records": 0,
        "test_residues": 0,
        "train_clusters": 5,
        "train_records": 8,
        "train_residues": 8 * 40,
        "valid_clusters": 0,
        "valid_records": 0,
        "valid_residues": 0,
    }
    assert findings(tmp_path / "out") == ()


def test_what_does_not_fit_is_counted_and_shown(corpus, tmp_path):
    rows = [*ROWS[:7], ("A", "B"), ("A", "B"), ("X", "nobody"), ("G", "E"), ("Y", "Y")]
    manifest, said = adopt(corpus, tmp_path / "out", write(tmp_path / "c.tsv", rows))
    counts = manifest.counts
    assert counts["rows_read"] == 12
    assert counts["rows_repeated"] == 2
    assert counts["rows_unknown"] == 2
    assert counts["rows_contradictory"] == 1
    assert counts["records_contradictory"] == 1
    assert counts["records_unlisted"] == 1
    assert [text.split(",")[0] for text in said] == [
        "rows of existing clusters that name no record of the corpus: 2",
        "rows that contradict another about the same name (the smallest representative counts): 1",
        "records in no row (each is a cluster of its own",
    ]
    assert "such as Y, nobody" in said[0]
    assert said[1].endswith("such as E")
    assert said[2].endswith("such as H")
    found = clusters_of(corpus, tmp_path / "out")
    assert found["E"][:2] == ("D", 2)  # D before G
    assert found["H"] == ("H", 1, 0)
    assert findings(tmp_path / "out") == ()


def test_the_order_of_rows_and_the_executor_are_of_no_consequence(corpus, tmp_path):
    rows = [*ROWS, ("G", "E"), ("B", "E"), ("H", "Z"), ("X", "nobody"), ("A", "B")]
    expected, _ = adopt(corpus, tmp_path / "expected", write(tmp_path / "c.tsv", rows))
    random.Random(1).shuffle(rows)
    with ProcessExecutor(2) as executor:
        found, _ = adopt(corpus, tmp_path / "out", write(tmp_path / "d.tsv", rows), executor=executor)
    assert found.files == expected.files
    assert found.counts == expected.counts


def test_a_record_goes_by_the_names_of_what_was_merged_into_it(corpus, tmp_path):
    manifest, _ = adopt(corpus, tmp_path / "out", write(tmp_path / "c.tsv", [("B", "Z"), ("B", "B")]))
    assert clusters_of(corpus, tmp_path / "out")["A"][:2] == ("B", 2)
    assert manifest.counts["rows_unknown"] == 0
    # Its own name counts more, though B comes before C.
    manifest, _ = adopt(corpus, tmp_path / "other", write(tmp_path / "d.tsv", [("B", "Z"), ("C", "A")]))
    assert clusters_of(corpus, tmp_path / "other")["A"][0] == "C"
    assert manifest.counts["records_contradictory"] == 1
    assert manifest.counts["rows_contradictory"] == 0


def test_a_representative_that_does_not_list_itself_is_in_its_cluster(corpus, tmp_path):
    adopt(corpus, tmp_path / "out", write(tmp_path / "c.tsv", [("A", "B"), ("A", "C")]))
    found = clusters_of(corpus, tmp_path / "out")
    assert {found[name][:2] for name in "ABC"} == {("A", 3)}


def test_records_that_share_a_name_share_its_rows(tmp_path):
    records = [("same 1", residues("1")), ("same 2", residues("2")), ("other", residues("3"))]
    corpus = make_corpus(tmp_path, records)
    manifest, _ = adopt(corpus, tmp_path / "out", write(tmp_path / "c.tsv", [("other", "same"), ("other", "other")]))
    assert manifest.counts["clusters"] == 1
    assert manifest.counts["most_members"] == 3


def test_two_tables_are_two_levels(corpus, tmp_path):
    coarse = write(tmp_path / "coarse.tsv", [("A", name) for name in "ABCDE"] + [("F", name) for name in "FGH"])
    fine = write(tmp_path / "fine.tsv", [(name, name) for name in NAMES if name != "B"] + [("A", "B")])
    manifest, said = adopt(corpus, tmp_path / "out", coarse, fine)
    assert clusters_of(corpus, tmp_path / "out")["B"][:2] == ("A", 5)
    assert clusters_of(corpus, tmp_path / "out", "_2")["B"][:2] == ("A", 2)
    assert (manifest.counts["clusters"], manifest.counts["clusters_2"]) == (2, 7)
    assert manifest.counts["clusters_not_nested_2"] == 0
    assert said == []
    assert findings(tmp_path / "out") == ()


def test_levels_that_do_not_nest_are_counted(corpus, tmp_path):
    coarse = write(tmp_path / "coarse.tsv", [("A", name) for name in "ABC"] + [("D", name) for name in "DEFGH"])
    fine = write(tmp_path / "fine.tsv", [("C", "C"), ("C", "D"), ("E", "E"), ("E", "F")])
    manifest, said = adopt(corpus, tmp_path / "out", coarse, fine)
    assert manifest.counts["clusters_not_nested_2"] == 1
    assert any("in several of the coarser: 1" in text for text in said)
    assert findings(tmp_path / "out") == ()


def test_unirefs_hierarchy_from_the_mapping_of_ids(tmp_path):
    accessions = ["P0A7M2", "P0A7M6", "UPI0000112D6F", "Q00009"]
    records = [
        *((f"sp|{name}|X_ECOLI", residues(name)) for name in accessions[:2]),
        (accessions[2], residues("x")),
        ("Q00009", residues("y")),
    ]
    corpus = make_corpus(tmp_path, records)
    line = "{0}\tX_ECOLI\t\t\t\t\t\tUniRef100_{0}\tUniRef90_{1}\tUniRef50_{2}\t{3}\t\t83333" + "\t" * 9 + "\n"
    mapping = tmp_path / "idmapping_selected.tab"
    mapping.write_text(
        line.format("P0A7M2", "P0A7M2", "P0A7M6", "UPI1")
        + line.format("P0A7M6", "P0A7M6", "P0A7M6", "UPI2")
        + line.format("Q99999", "Q99999", "Q99999", "UPI3")
    )
    manifest, said = adopt(corpus, tmp_path / "out", mapping)
    found, finer = clusters_of(corpus, tmp_path / "out"), clusters_of(corpus, tmp_path / "out", "_2")
    assert found["P0A7M2"][:2] == found["P0A7M6"][:2] == ("UniRef50_P0A7M6", 2)
    assert finer["P0A7M2"] == ("UniRef90_P0A7M2", 1, 0)
    assert found["UPI0000112D6F"] == ("UPI0000112D6F", 1, 0)
    counts = manifest.counts
    assert (counts["records_unlisted"], counts["records_uniparc_only"]) == (2, 1)
    assert counts["rows_unknown"] > 0
    assert any("records in no row" in text and ": 2, such as" in text for text in said)
    assert findings(tmp_path / "out") == ()


def test_unirefs_hierarchy_from_its_xml(root, tmp_path):
    xml = root / "tests" / "data" / "uniref" / "UniRef90_P99999.xml"
    names = ["P99999", "Q6WUX8", "P99998", "A4D166", "Q00001"]
    corpus = make_corpus(tmp_path, [(f"sp|{name}|X_HUMAN", residues(name)) for name in names])
    manifest, _ = adopt(corpus, tmp_path / "out", xml)
    found, finer = clusters_of(corpus, tmp_path / "out"), clusters_of(corpus, tmp_path / "out", "_2")
    assert {found[name][:2] for name in names[:3]} == {("UniRef50_P99999", 3)}
    assert {finer[name][:2] for name in names[:3]} == {("UniRef90_P99999", 3)}
    assert found["Q00001"] == ("Q00001", 1, 0)
    assert manifest.counts["records_unlisted"] == 2
    assert manifest.configuration["existing"] == ["uniref-xml"]
    assert manifest.inputs[1].kind == "file"
    assert findings(tmp_path / "out") == ()


def test_uniref_records_are_found_by_their_own_ids(root, tmp_path):
    xml = root / "tests" / "data" / "uniref" / "UniRef90_P99999.xml"
    corpus = make_corpus(tmp_path, [("UniRef90_P99999 Cytochrome c n=27 Tax=x TaxID=1 RepID=CYC_HUMAN", residues("u"))])
    adopt(corpus, tmp_path / "out", xml)
    assert clusters_of(corpus, tmp_path / "out")["UniRef90_P99999"] == ("UniRef50_P99999", 1, 0)


def test_what_cannot_be_joined_is_told(corpus, tmp_path):
    table = write(tmp_path / "c.tsv", [("A", "B")])
    xml = tmp_path / "u.xml"
    xml.write_text('<?xml version="1.0"?>\n<UniRef50 xmlns="http://uniprot.org/uniref">\n')
    with pytest.raises(ConfigurationError, match="found table, uniref-xml"):
        adopt(corpus, tmp_path / "out", table, xml)
    with pytest.raises(InputFormatError, match="cut short"):
        adopt(corpus, tmp_path / "other", xml)
    with pytest.raises(ConfigurationError, match="expected a file"):
        adopt(corpus, tmp_path / "third", tmp_path / "nothing")


def test_from_the_command_line(corpus, tmp_path, capsys):
    table = write(tmp_path / "c.tsv", [("A", "B"), ("A", "nobody")])
    command = ["cluster", str(corpus), "--out", str(tmp_path / "out"), "--existing", str(table), "--executor", "serial"]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "warning: rows of existing clusters that name no record of the corpus: 1, such as nobody" in said
    assert "unless one has its name): 7, such as" in said
    assert main(command) == 0
    assert "was finished already" in capsys.readouterr().err
