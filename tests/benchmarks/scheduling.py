"""What a run costs that does nothing: a hundred thousand empty tasks, to see whether scheduler and records hold.

    python tests/benchmarks/scheduling.py [--tasks 10000 100000] [--workers 2] [--executors processes dask]
    python tests/benchmarks/scheduling.py --tasks 40 --seconds 2

The second line is for tasks of two seconds, which sleep: how much longer than that the workers need for them.

A stage of one round whose tasks write nothing, run by `run_stage` as every stage is: each task leaves a record of its
completion in .tasks and a line in log.jsonl. Of public corpora BFD has the most, 16,384 in a round.

- run: from the first call to the last record; the run is then broken off, as a kill would, with all tasks finished.
- resume: the same command again: reads the records, writes the manifest, takes the records away. Nothing is run.
- again: a third time, on the finished folder; status: what `pipeline status` reads, before the resume.
- client, scheduler: most memory of the process that runs the stage, and of Dask's scheduler, which is a process of its
  own here, as are the workers: with --executor dask alone it is a part of the client.

Each row is a fresh process. Seconds on the clock with processor seconds of the client in brackets: where the machine is
used by others, too, those are what to compare.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from empty_stage import BrokenOffError, EmptyStage

from pipeline.engines.execution import Executor, make_executor
from pipeline.engines.runner import run_stage
from pipeline.stages.status import status_of

EXECUTORS = ("processes", "dask")
COLUMNS = ("run", "tasks/s", "resume", "again", "status", "client", "scheduler", ".tasks", "log.jsonl")


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds, and processor seconds of this process."""
    begin, processor_begin = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begin, time.process_time() - processor_begin


def run_here(name: str, workers: int, num_tasks: int, seconds: float, folder: Path) -> dict[str, Any]:
    """What a fresh process does for a row."""
    with opened(name, workers, folder.parent) as (executor, scheduler):
        list(executor.map([partial(time.sleep, 0.1)] * workers))  # the start is no part of it

        def break_off() -> None:
            try:
                run_stage(EmptyStage(num_tasks, seconds, is_broken_off=True), folder, executor=executor)
            except BrokenOffError:
                return
            raise AssertionError("the run was not broken off")

        figures: dict[str, Any] = {"run": timed(break_off)}
        records = [path.stat() for path in (folder / ".tasks").iterdir() if path.is_file()]
        assert len(records) == num_tasks
        figures[".tasks"] = 512 * sum(record.st_blocks for record in records)
        figures["status"] = timed(lambda: status_of(folder))
        figures["resume"] = timed(lambda: run_stage(EmptyStage(num_tasks, seconds), folder, executor=executor))
        figures["again"] = timed(lambda: run_stage(EmptyStage(num_tasks, seconds), folder, executor=executor))
        figures["log.jsonl"] = (folder / "log.jsonl").stat().st_size
        figures["client"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figures["scheduler"] = None if scheduler is None else peak_memory(scheduler)
    return figures


@contextmanager
def opened(name: str, workers: int, folder: Path) -> Iterator[tuple[Executor, int | None]]:
    """The executor, and the process id of Dask's scheduler."""
    if name != "dask":
        with make_executor(name, workers) as executor:
            yield executor, None
        return
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_{}", "--scheduler-file", str(file), "--no-dashboard"]
    scheduler, worker = ([part.format(role) for part in dask] for role in ("scheduler", "worker"))
    scheduler += ["--host", "127.0.0.1", "--port", "0"]
    worker += ["--host", "127.0.0.1", "--nthreads", "1", "--nworkers", str(workers), "--memory-limit", "700MB"]
    silent = partial(
        subprocess.Popen,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with silent(scheduler) as serving, silent(worker) as working:
        try:
            while not file.exists():
                time.sleep(0.1)
            with make_executor("dask", scheduler=str(file)) as executor:
                yield executor, serving.pid
        finally:
            working.terminate()
            working.wait(20)
            serving.terminate()


def peak_memory(pid: int) -> int:
    """Bytes; Linux."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def run_row(name: str, options: argparse.Namespace, num_tasks: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=options.work) as temporary:
        row = [name, f"{options.workers}", f"{num_tasks}", f"{options.seconds}", f"{temporary}/out"]
        command = [sys.executable, __file__, "--row", *row]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def cells_of(figures: dict[str, Any], num_tasks: int) -> list[str]:
    def told(column: str) -> str:
        if column == "tasks/s":
            return f"{num_tasks / figures['run'][0]:,.0f}"
        value = figures[column]
        if value is None:
            return ""
        return f"{value / 1e6:,.0f} MB" if not isinstance(value, list) else f"{value[0]:.1f} s ({value[1]:.1f})"

    return [told(column) for column in COLUMNS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--executors", nargs="+", choices=EXECUTORS, default=EXECUTORS)
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure on; by default a temporary one")
    parser.add_argument("--seconds", type=float, default=0.0, help="that each task sleeps")
    parser.add_argument("--row", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        name, workers, num_tasks, seconds, folder = options.row
        print(json.dumps(run_here(name, int(workers), int(num_tasks), float(seconds), Path(folder))))
        return
    print(f"| tasks | executor | {' | '.join(COLUMNS)} |")
    print(f"|{'---|' * (2 + len(COLUMNS))}")
    for num_tasks in options.tasks:
        for name in options.executors:
            cells = cells_of(run_row(name, options, num_tasks), num_tasks)
            print(f"| {num_tasks:,} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
