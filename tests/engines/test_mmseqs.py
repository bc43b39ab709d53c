"""mmseqs is found, told everything, gone on with after a kill, and says what it needs before it starts."""

import gzip
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from pipeline.engines import mmseqs, resources
from pipeline.engines.mmseqs import (
    Clustering,
    MemoryNeed,
    check_memory,
    cluster_sequences,
    find_mmseqs,
    memory_needed,
)
from pipeline.engines.resources import parse_size
from pipeline.errors import ConfigurationError, ExecutionError, MissingExtraError

HALF = Clustering(min_seq_id=0.5)


@pytest.fixture(scope="module")
def proteins(ecoli):
    """Residues of a part of the proteome, in the order of the file."""
    records = gzip.decompress(ecoli.read_bytes()).decode().split(">")[1:]
    return ["".join(record.split("\n")[1:]) for record in records[:1_500]]


@pytest.fixture
def work(tmp_path, proteins):
    folder = tmp_path / "work"
    folder.mkdir()
    text = "".join(f">{number}\n{residues}\n" for number, residues in enumerate(proteins))
    (folder / "sequences.fasta").write_text(text)
    return folder


def pairs(table):
    return sorted(table.read_text().splitlines())


def clustered(work, clustering=HALF, *, num_threads=2):
    table = work.parent / "table.tsv"
    cluster_sequences(find_mmseqs(), clustering, work, table, num_threads=num_threads)
    return pairs(table)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory, proteins):
    """What `mmseqs easy-linclust` makes of the same FASTA with the parameters that people type."""
    folder = tmp_path_factory.mktemp("by-hand")
    (folder / "input.fasta").write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(proteins)))
    command = [find_mmseqs(), "easy-linclust", "input.fasta", "out", "tmp", "--min-seq-id", "0.5", "-c", "0.8"]
    subprocess.run([*command, "--threads", "1"], cwd=folder, check=True, capture_output=True)
    return pairs(folder / "out_cluster.tsv")


def test_it_is_what_easy_linclust_makes(work, by_hand, proteins):
    found = clustered(work)
    assert found == by_hand
    assert len(found) == len(proteins)
    assert 1_000 < len({line.split("\t")[0] for line in found}) < len(proteins)


_CLUSTER = """
import sys
from pathlib import Path
from pipeline.engines.mmseqs import Clustering, cluster_sequences, find_mmseqs
work = Path(sys.argv[1])
cluster_sequences(find_mmseqs(), Clustering(min_seq_id=0.5), work, work.parent / "table.tsv", num_threads=1)
"""


@pytest.mark.parametrize("finished", ["database.dbtype", "pref.dbtype", "pref_rescore1.dbtype", "aln.dbtype"])
def test_it_goes_on_from_the_last_finished_step_after_a_kill(work, by_hand, finished):
    process = subprocess.Popen([sys.executable, "-c", _CLUSTER, str(work)])
    while not list(work.rglob(finished)):
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.1)  # until the watcher has ended mmseqs, too
    done = {path.name: path.stat().st_mtime_ns for path in work.rglob("*.dbtype")}
    (work / "mmseqs.log").unlink()
    # With more threads, there are more files of each step.
    assert clustered(work, num_threads=2) == by_hand
    repeated = {
        path.name for path in work.rglob("*.dbtype") if done.get(path.name, 0) not in {0, path.stat().st_mtime_ns}
    }
    assert not repeated or finished == "database.dbtype"
    said = (work / "mmseqs.log").read_text()
    assert finished == "database.dbtype" or "createdb sequences.fasta" not in said
    assert finished == "database.dbtype" or "\nkmermatcher " not in said


