"""Executors give the same results, pass errors on, and end when their parent does."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pipeline.engines.execution import EXECUTORS, ProcessExecutor, make_executor
from pipeline.engines.resources import granted_cpus
from pipeline.errors import ConfigurationError, ExecutionError, InputFormatError


def square(number):
    return number * number


def refuse(path):
    raise InputFormatError(f"{path}: expected something else", hint="look at it")


def own_process(_):
    time.sleep(0.05)
    return os.getpid()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def thread_caps():
    import pyarrow as pa

    return pa.cpu_count(), os.environ["POLARS_MAX_THREADS"]


@pytest.fixture(scope="module")
def processes():
    with ProcessExecutor(2) as executor:
        yield executor


@pytest.mark.parametrize("name", EXECUTORS)
def test_every_call_is_run_once(name):
    with make_executor(name, 2) as executor:
        results = dict(executor.map([partial(square, number) for number in range(7)]))
    assert results == {number: number * number for number in range(7)}


def test_workers_start_before_there_is_work():
    with ProcessExecutor(2) as executor:
        executor.warm_up([])
        assert multiprocessing.active_children() == []
        executor.warm_up([square])
        assert len(multiprocessing.active_children()) == 2
        assert dict(executor.map([partial(square, 2), partial(square, 3)])) == {0: 4, 1: 9}


def test_no_calls_give_no_results(processes):
    assert list(processes.map([])) == []


def test_calls_run_in_other_processes(processes):
    owners = {result for _, result in processes.map([partial(own_process, index) for index in range(8)])}
    assert os.getpid() not in owners
    assert 1 <= len(owners) <= 2


def test_one_call_needs_no_process(processes):
    assert list(processes.map([os.getpid])) == [(0, os.getpid())]


class Handed(list):
    """Calls, and how many of them were asked for."""

    number = 0

    def __iter__(self):
        for call in super().__iter__():
            self.number += 1
            yield call


def test_of_many_calls_few_are_handed_over(processes):
    calls = Handed([partial(square, number) for number in range(500)])
    results = processes.map(calls)
    first = next(results)
    assert calls.number <= 20, "what is done costs more with each call that waits for it"
    assert dict([first, *results]) == {number: number * number for number in range(500)}


def test_an_error_crosses_the_border_with_its_hint(processes):
    with pytest.raises(InputFormatError, match=r"x\.fasta: expected something else") as caught:
        list(processes.map([partial(refuse, "x.fasta"), partial(square, 2)]))
    assert caught.value.hint == "look at it"


def test_workers_cap_their_threads(processes):
    share = max(1, granted_cpus() // 2)
    for _, (arrow, polars) in processes.map([thread_caps, thread_caps]):
        assert (arrow, polars) == (share, str(share))


def test_a_killed_worker_is_told_and_the_executor_goes_on():
    with ProcessExecutor(2) as executor:
        with pytest.raises(ExecutionError, match="a worker process died") as caught:
            list(executor.map([die, partial(square, 1)]))
        assert "--workers" in caught.value.hint
        assert dict(executor.map([partial(square, 2), partial(square, 3)])) == {0: 4, 1: 9}


def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from functools import partial\n"
        "from pipeline.engines.execution import ProcessExecutor\n"
        "def work(seconds):\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(seconds)\n"
        "if __name__ == '__main__':\n"
        "    with ProcessExecutor(2) as executor:\n"
        "        list(executor.map([partial(work, 60), partial(work, 60)]))\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
    assert wait_until(lambda: not any(is_alive(worker) for worker in workers), seconds=20)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, *, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("name", "workers"), [("threads", 2), ("serial", 0), ("processes", -1)])
def test_a_wrong_argument_is_a_configuration_error(name, workers):
    with pytest.raises(ConfigurationError, match="expected"):
        make_executor(name, workers)


def test_slurm_limits_the_processors(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert granted_cpus() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "100000")
    assert granted_cpus() <= (os.cpu_count() or 1)


def stamp(folder, number):
    """Whoever runs beside this call leaves a file at the same time."""
    mine = folder / f"{number}"
    mine.touch()
    time.sleep(0.05)
    beside = len(list(folder.iterdir()))
    mine.unlink()
    return beside


@pytest.mark.parametrize(("memory", "most"), [(None, 3), (900, 2), (500, 1)])
def test_no_more_calls_run_at_once_than_memory_holds(tmp_path, memory, most):
    executor = ProcessExecutor(3, 400_000_000, None if memory is None else memory * 10**6)
    with executor:
        found = dict(executor.map([partial(stamp, tmp_path, number) for number in range(12)], task_bytes=350_000_000))
    assert sorted(found) == list(range(12))
    assert max(found.values()) <= most
    assert most != 1 or max(found.values()) == 1


@pytest.mark.parametrize("name", EXECUTORS)
def test_a_call_that_does_not_fit_is_refused_before_any_runs(name):
    with make_executor(name, 1, 600_000_000) as executor, pytest.raises(ConfigurationError, match="about 700 MB"):
        list(executor.map([die], task_bytes=700_000_000))
