"""Every input format becomes the same corpus; what cannot be read is told, or counted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.config import DownloadConfig, IngestConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.errors import ArtefactError, InputFormatError
from pipeline.stages.download.stage import Download
from pipeline.stages.ingest.stage import Ingest

DATA = Path(__file__).parents[1] / "data"


def ingest(folder, file, **options):
    config = IngestConfig(files=(str(file),), **options)
    return run_stage(Ingest(config), folder, executor=SerialExecutor()).manifest


def rows(folder):
    return pq.read_table(folder / "part-00000.parquet").to_pylist()


def test_a_flat_file_and_its_xml_are_one_corpus(tmp_path):
    dat, xml = (next((DATA / "flatfile").glob(f"multi_ex.{suffix}*")) for suffix in ("txt", "xml"))
    one, two = ingest(tmp_path / "dat", dat), ingest(tmp_path / "xml", xml)
    assert one.counts["records"] == two.counts["records"] == 8
    assert [row["accession"] for row in rows(tmp_path / "dat")] == [row["accession"] for row in rows(tmp_path / "xml")]
    assert one.files[0].content == two.files[0].content


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_table_is_read_by_its_columns(tmp_path, kind):
    table = pa.table({"id": ["a", "b"], "peptide": ["MKV", "mkvl"], "sequence": ["M", "K"]})
    file = tmp_path / f"x.{kind}"
    if kind == "parquet":
        pq.write_table(table, file)
    else:
        file.write_text("id,peptide,sequence\na,MKV,M\nb,mkvl,K\n")
    ingest(tmp_path / "c", file, sequence_column="peptide")
    assert {(row["accession"], row["sequence"]) for row in rows(tmp_path / "c")} == {("a", "MKV"), ("b", "MKVL")}


ALIGNMENT = ">query\nMK-VL\n>one\nMKaaAVL\n>two_consensus\nMKAVL\n"


def test_an_alignment_is_told_by_name_and_content(tmp_path, capsys):
    (tmp_path / "x.a3m").write_text(ALIGNMENT)
    (tmp_path / "x.fasta").write_text(ALIGNMENT)
    assert ingest(tmp_path / "a", tmp_path / "x.a3m").counts["records"] == 2
    assert main(["ingest", str(tmp_path / "x.fasta"), "--out", str(tmp_path / "b")]) == 0
    assert "looks like an alignment and was read as FASTA" in capsys.readouterr().err
    (tmp_path / "y.a3m").write_text(">a\nMKV\n>b\nMKVLLL\n")
    assert ingest(tmp_path / "c", tmp_path / "y.a3m").counts["records"] == 2


@pytest.mark.parametrize(("insertions", "expected"), [("keep", "MKAAAVL"), ("remove", "MKAVL")])
def test_alignments_are_read_when_named(tmp_path, insertions, expected):
    (tmp_path / "x.a3m").write_text(ALIGNMENT)
    manifest = ingest(tmp_path / "c", tmp_path / "x.a3m", file_format="a3m", insertions=insertions)
    assert {row["accession"]: row["sequence"] for row in rows(tmp_path / "c")} == {"query": "MKVL", "one": expected}
    assert manifest.counts["skipped_consensus"] == 1


def test_fasta_with_gaps_is_never_taken_for_an_alignment(tmp_path):
    """Or the same record would be dropped in one cut of a corpus and kept in another."""
    (tmp_path / "x").write_text(">a\nMK-V\n>b\nMKAV\n>c\nMKGV\n")
    assert ingest(tmp_path / "c", tmp_path / "x").reasons == {"invalid-gap": 1}


def test_what_cannot_be_read_stops_the_run_or_is_counted(tmp_path):
    (tmp_path / "x.a3m").write_text(">query\nMKVLA\n>short\nMK\n>good\nMK-LA\n")
    with pytest.raises(InputFormatError, match=r"x\.a3m"):
        ingest(tmp_path / "stop", tmp_path / "x.a3m", file_format="a3m")
    manifest = ingest(tmp_path / "skip", tmp_path / "x.a3m", file_format="a3m", on_error="skip")
    assert manifest.reasons == {"unequal-columns": 1}
    assert manifest.counts["records_read"] == 3
    assert [row["accession"] for row in rows(tmp_path / "skip")] in (["query", "good"], ["good", "query"])


def test_what_was_skipped_counts_in_a_file_of_which_no_record_is_left(tmp_path):
    (tmp_path / "bad.a3m").write_text("#a comment\n>ss_pred\nCC\n>q_consensus\nMKV\n>a\nMK\n")
    (tmp_path / "good.a3m").write_text(">query\nMKVLA\n")
    config = IngestConfig(
        files=(str(tmp_path / "bad.a3m"), str(tmp_path / "good.a3m")), file_format="a3m", on_error="skip"
    )
    manifest = run_stage(Ingest(config), tmp_path / "c", executor=SerialExecutor()).manifest
    assert manifest.reasons == {"unequal-columns": 1}
    assert manifest.counts["records_read"] == 2
    assert manifest.counts["skipped_consensus"] == manifest.counts["skipped_pseudo_record"] == 1
    assert manifest.counts["comment_lines"] == 1


def test_stockholm_is_told_by_its_content(tmp_path):
    file = next(path for path in sorted((DATA / "stockholm").iterdir()) if "PF05371" in path.name)
    assert ingest(tmp_path / "c", file).counts["records_read"] == 7


def test_a_download_is_taken_with_where_it_came_from(tmp_path, ecoli):
    download = DownloadConfig(source=str(ecoli), licence="CC-BY-4.0")
    stage = Download(download)
    folder = tmp_path / stage.folder_name
    told = run_stage(stage, folder, executor=SerialExecutor()).manifest
    manifest = ingest(tmp_path / "corpus", folder)
    assert manifest.counts["records"] == 4349
    (source,) = manifest.provenance
    assert source.licence == "CC-BY-4.0"
    assert source.url == told.provenance[0].url
    assert source.bytes == ecoli.stat().st_size
    with pytest.raises(ArtefactError, match="kind download"):
        ingest(tmp_path / "again", tmp_path / "corpus")
