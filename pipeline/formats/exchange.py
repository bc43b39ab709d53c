"""Rows that tasks hand to other tasks: each row goes to a bucket, and each bucket is read alone.

::

    .scratch/pairs-00003.arrow            Arrow IPC; one run after another
      run 0   bucket 0 | bucket 1 | … | bucket B − 1        one record batch each, rows in the order they came
      run 1   bucket 0 | bucket 1 | … | bucket B − 1

The same layout as sorted runs (``formats.runs``), for rows of any schema that need no order. Memory: a run while it is
written, what is in the bucket while it is read.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import IntegrityError
from pipeline.formats.storage import atomic_path

RUN_BYTES = 32 << 20


class ExchangeWriter:
    """Gathers rows to runs and writes them to one file."""

    def __init__(self, writer: pa.ipc.RecordBatchFileWriter, schema: pa.Schema, num_buckets: int) -> None:
        self._writer = writer
        self._schema = schema
        self._num_buckets = num_buckets
        self._gathered: list[pa.Table] = []
        self._buckets: list[npt.NDArray[np.int64]] = []
        self._num_bytes = 0

    def add(self, columns: dict[str, Any], buckets: npt.NDArray[np.int64]) -> None:
        """Append rows.

        Args:
            columns: Arrays by name, those of the schema.
            buckets: int64 [rows], from 0 to the number of buckets, exclusive.
        """
        rows = pa.table({field.name: _column(columns[field.name], field.type) for field in self._schema}, self._schema)
        self._gathered.append(rows)
        self._buckets.append(buckets)
        self._num_bytes += rows.nbytes + buckets.nbytes
        if self._num_bytes >= RUN_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered as one run."""
        if not self._gathered:
            return
        rows, buckets = pa.concat_tables(self._gathered).combine_chunks(), np.concatenate(self._buckets)
        self._gathered, self._buckets, self._num_bytes = [], [], 0
        order = np.argsort(buckets, kind="stable")
        bounds = np.searchsorted(buckets[order], np.arange(self._num_buckets + 1))
        for start, end in pairwise(bounds.tolist()):
            bucket = rows.take(pa.array(order[start:end])).combine_chunks()
            empty = pa.RecordBatch.from_pylist([], schema=self._schema)
            self._writer.write_batch(bucket.to_batches()[0] if end > start else empty)


def _column(values: Any, kind: pa.DataType) -> Any:
    return values.cast(kind) if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)


@contextmanager
def exchange_writer(path: Path, schema: pa.Schema, num_buckets: int) -> Iterator[ExchangeWriter]:
    """A writer of one exchange file, which appears when the block ends."""
    with atomic_path(path, durable=False) as temporary:
        metadata = {_NUM_BUCKETS: str(num_buckets)}
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema.with_metadata(metadata)) as writer:
            exchange = ExchangeWriter(writer, schema, num_buckets)
            yield exchange
            exchange.flush()


_NUM_BUCKETS = b"num_buckets"


def read_bucket(paths: Iterable[Path], bucket: int, schema: pa.Schema) -> pa.Table:
    """The rows of one bucket, from every run of some files, in the order of the files.

    Raises:
        IntegrityError: A file is cut short or damaged.
    """
    batches = [batch for path in paths for batch in _batches(path, bucket)]
    return pa.Table.from_batches([batch.replace_schema_metadata() for batch in batches], schema)


def _batches(path: Path, bucket: int) -> Iterator[pa.RecordBatch]:
    try:
        with pa.OSFile(str(path), "rb") as source:
            reader = pa.ipc.open_file(source)
            num_buckets = int(reader.schema.metadata[_NUM_BUCKETS])
            for run in range(0, reader.num_record_batches, num_buckets):
                if (batch := reader.get_batch(run + bucket)).num_rows:
                    yield batch
    except (pa.ArrowException, OSError) as error:
        message = f"{path}: intermediate rows cannot be read: {error}"
        raise IntegrityError(message, hint="run again with --overwrite") from error


def hash_buckets(hashes: npt.NDArray[np.uint64], num_buckets: int) -> npt.NDArray[np.int64]:
    """Bucket of each hash: int64 [rows]."""
    return (hashes % np.uint64(num_buckets)).astype(np.int64)


def scratch_paths(folder: Path, names: Sequence[str]) -> list[Path]:
    """Paths of intermediate files, in the order of their names."""
    return [folder / name for name in sorted(names)]
