"""Sorted runs: what lies between reading the input and merging it into parts.

::

    .scratch/chunk-00000.arrow            Arrow IPC; one run after another
      run 0   bucket 0 | bucket 1 | … | bucket B − 1        one record batch for each range of record keys
      run 1   bucket 0 | bucket 1 | … | bucket B − 1
      footer  where each batch is

Within a run records are sorted by record key and those of equal sequence are merged; bucket b holds the keys in
[b · 2^64 / B, (b + 1) · 2^64 / B), and the file says what B is. A merge reads the batches of its keys from every run
with plain reads, so memory holds what is read and no mapped pages.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.errors import IntegrityError
from pipeline.formats.corpus import key_range
from pipeline.formats.duplicates import MERGED_SCHEMA, RECORD_SCHEMA, find_survivors, standing_alone

_NUM_BUCKETS = b"num_buckets"


class RunWriter:
    """Gathers records to runs and writes them to one file."""

    def __init__(
        self,
        writer: pa.ipc.RecordBatchFileWriter,
        *,
        num_buckets: int,
        run_bytes: int,
        source_priority: Sequence[str],
    ) -> None:
        self._writer = writer
        self._run_bytes = run_bytes
        self._source_priority = source_priority
        starts = [key_range(bucket, num_buckets)[0] for bucket in range(1, num_buckets)]
        self._starts = np.array(starts, dtype=np.uint64)
        self._gathered: list[pa.RecordBatch] = []
        self._num_bytes = 0

    def add(self, records: pa.RecordBatch) -> None:
        """Append records, columns of ``RECORD_SCHEMA``, in any order."""
        self._gathered.append(records)
        self._num_bytes += records.nbytes
        if self._num_bytes >= self._run_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered as one run."""
        if not self._gathered:
            return
        run = standing_alone(pa.Table.from_batches(self._gathered, RECORD_SCHEMA).combine_chunks())
        # The pieces are freed before the sorted copy is made.
        self._gathered, self._num_bytes = [], 0
        survivors = find_survivors(run, self._source_priority)
        keys = run.column("record_key").to_numpy()[survivors.rows]
        for start, end in pairwise([0, *np.searchsorted(keys, self._starts).tolist(), len(keys)]):
            # Bucket by bucket, so that no second copy of the whole run is made.
            bucket = survivors.of(run, start, end).combine_chunks()
            self._writer.write_batch(bucket.to_batches()[0] if end > start else _empty())


def _empty() -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in MERGED_SCHEMA], schema=MERGED_SCHEMA)


@contextmanager
def run_writer(
    path: Path, *, num_buckets: int, run_bytes: int, source_priority: Sequence[str] = ()
) -> Iterator[RunWriter]:
    """A writer of runs.

    Args:
        path: The file.
        num_buckets: Ranges of the key space in each run, a power of two.
        run_bytes: Decoded bytes of a run; memory is about three times as much.
        source_priority: Whose record survives where sequences are equal.
    """
    schema = MERGED_SCHEMA.with_metadata({_NUM_BUCKETS: str(num_buckets)})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        runs = RunWriter(writer, num_buckets=num_buckets, run_bytes=run_bytes, source_priority=source_priority)
        yield runs
        runs.flush()


def read_range(paths: Iterable[Path], first_key: int, end_key: int) -> pa.Table:
    """The records of a range of keys, from every run of some files.

    Args:
        paths: Run files.
        first_key: First record key.
        end_key: First record key behind the range, at most 2^64.

    Returns:
        Columns of ``MERGED_SCHEMA``, not sorted.

    Raises:
        IntegrityError: A run file is cut short or damaged.
    """
    batches = [batch for path in paths for batch in _batches(path, first_key, end_key)]
    return pa.Table.from_batches(batches, MERGED_SCHEMA)


def _batches(path: Path, first_key: int, end_key: int) -> Iterator[pa.RecordBatch]:
    try:
        with pa.OSFile(str(path), "rb") as source:
            reader = pa.ipc.open_file(source)
            num_buckets = int(reader.schema.metadata[_NUM_BUCKETS])
            width = (1 << 64) // num_buckets
            buckets = range(first_key // width, -(-end_key // width))
            for run in range(0, reader.num_record_batches, num_buckets):
                for bucket in buckets:
                    if (found := _slice(reader.get_batch(run + bucket), first_key, end_key)).num_rows:
                        yield found
    except (pa.ArrowException, OSError) as error:
        message = f"{path}: a sorted run cannot be read: {error}"
        raise IntegrityError(message, hint="run again with --overwrite") from error


def _slice(batch: pa.RecordBatch, first_key: int, end_key: int) -> pa.RecordBatch:
    keys = batch.column("record_key").to_numpy()
    start = int(np.searchsorted(keys, np.uint64(first_key), side="left"))
    # 2^64 is no uint64: the last key of the range is compared instead.
    end = int(np.searchsorted(keys, np.uint64(end_key - 1), side="right"))
    return batch.slice(start, end - start)
