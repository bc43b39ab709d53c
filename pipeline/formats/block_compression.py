"""BGZF, the blocked gzip of bgzip and htslib: where its blocks start, found without reading what is in front of them.

::

    31 139 8 4 │ time, system │ XLEN │ … 'B' 'C' 2 0 BSIZE … │ deflate data │ CRC32 ISIZE │ 31 139 8 4 …
    0          4              10     12                                                   BSIZE + 1

A file is a row of gzip members, called blocks, of at most 64 KiB each, before compression and behind it; a field in its
header says how long each is (SAM specification, section 4.1). So a block starts within the 64 KiB behind any byte. The
same bytes can occur by chance or on purpose inside a block. They are taken for a header only if the block they announce
is followed by another one, and so on for 64 KiB, farther than any block reaches.

An empty block ends what bgzip writes: without it, a file that was cut off between two blocks looks complete.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"\x1f\x8b\x08\x04"
_END_MARKER = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_LONGEST_BLOCK = 1 << 16
_WINDOW = 4 * _LONGEST_BLOCK
"""A block starts in the first quarter, 64 KiB of others follow, and the header of the next one fits as well."""
_FIELDS_START = 12
_FIELD_HEAD_BYTES = 4


def block_starts(file: BinaryIO, wanted: Iterable[int]) -> Iterator[int]:
    """Find blocks by reading 256 KiB each.

    Args:
        file: A gzip file that can be sought in.
        wanted: Bytes of the compressed file.

    Yields:
        For each wanted byte the first start of a block at or behind it. A byte near which there is no row of blocks
        (other members, damage) is left out, as are all if the file does not begin with a block.
    """
    if not _begins_with_block(file):
        return
    for byte in wanted:
        file.seek(byte)
        start = _find_row(file.read(_WINDOW))
        if start is not None:
            yield byte + start


def lacks_end_marker(path: Path) -> bool:
    """Whether a file begins like BGZF and does not end with the empty block that bgzip puts last."""
    with path.open("rb") as file:
        if not _begins_with_block(file):
            return False
        file.seek(max(0, path.stat().st_size - len(_END_MARKER)))
        return file.read() != _END_MARKER


def _begins_with_block(file: BinaryIO) -> bool:
    file.seek(0)
    return _block_size(file.read(_WINDOW), 0) is not None


def _find_row(window: bytes) -> int | None:
    """The first byte at which a row of blocks starts."""
    passed: set[int] = set()
    start = -1
    while (start := window.find(_MAGIC, start + 1, _LONGEST_BLOCK + len(_MAGIC) - 1)) >= 0:
        if _is_row(window, start, passed):
            return start
    return None


def _is_row(window: bytes, start: int, passed: set[int]) -> bool:
    """Whether blocks follow each other from a byte on, for 64 KiB or to the end of the file.

    What it comes through is added to ``passed``: a row that comes upon another breaks where that one broke.
    """
    position = start
    while position <= start + _LONGEST_BLOCK:
        if position == len(window) < _WINDOW:
            return True
        size = None if position in passed else _block_size(window, position)
        if size is None:
            return False
        passed.add(position)
        position += size
    return True


def _block_size(window: bytes, start: int) -> int | None:
    """Bytes of the block whose header is there; None if there is none."""
    if not window.startswith(_MAGIC, start):
        return None
    position = start + _FIELDS_START
    end = position + int.from_bytes(window[position - 2 : position], "little")
    while position + _FIELD_HEAD_BYTES <= end:
        head = window[position : position + _FIELD_HEAD_BYTES]
        position += _FIELD_HEAD_BYTES + int.from_bytes(head[2:], "little")
        if head == b"BC\x02\x00" and position <= len(window):
            return int.from_bytes(window[position - 2 : position], "little") + 1
    return None
