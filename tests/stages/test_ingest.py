"""FASTA to corpus: conservation, one corpus whatever the input's order and cut, survivors, policies, errors."""

import gzip
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import IngestConfig, OnInvalid
from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats import corpus as corpus_format
from pipeline.formats.corpus import CORPUS_SCHEMA
from pipeline.formats.storage import file_digest
from pipeline.stages.ingest import sieve as sieve_module
from pipeline.stages.ingest import sizes as sizes_module
from pipeline.stages.ingest import stage as stage_module
from pipeline.stages.ingest.stage import Ingest


def ingest(folder, *files, executor=None, watcher=None, **options):
    config = IngestConfig(files=tuple(map(str, files)), **options)
    outcome = run_stage(Ingest(config), folder, executor=executor or SerialExecutor(), watcher=watcher)
    return outcome.manifest


def records_of(folder):
    return [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


def digests_of(folder):
    return {path.name: file_digest(path)[1] for path in folder.glob("part-*.parquet")}


def fasta(path, *records):
    path.write_text("".join(f">{header}\n{sequence}\n" for header, sequence in records))
    return path


def test_a_proteome_becomes_a_corpus(tmp_path, ecoli):
    manifest = ingest(tmp_path / "corpus", ecoli)
    assert manifest.counts["records_read"] == 4391
    assert manifest.counts["records"] == 4349
    assert manifest.counts["records_merged"] == 42
    assert manifest.counts["residues_read"] == 1_354_362
    table = pq.read_table(tmp_path / "corpus" / "part-00000.parquet")
    assert table.schema.equals(CORPUS_SCHEMA)
    rows = table.to_pylist()
    assert sum(row["num_merged"] for row in rows) == 4391
    assert all(row["record_key"] == xxhash.xxh3_64_intdigest(row["sequence"].encode()) for row in rows)
    assert all(row["length"] == len(row["sequence"]) for row in rows)
    keys = [row["record_key"] for row in rows]
    assert keys == sorted(keys)
    assert {row["source"] for row in rows} == {"swissprot", "trembl"}
    assert {row["taxon_id"] for row in rows} == {83333}
    by_accession = {row["accession"]: row for row in rows}
    assert by_accession["P0A6F5"]["description"].startswith("60 kDa chaperonin OS=Escherichia coli")


entries = st.lists(
    st.tuples(
        st.sampled_from(["sp|A|X", "tr|B|Y", "UniRef50_C n=1", "UniRef90_C n=1", "UPI0", "", "a", "b 1", "b 2"]),
        st.sampled_from(["MK", "MKV", "MKVL", "M-K", "M*K", "M1", "", "mk", "MKV*", "M?"]),
    ),
    min_size=1,
    max_size=12,
)  # fmt: skip


@settings(max_examples=40)
@given(records=entries, data=st.data())
def test_conservation_and_one_corpus_whatever_the_order_and_the_cut(records, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ingest")
    records = [*records, ("keep", "MKVLA")]
    manifest = ingest(folder / "one", fasta(folder / "all.fasta", *records), records_per_part=3)
    counts = manifest.counts
    assert counts["records_read"] == len(records)
    assert counts["records"] + counts["records_merged"] + sum(manifest.reasons.values()) == len(records)
    shuffled = data.draw(st.permutations(records))
    cut = data.draw(st.integers(1, len(records) - 1))
    files = [fasta(folder / "a.fasta", *shuffled[:cut]), fasta(folder / "b.fasta", *shuffled[cut:])]
    other = ingest(folder / "two", *reversed(files), records_per_part=3)
    assert digests_of(folder / "one") == digests_of(folder / "two")
    assert other.fingerprint == manifest.fingerprint
    assert other.reasons == manifest.reasons


def test_every_sequence_that_is_valid_survives_exactly_once(tmp_path):
    rng = random.Random(0)
    sequences = ["".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=rng.randrange(1, 6))) for _ in range(500)]
    ingest(
        tmp_path / "c",
        fasta(tmp_path / "x.fasta", *((f"s{i}", s) for i, s in enumerate(sequences))),
        records_per_part=9,
    )
    kept = [row["sequence"] for row in records_of(tmp_path / "c")]
    assert sorted(kept) == sorted(set(sequences))
    assert len(list((tmp_path / "c").glob("part-*.parquet"))) == 64


def test_the_same_bytes_from_processes(tmp_path, ecoli):
    lines = gzip.decompress(ecoli.read_bytes()).split(b"\n>")
    halves = [b"\n>".join(lines[:2000]), b">" + b"\n>".join(lines[2000:])]
    for index, half in enumerate(halves):
        (tmp_path / f"{index}.fasta").write_bytes(half)
    one = ingest(tmp_path / "one", ecoli, records_per_part=1000)
    with ProcessExecutor(2) as executor:
        two = ingest(
            tmp_path / "two", tmp_path / "1.fasta", tmp_path / "0.fasta", executor=executor, records_per_part=1000
        )
    assert digests_of(tmp_path / "one") == digests_of(tmp_path / "two")
    assert len(one.tables) == 8
    assert one.fingerprint == two.fingerprint


