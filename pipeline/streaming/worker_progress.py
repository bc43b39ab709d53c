"""What the copies of a dataset in loader workers and in the trainer know of each other: numbers in shared memory."""

from typing import Any

from pipeline.streaming.collate import torch

NONE = -1
"""No epoch, no loader."""


class WorkerProgress:
    """What the copies of a dataset know of each other: six int64 in shared memory.

    The trainer's copy announces where the next iteration begins, and counts its announcements, so that a persistent
    worker notices a new one. Each worker says which epoch it has begun, and, behind its last step, that the next one
    comes. A worker of a loader that has meanwhile been replaced is not heard.
    """

    _EPOCH, _STEP, _RUNNING_EPOCH, _RUNNING_STEP, _GENERATION, _LOADER = range(6)

    def __init__(self) -> None:
        self._cells = torch.full((6,), NONE, dtype=torch.int64).share_memory_()

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
        self._cells[self._RUNNING_EPOCH] = self._cells[self._LOADER] = NONE
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

    def resume(self, epoch: int) -> None:
        """A worker goes on from a state at the end of the epoch before this one."""
        self._cells[self._STEP], self._cells[self._EPOCH] = 0, epoch
        self._cells[self._RUNNING_EPOCH] = epoch - 1

    def finish(self, loader: int, generation: int, epoch: int) -> None:
        """A worker has made its last batch of an epoch."""
        if self._cells[self._LOADER] == loader and self.generation == generation:
            self._cells[self._STEP], self._cells[self._EPOCH] = 0, epoch + 1


class SharedFlags:
    """A byte for each row group of a split, in memory that the trainer's copy and those of its workers share.

    Args:
        num_flags: How many.
    """

    def __init__(self, num_flags: int) -> None:
        self._cells = torch.zeros(num_flags, dtype=torch.uint8).share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self._cells.is_shared():
            self._cells = self._cells.clone().share_memory_()

    @property
    def array(self) -> Any:
        """uint8 [flags], a view."""
        return self._cells.numpy()
