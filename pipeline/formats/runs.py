"""Sorted runs: what lies between reading the input and merging it into parts.

::

    .scratch/chunk-00000.arrow            Arrow IPC; one run after another
      run 0   bucket 0 | bucket 1 | … | bucket B − 1        one record batch for each range of record keys
      run 1   bucket 0 | bucket 1 | … | bucket B − 1
      footer  where each batch is

Within a run records are sorted by record key; bucket b holds the keys in [b · 2^64 / B, (b + 1) · 2^64 / B). A merge
reads the batches of its keys from every run with plain reads, so memory holds what is read and no mapped pages.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.errors import IntegrityError
from pipeline.formats.corpus import key_range

RUN_SCHEMA = pa.schema(
    [
        ("record_key", pa.uint64()),
        ("sequence", pa.large_string()),
        ("accession", pa.large_string()),
        ("source", pa.large_string()),
        ("taxon_id", pa.uint32()),
        ("cluster", pa.large_string()),
        ("description", pa.large_string()),
    ]
)
"""Columns of a run."""


class RunWriter:
    """Writes the runs of one file, in any number."""

    def __init__(self, writer: pa.ipc.RecordBatchFileWriter, num_buckets: int) -> None:
        self._writer = writer
        starts = [key_range(bucket, num_buckets)[0] for bucket in range(1, num_buckets)]
        self._starts = np.array(starts, dtype=np.uint64)

    def write(self, run: pa.Table) -> None:
        """Sort records by key and append them as one run.

        Args:
            run: Columns of ``RUN_SCHEMA``, in any order of rows.
        """
        whole = run.combine_chunks()
        keys = whole.column("record_key").to_numpy()
        order = np.argsort(keys, kind="stable")
        bounds = [0, *np.searchsorted(keys[order], self._starts).tolist(), len(keys)]
        for start, end in pairwise(bounds):
            # Bucket by bucket, so that no second copy of the whole run is made.
            chosen = whole.take(pa.array(order[start:end]))
            self._writer.write_batch(chosen.to_batches()[0] if end > start else _EMPTY)


_EMPTY = pa.RecordBatch.from_pylist([], RUN_SCHEMA)


@contextmanager
def run_writer(path: Path, num_buckets: int) -> Iterator[RunWriter]:
    """A writer of runs with ``num_buckets`` buckets, a power of two."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, RUN_SCHEMA) as writer:
        yield RunWriter(writer, num_buckets)


def read_range(paths: Iterable[Path], first_key: int, end_key: int, num_buckets: int) -> pa.Table:
    """The records of a range of keys, from every run of some files.

    Args:
        paths: Run files.
        first_key: First record key.
        end_key: First record key behind the range, at most 2^64.
        num_buckets: What the files were written with.

    Returns:
        Columns of ``RUN_SCHEMA``, not sorted.

    Raises:
        IntegrityError: A run file is cut short or damaged.
    """
    batches = [batch for path in paths for batch in _batches(path, first_key, end_key, num_buckets)]
    return pa.Table.from_batches(batches, RUN_SCHEMA)


def _batches(path: Path, first_key: int, end_key: int, num_buckets: int) -> Iterator[pa.RecordBatch]:
    width = (1 << 64) // num_buckets
    buckets = range(first_key // width, -(-end_key // width))
    try:
        with pa.OSFile(str(path), "rb") as source:
            reader = pa.ipc.open_file(source)
            for run in range(0, reader.num_record_batches, num_buckets):
                for bucket in buckets:
                    yield _slice(reader.get_batch(run + bucket), first_key, end_key)
    except (pa.ArrowException, OSError) as error:
        message = f"{path}: a sorted run cannot be read: {error}"
        raise IntegrityError(message, hint="run again with --overwrite") from error


def _slice(batch: pa.RecordBatch, first_key: int, end_key: int) -> pa.RecordBatch:
    keys = batch.column("record_key").to_numpy()
    start = int(np.searchsorted(keys, np.uint64(first_key), side="left"))
    # 2^64 is no uint64: the last key of the range is compared instead.
    end = int(np.searchsorted(keys, np.uint64(end_key - 1), side="right"))
    return batch.slice(start, end - start)
