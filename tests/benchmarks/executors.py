"""Processes beside Dask on one machine: the same stages, the same bytes, and what Dask costs.

    python tests/benchmarks/executors.py [--records 1000000 …] [--workers 1 2] [--repeats 1] [--work FOLDER] [--json]

The input is what generate.py makes, as plain FASTA. Each row is a fresh process: it starts its workers, which is a
column by itself, then runs ingest, pack and shard, one after the other, on that executor. The rows of one size take
turns; figures are medians of the repeats. «a task» is seconds of the workers for each task, all stages together: what
Dask costs is a matter of how short tasks are, and «a call» says what an empty one costs. «× processes» compares ingest,
pack and shard with those of as many processes; «µs a record» is to be the same for every size.

One worker of `processes` is the process itself; one of Dask has scheduler and client beside it. Where the machine is
used by others, too, compare the rows of one run only. Shards of all rows have to have one fingerprint.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from generate import write_fasta

from pipeline.config import IngestConfig, PackConfig, ShardConfig
from pipeline.engines.execution import Executor, make_executor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher, Stage
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.pack.stage import Pack
from pipeline.stages.shard import Shard

EXECUTORS = ("processes", "dask")
NUM_EMPTY_CALLS = 500
COLUMNS = ("start", "ingest", "pack", "shard")


@dataclass
class Row:
    """One executor, one number of workers, one number of records."""

    executor: str
    workers: int
    records: int
    runs: list[dict[str, float]] = field(default_factory=list)
    fingerprint: str = ""

    def median(self, name: str) -> float:
        """Of a figure, over the repeats."""
        return statistics.median(run[name] for run in self.runs)

    @property
    def stages(self) -> float:
        """Seconds of ingest, pack and shard."""
        return statistics.median(run["ingest"] + run["pack"] + run["shard"] for run in self.runs)


class Counter(SilentWatcher):
    """Counts tasks."""

    num_tasks = 0

    def task_finished(self, name: str, result: object) -> None:
        self.num_tasks += 1


def run_here(executor_name: str, workers: int, fasta: Path, out: Path) -> dict[str, float | str]:
    """What a fresh process does for a row."""
    begin = time.perf_counter()
    with make_executor(executor_name, workers) as executor:
        # As many as there are workers, and longer than a start, so that each of them has had one.
        list(executor.map([partial(time.sleep, 0.1)] * workers))
        figures: dict[str, float | str] = {"start": time.perf_counter() - begin}
        figures["call"] = seconds_of_empty_calls(executor)
        counter = Counter()
        stages: dict[str, Callable[[], Stage]] = {
            "ingest": lambda: Ingest(IngestConfig(files=(str(fasta),))),
            "pack": lambda: Pack(out / "ingest", PackConfig()),
            "shard": lambda: Shard(out / "pack", ShardConfig()),
        }
        for name, stage in stages.items():
            begin = time.perf_counter()
            outcome = run_stage(stage(), out / name, executor=executor, watcher=counter)
            figures[name] = time.perf_counter() - begin
    return figures | {"tasks": counter.num_tasks, "fingerprint": outcome.manifest.fingerprint}


def seconds_of_empty_calls(executor: Executor) -> float:
    begin = time.perf_counter()
    assert len(list(executor.map([partial(abs, -1)] * NUM_EMPTY_CALLS))) == NUM_EMPTY_CALLS
    return (time.perf_counter() - begin) / NUM_EMPTY_CALLS


def run_row(row: Row, fasta: Path, work: Path) -> None:
    out = work / "out"
    command = [sys.executable, __file__, "--row", row.executor, str(row.workers), str(fasta), str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    shutil.rmtree(out)
    figures = json.loads(done.stdout)
    row.fingerprint = figures.pop("fingerprint")
    row.runs.append(figures)
    seconds = ", ".join(f"{name} {figures[name]:.2f} s" for name in COLUMNS)
    print(f"{row.executor}, {row.workers} workers, {row.records:,} records: {seconds}", file=sys.stderr, flush=True)


def print_table(rows: list[Row]) -> None:
    print("| records | executor | workers | start s | ingest s | pack s | shard s | together s | × processes "
          "| µs a record | tasks | s a task | ms a call |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        base = next(
            other
            for other in rows
            if (other.executor, other.workers, other.records) == ("processes", row.workers, row.records)
        )
        tasks = row.median("tasks")
        cells = [f"{row.records:,}", row.executor, f"{row.workers}"]
        cells += [f"{row.median(name):.2f}" for name in COLUMNS]
        cells += [f"{row.stages:.2f}", f"{row.stages / base.stages:.2f}", f"{1e6 * row.stages / row.records:.1f}"]
        cells += [f"{tasks:.0f}", f"{row.stages * row.workers / tasks:.2f}", f"{1e3 * row.median('call'):.1f}"]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure on; by default a temporary one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--row", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        name, workers, fasta, out = options.row
        print(json.dumps(run_here(name, int(workers), Path(fasta), Path(out))))
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=options.work) as temporary:
        for records in options.records:
            fasta = Path(temporary) / f"{records}.fasta"
            write_fasta(fasta, records)
            group = [Row(name, workers, records) for workers in options.workers for name in EXECUTORS]
            for _ in range(options.repeats):
                for row in group:
                    run_row(row, fasta, Path(temporary))
            assert len({row.fingerprint for row in group}) == 1, "fingerprints differ"
            rows += group
            fasta.unlink()
    print(json.dumps([asdict(row) for row in rows], indent=2)) if options.json else print_table(rows)


if __name__ == "__main__":
    main()
