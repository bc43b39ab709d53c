"""Masked language modelling on alignments: which cells a model must guess, and what it sees in their place.

::

    column            7  8  9 10            the window begins at column 7 of the alignment
    row 0  cls        M  K  V  A            input_ids   cls  M  *  V  A
    row 4  cls        M  R  -  A            labels     -100  .  K  .  .

Every cell of an alignment, gaps included, is selected independently with the same rate; special tokens and padding
never are. Which cells, and what they become, depends on (seed, epoch, alignment key, row, column) alone, row and column
counted in the whole alignment: not on the rows drawn with it, on the window, the batch, the rank or the worker (law 7).

One draw of the counter hash decides about one cell, as in :mod:`pipeline.core.masking`: its upper 32 bits whether it is
selected, its lower 32 bits its fate. Cost: 12 to 20 ns a cell.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.masking import IGNORED, Fate
from pipeline.core.randomness import PURPOSE_MASK, PURPOSE_REPLACEMENT, UInt64Array, derive_key, draw
from pipeline.core.segments import Int64Array

_LOWER_HALF = np.uint64((1 << 32) - 1)


class Cells(NamedTuple):
    """Where the cells of one alignment are in it."""

    key: np.uint64
    """Of the alignment."""
    rows: Int64Array
    """[rows] of the alignment."""
    columns: Int64Array
    """[columns] of the alignment."""


def mask_cells(
    tokens: npt.NDArray[Any], cells: Cells, *, rate: float, fate: Fate, seed: int, epoch: int, label_type: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Corrupt the cells of one alignment in place.

    Args:
        tokens: Integers [rows, columns], without special tokens and padding; changed.
        cells: Which they are.
        rate: The share of cells that are selected.
        fate: What selected cells become.
        seed: Of the run.
        epoch: Each epoch masks anew.
        label_type: dtype of the labels, signed.

    Returns:
        Labels [rows, columns]: the original token where one was selected, ``IGNORED`` elsewhere.
    """
    bits = _draws(PURPOSE_MASK, cells, seed, epoch)
    selected = (bits >> np.uint64(32)) < _share(rate)
    labels: npt.NDArray[Any] = np.full(tokens.shape, IGNORED, dtype=label_type)
    labels[selected] = tokens[selected]
    lower = bits & _LOWER_HALF
    is_masked = selected & (lower < _share(fate.corruption.mask))
    is_replaced = selected & ~is_masked & (lower < _share(fate.corruption.mask + fate.corruption.random))
    if is_replaced.any():
        others = _draws(PURPOSE_REPLACEMENT, cells, seed, epoch)[is_replaced]
        tokens[is_replaced] = fate.pool.draw(others, tokens[is_replaced])
    tokens[is_masked] = fate.mask_id
    return labels


def _draws(purpose: int, cells: Cells, seed: int, epoch: int) -> UInt64Array:
    keys = derive_key(purpose, seed, epoch, cells.key, cells.rows)
    return draw(keys[:, None], cells.columns)


def _share(fraction: float) -> np.uint64:
    """The part of the range of 32 bits that lies below ``fraction``."""
    return np.uint64(int(fraction * 2.0**32))
