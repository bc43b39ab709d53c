"""The shards of one split: what the manifest says about them, and their row groups, decoded.

Opening reads the manifest alone. A shard's footer is parsed when one of its row groups is read, and kept while others
do not need the room: parsed it takes 7 KB and 10 µs for each row group of the shard, too much to keep those of all
shards where memory is not to grow with the rows. Safe to read from several threads, to pickle, and to fork.
"""

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.core.lanes import Int64Array
from pipeline.core.packing import MAX_SEGMENTS
from pipeline.core.tokenizer import Tokenizer
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError
from pipeline.formats.manifest import MANIFEST_NAME, Manifest
from pipeline.formats.plan import is_concatenated
from pipeline.formats.remote_shard import FetchedRanges
from pipeline.formats.shards import RowGroup, ShardFile
from pipeline.streaming.shard_folder import RemoteFolder, ShardFolder

_MAX_GROUPS_OPEN = 4096
"""Row groups of the shards whose footers are kept: 29 MB."""
_MAX_FILES_OPEN = 128
"""Shards whose footers are kept: each may be open twice, and many systems allow a process 1,024 open files."""


class ShardSet:
    """The rows of one split of a shards folder.

    Args:
        folder: Where the artefact is.
        split: train, valid or test.

    Raises:
        ArtefactError: The folder holds no finished shards.
        ConfigurationError: It has no such split, or no rows in it.
        TransferError: The manifest cannot be had.
    """

    def __init__(self, folder: ShardFolder, split: str) -> None:
        manifest = folder.manifest()
        where = folder.place(MANIFEST_NAME)
        files = [file for file in manifest.files_of(split) if file.rows]
        if not files:
            raise _no_rows(where, split, manifest)
        self._folder = folder
        self.fingerprint = manifest.fingerprint
        self.rows_of_files: Int64Array = np.array([file.rows for file in files], dtype=np.int64)
        self.length: int = _setting(where, manifest, "length")
        self.alignment: int = _setting(where, manifest, "alignment")
        self.rows_per_group: int = _setting(where, manifest, "rows_per_group")
        self.tokenizer = Tokenizer.from_document(
            _setting(where, manifest, "tokenizer"), where=f"{where}: configuration.tokenizer"
        )
        self.most_segments: int = manifest.counts.get("most_segments", min(MAX_SEGMENTS, self.length))
        self.is_concatenated = is_concatenated(manifest.configuration)
        if self.is_concatenated:
            self.tokenizer = self.tokenizer.for_concatenation()
        self._files = files
        self._unreadable: set[int] = set()
        self._open_last()

    def _open_last(self) -> None:
        groups_of_largest = -(-int(self.rows_of_files.max()) // self.rows_per_group)
        most_files = max(4, min(_MAX_FILES_OPEN, _MAX_GROUPS_OPEN // groups_of_largest))
        self._open = lru_cache(most_files)(self._opened)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open_last()

    @property
    def num_rows(self) -> int:
        """Rows of the split."""
        return int(self.rows_of_files.sum())

    @property
    def paths(self) -> list[str]:
        """Of the files of the split that have rows, within the folder."""
        return [file.path for file in self._files]

    @property
    def is_remote(self) -> bool:
        """Whether a row group has to be fetched before it is read."""
        return isinstance(self._folder, RemoteFolder)

    def is_unreadable(self, file: int) -> bool:
        """Whether no row group of this file could be read when one was tried last: it is missing, or has no footer."""
        return file in self._unreadable

    def fetch(self, file: int, group: int, columns: Sequence[str], stop: threading.Event) -> FetchedRanges:
        """Get the bytes of a row group of a remote folder.

        Args:
            file: Index of the file among those of the split that have rows.
            group: Row group within the file.
            columns: Names of columns.
            stop: Set when nobody wants them any more.

        Raises:
            IntegrityError: The shard is missing or damaged, or is not the one that the manifest describes.
            TransferError: It cannot be had.
            StoppedError: ``stop`` was set.
        """
        assert isinstance(self._folder, RemoteFolder), "local folders are read at once"
        try:
            self._folder.prepare(self._files[file], num_groups=self._num_groups(file), stop=stop)
        except IntegrityError:
            self._unreadable.add(file)
            raise
        return self._folder.fetch(self._open(file), self._files[file], group, columns, stop)

    def read(self, file: int, group: int, *, columns: Sequence[str], source: FetchedRanges | None = None) -> RowGroup:
        """Decode a row group.

        Args:
            file: Index of the file among those of the split that have rows.
            group: Row group within the file.
            columns: Names of columns, ``input_ids`` and ``lengths`` among them.
            source: What :meth:`fetch` returned, where the folder is remote.

        Raises:
            IntegrityError: The shard is missing or damaged, or is not the one that the manifest describes.
        """
        return self._open(file).read_columns(group, columns, source=source)

    def _opened(self, file: int) -> ShardFile:
        try:
            shard = self._folder.open(self._files[file], num_groups=self._num_groups(file))
            self._check(file, shard)
        except IntegrityError:
            self._unreadable.add(file)
            raise
        self._unreadable.discard(file)
        return shard

    def _num_groups(self, file: int) -> int:
        return -(-int(self.rows_of_files[file]) // self.rows_per_group)

    def _check(self, file: int, shard: ShardFile) -> None:
        expected = {
            "length": self.length,
            "alignment": self.alignment,
            "pad_id": self.tokenizer.pad_id,
            "dtype": str(self.tokenizer.dtype),
            "separator_id": self.tokenizer.separator_id if self.is_concatenated else None,
        }
        for name, value in expected.items():
            if (found := getattr(shard.metadata, name)) != value:
                raise _not_described(shard.path, f"{name} {value}", str(found))
        num_groups, rest = divmod(int(self.rows_of_files[file]), self.rows_per_group)
        if shard.rows_of_groups != [self.rows_per_group] * num_groups + [rest] * (rest > 0):
            wanted = f"{self.rows_of_files[file]} rows in row groups of {self.rows_per_group}"
            raise _not_described(shard.path, wanted, f"{shard.num_rows} rows in {len(shard.rows_of_groups)} row groups")


def _not_described(path: object, expected: str, found: str) -> IntegrityError:
    return IntegrityError(
        f"{path}: expected {expected}, as {MANIFEST_NAME} says, found {found}",
        hint="the file was changed after the shards were made: make them again with `pipeline shard`",
    )


def _no_rows(where: str, split: str, manifest: Manifest) -> ConfigurationError:
    splits = sorted({file.split for file in manifest.files if file.split and file.rows})
    return ConfigurationError(
        f"{where}: split {split!r}: expected one with rows, found {', '.join(splits) or 'no split with any'}"
    )


def _setting(where: str, manifest: Manifest, name: str) -> Any:
    if name not in manifest.configuration:
        raise ArtefactError(
            f"{where}: configuration: expected the key {name}, found none",
            hint="make the shards again with this version of pipeline",
        )
    return manifest.configuration[name]
