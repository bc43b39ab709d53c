"""Parquet files of ours: row groups of one size whatever pieces rows come in, and reading with errors for people.

::

    write(3 rows) write(9 rows) write(2 rows)      rows_per_group = 4
    └──── 4 ────┘└──── 4 ────┘└──── 4 ───┘└ 2 ┘    the same file as write(14 rows)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import IntegrityError
from pipeline.formats.content import ContentHasher

COMPRESSION_LEVEL = 3


class RowGroupWriter:
    """Writes one Parquet file, zstd-compressed; a context manager.

    Memory: the rows of one row group, and those of the last piece.

    Args:
        path: Where to write.
        schema: Of the file, key-value metadata included.
        rows_per_group: Rows of every row group but the last.
        dictionaries: Columns, or leaves of them, that are dictionary-encoded.
        statistics: Columns that get minimum and maximum.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        rows_per_group: int,
        dictionaries: Sequence[str] = (),
        statistics: Sequence[str] = (),
    ) -> None:
        self.schema = schema
        self._rows_per_group = rows_per_group
        self._pending: list[pa.Table] = []
        self._num_pending = 0
        self._hasher = ContentHasher()
        options: dict[str, Any] = {"compression": "zstd", "compression_level": COMPRESSION_LEVEL}
        options |= {"use_dictionary": list(dictionaries), "write_statistics": list(statistics)}
        # A flipped bit in a page would else give other values and no error.
        self._writer = pq.ParquetWriter(path, schema, store_schema=True, write_page_checksum=True, **options)

    @property
    def num_rows(self) -> int:
        """Rows written so far."""
        return self._hasher.num_rows

    @property
    def content(self) -> str:
        """Digest of the decoded columns of all rows so far, hexadecimal."""
        return self._hasher.hexdigest()

    def write(self, table: pa.Table) -> None:
        """Append rows; columns are cast to those of the schema."""
        table = table.cast(self.schema)
        self._hasher.update(table)
        self._pending.append(table)
        self._num_pending += table.num_rows
        if self._num_pending >= self._rows_per_group:
            self._flush(keep=self._num_pending % self._rows_per_group)

    def _flush(self, *, keep: int) -> None:
        rows = pa.concat_tables(self._pending)
        cut = rows.num_rows - keep
        for start in range(0, cut, self._rows_per_group):
            group = rows.slice(start, min(self._rows_per_group, cut - start))
            # One chunk a column: the encoder's pages would otherwise follow the pieces that rows came in.
            self._writer.write_table(group.combine_chunks(), row_group_size=self._rows_per_group)
        self._pending = [rows.slice(cut)] if keep else []
        self._num_pending = keep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: object, *_: object) -> None:
        if error_type is None and self._num_pending:
            self._flush(keep=0)
        self._writer.close()


def read_columns(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of one Parquet file of ours.

    Raises:
        IntegrityError: The file is missing, cut short, damaged or lacks a column.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise IntegrityError(
            f"{path}: expected a Parquet file of this artefact, found {error}",
            hint="run `pipeline verify` on the folder, and make it again with --overwrite",
        ) from error
