"""What is done, running, interrupted or failed, from the files alone, while real runs work, fail and are killed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.engines import lock
from pipeline.engines.task_log import HEARTBEAT_SECONDS, LOG_NAME
from pipeline.errors import ArtefactError, ConfigurationError
from pipeline.stages.status import SECONDS_OF_LIFE, State, status_of

SCRIPT = Path(__file__).with_name("slow_stage.py")


@contextmanager
def running(out, *numbers):
    with subprocess.Popen([sys.executable, SCRIPT, out, *map(str, numbers)]) as process:
        try:
            yield process
        finally:
            process.kill()


def go(out, *numbers):
    for number in numbers:
        (out.parent / f"go-{number}").touch()


def until(out, wanted):
    """The status, when it is as wanted; while a run goes on it may be asked at any moment."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if out.is_dir() and any(out.iterdir()):
            (status,) = status_of(out)
            if wanted(status):
                return status
        time.sleep(0.01)
    raise AssertionError(f"not within 30 s, but: {status_of(out)}")


def with_done(number):
    return lambda status: status.progress is not None and status.progress.num_done == number


def text_of(arguments, capsys):
    code = main(["status", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def names(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_run_that_works_is_killed_resumed_and_done(tmp_path, capsys):
    out = tmp_path / "corpus"
    go(out, 0, 1)
    with running(out, 4) as process:
        status = until(out, with_done(2))
        assert (status.state, status.evidence, status.kind) == (State.RUNNING, "lock", "corpus")
        assert (status.progress.round, status.progress.num_tasks) == ("wait", 4)
        assert (status.attempt.pid, status.attempt.host) == (process.pid, socket.gethostname())
        assert (status.attempt.number, status.attempt.executor, status.attempt.num_workers) == (1, "serial", 1)
        assert status.progress.tasks_per_second > 0
        assert len(status.slowest) == 2
        assert status.largest.peak_memory > 10_000_000
        code, told, _ = text_of([out], capsys)
        assert code == 0
        assert "2 of 4" in told
        assert f"process {process.pid} on {socket.gethostname()} (serial, 1 worker), attempt 1, began" in told
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = names(out)
    status = until(out, with_done(2))
    assert (status.state, status.evidence, status.has_failed) == (State.INTERRUPTED, None, False)
    assert status.progress.seconds_left is status.progress.tasks_per_second is None
    code, told, err = text_of([out], capsys)
    assert code == 0
    assert "interrupted" in told
    assert "run the same command again" in err
    assert names(out) == before  # asking writes nothing
    go(out, 2)
    with running(out, 4) as process:
        status = until(out, with_done(3))
        assert (status.state, status.attempt.number) == (State.RUNNING, 2)
        go(out, 3)
        assert process.wait() == 0
    (status,) = status_of(out)
    assert (status.state, status.num_tasks_done, status.progress, status.error) == (State.DONE, 4, None, None)
    assert text_of([out], capsys)[0] == 0


def test_a_task_that_failed_is_named_with_its_error(tmp_path, capsys):
    out = tmp_path / "corpus"
    go(out, 0, 1, 2)
    with running(out, 3, 1) as process:
        assert process.wait() == 1
    (status,) = status_of(out)
    assert (status.state, status.has_failed) == (State.FAILED, True)
    assert (status.failure.task, status.progress.num_failed, status.progress.num_done) == ("task-1", 1, 1)
    assert status.failure.error.startswith("task 1: expected")
    code, told, err = text_of([out], capsys)
    assert code == 1
    assert "task task-1 failed" in told
    assert "a number (look at it)" in told
    assert "\x1b" not in told
    assert "run the same command again" in err
    code, told, err = text_of([out, "--json"], capsys)
    document = json.loads(told)
    assert (code, err, document["has_failed"]) == (1, "", True)
    assert document["artefacts"][0]["failure"]["task"] == "task-1"
    assert text_of([out, "--quiet"], capsys) == (1, "", "")
    with running(out, 3) as process:
        assert process.wait() == 0
    assert text_of([out], capsys)[0] == 0
    assert status_of(out)[0].failure is None


def test_a_task_that_failed_elsewhere_is_told_before_the_round_ends(tmp_path):
    """On a cluster the others go on: what failed is in the files before it is in the log."""
    out = tmp_path / "corpus"
    go(out, 0)
    with running(out, 2):
        until(out, with_done(1))
        entry = next(json.loads(line) for line in (out / LOG_NAME).read_text().splitlines() if '"task-0"' in line)
        (out / ".tasks" / "failed").mkdir()
        failure = {**entry, "task": "task-1", "error": "worker: no room"}
        (out / ".tasks" / "failed" / "task-1.json").write_text(json.dumps(failure))
        (status,) = status_of(out)
        assert (status.state, status.has_failed, status.failure.error) == (State.RUNNING, True, "worker: no room")


def test_a_task_that_was_tried_again_did_not_fail(killed):
    """Dask tries twice more: the failure of the first time is in the files until the round ends."""
    entry = next(json.loads(line) for line in (killed / LOG_NAME).read_text().splitlines() if '"task-0"' in line)
    (killed / ".tasks" / "failed").mkdir()
    (killed / ".tasks" / "failed" / "task-0.json").write_text(json.dumps({**entry, "error": "once"}))
    (status,) = status_of(killed)
    assert (status.failure, status.has_failed, status.progress.num_failed) == (None, False, 0)


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory):
    """A run of another machine, as its files are seen here."""
    out = tmp_path_factory.mktemp("killed") / "corpus"
    go(out, 0)
    with running(out, 2) as process:
        until(out, with_done(1))
        process.kill()
    path = out / LOG_NAME
    path.write_text(path.read_text().replace(f'"host":"{socket.gethostname()}"', '"host":"elsewhere"'))
    return out


@pytest.fixture
def killed(killed_once, tmp_path):
    return Path(shutil.copytree(killed_once, tmp_path / "corpus"))


@pytest.mark.parametrize(
    ("age", "state"), [(HEARTBEAT_SECONDS, State.RUNNING), (SECONDS_OF_LIFE + 1, State.INTERRUPTED)]
)
def test_a_run_elsewhere_lives_while_it_is_heard_of(killed, age, state, capsys):
    heard = datetime.fromtimestamp((killed / LOG_NAME).stat().st_mtime, UTC)
    (status,) = status_of(killed, now=heard + timedelta(seconds=age))
    assert status.state is state
    assert status.evidence == ("heartbeat" if state is State.RUNNING else None)
    if state is State.RUNNING:
        assert "its lock is not seen here, but the run was heard of" in text_of([killed], capsys)[1]


def test_an_orderly_end_elsewhere_is_no_sign_of_life(killed):
    (killed / ".lock").unlink()
    assert status_of(killed)[0].state is State.INTERRUPTED


def test_where_there_are_no_locks_the_time_of_the_log_tells(killed, monkeypatch):
    path = killed / LOG_NAME
    path.write_text(path.read_text().replace('"host":"elsewhere"', f'"host":"{socket.gethostname()}"'))
    assert status_of(killed)[0].state is State.INTERRUPTED
    monkeypatch.setattr(lock, "fcntl", None)
    assert status_of(killed)[0].evidence == "heartbeat"


def test_time_left_of_a_round(killed):
    """One of two tasks took ten seconds, four seconds ago: six are left."""
    path = killed / LOG_NAME
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:
        if entry["event"] == "task":
            entry["seconds"] = 10.0
            started = datetime.fromisoformat(entry["started"])
        elif entry["event"] == "round":
            round_entry = entry
    round_entry["at"] = started.isoformat()
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    os.utime(path, (started.timestamp() + 13,) * 2)
    (status,) = status_of(killed, now=started + timedelta(seconds=14))
    assert status.progress.seconds_left == pytest.approx(6)
    assert status.progress.tasks_per_second == pytest.approx(0.1)
    assert status.attempt.last_progress == started + timedelta(seconds=10)


def test_a_torn_line_and_a_lost_log_do_not_matter(killed):
    path = killed / LOG_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    (status,) = status_of(killed)
    assert (status.progress.num_done, status.num_tasks_done) == (0, 0)
    path.unlink()
    (status,) = status_of(killed)
    assert (status.state, status.kind, status.attempt, status.progress) == (State.INTERRUPTED, "corpus", None, None)


def test_a_recipes_folder(quickstart, tmp_path, capsys):
    statuses = status_of(quickstart)
    assert [(status.kind, status.state) for status in statuses] == [
        (kind, State.DONE) for kind in ("corpus", "plan", "shards")
    ]
    assert all(status.slowest and status.num_tasks_done for status in statuses)
    folder = tmp_path / "build"
    shutil.copytree(quickstart / "corpus", folder / "corpus")
    shutil.copytree(quickstart / "plan", folder / "plan-0")
    (folder / "plan-0" / "manifest.json").unlink()
    (folder / "notes").mkdir()
    told = [(Path(status.path).name, status.state) for status in status_of(folder)]
    assert told == [("corpus", State.DONE), ("plan-0", State.INTERRUPTED), ("shards", State.NOT_STARTED)]
    code, _, err = text_of([folder], capsys)
    assert code == 0
    assert err.splitlines()[-1].startswith(f"{folder}: 1 done, 1 interrupted, 1 not started; next:")


def test_an_artefact_that_was_copied_without_its_run(quickstart, tmp_path):
    (tmp_path / "plan").mkdir()
    shutil.copy(quickstart / "plan" / "manifest.json", tmp_path / "plan")
    (status,) = status_of(tmp_path / "plan")
    assert (status.kind, status.state, status.attempt) == ("plan", State.DONE, None)


@pytest.mark.parametrize("name", ["nothing", "file", "empty"])
def test_what_is_no_artefact_is_exit_2(tmp_path, name, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigurationError, match="expected an artefact or a folder of artefacts"):
        status_of(tmp_path / name)
    code, _, err = text_of([tmp_path / name], capsys)
    assert code == 2
    assert "found none" in err


def test_a_run_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"run\.json: expected JSON"):
        status_of(tmp_path)


def test_a_run_that_has_only_its_lock_is_running(tmp_path):
    with lock.only_run_in(tmp_path / "plan"):
        (status,) = status_of(tmp_path / "plan")
        assert (status.state, status.kind) == (State.RUNNING, None)
