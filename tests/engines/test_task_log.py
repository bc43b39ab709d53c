"""One object a line: what was torn is cut off and written again, what failed is there, and nothing is made from it."""

import json
import os
import time
from datetime import UTC, datetime

import pytest

from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import Round, Task, TaskResult
from pipeline.engines.task_log import LOG_NAME, RunStarted, TaskEnded, TaskLog, read_failures, read_log
from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.manifest import Run, make_manifest


class Numbers:
    """Tasks that write a scratch file each; one of them may fail, or interrupt."""

    kind = "corpus"

    def __init__(self, count=4, fault=None):
        self.count, self.fault = count, fault

    def forthcoming(self):
        return ()

    def describe(self, folder):
        return Run(kind=self.kind, configuration={}, inputs=())

    def rounds(self, folder, worker_bytes):
        yield Round(label="write", tasks=[
            Task(name=f"number-{index}", function=write, arguments={"number": index, "fault": self.fault})
            for index in range(self.count)
        ])  # fmt: skip
        yield Round(label="end", tasks=[Task(name="end", function=write, arguments={"number": 9, "fault": None})])
        return make_manifest(
            self.kind, configuration={}, inputs=(), files=(), counts={}, reasons={}, provenance=()
        )  # fmt: skip


def write(folder, *, number, fault):
    if fault is not None and number == 2:
        raise FAULTS[fault]
    path = folder / ".scratch" / str(number)
    path.parent.mkdir(exist_ok=True)
    path.write_text("x" * 10 * (number + 1))
    return TaskResult(scratch={f".scratch/{number}": 10 * (number + 1)})


FAULTS = {
    "data": InputFormatError("2: expected a number", hint="look at it"),
    "bug": ZeroDivisionError("division by zero"),
    "empty": ValueError(),
    "interrupt": KeyboardInterrupt(),
}


@pytest.fixture(scope="module")
def processes():
    with ProcessExecutor(2) as executor:
        yield executor


@pytest.fixture
def executor(request, processes):
    return processes if request.param == "processes" else SerialExecutor()


def make(folder, stage=None, executor=None):
    return run_stage(stage or Numbers(), folder, executor=executor or SerialExecutor())


def lines(folder):
    return [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]


def tasks(folder):
    return [entry for entry in read_log(folder) if isinstance(entry, TaskEnded)]


@pytest.mark.parametrize("executor", ["serial", "processes"], indirect=True)
def test_every_task_is_in_the_log_with_what_it_used(tmp_path, executor):
    make(tmp_path, executor=executor)
    assert executor.num_workers == read_log(tmp_path)[0].num_workers
    named = {entry["task"]: entry for entry in lines(tmp_path) if entry["event"] == "task"}
    assert sorted(named) == ["end", *(f"number-{index}" for index in range(4))]
    entry = named["number-3"]
    assert (entry["num_bytes"], entry["round"], entry["stage"], entry["outcome"]) == (40, "write", "corpus", "done")
    assert entry["seconds"] >= 0
    assert entry["peak_memory"] > 10_000_000
    assert entry["executor"] == {1: "serial", 2: "processes"}[executor.num_workers]
    assert (entry["pid"] == os.getpid()) == (executor.num_workers == 1)
    assert datetime.fromisoformat(entry["started"]).tzinfo is not None
    assert [entry["event"] for entry in lines(tmp_path)][-1] == "end"
    assert lines(tmp_path)[-1]["outcome"] == "done"


def test_a_run_that_does_nothing_writes_nothing(tmp_path):
    make(tmp_path)
    before = (tmp_path / LOG_NAME).read_bytes(), (tmp_path / LOG_NAME).stat().st_mtime_ns
    assert make(tmp_path).was_finished
    assert ((tmp_path / LOG_NAME).read_bytes(), (tmp_path / LOG_NAME).stat().st_mtime_ns) == before


@pytest.mark.parametrize("executor", ["serial", "processes"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("data", "2: expected a number (look at it)"),
        ("bug", "ZeroDivisionError: division by zero"),
        ("empty", "ValueError"),
    ],
)  # fmt: skip
def test_a_task_that_failed_is_in_the_log_and_so_is_the_end(tmp_path, executor, fault, told):
    with pytest.raises(type(FAULTS[fault])):
        make(tmp_path, Numbers(fault=fault), executor)
    (failed,) = [entry for entry in tasks(tmp_path) if entry.outcome == "failed"]
    assert (failed.task, failed.error, failed.attempt, failed.round) == ("number-2", told, 1, "write")
    assert (lines(tmp_path)[-1]["outcome"], lines(tmp_path)[-1]["error"]) == ("failed", told)
    assert read_failures(tmp_path) == []
    make(tmp_path)
    assert [entry.attempt for entry in read_log(tmp_path) if isinstance(entry, RunStarted)] == [1, 2]
    (again,) = [entry for entry in tasks(tmp_path) if entry.task == "number-2" and entry.outcome == "done"]
    assert again.attempt == 2
    assert [entry.task for entry in tasks(tmp_path) if entry.outcome == "done"].count("number-0") == 1


