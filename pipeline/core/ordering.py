"""Which row stands at which position of an epoch: a pure function of (fingerprint, seed, epoch).

::

    row groups, permuted        ┌─7─┬─2─┬──5──┬─0─┬…         by a keyed permutation
    rows of each, permuted      │301│245│0 4 2│3 1│…         one stream of all rows
    dealt in turns by 192 lanes  ──▶ ◀── ──▶ ◀── …           core/lanes.py

Rank r of W takes the positions p ≡ r (mod W), and global batch k is the positions kG … (k + 1)G − 1: its rows do not
depend on how many ranks share it. A rank whose world size divides 192 meets its own lanes only, and every lane walks
through its row groups one after another: the rank holds one open row group a lane, opens each one once an epoch, and
reads nothing else.

Memory does not grow with the rows: the lanes, and a few numbers for each file, whose last row group may be short. Cost:
30 ns from a position to its row group. Everything is invertible. Without shuffling there is one lane and nothing is
permuted: rows come as they are stored.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.contiguous_lanes import ContiguousLanes
from pipeline.core.group_index import GroupIndex, Groups
from pipeline.core.lanes import NUM_LANES, BoolArray, Int64Array, Lanes
from pipeline.core.permutation import Permutation
from pipeline.core.ragged import offsets_of
from pipeline.core.randomness import PURPOSE_ROW_GROUP, PURPOSE_ROW_IN_GROUP, derive_key, draw, words_of

ORDER_VERSION = 1
"""Changes when any position of any epoch does; part of every reader's state."""

_DRAWS_AT_ONCE = 1 << 20


class Location(NamedTuple):
    """Where rows are stored; int64 arrays of one shape."""

    file: Int64Array
    """Index of the file."""
    group: Int64Array
    """Row group within the file."""
    row: Int64Array
    """Row within the row group."""


