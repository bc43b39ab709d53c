"""Packing at the lower bound: the cutting-stock problem, by column generation.

First-fit decreasing packs proteins to 99.96 % in rows of 1,024, which leaves little to win. Where few items share a
row it wastes 3 to 7 % of the rows, and where segments are limited 20 to 30 %; there this is worth its time.

::

    histogram ──▶ column generation ──▶ uses of patterns, 3.0 12.4 0.7 …, and the lower bound
    whole uses are taken ──▶ the rest by first fit ──▶ near enough to the bound? if not, the largest fractions are
                                                       rounded up, and the rest goes through the same again

What is taken as near enough is one row in a thousand rows or more, none below, or 0.01 %; first-fit decreasing itself
is taken if it is that near.

One corpus has many parts with much the same histogram. ``find_patterns`` solves for the histogram of all, once; with
that pool a part needs one small program. So that a part's rows do not depend on which parts came before, a part adds
nothing to the pool.

Measured on one core, in CPU seconds: 65 million lengths in 260 parts, of which 2 to 13 were packed. Lengths are
UniRef50-like if nothing else is said; rows over the lower bound are those of the worst part, and how many may be::

    row      segments   lengths      first fit wastes     rows over      patterns      all parts
    1,024    any                       0.03 %              1 of 6           1.4 s           27 s
    2,048    any                       0.01 %              1 of 3           3.3 s           54 s
    1,024    any        from 200       3.0 %               5 of 10          1.5 s           18 s
    1,024    any        260 … 500      7.2 %               9 of 9           0.7 s           18 s
    1,024    4                        20 %                 6 of 6           3.8 s          180 s

Slow are many lengths with few segments: the patterns of 8 segments in rows of 2,048 take minutes.
"""

from collections import Counter
from importlib.util import find_spec
from itertools import chain
from math import floor

import numpy as np
import numpy.typing as npt

from pipeline.core.bins import Fills, first_fit_decreasing
from pipeline.core.packing import MAX_SEGMENTS, lower_bound
from pipeline.core.patterns import Pattern, PatternPool, count_lengths, deal_shorter, fills_of, join, patterns_of
from pipeline.engines.column_generation import Relaxed, relax, simple_prices
from pipeline.errors import MissingExtraError

Int64Array = npt.NDArray[np.int64]

_NEAR = 1e-4
_ONE_ROW_FROM = 1000
_GAP = 1e-5
"""How near to its bound, relative, a linear program is solved."""
_COARSE_GAP = 3e-4
"""The same for one whose packing is a start only."""
_ROUNDS = 40
"""Most linear programs for the patterns of a corpus, for each number of lengths."""
_ROUNDS_OF_A_PART = 6
"""Where these are not enough a part is farther from its bound than it should be, rather than minutes of work."""
_WHOLE = 1e-6
"""Uses are whole numbers up to this."""
_FEW_LENGTHS = 64
_NEAR_START = 2e-3
"""What rounding lengths up wastes of the rows, roughly."""
_ROUNDED_UP = 0.6
"""Share of the rows still open that are rounded up before the next linear program."""


def check_installed() -> None:
    """Look for scipy, before any work is done.

    Raises:
        MissingExtraError: It is not installed.
    """
    if find_spec("scipy") is None:
        raise MissingExtraError(
            "optimal packing needs scipy, which is not installed", hint="pip install 'protein-pipeline[optimal]'"
        )


