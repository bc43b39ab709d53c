"""Which item goes to which row and slot.

An algorithm (pipeline/core/bins.py) says from the histogram of lengths alone how bins are filled. Here the items are
dealt to the places it made, and what would betray their lengths is shuffled by three seeded permutations::

    items by length, longest first,      places in the order        rows permuted, slots of
    equal ones permuted                  of the fills               each row permuted

    7: item 4, item 0                    bin 0 | 4 | 5 |            row 0 | 3 | 1 |
    3: item 5, item 2, item 1, item 3    bin 1 | 0 | 2 |     ──▶    row 1 | 4 | 5 |
                                         bin 2 | 1 | 3 |            row 2 | 2 | 0 |

First-fit decreasing alone would put the longest segment first and similar rows together. Each step sorts one array of
uint64 keys (pipeline/core/sort_keys.py).

Invariants: every item has one place; no row is longer than its capacity or has more than ``max_segments`` items; rows
are dense and none is empty; the rows are the algorithm's bins, as multisets of lengths, whatever the seed.

Cost, one core: 0.1 s for 1 million items, 3 s for 65 million, half of it for sorting, and 2 s more for ``row`` and
``slot``. Memory at its peak, lengths not counted: 8 bytes an item and 12 a row, of which 4 and 8 are the result.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.core.bins import Fills, best_fit_decreasing, first_fit_decreasing, one_item_a_bin
from pipeline.core.placement import Placement
from pipeline.core.randomness import PURPOSE_PLACE, PURPOSE_SLOT, UInt64Array, derive_key, draw
from pipeline.core.row_order import ROW_ORDERS, RowOrder
from pipeline.core.sort_keys import CHUNK, UInt32Array, group_shift, items_of, mask_of_items, sort_key
from pipeline.errors import ConfigurationError

MAX_SEGMENTS = 32_767
"""Most segments in a row: sequence_id is int16."""
MAX_CAPACITY = 1 << 20
"""Most tokens in a row."""
MAX_ITEMS = (1 << 30) - 1
"""Most items in one call: a key has 13 random bits then, beside length and item. Ties keep the order of the input."""

_HISTOGRAM_CHUNK = 1 << 18

IntArray = npt.NDArray[np.integer]
Int64Array = npt.NDArray[np.int64]
Algorithm = Callable[[Int64Array, int, int], Fills]
"""Fills bins from (histogram, capacity, most items a bin)."""
_Choice = TypeVar("_Choice")


def pack(
    lengths: npt.ArrayLike,
    capacity: int,
    *,
    algorithm: str | Algorithm = "first-fit-decreasing",
    seed: int = 0,
    max_segments: int = MAX_SEGMENTS,
    order: str = RowOrder.RANDOM,
) -> Placement:
    """Place items into rows of ``capacity`` tokens.

    Args:
        lengths: Any integer dtype [items]: tokens of each item with its special tokens, and rounded up if segments are
            aligned.
        capacity: Tokens a row holds, at most 2^20.
        algorithm: A name in ``ALGORITHMS``, or a function like those there.
        seed: Chooses which of equal items takes which place, the order of rows and the order in a row; give each part
            its own.
        max_segments: Most items a row may hold, at most 32,767.
        order: How rows follow each other: a member of ``RowOrder`` or its name.

    Raises:
        ConfigurationError: An item is shorter than 1 or longer than ``capacity``, or an argument is out of its range.
    """
    fill_bins = _choose("packing algorithm", algorithm, ALGORITHMS) if isinstance(algorithm, str) else algorithm
    order_rows = _choose("row order", order, ROW_ORDERS)
    _check_range("row length", capacity, MAX_CAPACITY)
    _check_range("most segments a row", max_segments, MAX_SEGMENTS)
    items = _checked_lengths(lengths, capacity)
    fills = fill_bins(length_histogram(items, capacity), capacity, max_segments)
    row_of_bin = order_rows(fills, seed)
    row_offsets = _row_offsets(fills, row_of_bin)
    keys = _keys_by_row(items, fills, row_of_bin, capacity, seed)
    del row_of_bin
    return Placement(order=items_of(keys), row_offsets=row_offsets)


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
    key, shift, item_mask = derive_key(PURPOSE_SLOT, seed), group_shift(fills.total_bins), mask_of_items(len(keys))
    ends = np.cumsum(fills.num_bins * fills.per_bin)
    for begin in range(0, len(keys), CHUNK):
        chunk = keys[begin : begin + CHUNK]
        place = np.arange(begin, begin + len(chunk))
        row = row_of_bin[_bin_of_place(place, fills, ends)]
        chunk[:] = sort_key(row, shift, draw(key, place), chunk & item_mask, item_mask)
    keys.sort()
    return keys


def _sorted_by_length(lengths: IntArray, capacity: int, seed: int) -> UInt64Array:
    """Longest first, equal lengths in seeded order: uint64 [items], sorted keys whose low bits are the item."""
    keys = np.empty(len(lengths), dtype=np.uint64)
    key, shift, item_mask = derive_key(PURPOSE_PLACE, seed), group_shift(capacity), mask_of_items(len(lengths))
    for begin in range(0, len(keys), CHUNK):
        shortness = capacity - lengths[begin : begin + CHUNK].astype(np.int64)
        item = np.arange(begin, begin + len(shortness), dtype=np.uint64)
        keys[begin : begin + CHUNK] = sort_key(shortness, shift, draw(key, item), item, item_mask)
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


def _row_offsets(fills: Fills, row_of_bin: UInt32Array) -> Int64Array:
    """``Placement.row_offsets``, by counting the items of each bin."""
    num_items = np.zeros(fills.total_bins + 1, dtype=np.int64)
    np.add.at(num_items, fills.first_bin, fills.per_bin)
    np.subtract.at(num_items, fills.first_bin + fills.num_bins, fills.per_bin)
    np.cumsum(num_items, out=num_items)
    row_offsets = np.zeros(fills.total_bins + 1, dtype=np.int64)
    row_offsets[1:][row_of_bin] = num_items[:-1]
    return np.cumsum(row_offsets, out=row_offsets)


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


def _choose(what: str, name: str, choices: Mapping[str, _Choice]) -> _Choice:
    if name not in choices:
        raise ConfigurationError(f"{what} {name!r} is not known", hint=f"choose from {', '.join(choices)}")
    return choices[name]


def _check_range(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ConfigurationError(f"{name} must be 1 to {most:,}, found {value:,}")


ALGORITHMS: dict[str, Algorithm] = {
    "first-fit-decreasing": first_fit_decreasing,
    "best-fit-decreasing": best_fit_decreasing,
    "pad": one_item_a_bin,
}
"""Algorithms that need nothing but numpy; ``pipeline.engines.optimal_packing.optimal`` is another."""
