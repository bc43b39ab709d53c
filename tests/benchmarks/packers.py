"""How fast and how full rows are packed, in how much memory: this package beside other packers, same lengths, one run.

    python tests/benchmarks/packers.py [--items 1000000] [--capacities 1024 2048] [--repeats 5] [--large 0]
        [--only NAME ...] [--limit 180] [--json]

Lengths are UniRef50-like: lognormal, mu 5.2, sigma 0.85, from 11 to what fits, plus two special tokens. Every figure is
from a fresh process on one processor, and figures are medians; slow packers run once, the slowest with fewer lengths,
and then first-fit decreasing of this package with as many, too. Seconds, of the clock and of the processor, are for
packing alone: imports, compilation and making the input do not count. What a packer says is checked here: every record
has one place and no row is too long. «Lengths only»: it says which lengths share a row, and no record gets a place.

«Over» is rows over the lower bound L2, below which only cut records go. MB is by how much the process grew at its peak,
and what it was given does not count. TRL and grain make and move tokens too, as their users have them do. Peers that
are not installed are named: pip install -e '.[bench]', and seqpacker by itself, since that may have to be built, with
Rust. axolotl, NeMo and Graphcore's packers are written anew from what was published: packing_published.py.

--large 65000000: this package alone with so many, into 1,024, 2,048 and 8,192, and histograms of 2.2 billion, as many
as BFD has. Where others use the machine too, processor seconds say more. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from ingest_report import print_targets
from packing_contestants import LENGTHS_ONLY, OURS, PACKERS
from packing_peers import Lengths
from packing_published import Packed
from packing_report import Row, check_exact, print_table, targets
from process_tree import pinned

LARGE_CAPACITIES = (1024, 2048, 8192)
LARGE_LIMIT = 600
BFD_ITEMS = 2_200_000_000
CHUNK = 1 << 20


def protein_lengths(num_items: int, capacity: int) -> Lengths:
    """uint32 [items], special tokens included."""
    rng = np.random.default_rng(0)
    lengths = np.empty(num_items, dtype=np.uint32)
    for begin in range(0, num_items, CHUNK):
        chunk = lengths[begin : begin + CHUNK]
        chunk[:] = np.clip(rng.lognormal(5.2, 0.85, len(chunk)), 11, capacity - 2).astype(np.uint32) + 2
    return lengths


def all_rows(num_items: int, capacity: int, chosen: Sequence[str]) -> Iterator[Row]:
    """Packers by how many items they can take, and ours with each number of items."""
    for name in chosen:
        if PACKERS[name].most_items is None:
            yield Row(name=name, num_items=num_items, capacity=capacity, absent=PACKERS[name].absent)
    fewer = {name: most for name in chosen if (most := PACKERS[name].most_items)}
    for most in sorted({min(most, num_items) for most in fewer.values()}, reverse=True):
        if most < num_items:
            yield Row(name=OURS, num_items=most, capacity=capacity)
        for name in [name for name, other in fewer.items() if min(other, num_items) == most]:
            yield Row(name=name, num_items=most, capacity=capacity, absent=PACKERS[name].absent)


def large_rows(num_items: int, capacity: int, chosen: Sequence[str]) -> Iterator[Row]:
    """Ours, which concatenates a part at a time only; and with a histogram for more, all that need nothing else."""
    for name in chosen:
        if name.startswith("pipeline") and PACKERS[name].says != "pieces":
            yield Row(name=name, num_items=num_items, capacity=capacity, absent=PACKERS[name].absent)
    scale = -(-BFD_ITEMS // num_items)
    for name in chosen:
        if PACKERS[name].says == LENGTHS_ONLY:
            yield Row(name=name, num_items=num_items, capacity=capacity, scale=scale)


def run_all(rows: Sequence[Row], work: Path, repeats: int, limit: float) -> None:
    """All rows of one capacity, in turns."""
    lengths = protein_lengths(max(row.num_items for row in rows), rows[0].capacity)
    np.save(work / "lengths.npy", lengths)
    for repeat in range(repeats):
        for row in rows:
            if not row.absent and (repeat == 0 or not PACKERS[row.name].is_slow):
                run_once(row, lengths[: row.num_items], work, limit)


def run_once(row: Row, lengths: Lengths, work: Path, limit: float) -> None:
    """One repeat, in a fresh process; a row that fails once is left out, and the others go on."""
    path, out = work / "lengths.npy", work / "out.npz"
    script = Path(__file__).with_name("packing_contestants.py")
    numbers = (row.num_items, row.capacity, row.scale)
    command = [sys.executable, str(script), row.name, str(path), *map(str, numbers), str(out)]
    cpu = max(os.sched_getaffinity(0))
    try:
        with pinned([cpu]):
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        row.seconds, row.absent = [], f"over {limit:g} s"
    except subprocess.CalledProcessError as error:
        row.seconds, row.absent = [], f"failed: {(error.stderr.splitlines() or ['?'])[-1]}"
    else:
        measured = json.loads(done.stdout.splitlines()[-1])
        row.seconds.append(measured["seconds"])
        row.processor_seconds.append(measured["processor_seconds"])
        row.grown.append(measured["grown"])
        with np.load(out) as arrays:
            row.take(Packed(**arrays), lengths)
    tell(f"{row.name}, {row.num_items * row.scale:,} into {row.capacity:,}: {row.absent or f'{row.seconds[-1]:.3f} s'}")


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--capacities", type=int, nargs="*", default=[1024, 2048])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", type=int, default=0, help="items for this package alone; 0: none")
    parser.add_argument("--only", nargs="+", choices=PACKERS, default=list(PACKERS), help="packers to run")
    parser.add_argument("--limit", type=float, default=180, help="seconds that one process may take")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for capacity in options.capacities:
            found = list(all_rows(options.items, capacity, options.only))
            run_all(found, Path(temporary), options.repeats, options.limit)
            rows += found
        for capacity in LARGE_CAPACITIES if options.large else ():
            found = list(large_rows(options.large, capacity, options.only))
            run_all(found, Path(temporary), 1, LARGE_LIMIT)
            rows += found
    check_exact(rows)
    found_targets = list(targets(rows))
    if options.json:
        verdicts = [asdict(target) | {"verdict": target.verdict} for target in found_targets]
        print(json.dumps({"rows": [row.figures() for row in rows], "targets": verdicts}, indent=2, ensure_ascii=False))
    else:
        print_table(rows)
        print_targets(found_targets)
    sys.exit(any(row.absent.startswith("failed") for row in rows))


if __name__ == "__main__":
    main()
