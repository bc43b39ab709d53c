"""Large arrays in memory that was used before: touching a page for the first time costs more than filling it.

::

    take ──▶ array ──▶ views, tensors, a consumer …     when the last of them is gone, its memory is free for the next

Left to itself, the memory of every large array goes back to the system, which clears each page before it is used again.
"""

import weakref
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_FREE = 8
"""Pieces of one size that are kept for the next arrays."""
_LEAST_BYTES = 1 << 17
"""Smaller ones the system's allocator keeps for itself."""

_Memory = npt.NDArray[np.uint8]


class RecycledMemory:
    """Gives out arrays, and takes their memory back when nobody refers to it. Safe to use from several threads.

    A copy in another process has memory of its own.
    """

    def __init__(self) -> None:
        self._free: defaultdict[int, list[_Memory]] = defaultdict(list)

    def __reduce__(self) -> tuple[type["RecycledMemory"], tuple[()]]:
        return RecycledMemory, ()

    def __len__(self) -> int:
        """Pieces of memory that are free."""
        return sum(map(len, self._free.values()))

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array with anything in it.

        Args:
            shape: Of the array.
            dtype: Of its elements.
        """
        count = int(np.prod(shape, dtype=np.int64))
        num_bytes = count * np.dtype(dtype).itemsize
        if num_bytes < _LEAST_BYTES:
            return np.empty(shape, dtype=dtype)
        capacity = 1 << (num_bytes - 1).bit_length()
        memory = self._piece(capacity)
        # Not a view of ``memory``: views would refer to that, and nothing would tell when the last of them is gone.
        root = np.frombuffer(memory.data, dtype=dtype, count=count)
        weakref.finalize(root, self._give_back, capacity, memory).atexit = False
        return root.reshape(shape)

    def _piece(self, capacity: int) -> _Memory:
        try:
            return self._free[capacity].pop()
        except IndexError:
            return np.empty(capacity, dtype=np.uint8)

    def _give_back(self, capacity: int, memory: _Memory) -> None:
        # Called wherever the last reference is dropped, in the middle of take() too: so without a lock.
        if len(self._free[capacity]) < _MOST_FREE:
            self._free[capacity].append(memory)
