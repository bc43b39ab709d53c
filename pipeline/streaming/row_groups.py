"""The open row groups of one rank: a table of slots that threads fill and batches are gathered from.

::

    slot        0       1       2       …
    tokens   ┌───────┬───────┬───────┬──    rows in the order of the epoch, one slot after another:
             │ group │ group │ group │      row ``slot · rows_per_group + offset`` in one take for all slots
    segments │ ▤▤▤▤  │ ▤▤▤   │ ▤▤▤▤▤ │      lengths, record keys, starts; row_offsets say whose they are

Different slots may be filled and gathered from in different threads at the same time; who fills which slot when is the
caller's affair. Memory: slots times the bytes of a row group, touched only as far as slots are used.
"""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.lanes import Int64Array
from pipeline.core.ragged import ramps
from pipeline.formats.column_arrays import indices
from pipeline.formats.shards import RowGroup
from pipeline.streaming.recycled_memory import RecycledMemory

SEGMENT_COLUMNS = ("lengths", "record_keys", "starts")
"""Numbers, one a segment."""
ACCESSIONS = "accessions"
"""Text, one a segment."""
_SEGMENT_TYPES = {"lengths": np.uint32, "record_keys": np.uint64, "starts": np.uint32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows; segment arrays are flat, row r owning ``row_offsets[r]:row_offsets[r + 1]``."""

    input_ids: npt.NDArray[Any]
    """uint8 or uint16 [rows, length]."""
    row_offsets: Int64Array
    """[rows + 1]."""
    segments: dict[str, npt.NDArray[Any]]
    """[segments] each: lengths uint32, and record_keys uint64 and starts uint32 if the table keeps them."""
    accessions: pa.Array | None = None
    """[segments] string, if the table keeps them."""
    steps: Int64Array | None = None
    """[rows], the step of each, if whoever took them has said so."""


class RowGroupTable:
    """Slots for decoded row groups.

    Args:
        num_slots: Row groups it holds at most.
        rows_per_group: Rows of a row group at most.
        length: Tokens of a row.
        dtype: uint8 or uint16.
        columns: Segment columns to keep, some of ``SEGMENT_COLUMNS`` and ``ACCESSIONS``.
        memory: For the tokens of gathered rows.
    """

    def __init__(
        self,
        num_slots: int,
        *,
        rows_per_group: int,
        length: int,
        dtype: npt.DTypeLike,
        columns: tuple[str, ...],
        memory: RecycledMemory,
    ) -> None:
        self._memory = memory
        self._rows_per_group = rows_per_group
        self._tokens = memory.take((num_slots * rows_per_group, length), dtype)
        self._row_offsets = np.zeros((num_slots, rows_per_group + 1), dtype=np.int64)
        numbers = [name for name in columns if name in _SEGMENT_TYPES]
        self._segments = {name: np.empty((num_slots, 0), dtype=_SEGMENT_TYPES[name]) for name in numbers}
        self._accessions: list[pa.Array | None] | None = [None] * num_slots if ACCESSIONS in columns else None
        self._growing = threading.Lock()

    def fill(self, slot: int, group: RowGroup, order: Int64Array) -> None:
        """Put a row group into a slot.

        Args:
            slot: Index of the slot.
            group: Its decoded rows.
            order: int64 [rows], the rows in the order in which they get their offsets.
        """
        first = slot * self._rows_per_group
        # mode="clip": with the default, numpy gathers into a copy first.
        np.take(group.input_ids, order, axis=0, out=self._tokens[first : first + len(order)], mode="clip")
        counts = np.diff(group.row_offsets)[order]
        wanted = ramps(counts, group.row_offsets[order])
        np.cumsum(counts, out=self._row_offsets[slot, 1 : len(order) + 1])
        with self._growing:
            for name, table in self._segments.items():
                if len(wanted) > table.shape[1]:
                    table = self._segments[name] = _wider(table, len(wanted))  # noqa: PLW2901
                table[slot, : len(wanted)] = getattr(group, name)[wanted]
        if self._accessions is not None:
            assert group.accessions is not None, "read with accessions"
            self._accessions[slot] = group.accessions.take(indices(wanted))

    def fill_with_padding(self, slot: int, num_rows: int, *, pad_id: int) -> None:
        """Put rows of padding, which have no segments, into a slot.

        Args:
            slot: Index of the slot.
            num_rows: How many.
            pad_id: Their token.
        """
        first = slot * self._rows_per_group
        self._tokens[first : first + num_rows] = pad_id
        self._row_offsets[slot] = 0
        if self._accessions is not None:
            self._accessions[slot] = pa.nulls(0, pa.string())

    def gather(self, slot: Int64Array, offset: Int64Array, *, pad_id: int) -> Rows:
        """Rows from many slots.

        Args:
            slot: int64 [rows], −1 for a row of padding.
            offset: int64 [rows], of each row in its row group.
            pad_id: The token of rows of padding, which have no segments.
        """
        padding = slot < 0
        slot, offset = np.where(padding, 0, slot), np.where(padding, 0, offset)
        input_ids = self._memory.take((len(slot), self._tokens.shape[1]), self._tokens.dtype)
        self._tokens.take(slot * self._rows_per_group + offset, axis=0, out=input_ids, mode="clip")
        input_ids[padding] = pad_id
        starts = self._row_offsets[slot, offset]
        counts = np.where(padding, 0, self._row_offsets[slot, offset + 1] - starts)
        segments = {}
        for name, table in self._segments.items():
            segments[name] = table.reshape(-1)[ramps(counts, slot * table.shape[1] + starts)]
        return Rows(
            input_ids=input_ids,
            row_offsets=np.concatenate([[0], np.cumsum(counts)]),
            segments=segments,
            accessions=self._gather_accessions(np.repeat(slot, counts), ramps(counts, starts)),
        )

    def _gather_accessions(self, slot: Int64Array, index: Int64Array) -> pa.Array | None:
        """The accessions of segments, each given by slot and index in it."""
        if self._accessions is None:
            return None
        used, which = np.unique(slot, return_inverse=True)
        held = [self._accessions[one] for one in used.tolist()]
        before = np.concatenate([[0], np.cumsum([len(array) for array in held if array is not None])]).astype(np.int64)
        return pa.concat_arrays([*held, pa.nulls(0, pa.string())]).take(indices(before[which] + index))


def _wider(table: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """A copy with room for a quarter more than ``width``, so that few row groups need another."""
    wider = np.zeros((len(table), width + width // 4), dtype=table.dtype)
    wider[:, : table.shape[1]] = table
    return wider
