"""Filters in ingest: each counted by its name, what was dropped can be looked up, nothing good is lost."""

import gzip
import json

import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.config import FilterConfig, IngestConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.corpus_summary import read_report
from pipeline.formats.report_file import REPORT_NAME
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.inspection import find_accession
from pipeline.stages.verify.stage import verify

RECORDS = [
    ("sp|P00001|A_B Good protein OS=Homo sapiens OX=9606 PE=1 SV=1", "MKVLAWGTRDEFHIKLMNPQ"),
    ("sp|P00002|A_B Piece (Fragment) OS=Homo sapiens OX=9606 PE=1 SV=1", "MKVLAWGTRDEFHIKLMNPY"),
    ("tr|A0A001|A_B Mouse one OS=Mus musculus OX=10090 PE=4 SV=1", "MKVLAWGTRDEFHIKLMNPW"),
    ("sp|P00003|A_B Short OS=Homo sapiens OX=9606 PE=1 SV=1", "MKV"),
    ("sp|P00004|A_B Odd OS=Homo sapiens OX=9606 PE=1 SV=1", "MKVXXXXXXXLAWGTRDEFH"),
    ("sp|P00005|A_B Poly OS=Homo sapiens OX=9606 PE=1 SV=1", "QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ"),
    ("nobody", "MKVLAWGTRDEFHIKLMNPCCCCC"),
    ("broken", "MK-V"),
]


def ingest(folder, *, records=RECORDS, **options):
    folder.mkdir(exist_ok=True)
    file = folder / "x.fasta"
    file.write_text("".join(f">{header}\n{sequence}\n" for header, sequence in records))
    filters = FilterConfig(**{key: value for key, value in options.items() if key in FilterConfig.model_fields})
    rest = {key: value for key, value in options.items() if key not in FilterConfig.model_fields}
    config = IngestConfig(files=(str(file),), filters=filters, **rest)
    return run_stage(Ingest(config), folder / "corpus", executor=SerialExecutor()).manifest


def kept(folder):
    return sorted(pq.read_table(folder / "corpus" / "part-00000.parquet").column("accession").to_pylist())


EVERYTHING = ["A0A001", "P00001", "P00002", "P00003", "P00004", "P00005", "nobody"]


@pytest.mark.parametrize(
    ("options", "reason", "dropped"),
    [
        ({"min_length": 4}, "too-short", {"P00003"}),
        ({"max_length": 29}, "too-long", {"P00005"}),
        ({"max_nonstandard": 0.2}, "nonstandard-residues", {"P00004"}),
        ({"max_low_complexity": 0.9}, "low-complexity", {"P00005"}),
        ({"drop_fragments": True}, "fragment", {"P00002"}),
        ({"taxa": (9606,)}, "taxon-not-listed", {"A0A001", "nobody"}),
        ({"exclude_taxa": (10090,)}, "taxon-excluded", {"A0A001"}),
        ({"sources": ("swissprot",)}, "source-not-listed", {"A0A001", "nobody"}),
        ({"exclude_sources": ("other",)}, "source-excluded", {"nobody"}),
    ],
)
def test_each_filter_drops_and_counts(tmp_path, options, reason, dropped):
    manifest = ingest(tmp_path, **options)
    assert manifest.reasons == {"invalid-gap": 1, reason: len(dropped)}
    assert kept(tmp_path) == [name for name in EVERYTHING if name not in dropped]
    counts = manifest.counts
    assert counts["records"] + counts["records_merged"] + sum(manifest.reasons.values()) == counts["records_read"] == 8


def test_no_filter_drops_nothing_and_is_another_corpus_than_one(tmp_path):
    without = ingest(tmp_path / "a")
    assert kept(tmp_path / "a") == EVERYTHING
    assert ingest(tmp_path / "b", min_length=4).fingerprint != without.fingerprint


