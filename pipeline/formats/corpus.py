"""The corpus: records in Parquet parts, sorted by record key.

::

    corpus/part-00000.parquet    record keys  [0,           2^64 / n)
           part-00001.parquet                 [2^64 / n,  2·2^64 / n)      n = number of parts, a power of two
           …

Within a part rows are sorted by record key, then sequence. The record key is ``xxh3_64`` of the residues, so any part
is a random sample of the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipeline.errors import IntegrityError
from pipeline.formats.content import ContentHasher, string_bytes
from pipeline.formats.manifest import File
from pipeline.formats.storage import atomic_path, file_digest

KEY_BITS = 64
MAX_ALIASES = 1_000
ROWS_PER_GROUP = 65_536
COMPRESSION_LEVEL = 3

CORPUS_SCHEMA = pa.schema(
    [
        pa.field("accession", pa.string(), nullable=False),
        pa.field("sequence", pa.string(), nullable=False),
        pa.field("length", pa.uint32(), nullable=False),
        pa.field("record_key", pa.uint64(), nullable=False),
        pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("taxon_id", pa.uint32()),
        pa.field("cluster", pa.string()),
        pa.field("description", pa.string()),
        pa.field("aliases", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
        pa.field("num_merged", pa.uint32(), nullable=False),
    ]
)
"""Columns of a corpus part, in order."""


def record_keys(sequences: pa.Array) -> npt.NDArray[np.uint64]:
    """``xxh3_64`` of each sequence.

    Args:
        sequences: string, large_string, binary or large_binary array of residues.

    Returns:
        uint64 [records].
    """
    as_bytes = sequences.cast(pa.large_binary()).to_pylist()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, as_bytes), dtype=np.uint64, count=len(as_bytes))


def part_name(index: int) -> str:
    """File name of a part."""
    return f"part-{index:05d}.parquet"


def num_parts_for(num_records: int, records_per_part: int) -> int:
    """The least power of two that leaves at most ``records_per_part`` records in a part on average."""
    parts = 1
    while num_records > parts * records_per_part:
        parts *= 2
    return parts


def key_range(index: int, num_parts: int) -> tuple[int, int]:
    """First key of a part and the first key after it (2^64 for the last part)."""
    width = (1 << KEY_BITS) // num_parts
    return index * width, (index + 1) * width


def write_part(folder: Path, name: str, table: pa.Table) -> File:
    """Write one part atomically.

    Args:
        folder: The corpus.
        name: Path of the part in it.
        table: Columns of ``CORPUS_SCHEMA``, sorted.
    """
    table = table.cast(CORPUS_SCHEMA)
    hasher = ContentHasher()
    hasher.update(table)
    path = folder / name
    with atomic_path(path) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=ROWS_PER_GROUP,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=["source"],
            write_statistics=["record_key", "length", "accession"],
        )
        num_bytes, digest = file_digest(temporary)
    return File(path=name, rows=table.num_rows, bytes=num_bytes, xxh3_64=digest, content=hasher.hexdigest())


def read_columns(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of one Parquet file of ours.

    Raises:
        IntegrityError: The file is missing, cut short, damaged or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise IntegrityError(
            f"{path}: expected a Parquet file of this artefact, found {error}",
            hint="run `pipeline verify` on the folder, and make it again with --overwrite",
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusPart:
    """The records of one part as arrays."""

    residues: npt.NDArray[np.uint8]
    """[residues] all sequences joined."""
    offsets: npt.NDArray[np.int64]
    """[records + 1] where each sequence starts in ``residues``."""
    record_key: npt.NDArray[np.uint64]
    """[records]."""
    accession: pa.ChunkedArray
    """[records] string."""

    @property
    def num_records(self) -> int:
        """Number of records."""
        return len(self.record_key)


def read_part(path: Path) -> CorpusPart:
    """Residues, keys and accessions of one part."""
    table = read_columns(path, ["accession", "sequence", "record_key"])
    residues, offsets = joined_strings(table.column("sequence"))
    return CorpusPart(
        residues=residues,
        offsets=offsets,
        record_key=table.column("record_key").to_numpy(),
        accession=table.column("accession"),
    )


def joined_strings(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of a string column in one array, and where each value starts.

    Returns:
        uint8 [total bytes] and int64 [values + 1].
    """
    pieces: list[npt.NDArray[Any]] = [np.frombuffer(string_bytes(chunk), dtype=np.uint8) for chunk in column.chunks]
    lengths = [_value_lengths(chunk) for chunk in column.chunks]
    offsets = np.zeros(len(column) + 1, dtype=np.int64)
    if lengths:
        np.cumsum(np.concatenate(lengths), out=offsets[1:])
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.uint8), offsets


def _value_lengths(array: pa.Array) -> npt.NDArray[np.int64]:
    offset_type = np.int64 if pa.types.is_large_string(array.type) else np.int32
    offsets = np.frombuffer(array.buffers()[1], dtype=offset_type)[array.offset : array.offset + len(array) + 1]
    return np.diff(offsets).astype(np.int64)
