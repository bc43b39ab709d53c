"""A folder of alignments as a reader needs it: its row groups, decoded and sampled.

Opening reads the manifest alone. The footer of a part is parsed when one of its row groups is read, and kept while
others do not need the room. Safe to read from several threads, to pickle, and to fork.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.group_index import StoredGroups
from pipeline.core.lanes import Int64Array
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError
from pipeline.formats.alignments import StoredAlignment, read_group, read_metadata
from pipeline.formats.manifest import read_manifest

_MOST_FOOTERS = 16
"""Footers that are kept: each takes 7 KB for a row group, 4 MB for a part of 4,096 alignments."""


class AlignmentSet:
    """The alignments of a folder.

    Args:
        path: The folder.

    Raises:
        ArtefactError: It holds no finished alignments.
        ConfigurationError: It holds none at all.
    """

    def __init__(self, path: Path) -> None:
        manifest = read_manifest(path, kind="alignments")
        files = [file for file in manifest.tables if file.rows]
        if not files:
            raise ConfigurationError(f"{path}: expected alignments, found none")
        if "alignments_per_group" not in manifest.configuration:
            raise ArtefactError(f"{path}: configuration: expected the key alignments_per_group, found none")
        self.fingerprint = manifest.fingerprint
        self.paths = [file.path for file in files]
        self.rows_of_files: Int64Array = np.array([file.rows for file in files], dtype=np.int64)
        self.groups = StoredGroups(self.rows_of_files, manifest.configuration["alignments_per_group"])
        self._folder = path
        self._keep_footers()

    def _keep_footers(self) -> None:
        self._footer = lru_cache(_MOST_FOOTERS)(read_metadata)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_footer"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._keep_footers()

    def read(self, file: int, group: int, num_rows: int) -> list[StoredAlignment]:
        """The alignments of a row group.

        Args:
            file: Index of the file among those that have any.
            group: Row group within the file.
            num_rows: How many there must be.

        Raises:
            IntegrityError: The part is missing or damaged, or is not the one that the manifest describes.
        """
        path = self._folder / self.paths[file]
        footer = self._footer(path)
        found = footer.row_group(group).num_rows if group < footer.num_row_groups else 0
        if found != num_rows:
            raise IntegrityError(
                f"{path}: expected {num_rows} alignments in row group {group}, as the manifest says, found {found}",
                hint="the file was changed after the alignments were made: make them again",
            )
        return read_group(path, group, metadata=footer)
