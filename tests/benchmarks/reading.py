"""How fast batches come: the package's reader beside a memory map and the readers of others, same rows, in one run.

    python tests/benchmarks/reading.py [--rows 200000] [--length 1024] [--repeats 3] [--only NAME ...]
        [--workers 0 2] [--python MODULE=PATH ...] [--limit 180] [--work FOLDER] [--json]

Every reader gives batches of 32 rows, shuffled but where the name says otherwise, as torch tensors: input_ids and
sequence_id, int64. «Compact»: they come as narrow as they are stored, and the trainer's thread widens them. Every
figure is from a fresh process pinned to two processors; the repeats of all readers take turns; figures are medians.
Slow readers run once. The memory map is the limit: uncompressed rows, a permutation in memory, a fetch a batch.

Million tokens, padding included, are of an epoch from opening to its last batch. Milliseconds of the trainer's thread,
and of all threads and processes, are for a million tokens. Then seconds to the first batch, from opening the reader;
the same where it goes on from a state kept half-way by another process; and memory at its peak, of all processes, a
page that k of them share counting 1/k in each (see process_tree.py). The rows of one epoch are looked at: each has to
come once; and those of half an epoch after a resume. Bytes on disk are of all that is stored: of shards of this package
accessions and record keys, too.

Peers that are not installed are named: pip install -e '.[bench]'. MosaicML Streaming and LitData ask for versions of
torch and numpy that would replace those that are here: put them into an environment of their own, and say where its
Python is: --python streaming=PATH --python litdata=PATH. Where others use the machine too, processor milliseconds say
more. Linux only.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ingest_report import print_targets
from process_tree import SAMPLE_SECONDS, Usage, measure
from reading_contestants import READERS
from reading_report import Row, print_table, targets

SCRIPT = str(Path(__file__).with_name("reading_contestants.py"))
NUM_CPUS = 2
GLOBAL_BATCH = 64
"""Rows are a multiple of it: a batch for each of two workers."""


class Bench:
    """Runs readers on the rows of one folder."""

    def __init__(self, folder: Path, shape: tuple[int, int], pythons: dict[str, str], limit: float) -> None:
        self.folder, self.pythons, self.limit = folder, pythons, limit
        self.shape = [str(folder), *map(str, shape)]
        self.num_tokens = shape[0] * shape[1]
        self.missing = {python: self.missing_of(python) for python in {sys.executable, *pythons.values()}}
        self.cannot_write: dict[str, str] = {}

    @staticmethod
    def missing_of(python: str) -> set[str]:
        done = subprocess.run([python, SCRIPT, "absent"], check=True, capture_output=True, text=True)
        return set(json.loads(done.stdout))

    def python_of(self, name: str) -> str:
        return next((self.pythons[module] for module in READERS[name].needs if module in self.pythons), sys.executable)

    def row(self, name: str, num_workers: int) -> Row:
        missing = self.missing[self.python_of(name)].intersection(READERS[name].needs)
        absent = f"not installed: {', '.join(sorted(missing))}" if missing else ""
        return Row(name=name, num_workers=num_workers, absent=absent, num_tokens=self.num_tokens)

    def write(self, row: Row) -> None:
        """What a row reads, unless it is there."""
        store = READERS[row.name].store
        path = self.folder / store
        if not row.absent and not path.exists() and store not in self.cannot_write:
            tell(f"writing {store}")
            try:
                self.start(row.name, "write", store, limit=None)
            except RuntimeError as error:
                self.cannot_write[store] = reason_of(error)
        row.absent = row.absent or self.cannot_write.get(store, "")
        if not row.absent:
            row.stored_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.suffix != ".npy")

    def start(
        self, name: str, mode: str, *words: str, limit: float | None, more: Sequence[str] = (), looks: bool = False
    ) -> Usage:
        """A process of reading_contestants.py.

        Raises:
            RuntimeError: It failed, or took too long.
        """
        command = [self.python_of(name), SCRIPT, mode, *words, *self.shape, *more]
        if limit:
            command = ["timeout", f"{limit:g}", *command]
        cpus = sorted(os.sched_getaffinity(0))[-NUM_CPUS:]
        return measure(command, cpus=cpus, sample_seconds=SAMPLE_SECONDS if looks else None)

    def run(self, row: Row, mode: str, *more: str) -> None:
        """One process; a row that fails once is left out, and the others go on."""
        if row.absent:
            return
        words = (row.name, str(row.num_workers))
        try:
            usage = self.start(row.name, mode, *words, limit=self.limit, more=more, looks=mode == "check")
        except RuntimeError as error:
            row.absent = reason_of(error)
            tell(f"{row.name}, {row.num_workers} workers, {mode}: {error}")
            return
        measured = json.loads(usage.output.splitlines()[-1])
        if mode == "check":
            assert usage.memory is not None
            row.check, row.peak_bytes = measured, usage.memory.proportional
        else:
            {"speed": row.epochs, "resume": row.resumes}[mode].append(measured)
        tell(f"{row.name}, {row.num_workers} workers, {mode}: {measured['seconds']:.2f} s")


def reason_of(error: RuntimeError) -> str:
    if ": exit 124:" in str(error):
        return "failed: it took too long"
    return f"failed: {(str(error).splitlines() or ['?'])[-1][:80]}"


def run_all(bench: Bench, rows: Sequence[Row], repeats: int) -> None:
    """Every row as often as asked, in turns; each is checked once."""
    for row in rows:
        bench.write(row)
    for repeat in range(repeats):
        for row in rows:
            if repeat == 0 or not READERS[row.name].is_slow:
                bench.run(row, "speed")
    for row in rows:
        if not READERS[row.name].is_limit:
            bench.run(row, "check")
    for repeat in range(repeats):
        for row in rows:
            is_last = repeat == repeats - 1
            if row.check and row.check["has_state"] and (is_last or not READERS[row.name].is_slow):
                bench.run(row, "resume", *["to-the-end"] * is_last)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=READERS, default=list(READERS), help="readers to run")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--python", action="append", default=[], metavar="MODULE=PATH", help="who has this module")
    parser.add_argument("--limit", type=float, default=180, help="seconds that one process may take")
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure on; by default a temporary one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pythons = dict(word.split("=", 1) for word in options.python)
    num_rows = -(-options.rows // GLOBAL_BATCH) * GLOBAL_BATCH
    folder = Path(tempfile.mkdtemp(dir=options.work))
    os.environ["HF_HOME"] = str(folder / "hugging-face")  # what it keeps goes with the rows
    try:
        bench = Bench(folder, (num_rows, options.length), pythons, options.limit)
        rows = [
            bench.row(name, num_workers)
            for num_workers in options.workers
            for name in options.only
            if not (num_workers and READERS[name].is_limit)
        ]
        bench.start(next(iter(READERS)), "write", "raw", limit=None)
        run_all(bench, rows, options.repeats)
    finally:
        shutil.rmtree(folder)
    found = list(targets(rows))
    if options.json:
        verdicts = [asdict(target) | {"verdict": target.verdict} for target in found]
        print(json.dumps({"rows": [row.figures() for row in rows], "targets": verdicts}, indent=2, ensure_ascii=False))
    else:
        print(f"{num_rows:,} rows of {options.length:,}, batches of 32, medians of {options.repeats}")
        print_table(rows)
        print_targets(found)
    sys.exit(any(row.absent.startswith("failed") for row in rows))


if __name__ == "__main__":
    main()
