"""Digest of what Arrow columns say, whatever their chunks, compression or layout.

Each column feeds two XXH3-128 hashers, one with its lengths or validity and one with its values, so that the digest of
rows read in any chunks is the digest of the rows read at once. Cost: one pass at memory speed.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline.formats.manifest import digest_of


class ContentHasher:
    """Digest of tables fed one after another; all must have the same columns."""

    def __init__(self) -> None:
        self._shapes: dict[str, xxhash.xxh3_128] = {}
        self._values: dict[str, xxhash.xxh3_128] = {}
        self.num_rows = 0

    def update(self, table: pa.Table | pa.RecordBatch) -> None:
        """Take in the next rows."""
        self.num_rows += table.num_rows
        for field in table.schema:
            column = table.column(field.name)
            for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                self._feed(field.name, chunk, nullable=field.nullable)

    def _feed(self, name: str, array: pa.Array, *, nullable: bool) -> None:
        shapes = self._shapes.setdefault(name, xxhash.xxh3_128())
        values = self._values.setdefault(name, xxhash.xxh3_128())
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_fixed_size_list(array.type):
            values.update(_numbers(array.flatten()))
        elif pa.types.is_fixed_size_binary(array.type):
            values.update(_fixed_size_bytes(array))
        elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            shapes.update(_lengths(pc.list_value_length(array)))
            self._feed(f"{name}.element", array.flatten(), nullable=False)
        elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            shapes.update(_lengths(pc.binary_length(array)))
            values.update(string_bytes(array.fill_null("") if array.null_count else array))
        else:
            if nullable:
                shapes.update(_numbers(pc.is_null(array)))
            values.update(_numbers(array))

    def hexdigest(self) -> str:
        """The digest of all rows so far, hexadecimal; that of no rows is one and the same."""
        names = sorted(self._shapes) if self.num_rows else []
        columns = [[name, self._shapes[name].hexdigest(), self._values[name].hexdigest()] for name in names]
        return digest_of({"rows": self.num_rows, "columns": columns})


def _numbers(array: pa.Array) -> memoryview:
    filled = array.fill_null(0) if array.null_count else array
    return np.ascontiguousarray(filled.to_numpy(zero_copy_only=False)).data


def _lengths(array: pa.Array) -> memoryview:
    # A null has length -1, so that it differs from an empty value.
    return _numbers(array.cast(pa.int64()).fill_null(-1))


def _fixed_size_bytes(array: pa.Array) -> memoryview:
    width = array.type.byte_width
    return memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]


def string_bytes(array: pa.Array) -> memoryview:
    """The joined UTF-8 bytes of a string or large string array, without a copy; slices are respected."""
    if len(array) == 0:
        return memoryview(b"")
    offset_type = np.int64 if pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type) else np.int32
    offsets = np.frombuffer(array.buffers()[1], dtype=offset_type)[array.offset : array.offset + len(array) + 1]
    data = array.buffers()[2]
    return memoryview(b"") if data is None else memoryview(data)[int(offsets[0]) : int(offsets[-1])]
