"""Everything a batch can hold, by name, and how it is made from rows.

::

    one entry a token      input_ids, sequence_id, chain_id, position_ids, attention_mask, token_dropout_scale
    one entry a row        num_tokens, num_sequences, is_continuation
    one entry a segment    lengths, record_keys, starts, accessions; row_offsets says whose they are
    one entry a step       cu_seqlens, cu_seqlens_unpadded, cu_seqlens_padded, max_seqlen

Columns are made for a block of several steps at once. ``token_dropout_scale`` is made behind the objective, whose mask
tokens it counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.layout import position_ids, segment_places, sequence_ids
from pipeline.core.ragged import offsets_of, ramps
from pipeline.core.variable_length import cumulative_lengths, most_sequences, segment_bounds
from pipeline.streaming.row_groups import SEGMENT_COLUMNS, Rows

Array = npt.NDArray[Any]

ESM2_MASK_SHARE = 0.15 * 0.8
"""The share of tokens that are mask tokens when ESM-2 trains: what its token dropout scales embeddings for."""


IS_CONTINUATION = "is_continuation"


class SequenceIds(StrEnum):
    """How ``sequence_id`` numbers the segments of a row, and what it says of padding."""

    ZERO_BASED = "zero-based"
    """0, 1, 2, …, padding −1: as in the shards; ESM3, ESM C in transformers, Profluent-E1."""
    ONE_BASED = "one-based"
    """1, 2, 3, …, padding 0: Megatron, NeMo, ProGen3."""
    ONE_BASED_NEGATIVE = "one-based-negative"
    """1, 2, 3, …, padding −1."""
    BOOLEAN = "boolean"
    """True for tokens, False for padding: for models that take one protein a row, as ESM C's own package does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the rows of a dataset are laid out, and how a batch shall say it."""

    length: int
    """Tokens of a row."""
    alignment: int
    """Segments occupy their length rounded up to a multiple of this."""
    most_segments: int
    """Segments of the row that has most."""
    batch_size: int
    """Rows of a step."""
    position_offset: int = 0
    """Position of a segment's first token."""
    mask_id: int | None = None
    """The mask token, if there is one."""
    sequence_ids: SequenceIds = SequenceIds.ZERO_BASED
    reset_positions: bool = True
    """Whether positions begin anew with each segment, or go on over the row."""
    rows_per_lane: int = 0
    """Steps in which each place of the batch reads on where it stopped; 0: it never does."""


def _input_ids(_: Layout, rows: Rows) -> Array:
    return rows.input_ids


def _zero_based(layout: Layout, rows: Rows) -> npt.NDArray[np.int16]:
    return sequence_ids(rows.segments["lengths"], rows.row_offsets, layout.length, alignment=layout.alignment)


def _sequence_id(layout: Layout, rows: Rows) -> Array:
    return _CONVENTIONS[layout.sequence_ids](_zero_based(layout, rows))


_CONVENTIONS: dict[SequenceIds, Callable[[npt.NDArray[np.int16]], Array]] = {
    SequenceIds.ZERO_BASED: lambda ids: ids,
    SequenceIds.ONE_BASED: lambda ids: ids + np.int16(1),
    SequenceIds.ONE_BASED_NEGATIVE: lambda ids: ids + (ids >= 0).astype(np.int16),
    SequenceIds.BOOLEAN: lambda ids: ids >= 0,
}


def numbered(ids: npt.NDArray[np.int16], convention: SequenceIds) -> Array:
    """Zero-based ids, padding −1, in another convention."""
    return _CONVENTIONS[convention](ids)


def _position_ids(layout: Layout, rows: Rows) -> npt.NDArray[np.int32]:
    if layout.reset_positions:
        positions = position_ids(rows.segments["lengths"], rows.row_offsets, layout.length, alignment=layout.alignment)
    else:
        positions = np.tile(np.arange(layout.length, dtype=np.int32), (len(rows.input_ids), 1))
    if layout.position_offset:
        positions += np.int32(layout.position_offset)
    return positions


def _attention_mask(layout: Layout, rows: Rows) -> npt.NDArray[np.bool_]:
    return _zero_based(layout, rows) >= 0


def _num_tokens(_: Layout, rows: Rows) -> npt.NDArray[np.int32]:
    return np.diff(offsets_of(rows.segments["lengths"])[rows.row_offsets]).astype(np.int32)


def _num_sequences(_: Layout, rows: Rows) -> npt.NDArray[np.int32]:
    return np.diff(rows.row_offsets).astype(np.int32)


