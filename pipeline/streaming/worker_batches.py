"""Batches from loader workers to the trainer: as narrow bytes through the pipe, and widened there.

torch hands each tensor over in a file of shared memory of its own, which costs a millisecond a tensor on both sides
whatever its size; bytes through the pipe that the loader has anyway cost a fifth of that, and a token takes one byte on
the way where an int64 takes eight. Inside a worker a batch is a dict of tensors like any other, so that whatever
wraps the dataset there can change it; what was changed travels as tensors do.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.streaming.collate import tensors
from pipeline.streaming.objectives import Batch


class WorkerBatch(dict[str, Any]):
    """A batch of tensors that pickles as the arrays it was made from.

    Args:
        batch: Arrays by name.
        masks: Those to make in the trainer; they are not in this dict.
        compact: Whether integers stay narrow.
    """

    def __init__(self, batch: Batch, *, masks: Iterable[str] = (), compact: bool = False) -> None:
        super().__init__(tensors(batch, compact=compact))
        self._made = dict(self)
        self._arrays = batch
        self._masks = tuple(masks)
        self._compact = compact

    def __copy__(self) -> "WorkerBatch":
        # The loader's default_convert copies a dict and puts the same tensors in again.
        copied = WorkerBatch.__new__(WorkerBatch)
        copied.update(self)
        copied.__dict__.update(self.__dict__)
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        unchanged = [name for name, value in self.items() if value is self._made.get(name, self)]
        arrays = {name: _sent(self._arrays[name]) for name in unchanged}
        changed = {name: value for name, value in self.items() if name not in arrays}
        return _received, (list(self), arrays, changed, self._masks, self._compact)


def _sent(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return bytearray(np.ascontiguousarray(value).data), value.dtype.str, value.shape


def _received(
    names: list[str],
    sent: dict[str, Any],
    changed: dict[str, Any],
    masks: tuple[str, ...],
    compact: bool,  # noqa: FBT001
) -> dict[str, Any]:
    """The batch in the trainer, its entries in the order that they had."""
    arrays = {name: _unpacked(value) if isinstance(value, tuple) else value for name, value in sent.items()}
    made = tensors(arrays, compact=compact) | changed
    ordered = {name: made[name] for name in names}
    return ordered | tensors({"sequence_id": made["sequence_id"]}, masks=masks, compact=True) if masks else ordered


def _unpacked(value: tuple[bytearray, str, tuple[int, ...]]) -> Any:
    data, dtype, shape = value
    return np.ndarray(shape, dtype=dtype, buffer=data)
