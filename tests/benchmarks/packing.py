"""How fast and how full rows are packed: this package beside the textbook loop and TRL, same lengths, in one run.

    python tests/benchmarks/packing.py [--items 1000000] [--capacities 1024 2048 8192] [--repeats 5] [--skip-trl]

Lengths are UniRef50-like: lognormal, mu 5.2, sigma 0.85, clipped to 11 … 1,022, plus two special tokens. Every repeat
is a process of its own, and figures are medians: seconds to pack, every item handed to its place; seconds of the whole
process, starting Python and reading the lengths included; how full the rows are; rows over the lower bound; bytes an
item by which the process grew. TRL packs all lengths as one batch and moves the tokens as well. The last lines are the
layout: plan and residues to input_ids and sequence_id.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.core.bins import first_fit_decreasing
from pipeline.core.layout import lay_out
from pipeline.core.packing import MAX_SEGMENTS, length_histogram, lower_bound, pack

TEXTBOOK_ITEMS = 20_000
LAYOUT_ITEMS = 250_000
CHUNK = 1 << 20
WIDTHS = (13, 8, 10, 10, 12, 9, 9, 8)
Lengths = np.ndarray[tuple[int], np.dtype[np.uint32]]


def protein_lengths(num_items: int) -> Lengths:
    rng = np.random.default_rng(0)
    lengths = np.empty(num_items, dtype=np.uint32)
    for begin in range(0, num_items, CHUNK):
        chunk = lengths[begin : begin + CHUNK]
        chunk[:] = np.clip(rng.lognormal(5.2, 0.85, len(chunk)), 11, 1022).astype(np.uint32) + 2
    return lengths


def pack_ours(lengths: Lengths, capacity: int) -> int:
    return pack(lengths, capacity, seed=0).num_rows


def pack_histogram(lengths: Lengths, capacity: int) -> int:
    return first_fit_decreasing(length_histogram(lengths, capacity), capacity, MAX_SEGMENTS).total_bins


def pack_textbook(lengths: Lengths, capacity: int) -> int:
    free: list[int] = []
    for length in np.sort(lengths)[::-1].tolist():
        for number, space in enumerate(free):
            if space >= length:
                free[number] -= length
                break
        else:
            free.append(capacity - length)
    return len(free)


def pack_trl(lengths: Lengths, capacity: int) -> int:
    import pyarrow as pa
    from datasets import Dataset, disable_progress_bars
    from trl import pack_dataset

    disable_progress_bars()
    tokens = pa.array(np.zeros(int(lengths.sum()), dtype=np.uint8))
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int32)
    dataset = Dataset(pa.table({"input_ids": pa.ListArray.from_arrays(pa.array(offsets), tokens)}))
    begin = time.perf_counter()
    packed = pack_dataset(dataset, capacity, strategy="bfd", map_kwargs={"batch_size": len(dataset)})
    SECONDS_OF_CALL.append(time.perf_counter() - begin)
    return len(packed)


PACKERS: dict[str, Callable[[Lengths, int], int]] = {
    "pipeline": pack_ours,
    "pipeline, histogram part": pack_histogram,
    "textbook loop": pack_textbook,
    "TRL bfd": pack_trl,
}
SECONDS_OF_CALL: list[float] = []
"""What a packer measured itself, where making its input must not count."""


def peak_bytes() -> int:
    """Most memory this process had so far. Not ru_maxrss, which begins at what the parent had."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024


def measure_here(packer: str, path: str, capacity: int, num_items: int) -> None:
    """One repeat, in this process: prints what it measured."""
    lengths = np.load(path)[:num_items]
    pack_histogram(lengths[:1000], capacity)  # first calls load parts of numpy
    before, begin = peak_bytes(), time.perf_counter()
    num_rows = PACKERS[packer](lengths, capacity)
    seconds = SECONDS_OF_CALL[0] if SECONDS_OF_CALL else time.perf_counter() - begin
    grown = (peak_bytes() - before) / num_items
    print(json.dumps({"seconds": seconds, "rows": num_rows, "grown": grown}))


