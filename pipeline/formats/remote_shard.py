"""A shard that is somewhere else: its footer and the bytes of its row groups are fetched, then decoded as ever.

::

    row group   │ input_ids │ sequence_id │ lengths │ accessions │ record_keys │ starts │ …
    wanted        ▔▔▔▔▔▔▔▔▔                 ▔▔▔▔▔▔▔                ▔▔▔▔▔▔▔▔▔▔▔   ▔▔▔▔▔▔
    fetched       ├────────────── one range: gaps of up to 1/16 of what is wanted ─────┤

What does not decode is fetched once more, past any cache, before it counts as damaged.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import IntegrityError
from pipeline.formats.shards import RowGroup, ShardFile

Range = tuple[int, int]
"""Bytes ``start:end`` of a file."""
ReadRange = Callable[[int, int, bool], bytes]
"""Gives the bytes of a range; the flag asks for fresh ones, not from a cache."""

MOST_WASTE = 1 / 16
"""Bytes between wanted ones that are fetched along, for each wanted one, to save a request."""
_TAIL_BYTES = 8
_FOOTER_BYTES, _FOOTER_BYTES_PER_GROUP = 4096, 768
"""A guess, a little over what our writer makes: 730 bytes a row group, and the schema."""
_MAGIC = b"PAR1"


class RemoteShardFile(ShardFile):
    """A shard whose bytes are fetched.

    Args:
        where: Its address, for messages.
        footer: What :func:`fetch_footer` returned.
        num_bytes: Size of the file.

    Raises:
        IntegrityError: The footer cannot be read, or is not that of one of our shards.
    """

    def __init__(self, where: str, footer: bytes, *, num_bytes: int) -> None:
        self._footer_bytes = footer
        self._num_bytes = num_bytes
        super().__init__(where)

    def _read_footer(self) -> pq.FileMetaData:
        return pq.read_metadata(pa.BufferReader(self._footer_bytes))

    def fetch(self, index: int, columns: Sequence[str], read: ReadRange, *, fresh: bool = False) -> "FetchedRanges":
        """The bytes of some columns of a row group.

        Args:
            index: Of the row group.
            columns: Their names.
            read: Gives bytes of the file.
            fresh: Whether they have to come from where the file is.
        """
        ranges = with_gaps(self._column_ranges(index, columns))
        parts = [(start, read(start, end, fresh)) for start, end in ranges]
        return FetchedRanges(parts, self._num_bytes, lambda: self.fetch(index, columns, read, fresh=True))

    def _column_ranges(self, index: int, columns: Sequence[str]) -> list[Range]:
        with self._decoding(index):
            group = self._footer.row_group(index)
            ranges = []
            for chunk in (group.column(column) for column in range(group.num_columns)):
                if chunk.path_in_schema.split(".")[0] in columns:
                    pages = (chunk.dictionary_page_offset, chunk.data_page_offset)
                    start = min(offset for offset in pages if offset is not None)
                    ranges.append((start, start + chunk.total_compressed_size))
            if not all(0 < start <= end <= self._num_bytes for start, end in ranges):
                raise ValueError("its footer points outside the file")
            return ranges

    def read_columns(self, index: int, columns: Sequence[str], *, source: "FetchedRanges | None" = None) -> RowGroup:
        """As :meth:`ShardFile.read_columns`, from bytes that were fetched before."""
        assert source is not None, "a remote shard is fetched, then decoded"
        try:
            return super().read_columns(index, columns, source=source.file())
        except IntegrityError:
            return super().read_columns(index, columns, source=source.again().file())

    def _opened(self, source: Any = None) -> pq.ParquetFile:
        # Without pre_buffer each column is read alone: nothing is asked for between them.
        return pq.ParquetFile(source, metadata=self._footer, pre_buffer=False, page_checksum_verification=True)


class FetchedRanges:
    """Some bytes of a file, and the way to get them once more."""

    def __init__(self, parts: list[tuple[int, bytes]], num_bytes: int, again: Callable[[], "FetchedRanges"]) -> None:
        self._parts = parts
        self._num_bytes = num_bytes
        self.again = again

    def file(self) -> pa.PythonFile:
        """The file, as far as it was fetched."""
        return pa.PythonFile(_Parts(self._parts, self._num_bytes), mode="r")


class _Parts(io.RawIOBase):
    def __init__(self, parts: list[tuple[int, bytes]], num_bytes: int) -> None:
        self._parts = [(start, memoryview(data)) for start, data in parts]
        self._num_bytes = num_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._num_bytes}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> memoryview:
        position = self._position
        for start, data in self._parts:
            if start <= position and position + size <= start + len(data):
                self._position += size
                return data[position - start : position - start + size]
        raise OSError(f"bytes {position}-{position + size} are outside the columns that the footer names")


def fetch_footer(where: str, read: ReadRange, *, num_bytes: int, num_groups: int) -> bytes:
    """The last bytes of a shard, from the beginning of its footer: one request, or two where the guess is too low.

    Args:
        where: Address of the shard, for messages.
        read: Gives bytes of the file.
        num_bytes: Size of the file.
        num_groups: Row groups in it.

    Raises:
        IntegrityError: The file does not end as a Parquet file does.
    """
    guess = min(num_bytes, _FOOTER_BYTES + _FOOTER_BYTES_PER_GROUP * num_groups)
    for fresh in (False, True):
        tail = read(num_bytes - guess, num_bytes, fresh)
        length = int.from_bytes(tail[-_TAIL_BYTES:-4], "little") + _TAIL_BYTES
        if tail[-4:] == _MAGIC and length <= num_bytes:
            break
    else:
        raise IntegrityError(
            f"{where}: expected a Parquet file of {num_bytes:,} bytes, found one that ends otherwise",
            hint="make the shards again",
        )
    if length > guess:
        tail = read(num_bytes - length, num_bytes - guess, fresh) + tail
    return tail[-length:]


def with_gaps(ranges: list[Range]) -> list[Range]:
    """Ranges joined over the smallest gaps between them, as long as these are at most 1/16 of the bytes wanted.

    Args:
        ranges: In order, without overlap.
    """
    allowed = MOST_WASTE * sum(end - start for start, end in ranges)
    gaps = sorted((ranges[at + 1][0] - ranges[at][1], at) for at in range(len(ranges) - 1))
    joined = set()
    for gap, at in gaps:
        if gap > allowed:
            break
        allowed -= gap
        joined.add(at)
    merged: list[Range] = []
    for at, (start, end) in enumerate(ranges):
        if at - 1 in joined:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged
