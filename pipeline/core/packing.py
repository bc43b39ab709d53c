"""Which item goes to which row and slot.

An algorithm (pipeline/core/bins.py) says from the histogram of lengths alone how bins are filled. Here the items are
dealt to the places it made, and what would betray their lengths is shuffled by three seeded permutations::

    items by length, longest first,      places in the order        rows permuted, slots of
    equal ones permuted                  of the fills               each row permuted

    7: item 4, item 0                    bin 0 | 4 | 5 |            row 0 | 3 | 1 |
    3: item 5, item 2, item 1, item 3    bin 1 | 0 | 2 |     ──▶    row 1 | 4 | 5 |
                                         bin 2 | 1 | 3 |            row 2 | 2 | 0 |

First-fit decreasing alone would put the longest segment first and similar rows together. Each step sorts one array of
uint64 keys (what to group by | random bits | item); no two keys are equal, so the order does not depend on how they are
sorted.

Invariants: every item has one place; no row is longer than its capacity or has more than ``max_segments`` items; rows
are dense and none is empty; the rows are the algorithm's bins, as multisets of lengths, whatever the seed.

Cost, one core: 0.1 s for 1 million items, 4 to 5 s for 65 million, a third of it for sorting. Memory at its peak,
lengths not counted: 12 bytes an item and 8 a row, of which 10 and 8 are the result.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.bins import Fills, first_fit_decreasing, one_item_a_bin
from pipeline.core.randomness import PURPOSE_PLACE, PURPOSE_ROW, PURPOSE_SLOT, UInt64Array, derive_key, draw
from pipeline.errors import ConfigurationError

MAX_SEGMENTS = 32_767
"""Most segments in a row: sequence_id is int16."""
MAX_CAPACITY = 1 << 20
"""Most tokens in a row."""
MAX_ITEMS = (1 << 30) - 1
"""Most items in one call: a key has 13 random bits then, beside length and item. Ties keep the order of the input."""

_CHUNK = 1 << 14
_HISTOGRAM_CHUNK = 1 << 18

IntArray = npt.NDArray[np.integer]
Int64Array = npt.NDArray[np.int64]
UInt32Array = npt.NDArray[np.uint32]
Algorithm = Callable[[Int64Array, int, int], Fills]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where each item goes. Items are numbered in the order of the lengths given.

    Attributes:
        row: uint32 [items], row of each item, 0 … num_rows − 1.
        slot: uint16 [items], place of each item within its row, 0-based and dense.
        order: uint32 [items], the items sorted by (row, slot).
        row_offsets: int64 [num_rows + 1]; ``order[row_offsets[r]:row_offsets[r + 1]]`` are the items of row r.
    """

    row: UInt32Array
    slot: npt.NDArray[np.uint16]
    order: UInt32Array
    row_offsets: Int64Array

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.row_offsets) - 1


