"""How fast packed rows are laid out: plan and residues to input_ids and sequence_id, a thousand rows at a time.

    python tests/benchmarks/laying_out.py [--items 250000] [--capacities 1024 2048 8192] [--repeats 5]

Lengths are those of packers.py. In this process; figures are medians.
"""

import argparse
import statistics
import time

import numpy as np
from packers import protein_lengths

from pipeline.core.layout import lay_out
from pipeline.core.packing import pack

ROWS_AT_A_TIME = 1000


def bench_layout(num_items: int, capacity: int, repeats: int) -> None:
    lengths = protein_lengths(num_items, capacity).astype(np.int64) - 2
    placement, seconds = pack(lengths + 2, capacity), []
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    residues = np.random.default_rng(1).integers(65, 91, offsets[-1]).astype(np.uint8)
    row, record = placement.ordered_row().astype(np.int64), placement.order
    for _ in range(repeats):
        begin = time.perf_counter()
        for first in range(0, placement.num_rows, ROWS_AT_A_TIME):
            last = min(first + ROWS_AT_A_TIME, placement.num_rows)
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
    print(f"{placement.num_rows:,} rows of {capacity:,}: {speed:,.0f} million tokens/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=250_000)
    parser.add_argument("--capacities", type=int, nargs="+", default=[1024, 2048, 8192])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for capacity in options.capacities:
        bench_layout(options.items, capacity, options.repeats)


if __name__ == "__main__":
    main()
