"""Rows to batches: the columns that were asked for, the objective, and the cut into steps.

::

    rows of a block ──▶ columns ──▶ objective ──▶ what counts its mask tokens ──▶ slices, one a step

Everything is made for a block of several steps at once and cut up at the end: the slices are views. One entry a token
or a row is cut by rows; one entry a segment is cut by ``row_offsets``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigurationError
from pipeline.streaming.columns import (
    COLUMNS,
    IS_CONTINUATION,
    MASK_COLUMNS,
    SCALE,
    STEP_COLUMNS,
    Layout,
    numbered,
    token_dropout_scale,
)
from pipeline.streaming.objectives import Batch, Objective, ObjectiveContext
from pipeline.streaming.orders import Order
from pipeline.streaming.row_groups import ACCESSIONS, SEGMENT_COLUMNS, Rows

DEFAULT_COLUMNS = ("input_ids", "sequence_id", "position_ids", "num_tokens", "num_sequences")

_NAMES = (*COLUMNS, SCALE, *STEP_COLUMNS)
_WIDTH_MULTIPLE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMaker:
    """Makes batches of rows.

    Args:
        columns: Names of columns.
        layout: Of the rows, and of what batches say of it.
        objective: Applied to every batch; None for plain ones.
        context: What the objective needs to know.
    """

    columns: tuple[str, ...]
    layout: Layout
    objective: Objective | None
    context: ObjectiveContext

    def __call__(self, rows: Rows) -> Batch:
        """The batch of some rows: the columns asked for, and what the objective adds."""
        wanted = {*self.columns, *(self.objective.columns if self.objective else ())}
        batch = {name: make(self.layout, rows) for name, make in COLUMNS.items() if name in wanted}
        if self.objective is not None:
            given, batch = batch, self.objective(batch, self.context)
            if batch.get("lengths") is not given.get("lengths"):  # segments were laid out anew
                rows = replace(
                    rows, input_ids=batch["input_ids"], segments={**rows.segments, "lengths": batch["lengths"]}
                )
                batch |= {name: COLUMNS[name](self.layout, rows) for name in self.columns if name in COLUMNS}
            if "decoder_sequence_id" in batch:
                batch["decoder_sequence_id"] = numbered(batch["decoder_sequence_id"], self.layout.sequence_ids)
        if SCALE in self.columns:
            seen = batch.get("input_ids", rows.input_ids)
            batch[SCALE] = token_dropout_scale(self.layout, rows, seen)
        batch |= {name: STEP_COLUMNS[name](self.layout, rows) for name in self.columns if name in STEP_COLUMNS}
        unwanted = COLUMNS.keys() - {*self.columns}
        return {name: array for name, array in batch.items() if name not in unwanted}


def segment_columns(columns: tuple[str, ...], objective: Objective | None) -> tuple[str, ...]:
    """The segment columns that have to be read for these columns and this objective."""
    wanted = {"lengths", *columns, *(objective.columns if objective else ())}
    if IS_CONTINUATION in wanted:
        wanted.add("starts")
    return tuple(name for name in (*SEGMENT_COLUMNS, ACCESSIONS) if name in wanted)


def check_columns(columns: tuple[str, ...], order: Order) -> tuple[str, ...]:
    """The names themselves.

    Raises:
        ConfigurationError: One is not the name of a column, or not of one that there is in this order.
    """
    if IS_CONTINUATION in columns and order != Order.CONTIGUOUS:
        raise ConfigurationError(
            f"columns: {IS_CONTINUATION}: expected the contiguous order, found the {order} one",
            hint="give the reader order='contiguous'",
        )
    for name in columns:
        if name in MASK_COLUMNS:
            raise ConfigurationError(
                f"columns: {name} is made in torch", hint="ask PackedDataset for it, or make it of sequence_id"
            )
        if name not in _NAMES:
            raise ConfigurationError(f"columns: expected names among {', '.join(_NAMES)}, found {name!r}")
    return columns


def cut(
    batch: Batch, row_offsets: npt.NDArray[np.int64], rows_per_step: int, *, widths: Sequence[int] | None = None
) -> Iterator[Batch]:
    """The batches of single steps, as views; accessions as lists of text, ``max_seqlen`` as a number.

    Args:
        batch: Of several steps.
        row_offsets: int64 [rows + 1], whose the segments are.
        rows_per_step: Rows of a step.
        widths: To which width to cut the rows of each step; None: leave them as they are.
    """
    for step, first in enumerate(range(0, len(row_offsets) - 1, rows_per_step)):
        rows = slice(first, first + rows_per_step)
        segments = slice(int(row_offsets[first]), int(row_offsets[first + rows_per_step]))
        made = {name: _cut_one(name, array, step, rows, segments) for name, array in batch.items()}
        yield made if widths is None else {name: _trimmed(name, array, widths[step]) for name, array in made.items()}


def trimmed_widths(widths: npt.NDArray[np.int64], length: int) -> list[int]:
    """Widths to cut rows to: those that are occupied, rounded up to what attention kernels like.

    Args:
        widths: int64 [steps], tokens up to the last one of a segment in any row of each step.
        length: Tokens of a row.
    """
    rounded: list[int] = np.clip(-(-widths // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE, 1, length).tolist()
    return rounded


def _trimmed(name: str, array: Any, width: int) -> Any:
    is_by_token = name not in STEP_COLUMNS and getattr(array, "ndim", 0) == 2
    return array[:, :width] if is_by_token else array


def _cut_one(name: str, array: Any, step: int, rows: slice, segments: slice) -> Any:
    if name == "row_offsets":
        return array[rows.start : rows.stop + 1] - array[rows.start]
    if name == ACCESSIONS:
        return array[segments].to_pylist()
    if name in STEP_COLUMNS:
        return int(array[step]) if array.ndim == 1 else array[step]
    return array[segments] if name in SEGMENT_COLUMNS else array[rows]
