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
about 512 Ki tokens at 7 bytes (24 as tensors), and 30 MB of parsed footers. With row groups of 512 rows of 1,024 tokens
a single rank takes 200 MB at 16 million rows, of which 105 are the open row groups that rows are drawn from; at 100,000
rows 145 MB.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.core.group_index import GroupIndex
from pipeline.core.steps import Steps
from pipeline.core.tokenizer import Tokenizer
from pipeline.engines.resources import granted_cpus
from pipeline.errors import ConfigurationError
from pipeline.streaming.arguments import at_least, check_rank, check_sequence_ids, check_tail, nothing_left
from pipeline.streaming.batch_makers import BatchOptions, batch_maker, check_trim
from pipeline.streaming.batches import DEFAULT_COLUMNS, check_columns, cut, segment_columns, trimmed_widths
from pipeline.streaming.columns import SequenceIds
from pipeline.streaming.objectives import Batch, Objective, as_objective
from pipeline.streaming.orders import Order, check_order, epoch_order, order_name
from pipeline.streaming.quarantine import OnCorrupt, Quarantine, Quarantined, check_on_corrupt
from pipeline.streaming.read_ahead import ReadAhead
from pipeline.streaming.recycled_memory import RecycledMemory
from pipeline.streaming.schedule import Schedule
from pipeline.streaming.shard_folder import DEFAULT_CACHE_BYTES, DEFAULT_PATIENCE, open_folder
from pipeline.streaming.sources import Paths, open_source
from pipeline.streaming.state import ReaderState, epoch_of

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
    - with an objective ``labels`` int16 [batch_size, length], −100 where nothing is asked, and what it says itself

    Other columns can be asked for:

    - ``attention_mask`` bool [batch_size, length], true on tokens
    - ``chain_id`` int16 [batch_size, length], of ESM3: another one for each segment, −1 on padding
    - ``token_dropout_scale`` float32 [batch_size, length], of ESM-2: what embeddings are multiplied with, by segment
    - ``cu_seqlens`` int32, bounds of all sequences of the flattened batch, padding being some of them, filled up to the
      same size in every step; ``max_seqlen`` int, the row length, in every step
    - ``cu_seqlens_unpadded``, ``cu_seqlens_padded`` int32, bounds of the segments without padding and with it
    - ``is_continuation`` bool [batch_size], in contiguous order: whether a model's memory of this place of the batch
      belongs to the record that the row begins in; where it is false the memory has to be reset
    - ``lengths`` uint32, ``record_keys`` uint64 and ``starts`` uint32 [segments], ``accessions`` a list of text, and
      ``row_offsets`` int64 [batch_size + 1], which says whose they are

    Arrays belong to the consumer, who may change them; they share memory with neighbouring batches, so a batch that is
    to be kept for long should be copied.

    Args:
        path: A shards folder, or the address of one: s3://, gs://, http(s)://, or what else fsspec knows; a list of
            them, which are successive epochs; or a mapping of them to weights, which is a mixture.
        split: train, valid or test.
        batch_size: Rows of a batch, on this rank.
        seed: Of order and masks.
        epoch: The first one.
        shuffle: False gives the rows as they are stored, dealt to the ranks one by one.
        order: shuffled, stored, contiguous or bucketed (:mod:`pipeline.streaming.orders`), instead of ``shuffle``.
        trim: ``"batch"`` cuts the rows of a batch to the longest, rounded up to a multiple of 8.
        rank: Of this process, 0 … world_size − 1.
        world_size: Processes that share the rows.
        objective: An objective, a mask rate, or the name of a noise schedule; None gives plain batches.
        tail: What fills the last global batch: repeat, pad or drop; by default repeat for train, pad otherwise.
        columns: What batches hold, besides what the objective adds.
        sequence_ids: How ``sequence_id`` numbers segments and marks padding: a member of
            :class:`pipeline.streaming.columns.SequenceIds`.
        reset_positions: Whether ``position_ids`` begin anew with each segment.
        threads: Threads that decode ahead; by default 2, or 1 where there is one processor (for each loader worker).
        prefetch: Blocks of some 512 Ki tokens that are made ahead.
        storage_options: For fsspec, of an address: endpoint, credentials, headers.
        cache: A folder on a local disk that keeps what was read from an address, for all processes of the machine.
        cache_bytes: What the files in it may take together, by default 16 GiB; the least recently used go first.
        patience: Seconds of faults of the storage after which a read is given up.
        on_corrupt: What a row group that cannot be read is: an error, or rows of padding (quarantine); a member of
            :class:`pipeline.streaming.quarantine.OnCorrupt`.

    Raises:
        ArtefactError: The folder holds no finished shards.
        ConfigurationError: An argument is out of range, or the split has no rows.
        TransferError: The address cannot be reached, or may not be read.
    """

    def __init__(
        self,
        path: Paths,
        *,
        split: str = "train",
        batch_size: int = 32,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = True,
        order: str | None = None,
        trim: str | None = None,
        rank: int = 0,
        world_size: int = 1,
        objective: Objective | str | float | None = None,
        tail: str | None = None,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        sequence_ids: str = SequenceIds.ZERO_BASED,
        reset_positions: bool = True,
        threads: int | None = None,
        prefetch: int = 2,
        storage_options: Mapping[str, Any] | None = None,
        cache: str | Path | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        patience: float = DEFAULT_PATIENCE,
        on_corrupt: str = OnCorrupt.ERROR,
    ) -> None:
        opener = partial(
            open_folder, storage_options=storage_options, cache=cache, cache_bytes=cache_bytes, patience=patience
        )
        self._order = check_order(order, shuffle=shuffle)
        self._source = open_source(path, opener, split, shuffle=self._order.is_seeded)
        self._shards = self._source.shards
        self._on_corrupt = check_on_corrupt(on_corrupt)
        self.quarantine = Quarantine(self._shards.paths, self._shards.rows_of_files, self._shards.rows_per_group)
        self.memory = RecycledMemory()
        self._split = split
        self._seed = seed
        self._batches = BatchOptions(
            objective=as_objective(objective),
            columns=check_columns(tuple(columns), self._order),
            sequence_ids=check_sequence_ids(sequence_ids),
            reset_positions=reset_positions,
        )
        self._trims = check_trim(trim, self._batches)
        self._threads = None if threads is None else at_least("threads", threads, 1)
        self._prefetch = at_least("prefetch", prefetch, 0)
        self._any_steps = Steps(
            num_rows=1,
            batch_size=at_least("batch_size", batch_size, 1),
            tail=check_tail(tail, split),
            rank=check_rank(rank, at_least("world_size", world_size, 1)),
            world_size=world_size,
        )
        self._groups_of_epoch: tuple[int, GroupIndex] | None = None
        for steps in map(self._steps, range(len(self._shards.sets))):
            if not len(steps):
                raise nothing_left(steps)
        # Epoch and step: where the next iteration begins, and where the consumer stands.
        self._start = self._position = (at_least("epoch", epoch, 0), 0)
        self._running = epoch  # of the iteration that began last

    def __len__(self) -> int:
        """Steps of the epoch that the next iteration begins in, the same on every rank."""
        return len(self._steps(self.epoch))

    def _groups(self, epoch: int) -> GroupIndex:
        if self._groups_of_epoch is None or self._groups_of_epoch[0] != epoch:
            self._groups_of_epoch = epoch, self._source.groups(seed=self._seed, epoch=epoch)
        return self._groups_of_epoch[1]

    def _steps(self, epoch: int) -> Steps:
        return replace(self._any_steps, num_rows=self._groups(epoch).num_rows)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def batches(
        self, *, worker: int = 0, num_workers: int = 1, convert: Callable[[Batch], Batch] | None = None
    ) -> Iterator[Batch]:
        """The batches of one epoch, or of what is left of it after a state was loaded.

        Args:
            worker: Number of the loader worker that this reader was copied into.
            num_workers: Workers that take the steps in turns.
            convert: Makes something else of the arrays of several steps, such as tensors, in the threads that read;
                the results are cut up as the arrays would be.

        Raises:
            IntegrityError: A shard is damaged, and that is to be an error.
            TransferError: The storage cannot be read.
        """
        epoch, first = self._start
        self._running = epoch
        wanted = range(first + worker, len(self), num_workers)
        for step, batch in self._read(epoch, wanted, self._num_threads(num_workers), convert):
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

    def _read(
        self, epoch: int, wanted: range, num_threads: int, convert: Callable[[Batch], Batch] | None
    ) -> Iterator[tuple[int, Batch]]:
        steps, rows_per_block = self._steps(epoch), max(1, _TOKENS_PER_BLOCK // self._shards.length)
        order = epoch_order(
            self._order,
            self._groups(epoch),
            fingerprint=self._source.fingerprint(epoch),
            seed=self._seed,
            epoch=epoch,
            global_batch=steps.global_batch,
        )
        rows_per_lane = steps.num_rows // steps.global_batch if self._order == Order.CONTIGUOUS else 0
        maker = batch_maker(
            self._shards,
            self._batches,
            steps.batch_size,
            seed=self._seed,
            epoch=epoch,
            rows_per_lane=rows_per_lane,
        )
        ahead = ReadAhead(
            self._shards,
            order,
            Schedule(order, steps, wanted, rows_per_block=rows_per_block),
            maker if convert is None else lambda rows: convert(maker(rows)),
            memory=self.memory,
            columns=segment_columns(self._batches.columns, self._batches.objective),
            num_threads=num_threads,
            num_blocks=self._prefetch,
            quarantine=self.quarantine if self._on_corrupt == OnCorrupt.QUARANTINE else None,
        )
        for block in ahead:
            widths = trimmed_widths(block.widths, self._shards.length) if self._trims else None
            batches = cut(block.batch, block.row_offsets, steps.batch_size, widths=widths)
            yield from zip(block.steps.tolist(), batches, strict=True)

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
        """Of what the epoch reads that the next iteration begins in."""
        return self._source.fingerprint(self.epoch)

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
        """Rows of the epoch that the next iteration begins in."""
        return self._groups(self.epoch).num_rows

    @property
    def quarantined(self) -> Quarantined:
        """The damage that this reader knows of: rows given as padding, and the row groups they are from."""
        return self.quarantine.known

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
        chosen = self._running if epoch is None else at_least("epoch", epoch, 0)
        most = len(self._steps(chosen))
        if not 0 <= step <= most:
            raise ConfigurationError(f"step: expected 0 to {most}, the steps of the epoch, found {step}")
        return self._state(chosen, step).document()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state at the next iteration.

        Args:
            state: What ``state_dict()`` or ``state_at()`` returned, of a reader with any number of ranks and workers
                and any batch size.

        Raises:
            StateError: It belongs to other shards, another seed, split or order, or its rows do not fill whole global
                batches of this reader.
        """
        loaded = ReaderState.from_document(state, reader=self._state(epoch_of(state), 0))
        steps = self._steps(loaded.epoch)
        step = loaded.steps_done(batch_size=steps.batch_size, world_size=steps.world_size)
        self.quarantine.load(loaded.quarantined)
        self.begin_at(*((loaded.epoch, step) if step < len(steps) else (loaded.epoch + 1, 0)))

    def _state(self, epoch: int, step: int) -> ReaderState:
        if step >= len(self._steps(epoch)):
            epoch, step = epoch + 1, 0
        return ReaderState(
            fingerprint=self._source.fingerprint(epoch),
            seed=self._seed,
            epoch=epoch,
            rows_delivered=step * self._any_steps.global_batch,
            split=self._split,
            shuffle=self._order.is_seeded,
            order=order_name(self._order, self._any_steps.global_batch),
            quarantined=self.quarantine.document(),
        )
