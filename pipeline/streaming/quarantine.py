"""Row groups that cannot be read, and what is done about them.

::

    flags    0 0 0 1 1 1 1 0 0 … 0 1      a byte for each row group of the split
    state    {"rows": 2560, "runs": [[0, 3, 4], [7, 12, 1]]}       file, first row group, how many

A quarantined row group gives rows of padding in its place, so that order and steps stay those of the other ranks.
Damage is known by place, not counted as it is met: what two ranks, two epochs or two states know of one row group is
known once, and states of any worlds can be loaded one after the other. A rank knows of the row groups it has opened
(those decoded ahead included) and of those in the states it was given. Where a state would grow over 24 runs it keeps
the number of rows alone for the rest.
"""

import logging
import threading
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.lanes import Int64Array
from pipeline.errors import ConfigurationError, PipelineError, StateError

_MOST_RUNS = 24

_log = logging.getLogger("pipeline.streaming")


class OnCorrupt(StrEnum):
    """What is done about a row group that cannot be read."""

    ERROR = "error"
    """The consumer gets the error, which names file and row group."""
    QUARANTINE = "quarantine"
    """Its rows are given as padding; a warning says so, and the state counts them."""


class Quarantined(NamedTuple):
    """What a rank knows of damage."""

    rows: int
    """Rows of the split that are given as padding."""
    row_groups: tuple[tuple[str, int], ...]
    """File and row group of each, where it is known."""


class Quarantine:
    """The row groups of a split that are known to be damaged.

    Args:
        paths: Of the files of the split.
        rows_of_files: int64 [files].
        rows_per_group: Rows of a row group, but for the last one of a file.
    """

    def __init__(self, paths: list[str], rows_of_files: Int64Array, rows_per_group: int) -> None:
        groups_of_files = -(-rows_of_files // rows_per_group)
        self._paths = paths
        self._firsts = np.concatenate([[0], np.cumsum(groups_of_files)]).astype(np.int64)
        self._rows_of_files = rows_of_files
        self._rows_per_group = rows_per_group
        self._rows_elsewhere = 0
        self._told: set[tuple[int, int | None]] = set()
        self._telling = threading.Lock()
        self.flags: npt.NDArray[np.uint8] = np.zeros(self._firsts[-1], dtype=np.uint8)
        """uint8 [row groups], which may lie in memory that processes share."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_telling"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._telling = threading.Lock()

    def add(self, file: int, group: int, error: PipelineError, *, is_whole_file: bool = False) -> None:
        """Quarantine a row group, and warn if it is the first time in this process.

        Args:
            file: Index of the file.
            group: Row group within it.
            error: Why it cannot be read.
            is_whole_file: Whether the same is true of every row group of the file, so that one warning is enough.
        """
        self.flags[self._firsts[file] + group] = 1
        place = (file, None if is_whole_file else group)
        with self._telling:
            if place in self._told:
                return
            self._told.add(place)
        what = "all its rows" if is_whole_file else "its rows"
        _log.warning("%s: %s are given as padding, because on_corrupt is quarantine", error.message, what)

    @property
    def known(self) -> Quarantined:
        """What is known now."""
        places = np.flatnonzero(self.flags)
        files = np.searchsorted(self._firsts, places, side="right") - 1
        names = tuple((self._paths[file], int(at - self._firsts[file])) for file, at in zip(files, places, strict=True))
        return Quarantined(self._rows_elsewhere + self._rows_of(places), names)

    def _rows_of(self, places: Int64Array) -> int:
        files = np.searchsorted(self._firsts, places, side="right") - 1
        before = (places - self._firsts[files]) * self._rows_per_group
        return int(np.minimum(self._rows_per_group, self._rows_of_files[files] - before).sum())

    def document(self) -> dict[str, Any] | None:
        """For the state; None while nothing is damaged."""
        places = np.flatnonzero(self.flags)
        rows = self._rows_elsewhere + self._rows_of(places)
        if not rows:
            return None
        files = np.searchsorted(self._firsts, places, side="right") - 1
        breaks = np.flatnonzero((np.diff(places) != 1) | (np.diff(files) != 0)) + 1
        runs = [
            [int(files[own[0]]), int(places[own[0]] - self._firsts[files[own[0]]]), len(own)]
            for own in np.split(np.arange(len(places)), breaks)[:_MOST_RUNS]
            if len(own)
        ]
        return {"rows": rows, "runs": runs}

    def load(self, document: Any) -> None:
        """Take over what a state knows.

        Args:
            document: What :meth:`document` returned, of a reader of the same shards.

        Raises:
            StateError: It is no such document.
        """
        if document is None:
            return
        try:
            rows, runs = (
                int(document["rows"]),
                [(int(file), int(first), int(count)) for file, first, count in document["runs"]],
            )
            listed = np.concatenate([np.zeros(0, np.int64), *(self._places(*run) for run in runs)]).astype(np.int64)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StateError(
                f"reader state: quarantined: expected rows and runs of row groups, found {document!r}"
            ) from error
        self.flags[listed] = 1
        self._rows_elsewhere = max(self._rows_elsewhere, rows - self._rows_of(listed))

    def _places(self, file: int, first: int, count: int) -> Int64Array:
        places: Int64Array = np.arange(count, dtype=np.int64) + self._firsts[file] + first
        if (
            not 0 <= file < len(self._paths)
            or first < 0
            or count < 0
            or places.max(initial=0) >= self._firsts[file + 1]
        ):
            raise ValueError("outside the split")
        return places


def check_on_corrupt(name: str) -> OnCorrupt:
    """The policy of this name.

    Raises:
        ConfigurationError: There is none.
    """
    if name not in list(OnCorrupt):
        raise ConfigurationError(f"on_corrupt: expected one of {', '.join(OnCorrupt)}, found {name!r}")
    return OnCorrupt(name)
