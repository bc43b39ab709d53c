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

Row groups of a remote folder are fetched first, by threads of their own that mostly wait::

    fetch fetch fetch …            16 at a time, and at most 32 that are not decoded yet: 10 MB of row groups of 300 KB
      └──▶ decode                  waits for its fetch, which was handed in before it

A row group that cannot be read is an error, or with a quarantine gives rows of padding in its place.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pipeline.core.lanes import Int64Array
from pipeline.core.ordering import EpochOrder
from pipeline.core.ragged import offsets_of
from pipeline.core.steps import PADDING
from pipeline.errors import IntegrityError
from pipeline.formats.remote_shard import FetchedRanges
from pipeline.streaming.objectives import Batch
from pipeline.streaming.quarantine import Quarantine
from pipeline.streaming.recycled_memory import RecycledMemory
from pipeline.streaming.row_groups import RowGroupTable, Rows
from pipeline.streaming.schedule import Block, OpenGroup, Schedule
from pipeline.streaming.sources import Shards

_SPARE_SLOTS = 16
"""Row groups that may be decoded before they are due, beyond those that are open."""

_FETCHES_AT_ONCE = 16
_MOST_FETCHED = 32
"""Row groups that are fetched or being fetched, and not decoded."""


class MadeBlock(NamedTuple):
    """Some consecutive steps."""

    steps: Int64Array
    """[steps]."""
    batch: Batch
    """Of all their rows."""
    row_offsets: Int64Array
    """[rows + 1], whose the segments of the batch are."""
    widths: Int64Array
    """[steps], tokens that the longest row of each occupies."""


_Readers = tuple[threading.Event, ...]
"""Set when a block has been gathered; unlike its future, an event does not keep the block in memory."""


class ReadAhead:
    """The blocks of a schedule, made by threads that run ahead; iterate over it once.

    Args:
        shards: What to read.
        order: Of the epoch.
        schedule: Which rows, when.
        maker: Of batches.
        memory: For the tokens of blocks.
        columns: Segment columns that the maker needs.
        num_threads: Threads that decode and make.
        num_blocks: Blocks that are made ahead of the one the consumer has.
        quarantine: Takes row groups that cannot be read; with None they are an error.
    """

    def __init__(
        self,
        shards: Shards,
        order: EpochOrder,
        schedule: Schedule,
        maker: Callable[[Rows], Batch],
        *,
        memory: RecycledMemory,
        columns: tuple[str, ...],
        num_threads: int,
        num_blocks: int,
        quarantine: Quarantine | None = None,
    ) -> None:
        self._shards = shards
        self._order = order
        self._schedule = schedule
        self._maker = maker
        self._quarantine = quarantine
        self._columns = ("input_ids", *columns)
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
            memory=memory,
        )
        self._slot_of_place = {PADDING: PADDING}
        self._stop = threading.Event()
        self._decoding_last: deque[Future[None]] = deque(maxlen=_MOST_FETCHED)
        # What may be unfinished, in the order in which it was handed in.
        self._decoding: list[Future[None]] = []
        self._gathering: list[threading.Event] = []

    def __iter__(self) -> Iterator[MadeBlock]:
        pool = ThreadPoolExecutor(self._num_threads, thread_name_prefix="pipeline-reader")
        fetchers = ThreadPoolExecutor(_FETCHES_AT_ONCE, thread_name_prefix="pipeline-reader-fetch")
        # Runs when the consumer drops this iterator, or else while the interpreter can still join threads.
        end = weakref.finalize(self, _end, self._stop, (fetchers, pool))
        try:
            made: deque[Future[MadeBlock]] = deque()
            for block in self._schedule:
                made.append(self._submit(pool, fetchers, block))
                if len(made) > self._num_blocks:
                    yield made.popleft().result()
            while made:
                yield made.popleft().result()
        finally:
            end()

    def _submit(self, pool: Executor, fetchers: Executor, block: Block) -> Future[MadeBlock]:
        """Hand in the tasks of a block."""
        self._decoding = [task for task in self._decoding if not task.done()]
        self._gathering = [gathered for gathered in self._gathering if not gathered.is_set()]
        for group in block.opens:
            slot, readers = self._slots.take()
            self._slot_of_place[group.place] = slot
            fetched = self._submit_fetch(fetchers, group) if self._shards.is_remote else None
            self._decoding.append(pool.submit(self._decode, group, slot, readers, fetched))
            self._decoding_last.append(self._decoding[-1])
        slots = np.array([self._slot_of_place[place] for place in block.places.tolist()])
        gathered = threading.Event()
        made = pool.submit(self._make, block, slots, tuple(self._decoding), gathered)
        self._gathering.append(gathered)
        readers = tuple(self._gathering)
        for place in block.closes:
            self._slots.give_back(self._slot_of_place.pop(place), readers)
        return made

    def _submit_fetch(self, fetchers: Executor, group: OpenGroup) -> "Future[FetchedRanges | None]":
        before = self._decoding_last[0] if len(self._decoding_last) == _MOST_FETCHED else None
        return fetchers.submit(self._fetch, group, before)

    def _fetch(self, group: OpenGroup, before: "Future[None] | None") -> FetchedRanges | None:
        if before is not None:
            before.exception()
        return self._shards.fetch(group.file, group.group, self._columns, self._stop)

    def _decode(
        self, group: OpenGroup, slot: int, readers: _Readers, fetched: "Future[FetchedRanges | None] | None"
    ) -> None:
        for gathered in readers:
            gathered.wait()
        try:
            source = None if fetched is None else fetched.result()
            rows = self._shards.read(group.file, group.group, columns=self._columns, source=source)
        except IntegrityError as error:
            if self._quarantine is None:
                raise
            is_whole_file = self._shards.is_unreadable(group.file)
            self._quarantine.add(group.file, group.group, error, is_whole_file=is_whole_file)
            self._table.fill_with_padding(slot, group.num_rows, pad_id=self._shards.tokenizer.pad_id)
        else:
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
        rows = replace(rows, steps=np.repeat(block.steps, len(rows.input_ids) // len(block.steps)))
        return MadeBlock(block.steps, self._maker(rows), rows.row_offsets, self._widths(rows, len(block.steps)))

    def _widths(self, rows: Rows, num_steps: int) -> Int64Array:
        """Tokens up to the last one of a segment, of the longest row of each step: [steps]."""
        lengths = rows.segments["lengths"].astype(np.int64)
        places = offsets_of(-(-lengths // self._shards.alignment) * self._shards.alignment)
        return np.asarray(np.diff(places[rows.row_offsets]).reshape(num_steps, -1).max(axis=1))


def _end(stop: threading.Event, pools: Sequence[ThreadPoolExecutor]) -> None:
    stop.set()
    for pool in pools:
        pool.shutdown(wait=False, cancel_futures=True)
    for pool in pools:
        pool.shutdown(wait=True)


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
