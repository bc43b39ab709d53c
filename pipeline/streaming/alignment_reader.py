"""The reader of alignments without torch: numpy batches of sampled rows, in a seeded order that ranks can share.

::

    alignments ──▶ core.ordering ──▶ schedule ──▶ threads that decode ──▶ batches
                   alignment at      steps in     row groups and keep     [alignments, rows, columns]
                   each position     blocks       the rows drawn

Order, steps, tail and state are those of :class:`pipeline.streaming.reader.PackedReader`, with alignments in the place
of rows: a function of (fingerprint, seed, epoch), the same for every world size that divides the global batch, resumed
exactly. What is drawn of an alignment is a function of (seed, epoch, alignment key), see
:mod:`pipeline.core.alignment_sampling`, and so are masks.

A row group is decoded once an epoch and rank, and only what was drawn of it is kept. Memory: of 192 lanes divided by
the world size each a row group of 8 samples of 16 Ki tokens, 25 MB on a single rank; in each thread a row group as it
is stored; and the batch.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.alignment_sampling import MAX_COLUMNS, MAX_ROWS, MAX_TOKENS, AlignmentLimits
from pipeline.core.ordering import EpochOrder
from pipeline.core.steps import PADDING, Steps
from pipeline.core.tokenizer import Tokenizer, load_tokenizer
from pipeline.engines.resources import granted_cpus
from pipeline.errors import ConfigurationError
from pipeline.streaming.alignment_batches import SampledAlignment, batch_of, check_limits, sampled
from pipeline.streaming.alignment_set import AlignmentSet
from pipeline.streaming.arguments import at_least, check_rank, check_tail, nothing_left
from pipeline.streaming.objectives import Batch, Objective, ObjectiveContext
from pipeline.streaming.objectives.alignment_masked_lm import AlignmentMaskedLM
from pipeline.streaming.quarantine import Quarantine
from pipeline.streaming.recycled_memory import RecycledMemory
from pipeline.streaming.schedule import Block, OpenGroup, Schedule
from pipeline.streaming.state import ReaderState, epoch_of

MSA_TRANSFORMER = "msa-transformer"
"""The tokenizer of ESM-MSA-1 and ESM-MSA-1b."""

_SPLIT = "train"
"""Alignments have no splits."""
_ALIGNMENTS_PER_BLOCK = 32
_MAX_THREADS = 2
_Samples = list[SampledAlignment]


class AlignmentReader:
    """Batches of alignments; each full iteration is an epoch, and goes on to the next.

    A batch is a dict of arrays, padded to its largest alignment:

    - ``input_ids`` uint8 [alignments, rows, columns], the query first in each; columns count special tokens
    - ``row_mask`` bool [alignments, rows] and ``column_mask`` bool [alignments, columns], true on what is no padding
    - ``alignment_keys`` uint64 [alignments], ``row_indices`` int32 [alignments, rows] which rows of the alignment these
      are, −1 on padding; ``first_columns`` and ``num_columns`` int32 [alignments], the window
    - with an objective ``labels`` int16 [alignments, rows, columns], −100 where nothing is asked

    Args:
        path: A folder of alignments, on this machine.
        batch_size: Alignments of a batch, on this rank.
        seed: Of order, rows, windows and masks.
        epoch: The first one.
        shuffle: False gives the alignments as they are stored, dealt to the ranks one by one; rows are drawn still.
        rank: Of this process, 0 … world_size − 1.
        world_size: Processes that share the alignments.
        objective: An objective of alignments, or a mask rate; None gives plain batches.
        tail: What fills the last global batch: repeat (the default), pad or drop.
        tokenizer: Name of a tokenizer, or path of a tokenizer JSON file; it must know the gap.
        max_rows: Rows of an alignment that are taken at most, the query included.
        max_columns: Tokens of a row at most, special tokens included; wider alignments are cropped to a window.
        max_tokens: Rows times tokens of a row at most; the query is always there.
        threads: Threads that decode ahead; by default 2, or 1 where there is one processor (for each loader worker).
        prefetch: Blocks of 32 alignments whose row groups are decoded ahead.

    Raises:
        ArtefactError: The folder holds no finished alignments.
        ConfigurationError: An argument is out of range, or the tokenizer has no gap.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        batch_size: int = 1,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        objective: Objective | float | None = None,
        tail: str | None = None,
        tokenizer: str = MSA_TRANSFORMER,
        max_rows: int = MAX_ROWS,
        max_columns: int = MAX_COLUMNS,
        max_tokens: int = MAX_TOKENS,
        threads: int | None = None,
        prefetch: int = 2,
    ) -> None:
        self._alignments = AlignmentSet(Path(path))
        self._seed = seed
        self._shuffle = shuffle
        self._tokenizer = _with_gap(load_tokenizer(tokenizer))
        self._limits = check_limits(
            AlignmentLimits(max_rows=max_rows, max_columns=max_columns, max_tokens=max_tokens), self._tokenizer
        )
        self._objective = AlignmentMaskedLM(objective) if isinstance(objective, float) else objective
        if self._objective is not None:
            self._objective(batch_of([], self._tokenizer), self._context(epoch))  # says what cannot be
        stored = self._alignments
        self.quarantine = Quarantine(stored.paths, stored.rows_of_files, stored.groups.rows_per_group)
        self.memory = RecycledMemory()
        self._threads = None if threads is None else at_least("threads", threads, 1)
        self._prefetch = at_least("prefetch", prefetch, 0)
        self._steps = Steps(
            num_rows=stored.groups.num_rows,
            batch_size=at_least("batch_size", batch_size, 1),
            tail=check_tail(tail, _SPLIT),
            rank=check_rank(rank, at_least("world_size", world_size, 1)),
            world_size=world_size,
        )
        if not len(self._steps):
            raise nothing_left(self._steps)
        # Epoch and step: where the next iteration begins, and where the consumer stands.
        self._start = self._position = (at_least("epoch", epoch, 0), 0)
        self._running = epoch  # of the iteration that began last

    def __len__(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return len(self._steps)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def batches(
        self, *, worker: int = 0, num_workers: int = 1, convert: Callable[[Batch], Batch] | None = None
    ) -> Iterator[Batch]:
        """The batches of one epoch, or of what is left of it after a state was loaded.

        Args:
            worker: Number of the loader worker that this reader was copied into.
            num_workers: Workers that take the steps in turns.
            convert: Makes something else of the arrays of a batch, such as tensors.

        Raises:
            IntegrityError: A part is damaged.
        """
        epoch, first = self._start
        self._running = epoch
        wanted = range(first + worker, len(self), num_workers)
        for step, batch in self._read(epoch, wanted, self._num_threads(num_workers)):
            # A loader asks worker 0 first: all workers go on from the step that has worker 0's turn.
            self._position = (epoch, step + num_workers - worker)
            if step == wanted[-1]:
                self._finish(epoch, first)
            yield batch if convert is None else convert(batch)
        self._finish(epoch, first)  # there may have been fewer steps than workers

    def _finish(self, epoch: int, first: int) -> None:
        if self._start == (epoch, first):  # else the consumer has said meanwhile what comes next
            self._start = (epoch + 1, 0)

    def _num_threads(self, num_workers: int) -> int:
        return self._threads or max(1, min(_MAX_THREADS, granted_cpus() // num_workers))

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration begins in."""
        return self._start[0]

    @property
    def step(self) -> int:
        """The step of its epoch that the next iteration begins with: 0 unless a state was loaded."""
        return self._start[1]

    @property
    def fingerprint(self) -> str:
        """Of the alignments."""
        return self._alignments.fingerprint

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the batches."""
        return self._tokenizer

    @property
    def num_alignments(self) -> int:
        """Alignments of an epoch."""
        return self._steps.num_rows

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch at the next iteration; in the epoch that a state was loaded for, stay where that is."""
        self.begin_at(at_least("epoch", epoch, 0), self.step if epoch == self.epoch else 0)

    def begin_at(self, epoch: int, step: int) -> None:
        """Begin at this step of this epoch at the next iteration."""
        self._start = self._position = (epoch, step)
        self._running = epoch

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer stands: behind the last batch it was given. Plain values, under 1 KB."""
        return self._state(*self._position).document()

    def state_at(self, step: int, *, epoch: int | None = None) -> dict[str, Any]:
        """Where a consumer stands that has taken this many steps of an epoch.

        Args:
            step: Steps of the epoch that are done, those before a state was loaded included.
            epoch: By default the one the consumer is in.

        Raises:
            ConfigurationError: An epoch has fewer steps.
        """
        if not 0 <= step <= len(self):
            raise ConfigurationError(f"step: expected 0 to {len(self)}, the steps of the epoch, found {step}")
        return self._state(self._running if epoch is None else at_least("epoch", epoch, 0), step).document()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state at the next iteration.

        Args:
            state: What ``state_dict()`` or ``state_at()`` returned, of a reader with any number of ranks and workers
                and any batch size; ``rows_delivered`` counts alignments.

        Raises:
            StateError: It belongs to other alignments, another seed or order, or what was delivered does not fill whole
                global batches of this reader.
        """
        loaded = ReaderState.from_document(state, reader=self._state(epoch_of(state), 0))
        step = loaded.steps_done(batch_size=self._steps.batch_size, world_size=self._steps.world_size)
        self.begin_at(*((loaded.epoch, step) if step < len(self) else (loaded.epoch + 1, 0)))

    def _state(self, epoch: int, step: int) -> ReaderState:
        if step >= len(self):
            epoch, step = epoch + 1, 0
        return ReaderState(
            fingerprint=self.fingerprint,
            seed=self._seed,
            epoch=epoch,
            rows_delivered=step * self._steps.global_batch,
            split=_SPLIT,
            shuffle=self._shuffle,
        )

    def _context(self, epoch: int) -> ObjectiveContext:
        return ObjectiveContext.of(self._tokenizer, seed=self._seed, epoch=epoch)

    def _read(self, epoch: int, wanted: range, num_threads: int) -> Iterator[tuple[int, Batch]]:
        order = EpochOrder(
            self._alignments.groups,
            fingerprint=self.fingerprint,
            seed=self._seed,
            epoch=epoch,
            shuffle=self._shuffle,
        )
        size, context = self._steps.batch_size, self._context(epoch)
        schedule = Schedule(order, self._steps, wanted, rows_per_block=_ALIGNMENTS_PER_BLOCK)
        open_one = partial(self._open, order, epoch)
        for block, opened in _opened_ahead(schedule, open_one, num_threads=num_threads, num_ahead=self._prefetch):
            samples = _samples_of(block, opened)
            for at, step in enumerate(block.steps.tolist()):
                batch = batch_of(samples[at * size : (at + 1) * size], self._tokenizer)
                yield step, batch if self._objective is None else self._objective(batch, context)

    def _open(self, order: EpochOrder, epoch: int, group: OpenGroup) -> _Samples:
        """What the epoch takes of the alignments of a row group, in order of offset."""
        stored = self._alignments.read(group.file, group.group, group.num_rows)
        rows = order.row_order(group.place, group.num_rows).tolist()
        draws = partial(sampled, tokenizer=self._tokenizer, limits=self._limits, seed=self._seed, epoch=epoch)
        return [draws(stored[row]) for row in rows]


def _opened_ahead(
    schedule: Schedule, open_one: Callable[[OpenGroup], _Samples], *, num_threads: int, num_ahead: int
) -> Iterator[tuple[Block, Mapping[int, _Samples]]]:
    """The blocks of a schedule, each with the row groups that are open then, by place."""
    opened: dict[int, _Samples] = {}
    waiting: deque[tuple[Block, dict[int, Future[_Samples]]]] = deque()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="pipeline-reader")
    try:
        blocks = iter(schedule)
        while True:
            while len(waiting) <= num_ahead and (block := next(blocks, None)) is not None:
                waiting.append((block, {group.place: pool.submit(open_one, group) for group in block.opens}))
            if not waiting:
                return
            block, futures = waiting.popleft()
            opened |= {place: future.result() for place, future in futures.items()}
            yield block, opened
            for place in block.closes:
                del opened[place]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _samples_of(block: Block, opened: Mapping[int, _Samples]) -> list[SampledAlignment | None]:
    places = block.places[block.which].tolist()
    at = zip(places, block.offset.tolist(), strict=True)
    return [None if place == PADDING else opened[place][offset] for place, offset in at]


def _with_gap(tokenizer: Tokenizer) -> Tokenizer:
    gap = tokenizer.table[np.uint8(ord("-"))]
    if tokenizer.tokens[int(gap)] != "-":
        raise ConfigurationError(
            f"tokenizer {tokenizer.name!r}: expected one with a token for the gap, '-', found none",
            hint=f"take {MSA_TRANSFORMER}",
        )
    return tokenizer