class EpochOrder:
    """The order of one epoch.

    A *place* is a row group's number in the permuted stream; an *offset* is a row's number in it, after the permutation
    of its rows.

    Args:
        groups: The row groups of the epoch.
        fingerprint: Of the dataset.
        seed: Of the run.
        epoch: Epochs have unrelated orders.
        shuffle: False gives the rows as they are stored.
        lanes: How the stream is dealt to positions; by default 192 lanes, or one without shuffling.
    """

    def __init__(
        self,
        groups: GroupIndex,
        *,
        fingerprint: str,
        seed: int,
        epoch: int,
        shuffle: bool = True,
        lanes: Lanes | ContiguousLanes | None = None,
    ) -> None:
        self._groups = groups
        self.rows_per_group = groups.rows_per_group
        self.num_rows = groups.num_rows
        self.num_groups = groups.num_groups
        self._permutation: Permutation | None = None
        if shuffle and self.num_groups:
            words = words_of(fingerprint)
            self._permutation = Permutation(self.num_groups, derive_key(PURPOSE_ROW_GROUP, *words, seed, epoch))
            self._row_key = derive_key(PURPOSE_ROW_IN_GROUP, *words, seed, epoch)
        self._short = _ShortGroups(*self._short_groups(), groups.rows_per_group)
        self.lanes = lanes or Lanes(self.num_rows, NUM_LANES if shuffle else 1)

    def locate(self, positions: npt.ArrayLike) -> Location:
        """Where the rows at some positions of the epoch are stored.

        Args:
            positions: Integers in 0 … num_rows − 1, any shape.
        """
        place, offset = self.places(positions)
        groups = self.groups_at(place)
        return Location(groups.file, groups.group, self._look_up(place, offset, inverse=False))

    def positions_of(self, index: npt.ArrayLike, row: npt.ArrayLike) -> Int64Array:
        """At which position of the epoch rows come: the inverse of :meth:`locate`.

        Args:
            index: Numbers of row groups.
            row: Rows within them, of the same shape.
        """
        place = self._place_of(np.asarray(index, dtype=np.int64))
        offset = self._look_up(place, np.asarray(row, dtype=np.int64), inverse=True)
        return self.lanes.positions(self._short.starts(place) + offset)

    def places(self, positions: npt.ArrayLike) -> tuple[Int64Array, Int64Array]:
        """Place and offset of the rows at some positions."""
        return self._short.places(self.lanes.stream(np.asarray(positions, dtype=np.int64)))

    def groups_at(self, place: npt.ArrayLike) -> Groups:
        """The row groups at some places."""
        places = np.asarray(place, dtype=np.int64)
        index = places if self._permutation is None else self._permutation.forwards(places)
        return self._groups.at(index)

    def row_order(self, place: int, num_rows: int) -> Int64Array:
        """The rows of the row group at a place, in order of offset: a permutation of 0 … num_rows − 1.

        Args:
            place: Of the row group.
            num_rows: Its rows, as :meth:`groups_at` tells.
        """
        return self._row_orders(np.array([place]), np.array([num_rows]))[0, :num_rows]

    def last_position(self, place: int, num_rows: int, lanes: BoolArray) -> int:
        """The last position of the epoch at which one of some lanes takes a row of a row group; −1 for none.

        Args:
            place: Of the row group.
            num_rows: Its rows, as :meth:`groups_at` tells.
            lanes: bool [num_lanes].
        """
        start = int(self._short.starts(np.array(place)))
        return self.lanes.last_position(start, start + num_rows, lanes)

    def _place_of(self, index: Int64Array) -> Int64Array:
        return index if self._permutation is None else self._permutation.backwards(index)

    def _short_groups(self) -> tuple[Int64Array, Int64Array]:
        """Place and rows of the row groups that are not full, sorted by place."""
        index, rows = self._groups.short()
        places = self._place_of(index)
        by_place = np.argsort(places)
        return places[by_place], rows[by_place]

    def _row_orders(self, places: Int64Array, num_rows: Int64Array) -> Int64Array:
        """[places, rows_per_group]: rows in order of offset; rows that a short row group lacks come last."""
        rows = np.arange(self.rows_per_group)
        if self._permutation is None:
            return np.broadcast_to(rows, (len(places), len(rows)))
        draws = draw(draw(self._row_key, places)[:, None], rows)
        draws[rows >= num_rows[:, None]] = np.iinfo(np.uint64).max
        return np.argsort(draws, axis=1, kind="stable")

    def _look_up(self, place: Int64Array, index: Int64Array, *, inverse: bool) -> Int64Array:
        """Offsets to rows, or the inverse, a bounded number of row groups at a time."""
        unique, which = np.unique(place, return_inverse=True)
        which, wanted = which.reshape(-1), np.asarray(index).reshape(-1)
        found = np.empty(len(wanted), dtype=np.int64)
        by_place = np.argsort(which, kind="stable")
        at_once = max(1, _DRAWS_AT_ONCE // self.rows_per_group)
        for first in range(0, len(unique), at_once):
            places = unique[first : first + at_once]
            orders = self._row_orders(places, self.groups_at(places).num_rows)
            low, high = np.searchsorted(which, [first, first + at_once], sorter=by_place)
            chosen = by_place[low:high]
            table = np.argsort(orders, axis=1) if inverse else orders
            found[chosen] = table[which[chosen] - first, wanted[chosen]]
        return found.reshape(np.shape(place))


class _ShortGroups:
    """Where places start in the stream, with only the row groups that are not full held in memory.

    Args:
        places: Of the short row groups, sorted.
        rows: Their rows.
        rows_per_group: Of all others.
    """

    def __init__(self, places: Int64Array, rows: Int64Array, rows_per_group: int) -> None:
        self._rows_per_group = rows_per_group
        self._places = places
        self._missing = offsets_of(rows_per_group - rows)
        self._ends = places * rows_per_group - self._missing[:-1] + rows

    def starts(self, place: Int64Array) -> Int64Array:
        return np.asarray(place * self._rows_per_group - self._missing[np.searchsorted(self._places, place)])

    def places(self, stream: Int64Array) -> tuple[Int64Array, Int64Array]:
        # Were every row group full, a row would stand further on by what the short ones before it lack.
        as_if_full = stream + self._missing[np.searchsorted(self._ends, stream, side="right")]
        place, offset = np.divmod(as_if_full, self._rows_per_group)
        return place, offset
