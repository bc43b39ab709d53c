"""How the work is cut: chunks of input, runs of records, buckets of keys; all but the chunks follow from the memory.

::

    input   │ chunk │ chunk │ chunk │            a task each
    runs    [run][run] [run][run] …              sorted, as large as memory allows
    keys    bucket 0 │ bucket 1 │ …              a merge reads some buckets of every run

None of it has an influence on the corpus.
"""

from collections.abc import Sequence

from pipeline.formats.corpus import power_of_two_above
from pipeline.stages.ingest.inputs import InputFile

CHUNK_BYTES = 32 << 20
"""Plain files are cut into chunks of this size, or larger ones …"""
MAX_CHUNKS = 512
"""… so that there are at most about so many."""
FIXED_BYTES = 220_000_000
"""What a worker needs whatever it holds: the libraries, blocks of text, a row group."""
COPIES = 4
"""A run is held about three times while it is sorted; measured peaks stay below four."""
MIN_RUN_BYTES, MAX_RUN_BYTES = 8 << 20, 512 << 20
RUN_BYTES = 32 << 20
"""A run need not be larger, if memory allows it …"""
MAX_RUNS = 512
"""… unless there would be more of them than so many: each merge reads a piece of every run."""
EXPANSION = {"none": 1.25}
"""What a file grows to in the runs, about; only the number of buckets follows from it."""
COMPRESSED_EXPANSION = 5
COMPRESSED_RATIO = 3
"""A chunk of compressed FASTA is as much smaller."""
MAX_BUCKETS = 4096


def run_bytes_for(worker_bytes: int, files: Sequence[InputFile]) -> int:
    """Decoded bytes of a run, and of a slice of a merge, so that a worker keeps to its memory."""
    affordable = min(MAX_RUN_BYTES, (worker_bytes - FIXED_BYTES) // COPIES)
    return max(MIN_RUN_BYTES, min(affordable, max(RUN_BYTES, _expected_bytes(files) // MAX_RUNS)))


def chunk_bytes_for(files: Sequence[InputFile], file: InputFile) -> int:
    """Bytes of a chunk of one of the files, as they lie on disk.

    Tasks of half a second or more, and not so many that a merge opens a thousand files.
    """
    chunk_bytes = max(CHUNK_BYTES, sum(each.num_bytes for each in files) // MAX_CHUNKS)
    return chunk_bytes if file.compression == "none" else chunk_bytes // COMPRESSED_RATIO


def num_buckets_for(files: Sequence[InputFile], run_bytes: int) -> int:
    """Enough that a bucket of all runs fits into memory, whatever the input grows to when decompressed."""
    return min(MAX_BUCKETS, power_of_two_above(_expected_bytes(files) / run_bytes))


def _expected_bytes(files: Sequence[InputFile]) -> int:
    return int(sum(file.num_bytes * EXPANSION.get(file.compression, COMPRESSED_EXPANSION) for file in files))
