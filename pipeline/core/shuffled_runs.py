"""Random orders within segments: which position of each segment comes first, second, third.

::

    counts       3              2          segments of three and of two residues
    draws        .7  .2  .5     .9  .1     one counter draw a position
    in order      1   2   0      1   0     positions by rising draw, segment after segment

An order depends on the keys of its own segment alone (law 7): draws are compared by their upper 32 bits, and equal ones
by position. The first k of an order are k positions drawn without replacement.

Segment, upper bits of the draw and position are put together in one 64-bit number, and the numbers are sorted: numpy
sorts values several times faster than it finds their order. Cost: 25 to 40 ns a residue.
"""

import numpy as np

from pipeline.core.ragged import offsets_of, ramps
from pipeline.core.randomness import UInt64Array, draw_runs
from pipeline.core.segments import Int64Array

_DRAW_BITS = 32
_OTHER_BITS = 64 - _DRAW_BITS
_UPPER_HALF = np.uint64(0xFFFFFFFF00000000)


def shuffled_runs(keys: UInt64Array, counts: Int64Array) -> Int64Array:
    """The positions of each segment in random order, end to end: int64 [sum of counts].

    Args:
        keys: uint64 [segments], of a purpose of their own.
        counts: Positions of each segment, int64 [segments]; may be 0.
    """
    return _order(draw_runs(keys, counts), counts)


def random_subsets(keys: UInt64Array, counts: Int64Array, sizes: Int64Array) -> Int64Array:
    """``size`` different positions of each segment, end to end and rising: int64 [sum of sizes].

    Every subset of that size is equally likely.

    Args:
        keys: uint64 [segments], of a purpose of their own.
        counts: Positions to choose from, int64 [segments].
        sizes: How many to choose, int64 [segments], none above its count.
    """
    chosen = shuffled_runs(keys, counts)[ramps(sizes, offsets_of(counts)[:-1])]
    # Back into rising order: segments first, positions within them.
    firsts = np.repeat(offsets_of(counts)[:-1], sizes)
    return np.sort(chosen + firsts) - firsts


def _order(draws: UInt64Array, counts: Int64Array) -> Int64Array:
    positions = ramps(counts)
    segments = np.repeat(np.arange(len(counts)), counts)
    position_bits = int(counts.max(initial=0)).bit_length()
    if position_bits + len(counts).bit_length() > _OTHER_BITS:
        return positions[np.lexsort((positions, draws & _UPPER_HALF, segments))]
    place_of_segment = np.uint64(position_bits + _DRAW_BITS)
    numbers = (draws & _UPPER_HALF) >> np.uint64(_OTHER_BITS - position_bits)
    numbers |= segments.astype(np.uint64) << place_of_segment
    numbers |= positions.astype(np.uint64)
    numbers.sort()
    return (numbers & np.uint64((1 << position_bits) - 1)).astype(np.int64)
