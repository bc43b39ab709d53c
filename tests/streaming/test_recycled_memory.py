"""Memory that is used again: never while anybody can still see it, always when nobody can."""

import pickle

import numpy as np
import pytest
import torch

from pipeline.streaming.recycled_memory import RecycledMemory

SHAPE = (64, 1024)


def test_the_memory_of_an_array_that_is_gone_is_used_again() -> None:
    memory = RecycledMemory()
    first = memory.take(SHAPE, np.int64)
    place = first.ctypes.data
    del first
    assert memory.take(SHAPE, np.int64).ctypes.data == place


@pytest.mark.parametrize(
    "held",
    [
        lambda array: array[3:5],
        lambda array: array.T,
        lambda array: array.view(np.uint8).reshape(-1)[8:10],
        torch.from_numpy,
        lambda array: torch.from_numpy(array)[3:5].view(-1),
        lambda array: torch.from_numpy(array)[3:5].numpy(),
        memoryview,
    ],
    ids=["slice", "transposed", "bytes", "tensor", "slice-of-tensor", "array-of-tensor", "memoryview"],
)
def test_what_anybody_can_see_is_not_used_again(held: object) -> None:
    memory = RecycledMemory()
    array = memory.take(SHAPE, np.int64)
    array[:] = 7
    place = array.ctypes.data
    view = held(array)  # type: ignore[operator]
    del array
    other = memory.take(SHAPE, np.int64)
    other[:] = 8
    assert other.ctypes.data != place
    assert np.asarray(view).reshape(-1)[0] == 7
    del view
    assert memory.take(SHAPE, np.int64).ctypes.data == place


def test_arrays_of_other_types_and_shapes_share_memory_of_the_same_size() -> None:
    memory = RecycledMemory()
    array = memory.take((1 << 16,), np.int64)
    place = array.ctypes.data
    del array
    other = memory.take((300, 256), np.int16)
    assert other.shape == (300, 256)
    assert other.dtype == np.int16
    assert other.ctypes.data != place  # smaller ones have sizes of their own
    assert memory.take((1 << 15, 4), np.int32).ctypes.data == place


def test_little_memory_is_kept() -> None:
    memory = RecycledMemory()
    many = [memory.take(SHAPE, np.int64) for _ in range(50)]
    places = {array.ctypes.data for array in many}
    many.clear()
    again = [memory.take(SHAPE, np.int64) for _ in range(50)]
    assert len(memory) == 0
    assert len(places & {array.ctypes.data for array in again}) >= 8
    again.clear()
    assert len(memory) == 8


def test_a_copy_has_memory_of_its_own() -> None:
    memory = RecycledMemory()
    memory.take(SHAPE, np.int64)
    assert len(memory) == 1
    assert len(pickle.loads(pickle.dumps(memory))) == 0
