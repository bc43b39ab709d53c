"""Dask runs the same tasks to the same bytes; workers may die, calls may fail, and the rest is done."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.config import IngestConfig
from pipeline.console import Console, Mode
from pipeline.engines import dask_cluster
from pipeline.engines.dask_executor import NUM_RETRIES, make_dask_executor, work
from pipeline.engines.execution import SerialExecutor, make_executor
from pipeline.engines.job_queue import JobQueue
from pipeline.engines.resources import granted_cpus
from pipeline.engines.runner import _perform, run_stage
from pipeline.engines.stage import Round, Task, TaskResult
from pipeline.errors import ConfigurationError, ExecutionError, InputFormatError
from pipeline.formats.manifest import Run, read_manifest
from pipeline.progress import ProgressWatcher
from pipeline.recipe import Recipe
from pipeline.workflow import run_recipe


def square(number):
    return number * number


def doze(seconds):
    time.sleep(seconds)


def thread_caps():
    import pyarrow as pa

    return pa.cpu_count(), os.environ["POLARS_MAX_THREADS"], signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def attempt(folder, name):
    """Count the attempts of a call, across processes."""
    with (folder / name).open("a") as file:
        file.write("x")
    return (folder / name).stat().st_size


def fail(folder, name):
    attempt(folder, name)
    raise OSError(f"{name}: cannot be read")


def refuse(folder, name):
    attempt(folder, name)
    raise InputFormatError(f"{name}: expected something else", hint="look at it")


def give_up(folder, name):
    attempt(folder, name)
    raise ExecutionError("the disk is full")


def die_at_first(folder, name, times=1):
    if attempt(folder, name) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def is_there(name):
    return Path(name).exists()


@pytest.fixture(scope="module")
def notes():
    return []


@pytest.fixture(scope="module")
def dask(notes):
    with make_executor("dask", 2, notify=notes.append) as executor:
        yield executor


def test_every_call_is_run_once_and_the_dashboard_is_told_once(dask, notes):
    for _ in range(2):
        assert dict(dask.map([partial(square, number) for number in range(7)])) == {n: n * n for n in range(7)}
    assert list(dask.map([])) == []
    assert len(notes) == 1
    assert notes[0].startswith("Dask dashboard: http://127.0.0.1:")


def test_more_calls_than_are_sent_at_a_time(dask, monkeypatch):
    monkeypatch.setattr("pipeline.engines.dask_executor._CALLS_AHEAD", 3)
    assert dict(dask.map([partial(square, number) for number in range(30)])) == {n: n * n for n in range(30)}


def test_workers_cap_their_threads_and_leave_interrupts_alone(dask):
    share = max(1, granted_cpus() // 2)
    assert set(dict(dask.map([thread_caps] * 4)).values()) == {(share, str(share), True)}


def test_workers_keep_freed_memory(dask):
    """As Dask starts them they would give it back at once, and tasks would take half as long again."""
    assert list(dask.map([partial(os.getenv, "MALLOC_TRIM_THRESHOLD_")])) == [(0, None)]


def test_relative_paths_begin_where_the_command_was_given(dask, tmp_path, monkeypatch):
    assert list(dask.map([partial(square, 1)])) == [(0, 1)]  # the workers have started, elsewhere
    monkeypatch.chdir(tmp_path)
    Path("here").touch()
    assert list(dask.map([partial(is_there, "here")])) == [(0, True)]


@pytest.fixture(scope="module")
def recipe(ecoli):
    return Recipe(name="ecoli", ingest=IngestConfig(files=(str(ecoli),), records_per_part=1_000))


def files_of(folder):
    return {kind: read_manifest(folder / kind).files for kind in ("corpus", "plan", "shards")}


@pytest.fixture(scope="module")
def serial(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    assert all(report.is_sound for report in run_with(SerialExecutor(), recipe, folder).reports)
    return files_of(folder)


def run_with(executor, recipe, folder):
    with ProgressWatcher(Console(Mode.QUIET)) as watcher:
        return run_recipe(recipe, folder, executor=executor, watcher=watcher)


def test_a_recipe_comes_to_the_same_bytes(dask, recipe, serial, tmp_path):
    assert all(report.is_sound for report in run_with(dask, recipe, tmp_path).reports)
    assert files_of(tmp_path) == serial
    assert len(serial["corpus"]) > 8


def test_a_killed_worker_costs_nothing_but_time(dask, tmp_path):
    calls = [partial(die_at_first, tmp_path, "once"), *(partial(square, number) for number in range(1, 9))]
    assert dict(dask.map(calls)) == {0: "once"} | {number: number * number for number in range(1, 9)}


def collect(calls, executor):
    found = []
    try:
        for index, _ in executor.map(calls):
            found.append(index)
    except (ExecutionError, InputFormatError) as error:
        return sorted(found), error
    return sorted(found), None


def allow(number, dask_scheduler):
    dask_scheduler.allowed_failures = number


def test_a_call_that_kills_every_worker_is_named_and_the_rest_is_done(dask, tmp_path):
    client = dask._connected()
    client.run_on_scheduler(partial(allow, 0))  # so that every neighbour is suspected at once
    try:
        found, error = collect([partial(die_at_first, tmp_path, "deadly", 99), *[partial(doze, 0.5)] * 3], dask)
    finally:
        client.run_on_scheduler(partial(allow, 3))
    assert found == [1, 2, 3], "a neighbour was blamed"
    assert re.match(r"die_at_first\(.*'deadly'.*: 1 workers died, .*while they ran it", error.message)
    assert "finished tasks are kept" in error.hint
    assert (tmp_path / "deadly").stat().st_size == 2, "once with neighbours, once alone"


def test_a_call_that_always_fails_is_tried_again_then_named_with_the_rest_done(dask, tmp_path):
    calls = [partial(fail, tmp_path, "bad.fasta"), *(partial(square, number) for number in range(20))]
    found, error = collect(calls, dask)
    assert found == list(range(1, 21))
    assert type(error) is ExecutionError
    assert "fail(" in error.message
    assert error.message.endswith("'bad.fasta'): failed 3 times, at last with OSError: bad.fasta: cannot be read")
    assert (tmp_path / "bad.fasta").stat().st_size == 1 + NUM_RETRIES


def test_an_error_of_ours_is_not_tried_again_and_the_first_call_is_the_one_that_is_named(dask, tmp_path):
    calls = [partial(square, 1), partial(refuse, tmp_path, "a"), partial(refuse, tmp_path, "b"), partial(square, 2)]
    found, error = collect(calls, dask)
    assert found == [0, 3]
    assert type(error) is InputFormatError
    assert (error.message, error.hint) == ("a: expected something else; 1 more failed, the rest is done", "look at it")
    assert (tmp_path / "a").stat().st_size == 1


def test_what_every_call_would_meet_stops_the_run(dask, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.engines.dask_executor._CALLS_AHEAD", 4)
    found, error = collect([partial(give_up, tmp_path, f"{number}") for number in range(500)], dask)
    assert found == []
    assert error.message == "the disk is full"
    assert len(list(tmp_path.iterdir())) < 30


def test_another_version_is_refused():
    failure = work(b"", ".", 1, "0.0.0")
    assert failure.concerns_every_call
    assert "expected 0.0.0" in failure.error.message


def test_a_folder_that_a_worker_does_not_see(tmp_path):
    import pipeline

    failure = work(b"", str(tmp_path / "none"), 1, pipeline.__version__)
    assert failure.concerns_every_call
    assert "shared storage" in failure.error.hint


SITE = JobQueue(cores=1, memory="1GB")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("slurm", None, None, None), "expected --site FILE.toml"),
        (("slurm", SITE, None, 10**9), "--memory: the workers of --scheduler slurm"),
        ((None, SITE, None, None), "--site: expected --scheduler slurm, pbs, sge, lsf"),
        (("tcp://127.0.0.1:1", None, 2, None), "--workers: the scheduler"),
        (("no-such-file.json", None, None, None), "expected an address such as tcp://host:8786, a scheduler file"),
    ],
)
def test_options_that_do_not_fit_together(arguments, expected):
    with pytest.raises(ConfigurationError, match=expected):
        make_dask_executor(*arguments, notify=str)


def test_serial_and_a_scheduler_exclude_each_other():
    with pytest.raises(ConfigurationError, match="expected --executor dask, found serial"):
        make_executor("serial", scheduler="tcp://127.0.0.1:1")


def test_nobody_at_the_address(monkeypatch):
    monkeypatch.setattr(dask_cluster, "_SECONDS_TO_CONNECT", 1)
    with pytest.raises(ExecutionError, match=r"--scheduler tcp://127\.0\.0\.1:1: nobody answers there"):
        make_executor("dask", scheduler="tcp://127.0.0.1:1")


@pytest.fixture
def running(tmp_path):
    """A scheduler and a worker, in other processes and another folder; its file, and the processes."""
    file = tmp_path / "scheduler.json"
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = ["worker", "--nthreads", "1", "--memory-limit", "700MB", "--no-dashboard", "--host", "127.0.0.1"]
    with (tmp_path / "log").open("wb") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{command[0]}", *command[1:], "--scheduler-file", file],
                cwd=folder, stdout=log, stderr=log,
            )
            for command in (scheduler, worker)
        ]  # fmt: skip
        assert wait_until(file.exists, seconds=20)
        yield file, processes
        for process in processes:
            process.kill()  # a worker that is asked looks for its scheduler first
            process.wait(20)


def test_a_scheduler_that_runs_already(running, ecoli, tmp_path, quickstart, capfd):
    file, processes = running
    arguments = [
        "ingest",
        os.path.relpath(ecoli),
        "--out",
        str(tmp_path / "corpus"),
        "--executor",
        "dask",
        "--scheduler",
        str(file),
    ]
    assert main(arguments) == 0
    assert "Dask dashboard: http" in capfd.readouterr().err
    assert read_manifest(tmp_path / "corpus").tables == read_manifest(quickstart / "corpus").tables
    assert all(process.poll() is None for process in processes)
    with make_executor("processes", scheduler=str(file)) as executor:
        assert executor.worker_bytes == 700_000_000
        results = executor.map([partial(square, 2), partial(time.sleep, 60)])
        assert next(results) == (0, 4)
        processes[0].kill()
        with pytest.raises(ExecutionError, match="the connection to the Dask scheduler was lost"):
            next(results)


def wait_until(condition, *, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


CLIENT = """\
import os, sys, time
from functools import partial
from pipeline.cli import app, main
from pipeline.engines.execution import make_executor
from pipeline.session import speaking

