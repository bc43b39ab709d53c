"""Small shards folders, written with the writer of the package and a manifest of their own.

Row i of a split has 1 to 4 segments; the record key of its first segment is i (counted from ``first_key``), so that
every row can be told by ``record_keys``. The other keys are beyond a million.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.layout import sequence_ids
from pipeline.core.tokenizer import load_tokenizer
from pipeline.formats.content import ContentHasher
from pipeline.formats.manifest import File, Manifest, make_manifest, write_manifest
from pipeline.formats.shards import ShardMetadata, ShardWriter, shard_name, shard_schema, token_array
from pipeline.formats.storage import file_digest

LENGTH = 24
ROWS_PER_GROUP = 8
SPLITS = {"train": [29, 8, 0, 21, 3, 40], "valid": [5, 14]}

WriteShards = Callable[..., Path]
RowIds = Callable[[dict[str, Any]], list[int]]


def _table(first_row: int, num_rows: int, *, length: int, layout: str, dtype: str, alignment: int) -> pa.Table:
    rng = np.random.default_rng(first_row)
    counts = 1 + np.arange(first_row, first_row + num_rows) % 4
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    lengths = rng.integers(1, length // 4 - alignment + 2, offsets[-1]).astype(np.uint32)
    keys = 1_000_000 + 10 * np.arange(offsets[-1]) + 1_000 * first_row
    keys[offsets[:-1]] = np.arange(first_row, first_row + num_rows)
    sequence_id = sequence_ids(lengths, offsets, length, alignment=alignment)
    input_ids = rng.integers(4, 24, (num_rows, length)).astype(dtype)
    input_ids[sequence_id < 0] = 1

    def per_row(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)

    return pa.table(
        {
            "input_ids": token_array(input_ids, layout),
            "sequence_id": token_array(sequence_id, layout),
            "lengths": per_row(pa.array(lengths)),
            "accessions": per_row(pa.array([f"P{key}" for key in keys])),
            "record_keys": per_row(pa.array(keys.astype(np.uint64))),
            "starts": per_row(pa.array((keys % 7).astype(np.uint32))),
            "num_tokens": pa.array(np.add.reduceat(lengths, offsets[:-1]).astype(np.uint32)),
            "num_sequences": pa.array(counts.astype(np.uint16)),
        }
    )


def _write_shards(
    folder: Path,
    splits: dict[str, list[int]] = SPLITS,
    *,
    layout: str = "list",
    length: int = LENGTH,
    rows_per_group: int = ROWS_PER_GROUP,
    alignment: int = 1,
    tokenizer: dict[str, Any] | None = None,
    first_key: int = 0,
) -> Path:
    document = tokenizer or load_tokenizer("esm2").document()
    dtype = "uint8" if len(document["tokens"]) <= 256 else "uint16"
    files = []
    for split, rows_of_files in splits.items():
        first_row = first_key
        for index, num_rows in enumerate(rows_of_files):
            metadata = ShardMetadata(
                fingerprint="plan",
                dtype=dtype,
                length=length,
                alignment=alignment,
                pad_id=1,
                num_prefix=1,
                num_suffix=1,
                layout=layout,
            )
            name = shard_name(split, index, len(rows_of_files))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            hasher = ContentHasher()
            with ShardWriter(folder / name, metadata, rows_per_group=rows_per_group) as writer:
                if num_rows:
                    table = _table(first_row, num_rows, length=length, layout=layout, dtype=dtype, alignment=alignment)
                    table = table.cast(shard_schema(metadata))
                    hasher.update(table)
                    writer.write(table)
            num_bytes, digest = file_digest(folder / name)
            files.append(
                File(path=name, split=split, rows=num_rows, bytes=num_bytes, xxh3_64=digest, content=hasher.hexdigest())
            )
            first_row += num_rows
    configuration = {
        "length": length,
        "alignment": alignment,
        "rows_per_group": rows_per_group,
        "layout": layout,
        "tokenizer": document,
        "seed": 0,
    }
    write_manifest(folder, _manifest(configuration, files))
    return folder


def _manifest(configuration: dict[str, Any], files: list[File]) -> Manifest:
    return make_manifest(
        "shards",
        configuration=configuration,
        inputs=(),
        files=tuple(files),
        counts={},
        reasons={},
        provenance=(),
    )


@pytest.fixture(scope="session")
def write_shards() -> WriteShards:
    """Writes a shards folder: ``write_shards(folder, splits, layout=…, length=…, rows_per_group=…, alignment=…)``."""
    return _write_shards


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """101 rows of train in six files with short last row groups and an empty one, and 19 rows of valid."""
    return _write_shards(tmp_path_factory.mktemp("list") / "shards")


@pytest.fixture(scope="session")
def binary_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows in the binary layout."""
    return _write_shards(tmp_path_factory.mktemp("binary") / "shards", layout="binary")


def _row_ids(batch: dict[str, Any]) -> list[int]:
    keys = np.append(np.asarray(batch["record_keys"]).astype(np.int64), -1)
    firsts = np.asarray(batch["row_offsets"])[:-1]
    return np.where(np.asarray(batch["num_sequences"]) > 0, keys[firsts], -1).tolist()


@pytest.fixture(scope="session")
def row_ids() -> RowIds:
    """Which rows a batch with record_keys, row_offsets and num_sequences holds, by number; -1 for padding."""
    return _row_ids


@pytest.fixture
def no_reader_threads() -> Iterator[None]:
    """Fails a test that leaves threads of a reader behind."""
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("pipeline-reader")]
    assert not left
