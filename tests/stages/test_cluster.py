"""Clusters by mmseqs: row for row beside the corpus, the same for any input order and number of threads, nested."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict

import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.cluster_config import ClusterConfig
from pipeline.config import IngestConfig
from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.mmseqs import find_mmseqs
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ConfigurationError, ExecutionError, IntegrityError
from pipeline.formats.clusters import clusters_schema
from pipeline.formats.manifest import read_manifest
from pipeline.formats.storage import file_digest
from pipeline.stages.cluster.stage import Cluster
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.verify.stage import verify

HALF = {"levels": [{"min_seq_id": 0.5}]}
NESTED = {"levels": [{"min_seq_id": 0.5}, {"min_seq_id": 0.9}]}


def ingest(files, out, records_per_part=300):
    config = IngestConfig(files=tuple(map(str, files)), records_per_part=records_per_part)
    with SerialExecutor() as executor:
        run_stage(Ingest(config), out, executor=executor)
    return out


def cluster(corpus, out, config=HALF, executor=None, **options):
    stage = Cluster(corpus, ClusterConfig(**config), **({"num_threads": 1} | options))
    return run_stage(stage, out, executor=executor or SerialExecutor()).manifest


def sound(folder):
    with SerialExecutor() as executor:
        report = verify(folder, executor=executor, watcher=SilentWatcher())
    return report.findings == ()


def rows_of(folder, corpus):
    """Every record of corpus and clusters together, in the order of the corpus."""
    rows = []
    for file in read_manifest(corpus).tables:
        records, members = pq.read_table(corpus / file.path).to_pylist(), pq.read_table(folder / file.path).to_pylist()
        rows += [record | member for record, member in zip(records, members, strict=True)]
    return rows


def mutated(text, at, every=4):
    """A relative: every fourth residue, or so, is another one."""
    return "".join(
        "A" if index % every == at % every and letter != "A" else letter for index, letter in enumerate(text)
    )


@pytest.fixture(scope="module")
def records(ecoli):
    """Headers and residues: a part of the proteome, and relatives of some of it."""
    entries = gzip.decompress(ecoli.read_bytes()).decode().split(">")[1:1_201]
    split = [entry.split("\n", 1) for entry in entries]
    proteins = [(header, text.replace("\n", "")) for header, text in split]
    relatives = [
        (f"relative {kind} of {index}", mutated(text, kind, every))
        for index, (_, text) in enumerate(proteins[:120])
        for kind, every in ((0, 4), (1, 30), (2, 30))
    ]
    return proteins + [
        (header.replace("relative ", f"R{number}."), text) for number, (header, text) in enumerate(relatives)
    ]


@pytest.fixture(scope="module")
def corpus(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clustering")
    (folder / "all.fasta").write_text("".join(f">{header}\n{text}\n" for header, text in records))
    return ingest([folder / "all.fasta"], folder / "corpus")


@pytest.fixture(scope="module")
def nested(corpus):
    """Clusters at 50 % and within them at 90 %; read only."""
    out = corpus.parent / "nested"
    cluster(corpus, out, NESTED)
    return out


def test_they_lie_row_for_row_beside_the_corpus(corpus, nested):
    files = read_manifest(corpus).tables
    assert len(files) == 8
    assert [(file.path, file.rows) for file in read_manifest(nested).tables] == [
        (file.path, file.rows) for file in files
    ]
    for file in files:
        table = pq.read_table(nested / file.path)
        assert table.schema.equals(clusters_schema(2))
        assert set(table.column("weight").to_pylist()) == {1.0}
        assert set(table.column("split").to_pylist()) == {"train"}
        assert set(table.column("excluded").to_pylist()) == {None}
    assert sound(nested)


@pytest.mark.parametrize(("level", "suffix"), [(0, ""), (1, "_2")])
def test_sizes_and_ranks_are_those_of_the_clusters(corpus, nested, level, suffix):
    clusters = defaultdict(list)
    for row in rows_of(nested, corpus):
        clusters[row[f"representative{suffix}"]].append(row)
    assert max(map(len, clusters.values())) >= 3
    for representative, members in clusters.items():
        assert [row[f"member_index{suffix}"] for row in members] == list(range(len(members)))
        assert {row[f"cluster_size{suffix}"] for row in members} == {len(members)}
        assert [row["record_key"] for row in members] == sorted(row["record_key"] for row in members)
        assert representative in {row["accession"] for row in members}
    counts = read_manifest(nested).counts
    assert counts[f"clusters{suffix}"] == len(clusters)
    assert counts[f"singletons{suffix}"] == sum(len(members) == 1 for members in clusters.values())
    assert counts[f"most_members{suffix}"] == max(map(len, clusters.values()))


def test_finer_clusters_lie_within_coarser_ones(corpus, nested):
    coarser = defaultdict(set)
    for row in rows_of(nested, corpus):
        coarser[row["representative_2"]].add(row["representative"])
    assert {len(each) for each in coarser.values()} == {1}
    counts = read_manifest(nested).counts
    assert counts["clusters"] + 20 < counts["clusters_2"] < counts["records"]
    assert counts["clusters_not_nested_2"] == 0


def test_a_level_is_what_mmseqs_makes_of_the_same_sequences_by_hand(corpus, tmp_path):
    manifest = cluster(corpus, tmp_path / "clusters", HALF)
    rows = rows_of(tmp_path / "clusters", corpus)
    fasta = "".join(f">{number}\n{row['sequence']}\n" for number, row in enumerate(rows))
    (tmp_path / "input.fasta").write_text(fasta)
    command = [find_mmseqs(), "easy-linclust", "input.fasta", "out", "tmp", "--min-seq-id", "0.5", "-c", "0.8"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    told = [line.split("\t") for line in (tmp_path / "out_cluster.tsv").read_text().splitlines()]
    by_hand = {
        (rows[int(representative)]["accession"], rows[int(member)]["accession"]) for representative, member in told
    }
    assert by_hand == {(row["representative"], row["accession"]) for row in rows}
    assert "linclust --min-seq-id 0.5 -c 0.8 --cov-mode 0 --cluster-mode 0" in manifest.configuration["parameters"][0]
    assert manifest.software["mmseqs"]


def test_the_same_bytes_whatever_the_order_of_the_input_and_the_number_of_threads(records, corpus, nested, tmp_path):
    texts = [f">{header}\n{text}\n" for header, text in reversed(records)]
    for index in range(3):
        (tmp_path / f"{index}.fasta").write_text("".join(texts[index::3]))
    other = ingest([tmp_path / f"{index}.fasta" for index in (2, 0, 1)], tmp_path / "corpus")
    with ProcessExecutor(2) as executor:
        found = cluster(other, tmp_path / "clusters", NESTED, executor, num_threads=2)
    expected = read_manifest(nested)
    assert found.files == expected.files
    assert found.fingerprint == expected.fingerprint
    assert found.counts == expected.counts


def test_names_that_mmseqs_would_rewrite_survive(records, tmp_path):
    text = records[5][1]
    named = {
        "sp|P00001|NAME_ECOLI one": text,
        "sp|P00001-2|NAME_ECOLI two": text[:-1],
        "gi|5|ref|NP_1.1| three": text[:-2],
        "tr|Q1": text[:-3],
        "pdb|1ABC|A": text[:-4],
        "P0000": text[:-5],
        "UniRef90_P00001 of it": text[:-6],
        "lcl|": text[:-7],
        "a,b;c\"d'": text[:-8],
        "ünï": text[:-9],
    }
    (tmp_path / "in.fasta").write_text("".join(f">{header}\n{residues}\n" for header, residues in named.items()))
    corpus = ingest([tmp_path / "in.fasta"], tmp_path / "corpus", 3)
    cluster(corpus, tmp_path / "clusters")
    rows = rows_of(tmp_path / "clusters", corpus)
    accessions = {row["accession"] for row in rows}
    assert len(accessions) == len(named)
    (representative,) = {row["representative"] for row in rows}
    assert representative in accessions
    assert {row["cluster_size"] for row in rows} == {len(named)}


def test_two_representatives_of_one_accession_are_told_apart(records, tmp_path):
    texts = {">same one": records[5][1], ">other": records[6][1], ">same two": records[7][1]}
    (tmp_path / "in.fasta").write_text("".join(f"{header}\n{residues}\n" for header, residues in texts.items()))
    corpus = ingest([tmp_path / "in.fasta"], tmp_path / "corpus", 1)
    manifest = cluster(corpus, tmp_path / "clusters")
    rows = rows_of(tmp_path / "clusters", corpus)
    assert len({row["representative"] for row in rows}) == 3
    for row in rows:
        distinct = f"same/seq-{row['record_key']:016x}"
        assert row["representative"] == (distinct if row["accession"] == "same" else "other")
    assert manifest.counts["representatives_renamed"] == 2
    assert sound(tmp_path / "clusters")


def test_one_sequence_is_a_cluster(tmp_path, records):
    (tmp_path / "in.fasta").write_text(f">one\n{records[0][1]}\n")
    corpus = ingest([tmp_path / "in.fasta"], tmp_path / "corpus")
    counts = cluster(corpus, tmp_path / "clusters", NESTED).counts
    assert counts["clusters"] == counts["clusters_2"] == counts["singletons"] == 1


@pytest.mark.parametrize("finished", ["pre_clust.dbtype", "level-1.tsv", "composed-0-00003.arrow"])
def test_a_run_that_was_killed_goes_on_and_comes_to_the_same(corpus, nested, tmp_path, finished):
    out = tmp_path / "clusters"
    arguments = ["--min-seq-id", "0.9", "--min-seq-id", "0.5", "--workers", "1", "--executor", "serial", "--quiet"]
    command = ["cluster", str(corpus), "--out", str(out), *arguments]
    process = subprocess.Popen([sys.executable, "-m", "pipeline", *command])
    while not list(out.rglob(finished)):
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.1)  # until the watcher has ended mmseqs, too
    if finished == "level-1.tsv":  # killed while it tidied up
        (out / ".scratch" / "level-1").mkdir(exist_ok=True)
        (out / ".scratch" / "level-1" / "sequences.fasta").write_text(">0\n")
    assert not (out / "manifest.json").exists()
    assert main(command) == 0
    assert read_manifest(out).fingerprint == read_manifest(nested).fingerprint
    assert read_manifest(out).files == read_manifest(nested).files
    assert not (out / ".scratch").exists()


def test_another_configuration_is_refused(corpus, nested):
    before = file_digest(nested / "manifest.json")
    assert main(["cluster", str(corpus), "--out", str(nested), "--min-seq-id", "0.6", "--quiet"]) == 2
    assert file_digest(nested / "manifest.json") == before


def test_what_does_not_fit_into_memory_is_refused_before_anything_is_done(corpus, tmp_path, capsys, monkeypatch):
    # The corpus is small: any memory that the program itself takes would be enough.
    monkeypatch.setattr("pipeline.engines.mmseqs._KMER_BYTES", 16_000)
    out = tmp_path / "clusters"
    command = ["cluster", str(corpus), "--out", str(out), "--min-seq-id", "0.5", "--memory", "300MB"]
    assert main(command) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "clustering needs about 699MB of memory, --memory allows 300MB" in said
    (proposed,) = re.findall(r"--split-memory-limit (\S+),", said)
    assert proposed == "149MB"
    assert not out.exists()
    assert main([*command, "--split-memory-limit", proposed, "--executor", "serial", "--quiet"]) == 0
    assert "--split-memory-limit 149000000B" in read_manifest(out).configuration["parameters"][0]


def test_records_that_mmseqs_leaves_out_are_noticed(corpus, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.write_text(f'#!/bin/sh\n{find_mmseqs()} "$@" || exit\n[ "$1" = createtsv ] && sed -i 7d "$5" || true\n')
    broken.chmod(0o755)
    monkeypatch.setenv("MMSEQS", str(broken))
    with pytest.raises(IntegrityError, match=r"part-0000\d.parquet: expected a cluster for each of \d+ records, found"):
        cluster(corpus, tmp_path / "clusters")


def test_one_that_cannot_run_is_told_before_there_is_any_work(corpus, tmp_path, monkeypatch):
    program = tmp_path / "mmseqs"
    program.write_text("#!/bin/sh\nkill -ILL $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("MMSEQS", str(program))
    with pytest.raises(ExecutionError, match="mmseqs: cannot be run") as caught:
        cluster(corpus, tmp_path / "clusters")
    assert "for this processor" in caught.value.hint
    assert not (tmp_path / "clusters").exists()


@pytest.mark.slow
def test_cascaded_clustering(tmp_path, records):
    (tmp_path / "in.fasta").write_text(
        "".join(f">{header}\n{text}\n" for header, text in records[:40] + records[-240:])
    )
    corpus = ingest([tmp_path / "in.fasta"], tmp_path / "corpus")
    config = {**HALF, "method": "cluster", "sensitivity": 1}
    manifest = cluster(corpus, tmp_path / "clusters", config)
    assert manifest.configuration["parameters"][0].startswith("cluster --min-seq-id 0.5")
    assert manifest.counts["clusters"] < manifest.counts["records"]
    assert sound(tmp_path / "clusters")


def test_the_command_tells_what_it_needs_and_made(corpus, tmp_path, capsys):
    out = tmp_path / "clusters"
    assert main(["cluster", str(corpus), "--out", str(out), "--preset", "uniref90", "--executor", "serial"]) == 0
    said = capsys.readouterr().err
    assert "mmseqs linclust, about 21 MB of memory" in said
    assert f"pipeline verify {out}" in said.splitlines()[-1]
    assert "records in" in said
    assert main(["inspect", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "clusters"
    accession = pq.read_table(corpus / "part-00000.parquet").column("accession")[3].as_py()
    assert main(["inspect", str(out), "--accession", accession]) == 0
    assert "in the cluster of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --preset, --min-seq-id or --existing"),
        (["--preset", "uniref50", "--min-seq-id", "0.5"], "one of them only"),
        (["--preset", "uniref55"], "--preset uniref55: expected one of uniref90, uniref50, esm3, bfd"),
        (["--min-seq-id", "1.5"], "less than or equal to 1, found 1.5"),
        (["--min-seq-id", "0.5", "--min-seq-id", "0.5"], "expected identities that differ"),
        (["--min-seq-id", "0.5", "--existing", "x.tsv"], "not both"),
        (["--existing", "x.tsv", "--coverage", "0.5"], "--coverage 0.5: expected no option of mmseqs with --existing"),
        (["--existing", "x.tsv", "--cov-mode", "0"], "--cov-mode 0: expected no option"),
        (["--existing", "x.tsv", "--method", "cluster"], "--method cluster: expected no option"),
        (["--existing", "x.tsv", "--split-memory-limit", "1GB"], "--split-memory-limit 1000000000: expected no option"),
        (["--min-seq-id", "0.5", "--sensitivity", "6"], "only cascaded clustering has one"),
        (["--min-seq-id", "0.5", "--split-memory-limit", "much"], "--split-memory-limit much: expected a number"),
    ],
)
def test_what_cannot_be_asked_is_told(corpus, tmp_path, capsys, arguments, message):
    assert main(["cluster", str(corpus), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_corpus_is_needed(tmp_path, nested):
    assert main(["cluster", str(nested), "--out", str(tmp_path / "out"), "--min-seq-id", "0.5"]) == 1


def test_clusters_never_replace_their_corpus(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "corpus")
    with pytest.raises(ConfigurationError, match="expected a folder apart from the input"):
        cluster(tmp_path / "corpus", tmp_path / "corpus" / "clusters")
