"""Byte ranges of remote files on local disk: bounded, shared by processes, and never trusted unseen.

::

    folder/
      6f3c…-3a0be-4ec6a.range   the bytes, then a digest of name and bytes: a file that does not match is not used
      …                         time of change = last use; the least recently used go first
      total                     bytes of all of them; changed under its lock only, and before a file appears
      locks/00 … ff             who fetches a range holds its lock: the others wait and find it here

What is written is reserved first, under a lock that the system frees when its holder dies, so the files never take more
than the bound, whoever is killed when. A file that goes while another process reads it stays readable; one that went
before is fetched again. When the disk is full, or the folder cannot be written to, ranges are fetched and not kept.
"""

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import xxhash

from pipeline.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_SUFFIX = ".range"
_TEMPORARY = ".tmp"
_DIGEST_BYTES = 16
_NUM_LOCKS = 256
_POLL_SECONDS = 0.02
_KEPT_SHARE = 0.9
"""Of the bound, when ranges have to go: so that not every new one looks for others to remove."""

_log = logging.getLogger("pipeline.streaming")


class StoppedError(Exception):
    """Whoever wanted the bytes has gone."""


class RangeCache:
    """A folder of byte ranges.

    Args:
        folder: Made if missing; of any number of processes on this machine, and for any number of datasets.
        max_bytes: What the files may take together.

    Raises:
        ConfigurationError: The folder cannot be made, or its file system has no locks.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        if max_bytes < 1:
            raise ConfigurationError(f"cache_bytes: expected at least 1, found {max_bytes}")
        self.folder = folder
        self.max_bytes = max_bytes
        self._has_complained = False
        try:
            (folder / "locks").mkdir(parents=True, exist_ok=True)
            with self._total():
                pass
        except OSError as error:
            raise ConfigurationError(
                f"cache: {folder}: {error.strerror or error}",
                hint="name a folder on a local disk that can be written to and has file locks",
            ) from error

    def get(
        self, key: str, fetch: Callable[[], bytes], *, fresh: bool = False, stop: threading.Event | None = None
    ) -> bytes:
        """The bytes of a range, from disk or else from ``fetch``, which one process and thread at a time calls for it.

        Args:
            key: Says which bytes of which content; a file name.
            fetch: Gets them from where they are.
            fresh: Fetch them even if they are here.
            stop: Set when nobody wants them any more.

        Raises:
            StoppedError: ``stop`` was set while another process was fetching the range.
            Exception: Whatever ``fetch`` raises.
        """
        if not fresh and (found := self._read(key)) is not None:
            return found
        with self._only_one(key, stop or threading.Event()):
            if not fresh and (found := self._read(key)) is not None:
                return found
            data = fetch()
            try:
                self._write(key, data)
            except OSError as error:
                self._complain(error)
            return data

    def _read(self, key: str) -> bytes | None:
        path = self.folder / (key + _SUFFIX)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        data, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if digest != _digest(key, data):
            path.unlink(missing_ok=True)
            return None
        return data

    def _write(self, key: str, data: bytes) -> None:
        size = len(data) + _DIGEST_BYTES
        if size > self.max_bytes:
            return
        path = self.folder / (key + _SUFFIX)
        with self._total() as file:
            path.unlink(missing_ok=True)
            total = _number_in(file)
            if total is None or total + size > self.max_bytes:
                total = self._make_room(size)
            file.seek(0)
            file.write(b"%020d" % (total + size))
            file.flush()
            temporary = self.folder / f".{secrets.token_hex(6)}{_TEMPORARY}"
            try:
                with temporary.open("wb") as stream:
                    stream.write(data)
                    stream.write(_digest(key, data))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def _make_room(self, size: int) -> int:
        """Remove what was used least recently; the bytes that are left. Called with the lock held."""
        files = []
        for entry in os.scandir(self.folder):
            if entry.name.endswith(_TEMPORARY):  # whoever wrote it held this lock, and died
                Path(entry).unlink(missing_ok=True)
            elif entry.name.endswith(_SUFFIX):
                with suppress(FileNotFoundError):
                    state = entry.stat()
                    files.append((state.st_mtime_ns, state.st_size, entry.path))
        total = sum(length for _, length, _ in files)
        allowed = min(int(self.max_bytes * _KEPT_SHARE), self.max_bytes - size)
        for _, length, path in sorted(files):
            if total <= allowed:
                break
            Path(path).unlink(missing_ok=True)
            total -= length
        return total

    @contextmanager
    def _total(self) -> Iterator[IO[bytes]]:
        descriptor = os.open(self.folder / "total", os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "r+b") as file:
            _lock(file, wait=True)
            try:
                yield file
            finally:
                _unlock(file)

    @contextmanager
    def _only_one(self, key: str, stop: threading.Event) -> Iterator[None]:
        number = xxhash.xxh3_64_intdigest(key.encode()) % _NUM_LOCKS
        with (self.folder / "locks" / f"{number:02x}").open("ab") as file:
            while not _lock(file, wait=False):
                if stop.wait(_POLL_SECONDS):
                    raise StoppedError
            try:
                yield
            finally:
                _unlock(file)

    def _complain(self, error: OSError) -> None:
        if not self._has_complained:
            self._has_complained = True
            _log.warning("cache: %s: %s: ranges are fetched and not kept", self.folder, error.strerror or error)


def _digest(key: str, data: bytes) -> bytes:
    hasher = xxhash.xxh3_128(key.encode())
    hasher.update(data)
    return hasher.digest()


def _number_in(file: IO[bytes]) -> int | None:
    file.seek(0)
    text = file.read(32)
    return int(text) if text.isdigit() else None


def _lock(file: IO[bytes], *, wait: bool) -> bool:
    if fcntl is None:
        raise OSError("this system has no file locks")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _unlock(file: IO[bytes]) -> None:
    # Said aloud: a process that was forked meanwhile has the file open, too, and would keep the lock.
    fcntl.flock(file, fcntl.LOCK_UN)
