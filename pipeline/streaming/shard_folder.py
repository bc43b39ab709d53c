"""Where shards are: a folder on this machine, or one behind an address.

::

    shards/  file://…                 LocalFolder     files are opened as they are
    s3://…  gs://…  https://…         RemoteFolder    ranges are fetched, and kept in a cache if there is one

A remote folder costs a request for its manifest, two for each shard (its size, its footer) and one for each row group.
Footers are fetched from files of their own where there are some (formats/shard_footers.py), and kept compressed: 100
to 150 bytes a row group.
"""

import os
import tempfile
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import zstandard

from pipeline.engines.range_cache import RangeCache
from pipeline.engines.remote_files import RemoteFiles
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError
from pipeline.formats.manifest import MANIFEST_NAME, File, Manifest, digest_of, read_manifest
from pipeline.formats.remote_shard import FetchedRanges, RemoteShardFile, fetch_footer
from pipeline.formats.shard_footers import FOLDER, footer_name, unpack_footer
from pipeline.formats.shards import ShardFile
from pipeline.formats.storage import bytes_digest

DEFAULT_CACHE_BYTES = 16 << 30
DEFAULT_PATIENCE = 600.0

_MOST_OPEN = 2
"""Threads that may have the same shard open between two reads: those of a reader by default."""


class LocalFolder:
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            ArtefactError: The folder holds no finished shards.
        """
        return read_manifest(self._path, kind="shards")

    def place(self, name: str) -> str:
        """A file's path."""
        return str(self._path / name)

    def open(self, file: File, *, num_groups: int) -> ShardFile:
        """A shard.

        Raises:
            IntegrityError: It is missing, cut short, or no shard.
        """
        del num_groups  # the system finds the end of a file by itself
        return ShardFile(self._path / file.path, most_open=_MOST_OPEN)