def measure(packer: str, path: Path, capacity: int, num_items: int, repeats: int) -> dict[str, float]:
    """Medians over processes."""
    results = []
    for _ in range(repeats):
        command = [sys.executable, __file__, "--measure", packer, str(path), str(capacity), str(num_items)]
        begin = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        process = time.perf_counter() - begin
        results.append(json.loads(done.stdout.splitlines()[-1]) | {"process": process})
    return {name: statistics.median(result[name] for result in results) for name in results[0]}


def print_row(packer: str, capacity: int, lengths: Lengths, result: dict[str, float]) -> None:
    rows, tokens = int(result["rows"]), int(lengths.sum())
    bound = lower_bound(length_histogram(lengths, capacity), capacity)
    print(
        f"{packer:26}{len(lengths):>13,}{capacity:>8,}{result['seconds']:>10.3f}{result['process']:>10.2f}"
        f"{rows:>12,}{100 * tokens / capacity / rows:>9.3f}{rows - bound:>9,}{result['grown']:>8.1f}"
    )


def bench_packing(num_items: int, capacities: list[int], repeats: int, *, trl: bool) -> None:
    titles = ("items", "row", "pack s", "process s", "rows", "full %", "over", "B/item")
    print(f"{'packer':26}" + "".join(f"{title:>{width}}" for title, width in zip(titles, WIDTHS, strict=True)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lengths.npy")
        lengths = protein_lengths(num_items)
        np.save(path, lengths)
        few = lengths[:TEXTBOOK_ITEMS]
        for capacity in capacities:
            for packer in ("pipeline", "pipeline, histogram part"):
                print_row(packer, capacity, lengths, measure(packer, path, capacity, num_items, repeats))
            if trl:
                print_row("TRL bfd", capacity, lengths, measure("TRL bfd", path, capacity, num_items, 1))
            ours, textbook = (measure(packer, path, capacity, len(few), 1) for packer in ("pipeline", "textbook loop"))
            print_row("pipeline", capacity, few, ours)
            print_row("textbook loop", capacity, few, textbook)
            assert ours["rows"] == textbook["rows"], "first-fit decreasing is not exact"
    if not trl:
        print("TRL bfd: absent (not installed, or skipped)")


def bench_layout(capacity: int, repeats: int) -> None:
    """A thousand rows at a time."""
    lengths = protein_lengths(LAYOUT_ITEMS).astype(np.int64) - 2
    placement, seconds = pack(lengths + 2, capacity), []
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    residues = np.random.default_rng(1).integers(65, 91, offsets[-1]).astype(np.uint8)
    row, record = np.sort(placement.row).astype(np.int64), placement.order
    for _ in range(repeats):
        begin = time.perf_counter()
        for first in range(0, placement.num_rows, 1000):
            last = min(first + 1000, placement.num_rows)
            chosen = slice(placement.row_offsets[first], placement.row_offsets[last])
            lay_out(
                residues,
                offsets,
                row=row[chosen] - first,
                record=record[chosen],
                start=np.zeros_like(record[chosen]),
                length=lengths[record[chosen]],
                num_rows=last - first,
                row_length=capacity,
                table=np.arange(256, dtype=np.uint8),
                prefix=(0,),
                suffix=(2,),
                pad_id=1,
            )
        seconds.append(time.perf_counter() - begin)
    speed = placement.num_rows * capacity / statistics.median(seconds) / 1e6
    print(f"layout, {placement.num_rows:,} rows of {capacity:,}: {speed:,.0f} million tokens/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--capacities", type=int, nargs="+", default=[1024, 2048, 8192])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip-trl", action="store_true")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        packer, path, capacity, num_items = arguments.measure
        measure_here(packer, path, int(capacity), int(num_items))
        return
    trl = not arguments.skip_trl and importlib.util.find_spec("trl") is not None
    bench_packing(arguments.items, arguments.capacities, arguments.repeats, trl=trl)
    for capacity in arguments.capacities:
        bench_layout(capacity, arguments.repeats)


if __name__ == "__main__":
    main()