def test_the_survivor_is_chosen_by_source_then_accession_then_description(tmp_path):
    file = fasta(
        tmp_path / "x.fasta",
        ("zzz", "MK"), ("tr|A0A000|A_B trembl", "MK"), ("sp|Q99999|B_B late", "MK"), ("sp|P00001|C_C", "MK"),
        ("UniRef50_P1 name n=2 Tax=t TaxID=9606 RepID=R", "MKV"), ("UniRef90_P1 name n=2 Tax=t TaxID=1 RepID=R", "MKV"),
        ("b two", "MKVL"), ("b one", "MKVL"), ("b one", "MKVL"),
    )  # fmt: skip
    ingest(tmp_path / "c", file)
    rows = {row["sequence"]: row for row in records_of(tmp_path / "c")}
    assert rows["MK"]["accession"] == "P00001"
    assert rows["MK"]["aliases"] == ["A0A000", "Q99999", "zzz"]
    assert rows["MK"]["num_merged"] == 4
    assert (rows["MKV"]["accession"], rows["MKV"]["source"], rows["MKV"]["taxon_id"]) == ("UniRef90_P1", "uniref90", 1)
    assert rows["MKV"]["cluster"] == "UniRef90_P1"
    assert (rows["MKVL"]["description"], rows["MKVL"]["aliases"], rows["MKVL"]["num_merged"]) == ("one", [], 3)


def test_source_priority_is_a_choice(tmp_path):
    file = fasta(tmp_path / "x.fasta", ("tr|A0A000|A_B", "MK"), ("sp|P00001|C_C", "MK"))
    ingest(tmp_path / "c", file, source_priority=("trembl", "swissprot"))
    assert records_of(tmp_path / "c")[0]["accession"] == "A0A000"


def test_a_source_can_be_named(tmp_path):
    file = fasta(tmp_path / "x.fasta", ("anything", "MK"))
    ingest(tmp_path / "c", f"mgnify={file}")
    assert records_of(tmp_path / "c")[0]["source"] == "mgnify"


def test_aliases_are_the_first_thousand_of_all(tmp_path):
    file = fasta(tmp_path / "x.fasta", *((f"a{number:05d}", "MK") for number in range(1500, 0, -1)))
    ingest(tmp_path / "c", file)
    row = records_of(tmp_path / "c")[0]
    assert row["accession"] == "a00001"
    assert row["aliases"] == [f"a{number:05d}" for number in range(2, 1002)]
    assert row["num_merged"] == 1500


def test_duplicates_are_decided_by_residues_never_by_hash(tmp_path, monkeypatch):
    """With a hash of two bits, nearly every record collides with another."""

    def weak(sequences):
        return corpus_format_keys(sequences) & np.uint64(3 << 62)

    corpus_format_keys = corpus_format.record_keys
    monkeypatch.setattr(sieve_module, "record_keys", weak)
    sequences = ["MK", "MKV", "MKVL", "MA", "MAV", "MAVL", "MG", "MGV", "MK", "MG"]
    ingest(
        tmp_path / "c",
        fasta(tmp_path / "x.fasta", *((f"s{i}", s) for i, s in enumerate(sequences))),
        records_per_part=5,
    )
    rows = records_of(tmp_path / "c")
    assert sorted(row["sequence"] for row in rows) == sorted(set(sequences))
    order = [(row["record_key"], row["sequence"]) for row in rows]
    assert order == sorted(order)
    assert {row["sequence"]: row["num_merged"] for row in rows}["MK"] == 2


def test_invalid_characters_are_dropped_by_reason(tmp_path):
    file = fasta(
        tmp_path / "x.fasta",
        ("gap", "M-K"), ("dot", "M.K"), ("stop", "M*K"), ("digit", "MK1"), ("odd", "M?K"), ("empty", ""), ("only", "*"),
        ("fine", "mkxbzuoj*"),
    )  # fmt: skip
    manifest = ingest(tmp_path / "c", file)
    assert manifest.reasons == {
        "empty-sequence": 2, "invalid-character": 1, "invalid-digit": 1, "invalid-gap": 2, "invalid-stop": 1,
    }  # fmt: skip
    assert [row["sequence"] for row in records_of(tmp_path / "c")] == ["MKXBZUOJ"]
    assert manifest.counts["trailing_stops_removed"] == 2


def test_invalid_characters_become_x_when_asked(tmp_path):
    manifest = ingest(
        tmp_path / "c", fasta(tmp_path / "x.fasta", ("a", "M-*1?K"), ("b", "MK")), on_invalid=OnInvalid.REPLACE
    )
    assert manifest.reasons == {}
    assert manifest.counts["residues_replaced"] == 4
    assert sorted(row["sequence"] for row in records_of(tmp_path / "c")) == ["MK", "MXXXXK"]


def test_invalid_characters_stop_the_run_when_asked(tmp_path):
    file = fasta(tmp_path / "x.fasta", ("a", "MK"), ("b two", "MK?K"))
    with pytest.raises(InputFormatError) as caught:
        ingest(tmp_path / "c", file, on_invalid=OnInvalid.ERROR)
    message = caught.value.message
    assert "record 2 ('b', line 3, byte 6)" in message
    assert "expected residue letters, found '?' at residue 3" in message
    assert "--on-invalid" in caught.value.hint


