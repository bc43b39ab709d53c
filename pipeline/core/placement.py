"""Where each item goes: what packing comes to.

The items by (row, slot) and where each row begins say it all. Row and slot of each item, in the order of the items, are
computed when they are asked for: those scattered writes take half as long as packing itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.core.sort_keys import CHUNK, UInt32Array

Int64Array = npt.NDArray[np.int64]
UInt16Array = npt.NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where each item goes. Items are numbered in the order of the lengths given.

    Attributes:
        order: uint32 [items], the items sorted by (row, slot).
        row_offsets: int64 [num_rows + 1]; ``order[row_offsets[r]:row_offsets[r + 1]]`` are the items of row r.
    """

    order: UInt32Array
    row_offsets: Int64Array

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.row_offsets) - 1

    @cached_property
    def row(self) -> UInt32Array:
        """uint32 [items], row of each item, 0 … num_rows − 1."""
        row = np.empty(len(self.order), dtype=np.uint32)
        for rows, places in self._chunks():
            row[self.order[places]] = self._row_of_places(rows)
        return row

    @cached_property
    def slot(self) -> UInt16Array:
        """uint16 [items], place of each item within its row, 0-based and dense."""
        slot = np.empty(len(self.order), dtype=np.uint16)
        for rows, places in self._chunks():
            slot[self.order[places]] = self._slot_of_places(rows)
        return slot

    def ordered_row(self) -> UInt32Array:
        """uint32 [items], ``row[order]``, which never decreases, without the scattered writes and reads."""
        row = np.empty(len(self.order), dtype=np.uint32)
        for rows, places in self._chunks():
            row[places] = self._row_of_places(rows)
        return row

    def ordered_slot(self) -> UInt16Array:
        """uint16 [items], ``slot[order]``."""
        slot = np.empty(len(self.order), dtype=np.uint16)
        for rows, places in self._chunks():
            slot[places] = self._slot_of_places(rows)
        return slot

    def _chunks(self) -> Iterator[tuple[range, slice]]:
        """Some rows at a time, and their part of ``order``."""
        for begin in range(0, self.num_rows, CHUNK):
            rows = range(begin, min(begin + CHUNK, self.num_rows))
            yield rows, slice(int(self.row_offsets[rows.start]), int(self.row_offsets[rows.stop]))

    def _row_of_places(self, rows: range) -> UInt32Array:
        per_row = np.diff(self.row_offsets[rows.start : rows.stop + 1])
        return np.repeat(np.arange(rows.start, rows.stop, dtype=np.uint32), per_row)

    def _slot_of_places(self, rows: range) -> Int64Array:
        offsets = self.row_offsets[rows.start : rows.stop + 1]
        return np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))
