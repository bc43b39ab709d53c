"""Rows of unequal lengths laid end to end: where each begins, and numbers that count within each."""

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]
Int64Array = npt.NDArray[np.int64]


def offsets_of(counts: IntArray | npt.NDArray[np.bool_]) -> Int64Array:
    """Running sum from 0: int64 [len(counts) + 1]."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def ramps(counts: IntArray, firsts: IntArray | int = 0) -> Int64Array:
    """``first, first + 1, …``, ``count`` values of each, end to end: int64 [sum of counts].

    Args:
        counts: How many values of each, integers.
        firsts: The first value, of all or of each, integers.
    """
    offsets = offsets_of(counts)
    values = np.repeat(firsts - offsets[:-1], counts)
    values += np.arange(len(values))
    return values