def test_half_a_step_is_done_again(work, by_hand):
    assert clustered(work, num_threads=1) == by_hand
    for path in [*work.glob("clusters*"), *work.glob("tmp/latest/clust*")]:
        path.unlink()
    marker = work / "tmp" / "latest" / "aln.dbtype"
    marker.write_bytes(b"")
    for path in marker.parent.glob("aln*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        # As attempts with other numbers of threads leave them.
        for suffix in ("", ".0", ".1", ".2"):
            if not path.name.endswith(".dbtype"):
                path.with_name(f"{path.name.split('.')[0]}{suffix}").write_bytes(b"1\t2\t3\n" * 1_000)
    assert clustered(work, num_threads=2) == by_hand


def test_residues_that_look_like_nucleotides_are_those_of_proteins(work):
    (work / "sequences.fasta").write_text(f">0\n{'ACGTTGCA' * 20}\n>1\n{'GGATTACA' * 20}\n")
    assert clustered(work) == ["0\t0", "1\t1"]
    assert (work / "database.dbtype").read_bytes() == bytes(4)


def test_a_kill_between_sequences_and_names_makes_both_anew(work, by_hand):
    assert clustered(work) == by_hand
    for path in [*work.glob("clusters*"), work / "database_h.dbtype"]:
        path.unlink()
    assert clustered(work) == by_hand


def test_a_folder_that_was_moved_begins_anew(work, by_hand):
    assert clustered(work) == by_hand
    moved = work.parent / "moved"
    work.rename(moved)
    for path in moved.glob("clusters*"):
        path.unlink()
    assert clustered(moved) == by_hand


def test_a_failure_is_told_and_can_be_gone_on_from(work, by_hand, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text(
        f'#!/bin/sh\n[ "$1" = linclust ] && echo "Can not allocate" && exit 1\nexec {find_mmseqs()} "$@"\n'
    )
    broken.chmod(0o755)
    with pytest.raises(
        ExecutionError, match=r"broken linclust failed with exit code 1; its last words:.*Can not allocate"
    ):
        cluster_sequences(broken, HALF, work, work.parent / "table.tsv", num_threads=1)
    assert clustered(work) == by_hand


def test_splitting_is_pinned(work):
    assert HALF.arguments[-2:] == ["--split-memory-limit", "64T"]
    clustered(work, Clustering(min_seq_id=0.5, split_memory_limit=300_000))
    assert "Generate k-mers list for 2 split" in (work / "mmseqs.log").read_text()


def test_cascaded_clustering_has_a_sensitivity():
    arguments = Clustering(module="cluster", min_seq_id=0.3, sensitivity=6).arguments
    assert arguments[arguments.index("-s") + 1] == "6"
    assert "-s" not in HALF.arguments


def test_where_it_is_found(tmp_path, monkeypatch):
    program = tmp_path / "mmseqs"
    program.write_text("#!/bin/sh\necho 99-test\n")
    program.chmod(0o755)
    monkeypatch.delenv("MMSEQS", raising=False)
    bundled = find_mmseqs()
    assert mmseqs.mmseqs_version(bundled)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_mmseqs() == program
    monkeypatch.setenv("MMSEQS", str(bundled))
    assert find_mmseqs() == bundled.resolve()
    monkeypatch.setenv("MMSEQS", str(program))
    assert mmseqs.mmseqs_version(find_mmseqs()) == "99-test"
    monkeypatch.setenv("MMSEQS", str(tmp_path / "nothing"))
    with pytest.raises(ConfigurationError, match=r"\$MMSEQS=.*nothing: expected a program"):
        find_mmseqs()


def test_a_missing_one_is_told_with_the_line_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.delenv("MMSEQS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mmseqs, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        find_mmseqs()
    assert caught.value.hint == "pip install 'protein-pipeline[cluster]'"


def test_one_for_another_processor_is_told(tmp_path):
    program = tmp_path / "mmseqs"
    program.write_bytes(b"\x7fELF nothing that runs")
    program.chmod(0o755)
    with pytest.raises(ExecutionError, match="cannot be run"):
        mmseqs.mmseqs_version(program)


def test_pandas_is_not_loaded_to_find_it():
    code = "import sys; from pipeline.engines.mmseqs import find_mmseqs; find_mmseqs(); print('pandas' in sys.modules)"
    environment = {key: value for key, value in os.environ.items() if key not in {"MMSEQS"}}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout.strip() == "False"


def test_what_is_needed_follows_the_table_of_kmers():
    uniref50 = {"num_records": 70_000_000, "num_residues": 20_000_000_000, "num_threads": 16}
    assert 24e9 < memory_needed(HALF, **uniref50).total < 60e9
    hundred = Clustering(min_seq_id=0.7, kmer_per_seq=100)
    assert 112e9 < memory_needed(hundred, **uniref50).total < 150e9
    split = Clustering(min_seq_id=0.7, kmer_per_seq=100, split_memory_limit=10**10)
    assert memory_needed(split, **uniref50).total == 10**10 + 20 * 10**9 + 105 * 10**8 + 20 * 10**6
    cascaded = Clustering(module="cluster", min_seq_id=0.3)
    assert memory_needed(cascaded, **uniref50).total > 160e9


def test_what_does_not_fit_is_refused_in_one_sentence(monkeypatch):
    need = MemoryNeed(tables=112 * 10**9, others=27 * 10**9)
    check_memory(need, 139 * 10**9)
    with pytest.raises(ConfigurationError) as caught:
        check_memory(need, 139 * 10**9, beside=1)
    with pytest.raises(ConfigurationError) as caught:
        check_memory(need, 64 * 10**9, beside=10**9)
    assert caught.value.message == "clustering needs about 140.0GB of memory, --memory allows 64.0GB"
    assert "--split-memory-limit 36.0GB" in caught.value.hint
    with pytest.raises(ConfigurationError) as caught:
        check_memory(need, 20 * 10**9)
    assert caught.value.hint == "allow more with --memory"
    monkeypatch.setattr(mmseqs, "granted_memory", lambda: 64_000_000)
    with pytest.raises(ConfigurationError, match="about 65MB of memory, this machine grants 64MB"):
        check_memory(MemoryNeed(tables=1_000_000, others=64_000_000), None)


def test_what_is_proposed_fits():
    sizes = {"num_records": 70_000_000, "num_residues": 20_000_000_000, "num_threads": 16}
    with pytest.raises(ConfigurationError) as caught:
        check_memory(memory_needed(HALF, **sizes), 40 * 10**9)
    limit = parse_size(re.search(r"--split-memory-limit (\S+),", caught.value.hint)[1])
    assert limit > 9 * 10**9
    check_memory(memory_needed(Clustering(min_seq_id=0.5, split_memory_limit=limit), **sizes), 40 * 10**9)


def test_granted_memory_is_the_least_of_all(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(resources, "_CGROUP_MEMORY_MAX", limit)
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    of_machine = resources.granted_memory()
    assert of_machine > 100_000_000
    limit.write_text("max\n")
    assert resources.granted_memory() == of_machine
    limit.write_text("70000000\n")
    assert resources.granted_memory() == 70_000_000
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "50")
    assert resources.granted_memory() == 50 << 20
