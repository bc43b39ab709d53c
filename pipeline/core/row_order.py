"""In which order rows are stored: at random, so that neighbours cost alike in sum, or by length.

Rows of equal length differ in what attention costs: a row's cost is the sum of the squared lengths of its segments, and
one protein of 1,000 costs five times as much as five of 200. Ranks that take their rows at random wait for the one with
the most expensive rows. In the balanced order every 64 rows hold one of each of 64 classes of cost, and so do, of as
many wider classes, their aligned 32, 16, 8, 4 and 2 rows::

    class of cost, 3 = dearest quarter    | 2 0 3 1 | 1 2 0 3 | 3 1 2 0 | …    (with four classes)
    pairs: one cheap, one dear              └─┘ └─┘   └─┘ └─┘

So a rank that takes neighbours, any power of two of them or many, has almost the mean cost, whatever the world size. A
class's place among the 64 is a scrambled bit reversal (Owen 1995, doi:10.1007/978-1-4612-2552-2_19) with random bits
of its own for every 64 rows; which row of a class comes in which 64 is random.

Cost: 0.3 µs a row. Memory at its peak: 16 bytes a row beyond the cost.
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipeline.core.bins import Fills
from pipeline.core.randomness import PURPOSE_ROW, UInt64Array, derive_key, draw
from pipeline.core.sort_keys import CHUNK, UInt32Array, group_shift, items_of, mask_of_items, sort_key

Int64Array = npt.NDArray[np.int64]

NUM_CLASSES = 64
"""Classes of cost; a scrambled bit reversal of 64 numbers takes the 63 random bits that one draw has."""

_LEVELS = NUM_CLASSES.bit_length() - 1
_COST_BITS = 32


class RowOrder(StrEnum):
    """How rows follow each other."""

    RANDOM = "random"
    """Every order is equally likely."""
    BALANCED = "balanced"
    """Random, with neighbours that cost attention about the same in sum."""
    LENGTH = "length"
    """By tokens that are not padding, those of equal number at random: for batches of one protein a row."""


def attention_cost(fills: Fills) -> Int64Array:
    """Sum of the squared lengths in each bin: int64 [bins]."""
    return _summed(fills, fills.per_bin * fills.length**2)


def _summed(fills: Fills, values: Int64Array) -> Int64Array:
    """What the fills of each bin add up to: int64 [bins]."""
    sums = np.zeros(fills.total_bins + 1, dtype=np.int64)
    np.add.at(sums, fills.first_bin, values)
    np.subtract.at(sums, fills.first_bin + fills.num_bins, values)
    return np.cumsum(sums, out=sums)[:-1]


def random_order(num_rows: int, seed: int) -> UInt32Array:
    """A seeded permutation of 0 … ``num_rows`` − 1: uint32 [rows]."""
    keys = np.empty(num_rows, dtype=np.uint64)
    key, item_mask = derive_key(PURPOSE_ROW, seed), mask_of_items(num_rows)
    for begin in range(0, num_rows, CHUNK):
        item = np.arange(begin, min(begin + CHUNK, num_rows), dtype=np.uint64)
        keys[begin : begin + CHUNK] = (draw(key, item) & ~item_mask) | item
    keys.sort()
    return items_of(keys)


def balanced_order(cost: Int64Array, seed: int) -> UInt32Array:
    """A seeded order in which neighbours have about the same cost in sum.

    Args:
        cost: int64 [rows], at least 0.
        seed: Chooses the order among rows of a class, and the classes' places.

    Returns:
        uint32 [rows], the number of each row: a permutation of 0 … rows − 1.
    """
    num_rows = len(cost)
    excess = max(0, int(cost.max(initial=0)).bit_length() - _COST_BITS)  # so that a key has random bits beside it
    by_cost = _sorted(cost >> excess, derive_key(PURPOSE_ROW, seed, 0))
    cost_class = np.empty(num_rows, dtype=np.uint8)
    cost_class[by_cost] = _class_of_rank(np.arange(num_rows), num_rows)
    del by_cost
    by_class = _sorted(cost_class, derive_key(PURPOSE_ROW, seed, 1))
    del cost_class
    return _dealt(by_class, derive_key(PURPOSE_ROW, seed, 2))


def length_order(num_tokens: Int64Array, seed: int) -> UInt32Array:
    """The order by tokens, shortest row first, those of equal number at random: uint32 [rows], the number of each row.

    Args:
        num_tokens: int64 [rows], at least 0.
        seed: Chooses the order among rows of equal number.
    """
    number = np.empty(len(num_tokens), dtype=np.uint32)
    number[_sorted(num_tokens, derive_key(PURPOSE_ROW, seed, 3))] = np.arange(len(num_tokens), dtype=np.uint32)
    return number


def rank_spread(cost: Int64Array, *, world_size: int, rows_per_rank: int) -> float:
    """How much longer the slowest rank computes than the mean one: max / mean of the ranks' summed cost, mean of steps.

    Args:
        cost: int64 [rows] in the order in which they are read.
        world_size: Ranks; in each step the first takes the first ``rows_per_rank`` rows, and so on.
        rows_per_rank: Rows a rank takes in a step.

    Returns:
        At least 1; NaN if the rows do not make one step.
    """
    num_steps = len(cost) // (world_size * rows_per_rank)
    if not num_steps:
        return float("nan")
    steps = cost[: num_steps * world_size * rows_per_rank].reshape(num_steps, world_size, rows_per_rank)
    per_rank = steps.sum(axis=2)
    return float((per_rank.max(axis=1) / per_rank.mean(axis=1)).mean())


def _sorted(group: npt.NDArray[np.integer], key: UInt64Array) -> UInt32Array:
    """Rows by group, those of one group in random order: uint32 [rows]."""
    keys = np.empty(len(group), dtype=np.uint64)
    shift, item_mask = group_shift(int(group.max(initial=0)) + 1), mask_of_items(len(group))
    for begin in range(0, len(group), CHUNK):
        item = np.arange(begin, min(begin + CHUNK, len(group)), dtype=np.uint64)
        keys[begin : begin + CHUNK] = sort_key(group[begin : begin + CHUNK], shift, draw(key, item), item, item_mask)
    keys.sort()
    return items_of(keys)


def _dealt(by_class: UInt32Array, key: UInt64Array) -> UInt32Array:
    """Give the n-th row of each class a number among the n-th 64."""
    num_rows = len(by_class)
    class_starts = -(-np.arange(NUM_CLASSES) * num_rows // NUM_CLASSES)
    number = np.empty(num_rows, dtype=np.uint32)
    for begin in range(0, num_rows, CHUNK):
        rank = np.arange(begin, min(begin + CHUNK, num_rows))
        cost_class = _class_of_rank(rank, num_rows)
        block = rank - class_starts[cost_class]
        number[by_class[rank]] = block * NUM_CLASSES + _place(cost_class, draw(key, block))
    last = np.flatnonzero(number >= num_rows - num_rows % NUM_CLASSES)  # of a class each, but not of all
    number[last] = num_rows - len(last) + np.argsort(np.argsort(number[last]))
    return number


def _class_of_rank(rank: Int64Array, num_rows: int) -> Int64Array:
    return rank * NUM_CLASSES // max(num_rows, 1)


def _place(cost_class: Int64Array, bits: UInt64Array) -> Int64Array:
    """The place of a class among the 64: its bits reversed, each flipped or not at random, by those before it."""
    place, node = np.zeros_like(cost_class), np.ones_like(cost_class)
    for level in range(_LEVELS):
        bit = (cost_class >> level) & 1
        place = 2 * place + (bit ^ ((bits >> node.astype(np.uint64)) & np.uint64(1)).astype(np.int64))
        node = 2 * node + bit
    return place


def _random(fills: Fills, seed: int) -> UInt32Array:
    return random_order(fills.total_bins, seed)


def _balanced(fills: Fills, seed: int) -> UInt32Array:
    return balanced_order(attention_cost(fills), seed)


def _by_length(fills: Fills, seed: int) -> UInt32Array:
    return length_order(_summed(fills, fills.per_bin * fills.length), seed)


ROW_ORDERS: dict[str, Callable[[Fills, int], UInt32Array]] = {
    RowOrder.RANDOM: _random,
    RowOrder.BALANCED: _balanced,
    RowOrder.LENGTH: _by_length,
}
"""Each takes (fills, seed) and gives the row of each bin."""
