"""The corpus: records in Parquet parts, sorted by record key.

::

    corpus/part-00000.parquet    record keys  [0,           2^64 / n)
           part-00001.parquet                 [2^64 / n,  2·2^64 / n)      n = number of parts, a power of two
           …

Within a part rows are sorted by record key, then sequence. The record key is ``xxh3_64`` of the residues, so any part
is a random sample of the whole.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipeline.formats.content import string_bytes
from pipeline.formats.manifest import File, Manifest
from pipeline.formats.parquet import RowGroupWriter, read_columns
from pipeline.formats.storage import atomic_path, file_digest

KEY_BITS = 64
MAX_ALIASES = 1_000
ROWS_PER_GROUP = 32_768
RESIDUES_PER_GROUP = 32 << 20
"""A row group that has as many residues gets no further record."""

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


def power_of_two_above(number: float) -> int:
    """The least power of two that is at least ``number``, and at least 1."""
    power = 1
    while power < number:
        power *= 2
    return power


def num_parts_for(num_records: int, records_per_part: int) -> int:
    """The least power of two that leaves at most ``records_per_part`` records in a part on average."""
    return power_of_two_above(num_records / records_per_part)


def key_range(index: int, num_parts: int) -> tuple[int, int]:
    """First key of a part and the first key after it (2^64 for the last part)."""
    width = (1 << KEY_BITS) // num_parts
    return index * width, (index + 1) * width


@contextmanager
def part_writer(folder: Path, name: str) -> Iterator[tuple[RowGroupWriter, list[File]]]:
    """Write one part atomically, in any pieces.

    Args:
        folder: The corpus.
        name: Path of the part in it.

    Yields:
        A writer of sorted rows with the columns of ``CORPUS_SCHEMA``, and a list in which the manifest's entry of the
        file appears when the block ends.
    """
    written: list[File] = []
    with atomic_path(folder / name) as temporary:
        writer = RowGroupWriter(
            temporary,
            CORPUS_SCHEMA,
            rows_per_group=ROWS_PER_GROUP,
            heaviest_group=("length", RESIDUES_PER_GROUP),
            dictionaries=["source"],
            statistics=["record_key", "length", "accession"],
        )
        with writer:
            yield writer, written
        num_bytes, digest = file_digest(temporary)
    rows, content = writer.num_rows, writer.content
    written.append(File(path=name, rows=rows, bytes=num_bytes, xxh3_64=digest, content=content))


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


def largest_part(manifest: Manifest) -> tuple[int, int]:
    """Records of the largest part of a corpus, and about how many residues it has: parts are samples of the whole."""
    most = max((file.rows for file in manifest.tables), default=0)
    return most, manifest.counts.get("residues", 0) * most // max(1, manifest.counts.get("records", 0))


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
