"""The seek table at the end of a seekable zstd file: where its frames start.

::

    │ frame │ … │ 0x184D2A5E │ size │ for each: compressed, decompressed (, checksum) │ frames │ flags │ 0x8F92EAB1 │
                  4            4                4           4               4           4        1       4

(https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md). All numbers are
little-endian. The table is a skippable frame, so every decoder of zstd reads such files. What pzstd, or zstd called
several times, writes has several frames and no table.

Memory: the table, 8 or 12 bytes for each frame.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

_HEADER = struct.Struct("<II")
_HEADER_MAGIC = 0x184D2A5E
_FOOTER = struct.Struct("<IBI")
_FOOTER_MAGIC = 0x8F92EAB1
_HAS_CHECKSUMS = 0x80
_RESERVED = 0x7C
"""Bits that a later version of the format would set."""


def frame_starts(file: BinaryIO, wanted: Iterable[int]) -> Iterator[int]:
    """Find frames by the seek table.

    Args:
        file: A zstd file that can be sought in.
        wanted: Bytes of the compressed file.

    Yields:
        For each wanted byte the first start of a frame at or behind it; bytes behind the start of the last frame are
        left out, as are all if the file has no seek table, or one that does not describe the whole of it.
    """
    starts = _read_seek_table(file)
    for byte in wanted:
        at = int(np.searchsorted(starts, byte))
        if at < len(starts):
            yield int(starts[at])


def _read_seek_table(file: BinaryIO) -> npt.NDArray[np.int64]:
    """int64[frames]: compressed byte at which each frame starts; empty if there is no table that fits the file."""
    no_table = np.empty(0, dtype=np.int64)
    size = file.seek(0, os.SEEK_END)
    if size < _HEADER.size + _FOOTER.size:
        return no_table
    file.seek(size - _FOOTER.size)
    num_frames, flags, magic = _FOOTER.unpack(file.read(_FOOTER.size))
    entry_words = 3 if flags & _HAS_CHECKSUMS else 2
    table_bytes = 4 * entry_words * num_frames + _FOOTER.size
    end = size - table_bytes - _HEADER.size
    if magic != _FOOTER_MAGIC or flags & _RESERVED or end < 0:
        return no_table
    file.seek(end)
    if _HEADER.unpack(file.read(_HEADER.size)) != (_HEADER_MAGIC, table_bytes):
        return no_table
    entries = np.frombuffer(file.read(table_bytes - _FOOTER.size), dtype="<u4").reshape(num_frames, entry_words)
    borders = np.concatenate(([0], entries[:, 0].cumsum(dtype=np.int64)))
    # Of files joined end to end, the last table describes the last file only.
    return borders[:-1] if borders[-1] == end else no_table
