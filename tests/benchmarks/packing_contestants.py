"""The packers that packers.py runs, each as a user would call it. Measures one of them, in this process:

    python tests/benchmarks/packing_contestants.py NAME LENGTHS.npy ITEMS CAPACITY SCALE OUT.npz

A packer is a generator with two bare yields. What stands between them is measured; before the first it imports, makes
its input and runs once on a thousand lengths, so that numba compiles and numpy is loaded; behind the second its result
is brought into the one form, ``Packed``. SCALE, for those that look at the histogram only: every length so many times.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from packing_peers import (
    FEW,
    Lengths,
    Run,
    axolotl,
    axolotl_sorted,
    grain,
    graphcore,
    graphcore_dealt,
    nemo,
    offsets_of,
    seqpacker,
    trl,
)
from packing_published import Packed, as_packed

from pipeline.core.bins import Fills, best_fit_decreasing, first_fit_decreasing
from pipeline.core.concatenation import carries_separator, concatenate
from pipeline.core.packing import MAX_SEGMENTS, Algorithm, length_histogram, pack


@dataclass(frozen=True, slots=True, kw_only=True)
class Packer:
    """A packer and what is asked of it."""

    run: Callable[[Lengths, int, int], Run]
    """From lengths, capacity and scale."""
    says: str = "places"
    """What it hands out: places of whole records, places of pieces, or lengths only."""
    needs: tuple[str, ...] = ()
    """Modules."""
    is_slow: bool = False
    """One repeat is enough."""
    most_items: int | None = None
    """It would take too long with more."""

    @property
    def absent(self) -> str:
        """Why it cannot run here; nothing if it can."""
        missing = [module for module in self.needs if find_spec(module) is None]
        return f"not installed: {', '.join(missing)}" if missing else ""


def pipeline_packs(algorithm: str | Algorithm) -> Callable[[Lengths, int, int], Run]:
    def run(lengths: Lengths, capacity: int, _: int) -> Run:
        pack(lengths[:FEW], capacity, algorithm=algorithm)
        yield
        placement = pack(lengths, capacity, algorithm=algorithm, seed=0)
        yield
        return Packed(members=placement.order, offsets=placement.row_offsets)

    return run


def pipeline_optimal(lengths: Lengths, capacity: int, _: int) -> Run:
    import scipy.optimize
    import scipy.sparse  # noqa: F401  (as part of the imports)

    from pipeline.engines.optimal_packing import optimal

    pack(lengths[:FEW], capacity)
    yield
    placement = pack(lengths, capacity, algorithm=optimal, seed=0)
    yield
    return Packed(members=placement.order, offsets=placement.row_offsets)


def pipeline_concatenates(lengths: Lengths, capacity: int, _: int) -> Run:
    """The separator after each record is one of its tokens."""
    residues = lengths - 1
    concatenate(residues[:FEW], capacity, seed=0)
    yield
    placed = concatenate(residues, capacity, seed=0)
    yield
    is_end = placed.start + placed.length == residues[placed.record]
    tokens = placed.length + carries_separator(placed.row, placed.length, is_end, capacity)
    return Packed(members=placed.record, offsets=offsets_of(placed.row), tokens=tokens)


def pipeline_histogram(algorithm: Algorithm) -> Callable[[Lengths, int, int], Run]:
    def run(lengths: Lengths, capacity: int, scale: int) -> Run:
        algorithm(length_histogram(lengths[:FEW], capacity), capacity, MAX_SEGMENTS)
        yield
        fills = algorithm(length_histogram(lengths, capacity) * scale, capacity, MAX_SEGMENTS)
        yield
        return packed_fills(fills)

    return run


def packed_fills(fills: Fills) -> Packed:
    """Bins between two borders of fills are alike."""
    last = fills.first_bin + fills.num_bins
    borders = np.unique(np.concatenate((fills.first_bin, last)))
    held: list[list[int]] = [[] for _ in borders[1:]]
    begins, ends = np.searchsorted(borders, fills.first_bin), np.searchsorted(borders, last)
    columns = (fills.length, fills.per_bin, begins, ends)
    for length, per_bin, begin, end in zip(*(column.tolist() for column in columns), strict=True):
        for number in range(begin, end):
            held[number] += [length] * per_bin
    return as_packed(list(zip(held, np.diff(borders).tolist(), strict=True)))


OURS = "pipeline, first-fit decreasing"
RIVAL = "Graphcore LPFHP, dealt by length"
LENGTHS_ONLY = "lengths only"
EXACT = (OURS, "axolotl, one sorted group", "NeMo first-fit decreasing")
"""First-fit decreasing as the textbook has it: with the same lengths, as many rows."""
PACKERS: dict[str, Packer] = {
    OURS: Packer(run=pipeline_packs("first-fit-decreasing")),
    "pipeline, best-fit decreasing": Packer(run=pipeline_packs("best-fit-decreasing")),
    "pipeline, optimal": Packer(run=pipeline_optimal, needs=("scipy",), is_slow=True),
    "pipeline, concatenate": Packer(run=pipeline_concatenates, says="pieces"),
    "pipeline, histogram, first fit": Packer(run=pipeline_histogram(first_fit_decreasing), says=LENGTHS_ONLY),
    "pipeline, histogram, best fit": Packer(run=pipeline_histogram(best_fit_decreasing), says=LENGTHS_ONLY),
    "Graphcore SPFHP": Packer(run=graphcore(longest_first=False), says=LENGTHS_ONLY),
    "Graphcore LPFHP": Packer(run=graphcore(longest_first=True), says=LENGTHS_ONLY),
    RIVAL: Packer(run=graphcore_dealt),
    "seqpacker obfd": Packer(run=seqpacker("obfd"), needs=("seqpacker",)),
    "seqpacker ffd": Packer(run=seqpacker("ffd"), needs=("seqpacker",)),
    "axolotl, as shipped": Packer(run=axolotl, needs=("numba",), is_slow=True),
    "axolotl, one sorted group": Packer(run=axolotl_sorted, needs=("numba",), is_slow=True, most_items=100_000),
    "TRL bfd, by thousands": Packer(run=trl("bfd", is_whole=False), needs=("trl",), is_slow=True),
    "TRL bfd, one batch": Packer(run=trl("bfd", is_whole=True), needs=("trl",), is_slow=True),
    "grain first fit, 64 rows": Packer(run=grain, needs=("grain",), is_slow=True, most_items=100_000),
    "NeMo first-fit decreasing": Packer(run=nemo, is_slow=True, most_items=10_000),
}


def peak_bytes() -> int:
    """Most memory this process had since it was reset. Not ru_maxrss, which begins at what the parent had."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def main() -> None:
    name, path, num_items, capacity, scale, out = sys.argv[1:]
    lengths = np.load(path)[: int(num_items)]
    steps = PACKERS[name].run(lengths, int(capacity), int(scale))
    next(steps)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is held now: man 5 proc
    before, begin, begin_processor = peak_bytes(), time.perf_counter(), time.process_time()
    next(steps)
    seconds, processor_seconds = time.perf_counter() - begin, time.process_time() - begin_processor
    grown = peak_bytes() - before
    try:
        next(steps)
    except StopIteration as stop:
        packed: Packed = stop.value
    arrays = {name: getattr(packed, name) for name in ("members", "offsets", "counts", "tokens")}
    np.savez(out, **{name: array for name, array in arrays.items() if array is not None})
    print(json.dumps({"seconds": seconds, "processor_seconds": processor_seconds, "grown": grown}))


if __name__ == "__main__":
    main()
