"""Writes the rows of reading.py in the formats of others, with their own writers, as their documentation has it."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from reading_rows import ROWS_PER_SHARD, Shape, open_raw

CHUNK_BYTES = 1 << 26
"""Of a LitData chunk or an MDS shard: their documentation's number, both."""


def joined_rows(folder: Path, shape: Shape, first: int, last: int) -> npt.NDArray[np.uint8]:
    """uint8 [rows, 3 length]: the tokens of a row and behind them its sequence ids, little-endian."""
    tokens, ids = open_raw(folder, shape)
    as_bytes = np.ascontiguousarray(ids[first:last], dtype="<i2").view(np.uint8)
    return np.concatenate([tokens[first:last], as_bytes], axis=1)


def split_rows(rows: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    """Tokens and sequence ids of joined rows."""
    length = rows.shape[1] // 3
    return rows[:, :length], np.ascontiguousarray(rows[:, length:]).view("<i2")


def parts(shape: Shape) -> Iterator[tuple[int, int]]:
    """First row and end, a shard's rows at a time."""
    for first in range(0, shape[0], ROWS_PER_SHARD):
        yield first, min(first + ROWS_PER_SHARD, shape[0])


def write_mds(compression: str | None) -> Callable[[Path, Shape, Path], None]:
    def write(out: Path, shape: Shape, folder: Path) -> None:
        from streaming import MDSWriter

        length = shape[1]
        columns = {"input_ids": f"ndarray:uint8:{length}", "sequence_id": f"ndarray:int16:{length}"}
        tokens, ids = open_raw(folder, shape)
        with MDSWriter(out=str(out), columns=columns, compression=compression, size_limit=CHUNK_BYTES) as writer:
            for row in range(shape[0]):
                writer.write({"input_ids": np.array(tokens[row]), "sequence_id": np.array(ids[row])})

    return write


def litdata_rows(part: tuple[int, int], *, folder: Path, shape: Shape) -> Iterator[Any]:
    import torch

    for row in joined_rows(folder, shape, *part):
        yield torch.from_numpy(row)


def write_litdata(out: Path, shape: Shape, folder: Path) -> None:
    """A row as one block of bytes: of LitData's item loaders that of tokens is the fastest, and has one column."""
    from litdata import TokensLoader, optimize

    optimize(
        partial(litdata_rows, folder=folder, shape=shape),
        inputs=list(parts(shape)),
        output_dir=str(out),
        chunk_size=3 * shape[1] * (CHUNK_BYTES // (3 * shape[1])),
        num_workers=1,
        item_loader=TokensLoader(block_size=3 * shape[1]),
    )


def write_tar(out: Path, shape: Shape, folder: Path) -> None:
    from webdataset import TarWriter

    out.mkdir()
    for number, (first, last) in enumerate(parts(shape)):
        with TarWriter(str(out / f"rows-{number:05d}.tar")) as writer:
            for row, joined in enumerate(joined_rows(folder, shape, first, last), start=first):
                writer.write({"__key__": f"{row:09d}", "bin": joined.tobytes()})


def arrow_table(folder: Path, shape: Shape, first: int, last: int) -> Any:
    import pyarrow as pa

    def column(values: npt.NDArray[Any]) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), shape[1])

    tokens, ids = open_raw(folder, shape)
    return pa.table({"input_ids": column(tokens[first:last]), "sequence_id": column(ids[first:last])})


def write_parquet(out: Path, shape: Shape, folder: Path) -> None:
    from datasets import Dataset

    out.mkdir()
    for number, (first, last) in enumerate(parts(shape)):
        Dataset(arrow_table(folder, shape, first, last)).to_parquet(out / f"rows-{number:05d}.parquet")


def write_arrow(out: Path, shape: Shape, folder: Path) -> None:
    from datasets import Dataset, concatenate_datasets

    pieces = [Dataset(arrow_table(folder, shape, first, last)) for first, last in parts(shape)]
    concatenate_datasets(pieces).save_to_disk(out)


def write_arrays(out: Path, shape: Shape, folder: Path) -> None:
    """grain reads rows one by one, so each is a chunk of its own: the number of its documentation."""
    from array_record.python.array_record_module import ArrayRecordWriter

    out.mkdir()
    for number, (first, last) in enumerate(parts(shape)):
        writer = ArrayRecordWriter(str(out / f"rows-{number:05d}.array_record"), "group_size:1")
        for joined in joined_rows(folder, shape, first, last):
            writer.write(joined.tobytes())
        writer.close()
