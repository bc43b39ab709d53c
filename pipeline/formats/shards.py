"""Shards: Parquet files of packed rows, one Parquet row for each row of tokens.

::

    data/train-00000-of-00012.parquet
      row group 0   rows_per_group rows ┐  every row group has the same number of rows,
      row group 1   rows_per_group rows │  except the last of a file
      …                                 ┘
      key-value metadata "pipeline": dtype, length, alignment, pad_id, prefix and suffix tokens, layout, fingerprint,
                                     separator_id where records are concatenated

``input_ids`` and ``sequence_id`` are fixed_size_list columns (layout ``list``, which every tool reads) or
fixed_size_binary, little-endian (layout ``binary``, several times faster). Everything about a row's layout follows from
``lengths``: the reader never decodes ``sequence_id``. Column order is part of the format.

Level of zstd and rows of a row group by measurement, million tokens a second of one core, rows of 1,024, on a machine
with neighbours (``python tests/benchmarks/writing.py``)::

    level  rows a group   list: write  read  bits a token    binary: write  read  bits a token
        1           128            26    74         5.480               74    82         4.913
        1           256            25    63         5.431               83   111         4.876
        1           512            28    84         5.402               81   159         4.857     chosen
        1         1,024            23    78         5.383               88   183         4.846
        1         2,048            23   120         5.377               90   231         4.837
        2           512            20    88         5.401               81   159         4.857
        3           512            22    84         5.392               40   147         4.928

Higher levels buy nothing. Larger row groups read faster, but they are also what is shuffled and held open, 192 at once:
with 512 rows a single rank keeps 105 MB open, and two rows of a batch meet again 1.76 times as often as by chance.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import IntegrityError
from pipeline.formats.column_arrays import flat, matrix, numbers
from pipeline.formats.parquet import RowGroupWriter

METADATA_KEY = b"pipeline"
LAYOUTS = ("list", "binary")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMetadata:
    """What the Parquet key-value metadata of a shard say about its rows."""

    fingerprint: str
    """Fingerprint of the plan and tokenizer these rows were made from."""
    dtype: str
    """uint8 or uint16: type of input_ids."""
    length: int
    """Tokens in a row."""
    alignment: int
    """Segments occupy their length rounded up to a multiple of this many tokens."""
    pad_id: int
    """Token that fills the rest of a row."""
    num_prefix: int
    """Special tokens before the residues of each segment."""
    num_suffix: int
    """Special tokens after them."""
    layout: str
    """list or binary."""
    separator_id: int | None = None
    """Token that stands once after each record where records are concatenated; None where they are not."""

    def document(self) -> dict[str, Any]:
        """Plain JSON values; ``separator_id`` only where there is one."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def shard_schema(metadata: ShardMetadata) -> pa.Schema:
    """The Arrow schema of a shard, key-value metadata included."""
    element = pa.field("element", pa.type_for_alias(metadata.dtype), nullable=False)
    id_element = pa.field("element", pa.int16(), nullable=False)
    if metadata.layout == "list":
        tokens, ids = pa.list_(element, metadata.length), pa.list_(id_element, metadata.length)
    else:
        tokens = pa.binary(metadata.length * element.type.bit_width // 8)
        ids = pa.binary(metadata.length * 2)
    fields = [
        pa.field("input_ids", tokens, nullable=False),
        pa.field("sequence_id", ids, nullable=False),
        pa.field("lengths", _list_of(pa.uint32()), nullable=False),
        pa.field("accessions", _list_of(pa.string()), nullable=False),
        pa.field("record_keys", _list_of(pa.uint64()), nullable=False),
        pa.field("starts", _list_of(pa.uint32()), nullable=False),
        pa.field("num_tokens", pa.uint32(), nullable=False),
        pa.field("num_sequences", pa.uint16(), nullable=False),
    ]
    return pa.schema(fields, metadata={METADATA_KEY: json.dumps(metadata.document(), sort_keys=True).encode()})


def _list_of(element: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", element, nullable=False))


def shard_name(split: str, index: int, count: int) -> str:
    """Path of a shard inside the artefact, in the naming of Hugging Face datasets."""
    return f"data/{split}-{index:05d}-of-{count:05d}.parquet"


class ShardWriter(RowGroupWriter):
    """Writes one shard; a context manager. Rows have the columns of :func:`shard_schema` and may come in any pieces."""

    def __init__(self, path: Path, metadata: ShardMetadata, *, rows_per_group: int) -> None:
        super().__init__(
            path,
            shard_schema(metadata),
            rows_per_group=rows_per_group,
            # Tokens have some twenty distinct values: a dictionary halves the list layout and costs the binary one.
            dictionaries=["input_ids.list.element", "sequence_id.list.element"],
            statistics=["num_tokens", "num_sequences"],
        )


def token_array(values: npt.NDArray[Any], layout: str) -> pa.Array:
    """A [rows, length] array as the column of a shard, without a copy.

    Args:
        values: uint8, uint16 or int16, C-contiguous.
        layout: list or binary.
    """
    rows, length = values.shape
    little_endian = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    if layout == "binary":
        buffers = [None, pa.py_buffer(little_endian)]
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(length * values.itemsize), rows, buffers)
    element = pa.field("element", pa.from_numpy_dtype(values.dtype), nullable=False)
    flat = pa.array(little_endian.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(element, length))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """Decoded rows of one row group; segment arrays are flat, row r owning ``row_offsets[r]:row_offsets[r + 1]``."""

    input_ids: npt.NDArray[Any]
    """uint8 or uint16 [rows, length]."""
    lengths: npt.NDArray[np.uint32]
    """[segments] tokens, special tokens included."""
    row_offsets: npt.NDArray[np.int64]
    """[rows + 1]."""
    record_keys: npt.NDArray[np.uint64]
    """[segments]; empty if it was not read."""
    starts: npt.NDArray[np.uint32]
    """[segments] first residue of the segment in its record; empty if it was not read."""
    accessions: pa.Array | None
    """[segments] string; None unless asked for."""
    sequence_id: npt.NDArray[np.int16] | None
    """[rows, length]; None unless asked for, because it follows from lengths."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.input_ids)


def num_residues(group: RowGroup, metadata: ShardMetadata) -> npt.NDArray[np.int64]:
    """Residues of each segment: [segments], its tokens without the special ones.

    Of concatenated records, a segment has a special token if its last token is the separator: no residue is one.
    """
    lengths = group.lengths.astype(np.int64)
    if metadata.separator_id is None:
        return lengths - (metadata.num_prefix + metadata.num_suffix)
    ends = np.cumsum(lengths)
    before_row = np.concatenate(([0], ends))[group.row_offsets[:-1]]
    row = np.repeat(np.arange(group.num_rows), np.diff(group.row_offsets))
    last = group.input_ids[row, ends - before_row[row] - 1]
    return np.asarray(lengths - (last == metadata.separator_id))


class ShardFile:
    """One shard on disk: its metadata, and row groups decoded to numpy arrays.

    Row groups may be read from several threads at once: each of them has the file open for itself. Opening it takes a
    third of the time of reading a row group, so that who reads many of them in any order may keep it open.

    Args:
        path: Of the file.
        most_open: How many times the file may be open between two reads.

    Raises:
        IntegrityError: The file is no Parquet, is cut short, or is not one of our shards.
    """

    def __init__(self, path: Path | str, *, most_open: int = 0) -> None:
        self.path = path
        self._open: list[pq.ParquetFile] = []
        self._most_open = most_open
        try:
            self._footer = self._read_footer()
            pairs = self._footer.metadata or {}
            self.metadata = ShardMetadata(**json.loads(pairs[METADATA_KEY]))
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(
                f"{path}: expected a Parquet file, found {error}", hint="make the shards again"
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"{path}: expected the metadata of a shard, found none that can be read") from error

    def _read_footer(self) -> pq.FileMetaData:
        return pq.read_metadata(self.path)

    @property
    def num_rows(self) -> int:
        """Rows in the file."""
        return int(self._footer.num_rows)

    @property
    def rows_of_groups(self) -> list[int]:
        """Rows of each row group, in order."""
        return [self._footer.row_group(index).num_rows for index in range(self._footer.num_row_groups)]

    def read_tables(self, rows_at_once: int) -> Iterator[tuple[int, pa.Table]]:
        """All rows as Arrow columns, a few row groups at a time.

        Args:
            rows_at_once: Row groups are taken together until they have as many rows.

        Yields:
            The number of the first row, and the rows.

        Raises:
            IntegrityError: A row group cannot be decoded; the message names file and row group.
        """
        with self._decoding(0), self._opened() as file:
            for first_row, groups in self._taken_together(rows_at_once):
                with self._decoding(groups[0], groups[-1]):
                    table = file.read_row_groups(groups, use_threads=False)
                yield first_row, table

    def _taken_together(self, rows_at_once: int) -> Iterator[tuple[int, list[int]]]:
        first_row, num_rows = 0, 0
        groups: list[int] = []
        for index, rows in enumerate(self.rows_of_groups):
            groups.append(index)
            num_rows += rows
            if num_rows >= rows_at_once:
                yield first_row, groups
                first_row, num_rows, groups = first_row + num_rows, 0, []
        if groups:
            yield first_row, groups

    def read_table(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One row group as Arrow columns.

        Raises:
            IntegrityError: The row group cannot be decoded; the message names file and row group.
        """
        return self._table(index, columns, None)

    def _table(self, index: int, columns: Sequence[str] | None, source: Any) -> pa.Table:
        with self._decoding(index), self._kept_open(source) as file:
            table = file.read_row_group(index, columns=columns, use_threads=False)
            if columns is not None:
                table = table.select(columns)
            return table

    def _opened(self, source: Any = None) -> pq.ParquetFile:
        return pq.ParquetFile(source or self.path, metadata=self._footer, page_checksum_verification=True)

    @contextmanager
    def _kept_open(self, source: Any) -> Iterator[pq.ParquetFile]:
        """The file, open for one thread; where that fails, or enough others are kept, it is closed behind it."""
        file = self._last_open() if source is None else self._opened(source)
        with ExitStack() as behind:
            behind.callback(file.close)
            yield file
            if source is None and len(self._open) < self._most_open:
                behind.pop_all()
                self._open.append(file)

    def _last_open(self) -> pq.ParquetFile:
        try:
            return self._open.pop()
        except IndexError:  # none, or another thread was faster
            return self._opened()

    @contextmanager
    def _decoding(self, first: int, last: int | None = None) -> Iterator[None]:
        # A footer has no checksum: where it is damaged Arrow may fail in any of these ways.
        try:
            yield
        except (pa.ArrowException, OSError, KeyError, ValueError, IndexError, TypeError) as error:
            which = f"row group {first}" if last in {None, first} else f"one of the row groups {first} to {last}"
            raise IntegrityError(
                f"{self.path}: {which} cannot be decoded: {error}",
                hint="run `pipeline verify` on the folder; make damaged shards again with `pipeline shard`",
            ) from error

    def read_row_group(self, index: int, *, accessions: bool = False, sequence_id: bool = False) -> RowGroup:
        """One row group as numpy arrays (views on Arrow's memory where that needs no copy)."""
        columns = ["input_ids", "lengths", "record_keys", "starts"]
        columns += ["accessions"] * accessions + ["sequence_id"] * sequence_id
        return self.read_columns(index, columns)

    def read_columns(self, index: int, columns: Sequence[str], *, source: Any = None) -> RowGroup:
        """Some columns of one row group as numpy arrays; those of the others are empty or None.

        Args:
            index: Of the row group.
            columns: ``input_ids`` and ``lengths`` have to be among them.
            source: A file object with the bytes of these columns; None reads the file.

        Raises:
            IntegrityError: The row group cannot be decoded; the message names file and row group.
        """
        table = self._table(index, columns, source)
        with self._decoding(index):
            return self.row_group_of(table)

    def row_group_of(self, table: pa.Table) -> RowGroup:
        """Columns that :meth:`read_table` or :meth:`read_tables` gave, as arrays; the optional ones if they are there.

        Their types must be those of :func:`shard_schema`.
        """
        accessions, sequence_id = ("accessions" in table.schema.names), ("sequence_id" in table.schema.names)
        keys, starts = ("record_keys" in table.schema.names), ("starts" in table.schema.names)
        lengths, row_offsets = flat(table, "lengths")
        return RowGroup(
            input_ids=matrix(table, "input_ids", self.metadata.dtype, self.metadata.length),
            lengths=numbers(lengths),
            row_offsets=row_offsets,
            record_keys=numbers(flat(table, "record_keys")[0]) if keys else np.empty(0, dtype=np.uint64),
            starts=numbers(flat(table, "starts")[0]) if starts else np.empty(0, dtype=np.uint32),
            accessions=flat(table, "accessions")[0] if accessions else None,
            sequence_id=matrix(table, "sequence_id", "int16", self.metadata.length) if sequence_id else None,
        )
