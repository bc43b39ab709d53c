"""The shards of one split: what the manifest says about them, and their row groups, decoded.

Opening reads the manifest alone. A shard's footer is parsed when one of its row groups is read, and kept while others
do not need the room: parsed it takes 7 KB and 10 µs for each row group of the shard, too much to keep those of all
shards where memory is not to grow with the rows. Safe to read from several threads, to pickle, and to fork.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.lanes import Int64Array
from pipeline.core.tokenizer import Tokenizer
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError
from pipeline.formats.manifest import MANIFEST_NAME, Manifest, read_manifest
from pipeline.formats.plan import is_concatenated
from pipeline.formats.shards import RowGroup, ShardFile

_MAX_GROUPS_OPEN = 4096
"""Row groups of the shards whose footers are kept: 29 MB."""


class ShardSet:
    """The rows of one split of a shards folder.

    Args:
        folder: The artefact.
        split: train, valid or test.

    Raises:
        ArtefactError: The folder holds no finished shards.
        ConfigurationError: It has no such split, or no rows in it.
    """

    def __init__(self, folder: Path, split: str) -> None:
        manifest = read_manifest(folder, kind="shards")
        files = [file for file in manifest.files_of(split) if file.rows]
        if not files:
            raise _no_rows(folder, split, manifest)
        self.folder = folder
        self.fingerprint = manifest.fingerprint
        self.rows_of_files: Int64Array = np.array([file.rows for file in files], dtype=np.int64)
        self.length: int = _setting(folder, manifest, "length")
        self.alignment: int = _setting(folder, manifest, "alignment")
        self.rows_per_group: int = _setting(folder, manifest, "rows_per_group")
        self.tokenizer = Tokenizer.from_document(
            _setting(folder, manifest, "tokenizer"), where=f"{folder / MANIFEST_NAME}: configuration.tokenizer"
        )
        self.is_concatenated = is_concatenated(manifest.configuration)
        if self.is_concatenated:
            self.tokenizer = self.tokenizer.for_concatenation()
        self._paths = [file.path for file in files]
        self._open_last()

    def _open_last(self) -> None:
        groups_of_largest = -(-int(self.rows_of_files.max()) // self.rows_per_group)
        self._open = lru_cache(max(4, _MAX_GROUPS_OPEN // groups_of_largest))(self._opened)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open_last()

    @property
    def num_rows(self) -> int:
        """Rows of the split."""
        return int(self.rows_of_files.sum())

    def read(self, file: int, group: int) -> RowGroup:
        """Decode a row group.

        Args:
            file: Index of the file among those of the split that have rows.
            group: Row group within the file.

        Raises:
            IntegrityError: The shard is missing or damaged, or is not the one that the manifest describes.
        """
        return self._open(file).read_row_group(group)

    def _opened(self, file: int) -> ShardFile:
        shard = ShardFile(self.folder / self._paths[file])
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
        return shard


def _not_described(path: Path, expected: str, found: str) -> IntegrityError:
    return IntegrityError(
        f"{path}: expected {expected}, as {MANIFEST_NAME} says, found {found}",
        hint="the file was changed after the shards were made: make them again with `pipeline shard`",
    )


def _no_rows(folder: Path, split: str, manifest: Manifest) -> ConfigurationError:
    splits = sorted({file.split for file in manifest.files if file.split and file.rows})
    return ConfigurationError(
        f"{folder}: split {split!r}: expected one with rows, found {', '.join(splits) or 'no split with any'}"
    )


def _setting(folder: Path, manifest: Manifest, name: str) -> Any:
    if name not in manifest.configuration:
        raise ArtefactError(
            f"{folder / MANIFEST_NAME}: configuration: expected the key {name}, found none",
            hint="make the shards again with this version of pipeline",
        )
    return manifest.configuration[name]
