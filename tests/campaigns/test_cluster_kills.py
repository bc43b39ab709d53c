"""mmseqs killed at any moment, several times in a row: the clusters are those of a run that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from pipeline.cli import main
from pipeline.formats.manifest import read_manifest

LEVELS = ("--min-seq-id", "0.5", "--min-seq-id", "0.9")


@pytest.fixture(scope="module")
def undisturbed(quickstart, tmp_path_factory):
    """Manifest, and how long it took."""
    out = tmp_path_factory.mktemp("undisturbed") / "clusters"
    begin = time.monotonic()
    assert main(["cluster", str(quickstart / "corpus"), "--out", str(out), *LEVELS, "--quiet", "--workers", "1"]) == 0
    return read_manifest(out), time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_kills_at_any_moment(quickstart, undisturbed, tmp_path, seed):
    rng, (expected, seconds) = random.Random(seed), undisturbed
    command = ["cluster", str(quickstart / "corpus"), "--out", str(tmp_path / "clusters"), *LEVELS, "--quiet"]
    for _ in range(3):
        workers = rng.choice("12")
        process = subprocess.Popen([sys.executable, "-m", "pipeline", *command, "--workers", workers])
        time.sleep(rng.uniform(0.5, 0.5 + seconds / 2))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert main([*command, "--workers", "1"]) == 0
    found = read_manifest(tmp_path / "clusters")
    assert found.files == expected.files
    assert found.fingerprint == expected.fingerprint
