"""The best packing with fractions of bins: linear programs over patterns, solved by scipy's HiGHS.

Gilmore and Gomory (1961, doi:10.1287/opre.9.6.849), with the knapsack problem of ``pipeline.core.patterns``::

    patterns ──▶ linear program ──▶ how often each is used, 3.0 12.4 0.7 …
       ▲                │
       │                ▼
       └── worth more than a bin ── what each length is worth: the lower bound, when no pattern is worth more

Cost: a program over 1,500 patterns of a thousand lengths takes HiGHS 0.06 s, and the knapsack problems for the patterns
that it lacks as much. HiGHS runs its simplex on one thread and gives the same result each time; another version of
scipy may give another one that is as good.
"""

from collections.abc import Iterable
from itertools import chain
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.packing import lower_bound
from pipeline.core.patterns import Pattern, count_lengths, extended_prices, most_valuable
from pipeline.errors import ExecutionError

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_GAP_ROWS = 0.25
"""How near to its bound a program is solved where rows are few."""
_PATTERNS_PER_LENGTH = 6
"""Patterns kept in a linear program; those worth least go."""
_NEW_PER_LENGTH = 2
"""The same for one round; with more, programs grow faster than they get better."""
_INTERLEAVES = 4
"""The patterns that are best by some prices all hold the same few lengths, of which there are not enough. So patterns
are also looked for with every fourth length alone, from four beginnings: half the programs are solved."""
_NOISE = 1e-9
_LARGEST_DEMAND = 1e5
"""HiGHS works to absolute tolerances."""


class Relaxed(NamedTuple):
    """The best packing with fractions of bins."""

    patterns: list[Pattern]
    uses: Float64Array
    """float64 [patterns]: how often each is used."""
    prices: Float64Array
    """float64 [capacity + 1]: no pattern is worth more than 1."""
    lower_bound: int

    def used(self) -> list[Pattern]:
        """The patterns that it uses at all."""
        return [pattern for pattern, uses in zip(self.patterns, self.uses.tolist(), strict=True) if uses > _NOISE]


def simple_prices(histogram: Int64Array, capacity: int, max_segments: int) -> Float64Array:
    """By the token or by the item, whichever proves more: float64 [capacity + 1]."""
    by_token = np.arange(capacity + 1) / capacity
    by_item = np.full(capacity + 1, 1 / max_segments)
    return max(by_token, by_item, key=lambda prices: float(prices @ histogram))


def relax(
    histogram: Int64Array,
    capacity: int,
    max_segments: int,
    patterns: Iterable[Pattern],
    *,
    prices: Float64Array,
    gap: float,
    max_rounds: int,
) -> Relaxed:
    """Column generation: solve with some patterns, add those that would be worth more than a bin, until there are none.

    Prices half-way to the best ones so far are tried first (Wentges 1997, doi:10.1016/S0969-6016(97)00001-4): those of
    a program with few patterns jump to and fro.

    Args:
        histogram: int64 [capacity + 1], items of each length, at least one.
        capacity: Tokens a bin holds.
        max_segments: Most items a bin may hold.
        patterns: To begin with. Those that ask for more items than there are do not count; the others hold each length.
        prices: float64 [capacity + 1], to begin with: no pattern is worth more than 1.
        gap: How near to its bound, relative, the packing is to be.
        max_rounds: Most programs to solve; the packing is the last one's, the bound holds all the same.

    Raises:
        ExecutionError: HiGHS gave up.
    """
    lengths, counts = np.flatnonzero(histogram), histogram.tolist()
    columns = [pattern for pattern in dict.fromkeys(patterns) if _fits(pattern, counts)]
    least = lower_bound(histogram, capacity, max_segments)
    for _ in range(max_rounds):
        solved = columns
        uses, marginal = _solve(solved, lengths, histogram[lengths])
        bound = max(least, float(prices @ histogram))
        if uses.sum() - bound <= max(gap * bound, _GAP_ROWS):
            break
        prices, found = _price(histogram, capacity, max_segments, prices=prices, marginal=marginal, known=set(columns))
        if not found:
            break
        worths = _worths(columns, marginal)
        worths[uses > 0] = np.inf  # without these there may be no solution
        columns = _worthiest(columns, worths, _PATTERNS_PER_LENGTH * len(lengths)) + found
    return Relaxed(solved, uses, prices, max(least, ceil(float(prices @ histogram) * (1 - _NOISE))))


