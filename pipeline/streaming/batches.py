"""What a batch holds: arrays by name, derived from the rows and the lengths of their segments.

::

    rows of a block ──▶ objective ──▶ columns that were asked for ──▶ slices, one a step

Everything is made for a block of several steps at once and cut up at the end: the slices are views. One entry a token
or a row is cut by rows; one entry a segment is cut by ``row_offsets``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.layout import position_ids, sequence_ids
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives import Batch, Objective, ObjectiveContext
from pipeline.streaming.row_groups import SEGMENT_COLUMNS, Rows

DEFAULT_COLUMNS = ("input_ids", "sequence_id", "position_ids", "num_tokens", "num_sequences")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMaker:
    """Makes batches of rows.

    Args:
        columns: Names of ``COLUMNS``.
        length: Tokens of a row.
        alignment: Segments occupy their length rounded up to a multiple of this.
        position_offset: Position of a segment's first token.
        objective: Applied to every batch; None for plain ones.
        context: What the objective needs to know.
    """

    columns: tuple[str, ...]
    length: int
    alignment: int
    position_offset: int
    objective: Objective | None
    context: ObjectiveContext

    def __call__(self, rows: Rows) -> Batch:
        """The batch of some rows: the columns asked for, and what the objective adds."""
        wanted = {*self.columns, *(self.objective.columns if self.objective else ())}
        batch = {name: make(self, rows) for name, make in COLUMNS.items() if name in wanted}
        if self.objective is not None:
            batch = self.objective(batch, self.context)
        unwanted = COLUMNS.keys() - {*self.columns}
        return {name: array for name, array in batch.items() if name not in unwanted}


def segment_columns(columns: tuple[str, ...], objective: Objective | None) -> tuple[str, ...]:
    """The segment columns that have to be read for these columns and this objective."""
    wanted = {"lengths", *columns, *(objective.columns if objective else ())}
    return tuple(name for name in SEGMENT_COLUMNS if name in wanted)


def check_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The names themselves.

    Raises:
        ConfigurationError: One is not the name of a column.
    """
    for name in columns:
        if name not in COLUMNS:
            raise ConfigurationError(f"columns: expected names among {', '.join(COLUMNS)}, found {name!r}")
    return columns


def cut(batch: Batch, row_offsets: npt.NDArray[np.int64], rows_per_step: int) -> Iterator[Batch]:
    """The batches of single steps, as views.

    Args:
        batch: Of several steps.
        row_offsets: int64 [rows + 1], whose the segments are.
        rows_per_step: Rows of a step.
    """
    for first in range(0, len(row_offsets) - 1, rows_per_step):
        end = first + rows_per_step
        segments = slice(int(row_offsets[first]), int(row_offsets[end]))
        step = {}
        for name, array in batch.items():
            if name == "row_offsets":
                step[name] = array[first : end + 1] - array[first]
            else:
                step[name] = array[segments] if name in SEGMENT_COLUMNS else array[first:end]
        yield step


def _input_ids(_: BatchMaker, rows: Rows) -> npt.NDArray[Any]:
    return rows.input_ids


def _sequence_id(maker: BatchMaker, rows: Rows) -> npt.NDArray[np.int16]:
    return sequence_ids(rows.segments["lengths"], rows.row_offsets, maker.length, alignment=maker.alignment)


def _position_ids(maker: BatchMaker, rows: Rows) -> npt.NDArray[np.int32]:
    positions = position_ids(rows.segments["lengths"], rows.row_offsets, maker.length, alignment=maker.alignment)
    if maker.position_offset:
        positions += np.int32(maker.position_offset)
    return positions


def _num_tokens(_: BatchMaker, rows: Rows) -> npt.NDArray[np.int32]:
    tokens_before = np.concatenate([[0], np.cumsum(rows.segments["lengths"], dtype=np.int64)])
    return np.diff(tokens_before[rows.row_offsets]).astype(np.int32)


def _num_sequences(_: BatchMaker, rows: Rows) -> npt.NDArray[np.int32]:
    return np.diff(rows.row_offsets).astype(np.int32)


def _row_offsets(_: BatchMaker, rows: Rows) -> npt.NDArray[np.int64]:
    return rows.row_offsets


def _segments(name: str) -> Callable[[BatchMaker, Rows], npt.NDArray[Any]]:
    return lambda _, rows: rows.segments[name]


COLUMNS: dict[str, Callable[[BatchMaker, Rows], npt.NDArray[Any]]] = {
    "input_ids": _input_ids,
    "sequence_id": _sequence_id,
    "position_ids": _position_ids,
    "num_tokens": _num_tokens,
    "num_sequences": _num_sequences,
    "row_offsets": _row_offsets,
    **{name: _segments(name) for name in SEGMENT_COLUMNS},
}
"""Everything a batch can hold, by name."""
