"""The reader without torch: numpy batches of packed rows, in a seeded order that any number of ranks can share.

::

    shards ──▶ core.ordering ──▶ schedule ──▶ read_ahead ──▶ batches
               row at each       steps in     threads that    views of blocks,
               position          blocks       decode          one a step

Invariants: the order is a function of (fingerprint, seed, epoch); the rows of a global batch are the same for every
world size that divides it; every rank has the same number of steps; a reader that loads a state goes on with the next
row and reads nothing again.

Memory does not grow with the rows: a decoded row group for each lane of the rank (192 divided by the world size, where
that divides 192, else 192), for each row of a batch at most one more, 16 decoded ahead, ``prefetch + 1`` blocks of
about 512 Ki tokens at 7 bytes, and 30 MB of parsed footers. With row groups of 512 rows of 1,024 tokens a single rank
takes 200 MB at 16 million rows, of which 105 are the open row groups that rows are drawn from; at 100,000 rows 145 MB.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import Tail
from pipeline.core.ordering import EpochOrder
from pipeline.core.steps import Steps
from pipeline.core.tokenizer import Tokenizer
from pipeline.engines.resources import granted_cpus
from pipeline.errors import ConfigurationError
from pipeline.streaming.batches import DEFAULT_COLUMNS, BatchMaker, check_columns, cut, segment_columns
from pipeline.streaming.objectives import Batch, Objective, ObjectiveContext, as_objective
from pipeline.streaming.read_ahead import ReadAhead
from pipeline.streaming.schedule import Schedule
from pipeline.streaming.shard_set import ShardSet
from pipeline.streaming.state import ReaderState

_TOKENS_PER_BLOCK = 1 << 19
_MAX_THREADS = 2


class PackedReader:
    """Batches of the packed rows of one split; each full iteration is an epoch, and goes on to the next.

    An iteration that is left early begins again where it began; to go on where it was left, hand ``state_dict()`` to
    ``load_state_dict()``. A batch is a dict of arrays, by default:

    - ``input_ids`` uint8 or uint16 [batch_size, length]
    - ``sequence_id`` int16 [batch_size, length], which segment of its row a token belongs to, −1 on padding
    - ``position_ids`` int32 [batch_size, length], from the tokenizer's position offset on in each segment
    - ``num_tokens``, ``num_sequences`` int32 [batch_size]: 0 in a row of padding
    - with masked LM ``labels`` int64 [batch_size, length], −100 where nothing is asked

    Segment columns can be asked for: ``lengths`` uint32, ``record_keys`` uint64 and ``starts`` uint32 [segments], and
    ``row_offsets`` int64 [batch_size + 1], which says whose they are. Arrays belong to the consumer, who may change
    them; they share memory with neighbouring batches, so a batch that is to be kept for long should be copied.

    Args:
        path: A shards folder.
        split: train, valid or test.
        batch_size: Rows of a batch, on this rank.
        seed: Of order and masks.
        epoch: The first one.
        shuffle: False gives the rows as they are stored, dealt to the ranks one by one.
        rank: Of this process, 0 … world_size − 1.
        world_size: Processes that share the rows.
        objective: An objective, a mask rate, or the name of a noise schedule; None gives plain batches.
        tail: What fills the last global batch: repeat, pad or drop; by default repeat for train, pad otherwise.
        columns: What batches hold, besides what the objective adds.
        threads: Threads that decode ahead; by default 2, or 1 where there is one processor (for each loader worker).
        prefetch: Blocks of some 512 Ki tokens that are made ahead.

    Raises:
        ArtefactError: The folder holds no finished shards.
        ConfigurationError: An argument is out of range, or the split has no rows.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        split: str = "train",
        batch_size: int = 32,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        objective: Objective | str | float | None = None,
        tail: str | None = None,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        threads: int | None = None,
        prefetch: int = 4,
    ) -> None:
        self._shards = ShardSet(Path(path), split)
        self._split = split
        self._seed = seed
        self._shuffle = shuffle
        self._objective = as_objective(objective)
        self._columns = check_columns(tuple(columns))
        self._threads = None if threads is None else at_least("threads", threads, 1)
        self._prefetch = at_least("prefetch", prefetch, 0)
        self._steps = Steps(
            num_rows=self._shards.num_rows,
            batch_size=at_least("batch_size", batch_size, 1),
            tail=_tail(tail, split),
            rank=_rank(rank, at_least("world_size", world_size, 1)),
            world_size=world_size,
        )
        if not len(self):
            raise _nothing_left(self._steps)
        # Epoch and step: where the next iteration begins, and where the consumer stands.
        self._start = self._position = (at_least("epoch", epoch, 0), 0)
        self._running = epoch  # of the iteration that began last

    def __len__(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return len(self._steps)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def batches(self, *, worker: int = 0, num_workers: int = 1) -> Iterator[Batch]:
        """The batches of one epoch, or of what is left of it after a state was loaded.

        Args:
            worker: Number of the loader worker that this reader was copied into.
            num_workers: Workers that take the steps in turns.

        Raises:
            IntegrityError: A shard is damaged.
        """
        epoch, first = self._start
        self._running = epoch
        wanted = range(first + worker, len(self), num_workers)
        for step, batch in self._read(epoch, wanted, self._num_threads(num_workers)):
            # A loader asks worker 0 first: all workers go on from the step that has worker 0's turn.
            self._position = (epoch, step + num_workers - worker)
            if step == wanted[-1]:
                self._finish(epoch, first)
            yield batch
        self._finish(epoch, first)  # there may have been fewer steps than workers

    def _finish(self, epoch: int, first: int) -> None:
        if self._start == (epoch, first):  # else the consumer has said meanwhile what comes next
            self._start = (epoch + 1, 0)

    def _num_threads(self, num_workers: int) -> int:
        return self._threads or max(1, min(_MAX_THREADS, granted_cpus() // num_workers))

    def _read(self, epoch: int, wanted: range, num_threads: int) -> Iterator[tuple[int, Batch]]:
        order = EpochOrder(
            self._shards.rows_of_files,
            self._shards.rows_per_group,
            fingerprint=self._shards.fingerprint,
            seed=self._seed,
            epoch=epoch,
            shuffle=self._shuffle,
        )
        rows_per_block = max(1, _TOKENS_PER_BLOCK // self._shards.length)
        ahead = ReadAhead(
            self._shards,
            order,
            Schedule(order, self._steps, wanted, rows_per_block=rows_per_block),
            self._batch_maker(epoch),
            columns=segment_columns(self._columns, self._objective),
            num_threads=num_threads,
            num_blocks=self._prefetch,
        )
        for block in ahead:
            yield from zip(
                block.steps.tolist(), cut(block.batch, block.row_offsets, self._steps.batch_size), strict=True
            )

    def _batch_maker(self, epoch: int) -> BatchMaker:
        tokenizer, alignment = self._shards.tokenizer, self._shards.alignment
        context = ObjectiveContext.of(tokenizer, seed=self._seed, epoch=epoch, alignment=alignment)
        if self._shards.is_concatenated:
            context = ObjectiveContext.of_concatenated(tokenizer, seed=self._seed, epoch=epoch)
        return BatchMaker(
            columns=self._columns,
            length=self._shards.length,
            alignment=alignment,
            position_offset=tokenizer.position_offset,
            objective=self._objective,
            context=context,
        )

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
        """Of the shards."""
        return self._shards.fingerprint

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the shards: what it puts before and after a record is what their rows have."""
        return self._shards.tokenizer

    @property
    def length(self) -> int:
        """Tokens of a row."""
        return self._shards.length

    @property
    def num_rows(self) -> int:
        """Rows of the split."""
        return self._shards.num_rows

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
            raise ConfigurationError(f"step: expected 0 to {len(self)}, the steps of an epoch, found {step}")
        return self._state(self._running if epoch is None else epoch, step).document()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state at the next iteration.

        Args:
            state: What ``state_dict()`` or ``state_at()`` returned, of a reader with any number of ranks and workers
                and any batch size.

        Raises:
            StateError: It belongs to other shards, another seed, split or order, or its rows do not fill whole global
                batches of this reader.
        """
        loaded = ReaderState.from_document(state, reader=self._state(0, 0))
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
            split=self._split,
            shuffle=self._shuffle,
        )


def at_least(name: str, value: int, least: int) -> int:
    """The value itself.

    Raises:
        ConfigurationError: It is less than that.
    """
    if value < least:
        raise ConfigurationError(f"{name}: expected at least {least}, found {value}")
    return value


def _rank(rank: int, world_size: int) -> int:
    if not 0 <= rank < world_size:
        raise ConfigurationError(f"rank: expected 0 to {world_size - 1} for world_size {world_size}, found {rank}")
    return rank


def _tail(tail: str | None, split: str) -> str:
    if tail is None:
        return Tail.REPEAT if split == "train" else Tail.PAD
    if tail not in list(Tail):
        raise ConfigurationError(f"tail: expected one of {', '.join(Tail)}, found {tail!r}")
    return tail


def _nothing_left(steps: Steps) -> ConfigurationError:
    return ConfigurationError(
        f"tail {steps.tail}: {steps.num_rows} rows do not fill one global batch of {steps.global_batch}: no step left",
        hint="take a smaller batch_size, or another tail: repeat or pad",
    )
