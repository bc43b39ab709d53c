"""Digests of a file that is still growing.

The reader follows the bytes that are there from the start without a hole. What it hashes is what is in the file, read
back while it is still in memory, not what was meant to be written.
"""

import os
from collections.abc import Callable
from pathlib import Path

import xxhash

from pipeline.errors import ConfigurationError
from pipeline.formats.checksums import Checksum, Hasher

BLOCK_BYTES = 1 << 20


class FileDigests:
    """Digests of the first ``position`` bytes of an open file.

    Args:
        descriptor: The file, open for reading.
        checksum: The publisher's, whose algorithm is wanted beside ours.
    """

    def __init__(self, descriptor: int, checksum: Checksum | None = None) -> None:
        self._descriptor = descriptor
        self._factories: dict[str, Callable[[], Hasher]] = {"xxh3_64": xxhash.xxh3_64, "xxh3_128": xxhash.xxh3_128}
        if checksum is not None:
            self._factories[checksum.algorithm] = checksum.hasher
        self._begin(0)

    def _begin(self, edition: int) -> None:
        self.position = 0
        self._edition = edition
        self._hashers = {name: factory() for name, factory in self._factories.items()}

    def follow(self, prefix: int, *, edition: int = 0, most: int | None = None) -> None:
        """Hash on up to byte ``prefix``, or ``most`` bytes of the way; from the start, if the edition is another."""
        if edition != self._edition:
            self._begin(edition)
        end = prefix if most is None else min(prefix, self.position + most)
        while self.position < end:
            block = os.pread(self._descriptor, min(BLOCK_BYTES, end - self.position), self.position)
            if not block:
                return
            for hasher in self._hashers.values():
                hasher.update(block)
            self.position += len(block)

    def hexadecimal(self) -> dict[str, str]:
        """Digest by algorithm."""
        return {name: hasher.hexdigest() for name, hasher in self._hashers.items()}


def digests_of(path: Path, checksum: Checksum | None = None) -> tuple[int, dict[str, str]]:
    """Size of a file and its digests by algorithm: xxh3_64, xxh3_128, and that of the checksum.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            digests = FileDigests(stream.fileno(), checksum)
            digests.follow(os.fstat(stream.fileno()).st_size)
            return digests.position, digests.hexadecimal()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}", hint="check the path") from error
