"""The purge killed at any moment, several times in a row, and the memory that it takes against what it says."""

import gzip
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from pipeline.cli import main
from pipeline.engines.mmseqs_search import Search, memory_needed_to_search
from pipeline.formats.manifest import read_manifest

ASKED = ("--min-seq-id", "0.5", "--valid-fraction", "0.01", "--test-fraction", "0.005", "--quiet")


@pytest.fixture(scope="module")
def undisturbed(quickstart, tmp_path_factory):
    """Manifest, and how long it took."""
    out = tmp_path_factory.mktemp("undisturbed") / "clusters"
    begin = time.monotonic()
    assert main(["cluster", str(quickstart / "corpus"), "--out", str(out), *ASKED, "--workers", "1"]) == 0
    return read_manifest(out), time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_kills_at_any_moment(quickstart, undisturbed, tmp_path, seed):
    rng, (expected, seconds) = random.Random(seed), undisturbed
    command = ["cluster", str(quickstart / "corpus"), "--out", str(tmp_path / "clusters"), *ASKED]
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-m", "pipeline", *command, "--workers", rng.choice("12")])
        time.sleep(rng.uniform(0.5, 0.5 + 0.8 * seconds))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert main([*command, "--workers", "1"]) == 0
    found = read_manifest(tmp_path / "clusters")
    assert expected.counts["valid_records"] > 0
    assert (found.files, found.fingerprint) == (expected.files, expected.fingerprint)


_SEARCH = """
import resource, sys
from pathlib import Path
from pipeline.engines import mmseqs_search
from pipeline.engines.mmseqs import find_mmseqs
mmseqs_search.FEW_TARGETS = int(sys.argv[2])
work = Path(sys.argv[1])
mmseqs_search.search_sequences(find_mmseqs(), mmseqs_search.Search(), work, work.parent / "table", num_threads=2)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("few", [100, 0])
def test_memory_is_what_was_estimated(ecoli, tmp_path, monkeypatch, few):
    monkeypatch.setattr("pipeline.engines.mmseqs_search.FEW_TARGETS", few)
    records = gzip.decompress(ecoli.read_bytes()).decode().split(">")[1:]
    texts = ["".join(record.split("\n")[1:]) for record in records]
    queries, targets = texts[:1_000], texts[1_000:1_100]
    work = tmp_path / "work"
    work.mkdir()
    for name, some in (("queries", queries), ("targets", targets)):
        (work / f"{name}.fasta").write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(some)))
    command = [sys.executable, "-c", _SEARCH, str(work), str(few)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    need = memory_needed_to_search(
        Search(), num_queries=1_000, num_targets=100, target_residues=sum(map(len, targets)), num_threads=2
    )
    print(f"estimated {need.total / 1e6:.0f} MB, found {int(told) / 1e6:.0f} MB")
    assert 0.4 * need.total < int(told) < need.total
