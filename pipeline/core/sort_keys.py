"""Sorting by one array of uint64 keys: what to group by, then random bits, then the item.

::

    bit 63                                        0
        | group | random bits          | item     |      the item in the fewest bits that number all items

No two keys are equal, so the order does not depend on how they are sorted, and what is sorted needs no second array.
Items of one group come in the order of their random bits.
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.randomness import UInt64Array

UInt32Array = npt.NDArray[np.uint32]

CHUNK = 1 << 14
"""Items to work on at a time: temporary arrays stay in the cache."""


def sort_key(
    group: npt.NDArray[np.integer], shift: np.uint64, random: UInt64Array, item: UInt64Array, item_mask: np.uint64
) -> UInt64Array:
    """Keys of some items, made in place of ``random``.

    Args:
        group: Integers [items], what to sort by first.
        shift: From ``group_shift``.
        random: uint64 [items].
        item: uint64 [items].
        item_mask: From ``mask_of_items``.
    """
    random &= ((np.uint64(1) << shift) - np.uint64(1)) & ~item_mask
    random |= group.astype(np.uint64) << shift
    random |= item
    return random


def items_of(keys: UInt64Array) -> UInt32Array:
    """The items of keys, in the order of the keys: uint32 [items]. They lie where the keys were, which are used up.

    Memory touched for the first time costs more than anything else here.
    """
    num_items, item_mask = len(keys), mask_of_items(len(keys))
    for begin in range(0, num_items, CHUNK):
        chunk = keys[begin : begin + CHUNK] & item_mask
        keys.view(np.uint32)[begin : begin + len(chunk)] = chunk  # never beyond the chunk just read
    keys.resize((num_items + 1) // 2, refcheck=False)  # no view of them is left
    return keys.view(np.uint32)[:num_items]


def group_shift(num_groups: int) -> np.uint64:
    """The bit that groups 0 … ``num_groups`` − 1 begin at."""
    return np.uint64(64 - num_groups.bit_length())


def mask_of_items(num_items: int) -> np.uint64:
    """The bits that hold items 0 … ``num_items`` − 1."""
    return np.uint64((1 << num_items.bit_length()) - 1)
