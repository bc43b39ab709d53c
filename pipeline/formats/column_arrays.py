"""Columns of a shard as numpy arrays: views on Arrow's memory where that needs no copy."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def flat(table: pa.Table, name: str) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """A list column as its flat values and int64 [rows + 1] offsets into them."""
    array = table.column(name).combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.nulls(0, array.type)
    offsets = numbers(array.offsets).astype(np.int64)
    return array.flatten(), offsets - offsets[0]


def numbers(array: pa.Array) -> npt.NDArray[Any]:
    """A primitive array without nulls as a view; ``to_numpy`` would load pandas where it is installed."""
    dtype = np.dtype(str(array.type))
    if not len(array):
        return np.empty(0, dtype=dtype)
    return np.frombuffer(array.buffers()[1], dtype=dtype, count=array.offset + len(array))[array.offset :]


def matrix(table: pa.Table, name: str, dtype: str, length: int) -> npt.NDArray[Any]:
    """A column of token rows as [rows, length], little-endian.

    Args:
        table: With the column in either layout.
        name: Of the column.
        dtype: Of its elements.
        length: Tokens of a row.
    """
    little_endian = np.dtype(dtype).newbyteorder("<")
    rows = []
    for chunk in table.column(name).chunks:
        if pa.types.is_fixed_size_binary(chunk.type):
            width = chunk.type.byte_width
            values = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)[chunk.offset * width :]
            rows.append(values[: len(chunk) * width].view(little_endian).reshape(len(chunk), length))
        else:
            rows.append(numbers(chunk.flatten()).reshape(len(chunk), length))
    return rows[0] if len(rows) == 1 else np.concatenate([*rows, np.empty((0, length), dtype=little_endian)])


def indices(values: npt.NDArray[np.int64]) -> pa.Array:
    """int64 values as an Arrow array, without a copy; ``pa.array`` would load pandas where it is installed."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])