def _price(
    histogram: Int64Array,
    capacity: int,
    max_segments: int,
    *,
    prices: Float64Array,
    marginal: Float64Array,
    known: set[Pattern],
) -> tuple[Float64Array, list[Pattern]]:
    """Better prices, if there are any, and patterns that are worth more than a bin by the marginal ones."""
    lengths, counts = np.flatnonzero(histogram), histogram.tolist()
    for share in (0.5, 0.0):
        mixed = share * prices[lengths] + (1 - share) * marginal[lengths]
        worth, found = most_valuable(lengths, mixed, capacity, max_segments)
        scaled = extended_prices(lengths, mixed / worth, capacity)
        if scaled @ histogram > prices @ histogram:
            prices = scaled
        for first in range(min(_INTERLEAVES, len(lengths))):
            found += most_valuable(lengths, mixed, capacity, max_segments, slice(first, None, _INTERLEAVES))[1]
        new = [pattern for pattern in dict.fromkeys(found) if pattern not in known and _fits(pattern, counts)]
        worths = _worths(new, marginal)
        worths[worths <= 1 + _NOISE] = -np.inf
        new = _worthiest(new, worths, _NEW_PER_LENGTH * len(lengths))
        if new:
            return prices, new
    return prices, []


def _solve(columns: list[Pattern], lengths: Int64Array, demand: Int64Array) -> tuple[Float64Array, Float64Array]:
    """The fewest bins, in fractions, that hold what is demanded.

    Returns:
        float64 [columns], how often each pattern is used, and float64 [longest + 1], what each length is worth.
    """
    from scipy.optimize import linprog  # noqa: PLC0415  (an extra: whoever does not ask for it needs no scipy)
    from scipy.sparse import csc_array  # noqa: PLC0415

    sizes = np.fromiter(map(len, columns), dtype=np.int64, count=len(columns))
    entries = np.fromiter(chain.from_iterable(columns), dtype=np.int64, count=int(sizes.sum()))
    place = (np.searchsorted(lengths, entries), np.repeat(np.arange(len(columns)), sizes))
    held = csc_array((np.ones(len(entries)), place), shape=(len(lengths), len(columns)))  # equal lengths add up
    scale = max(1.0, float(demand.max()) / _LARGEST_DEMAND)
    result = linprog(np.ones(len(columns)), A_ub=-held, b_ub=-demand / scale, bounds=(0, None), method="highs-ds")
    if not result.success:
        raise ExecutionError(
            f"optimal packing: scipy's HiGHS did not solve {len(columns):,} patterns of {len(lengths):,} lengths: "
            f"{result.message}",
            hint="use first-fit-decreasing, which is rarely far from the optimum, and report this",
        )
    value = np.zeros(int(lengths[-1]) + 1)
    value[lengths] = np.maximum(-result.ineqlin.marginals, 0)
    return result.x * scale, value


def _fits(pattern: Pattern, counts: list[int]) -> bool:
    return all(counts[length] >= count for length, count in count_lengths(pattern).items())


def _worths(patterns: list[Pattern], prices: Float64Array) -> Float64Array:
    price = prices.tolist()
    return np.array([sum(price[length] for length in pattern) for pattern in patterns])


def _worthiest(patterns: list[Pattern], worths: Float64Array, most: int) -> list[Pattern]:
    """So many at most, in their order, and none that is worth minus infinity."""
    chosen = np.argsort(-worths, kind="stable")[:most]
    return [patterns[index] for index in np.sort(chosen[worths[chosen] > -np.inf]).tolist()]