def test_a_file_read_in_chunks_tells_the_same_places(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes_module, "CHUNK_BYTES", 300)
    records = [(f"a{number}", "MKVLAW" * 3) for number in range(50)]
    file = fasta(tmp_path / "x.fasta", *records, ("b two", "MK?K"))
    with pytest.raises(InputFormatError) as caught:
        ingest(tmp_path / "c", file, on_invalid=OnInvalid.ERROR)
    byte = file.read_bytes().index(b">b two")
    assert f"record 51 ('b', line 101, byte {byte})" in caught.value.message


@pytest.mark.parametrize("chunk_bytes", [1000, 5000])
def test_chunks_make_the_same_corpus(tmp_path, monkeypatch, chunk_bytes):
    rng = random.Random(1)
    records = [(f"s{number}", "".join(rng.choices("ACDEFGHIKL-", k=30))) for number in range(300)]
    file = fasta(tmp_path / "x.fasta", *records)
    whole = ingest(tmp_path / "whole", file, records_per_part=50)
    monkeypatch.setattr(sizes_module, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(stage_module, "run_bytes_for", lambda *_: 2000)
    cut = ingest(tmp_path / "cut", file, records_per_part=50)
    assert digests_of(tmp_path / "cut") == digests_of(tmp_path / "whole")
    assert cut.counts == whole.counts
    assert cut.reasons == whole.reasons != {}


def test_an_empty_header_is_named_by_its_key(tmp_path):
    ingest(tmp_path / "c", fasta(tmp_path / "x.fasta", ("", "MK"), ("  ", "MKV")))
    for row in records_of(tmp_path / "c"):
        assert row["accession"] == f"seq-{row['record_key']:016x}"


class Warnings:
    def __init__(self):
        self.texts = []

    def round_started(self, kind, label, total, done):
        pass

    def task_finished(self, name, result):
        pass

    def warning(self, text):
        self.texts.append(text)


def test_nucleotides_are_pointed_out(tmp_path, ecoli):
    heard = Warnings()
    ingest(
        tmp_path / "dna",
        fasta(tmp_path / "x.fna", *((f"g{i}", "ACGTTGCAN" * 40 + "A" * i) for i in range(9))),
        watcher=heard,
    )
    assert len(heard.texts) == 1
    assert "look like nucleotides" in heard.texts[0]
    heard = Warnings()
    ingest(tmp_path / "protein", ecoli, watcher=heard)
    assert heard.texts == []


def test_bgzip_without_its_last_block_is_pointed_out(tmp_path, ecoli):
    """Cut off between two blocks, it reads as a whole file."""
    from Bio.bgzf import BgzfWriter

    whole, short = tmp_path / "whole.fasta.gz", tmp_path / "short.fasta.gz"
    with BgzfWriter(str(whole)) as writer:
        writer.write(gzip.decompress(Path(ecoli).read_bytes()))
    short.write_bytes(whole.read_bytes()[:-28])
    for file, told in ((whole, []), (short, [f"{short}: does not end with the empty block"])):
        heard = Warnings()
        ingest(tmp_path / file.stem, file, watcher=heard)
        assert [text[: len(start)] for text, start in zip(heard.texts, told, strict=True)] == told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"hello\n", "expected a header line starting with '>'"),
        (gzip.compress(b">a\nMK\n" * 100, mtime=0)[:-9], "expected"),
    ],
)
def test_a_bad_file_is_one_sentence_and_leaves_no_corpus(tmp_path, content, told):
    (tmp_path / "bad.fasta").write_bytes(content)
    with pytest.raises(InputFormatError, match=r"bad\.fasta") as caught:
        ingest(tmp_path / "c", tmp_path / "bad.fasta")
    assert told in caught.value.message
    assert "\n" not in caught.value.message
    assert not (tmp_path / "c" / "manifest.json").exists()


def test_nothing_kept_is_an_error(tmp_path):
    with pytest.raises(InputFormatError, match="kept none of 1 records: 1 invalid-gap"):
        ingest(tmp_path / "c", fasta(tmp_path / "x.fasta", ("a", "M-")))


@pytest.mark.parametrize("twice", [False, True])
def test_a_missing_or_doubled_file_is_a_configuration_error(tmp_path, twice):
    file = fasta(tmp_path / "x.fasta", ("a", "MK"))
    files = (file, tmp_path / "." / "x.fasta") if twice else (tmp_path / "absent.fasta",)
    with pytest.raises(ConfigurationError, match="given twice" if twice else "expected a file, found nothing"):
        ingest(tmp_path / "c", *files)


def test_a_changed_input_is_another_run(tmp_path):
    file = fasta(tmp_path / "x.fasta", ("a", "MK"))
    ingest(tmp_path / "c", file)
    fasta(file, ("a", "MKV"))
    with pytest.raises(Exception, match="input 1 is file"):
        ingest(tmp_path / "c", file)
