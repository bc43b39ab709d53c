"""A file somewhere else: what is known of it, and what can go wrong while it is read.

An origin says what it knows of the file (:class:`RemoteFacts`) and gives the bytes of a range, or one of four faults::

    ConnectionLostError   may pass: refused, dropped, stalled, cut short, 408, 429, 5xx      try again
    RangeRefusedError     whole file or another range than was asked for                     one stream, from the start
    FileChangedError      not the file that the facts describe (validator, size)             start over
    TransferError         will not pass: no such file, no permission, no such host           give up
"""

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit, urlunsplit

_SECRETS = re.compile(r"(?i)sig|token|key|credential|secret|passw|auth|^x-(amz|goog)-")


class RangeRefusedError(Exception):
    """The server gives no ranges, or wrong ones."""


class FileChangedError(Exception):
    """The file is another one than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFacts:
    """What an origin says of a file."""

    num_bytes: int | None
    """Its size, if it says."""
    etag: str | None = None
    """A strong validator: another one means other bytes."""
    modified: str | None = None
    """When it was last changed."""
    takes_ranges: bool = False
    """Whether parts of it can be had."""

    @property
    def validator(self) -> str | None:
        """What a part can be made to depend on."""
        return self.etag or self.modified

    def contradicts(self, other: "RemoteFacts") -> bool:
        """Whether both cannot be of the same bytes. What one of them does not say is no contradiction."""
        if None not in (self.num_bytes, other.num_bytes) and self.num_bytes != other.num_bytes:
            return True
        if self.etag and other.etag:
            return self.etag != other.etag
        return bool(self.modified and other.modified and self.modified != other.modified)


class Origin(Protocol):
    """A file somewhere else."""

    where: str
    """Its address, without secrets."""

    def facts(self) -> RemoteFacts:
        """What is known of the file now."""
        ...

    def blocks(self, facts: RemoteFacts, start: int, end: int | None) -> Generator[bytes]:
        """The bytes from ``start`` to ``end`` (None: to the end of the file) of the file that ``facts`` describe.

        Ends without an error only when every byte was given.
        """
        ...


def without_secrets(url: str) -> str:
    """An address that may be printed and kept: no user name, and no query that holds a signature or a token."""
    parts = urlsplit(url)
    if not parts.netloc:
        return url
    is_secret = any(_SECRETS.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    return urlunsplit(
        parts._replace(netloc=parts.netloc.rpartition("@")[2], query="" if is_secret else parts.query, fragment="")
    )
