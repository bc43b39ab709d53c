"""A file under way: its bytes in ``NAME.partial``, and beside it which of them are there.

::

    uniref50.fasta.gz.partial         as long as the file will be, with holes
      │████████████████│█████···········│████············│················│
       piece 0          piece 1          piece 2          piece 3           done = [16, 5, 4, 0]
    uniref50.fasta.gz.partial.json    identity, size, size of a piece, done

The document never claims more than is on the disk: bytes are flushed first, then it appears by rename. So a kill or a
power cut at any moment loses at most what came since the last checkpoint. It counts only for the same size and
identity (the server's validator); what differs, is cut short or cannot be read means starting over. The file gets its
name by one rename, after it was checked. One process at a time may hold it, by a lock that ends with the process.
"""

import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ArtefactError, ConfigurationError
from pipeline.formats.storage import read_json, write_json

PARTIAL_SUFFIX = ".partial"
DOCUMENT_SUFFIX = ".partial.json"

Result = TypeVar("Result")


class ClosedError(Exception):
    """The transfer was ended while this connection was waiting for bytes."""


@dataclass(slots=True)
class Pieces:
    """Which bytes of a file are there: ``done[i]`` from the start of piece i."""

    num_bytes: int | None
    """Size of the file; None until the end is reached: then there is one piece."""
    piece_bytes: int
    """Size of every piece but the last."""
    done: list[int]

    @classmethod
    def none_of(cls, num_bytes: int | None, piece_bytes: int) -> Self:
        """Nothing is there yet."""
        return cls(num_bytes, piece_bytes, [0] * (1 if num_bytes is None else -(-num_bytes // piece_bytes)))

    def bounds(self, piece: int) -> tuple[int, int | None]:
        """Where a piece starts and ends."""
        start = piece * self.piece_bytes
        return start, None if self.num_bytes is None else min(start + self.piece_bytes, self.num_bytes)

    def is_whole(self, piece: int) -> bool:
        """Whether all of a piece is there."""
        start, end = self.bounds(piece)
        return end is not None and self.done[piece] == end - start

    @property
    def missing(self) -> list[int]:
        """The pieces that are not whole, in order."""
        return [piece for piece in range(len(self.done)) if not self.is_whole(piece)]

    @property
    def prefix(self) -> int:
        """Bytes from the start of the file without a hole."""
        first = next(iter(self.missing), None)
        return sum(self.done) if first is None else first * self.piece_bytes + self.done[first]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    identity: str
    num_bytes: Annotated[int, Field(ge=0)]
    piece_bytes: Annotated[int, Field(gt=0)]
    done: tuple[Annotated[int, Field(ge=0)], ...]

    def pieces(self) -> Pieces | None:
        """What it claims, or None if that cannot be."""
        pieces = Pieces(self.num_bytes, self.piece_bytes, list(self.done))
        fresh = Pieces.none_of(self.num_bytes, self.piece_bytes)
        if len(pieces.done) != len(fresh.done):
            return None
        sizes = ((end or 0) - start for start, end in map(pieces.bounds, range(len(pieces.done))))
        return pieces if all(done <= size for done, size in zip(pieces.done, sizes, strict=True)) else None


class PartialFile:
    """The part of a file that has been fetched. A context manager: what it holds is written down when it closes.

    Args:
        path: The name that the file will have.
        url: Where it comes from; kept for people.
        num_bytes: Its size, if known.
        identity: What tells the file from another of this size; None: nothing earlier counts, nothing is kept.
        piece_bytes: Size of a piece, where no earlier attempt has chosen one.

    Raises:
        ConfigurationError: It cannot be written, there is no room for it, or another process holds it.
    """

    def __init__(self, path: Path, *, url: str, num_bytes: int | None, identity: str | None, piece_bytes: int) -> None:
        self.path = path
        self._partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._document = path.with_name(path.name + DOCUMENT_SUFFIX)
        self._url = url
        self._identity = identity
        self._lock = threading.Lock()
        self._is_closed = False
        self.edition = 0
        """How often bytes that were there may have become others."""
        self.descriptor = self._guarded(self._opened)
        try:
            earlier = self._earlier(num_bytes)
            self.pieces = earlier or Pieces.none_of(num_bytes, piece_bytes)
            self.num_resumed = sum(self.pieces.done)
            self._guarded(lambda: self._laid_out(starts_over=earlier is None))
        except BaseException:
            os.close(self.descriptor)
            raise

    def _opened(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                os.close(descriptor)
                raise ConfigurationError(
                    f"{self._partial}: another process is fetching this file", hint="wait for it, or stop it"
                ) from error
            # Some network file systems have no locks; nothing is lost but this check.
        if not self._partial.exists() or not os.path.samestat(self._partial.stat(), os.fstat(descriptor)):
            os.close(descriptor)
            raise ConfigurationError(f"{self.path}: another process has just fetched it", hint="run the command again")
        return descriptor

    def _earlier(self, num_bytes: int | None) -> Pieces | None:
        if self._identity is None or not self._document.exists():
            return None
        try:
            document = _Document.model_validate(read_json(self._document))
        except (ArtefactError, ValidationError):
            return None
        is_same = (document.identity, document.num_bytes) == (self._identity, num_bytes)
        is_there = os.fstat(self.descriptor).st_size == num_bytes
        return document.pieces() if is_same and is_there else None

    def _laid_out(self, *, starts_over: bool) -> None:
        if starts_over:
            self._document.unlink(missing_ok=True)
            os.ftruncate(self.descriptor, 0)
        size = self.pieces.num_bytes or 0
        self._check_room(size - os.fstat(self.descriptor).st_blocks * 512)
        os.ftruncate(self.descriptor, size)

    def _check_room(self, wanted: int) -> None:
        # A hole costs nothing, so the disk would fill up hours later. Reserving the blocks instead writes every byte
        # twice on file systems that cannot reserve.
        free = shutil.disk_usage(self.path.parent).free
        if wanted > free:
            raise ConfigurationError(
                f"{self.path}: {wanted:,} more bytes are needed, {free:,} are free on that disk",
                hint="free some space or choose another --out: what was fetched is kept",
            )

    def write(self, piece: int, block: bytes) -> None:
        """Add bytes to the end of what there is of a piece.

        Raises:
            ClosedError: The file was closed meanwhile.
            ConfigurationError: The disk is full, or cannot be written to.
        """
        with self._lock:
            if self._is_closed:
                raise ClosedError
            start = self.pieces.bounds(piece)[0] + self.pieces.done[piece]
            self._guarded(lambda: _write_all(self.descriptor, block, start))
            self.pieces.done[piece] += len(block)

    def forget(self, piece: int) -> None:
        """Begin a piece anew: its bytes came in one stream that cannot be gone on with."""
        with self._lock:
            self.edition += self.pieces.done[piece] > 0
            self.pieces.done[piece] = 0

    def ends_here(self) -> None:
        """The stream of a file of unknown size has ended: what there is, is the file."""
        self.pieces.num_bytes = self.pieces.piece_bytes = self.pieces.done[0]

    def checkpoint(self) -> None:
        """Write down what is there."""
        if self._identity is None or self.pieces.num_bytes is None:
            return
        with self._lock:
            done = tuple(self.pieces.done)
        self._guarded(lambda: os.fsync(self.descriptor))
        document = _Document(
            url=self._url,
            identity=self._identity,
            num_bytes=self.pieces.num_bytes,
            piece_bytes=self.pieces.piece_bytes,
            done=done,
        )
        write_json(self._document, document.model_dump(mode="json"))

    def finish(self) -> None:
        """Give the file its name."""
        self._guarded(self._named)

    def _named(self) -> None:
        os.ftruncate(self.descriptor, self.pieces.num_bytes or 0)
        os.fsync(self.descriptor)
        self._identity = None
        self._partial.replace(self.path)
        _sync_folder(self.path.parent)
        self._document.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove all of it."""
        self._identity = None
        self._partial.unlink(missing_ok=True)
        self._document.unlink(missing_ok=True)

    def _guarded(self, action: Callable[[], Result]) -> Result:
        try:
            return action()
        except OSError as error:
            raise ConfigurationError(
                f"{self.path}: cannot be written: {error.strerror or error}",
                hint="free some space or choose another --out, then run the same command again: "
                "what was fetched is kept",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: Any) -> None:
        with self._lock:
            self._is_closed = True
        try:
            # On a full disk there may be no room for the document either: the one before says less, and is true.
            with suppress(ConfigurationError):
                self.checkpoint()
        finally:
            os.close(self.descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove what a transfer of ``path`` that was killed has left beside it, now that the file is there."""
    for suffix in (PARTIAL_SUFFIX, DOCUMENT_SUFFIX):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _write_all(descriptor: int, block: bytes, start: int) -> None:
    view = memoryview(block)
    while view:
        written = os.pwrite(descriptor, view, start)
        view, start = view[written:], start + written


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
