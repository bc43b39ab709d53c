"""Rows dealt so that each place in the global batch reads on where it stopped: for models that carry a memory over.

::

    stored rows   0 1 2 │ 3 4 5 │ 6 7 8 │ 9 10         G = 3 places in a global batch, S = 11 // 3 = 3 steps
    place 0       0 1 2            9                    place j reads the rows jS + k at step k
    place 1             3 4 5      10
    place 2                    6 7 8   (tail)           the rows that are left, fewer than G, make one more step

Transformer-XL (Dai et al. 2019, arXiv:1901.02860) and XLNet train like this, ProtTransformer-XL and ProtXLNet too.
"""

import numpy as np

from pipeline.core.lanes import BoolArray, Int64Array


class ContiguousLanes:
    """Positions of the epoch to stored rows, and back: a lane for each place in the global batch.

    Args:
        num_rows: Rows in the stream.
        global_batch: Rows that all ranks together take at a step.
    """

    def __init__(self, num_rows: int, global_batch: int) -> None:
        self.num_lanes = global_batch
        self.rows_per_lane = num_rows // global_batch
        self._num_whole = self.rows_per_lane * global_batch

    def stream(self, positions: Int64Array) -> Int64Array:
        """The row of the stream at each position."""
        index, lane = np.divmod(positions, self.num_lanes)
        return np.where(positions < self._num_whole, lane * self.rows_per_lane + index, positions)

    def positions(self, stream: Int64Array) -> Int64Array:
        """The position of each row of the stream."""
        lane, index = np.divmod(stream, max(1, self.rows_per_lane))
        return np.where(stream < self._num_whole, index * self.num_lanes + lane, stream)

    def last_position(self, start: int, end: int, lanes: BoolArray) -> int:
        """The last position at which one of some lanes takes one of the rows ``start:end`` of the stream; −1 for none.

        Args:
            start: First row of the stream.
            end: Behind the last one, greater than ``start``.
            lanes: bool [num_lanes].
        """
        # Within a lane a later row comes later: of each lane the last row counts, and of the tail every one.
        size = max(1, self.rows_per_lane)
        ends = np.arange(start // size + 1, self.num_lanes + 1) * size
        rows = np.append(ends[ends < min(end, self._num_whole)], min(end, self._num_whole)) - 1
        rows = np.concatenate([rows[rows >= start], np.arange(max(start, self._num_whole), end)])
        taken = self.positions(rows)
        taken = taken[lanes[taken % self.num_lanes]]
        return int(taken.max()) if taken.size else -1