def test_a_person_who_stops_a_run_is_no_failure(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, Numbers(fault="interrupt"))
    assert lines(tmp_path)[-1]["outcome"] == "interrupted"
    assert all(entry.outcome == "done" for entry in tasks(tmp_path))


@pytest.mark.parametrize("cut", [1, 30, "line"])
def test_a_torn_last_line_is_left_out_cut_off_and_written_again(tmp_path, cut):
    """The driving process was killed while it wrote; the record of the task is whole."""
    with pytest.raises(InputFormatError):
        make(tmp_path, Numbers(fault="data"))
    path = tmp_path / LOG_NAME
    whole = path.read_bytes().splitlines(keepends=True)
    last = next(place for place, line in enumerate(whole) if b"number-1" in line)
    torn = b"" if cut == "line" else whole[last][:-cut]
    path.write_bytes(b"".join(whole[:last]) + torn)
    assert [entry.task for entry in tasks(tmp_path)] == ["number-0"]
    make(tmp_path)
    done = {entry.task: entry for entry in tasks(tmp_path)}
    assert sorted(done) == ["end", *(f"number-{index}" for index in range(4))]
    assert (done["number-1"].attempt, done["number-1"].num_bytes) == (1, 20)
    assert len(lines(tmp_path)) == len(read_log(tmp_path))  # every line is whole


def test_what_a_later_version_adds_is_left_out(tmp_path):
    make(tmp_path)
    before = read_log(tmp_path)
    with (tmp_path / LOG_NAME).open("a") as file:
        file.write('{"event": "weather", "attempt": 1}\nno JSON\n')
        file.write(json.dumps(lines_of(before)[-1] | {"mood": "good"}) + "\n")
    assert read_log(tmp_path) == [*before, before[-1]]


def lines_of(entries):
    return [entry.model_dump(mode="json") for entry in entries]


def test_a_failure_that_a_killed_driver_did_not_log_is_logged_by_the_next(tmp_path):
    with pytest.raises(InputFormatError):
        make(tmp_path, Numbers(fault="data"))
    path = tmp_path / LOG_NAME
    entry = next(entry for entry in lines(tmp_path) if entry.get("outcome") == "failed")
    kept = [line for line in path.read_text().splitlines() if '"failed"' not in line]
    path.write_text("".join(f"{line}\n" for line in kept))
    (tmp_path / ".tasks" / "failed").mkdir(exist_ok=True)
    (tmp_path / ".tasks" / "failed" / "number-2.json").write_text(json.dumps(entry))
    (failure,) = read_failures(tmp_path)
    assert (failure.task, failure.error) == ("number-2", "2: expected a number (look at it)")
    make(tmp_path)
    (failed,) = [entry for entry in tasks(tmp_path) if entry.outcome == "failed"]
    assert (failed.attempt, failed.round) == (1, "write")


def test_the_file_shows_that_the_run_lives(tmp_path):
    with TaskLog(tmp_path, "corpus", executor="serial", num_workers=1, heartbeat_seconds=0.01):
        os.utime(tmp_path / LOG_NAME, (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / LOG_NAME).stat().st_mtime < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - (tmp_path / LOG_NAME).stat().st_mtime < 60
    os.utime(tmp_path / LOG_NAME, (0, 0))
    time.sleep(0.05)
    assert (tmp_path / LOG_NAME).stat().st_mtime == 0  # it ended


def test_the_clock_may_be_set(tmp_path):
    then = datetime(2026, 1, 2, tzinfo=UTC)
    with TaskLog(tmp_path, "plan", executor="serial", num_workers=1, clock=lambda: then) as log:
        log.round_started("pack", 3, {})
    assert [entry.at for entry in read_log(tmp_path)] == [then] * 3


def test_a_log_that_cannot_be_written_is_told(tmp_path):
    with TaskLog(tmp_path, "plan", executor="serial", num_workers=1) as log:
        (tmp_path / LOG_NAME).unlink()
        (tmp_path / LOG_NAME).mkdir()
        with pytest.raises(ConfigurationError, match=r"log\.jsonl: cannot be written: .* \(make room"):
            log.round_started("pack", 3, {})