@pytest.mark.parametrize("form", ["accessions", "fasta", "gzip"])
def test_what_is_excluded_is_left_out(tmp_path, form):
    listed = tmp_path / "exclude"
    if form == "accessions":
        listed.write_text("P00001\nnobody\n")
    else:
        data = b">anything\nMKVLAWGTRDEFHIKLMNPQ\n>nobody\nMM\n"
        listed.write_bytes(gzip.compress(data) if form == "gzip" else data)
    manifest = ingest(tmp_path, exclude=(str(listed),))
    assert manifest.reasons["excluded"] == 2
    assert kept(tmp_path) == [name for name in EVERYTHING if name not in {"P00001", "nobody"}]


def test_an_exclusion_file_is_part_of_the_meaning(tmp_path):
    (tmp_path / "exclude").write_text("absent")
    one = ingest(tmp_path / "a", exclude=(str(tmp_path / "exclude"),))
    (tmp_path / "exclude").write_text("also-absent")
    assert ingest(tmp_path / "b", exclude=(str(tmp_path / "exclude"),)).fingerprint != one.fingerprint


def test_a_damaged_exclusion_file_is_told(tmp_path):
    (tmp_path / "exclude").write_bytes(gzip.compress(b">a\nMK\n" * 99)[:-9])
    with pytest.raises(InputFormatError, match="exclude"):
        ingest(tmp_path, exclude=(str(tmp_path / "exclude"),))


def test_letters_are_replaced_before_sequences_are_compared(tmp_path):
    records = [("a", "MKUV"), ("b", "MKXV"), ("c", "MZBO")]
    manifest = ingest(tmp_path, records=records, replace=("UZOB=X",))
    rows = pq.read_table(tmp_path / "corpus" / "part-00000.parquet").to_pylist()
    found = {(row["accession"], row["sequence"], row["num_merged"]) for row in rows}
    assert found == {("a", "MKXV", 2), ("c", "MXXX", 1)}
    assert manifest.counts["letters_replaced"] == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [({"replace": ("nonsense",)}, "replace 'nonsense'"), ({"sources": ("uniprot",)}, "source 'uniprot' is not known")],
)
def test_a_wrong_option_is_told_before_anything_is_written(tmp_path, options, told):
    with pytest.raises(ConfigurationError, match=told):
        ingest(tmp_path, **options)
    assert not (tmp_path / "corpus").exists()


def test_what_was_dropped_can_be_looked_up(tmp_path):
    ingest(tmp_path, min_length=4, keep_dropped=True)
    corpus = tmp_path / "corpus"
    (short,) = find_accession(corpus, "P00003")
    (broken,) = find_accession(corpus, "broken")
    assert (short.story, broken.story) == ("dropped: too-short", "dropped: invalid-gap")
    rows = [row for path in (corpus / "dropped").iterdir() for row in pq.read_table(path).to_pylist()]
    assert {(row["accession"], row["sequence"], row["reason"]) for row in rows} == {
        ("P00003", "MKV", "too-short"), ("broken", "MK-V", "invalid-gap"),
    }  # fmt: skip
    with SerialExecutor() as executor:
        assert verify(corpus, executor=executor, watcher=SilentWatcher()).is_sound


def test_the_report_says_what_the_corpus_holds(tmp_path):
    manifest = ingest(tmp_path, min_length=4)
    corpus = tmp_path / "corpus"
    summary, statistics = read_report(corpus / REPORT_NAME)
    assert summary.num_records == manifest.counts["records"] == 6
    assert statistics.dropped == manifest.reasons
    assert [example.accession for example in statistics.dropped_examples["too-short"]] == ["P00003"]
    page = (corpus / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert {file.path for file in manifest.files} == {"part-00000.parquet", "report.json", "report.html"}


def test_the_command_line_has_every_filter(tmp_path, capsys):
    file = tmp_path / "x.fasta"
    file.write_text("".join(f">{header}\n{sequence}\n" for header, sequence in RECORDS))
    options = (
        "--min-length 4 --max-length 29 --max-nonstandard 0.2 --max-low-complexity 0.5 --drop-fragments --taxon 9606"
    )
    options += " --exclude-taxon 1 --database swissprot --exclude-database bfd --replace UZOB=X --keep-dropped"
    assert main(["ingest", str(file), "--out", str(tmp_path / "c"), "--json", *options.split()]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["records"] == 1
    assert sum(document["reasons"].values()) == 7
