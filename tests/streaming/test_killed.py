"""Law 5 under kill -9: of a loader worker, a rank, the whole job. What was trained before and after: each row once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from pipeline.streaming.reader import PackedReader

SCRIPT = Path(__file__).with_name("gloo_ranks.py")
IDENTITY = ("record_keys", "row_offsets", "num_sequences")

RowIds = Callable[[dict[str, Any]], list[int]]


@pytest.fixture(scope="module")
def whole(shards: Path, row_ids: RowIds) -> list[list[int]]:
    """Batches of 4 of an epoch, in order."""
    return [row_ids(batch) for batch in PackedReader(shards, batch_size=4, columns=IDENTITY, threads=1, tail="pad")]


def log_of(folder: Path, number: int) -> list[dict[str, Any]]:
    path = folder / f"phase-{number}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_steps(folder: Path, steps: int) -> None:
    until = time.monotonic() + 50
    while len(log_of(folder, 0)) < steps:
        assert time.monotonic() < until, "the ranks do not get on"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path, shards: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a job of gloo ranks in a session of its own."""
    started: list[subprocess.Popen[str]] = []

    def job(*phases: dict[str, Any]) -> subprocess.Popen[str]:
        document = {"shards": str(shards), "folder": str(tmp_path), "phases": phases, "afresh": False}
        (tmp_path / "job.json").write_text(json.dumps(document))
        for path in tmp_path.glob("rendezvous-*"):  # of a life before
            path.unlink()
        command = [sys.executable, str(SCRIPT), str(tmp_path / "job.json")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started.append(
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment)
        )
        return started[-1]

    yield job
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


PHASE = {"world_size": 4, "batch_size": 1, "pause": 0.05, "save_every": 3}


def go_on(folder: Path, start: Callable[..., subprocess.Popen[str]], **phase: Any) -> list[int]:
    """Take the rest with another world; the rows of both lives, those behind the checkpoint once."""
    before = log_of(folder, 0)
    saved = json.loads((folder / "reader.json").read_text())["rows_delivered"] // 4
    assert 0 < saved <= len(before)
    (folder / "phase-0.jsonl").rename(folder / "before.jsonl")
    process = start(phase)
    assert process.wait(timeout=50) == 0
    again = list(chain.from_iterable(step["rows"] for step in log_of(folder, 0)))
    trained = [step["rows"] for step in before]
    lost = list(chain.from_iterable(trained[saved:]))
    assert again[: len(lost)] == lost  # trained, but not in the weights that were saved: given once more
    return [*chain.from_iterable(trained[:saved]), *again]


def test_a_loader_worker_is_killed(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], whole: list[list[int]]
) -> None:
    """Its rank fails, and so do the others; one process without workers takes the rest."""
    process = start(PHASE | {"world_size": 2, "batch_size": 2, "num_workers": 2, "kill_worker": 7})
    assert process.wait(timeout=50) == 1
    assert "killed by signal: Killed" in process.communicate()[1]
    assert go_on(tmp_path, start, batch_size=4) == list(chain.from_iterable(whole))


def test_a_rank_is_killed(tmp_path: Path, start: Callable[..., subprocess.Popen[str]], whole: list[list[int]]) -> None:
    """The others fail, rather than going on without it or waiting for ever; half of them take the rest."""
    process = start(PHASE | {"num_workers": 1})
    wait_for_steps(tmp_path, 8)
    victim = int((tmp_path / "phase-0.pids").read_text().split()[2])
    os.kill(victim, signal.SIGKILL)
    assert process.wait(timeout=50) == 1
    assert "-9" in process.communicate()[1]
    assert go_on(tmp_path, start, world_size=2, batch_size=2) == list(chain.from_iterable(whole))


def test_the_job_is_killed(tmp_path: Path, start: Callable[..., subprocess.Popen[str]], whole: list[list[int]]) -> None:
    process = start(PHASE)
    wait_for_steps(tmp_path, 7)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    rows = go_on(tmp_path, start, world_size=1, batch_size=6, num_workers=2)
    assert rows == [*list(chain.from_iterable(whole))[:101], -1]