def find_patterns(histogram: Int64Array, capacity: int, max_segments: int = MAX_SEGMENTS) -> PatternPool:
    """The patterns of a packing that is as good as fractions of bins allow, and the prices that prove it.

    Args:
        histogram: int64 [capacity + 1], items of each length.
        capacity: Tokens a bin holds.
        max_segments: Most items a bin may hold.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    check_installed()
    if not histogram.any():
        return PatternPool(patterns=(), prices=simple_prices(histogram, capacity, max_segments))
    relaxed = _relax_coarse_to_fine(histogram, capacity, max_segments, gap=_GAP)
    return PatternPool(patterns=tuple(relaxed.used()), prices=relaxed.prices)


def optimal(histogram: Int64Array, capacity: int, max_segments: int, *, pool: PatternPool | None = None) -> Fills:
    """Fill bins within one of the fewest possible, or 0.01 %, in nearly all cases; never more than first fit needs.

    An algorithm for ``pipeline.core.packing.pack``, alone or as ``functools.partial(optimal, pool=pool)``.

    Args:
        histogram: int64 [capacity + 1], items of each length.
        capacity: Tokens a bin holds.
        max_segments: Most items a bin may hold.
        pool: From ``find_patterns`` for the same capacity and ``max_segments``; without it the patterns are found here.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    check_installed()
    best = remainder = first_fit_decreasing(histogram, capacity, max_segments)
    bound = lower_bound(histogram, capacity, max_segments)
    if _near_enough(best, bound):
        return best
    pool = pool or find_patterns(histogram, capacity, max_segments)
    bound = max(bound, pool.lower_bound(histogram))
    prices, patterns = pool.prices, list(pool.patterns)
    rest, taken = histogram.copy(), Counter[Pattern]()
    while remainder.total_bins and not _near_enough(best, bound):
        start = chain(patterns, patterns_of(remainder))
        relaxed = relax(rest, capacity, max_segments, start, prices=prices, gap=_GAP, max_rounds=_ROUNDS_OF_A_PART)
        prices, patterns = relaxed.prices, relaxed.patterns
        if not taken:
            bound = max(bound, relaxed.lower_bound)
        fractions = _take_whole(relaxed, rest, taken)
        remainder = first_fit_decreasing(rest, capacity, max_segments)
        best = _better(best, taken, remainder)
        if not _near_enough(best, bound):
            _take_fractions(fractions, rest, taken, at_least=1 + int(remainder.total_bins * _ROUNDED_UP))
            remainder = first_fit_decreasing(rest, capacity, max_segments)
            best = _better(best, taken, remainder)
    return best


def _relax_coarse_to_fine(histogram: Int64Array, capacity: int, max_segments: int, *, gap: float) -> Relaxed:
    """Solve for half of the lengths first, every other one rounded up to the next, and deal the items to that packing.

    Its bins are patterns to start with that are nearly as good as the best. From first-fit decreasing the way is long
    where that is far off: 58 programs and 16 s for rows of at most 4 segments, and so 7 programs and 3 s. Where
    first-fit decreasing wastes less than the rounding does, it is the better start: 4 programs instead of 53.
    """
    lengths, bins = np.flatnonzero(histogram), first_fit_decreasing(histogram, capacity, max_segments)
    near = bins.total_bins <= lower_bound(histogram, capacity, max_segments) * (1 + _NEAR_START)
    if len(lengths) > _FEW_LENGTHS and not near:
        coarse = np.zeros_like(histogram)
        np.add.at(coarse, lengths[np.minimum(np.arange(len(lengths)) | 1, len(lengths) - 1)], histogram[lengths])
        relaxed, taken = _relax_coarse_to_fine(coarse, capacity, max_segments, gap=_COARSE_GAP), Counter[Pattern]()
        _take_whole(relaxed, coarse, taken)
        dealt = deal_shorter(join(fills_of(taken), first_fit_decreasing(coarse, capacity, max_segments)), histogram)
        bins = min(bins, dealt, key=lambda fills: fills.total_bins)
    prices = simple_prices(histogram, capacity, max_segments)
    return relax(histogram, capacity, max_segments, patterns_of(bins), prices=prices, gap=gap, max_rounds=_ROUNDS)


def _take_whole(relaxed: Relaxed, rest: Int64Array, taken: Counter[Pattern]) -> list[tuple[float, Pattern]]:
    """Use every pattern as often as it is used in whole bins; what is used in part, largest part first."""
    fractions: list[tuple[float, Pattern]] = []
    for uses, pattern in zip(relaxed.uses.tolist(), relaxed.patterns, strict=True):
        whole = floor(uses + _WHOLE)
        _take(pattern, whole, rest, taken)
        if uses - whole > _WHOLE:
            fractions.append((uses - whole, pattern))
    return sorted(fractions, key=lambda part: -part[0])


def _take_fractions(
    fractions: list[tuple[float, Pattern]], rest: Int64Array, taken: Counter[Pattern], *, at_least: int
) -> None:
    """Round the largest fractions up, until so many bins are filled."""
    for _, pattern in fractions:
        at_least -= _take(pattern, 1, rest, taken)
        if not at_least:
            break


def _take(pattern: Pattern, times: int, rest: Int64Array, taken: Counter[Pattern]) -> int:
    """Fill so many bins, or as many as there are items for; returns how many."""
    if not times:
        return 0
    needed = count_lengths(pattern)
    times = min(times, *(int(rest[length]) // count for length, count in needed.items()))
    if times:
        taken[pattern] += times
        for length, count in needed.items():
            rest[length] -= times * count
    return times


def _better(best: Fills, taken: Counter[Pattern], remainder: Fills) -> Fills:
    if taken.total() + remainder.total_bins >= best.total_bins:
        return best
    return join(fills_of(taken), remainder)


def _near_enough(fills: Fills, bound: int) -> bool:
    return fills.total_bins - bound <= max(int(bound * _NEAR), int(bound >= _ONE_ROW_FROM))
