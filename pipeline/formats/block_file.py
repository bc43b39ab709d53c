"""Blocks of bytes as a file object, for libraries that read from one (tarfile, Arrow's CSV reader).

Reads forward only, and holds one block at a time.
"""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class BlockFile(io.RawIOBase):
    """A binary file object whose content is the blocks joined.

    Args:
        blocks: None of them empty.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        super().__init__()
        self._blocks = blocks
        self._block = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill the start of a buffer with what is left of a block; 0 at the end."""
        if not self._block:
            self._block = memoryview(next(self._blocks, b""))
        target = memoryview(buffer).cast("B")
        num_bytes = min(len(target), len(self._block))
        target[:num_bytes] = self._block[:num_bytes]
        self._block = self._block[num_bytes:]
        return num_bytes
