"""Threads that decode row groups and make batches ahead of the consumer.

::

    tasks, first in first out      decode decode decode  make  decode  make  make  decode …
                                   └─ row groups that ─┘  ▲
                                      block 0 opens       └─ block 0

The consumer's thread plans blocks and hands tasks to the pool. A task may wait for tasks handed in before it, never for
a later one and never for the consumer: so nothing can lock up, and when the consumer goes away the threads end by
themselves. ``make`` waits for the row groups of its block; ``decode`` waits until all blocks are gathered that may read
the former content of its slot. Whatever a task raises reaches the consumer with the block it belongs to.

Decoding, gathering and most of the rest release the GIL.
"""

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from pipeline.core.lanes import Int64Array
from pipeline.core.ordering import EpochOrder
from pipeline.core.steps import PADDING
from pipeline.streaming.batches import BatchMaker
from pipeline.streaming.objectives import Batch
from pipeline.streaming.row_groups import RowGroupTable
from pipeline.streaming.schedule import Block, OpenGroup, Schedule
from pipeline.streaming.shard_set import ShardSet

_SPARE_SLOTS = 16
"""Row groups that may be decoded before they are due, beyond those that are open."""


class MadeBlock(NamedTuple):
    """Some consecutive steps."""

    steps: Int64Array
    """[steps]."""
    batch: Batch
    """Of all their rows."""
    row_offsets: Int64Array
    """[rows + 1], whose the segments of the batch are."""


_Readers = tuple[threading.Event, ...]
"""Set when a block has been gathered; unlike its future, an event does not keep the block in memory."""


class ReadAhead:
    """The blocks of a schedule, made by threads that run ahead; iterate over it once.

    Args:
        shards: What to read.
        order: Of the epoch.
        schedule: Which rows, when.
        maker: Of batches.
        columns: Segment columns that the maker needs.
        num_threads: Threads that decode and make.
        num_blocks: Blocks that are made ahead of the one the consumer has.
    """

    def __init__(
        self,
        shards: ShardSet,
        order: EpochOrder,
        schedule: Schedule,
        maker: BatchMaker,
        *,
        columns: tuple[str, ...],
        num_threads: int,
        num_blocks: int,
    ) -> None:
        self._shards = shards
        self._order = order
        self._schedule = schedule
        self._maker = maker
        self._num_threads = num_threads
        self._num_blocks = num_blocks
        num_slots = min(schedule.max_open + _SPARE_SLOTS, order.num_groups)
        self._slots = _Slots(num_slots)
        self._table = RowGroupTable(
            num_slots,
            rows_per_group=min(order.rows_per_group, order.num_rows),
            length=shards.length,
            dtype=shards.tokenizer.dtype,
            columns=columns,
        )
        self._slot_of_place = {PADDING: PADDING}
        # What may be unfinished, in the order in which it was handed in.
        self._decoding: list[Future[None]] = []
        self._gathering: list[threading.Event] = []

    def __iter__(self) -> Iterator[MadeBlock]:
        pool = ThreadPoolExecutor(self._num_threads, thread_name_prefix="pipeline-reader")
        # Runs when the consumer drops this iterator, or else while the interpreter can still join threads.
        end = weakref.finalize(self, pool.shutdown, wait=True, cancel_futures=True)
        try:
            made: deque[Future[MadeBlock]] = deque()
            for block in self._schedule:
                made.append(self._submit(pool, block))
                if len(made) > self._num_blocks:
                    yield made.popleft().result()
            while made:
                yield made.popleft().result()
        finally:
            end()

    def _submit(self, pool: Executor, block: Block) -> Future[MadeBlock]:
        """Hand in the tasks of a block."""
        self._decoding = [task for task in self._decoding if not task.done()]
        self._gathering = [gathered for gathered in self._gathering if not gathered.is_set()]
        for group in block.opens:
            slot, readers = self._slots.take()
            self._slot_of_place[group.place] = slot
            self._decoding.append(pool.submit(self._decode, group, slot, readers))
        slots = np.array([self._slot_of_place[place] for place in block.places.tolist()])
        gathered = threading.Event()
        made = pool.submit(self._make, block, slots, tuple(self._decoding), gathered)
        self._gathering.append(gathered)
        readers = tuple(self._gathering)
        for place in block.closes:
            self._slots.give_back(self._slot_of_place.pop(place), readers)
        return made

    def _decode(self, group: OpenGroup, slot: int, readers: _Readers) -> None:
        for gathered in readers:
            gathered.wait()
        rows = self._shards.read(group.file, group.group)
        self._table.fill(slot, rows, self._order.row_order(group.place, group.num_rows))

    def _make(
        self, block: Block, slots: Int64Array, decoding: tuple[Future[None], ...], gathered: threading.Event
    ) -> MadeBlock:
        try:
            for task in decoding:
                task.result()
            rows = self._table.gather(slots[block.which], block.offset, pad_id=self._shards.tokenizer.pad_id)
        finally:
            gathered.set()
        return MadeBlock(block.steps, self._maker(rows), rows.row_offsets)


class _Slots:
    """Which slots are free, and which tasks may still read what was in them."""

    def __init__(self, num_slots: int) -> None:
        self._unused = deque(range(num_slots))
        self._used: deque[tuple[int, _Readers]] = deque()

    def take(self) -> tuple[int, _Readers]:
        # A slot that was never used costs memory, one that was given back just now costs waiting.
        if self._unused and len(self._used) < _SPARE_SLOTS:
            return self._unused.popleft(), ()
        return self._used.popleft()

    def give_back(self, slot: int, readers: _Readers) -> None:
        self._used.append((slot, readers))
