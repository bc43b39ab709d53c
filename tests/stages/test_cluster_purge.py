"""What is similar to held-out records, or to a benchmark, is in no split: whatever the threads, pieces and kills."""

import gzip
import os
import random
import re
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.cluster_config import ClusterConfig
from pipeline.config import IngestConfig
from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.mmseqs import find_mmseqs
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.manifest import read_manifest
from pipeline.stages.cluster import purging
from pipeline.stages.cluster.stage import Cluster
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.verify.stage import verify

NUM_PROTEINS = 300
HELD_OUT = {"valid_fraction": 0.04, "test_fraction": 0.02, "seed": 1}


def relative(text, every, seed=1):
    """Every n-th residue, or so, is another one."""
    rng = random.Random(seed)
    letters = [rng.choice("ACDEFGHIKLMNPQRSTVWY") if rng.random() < 1 / every else letter for letter in text]
    return "".join(letters)


@pytest.fixture(scope="module")
def proteins(ecoli):
    """Names and residues of a part of the proteome, and relatives of them at 60 to 70 % identity, each a cluster."""
    entries = gzip.decompress(ecoli.read_bytes()).decode().split(">")[1:]
    texts = [entry.split("\n", 1)[1].replace("\n", "") for entry in entries]
    texts = sorted((text for text in texts if 30 < len(text) < 400), key=len)[:: 3_000 // NUM_PROTEINS]
    found = {f"P{index}": text for index, text in enumerate(texts)}
    return found | {f"R{name}": relative(text, 2.6) for name, text in list(found.items())[:100]}


@pytest.fixture(scope="module")
def made(proteins, tmp_path_factory):
    """A corpus in which every record is a cluster, so that relatives of held-out records are in train."""
    folder = tmp_path_factory.mktemp("purge")
    (folder / "in.fasta").write_text("".join(f">{name}\n{text}\n" for name, text in proteins.items()))
    (folder / "clusters.tsv").write_text("".join(f"{name}\t{name}\n" for name in proteins))
    config = IngestConfig(files=(str(folder / "in.fasta"),), records_per_part=150)
    with SerialExecutor() as executor:
        run_stage(Ingest(config), folder / "corpus", executor=executor)
    return folder


def cluster(made, out, *, executor=None, num_threads=1, memory=None, **config):
    values = {"existing": (str(made / "clusters.tsv"),), "split": HELD_OUT} | config
    stage = Cluster(made / "corpus", ClusterConfig(**values), num_threads=num_threads, memory=memory)
    return run_stage(stage, out, executor=executor or SerialExecutor()).manifest


def fates(out):
    rows = pq.read_table(out / "splits.parquet").to_pylist()
    return {row["accession"]: (row["split"], row["reason"]) for row in rows}


@pytest.fixture(scope="module")
def leaky(made):
    """The splits before the purge."""
    cluster(made, made / "leaky", purge={"held_out": False})
    return {name: split for name, (split, _) in fates(made / "leaky").items()}


@pytest.fixture(scope="module")
def purged(made):
    """The splits after it; read only."""
    return cluster(made, made / "purged"), fates(made / "purged")


def hits(folder, proteins, queries, targets):
    """Queries that ``mmseqs easy-search`` aligns with any of the targets at 50 % over 80 % of both, all with all."""
    folder.mkdir()
    for name, names in (("queries", queries), ("targets", targets)):
        (folder / f"{name}.fasta").write_text("".join(f">{each}\n{proteins[each]}\n" for each in names))
    flags = ["--min-seq-id", "0.5", "-c", "0.8", "--cov-mode", "0", "--alignment-mode", "3", "--prefilter-mode", "2"]
    command = [find_mmseqs(), "easy-search", "queries.fasta", "targets.fasta", "out.tsv", "tmp", *flags]
    every = ["-e", "inf", "--max-seqs", "10000", "--threads", "1"]
    subprocess.run([*command, *every], cwd=folder, check=True, capture_output=True)
    return {line.split("\t")[0] for line in (folder / "out.tsv").read_text().splitlines()}


def test_no_record_of_train_is_like_a_held_out_one_any_more(tmp_path, proteins, leaky, purged):
    def names(splits, wanted):
        return [name for name, split in splits.items() if split == wanted]

    before, after = leaky, {name: split for name, (split, _) in purged[1].items()}
    for number, (query, target) in enumerate([("train", "valid"), ("train", "test"), ("valid", "test")]):
        leak = hits(tmp_path / f"before{number}", proteins, names(before, query), names(before, target))
        assert leak or query == "valid"
        assert not hits(tmp_path / f"after{number}", proteins, names(after, query), names(after, target))


def test_what_was_excluded_was_similar_and_everything_else_is_where_it_was(proteins, leaky, purged):
    manifest, after = purged
    excluded = {name: reason for name, (split, reason) in after.items() if split is None}
    assert {name: split for name, (split, reason) in after.items() if reason is None} == {
        name: split for name, split in leaky.items() if name not in excluded
    }
    assert set(excluded.values()) == {"similar-to-valid", "similar-to-test"}
    reasons = list(excluded.values())
    assert manifest.reasons == {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    assert manifest.counts["excluded_records"] == len(excluded)
    assert manifest.counts["excluded_residues"] == sum(len(proteins[name]) for name in excluded)
    # An injected homologue of every held-out protein, in train: caught, unless it was held out, too.
    for name in [name for name, split in leaky.items() if split == "valid" and f"R{name}" in leaky]:
        assert after[name][1] == "similar-to-test" or after[f"R{name}"] != ("train", None)


def test_the_same_bytes_for_any_threads_workers_order_of_input_and_pieces(
    made, proteins, purged, tmp_path, monkeypatch
):
    (tmp_path / "in.fasta").write_text("".join(f">{name}\n{text}\n" for name, text in reversed(proteins.items())))
    config = IngestConfig(files=(str(tmp_path / "in.fasta"),), records_per_part=150)
    with ProcessExecutor(2) as executor:
        run_stage(Ingest(config), tmp_path / "corpus", executor=executor)
        (tmp_path / "clusters.tsv").write_text("".join(f"{name}\t{name}\n" for name in reversed(proteins)))
        monkeypatch.setattr(purging, "RECORDS_PER_SEARCH", 250)
        found = cluster(tmp_path, tmp_path / "out", executor=executor, num_threads=2)
    assert (found.files, found.counts, found.reasons) == (purged[0].files, purged[0].counts, purged[0].reasons)
    assert found.fingerprint == purged[0].fingerprint


def test_each_search_sees_what_the_one_before_has_left(proteins, tmp_path):
    texts = {"T": proteins["P200"], "V": "", "W": "", "X": proteins["P210"], "Y": "", "Z": proteins["P220"]}
    texts["V"], texts["Y"] = relative(texts["T"], 2.6), relative(texts["X"], 2.6)
    texts["W"] = relative(texts["V"], 2.6, seed=2)
    assert not hits(tmp_path / "hits", texts, ["W"], ["T"])
    (tmp_path / "in.fasta").write_text("".join(f">{name}\n{text}\n" for name, text in texts.items()))
    (tmp_path / "clusters.tsv").write_text("".join(f"{name}\t{name}\n" for name in texts))
    (tmp_path / "pins.tsv").write_text("T\ttest\nV\tvalid\nX\tvalid\n")
    with SerialExecutor() as executor:
        run_stage(Ingest(IngestConfig(files=(str(tmp_path / "in.fasta"),))), tmp_path / "corpus", executor=executor)
    cluster(tmp_path, tmp_path / "out", split={"pinned": str(tmp_path / "pins.tsv")})
    found = fates(tmp_path / "out")
    assert found["T"] == ("test", None)
    assert found["V"] == (None, "similar-to-test")
    assert found["W"] == ("train", None)  # V, the only one that it is like, is nowhere
    assert found["X"] == ("valid", None)
    assert found["Y"] == (None, "similar-to-valid")
    assert found["Z"] == ("train", None)


def test_it_is_sound(made, purged):
    with SerialExecutor() as executor:
        report = verify(made / "purged", executor=executor, watcher=SilentWatcher())
    assert report.findings == ()
    assert report.counts["excluded_records"] == purged[0].counts["excluded_records"]


def test_benchmarks_are_searched_first_and_against_everything(made, proteins, leaky, tmp_path, capsys):
    held_out = next(name for name, split in leaky.items() if split == "valid" and f"R{name}" in leaky)
    trained = next(name for name, split in leaky.items() if split == "train" and f"R{name}" in leaky)
    entries = [
        f">one\n{proteins[held_out][:40].lower()}\n{proteins[held_out][40:]}*\n>none\n\n",
        f">two\n{proteins[trained]}\n",
    ]
    (tmp_path / "first.fasta.gz").write_bytes(gzip.compress(entries[0].encode()))
    (tmp_path / "second.fasta").write_text(entries[1])
    command = [
        "cluster",
        str(made / "corpus"),
        "--existing",
        str(made / "clusters.tsv"),
        "--out",
        str(tmp_path / "out"),
    ]
    command += ["--valid-fraction", "0.04", "--test-fraction", "0.02", "--split-seed", "1", "--executor", "serial"]
    benchmarks = [
        f"--decontaminate=casp15={tmp_path / 'first.fasta.gz'}",
        f"--decontaminate=b.2={tmp_path / 'second.fasta'}",
    ]
    assert main([*command, *benchmarks]) == 0
    found = fates(tmp_path / "out")
    said = capsys.readouterr().err
    for name in ("b.2", "casp15", "test", "valid"):
        assert re.search(rf"mmseqs search for {name}, about \d+ MB of memory", said)
    counts, reasons = read_manifest(tmp_path / "out").counts, read_manifest(tmp_path / "out").reasons
    told = ", ".join(f"{split} {counts[f'{split}_records']}" for split in ("train", "valid", "test"))
    assert f"; {told}, excluded {sum(reasons.values())} ({reasons['similar-to-b.2']} similar-to-b.2, " in said
    assert found[held_out] == found[f"R{held_out}"] == (None, "similar-to-casp15")
    assert found[trained] == found[f"R{trained}"] == (None, "similar-to-b.2")
    manifest = read_manifest(tmp_path / "out")
    assert manifest.configuration["purge"]["benchmarks"] == ["b.2", "casp15"]
    assert [source.kind for source in manifest.inputs] == ["corpus", "file", "file", "file"]
    with SerialExecutor() as executor:
        assert verify(tmp_path / "out", executor=executor, watcher=SilentWatcher()).findings == ()


def test_a_benchmark_without_residues_is_told(made, tmp_path):
    (tmp_path / "empty.fasta").write_text(">one\n---\n>two\n\n")
    with pytest.raises(InputFormatError, match="expected proteins of the benchmark empty, found no residues"):
        cluster(made, tmp_path / "out", purge={"benchmarks": {"empty": str(tmp_path / "empty.fasta")}})


def test_what_does_not_fit_into_memory_is_refused_before_anything_is_done(made, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.engines.mmseqs_search.FEW_TARGETS", 10)
    with pytest.raises(ConfigurationError, match=r"the purge needs about 1\.\dGB of memory, --memory allows 900MB"):
        cluster(made, tmp_path / "out", memory=900_000_000)
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_killed_goes_on_and_comes_to_the_same(made, purged, tmp_path):
    out = tmp_path / "out"
    command = ["cluster", str(made / "corpus"), "--existing", str(made / "clusters.tsv"), "--out", str(out), "--quiet"]
    command += ["--valid-fraction", "0.04", "--test-fraction", "0.02", "--split-seed", "1", "--executor", "serial"]
    process = subprocess.Popen([sys.executable, "-m", "pipeline", *command])
    while not list(out.rglob("similar-test-00000.arrow")):
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.1)  # until the watcher has ended mmseqs, too
    assert not (out / "manifest.json").exists()
    assert main(command) == 0
    assert read_manifest(out).files == purged[0].files
    assert read_manifest(out).fingerprint == purged[0].fingerprint
    assert not (out / ".scratch").exists()
