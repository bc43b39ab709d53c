"""How fast batches come: the reader in both layouts beside a memory map, in one run.

    python tests/benchmarks/reading.py [--rows 200000] [--length 1024] [--rows-per-group 512] [--repeats 3]

Every reader gives shuffled batches of 32 rows as torch tensors, input_ids and sequence_id widened to int64, in this
process. The memory map is the limit: uncompressed tokens and sequence ids, a permutation in memory, a fetch a batch.
Figures are million tokens, padding included: a second, a second of this thread's processor time (what a trainer loses),
and a second of the whole process's; the best of the repeats. Then seconds from opening the dataset to the first batch,
the median.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipeline.config import ShardConfig
from pipeline.core.layout import sequence_ids
from pipeline.core.packing import pack
from pipeline.core.tokenizer import load_tokenizer
from pipeline.formats.manifest import File, make_manifest, write_manifest
from pipeline.formats.shards import ShardMetadata, ShardWriter, shard_name, shard_schema, token_array
from pipeline.streaming.dataset import PackedDataset

BATCH_SIZE = 32
ROWS_PER_SHARD = 16_384
COLUMNS = ("input_ids", "sequence_id")


def row_lengths(num_rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of UniRef50-like segments, packed into about ``num_rows`` rows, and row_offsets."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5.2, 0.85, int(num_rows * length / 240)), 11, length - 2).astype(np.int64) + 2
    row = pack(lengths, capacity=length, algorithm="first-fit-decreasing", seed=0).row
    order = np.argsort(row, kind="stable")
    offsets = np.searchsorted(row[order], np.arange(num_rows + 1))
    return lengths[order][: offsets[-1]].astype(np.uint32), offsets


def shard_tables(num_rows: int, length: int, layout: str, keep: Callable[..., None] | None) -> Iterator[pa.Table]:
    """The rows in tables of ROWS_PER_SHARD."""
    lengths, offsets = row_lengths(num_rows, length)
    rng = np.random.default_rng(1)
    residues = np.frombuffer(b"ALGVESIKRDTPNQFYMHCW", dtype=np.uint8)
    share = np.array(
        [825, 965, 707, 686, 672, 665, 591, 580, 553, 546, 536, 474, 406, 393, 386, 292, 241, 227, 138, 117]
    )
    letters = load_tokenizer("esm2").table[residues].repeat(share)
    for first in range(0, num_rows, ROWS_PER_SHARD):
        last = min(first + ROWS_PER_SHARD, num_rows)
        chosen = slice(offsets[first], offsets[last])
        row_offsets = offsets[first : last + 1] - offsets[first]
        ids = sequence_ids(lengths[chosen], row_offsets, length)
        tokens = letters[rng.integers(0, len(letters), (last - first, length), dtype=np.uint16)]
        tokens[ids < 0] = 1
        if keep is not None:
            keep(first, last, tokens, ids)
        keys = rng.integers(0, 2**63, int(row_offsets[-1])).astype(np.uint64)

        def per_row(values: pa.Array, offsets: np.ndarray = row_offsets) -> pa.Array:
            return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)

        yield pa.table(
            {
                "input_ids": token_array(tokens, layout),
                "sequence_id": token_array(ids, layout),
                "lengths": per_row(pa.array(lengths[chosen])),
                "accessions": per_row(pa.array([f"UniRef50_{key % 10**10:010d}" for key in keys.tolist()])),
                "record_keys": per_row(pa.array(keys)),
                "starts": per_row(pa.array(np.zeros(len(keys), dtype=np.uint32))),
                "num_tokens": pa.array((ids >= 0).sum(axis=1).astype(np.uint32)),
                "num_sequences": pa.array(np.diff(row_offsets).astype(np.uint16)),
            }
        )


def write_shards(
    folder: Path, shape: tuple[int, int], layout: str, rows_per_group: int, keep: Callable[..., None] | None = None
) -> None:
    """A shards folder with one split, of ``shape`` [rows, length]."""
    num_rows, length = shape
    (folder / "data").mkdir(parents=True)
    metadata = ShardMetadata(
        fingerprint="", dtype="uint8", length=length, alignment=1, pad_id=1, num_prefix=1, num_suffix=1, layout=layout
    )
    files = []
    for index, table in enumerate(shard_tables(num_rows, length, layout, keep)):
        name = shard_name("train", index, -(-num_rows // ROWS_PER_SHARD))
        with ShardWriter(folder / name, metadata, rows_per_group=rows_per_group) as writer:
            writer.write(table.cast(shard_schema(metadata)))
        num_bytes = (folder / name).stat().st_size
        files.append(File(path=name, split="train", rows=table.num_rows, bytes=num_bytes, xxh3_64="", content=name))
    configuration = {
        "length": length,
        "alignment": 1,
        "rows_per_group": rows_per_group,
        "tokenizer": load_tokenizer("esm2").document(),
    }
    nothing: dict[str, int] = {}
    manifest = make_manifest(
        "shards",
        configuration=configuration,
        inputs=(),
        files=tuple(files),
        counts=nothing,
        reasons=nothing,
        provenance=(),
    )
    write_manifest(folder, manifest)


class MemoryMap:
    """The limit: nothing to decode, an order held in memory."""

    def __init__(self, folder: Path, num_rows: int, length: int) -> None:
        self.tokens = np.memmap(folder / "tokens.bin", dtype=np.uint8, mode="r", shape=(num_rows, length))
        self.ids = np.memmap(folder / "ids.bin", dtype=np.int16, mode="r", shape=(num_rows, length))

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        order = np.random.default_rng(0).permutation(len(self.tokens))
        for first in range(0, len(order), BATCH_SIZE):
            rows = order[first : first + BATCH_SIZE]
            yield {
                "input_ids": torch.from_numpy(self.tokens[rows]).to(torch.int64),
                "sequence_id": torch.from_numpy(self.ids[rows]).to(torch.int64),
            }


def measure(open_dataset: Callable[[], Any], repeats: int) -> list[float]:
    """Million tokens a second of wall clock, thread and process; seconds to the first batch."""
    clocks = (time.perf_counter, time.thread_time, time.process_time)
    rates, firsts = [], []
    for _ in range(repeats):
        started = [clock() for clock in clocks]
        tokens = 0
        for batch in open_dataset():
            if not tokens:
                firsts.append(time.perf_counter() - started[0])
            tokens += batch["input_ids"].numel()
        rates.append([tokens / (clock() - start) / 1e6 for clock, start in zip(clocks, started, strict=True)])
    return [*(max(column) for column in zip(*rates, strict=True)), statistics.median(firsts)]


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--rows-per-group", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows_per_group = options.rows_per_group or ShardConfig().group_rows(options.length)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shape = (options.rows, options.length)
        tokens = np.memmap(folder / "tokens.bin", dtype=np.uint8, mode="w+", shape=shape)
        ids = np.memmap(folder / "ids.bin", dtype=np.int16, mode="w+", shape=shape)

        def keep(first: int, last: int, new_tokens: np.ndarray, new_ids: np.ndarray) -> None:
            tokens[first:last], ids[first:last] = new_tokens, new_ids

        write_shards(folder / "list", shape, "list", rows_per_group, keep)
        write_shards(folder / "binary", shape, "binary", rows_per_group)
        print(f"{options.rows:,} rows of {options.length:,}, row groups of {rows_per_group}, batch {BATCH_SIZE}")
        print(f"{'reader':<20}{'Mtokens/s':>12}{'/s of thread':>14}{'/s of process':>15}{'first batch s':>15}")
        readers: dict[str, Callable[[], Any]] = {"memory map": lambda: MemoryMap(folder, *shape)}
        for layout in ("binary", "list"):
            for threads in (1, 2):
                readers[f"{layout}, {threads} thread{'s' * (threads > 1)}"] = lambda layout=layout, threads=threads: (
                    PackedDataset(
                        folder / layout, rank=0, world_size=1, batch_size=BATCH_SIZE, columns=COLUMNS, threads=threads
                    )
                )
        for name, open_dataset in readers.items():
            wall, thread, process, first = measure(open_dataset, options.repeats)
            print(f"{name:<20}{wall:>12.0f}{thread:>14.0f}{process:>15.0f}{first:>15.3f}")


if __name__ == "__main__":
    main()
