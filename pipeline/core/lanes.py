"""How the rows of an epoch's stream are dealt to its positions: 192 lanes, read in turns.

::

    stream      │◀── segment 0 ──▶│◀── segment 1 ──▶│◀── segment 2 ──▶│ …     192 segments of equal length, a lane each
    read         0 1 2 3 …      ──▶◀──      … 3 2 1 0  0 1 2 3 …              odd segments backwards
    positions   lane 0, lane 1, … lane 191, lane 0, lane 1, …

Position p takes row p div 192 of lane p mod 192, for every p below the number of rows: the first (rows mod 192) lanes
are one row longer, so that no ragged end is left.

- Odd segments are read backwards because a cut goes through a row group: both neighbours then need it at the same time,
  at the start of the epoch or at its end, and it is needed in one stretch.
- Lanes that are equal modulo 2, 4, … 64 have segments side by side: with so many ranks only as many row groups are cut
  between two ranks.
"""

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NUM_LANES = 192
_POWER_OF_TWO = 64  # 192 = 64 · 3


class Lanes:
    """Positions of the epoch to rows of the stream, and back.

    Args:
        num_rows: Rows in the stream.
        num_lanes: 192, or 1 for the stream as it is.
    """

    def __init__(self, num_rows: int, num_lanes: int = NUM_LANES) -> None:
        segment_of_lane = _segment_of_lane(num_lanes)
        lengths = num_rows // num_lanes + (np.arange(num_lanes) < num_rows % num_lanes)
        self.num_lanes = num_lanes
        self._lane_of_segment = np.argsort(segment_of_lane)
        self._segment_starts = np.concatenate([[0], np.cumsum(lengths[self._lane_of_segment])]).astype(np.int64)
        self._direction = 1 - 2 * (segment_of_lane % 2)
        starts = self._segment_starts[segment_of_lane]
        self._first_row = np.where(self._direction > 0, starts, starts + lengths - 1)

    def stream(self, positions: Int64Array) -> Int64Array:
        """The row of the stream at each position."""
        index, lane = np.divmod(positions, self.num_lanes)
        return np.asarray(self._first_row[lane] + self._direction[lane] * index)

    def positions(self, stream: Int64Array) -> Int64Array:
        """The position of each row of the stream."""
        lane = self._lane_of_segment[np.searchsorted(self._segment_starts, stream, side="right") - 1]
        return np.asarray((stream - self._first_row[lane]) * self._direction[lane] * self.num_lanes + lane)

    def last_position(self, start: int, end: int, lanes: BoolArray) -> int:
        """The last position at which one of some lanes takes one of the rows ``start:end`` of the stream; −1 for none.

        Args:
            start: First row of the stream.
            end: Behind the last one, greater than ``start``.
            lanes: bool [num_lanes].
        """
        low, high = np.searchsorted(self._segment_starts, [start, end - 1], side="right")
        segments = np.arange(low - 1, high)
        firsts = np.maximum(start, self._segment_starts[segments])
        lasts = np.minimum(end, self._segment_starts[segments + 1]) - 1
        lane = self._lane_of_segment[segments]
        latest = np.where(self._direction[lane] > 0, lasts, firsts)[lanes[lane] & (firsts <= lasts)]
        return int(self.positions(latest).max()) if latest.size else -1


def _segment_of_lane(num_lanes: int) -> Int64Array:
    lanes = np.arange(num_lanes)
    if num_lanes != NUM_LANES:
        return lanes
    reversed_bits = np.zeros_like(lanes)
    for bit in range(_POWER_OF_TWO.bit_length() - 1):
        reversed_bits = 2 * reversed_bits + (lanes >> bit) % 2
    return 3 * reversed_bits + lanes // _POWER_OF_TWO