def _row_offsets(_: Layout, rows: Rows) -> npt.NDArray[np.int64]:
    return rows.row_offsets


def _is_continuation(layout: Layout, rows: Rows) -> npt.NDArray[np.bool_]:
    """Whether a row goes on in the record that the row before it, in the same place of the batch, ended in."""
    assert rows.steps is not None, "read with steps"
    begins_inside = np.zeros(len(rows.input_ids), dtype=np.bool_)
    has_segments = np.diff(rows.row_offsets) > 0
    begins_inside[has_segments] = rows.segments["starts"][rows.row_offsets[:-1][has_segments]] > 0
    return begins_inside & (rows.steps > 0) & (rows.steps < layout.rows_per_lane)


def _segments(name: str) -> "Column":
    return lambda _, rows: rows.segments[name]


def token_dropout_scale(layout: Layout, rows: Rows, input_ids: Array) -> npt.NDArray[np.float32]:
    """What ESM-2 multiplies its embeddings with, so that masked and unmasked input have the same size.

    ESM-2 scales a row by (1 − 0.15 · 0.8) / (1 − share of mask tokens in the row), special tokens counted (fair-esm,
    ``ESM2.forward``). In a packed row that would tell every protein how much of its neighbours is masked, so the share
    is that of the segment.

    Args:
        layout: Of the dataset.
        rows: The rows.
        input_ids: Their tokens as the model sees them, [rows, length].

    Returns:
        float32 [rows, length], 1 on padding.
    """
    lengths = rows.segments["lengths"].astype(np.int64)
    scale = np.ones(input_ids.size, dtype=np.float32)
    if not len(lengths):
        return scale.reshape(input_ids.shape)
    begins = segment_places(lengths, rows.row_offsets, layout.length, layout.alignment)
    is_mask = np.zeros(input_ids.size, bool) if layout.mask_id is None else (input_ids == layout.mask_id).reshape(-1)
    share = np.add.reduceat(is_mask, begins, dtype=np.int64) / lengths
    # A segment without a token that is not masked has no embedding to scale.
    of_segment = (1 - ESM2_MASK_SHARE) / np.where(share < 1, 1 - share, 1)
    scale[ramps(lengths, begins)] = np.repeat(of_segment, lengths)
    return scale.reshape(input_ids.shape)


def _each_step(layout: Layout, rows: Rows, size: int, make: Callable[..., Any]) -> Array:
    """``make`` of the segments of each step: [steps, …]."""
    made = []
    for first in range(0, len(rows.input_ids), layout.batch_size):
        offsets = rows.row_offsets[first : first + layout.batch_size + 1]
        lengths = rows.segments["lengths"][offsets[0] : offsets[-1]].astype(np.int64)
        made.append(make(lengths, offsets - offsets[0], layout.length, alignment=layout.alignment, size=size))
    return np.stack(made)


def _cu_seqlens(layout: Layout, rows: Rows) -> Array:
    size = most_sequences(layout.batch_size, layout.most_segments, layout.alignment)
    return _each_step(layout, rows, size, cumulative_lengths)


def _bounds(which: int) -> "Column":
    def bounds(layout: Layout, rows: Rows) -> Array:
        made = _each_step(layout, rows, layout.batch_size * layout.most_segments, segment_bounds)
        return np.asarray(made[:, which])

    return bounds


def _max_seqlen(layout: Layout, rows: Rows) -> Array:
    return np.full(len(rows.input_ids) // layout.batch_size, layout.length)


Column = Callable[[Layout, Rows], Any]

COLUMNS: dict[str, Column] = {
    "input_ids": _input_ids,
    "sequence_id": _sequence_id,
    "chain_id": _zero_based,
    "position_ids": _position_ids,
    "attention_mask": _attention_mask,
    "num_tokens": _num_tokens,
    "num_sequences": _num_sequences,
    IS_CONTINUATION: _is_continuation,
    "row_offsets": _row_offsets,
    **{name: _segments(name) for name in SEGMENT_COLUMNS},
    "accessions": lambda _, rows: rows.accessions,
}
"""One entry a token, a row or a segment."""

STEP_COLUMNS: dict[str, Column] = {
    "cu_seqlens": _cu_seqlens,
    "cu_seqlens_unpadded": _bounds(0),
    "cu_seqlens_padded": _bounds(1),
    "max_seqlen": _max_seqlen,
}
"""One entry a step."""

SCALE = "token_dropout_scale"
MASK_COLUMNS = ("dense_mask", "block_mask")
"""Made of ``sequence_id`` behind everything else, in torch."""
