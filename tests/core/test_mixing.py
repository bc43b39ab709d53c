"""Deterministic mixing: rows follow each other, and records meet, by chance alone; every shuffle is missed if it goes.

The faults are found by statistics that are 0 for independent values, in units of their standard deviation. The control
takes one shuffle after another away and sees that its fault is found.
"""

from itertools import pairwise

import numpy as np
import pytest

from pipeline.core import packing
from pipeline.core.packing import pack
from pipeline.core.randomness import PURPOSE_PLACE, PURPOSE_SLOT, derive_key
from pipeline.core.row_order import ROW_ORDERS

NUM_RECORDS = 60_000
NUM_SOURCES = 6
SEED = 3
LIMIT = 4.5
"""Standard deviations; sixty statistics of chance exceed it once in 2,400 runs, and the seeds here are fixed."""


def protein_lengths():
    """In the worst order of input: by length within each source, and source after source, which differ in length."""
    rng = np.random.default_rng(0)
    per_source = NUM_RECORDS // NUM_SOURCES
    lengths = [rng.lognormal(4.8 + 0.15 * source, 0.8, per_source) for source in range(NUM_SOURCES)]
    return np.concatenate([np.sort(np.clip(part, 11, 1022).astype(np.int64) + 2) for part in lengths])


def rank_correlation(x, y):
    """Times √n: a standard normal value where x and y are independent."""
    ranks = [np.unique(values, return_inverse=True)[1] for values in (x, y)]
    return float(np.corrcoef(*ranks)[0, 1]) * np.sqrt(len(x))


def runs_test(values):
    """Wald and Wolfowitz: runs above and below the mean, against their number in a random order."""
    above = values > np.mean(values)
    n, m = int(above.sum()), int((~above).sum())
    expected = 1 + 2 * n * m / (n + m)
    deviation = np.sqrt((expected - 1) * (expected - 2) / (n + m - 1))
    return (1 + int((above[1:] != above[:-1]).sum()) - expected) / deviation


def chi_squared(x, y):
    """Of the table of x against y, in standard deviations from its mean."""
    table = np.zeros((x.max() + 1, y.max() + 1))
    np.add.at(table, (x, y), 1)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return (((table - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


def of_rows(lengths, placement):
    """How rows follow each other: statistics by name, in standard deviations."""
    item, row = np.arange(len(lengths)), placement.row
    source = item // (len(lengths) // NUM_SOURCES)
    starts, ordered = placement.row_offsets[:-1], lengths[placement.order]
    per_row = {
        "cost": np.add.reduceat(ordered**2, starts),
        "tokens": np.add.reduceat(ordered, starts),
        "segments": np.diff(placement.row_offsets),
        "longest": np.maximum.reduceat(ordered, starts),
        "first item": placement.order[starts],
    }
    per_row = {name: values for name, values in per_row.items() if values.min() < values.max()}
    found = {f"{name} by row": rank_correlation(values, np.arange(len(values))) for name, values in per_row.items()}
    found |= {f"{name} of neighbours": rank_correlation(v[:-1], v[1:]) for name, v in per_row.items()}
    found |= {f"runs of {name}": runs_test(values) for name, values in per_row.items()}
    found["item by row"] = rank_correlation(item, row)
    found["length by row"] = rank_correlation(lengths, row)
    found["source by tenth of the rows"] = chi_squared(source, row.astype(np.int64) * 10 // placement.num_rows)
    return found


def in_rows(lengths, placement):
    """What stands in a row, and where: statistics by name, in standard deviations."""
    return {
        "item by slot": within_rows(np.arange(len(lengths)), placement),
        "length by slot": within_rows(lengths, placement),
        "item by item of its length and row": company(lengths, placement),
    }


def within_rows(values, placement):
    """Of two that follow each other in a row, is the second one larger as often as the first?"""
    ordered, row = values[placement.order], placement.ordered_row()
    # Of every other pair only, so that no value counts twice.
    pair = np.flatnonzero((row[:-1] == row[1:]) & (placement.ordered_slot()[:-1] % 2 == 0))
    pair = pair[ordered[pair] != ordered[pair + 1]]
    return (2 * np.mean(ordered[pair + 1] > ordered[pair]) - 1) * np.sqrt(len(pair))


def company(lengths, placement):
    """Records of one length that share a row: is the one's rank among its like that of the other?"""
    by_length = np.argsort(lengths, kind="stable")
    rank = np.empty(len(lengths))
    counts = np.bincount(lengths)
    rank[by_length] = np.arange(len(lengths)) - np.repeat(np.cumsum(counts) - counts, counts)
    rank /= counts[lengths]
    pairs = [
        (rank[first], rank[second])
        for start, end in pairwise(placement.row_offsets.tolist())
        for first, second in pairwise(sorted(placement.order[start:end].tolist(), key=lambda item: lengths[item]))
        if lengths[first] == lengths[second] and counts[lengths[first]] > 20
    ]
    return rank_correlation(*np.array(pairs).T)


def faults(lengths, placement):
    found = of_rows(lengths, placement) | in_rows(lengths, placement)
    return {name: round(float(z), 1) for name, z in found.items() if abs(z) > LIMIT}


@pytest.mark.parametrize("algorithm", ["first-fit-decreasing", "best-fit-decreasing"])
def test_nothing_of_the_input_survives(algorithm):
    lengths = protein_lengths()
    assert not faults(lengths, pack(lengths, 1024, seed=SEED, algorithm=algorithm))


def test_nothing_of_the_input_survives_where_rows_are_padded():
    lengths = protein_lengths()
    placement = pack(lengths, 1024, seed=SEED, algorithm="pad")
    assert not {name: z for name, z in of_rows(lengths, placement).items() if abs(z) > LIMIT}


def drawn_for(purpose):
    """``draw`` without chance for one purpose."""
    real, key_without = packing.draw, derive_key(purpose, SEED)

    def draw(key, counter):
        bits = real(key, counter)
        return np.zeros_like(bits) if key == key_without else bits

    return draw


def test_rows_in_opening_order_are_found(monkeypatch):
    monkeypatch.setitem(ROW_ORDERS, "random", lambda fills, seed: np.arange(fills.total_bins, dtype=np.uint32))
    lengths = protein_lengths()
    found = faults(lengths, pack(lengths, 1024, seed=SEED))
    expected = {f"{statistic} by row" for statistic in ("cost", "segments", "longest", "length")}
    assert expected | {"cost of neighbours", "runs of cost", "runs of segments"} <= set(found)


def test_equal_lengths_in_the_order_of_input_are_found(monkeypatch):
    monkeypatch.setattr(packing, "draw", drawn_for(PURPOSE_PLACE))
    lengths = protein_lengths()
    assert "item by item of its length and row" in faults(lengths, pack(lengths, 1024, seed=SEED))


def test_slots_in_the_order_of_input_are_found(monkeypatch):
    monkeypatch.setattr(packing, "draw", drawn_for(PURPOSE_SLOT))
    lengths = protein_lengths()
    assert {"item by slot", "length by slot"} <= set(faults(lengths, pack(lengths, 1024, seed=SEED)))


def test_sorted_rows_are_found():
    """The law's own example: rows sorted by cost."""
    lengths = protein_lengths()
    placement = pack(lengths, 1024, seed=SEED)
    cost = np.add.reduceat(lengths[placement.order] ** 2, placement.row_offsets[:-1])
    assert abs(rank_correlation(np.sort(cost), np.arange(len(cost)))) > LIMIT
    assert abs(runs_test(np.sort(cost))) > LIMIT
