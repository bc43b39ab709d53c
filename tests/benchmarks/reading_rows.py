"""The rows of reading.py: UniRef50-like, packed, as plain arrays and as shards of this package.

::

    FOLDER/raw/tokens.bin   uint8 [rows, length]
    FOLDER/raw/ids.bin      int16 [rows, length], -1 where padding is
    FOLDER/raw/keys.npy     int64 [rows], of every row, sorted: a sum over both columns that tells rows apart
    FOLDER/list             shards, layout list
    FOLDER/binary           shards, layout binary
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROWS_PER_SHARD = 16_384
LAYOUTS = ("list", "binary")

Shape = tuple[int, int]
"""Rows and tokens of a row."""


def row_keys(tokens: npt.NDArray[Any], ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """int64 [rows] of two arrays [rows, length]; the type of their integers makes no difference."""
    weights = np.random.default_rng(7).integers(-(2**62), 2**62, (2, tokens.shape[1]))
    return np.asarray((tokens * weights[0] + ids * weights[1]).sum(axis=1))


def open_raw(folder: Path, shape: Shape, mode: Any = "r") -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    """Tokens and sequence ids, mapped into memory."""
    raw = folder / "raw"
    tokens = np.memmap(raw / "tokens.bin", dtype=np.uint8, mode=mode, shape=shape)
    return tokens, np.memmap(raw / "ids.bin", dtype=np.int16, mode=mode, shape=shape)


def write_rows(folder: Path, shape: Shape) -> None:
    """Everything in ``folder`` but the formats of others."""
    from pipeline.config import ShardConfig

    (folder / "raw").mkdir()
    tokens, ids = open_raw(folder, shape, "w+")
    keys = []
    writers = [ShardsOfLayout(folder / layout, shape, layout, ShardConfig().group_rows(shape[1])) for layout in LAYOUTS]
    for first, rows in tables(shape):
        chosen = slice(first, first + len(rows["input_ids"]))
        tokens[chosen], ids[chosen] = rows["input_ids"], rows["sequence_id"]
        keys.append(row_keys(rows["input_ids"], rows["sequence_id"]))
        for writer in writers:
            writer.write(rows)
    for writer in writers:
        writer.finish()
    keys_of_all = np.sort(np.concatenate(keys))
    assert len(np.unique(keys_of_all)) == shape[0], "two rows have the same key"
    np.save(folder / "raw" / "keys.npy", keys_of_all)


def row_lengths(shape: Shape) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Lengths of UniRef50-like segments, packed into rows, and row_offsets."""
    from pipeline.core.packing import pack

    num_rows, length = shape
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(5.2, 0.85, int(num_rows * length / 240) + 1000)
    lengths = np.clip(drawn, 11, length - 2).astype(np.int64) + 2
    row = pack(lengths, capacity=length, algorithm="first-fit-decreasing", seed=0).row
    order = np.argsort(row, kind="stable")
    offsets = np.searchsorted(row[order], np.arange(num_rows + 1))
    return lengths[order][: offsets[-1]].astype(np.uint32), offsets


def tables(shape: Shape) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of the first row and the columns of a shard, ROWS_PER_SHARD rows at a time."""
    from pipeline.core.layout import sequence_ids
    from pipeline.core.tokenizer import load_tokenizer

    lengths, offsets = row_lengths(shape)
    num_rows, length = shape
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
        keys = rng.integers(0, 2**63, int(row_offsets[-1])).astype(np.uint64)
        columns = {"input_ids": tokens, "sequence_id": ids, "row_offsets": row_offsets, "lengths": lengths[chosen]}
        yield first, columns | {"record_keys": keys}


class ShardsOfLayout:
    """A shards folder with one split."""

    def __init__(self, folder: Path, shape: Shape, layout: str, rows_per_group: int) -> None:
        from pipeline.formats.shards import ShardMetadata

        (folder / "data").mkdir(parents=True)
        self.folder, self.rows_per_group = folder, rows_per_group
        self.files: list[Any] = []
        self.num_shards = -(-shape[0] // ROWS_PER_SHARD)
        self.metadata = ShardMetadata(
            fingerprint="",
            dtype="uint8",
            length=shape[1],
            alignment=1,
            pad_id=1,
            num_prefix=1,
            num_suffix=1,
            layout=layout,
        )

    def write(self, rows: dict[str, Any]) -> None:
        """One shard."""
        from pipeline.formats.manifest import File
        from pipeline.formats.shards import ShardWriter, shard_name

        name = shard_name("train", len(self.files), self.num_shards)
        with ShardWriter(self.folder / name, self.metadata, rows_per_group=self.rows_per_group) as writer:
            writer.write(self.table(rows))
        num_bytes = (self.folder / name).stat().st_size
        num_rows = len(rows["input_ids"])
        self.files.append(File(path=name, split="train", rows=num_rows, bytes=num_bytes, xxh3_64="", content=name))

    def table(self, rows: dict[str, Any]) -> Any:
        import pyarrow as pa

        from pipeline.formats.shards import shard_schema, token_array

        row_offsets = pa.array(rows["row_offsets"].astype(np.int32))

        def per_row(values: Any) -> Any:
            return pa.ListArray.from_arrays(row_offsets, pa.array(values))

        keys, layout = rows["record_keys"], self.metadata.layout
        columns = {
            "input_ids": token_array(rows["input_ids"], layout),
            "sequence_id": token_array(rows["sequence_id"], layout),
            "lengths": per_row(rows["lengths"]),
            "accessions": per_row([f"UniRef50_{key % 10**10:010d}" for key in keys.tolist()]),
            "record_keys": per_row(keys),
            "starts": per_row(np.zeros(len(keys), dtype=np.uint32)),
            "num_tokens": pa.array((rows["sequence_id"] >= 0).sum(axis=1).astype(np.uint32)),
            "num_sequences": pa.array(np.diff(rows["row_offsets"]).astype(np.uint16)),
        }
        return pa.table(columns).cast(shard_schema(self.metadata))

    def finish(self) -> None:
        """Write the manifest."""
        from pipeline.core.tokenizer import load_tokenizer
        from pipeline.formats.manifest import make_manifest, write_manifest

        configuration = {
            "length": self.metadata.length,
            "alignment": 1,
            "rows_per_group": self.rows_per_group,
            "tokenizer": load_tokenizer("esm2").document(),
        }
        nothing: dict[str, int] = {}
        manifest = make_manifest(
            "shards",
            configuration=configuration,
            inputs=(),
            files=tuple(self.files),
            counts=nothing,
            reasons=nothing,
            provenance=(),
        )
        write_manifest(self.folder, manifest)
