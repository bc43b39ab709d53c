"""A spool: alignments of one input as they were read, to be fetched again in the order of their keys.

::

    chunk-00000.spool    [alignment][alignment][alignment] …     zstd frames, each an Arrow record batch of one row
    chunk-00000.npy      (key, offset, bytes) of each, sorted by key, then offset

An alignment is held in memory once, when it is written and when it is fetched; of all others there are 24 bytes.
"""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import zstandard

from pipeline.errors import IntegrityError
from pipeline.formats.alignments import ALIGNMENTS_SCHEMA
from pipeline.formats.storage import atomic_path

SPOOL_SCHEMA = pa.schema(
    [field.with_type(pa.string()) if field.name == "source" else field for field in ALIGNMENTS_SCHEMA]
)
"""Columns of a record: the source is plain text, because dictionaries would differ from record to record."""

_ENTRY = np.dtype([("key", "<u8"), ("offset", "<u8"), ("bytes", "<u8")])


class SpoolWriter:
    """Appends alignments to a file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._entries = array("Q")
        self._offset = 0
        self._compressor = zstandard.ZstdCompressor(level=1)

    def add(self, record: pa.RecordBatch) -> None:
        """Append an alignment: one row with the columns of ``SPOOL_SCHEMA``."""
        key = record.column("alignment_key")[0].as_py()
        frame = self._compressor.compress(record.cast(SPOOL_SCHEMA).serialize())
        self._stream.write(frame)
        self._entries.extend((key, self._offset, len(frame)))
        self._offset += len(frame)

    def index(self) -> np.ndarray:
        """The entries so far, sorted."""
        entries = np.array(self._entries, dtype=np.uint64).view(_ENTRY)
        return entries[np.lexsort((entries["offset"], entries["key"]))]


@contextmanager
def spool_writer(path: Path) -> Iterator[SpoolWriter]:
    """A writer of a spool, and of the index beside it.

    Args:
        path: The spool; the index is called the same, with ``.npy``.
    """
    with atomic_path(path, durable=False) as temporary, temporary.open("wb") as stream:
        writer = SpoolWriter(stream)
        yield writer
    with atomic_path(path.with_suffix(".npy"), durable=False) as temporary, temporary.open("wb") as stream:
        np.save(stream, writer.index())


def read_spools(paths: Sequence[Path], first_key: int, end_key: int) -> Iterator[pa.RecordBatch]:
    """The alignments of a range of keys from several spools, sorted by key, then name.

    Args:
        paths: Spools.
        first_key: First key.
        end_key: First key behind the range, at most 2^64.

    Yields:
        Record batches of one row.

    Raises:
        IntegrityError: A spool is cut short or damaged.
    """
    entries = [(*entry, path) for path in paths for entry in _entries(path, first_key, end_key)]
    entries.sort(key=lambda entry: (entry[0], entry[1]))
    for _, equal in groupby(entries, key=itemgetter(0)):
        # Keys are equal where alignments are, hardly ever otherwise: what is held together is one alignment, repeated.
        yield from sorted((_fetch(path, offset, size) for _, offset, size, path in equal), key=_rank)


def _entries(path: Path, first_key: int, end_key: int) -> list[tuple[int, int, int]]:
    try:
        index = np.load(path.with_suffix(".npy"), mmap_mode="r")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    start = np.searchsorted(index["key"], np.uint64(first_key), side="left")
    # 2^64 is no uint64: the last key of the range is compared instead.
    end = np.searchsorted(index["key"], np.uint64(end_key - 1), side="right")
    found: list[tuple[int, int, int]] = index[start:end].tolist()
    return found


def _fetch(path: Path, offset: int, size: int) -> pa.RecordBatch:
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            frame = zstandard.ZstdDecompressor().decompress(stream.read(size))
        return pa.ipc.read_record_batch(pa.py_buffer(frame), SPOOL_SCHEMA)
    except (OSError, zstandard.ZstdError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _rank(record: pa.RecordBatch) -> tuple[object, ...]:
    """What decides between alignments of one key: names, and then everything else."""
    return tuple(record.column(name)[0].as_py() for name in ("accession", "accessions", "source", "rows"))


def _damaged(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(f"{path}: spooled alignments cannot be read: {error}", hint="run again with --overwrite")