def pack(
    lengths: npt.ArrayLike,
    capacity: int,
    *,
    algorithm: str = "first-fit-decreasing",
    seed: int = 0,
    max_segments: int = MAX_SEGMENTS,
) -> Placement:
    """Place items into rows of ``capacity`` tokens.

    Args:
        lengths: Any integer dtype [items]: tokens of each item with its special tokens, and rounded up if segments are
            aligned.
        capacity: Tokens a row holds, at most 2^20.
        algorithm: A name in ``ALGORITHMS``.
        seed: Chooses which of equal items takes which place, the order of rows and the order in a row; give each part
            its own.
        max_segments: Most items a row may hold, at most 32,767.

    Raises:
        ConfigurationError: An item is shorter than 1 or longer than ``capacity``, or an argument is out of its range.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigurationError(
            f"packing algorithm {algorithm!r} is not known", hint=f"choose from {', '.join(ALGORITHMS)}"
        )
    _check_range("row length", capacity, MAX_CAPACITY)
    _check_range("most segments a row", max_segments, MAX_SEGMENTS)
    items = _checked_lengths(lengths, capacity)
    fills = ALGORITHMS[algorithm](length_histogram(items, capacity), capacity, max_segments)
    row_of_bin = _permutation(fills.total_bins, seed)
    row_offsets = _row_offsets(fills, row_of_bin)
    keys = _keys_by_row(items, fills, row_of_bin, capacity, seed)
    del row_of_bin
    order = _items_of(keys)
    del keys  # each is gone before the next one comes: that is the peak of memory
    return _placement(order, row_offsets)


def length_histogram(lengths: IntArray, capacity: int) -> Int64Array:
    """How many items there are of each length, 0 … capacity: int64 [capacity + 1]. Histograms of parts add up."""
    histogram = np.zeros(capacity + 1, dtype=np.int64)
    for begin in range(0, len(lengths), _HISTOGRAM_CHUNK):  # bincount copies its input as int64
        histogram += np.bincount(lengths[begin : begin + _HISTOGRAM_CHUNK].astype(np.intp), minlength=capacity + 1)
    return histogram


def lower_bound(histogram: Int64Array, capacity: int, max_segments: int = MAX_SEGMENTS) -> int:
    """Rows that no packing can do without: the bound L2 of Martello and Toth (1990), Knapsack Problems, section 8.3.2.

    Items longer than half a row never share one. For each threshold t up to half a row, those longer than capacity − t
    share with no item of t or more; of the items from t to half a row, what does not fit beside the others needs more
    rows. With t = 1 this is at least ceil(tokens / capacity).

    Args:
        histogram: int64 [capacity + 1], items of each length.
        capacity: Tokens a row holds.
        max_segments: Most items a row may hold.
    """
    half, lengths = capacity // 2, np.arange(capacity + 1)
    items_below = np.concatenate(([0], np.cumsum(histogram)))
    tokens_below = np.concatenate(([0], np.cumsum(histogram * lengths)))
    threshold = lengths[: half + 1]
    sharing = capacity - threshold + 1
    free = (items_below[sharing] - items_below[half + 1]) * capacity - (tokens_below[sharing] - tokens_below[half + 1])
    excess = tokens_below[half + 1] - tokens_below[threshold] - free
    num_long = int(items_below[-1] - items_below[half + 1])
    return max(num_long - int((-excess // capacity).min(initial=0)), -(-int(items_below[-1]) // max_segments))


def _keys_by_row(lengths: IntArray, fills: Fills, row_of_bin: UInt32Array, capacity: int, seed: int) -> UInt64Array:
    """Deal the items to the places of the fills: uint64 [items], sorted keys (row | random bits | item)."""
    keys = _sorted_by_length(lengths, capacity, seed)
    key, shift, item_mask = derive_key(PURPOSE_SLOT, seed), _shift(fills.total_bins), _item_mask(len(keys))
    ends = np.cumsum(fills.num_bins * fills.per_bin)
    for begin in range(0, len(keys), _CHUNK):
        chunk = keys[begin : begin + _CHUNK]
        place = np.arange(begin, begin + len(chunk))
        row = row_of_bin[_bin_of_place(place, fills, ends)]
        chunk[:] = _key(row, shift, draw(key, place), chunk & item_mask, item_mask)
    keys.sort()
    return keys


def _sorted_by_length(lengths: IntArray, capacity: int, seed: int) -> UInt64Array:
    """Longest first, equal lengths in seeded order: uint64 [items], sorted keys whose low bits are the item."""
    keys = np.empty(len(lengths), dtype=np.uint64)
    key, shift, item_mask = derive_key(PURPOSE_PLACE, seed), _shift(capacity), _item_mask(len(lengths))
    for begin in range(0, len(keys), _CHUNK):
        shortness = capacity - lengths[begin : begin + _CHUNK].astype(np.int64)
        item = np.arange(begin, begin + len(shortness), dtype=np.uint64)
        keys[begin : begin + _CHUNK] = _key(shortness, shift, draw(key, item), item, item_mask)
    keys.sort()
    return keys


def _bin_of_place(place: Int64Array, fills: Fills, ends: Int64Array) -> Int64Array:
    """The bin of each of some consecutive places; ``ends`` are the places up to and including each fill."""
    first, last = np.searchsorted(ends, place[[0, -1]], side="right")
    fill = slice(first, last + 1)
    begins = ends[fill] - fills.num_bins[fill] * fills.per_bin[fill]
    repeats = np.minimum(ends[fill], place[-1] + 1) - np.maximum(begins, place[0])
    within = (place - np.repeat(begins, repeats)) // np.repeat(fills.per_bin[fill], repeats)
    return np.asarray(within + np.repeat(fills.first_bin[fill], repeats), dtype=np.int64)


def _permutation(size: int, seed: int) -> UInt32Array:
    """A seeded permutation of 0 … size − 1."""
    keys = np.empty(size, dtype=np.uint64)
    key, item_mask = derive_key(PURPOSE_ROW, seed), _item_mask(size)
    for begin in range(0, size, _CHUNK):
        item = np.arange(begin, min(begin + _CHUNK, size), dtype=np.uint64)
        keys[begin : begin + _CHUNK] = (draw(key, item) & ~item_mask) | item
    keys.sort()
    return _items_of(keys)


def _key(
    group: IntArray, shift: np.uint64, random: UInt64Array, item: UInt64Array, item_mask: np.uint64
) -> UInt64Array:
    """(group | random bits | item), with the group from bit ``shift`` up; made in place of ``random``."""
    random &= ((np.uint64(1) << shift) - np.uint64(1)) & ~item_mask
    random |= group.astype(np.uint64) << shift
    random |= item
    return random


def _items_of(keys: UInt64Array) -> UInt32Array:
    """The items of keys, in the order of the keys."""
    items, item_mask = np.empty(len(keys), dtype=np.uint32), _item_mask(len(keys))
    for begin in range(0, len(keys), _CHUNK):
        items[begin : begin + _CHUNK] = keys[begin : begin + _CHUNK] & item_mask
    return items


def _shift(num_groups: int) -> np.uint64:
    return np.uint64(64 - num_groups.bit_length())


def _item_mask(num_items: int) -> np.uint64:
    return np.uint64((1 << num_items.bit_length()) - 1)


def _row_offsets(fills: Fills, row_of_bin: UInt32Array) -> Int64Array:
    """``Placement.row_offsets``, by counting the items of each bin."""
    num_items = np.zeros(fills.total_bins + 1, dtype=np.int64)
    np.add.at(num_items, fills.first_bin, fills.per_bin)
    np.subtract.at(num_items, fills.first_bin + fills.num_bins, fills.per_bin)
    np.cumsum(num_items, out=num_items)
    row_offsets = np.zeros(fills.total_bins + 1, dtype=np.int64)
    row_offsets[1:][row_of_bin] = num_items[:-1]
    return np.cumsum(row_offsets, out=row_offsets)


def _placement(order: UInt32Array, row_offsets: Int64Array) -> Placement:
    """From the item of each place to the place of each item."""
    row, slot = np.empty(len(order), dtype=np.uint32), np.empty(len(order), dtype=np.uint16)
    for begin in range(0, len(row_offsets) - 1, _CHUNK):
        offsets = row_offsets[begin : begin + _CHUNK + 1]
        items = order[offsets[0] : offsets[-1]].astype(np.intp)  # else each of the two scatters would convert it
        per_row = np.diff(offsets)
        row[items] = np.repeat(np.arange(begin, begin + len(per_row), dtype=np.uint32), per_row)
        slot[items] = np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], per_row)
    return Placement(row=row, slot=slot, order=order, row_offsets=row_offsets)


def _checked_lengths(lengths: npt.ArrayLike, capacity: int) -> IntArray:
    array = np.asarray(lengths)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ConfigurationError(
            f"lengths must be one dimension of integers, found {array.ndim} of {array.dtype}",
            hint="pass the tokens of each item",
        )
    if len(array) > MAX_ITEMS:
        raise ConfigurationError(f"one call packs up to {MAX_ITEMS:,} items, found {len(array):,}", hint="pack parts")
    if len(array) and not (array.min() >= 1 and array.max() <= capacity):
        item = int(np.flatnonzero((array < 1) | (array > capacity))[0])
        raise ConfigurationError(
            f"item {item} has {array[item]:,} tokens, but rows of {capacity:,} take items of 1 to {capacity:,}",
            hint="cut or drop items that are too long, or make the rows longer",
        )
    return array


def _check_range(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ConfigurationError(f"{name} must be 1 to {most:,}, found {value:,}")


ALGORITHMS: dict[str, Algorithm] = {
    "first-fit-decreasing": first_fit_decreasing,
    "pad": one_item_a_bin,
}
"""Each takes (histogram, capacity, most segments a row)."""
