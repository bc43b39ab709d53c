"""What one rank reads when: the steps of an epoch cut into blocks, and when each row group opens and closes.

::

    steps      0 │ 1 2 │ 3 4 5 6 │ …                 a block is a few steps, so that arrays are long enough to be fast;
    opens      ▲▲▲ ▲▲    ▲                            the first ones are small, so that the first batch comes soon
    closes           ▼     ▼ ▼

A row group opens at the first block with a row of it, and closes behind the last one: it is open exactly while a lane
of this rank still needs it, and (``core/lanes.py``) opens once. At most one for each lane of the rank and one for each
row of a batch are open together. Only the rows that repeat at the end of an epoch can open one a second time.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

import numpy as np

from pipeline.core.group_index import Groups
from pipeline.core.lanes import BoolArray, Int64Array
from pipeline.core.ordering import EpochOrder
from pipeline.core.steps import PADDING, Steps

_ROWS_AT_ONCE = 4096
_NEVER = sys.maxsize


class OpenGroup(NamedTuple):
    """A row group to be opened."""

    place: int
    """Its number in the epoch's order."""
    file: int
    """Index of the file."""
    group: int
    """Row group within the file."""
    num_rows: int
    """How many rows it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some consecutive steps of one rank (or of one loader worker), and their rows, step after step."""

    steps: Int64Array
    """[steps]."""
    places: Int64Array
    """[places] the row groups they need, by place; ``PADDING`` among them if rows of padding are."""
    which: Int64Array
    """[rows] index into ``places``."""
    offset: Int64Array
    """[rows] offset in the row group."""
    opens: tuple[OpenGroup, ...]
    """The row groups that were not open before, in the order of need."""
    closes: tuple[int, ...]
    """Places that no later block needs."""


class Schedule:
    """The blocks of one rank in one epoch; iterate over it.

    Args:
        order: Of the epoch.
        steps: Of the rank.
        wanted: The steps to schedule, in order.
        rows_per_block: Rows of a block, where a step is not longer.
    """

    def __init__(self, order: EpochOrder, steps: Steps, wanted: range, *, rows_per_block: int) -> None:
        self._order = order
        self._steps = steps
        self._wanted = wanted
        self._steps_per_block = max(1, rows_per_block // steps.batch_size)
        self._lanes = _lanes_of(steps, wanted, order.lanes.num_lanes)
        # Only where row groups are longer than lanes can one stay open while none of our lanes is in it.
        short_lanes = order.num_rows // order.lanes.num_lanes < order.rows_per_group
        num_lanes = order.lanes.num_lanes if short_lanes else int(self._lanes.sum())
        self.max_open = min(order.num_groups, num_lanes + steps.batch_size)

    def __iter__(self) -> Iterator[Block]:
        last_steps: dict[int, int] = {}
        steps_at_once = max(1, _ROWS_AT_ONCE // self._steps.batch_size)
        num_steps = 1
        for first in range(0, len(self._wanted), steps_at_once):
            chunk = self._chunk(self._wanted[first : first + steps_at_once])
            start = 0
            while start < len(chunk.steps):
                block = self._block(chunk, start, min(start + num_steps, len(chunk.steps)), last_steps)
                yield block
                start += len(block.steps)
                num_steps = min(2 * num_steps, self._steps_per_block)

    def _chunk(self, wanted: range) -> "_Chunk":
        steps = np.array(wanted)
        positions = self._steps.positions(steps)
        place, offset = self._order.places(np.maximum(positions, 0))
        place = np.where(positions == PADDING, PADDING, place)
        places = np.unique(place[place != PADDING])
        following = np.append(steps[1:], self._next(steps[-1]))
        return _Chunk(steps, following, place, offset, places, self._order.groups_at(places))

    def _next(self, step: int) -> int:
        return int(step) + self._wanted.step if step != self._wanted[-1] else _NEVER

    def _block(self, chunk: "_Chunk", start: int, end: int, last_steps: dict[int, int]) -> Block:
        """The block of the steps ``start:end`` of a chunk, or of fewer if they need too many row groups at once."""
        while True:
            flat = chunk.place[start:end].reshape(-1)
            places, first_rows, which = np.unique(flat, return_index=True, return_inverse=True)
            needed = places[np.argsort(first_rows)].tolist()
            opened = [place for place in needed if place != PADDING and place not in last_steps]
            if len(last_steps) + len(opened) <= self.max_open or end == start + 1:
                break
            end = start + (end - start) // 2
        assert len(last_steps) + len(opened) <= self.max_open, "a lane is in one row group at a time"
        opens = tuple(chunk.groups_of(opened))
        for group in opens:
            last_steps[group.place] = self._last_step(group)
        following = int(chunk.following[end - 1])
        closes = tuple([place for place, step in last_steps.items() if step < following])
        for place in closes:
            del last_steps[place]
        return Block(
            steps=chunk.steps[start:end],
            places=places,
            which=which.reshape(-1),
            offset=chunk.offset[start:end].reshape(-1),
            opens=opens,
            closes=closes,
        )

    def _last_step(self, group: OpenGroup) -> int:
        return self._order.last_position(group.place, group.num_rows, self._lanes) // self._steps.global_batch


class _Chunk(NamedTuple):
    """Some wanted steps, located together because a few long arrays cost less than many short ones."""

    steps: Int64Array
    """[steps]."""
    following: Int64Array
    """[steps] the wanted step after each; ``_NEVER`` after the last one."""
    place: Int64Array
    """[steps, batch size]."""
    offset: Int64Array
    """[steps, batch size]."""
    places: Int64Array
    """[places] sorted, without ``PADDING``."""
    groups: Groups
    """[places] their row groups."""

    def groups_of(self, places: list[int]) -> Iterator[OpenGroup]:
        index = np.searchsorted(self.places, places)
        rows = zip(places, *(column[index].tolist() for column in self.groups), strict=True)
        return (OpenGroup(place, file, group, num_rows) for place, file, group, num_rows in rows)


def _lanes_of(steps: Steps, wanted: range, num_lanes: int) -> BoolArray:
    """Which lanes these steps take rows from; after some steps the pattern repeats."""
    period = num_lanes // gcd(num_lanes, steps.global_batch * wanted.step)
    first_rows = np.array(wanted[:period], dtype=np.int64)[:, None] * steps.global_batch + steps.rank
    positions = first_rows + steps.world_size * np.arange(steps.batch_size)
    lanes = np.zeros(num_lanes, dtype=np.bool_)
    lanes[positions % num_lanes] = True
    return lanes
