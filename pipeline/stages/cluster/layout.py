"""Where records are: a record's number counts through all parts of the corpus in order, from 0."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.formats.corpus import record_keys
from pipeline.formats.exchange import hash_buckets
from pipeline.formats.manifest import File

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusLayout:
    """The parts of a corpus, and the number of the first record of each."""

    folder: str
    names: tuple[str, ...]
    starts: tuple[int, ...]
    """[parts + 1], the last one being the number of records."""

    @property
    def num_parts(self) -> int:
        """Parts; rows that are exchanged go to as many buckets."""
        return len(self.names)

    @property
    def num_records(self) -> int:
        """Records of all parts."""
        return self.starts[-1]

    def path(self, part: int) -> Path:
        """Of a part."""
        return Path(self.folder) / self.names[part]

    def part_of(self, numbers: Int64Array) -> Int64Array:
        """int64 [records]: the part in which each record is."""
        # The last of parts that start with the same record: those before it are empty.
        return np.searchsorted(np.array(self.starts[:-1]), numbers, side="right") - 1

    def numbers(self, part: int) -> Int64Array:
        """Of the records of a part, in order."""
        return np.arange(self.starts[part], self.starts[part + 1], dtype=np.int64)


def corpus_layout(folder: Path, files: Sequence[File]) -> CorpusLayout:
    """The layout of a corpus, from its manifest alone."""
    starts = np.cumsum([0, *(file.rows for file in files)]).tolist()
    return CorpusLayout(folder=str(folder), names=tuple(file.path for file in files), starts=tuple(starts))


def name_buckets(names: pa.Array | pa.ChunkedArray, num_buckets: int) -> Int64Array:
    """Bucket of each name: equal names share one."""
    array = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
    encoded = array.dictionary_encode()
    hashes = record_keys(encoded.dictionary)
    buckets: Int64Array = hash_buckets(hashes, num_buckets)[encoded.indices.to_numpy()]
    return buckets
