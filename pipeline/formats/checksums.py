"""A publisher's checksum, as ``algorithm:hexadecimal``.

::

    md5:9e107d9d372bb6826bd81d3542a419d6
    sha256:d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592

MD5 is what UniProt publishes: proof against accidents, not against an adversary; whoever has a SHA-256 gives that.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import ConfigurationError


class Hasher(Protocol):
    """What hashlib and xxhash have in common."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""
        ...

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""
        ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """An algorithm and the digest it must give, both in lower case."""

    algorithm: str
    hexadecimal: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hexadecimal}"

    def hasher(self) -> Hasher:
        """A fresh hasher of the algorithm."""
        # FIPS builds of OpenSSL refuse MD5 unless told that nothing secret hangs on it.
        return hashlib.new(self.algorithm, usedforsecurity=False)


def parse_checksum(text: str) -> Checksum:
    """A checksum from ``algorithm:hexadecimal``; ``sha-256`` and upper case are understood.

    Raises:
        ConfigurationError: Unknown algorithm, or a digest that is not of its length.
    """
    name, _, digits = text.strip().lower().partition(":")
    algorithm = name.replace("-", "")
    if algorithm not in HEX_DIGITS:
        raise ConfigurationError(
            f"checksum {text!r}: expected algorithm:hexadecimal with one of {', '.join(HEX_DIGITS)}",
            hint="for example md5:9e107d9d372bb6826bd81d3542a419d6",
        )
    wanted = HEX_DIGITS[algorithm]
    if not re.fullmatch(rf"[0-9a-f]{{{wanted}}}", digits):
        raise ConfigurationError(
            f"checksum {text!r}: expected {wanted} hexadecimal digits for {algorithm}, found {len(digits)} characters"
        )
    return Checksum(algorithm, digits)


HEX_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
"""Algorithms and the length of their digests, weakest first."""
