"""The reader as a torch dataset: batches of tensors, in the trainer's process or from loader workers.

::

    DataLoader(dataset, batch_size=None)                  threads in the trainer's process: the fast way
    DataLoader(dataset, batch_size=None, num_workers=2)   worker w takes the steps w, w + 2, w + 4, … of this rank

Both deliver the same batches in the same order. Moving tensors between processes costs more than making them, and where
a batch has rows of every lane each worker decodes every row group of the rank.

Workers hold copies of the dataset, run ahead of the trainer, and may be started anew each epoch. What the copies have
to know of each other is a few numbers in shared memory (:mod:`pipeline.streaming.worker_progress`). How many batches
the trainer has taken only the trainer knows: with workers, a state comes from ``state_at(step)``.
"""

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.errors import ConfigurationError, StateError
from pipeline.streaming.batches import DEFAULT_COLUMNS
from pipeline.streaming.collate import split_masks, tensors, torch, with_masks
from pipeline.streaming.columns import SequenceIds
from pipeline.streaming.objectives import Batch, Objective
from pipeline.streaming.quarantine import OnCorrupt
from pipeline.streaming.reader import PackedReader
from pipeline.streaming.shard_folder import DEFAULT_CACHE_BYTES, DEFAULT_PATIENCE
from pipeline.streaming.sources import Paths
from pipeline.streaming.worker_batches import WorkerBatch
from pipeline.streaming.worker_progress import NONE, SharedFlags, WorkerProgress


