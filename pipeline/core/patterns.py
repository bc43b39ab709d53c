"""Patterns: the ways in which bins can be filled, as the cutting-stock problem sees them.

A pattern is the lengths in one bin, longest first; a packing is how often each pattern is used. Gilmore and Gomory
(1961, doi:10.1287/opre.9.6.849): take a price for each length such that no pattern is worth more than a bin. Then the
items are worth no more than the bins they fill, whatever the packing; and the patterns that would be worth more under
some prices are those that could improve a packing. Finding them is a knapsack problem::

    capacity 10, prices 7: 0.75, 4: 0.5, 3: 0.25        most valuable: (7, 3) and (4, 4), each worth 1.0
    items 7 7 4 4 3: worth 2.75, so at least 3 bins     (7, 3) (7,) (4, 4)

Cost of the knapsack: capacity times lengths, 10 ms in rows of 1,024 and 0.1 s in rows of 8,192; so often for each
segment of a row where these are limited.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.bins import Fills, as_fills

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
Pattern = tuple[int, ...]
"""The lengths in one bin, longest first."""

_ROUNDING = 1e-9
"""What a sum of prices may be off by, relative: a bound that is an integer must not be rounded up to the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternPool:
    """Patterns that make a good packing of some histogram, and of any other that looks like it.

    Attributes:
        patterns: In the order in which they were found.
        prices: float64 [capacity + 1], what an item of each length is worth: no pattern that fits is worth more than 1,
            so that the bound holds for every histogram.
    """

    patterns: tuple[Pattern, ...]
    prices: Float64Array

    def lower_bound(self, histogram: Int64Array) -> int:
        """Bins that no packing of these items can do without: int64 [capacity + 1], items of each length."""
        return ceil(float(self.prices @ histogram) * (1 - _ROUNDING))

    def document(self) -> dict[str, list[list[int]] | list[float]]:
        """As JSON holds it, to the last bit."""
        return {"patterns": [list(pattern) for pattern in self.patterns], "prices": self.prices.tolist()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "PatternPool":
        """The inverse of :meth:`document`."""
        patterns = tuple(tuple(pattern) for pattern in document["patterns"])
        return cls(patterns=patterns, prices=np.array(document["prices"], dtype=np.float64))


def count_lengths(pattern: Pattern) -> dict[int, int]:
    """How many items of each length a pattern holds, longest first."""
    counts: dict[int, int] = {}  # four times as fast as a Counter for so few
    for length in pattern:
        counts[length] = counts.get(length, 0) + 1
    return counts


def patterns_of(fills: Fills) -> dict[Pattern, int]:
    """The patterns of bins, and how many bins are filled so, in the order of the bins."""
    boundaries: dict[int, list[int]] = defaultdict(list)
    firsts, ends = fills.first_bin.tolist(), (fills.first_bin + fills.num_bins).tolist()
    for fill, (first, end) in enumerate(zip(firsts, ends, strict=True)):
        boundaries[first].append(fill)
        boundaries[end].append(fill)
    lengths, per_bin = fills.length.tolist(), fills.per_bin.tolist()
    uses: dict[Pattern, int] = {}
    present: set[int] = set()
    for begin, end in pairwise(sorted(boundaries)):
        present.symmetric_difference_update(boundaries[begin])
        pattern = tuple(chain.from_iterable([lengths[fill]] * per_bin[fill] for fill in sorted(present)))
        uses[pattern] = uses.get(pattern, 0) + end - begin
    return uses


def fills_of(uses: Mapping[Pattern, int]) -> Fills:
    """Bins filled by patterns, those of one pattern after each other."""
    rows, first_bin = [], 0
    for pattern, num_bins in uses.items():
        rows += [(length, first_bin, num_bins, per_bin) for length, per_bin in count_lengths(pattern).items()]
        first_bin += num_bins
    return _by_length(np.array(rows, dtype=np.int64).reshape(-1, 4).T)


def join(first: Fills, second: Fills) -> Fills:
    """The bins of both, those of ``second`` numbered after those of ``first``."""
    tables = [
        np.stack((fills.length, fills.first_bin + offset, fills.num_bins, fills.per_bin))
        for fills, offset in ((first, 0), (second, first.total_bins))
    ]
    return _by_length(np.concatenate(tables, axis=1))


def deal_shorter(fills: Fills, histogram: Int64Array) -> Fills:
    """The same bins with other items: the longest of them in the longest place, and so on.

    Args:
        fills: As many places as there are items, the n-th longest at least as long as the n-th longest item.
        histogram: int64 [lengths], items of each length.
    """
    lengths = np.flatnonzero(histogram)[::-1]
    num_items = iter(zip(lengths.tolist(), histogram[lengths].tolist(), strict=True))
    length, left = 0, 0
    dealt: list[tuple[int, int, int, int]] = []
    for first, bins in _slots(fills):
        begin, end = first, first + bins
        while begin < end:
            if not left:
                length, left = next(num_items)
            taken = min(left, end - begin)
            dealt.append((length, begin, taken, 1))
            begin, left = begin + taken, left - taken
    return as_fills(np.array(dealt, dtype=np.int64).reshape(-1, 4).T)


def _slots(fills: Fills) -> Iterator[tuple[int, int]]:
    """First bin and bins of each fill, as often as it puts items into a bin."""
    for first, bins, per_bin in zip(
        *(x.tolist() for x in (fills.first_bin, fills.num_bins, fills.per_bin)), strict=True
    ):
        yield from repeat((first, bins), per_bin)


def extended_prices(lengths: Int64Array, prices: Float64Array, capacity: int) -> Float64Array:
    """Prices of all lengths from those of some: what the dearest that is not longer costs.

    In place of a longer item a pattern can hold a shorter one. So if no pattern of ``lengths`` is worth more than 1,
    none of any lengths is.

    Args:
        lengths: int64 [lengths], rising.
        prices: float64 [lengths].
        capacity: Tokens a bin holds.

    Returns:
        float64 [capacity + 1].
    """
    extended = np.zeros(capacity + 1)
    extended[lengths] = prices
    return np.maximum.accumulate(extended)


def most_valuable(
    lengths: Int64Array, prices: Float64Array, capacity: int, max_segments: int, beside: slice = slice(None)
) -> tuple[float, list[Pattern]]:
    """The knapsack problem: how much a bin can be worth, and the most valuable patterns that hold each of the lengths.

    Args:
        lengths: int64 [lengths], rising, at least one.
        prices: float64 [lengths], at least 0.
        capacity: Tokens a bin holds.
        max_segments: Most items a bin may hold.
        beside: Which of the lengths may stand beside the one that each pattern is made for.

    Returns:
        What the best bin with lengths of ``beside`` alone is worth, and distinct patterns, with all lengths the best
        one among them.
    """
    others, worth_of = lengths[beside], prices[beside]
    choices: Iterable[Int64Array]
    if max_segments < capacity // int(lengths[0]):
        value, choices = _limited(others, worth_of, capacity, max_segments - 1)
        most = float((value[capacity - others] + worth_of).max())
    else:
        value, choice = _unlimited(others, worth_of, capacity)
        most, choices = float(value[-1]), repeat(choice)
    return most, _traced(lengths, others, capacity, choices)


def _unlimited(lengths: Int64Array, prices: Float64Array, capacity: int) -> tuple[Float64Array, Int64Array]:
    """What each room is worth, 0 … capacity, and the item that goes into it first, -1 for none."""
    value, choice = np.zeros(capacity + 1), np.full(capacity + 1, -1)
    num_fitting = np.searchsorted(lengths, np.arange(capacity + 1), side="right").tolist()
    for room in range(int(lengths[0]), capacity + 1):
        worth = value[room - lengths[: num_fitting[room]]] + prices[: num_fitting[room]]
        best = int(worth.argmax())
        if worth[best] > value[room - 1]:
            value[room], choice[room] = worth[best], best
        else:
            value[room], choice[room] = value[room - 1], choice[room - 1]
    return value, choice


def _limited(
    lengths: Int64Array, prices: Float64Array, capacity: int, max_segments: int
) -> tuple[Float64Array, list[Int64Array]]:
    """The same where so many items may go into a room at most; the choices for that many, for one less, and so on."""
    value, choices = np.zeros(capacity + 1), list[Int64Array]()
    for _ in range(max_segments):
        before, value, choice = value, np.zeros(capacity + 1), np.full(capacity + 1, -1)
        for index, (length, price) in enumerate(zip(lengths.tolist(), prices.tolist(), strict=True)):
            worth = before[: capacity + 1 - length] + price
            np.copyto(choice[length:], index, where=worth > value[length:])
            np.maximum(value[length:], worth, out=value[length:])
        if np.array_equal(value, before):
            break  # more items are worth no more
        choices.insert(0, choice)
    return value, choices


def _traced(lengths: Int64Array, others: Int64Array, capacity: int, choices: Iterable[Int64Array]) -> list[Pattern]:
    """For each length, it and what the room beside it was chosen to hold, an item for each of ``choices``."""
    columns, room = [lengths], capacity - lengths
    for choice in choices:
        chosen = choice[room]
        column = np.where(chosen >= 0, others[chosen], 0)
        if not column.any():
            break
        columns.append(column)
        room = room - column
    patterns = -np.sort(-np.stack(columns, axis=1), axis=1)
    num_items = np.count_nonzero(patterns, axis=1).tolist()
    return list(dict.fromkeys(tuple(row[:n]) for row, n in zip(patterns.tolist(), num_items, strict=True)))


def _by_length(table: Int64Array) -> Fills:
    return as_fills(table[:, np.argsort(-table[0], kind="stable")])