class RemoteFolder:
    """A folder behind an address.

    Args:
        files: What reads from there.
        cache: Keeps what was read; None reads everything each time.
    """

    def __init__(self, files: RemoteFiles, cache: RangeCache | None) -> None:
        self._files = files
        self._cache = cache
        self._footers: dict[str, bytes] = {}
        self._apart: dict[str, File] = {}
        self._process = -1

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_opening"} | {"_process": -1}

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            ArtefactError: There is none, or it is not that of finished shards.
            TransferError: It cannot be had.
        """
        try:
            data = self._files.read(MANIFEST_NAME, 0, None)
        except FileNotFoundError as error:
            raise ArtefactError(
                f"{self._files.where}: expected finished shards, found no {MANIFEST_NAME}", hint="check the address"
            ) from error
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / MANIFEST_NAME).write_bytes(data)
            try:
                manifest = read_manifest(folder, kind="shards")
            except ArtefactError as error:
                raise ArtefactError(error.message.replace(temporary, self._files.where), hint=error.hint) from None
        self._apart = {file.path: file for file in manifest.files if file.path.startswith(f"{FOLDER}/")}
        return manifest

    def place(self, name: str) -> str:
        """A file's address, without secrets."""
        return self._files.place(name)

    def open(self, file: File, *, num_groups: int) -> ShardFile:
        """A shard.

        Raises:
            IntegrityError: It is missing, of another size, or no shard.
            TransferError: It cannot be had.
        """
        self.prepare(file, num_groups=num_groups, stop=threading.Event())
        footer = zstandard.decompress(self._footers[file.path])
        return RemoteShardFile(self.place(file.path), footer, num_bytes=file.bytes)

    def prepare(self, file: File, *, num_groups: int, stop: threading.Event) -> None:
        """Ask for the size of a shard and fetch its footer, once for each process.

        Raises:
            IntegrityError: It is missing, of another size, or no shard.
            TransferError: It cannot be had.
            StoppedError: ``stop`` was set.
        """
        with self._lock_of(file):
            if file.path not in self._footers:
                self._footers[file.path] = zstandard.compress(self._footer(file, num_groups, stop))

    def _lock_of(self, file: File) -> threading.Lock:
        # Threads that need a shard at the same time open it once. A process that was forked has locks of its own.
        if self._process != os.getpid():
            self._opening: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
            self._process = os.getpid()
        return self._opening[file.path]

    def _footer(self, file: File, num_groups: int, stop: threading.Event) -> bytes:
        place = self.place(file.path)
        try:
            size = self._files.size(file.path, stop=stop)
        except FileNotFoundError as error:
            raise _missing(place) from error
        if size != file.bytes:
            raise IntegrityError(
                f"{place}: expected {file.bytes:,} bytes, as {MANIFEST_NAME} says, found {size:,}",
                hint="copy the folder there again, or make the shards again",
            )
        if (apart := self._apart.get(footer_name(file.path))) and (footer := self._footer_apart(apart, stop)):
            return footer
        read = partial(self._read, file, stop)
        return fetch_footer(place, read, num_bytes=size, num_groups=num_groups)

    def _footer_apart(self, file: File, stop: threading.Event) -> bytes | None:
        """The footer from a file of its own; None where that is missing or damaged, which costs bytes and no more."""
        for fresh in (False, True):
            try:
                data = self._read(file, stop, 0, file.bytes, fresh)
            except IntegrityError:
                return None
            if bytes_digest(data) == file.xxh3_64:
                return unpack_footer(data, where=self.place(file.path))
        return None

    def fetch(
        self, shard: ShardFile, file: File, group: int, columns: Sequence[str], stop: threading.Event
    ) -> FetchedRanges:
        """Some columns of a row group, fetched to be read later.

        Args:
            shard: The shard, from :meth:`open`.
            file: Its entry in the manifest.
            group: Row group within it.
            columns: Names of columns.
            stop: Set when nobody wants them any more.

        Raises:
            IntegrityError: The shard is missing, shorter than it was, or its footer is damaged.
            TransferError: It cannot be had.
            StoppedError: ``stop`` was set.
        """
        assert isinstance(shard, RemoteShardFile), "opened here"
        return shard.fetch(group, columns, partial(self._read, file, stop))

    def _read(self, file: File, stop: threading.Event, start: int, end: int, fresh: bool) -> bytes:  # noqa: FBT001
        def fetch() -> bytes:
            try:
                return self._files.read(file.path, start, end, stop=stop)
            except FileNotFoundError as error:
                raise _missing(self.place(file.path)) from error

        if self._cache is None:
            return fetch()
        key = f"{digest_of([file.path, file.bytes, file.xxh3_64])}-{start:x}-{end:x}"
        return self._cache.get(key, fetch, fresh=fresh, stop=stop)


def _missing(place: str) -> IntegrityError:
    return IntegrityError(
        f"{place}: expected a shard, as {MANIFEST_NAME} says, found none",
        hint="copy the folder there again, or make the shards again",
    )


ShardFolder = LocalFolder | RemoteFolder


def open_folder(
    path: str | Path,
    *,
    storage_options: Mapping[str, Any] | None,
    cache: str | Path | None,
    cache_bytes: int,
    patience: float,
) -> ShardFolder:
    """The folder at a path or address.

    Args:
        path: A path, or an address such as s3://bucket/shards.
        storage_options: For fsspec.
        cache: A folder on a local disk for what is read from remote ones.
        cache_bytes: What it may hold.
        patience: Seconds of faults after which a read fails.

    Raises:
        ConfigurationError: An argument cannot be used.
    """
    text = str(path)
    if "://" in text and not text.startswith(("file://", "local://")):
        files = RemoteFiles(text, storage_options=storage_options or {}, patience=patience)
        return RemoteFolder(files, None if cache is None else RangeCache(Path(cache), cache_bytes))
    if storage_options:
        raise ConfigurationError(f"storage_options: expected none for {path}, which is on this machine")
    if "://" in text:
        text = fsspec.core.url_to_fs(text)[1]
    return LocalFolder(Path(text))