class PackedDataset(torch.utils.data.IterableDataset):  # type: ignore[misc]
    """Batches of packed rows as dicts of tensors; each full iteration is an epoch, and goes on to the next.

    By default a batch holds ``input_ids``, ``sequence_id``, ``position_ids`` int64 [batch_size, length], ``num_tokens``
    and ``num_sequences`` int64 [batch_size], and with masked LM ``labels`` int64 [batch_size, length]; see
    :class:`pipeline.streaming.reader.PackedReader`, which says what they mean.

    Tensors belong to the trainer, who may change them; they share memory with those of neighbouring batches, so one
    that is kept for long, or saved, should be cloned.

    Args:
        path: A shards folder, or the address of one: s3://, gs://, http(s)://, or what else fsspec knows; a list of
            them, which are successive epochs; or a mapping of them to weights, which is a mixture.
        split: train, valid or test.
        batch_size: Rows of a batch, on this rank. The loader's own ``batch_size`` has to be None.
        seed: Of order and masks.
        epoch: The first one.
        shuffle: False gives the rows as they are stored, dealt to the ranks one by one.
        order: shuffled, stored, contiguous or bucketed (:mod:`pipeline.streaming.orders`), instead of ``shuffle``.
        trim: ``"batch"`` cuts the rows of a batch to the longest, rounded up to a multiple of 8.
        rank: Of this process; by default that of torch.distributed if it is initialised, else of the environment
            variables RANK and WORLD_SIZE if both are set (as torchrun does), else 0 of 1.
        world_size: Processes that share the rows; given together with ``rank`` or not at all.
        objective: An objective, a mask rate, or the name of a noise schedule; None gives plain batches.
        tail: What fills the last global batch: repeat, pad or drop; by default repeat for train, pad otherwise.
        columns: What batches hold, besides what the objective adds; ``dense_mask`` and ``block_mask``, of
            :mod:`pipeline.streaming.collate`, are names, too.
        sequence_ids: How ``sequence_id`` numbers segments and marks padding: a member of
            :class:`pipeline.streaming.columns.SequenceIds`.
        reset_positions: Whether ``position_ids`` begin anew with each segment.
        compact: Leave integers as narrow as they are stored; ``pipeline.streaming.collate.to_device`` widens them on
            the GPU. From loader workers this is several times faster.
        threads: Threads that decode ahead, in each process that reads; by default 2, or 1 where there is one processor.
        prefetch: Blocks of some 512 Ki tokens that are made ahead, in each process that reads.
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
        MissingExtraError: torch is not installed (at import).
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
        rank: int | None = None,
        world_size: int | None = None,
        objective: Objective | str | float | None = None,
        tail: str | None = None,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        sequence_ids: str = SequenceIds.ZERO_BASED,
        reset_positions: bool = True,
        compact: bool = False,
        threads: int | None = None,
        prefetch: int = 2,
        storage_options: Mapping[str, Any] | None = None,
        cache: str | Path | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        patience: float = DEFAULT_PATIENCE,
        on_corrupt: str = OnCorrupt.ERROR,
    ) -> None:
        self._has_default_world = rank is None
        self._compact = compact
        arrays, self._masks = split_masks(columns, sequence_ids)
        self._world = world_of(rank, world_size)
        self._reader = PackedReader(
            path,
            split=split,
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            shuffle=shuffle,
            order=order,
            trim=trim,
            rank=self._world[0],
            world_size=self._world[1],
            objective=objective,
            tail=tail,
            columns=arrays,
            sequence_ids=sequence_ids,
            reset_positions=reset_positions,
            threads=threads,
            prefetch=prefetch,
            storage_options=storage_options,
            cache=cache,
            cache_bytes=cache_bytes,
            patience=patience,
            on_corrupt=on_corrupt,
        )
        self._damaged = SharedFlags(len(self._reader.quarantine.flags))
        self._reader.quarantine.flags = self._damaged.array
        self._progress = WorkerProgress()
        self._rows_per_step = batch_size * self._world[1]
        # Of the copy in a worker: the last announcement it knows, the last epoch it began, and where it has got to.
        self._generation = self._last_epoch = NONE
        self._reached: tuple[int, int] | None = None
        self._announce()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reader.quarantine.flags = self._damaged.array  # a copy of the reader has flags of its own

    @property
    def reader(self) -> PackedReader:
        """The reader without torch."""
        return self._reader

    def __len__(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return len(self._reader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = torch.utils.data.get_worker_info()
        self._reached = None
        if worker is None:
            batches = self._in_trainer()
            return map(partial(with_masks, masks=self._masks), batches) if self._masks else batches
        return map(partial(WorkerBatch, masks=self._masks, compact=self._compact), self._in_worker(worker))

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch at the next iteration; in the epoch that a state was loaded for, stay where that is.

        Raises:
            ConfigurationError: It is a loader of accelerate that says so: that would share out the rows again.
        """
        _refuse_accelerate(inspect.currentframe())
        self._take_over()
        self._reader.set_epoch(epoch)
        self._announce()

    def state_dict(self) -> dict[str, Any]:
        """Where the trainer stands: behind the last batch it was given. Plain values, under 1 KB.

        In a loader worker, which a stateful loader asks: where this worker goes on, for a worker of the same number.

        Raises:
            StateError: Loader workers are reading; use :meth:`state_at`.
        """
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            epoch, step = self._reached or self._next_in_worker(worker)
            return self._reader.state_at(0, epoch=epoch) | {"rows_delivered": step * self._rows_per_step}
        if self._progress.running_epoch != NONE:
            raise StateError(
                "state_dict(): loader workers read ahead, so the dataset cannot know how many batches were taken",
                hint="use state_at(step), with the steps of this epoch that are done",
            )
        return self._reader.state_dict()

    def state_at(self, step: int, *, epoch: int | None = None) -> dict[str, Any]:
        """Where a trainer stands that has taken this many steps of an epoch.

        Args:
            step: Steps of the epoch that are done, those before a state was loaded included.
            epoch: By default that of the iteration which began last.

        Raises:
            ConfigurationError: An epoch has fewer steps.
        """
        running = self._progress.running_epoch
        return self._reader.state_at(step, epoch=running if epoch is None and running != NONE else epoch)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state at the next iteration.

        Args:
            state: What ``state_dict()`` or ``state_at()`` returned, of a dataset or reader with any number of ranks and
                workers and any batch size.

        Raises:
            StateError: It belongs to other shards, another seed, split or order, or its rows do not fill whole global
                batches.
        """
        self._reader.load_state_dict(state)
        if torch.utils.data.get_worker_info() is None:
            self._announce()
            return
        # A stateful loader gives each worker the state that it had; at the end of an epoch the others may not be there.
        self._generation, self._last_epoch = self._progress.generation, NONE
        if state["rows_delivered"] >= len(self) * self._rows_per_step:
            self._progress.resume(self._reader.epoch)
            self._reader.begin_at(state["epoch"], len(self))

    def _in_trainer(self) -> Iterator[Batch]:
        self._check_world()
        self._take_over()
        self._announce()
        epoch = self._reader.epoch
        convert = partial(tensors, compact=self._compact, memory=self._reader.memory)
        for batch in self._reader.batches(convert=convert):
            if self._reader.epoch != epoch:  # this batch is the last one
                self._announce()
            yield batch

    def _in_worker(self, worker: Any) -> Iterator[Batch]:
        generation = self._progress.generation  # read first: what is announced from here on is for the next iteration
        epoch, first = self._next_in_worker(worker)
        self._generation, self._last_epoch = generation, epoch
        self._reader.begin_at(epoch, first)
        self._progress.begin(_loader_of(worker), epoch, first)
        batches = self._reader.batches(worker=worker.id, num_workers=worker.num_workers)
        for taken, batch in enumerate(batches, 1):
            self._reached = (epoch, first + taken * worker.num_workers)
            yield batch
        self._reached = (epoch, len(self))
        self._progress.finish(_loader_of(worker), self._generation, epoch)

    def _next_in_worker(self, worker: Any) -> tuple[int, int]:
        """Epoch and step at which this worker begins."""
        if self._generation != self._progress.generation:
            return self._progress.next_of(_loader_of(worker))
        if self._last_epoch != NONE:
            # A persistent worker begins again: all of them count iterations alike, however far ahead each one was.
            return self._last_epoch + 1, 0
        return self._reader.epoch, self._reader.step

    def _take_over(self) -> None:
        """Stand where workers have got to, if it was they who read last."""
        if self._progress.running_epoch != NONE:
            self._reader.begin_at(*self._progress.next)

    def _announce(self) -> None:
        self._progress.announce(self._reader.epoch, self._reader.step)

    def _check_world(self) -> None:
        if self._has_default_world and (now := world_of(None, None)) != self._world:
            raise ConfigurationError(
                f"this dataset was made for rank {self._world[0]} of {self._world[1]}, but the process group that was "
                f"started since makes this rank {now[0]} of {now[1]}",
                hint="make the dataset after torch.distributed.init_process_group, or pass rank and world_size",
            )


def _refuse_accelerate(frame: FrameType | None) -> None:
    """Loaders that accelerate has prepared call ``set_epoch`` on every rank before they read anything."""
    caller = None if frame is None or frame.f_back is None else frame.f_back.f_globals.get("__name__", "")
    if caller and caller.partition(".")[0] == "accelerate":
        raise ConfigurationError(
            "this dataset gives each rank its own rows, and accelerate would share them out a second time",
            hint="leave the loader out of accelerator.prepare; for a Hugging Face Trainer, let get_train_dataloader "
            "return DataLoader(dataset, batch_size=None)",
        )


def _loader_of(worker: Any) -> int:
    """One number for all the workers that a loader starts together."""
    return int(worker.seed - worker.id)


def world_of(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and world size: as given, else of torch.distributed, else of the environment, else a single one."""
    if (rank is None) != (world_size is None):
        raise ConfigurationError(f"rank and world_size: expected both or neither, found {rank} and {world_size}")
    if rank is not None and world_size is not None:
        return rank, world_size
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    variables = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if all(value.isdigit() for value in variables):
        return int(variables[0]), int(variables[1])
    return 0, 1
