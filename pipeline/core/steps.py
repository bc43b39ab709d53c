"""Which positions of an epoch a rank takes at each step, and what becomes of the tail.

::

    positions of the epoch   0 … G − 1 │ G … 2G − 1 │ … │ kG … (k + 1)G − 1 │ …      G = world size · batch size
    step                         0     │     1      │   │         k         │
    rank r of W              the positions p ≡ r (mod W) of each, batch size of them

Every rank has the same number of steps, whatever the number of rows. The last global batch may reach beyond the rows; a
named policy says what stands there (``TAILS``)::

    repeat   the first rows of the epoch's order, again and again if there are fewer rows than G
    pad      rows of padding
    drop     that global batch is left out
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.core.lanes import Int64Array

PADDING = -1
"""What stands for the position of a row of padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The steps of one rank in one epoch."""

    num_rows: int
    """Rows of the dataset, at least 1."""
    batch_size: int
    """Rows that one rank takes at a step."""
    tail: str
    """One of ``TAILS``."""
    rank: int = 0
    """0 … world_size − 1."""
    world_size: int = 1
    """Ranks that share the rows."""

    @property
    def global_batch(self) -> int:
        """Rows that all ranks together take at a step."""
        return self.batch_size * self.world_size

    def __len__(self) -> int:
        """Steps of an epoch: the same on every rank."""
        whole, rest = divmod(self.num_rows, self.global_batch)
        return whole + (rest > 0 and self.tail != "drop")

    def positions(self, steps: Int64Array) -> Int64Array:
        """The positions that this rank takes.

        Args:
            steps: int64 [n], each in 0 … len − 1.

        Returns:
            int64 [n, batch_size], each in 0 … num_rows − 1, or ``PADDING``.
        """
        rank_rows = self.rank + self.world_size * np.arange(self.batch_size)
        return TAILS[self.tail](steps[:, None] * self.global_batch + rank_rows, self.num_rows)


def _repeated(positions: Int64Array, num_rows: int) -> Int64Array:
    return positions % num_rows


def _padded(positions: Int64Array, num_rows: int) -> Int64Array:
    return np.where(positions < num_rows, positions, PADDING)


def _dropped(positions: Int64Array, num_rows: int) -> Int64Array:
    assert positions.size == 0 or positions.max() < num_rows, "dropped steps are not asked for"
    return positions


TAILS: dict[str, Callable[[Int64Array, int], Int64Array]] = {"repeat": _repeated, "pad": _padded, "drop": _dropped}
