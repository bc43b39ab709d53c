"""The reader as a torch dataset: batches of tensors, in the trainer's process or from loader workers.

::

    DataLoader(dataset, batch_size=None)                  threads in the trainer's process: the fast way
    DataLoader(dataset, batch_size=None, num_workers=2)   worker w takes the steps w, w + 2, w + 4, … of this rank

Both deliver the same batches in the same order. Moving tensors between processes costs more than making them, and where
a batch has rows of every lane each worker decodes every row group of the rank.

Workers hold copies of the dataset, run ahead of the trainer, and may be started anew each epoch. What the copies have
to know of each other is a few numbers in shared memory (``_Progress``). How many batches the trainer has taken only the
trainer knows: with workers, a state comes from ``state_at(step)``.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError, StateError
from pipeline.streaming.batches import DEFAULT_COLUMNS
from pipeline.streaming.collate import tensors, torch
from pipeline.streaming.objectives import Batch, Objective
from pipeline.streaming.reader import PackedReader

_NONE = -1


class PackedDataset(torch.utils.data.IterableDataset):  # type: ignore[misc]
    """Batches of packed rows as dicts of tensors; each full iteration is an epoch, and goes on to the next.

    By default a batch holds ``input_ids``, ``sequence_id``, ``position_ids`` int64 [batch_size, length], ``num_tokens``
    and ``num_sequences`` int64 [batch_size], and with masked LM ``labels`` int64 [batch_size, length]; see
    :class:`pipeline.streaming.reader.PackedReader`, which says what they mean.

    Args:
        path: A shards folder.
        split: train, valid or test.
        batch_size: Rows of a batch, on this rank. The loader's own ``batch_size`` has to be None.
        seed: Of order and masks.
        epoch: The first one.
        shuffle: False gives the rows as they are stored, dealt to the ranks one by one.
        rank: Of this process; by default that of torch.distributed if it is initialised, else of the environment
            variables RANK and WORLD_SIZE if both are set (as torchrun does), else 0 of 1.
        world_size: Processes that share the rows; given together with ``rank`` or not at all.
        objective: An objective, a mask rate, or the name of a noise schedule; None gives plain batches.
        tail: What fills the last global batch: repeat, pad or drop; by default repeat for train, pad otherwise.
        columns: What batches hold, besides what the objective adds.
        threads: Threads that decode ahead, in each process that reads; by default 2, or 1 where there is one processor.
        prefetch: Blocks of some 512 Ki tokens that are made ahead, in each process that reads.

    Raises:
        ArtefactError: The folder holds no finished shards.
        ConfigurationError: An argument is out of range, or the split has no rows.
        MissingExtraError: torch is not installed (at import).
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
        rank: int | None = None,
        world_size: int | None = None,
        objective: Objective | str | float | None = None,
        tail: str | None = None,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        threads: int | None = None,
        prefetch: int = 4,
    ) -> None:
        self._has_default_world = rank is None
        self._world = _world(rank, world_size)
        self._reader = PackedReader(
            path,
            split=split,
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            shuffle=shuffle,
            rank=self._world[0],
            world_size=self._world[1],
            objective=objective,
            tail=tail,
            columns=columns,
            threads=threads,
            prefetch=prefetch,
        )
        self._progress = _Progress()
        self._generation = self._last_epoch = _NONE  # of the copy in a worker
        self._announce()

    @property
    def reader(self) -> PackedReader:
        """The reader without torch."""
        return self._reader

    def __len__(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return len(self._reader)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = torch.utils.data.get_worker_info()
        return map(tensors, self._in_trainer() if worker is None else self._in_worker(worker))

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch at the next iteration; in the epoch that a state was loaded for, stay where that is."""
        self._take_over()
        self._reader.set_epoch(epoch)
        self._announce()

    def state_dict(self) -> dict[str, Any]:
        """Where the trainer stands: behind the last batch it was given. Plain values, under 1 KB.

        Raises:
            StateError: Loader workers are reading; use :meth:`state_at`.
        """
        if _is_trainer() and self._progress.running_epoch != _NONE:
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
        return self._reader.state_at(step, epoch=running if epoch is None and running != _NONE else epoch)

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
        if _is_trainer():
            self._announce()
        else:  # a stateful loader gives each worker the state that it had
            self._generation, self._last_epoch = self._progress.generation, _NONE

    def _in_trainer(self) -> Iterator[Batch]:
        self._check_world()
        self._take_over()
        self._announce()
        epoch = self._reader.epoch
        for batch in self._reader:
            if self._reader.epoch != epoch:  # this batch is the last one
                self._announce()
            yield batch

    def _in_worker(self, worker: Any) -> Iterator[Batch]:
        loader = worker.seed - worker.id  # one number for all the workers that a loader starts together
        if self._generation != self._progress.generation:
            self._generation = self._progress.generation
            self._reader.begin_at(*self._progress.next_of(loader))
        elif self._last_epoch != _NONE:
            # A persistent worker begins again: all of them count iterations alike, however far ahead each one was.
            self._reader.begin_at(self._last_epoch + 1, 0)
        self._last_epoch = epoch = self._reader.epoch
        self._progress.begin(loader, epoch, self._reader.step)
        yield from self._reader.batches(worker=worker.id, num_workers=worker.num_workers)
        self._progress.finish(loader, self._generation, epoch)

    def _take_over(self) -> None:
        """Stand where workers have got to, if it was they who read last."""
        if self._progress.running_epoch != _NONE:
            self._reader.begin_at(*self._progress.next)

    def _announce(self) -> None:
        self._progress.announce(self._reader.epoch, self._reader.step)

    def _check_world(self) -> None:
        if self._has_default_world and (now := _world(None, None)) != self._world:
            raise ConfigurationError(
                f"this dataset was made for rank {self._world[0]} of {self._world[1]}, but the process group that was "
                f"started since makes this rank {now[0]} of {now[1]}",
                hint="make the dataset after torch.distributed.init_process_group, or pass rank and world_size",
            )


class _Progress:
    """What the copies of a dataset know of each other: six int64 in shared memory.

    The trainer's copy announces where the next iteration begins, and counts its announcements, so that a persistent
    worker notices a new one. Each worker says which epoch it has begun, and, behind its last step, that the next one
    comes. A worker of a loader that has meanwhile been replaced is not heard.
    """

    _EPOCH, _STEP, _RUNNING_EPOCH, _RUNNING_STEP, _GENERATION, _LOADER = range(6)

    def __init__(self) -> None:
        self._cells = torch.full((6,), _NONE, dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self._cells.is_shared():  # a deep copy, or unpickled from a file: it has workers of its own
            self._cells = self._cells.clone().share_memory_()

    @property
    def next(self) -> tuple[int, int]:
        """Epoch and step at which the next iteration begins."""
        return int(self._cells[self._EPOCH]), int(self._cells[self._STEP])

    @property
    def running_epoch(self) -> int:
        """The epoch that workers are in, or were in last; −1 if none has read since the last announcement."""
        return int(self._cells[self._RUNNING_EPOCH])

    @property
    def generation(self) -> int:
        """How often the trainer's copy has announced something."""
        return int(self._cells[self._GENERATION])

    def announce(self, epoch: int, step: int) -> None:
        """The trainer's copy says where the next iteration begins."""
        self._cells[self._EPOCH], self._cells[self._STEP] = epoch, step
        self._cells[self._RUNNING_EPOCH] = self._cells[self._LOADER] = _NONE
        self._cells[self._GENERATION] += 1

    def next_of(self, loader: int) -> tuple[int, int]:
        """Where a worker of this loader begins: where those beside it did, some of which may have finished already."""
        first = self.next  # read before the loader: nobody beside us can have finished by then if none has begun later
        if int(self._cells[self._LOADER]) != loader:
            return first
        return int(self._cells[self._RUNNING_EPOCH]), int(self._cells[self._RUNNING_STEP])

    def begin(self, loader: int, epoch: int, step: int) -> None:
        """A worker begins."""
        self._cells[self._RUNNING_STEP], self._cells[self._RUNNING_EPOCH] = step, epoch
        self._cells[self._LOADER] = loader

    def finish(self, loader: int, generation: int, epoch: int) -> None:
        """A worker has made its last batch of an epoch."""
        if self._cells[self._LOADER] == loader and self.generation == generation:
            self._cells[self._STEP], self._cells[self._EPOCH] = 0, epoch + 1


def _is_trainer() -> bool:
    return torch.utils.data.get_worker_info() is None


def _world(rank: int | None, world_size: int | None) -> tuple[int, int]:
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
