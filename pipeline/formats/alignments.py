"""Alignments: one record an alignment, in Parquet parts, sorted by alignment key.

::

    alignments/part-00000.parquet    alignment keys  [0,           2^64 / n)
               part-00001.parquet                    [2^64 / n,  2·2^64 / n)      n = number of parts, a power of two

    record   accession  query  depth  width  rows                  accessions        alignment_key  source
             P1         MKVA   3      4      [MKVA, M-VA, -KVA]    [P1, P2, P3]      …              uniref50

A row is upper-case letters and ``-``, ``width`` of them: the match columns, insertions removed. The query is row 0, and
rows stand in the order of the file, equal ones too. The alignment key is ``xxh3_64`` of the rows joined by newlines, so
any part is a random sample of the whole; equal alignments stay apart, sorted by name.

Every row group of a part has the same number of alignments but the last. Rows are a list of text because every tool
reads that: measured on the shipped alignments, zstd level 1, one text of all rows takes as much (3.55 bits a cell
against 3.56), one that is stored column by column 4 % less, and they are read 1.2 and 1.6 times as fast.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipeline.core.alphabet import RESIDUES
from pipeline.errors import IntegrityError
from pipeline.formats.content import string_bytes
from pipeline.formats.manifest import File
from pipeline.formats.parquet import RowGroupWriter
from pipeline.formats.storage import atomic_path, file_digest

GAP = ord("-")

ALIGNMENTS_SCHEMA = pa.schema(
    [
        pa.field("accession", pa.string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("depth", pa.uint32(), nullable=False),
        pa.field("width", pa.uint32(), nullable=False),
        # Large: the rows of a row group may have more than 2^31 letters.
        pa.field("rows", pa.list_(pa.field("element", pa.large_string(), nullable=False)), nullable=False),
        pa.field("accessions", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
        pa.field("alignment_key", pa.uint64(), nullable=False),
        pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    ]
)
"""Columns of a part, in order."""

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlignment:
    """One alignment of a part."""

    key: int
    """uint64."""
    letters: UInt8Array
    """[depth, width] ASCII."""


def is_strange(letters: UInt8Array) -> npt.NDArray[np.bool_]:
    """Which characters are neither a residue nor a gap.

    Args:
        letters: uint8, any shape.

    Returns:
        bool of the same shape.
    """
    return ~_ALLOWED[letters]


def alignment_key(letters: UInt8Array) -> int:
    """``xxh3_64`` of the rows joined by newlines.

    Args:
        letters: uint8 [depth, width].
    """
    lines = np.full((letters.shape[0], letters.shape[1] + 1), ord("\n"), dtype=np.uint8)
    lines[:, :-1] = letters
    return xxhash.xxh3_64_intdigest(lines.reshape(-1)[:-1].data)


def alignment_record(letters: UInt8Array, accessions: pa.Array, source: str) -> pa.RecordBatch:
    """The record of an alignment.

    Args:
        letters: uint8 [depth, width], the query first.
        accessions: string [depth]; that of the query may be empty.
        source: Name of the database.

    Returns:
        One row with the columns of ``ALIGNMENTS_SCHEMA``, the source as plain text.
    """
    depth, width = letters.shape
    key = alignment_key(letters)
    offsets = np.arange(depth + 1, dtype=np.int64) * width
    buffers = [pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(letters))]
    rows = pa.LargeStringArray.from_buffers(depth, *buffers)
    one_list = pa.array([0, depth], pa.int32())
    columns = {
        "accession": pa.array([accessions[0].as_py() or f"aln-{key:016x}"], pa.string()),
        "query": pa.array([letters[0].tobytes().decode("ascii")], pa.string()),
        "depth": pa.array([depth], pa.uint32()),
        "width": pa.array([width], pa.uint32()),
        "rows": pa.ListArray.from_arrays(one_list, rows),
        "accessions": pa.ListArray.from_arrays(one_list, accessions.cast(pa.string())),
        "alignment_key": pa.array([key], pa.uint64()),
        "source": pa.array([source], pa.string()),
    }
    schema = pa.schema([pa.field(name, array.type) for name, array in columns.items()])
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


@contextmanager
def alignments_writer(
    folder: Path, name: str, *, alignments_per_group: int
) -> Iterator[tuple[RowGroupWriter, list[File]]]:
    """Write one part atomically, in any pieces.

    Args:
        folder: The artefact.
        name: Path of the part in it.
        alignments_per_group: Of every row group but the last.

    Yields:
        A writer of sorted rows with the columns of ``ALIGNMENTS_SCHEMA``, and a list in which the manifest's entry of
        the file appears when the block ends.
    """
    written: list[File] = []
    with atomic_path(folder / name) as temporary:
        writer = RowGroupWriter(
            temporary,
            ALIGNMENTS_SCHEMA,
            rows_per_group=alignments_per_group,
            dictionaries=["source"],
            statistics=["alignment_key", "depth", "width"],
        )
        with writer:
            yield writer, written
        num_bytes, digest = file_digest(temporary)
    rows, content = writer.num_rows, writer.content
    written.append(File(path=name, rows=rows, bytes=num_bytes, xxh3_64=digest, content=content))


def read_metadata(path: Path) -> pq.FileMetaData:
    """The footer of a part.

    Raises:
        IntegrityError: The file is missing, cut short or damaged.
    """
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def read_group(path: Path, group: int, *, metadata: pq.FileMetaData | None = None) -> list[StoredAlignment]:
    """The alignments of a row group, in order.

    Args:
        path: The part.
        group: Number of the row group.
        metadata: The footer, if it is known.

    Raises:
        IntegrityError: The file is missing, cut short or damaged, or an alignment is not as deep and wide as it says.
    """
    try:
        with pq.ParquetFile(path, metadata=metadata, page_checksum_verification=True) as file:
            table = file.read_row_group(group, columns=["width", "rows", "alignment_key"])
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return list(stored_alignments(table, path))


def stored_alignments(table: pa.Table, path: Path) -> Iterator[StoredAlignment]:
    """The alignments in a table with the columns ``width``, ``rows`` and ``alignment_key``.

    Args:
        table: Of a row group.
        path: The file it is from, for messages.

    Raises:
        IntegrityError: An alignment is not as wide as it says.
    """
    rows = table.column("rows").combine_chunks()
    rows = rows.chunk(0) if isinstance(rows, pa.ChunkedArray) else rows
    offsets = rows.offsets.to_numpy().astype(np.int64)
    widths, keys = (table.column(name).to_numpy().tolist() for name in ("width", "alignment_key"))
    for at, (width, key) in enumerate(zip(widths, keys, strict=True)):
        own = rows.values.slice(int(offsets[at]), int(offsets[at + 1] - offsets[at]))
        lengths = np.diff(np.frombuffer(own.buffers()[1], dtype=np.int64)[own.offset : own.offset + len(own) + 1])
        if not len(own) or not width or (lengths != width).any():
            raise IntegrityError(
                f"{path}: alignment with key {key:016x}: expected rows of {width} columns, found others",
                hint="run `pipeline verify` on the folder, and make it again with --overwrite",
            )
        letters = np.frombuffer(string_bytes(own), dtype=np.uint8).reshape(len(own), width)
        yield StoredAlignment(key=key, letters=letters)


def _allowed() -> npt.NDArray[np.bool_]:
    allowed = np.zeros(256, dtype=np.bool_)
    allowed[np.frombuffer(RESIDUES, dtype=np.uint8)] = True
    allowed[GAP] = True
    return allowed


def _unreadable(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        f"{path}: expected a part of alignments, found {error}",
        hint="run `pipeline verify` on the folder, and make it again with --overwrite",
    )


_ALLOWED = _allowed()
