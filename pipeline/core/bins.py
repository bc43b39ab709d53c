"""Packing algorithms on the histogram of lengths: which bins take how many items of which length.

Items of one length are interchangeable, and bins that were filled alike stay alike. So no item is looked at: the bins
are runs of equal free space in opening order, and all items of one length are placed run by run. What was done is said
as fills::

    first-fit decreasing, capacity 10, lengths 7 7 3 3 3 3       fills: (length, first bin, bins, items a bin)
    bin 0  |7......|3..|                                         (7, 0, 2, 1)
    bin 1  |7......|3..|                                         (3, 0, 2, 1)
    bin 2  |3..|3..|                                             (3, 2, 1, 2)

Invariants: the fills of a length place as many items as the histogram has; no bin holds more tokens or items than it
may; bins are numbered densely in the order in which they are opened.

Cost of first-fit decreasing: distinct lengths times runs, both of which are hundreds to a few thousand for proteins,
whatever the number of items: 0.03 to 0.1 s for 65 million as for 1 million. Hundreds of thousands of distinct lengths
take minutes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

_FEW_RUNS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    """Bins filled from a histogram, longest items first.

    Fill i puts ``per_bin[i]`` items of ``length[i]`` into each of ``num_bins[i]`` bins that begin with
    ``first_bin[i]``.

    Attributes:
        length: int64 [fills], never increasing.
        first_bin: int64 [fills].
        num_bins: int64 [fills], at least 1.
        per_bin: int64 [fills], at least 1.
        total_bins: Bins in all.
    """

    length: Int64Array
    first_bin: Int64Array
    num_bins: Int64Array
    per_bin: Int64Array
    total_bins: int


def first_fit_decreasing(histogram: Int64Array, capacity: int, max_segments: int) -> Fills:
    """Exact first-fit decreasing: each item, longest first, goes to the first bin with room for it.

    For equal items that means: the bins in opening order, each filled as far as it goes. The last run is the bins that
    are not opened yet, so that opening one is like filling any other.

    Args:
        histogram: int64 [capacity + 1], items of each length; ``histogram[0]`` is 0.
        capacity: Tokens a bin holds.
        max_segments: Most items a bin may hold.
    """
    lengths = np.flatnonzero(histogram)[::-1].tolist()
    runs = np.array([[0], [int(histogram.sum()) + 1], [capacity], [max_segments]])
    fills = [np.empty((4, 0), dtype=np.int64)]
    many_runs = _FEW_RUNS
    for length in lengths:
        runs, filled = _fill_runs(runs, length, int(histogram[length]))
        fills.append(filled)
        if runs.shape[1] > many_runs:
            runs = runs[:, (runs[2] >= lengths[-1]) & (runs[3] > 0)]  # the others can take no item any more
            many_runs = _FEW_RUNS + runs.shape[1] * 5 // 4
    return _as_fills(np.concatenate(fills, axis=1), total_bins=int(runs[0, -1]))


def one_item_a_bin(histogram: Int64Array, capacity: int, max_segments: int) -> Fills:
    """No packing: each item has a bin to itself. Arguments as for ``first_fit_decreasing``."""
    del capacity, max_segments
    lengths = np.flatnonzero(histogram)[::-1]
    num_items = histogram[lengths]
    first_bin = np.cumsum(num_items) - num_items
    table = np.stack((lengths, first_bin, num_items, np.ones_like(num_items)))
    return _as_fills(table, total_bins=int(num_items.sum()))


def _fill_runs(runs: Int64Array, length: int, num_items: int) -> tuple[Int64Array, Int64Array]:
    """Place the items of one length.

    Args:
        runs: int64 [4, runs]: first bin, bins, free tokens and free segments of each run; changed in place.
        length: Tokens of each item.
        num_items: Items to place.

    Returns:
        The runs afterwards, of which there are at most two more, and int64 [4, fills] in the order of the fields of
        ``Fills``.
    """
    first, bins, tokens, segments = runs
    per_bin = np.minimum(tokens // length, segments)
    reach = np.cumsum(bins * per_bin)
    last = int(np.searchsorted(reach, num_items))  # runs before it are filled as far as they go, it is filled in part
    taken = np.flatnonzero(per_bin[:last])
    whole_runs = np.stack((np.full_like(taken, length), first[taken], bins[taken], per_bin[taken]))
    tokens[:last] -= per_bin[:last] * length
    segments[:last] -= per_bin[:last]
    parts = _split_run(runs[:2, last].tolist(), num_items - int(reach[last - 1] if last else 0), int(per_bin[last]))
    after = [(at, count, tokens[last] - each * length, segments[last] - each) for at, count, each in parts]
    filled = [(length, at, count, each) for at, count, each in parts if each]
    return (
        np.concatenate((runs[:, :last], np.array(after).T, runs[:, last + 1 :]), axis=1),
        np.concatenate((whole_runs, np.array(filled).T), axis=1),
    )


def _split_run(run: list[int], num_items: int, per_bin: int) -> list[tuple[int, int, int]]:
    """Bins of a run that take all they can, then one that takes the rest, then those that take none.

    Returns:
        First bin, bins and items a bin of each part that has bins.
    """
    first, bins = run
    full, rest = divmod(num_items, per_bin)
    partly = int(rest > 0)
    parts = [
        (first, full, per_bin),
        (first + full, partly, rest),
        (first + full + partly, bins - full - partly, 0),
    ]
    return [part for part in parts if part[1]]


def _as_fills(table: Int64Array, *, total_bins: int) -> Fills:
    return Fills(length=table[0], first_bin=table[1], num_bins=table[2], per_bin=table[3], total_bins=total_bins)