def work(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)

@app.command()
def wait():
    with speaking(as_json=False, quiet=True), make_executor("dask", 2) as executor:
        list(executor.map([partial(work, 60), partial(work, 60)]))

if __name__ == "__main__":
    sys.exit(main(["wait"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_client(tmp_path, number):
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as client:
        assert client.stdout is not None
        workers = [int(client.stdout.readline()) for _ in range(2)]
        # Ctrl-C on a terminal reaches the workers, too.
        os.killpg(client.pid, number) if number == signal.SIGINT else os.kill(client.pid, number)
        client.wait(30)
    assert client.returncode == (130 if number == signal.SIGINT else -number)
    assert wait_until(lambda: not any(is_alive(worker) for worker in workers), seconds=20)


FULL = """\
import resource, sys
from pipeline.cli import main
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["serial", "dask"])
def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(ecoli, quickstart, tmp_path, name):
    (tmp_path / "full.py").write_text(FULL)
    command = ["ingest", str(ecoli), "--out", str(tmp_path / "corpus"), "--executor"]
    limited = [sys.executable, str(tmp_path / "full.py"), *command, name]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2
    told = r"^error: .*/corpus/\..*: cannot be written: .*\n\nhint: .*finished files are kept$"
    assert re.search(told, done.stderr, flags=re.MULTILINE)
    assert main([*command, "serial", "--quiet"]) == 0
    assert read_manifest(tmp_path / "corpus").tables == read_manifest(quickstart / "corpus").tables


class Unreadable:
    """A stage for the tests, with one file that cannot be read."""

    kind = "corpus"

    def forthcoming(self):
        return ()

    def describe(self, folder):
        return Run(kind="corpus", configuration={}, inputs=())

    def rounds(self, folder, worker_bytes):
        names = ["a.fasta", "broken.fasta", "c.fasta"]
        tasks = [Task(name=f"read-{name[0]}", function=read, arguments={"path": name}) for name in names]
        yield Round(label="read", tasks=tasks)


def read(folder, *, path):
    if path == "broken.fasta":
        raise OSError(5, "Input/output error")
    return TaskResult()


def test_a_task_that_fails_is_named_with_its_input_and_the_others_are_kept(dask, tmp_path):
    with pytest.raises(ExecutionError) as caught:
        run_stage(Unreadable(), tmp_path / "out", executor=dask)
    assert caught.value.message == (
        f"read(path='broken.fasta'), task read-b of {tmp_path / 'out'}: failed 3 times, at last with OSError: "
        "[Errno 5] Input/output error"
    )
    assert sorted(path.name for path in (tmp_path / "out" / ".tasks").glob("*.json")) == ["read-a.json", "read-c.json"]


def test_an_out_that_a_worker_does_not_see(tmp_path):
    task = Task(name="some", function=square)
    with pytest.raises(ExecutionError, match="not to be seen where a task runs") as caught:
        _perform(task, tmp_path)
    assert "--out on storage that all machines share" in caught.value.hint
