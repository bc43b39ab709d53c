"""Draws of an epoch: pinned, one of each cluster, and as many distinct members over epochs as chance gives."""

from math import sqrt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.sampling import keep_by_weight, one_per_cluster
from pipeline.formats.corpus import record_keys

uint64s = st.integers(0, (1 << 64) - 1)


def clusters(sizes, *, seed=0):
    """Keys of representatives, sizes and ranks of all members."""
    keys = np.random.default_rng(seed).integers(0, 1 << 64, len(sizes), dtype=np.uint64, endpoint=False)
    ranks = np.concatenate([np.arange(size) for size in sizes])
    return np.repeat(keys, sizes), np.repeat(sizes, sizes).astype(np.uint32), ranks.astype(np.uint32)


def drawn_members(keys, size, **draw):
    members = [one_per_cluster(keys, np.full(2, size), np.full(2, at), **draw) for at in range(size)]
    return np.argmax(members, axis=0).tolist()


def test_golden_vectors():
    """By the arithmetic of randomness.py in plain Python; these must never change."""
    keys = record_keys(pa.array(["UniRef50_P12345", "A0A000"]))
    assert keys.tolist() == [9310967318878767984, 902461163796000043]
    for seed, epoch, of_7, of_1000 in (
        (0, 0, [3, 5], [757, 254]),
        (0, 1, [3, 2], [403, 549]),
        (7, 0, [5, 5], [111, 349]),
    ):
        assert drawn_members(keys, 1, seed=seed, epoch=epoch) == [0, 0]
        assert drawn_members(keys, 7, seed=seed, epoch=epoch) == of_7
        assert drawn_members(keys, 1_000, seed=seed, epoch=epoch) == of_1000
    for epoch, least in enumerate(([0.824494, 0.033587], [0.693344, 0.292328], [0.247498, 0.234619])):
        assert keep_by_weight(np.array(least) + 1e-5, keys, seed=0, epoch=epoch).tolist() == [True, True]
        assert keep_by_weight(np.array(least) - 1e-5, keys, seed=0, epoch=epoch).tolist() == [False, False]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), uint64s, st.integers(0, 1 << 40))
def test_exactly_one_member_of_every_cluster_is_drawn(sizes, seed, epoch):
    keys, size, rank = clusters(sizes)
    drawn = one_per_cluster(keys, size, rank, seed=seed % (1 << 63), epoch=epoch)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    assert np.bincount(cluster[drawn], minlength=len(sizes)).tolist() == [1] * len(sizes)


@pytest.mark.parametrize("size", [2, 3, 10, 64])
@pytest.mark.parametrize("num_epochs", [1, 4, 10, 40])
def test_epochs_reach_as_many_distinct_members_as_expected(size, num_epochs):
    """n(1 − (1 − 1/n)^k) of n after k draws, over 3,000 clusters, within five standard errors."""
    num_clusters = 3_000
    keys, sizes, rank = clusters([size] * num_clusters)
    seen = np.zeros(len(keys), dtype=bool)
    for epoch in range(num_epochs):
        seen |= one_per_cluster(keys, sizes, rank, seed=1, epoch=epoch)
    observed = seen.sum() / num_clusters
    expected = size * (1 - (1 - 1 / size) ** num_epochs)
    # Occupancy: the variance of the number of members that k draws reach.
    alone, pair = (1 - 1 / size) ** num_epochs, (1 - 2 / size) ** num_epochs
    variance = size * (size - 1) * pair + size * alone - (size * alone) ** 2
    assert abs(observed - expected) <= 5 * sqrt(max(variance, 0) / num_clusters) + 1e-9


@pytest.mark.parametrize("seeds", [[(0, epoch) for epoch in range(60)], [(seed, 3) for seed in range(60)]])
def test_members_are_equally_likely_and_epochs_and_seeds_independent(seeds):
    keys, sizes, rank = clusters([5] * 2_000)
    drawn = np.array([one_per_cluster(keys, sizes, rank, seed=seed, epoch=epoch) for seed, epoch in seeds])
    number = drawn.reshape(len(seeds), -1, 5).argmax(axis=2)
    counts = np.bincount(number.ravel(), minlength=5)
    chi_square = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert chi_square < 25  # 4 degrees of freedom: once in 20,000
    again = (number[1:] == number[:-1]).mean()
    assert abs(again - 1 / 5) < 5 * sqrt(0.16 / number[1:].size)


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.3, 0.99, 1.0])
def test_a_weight_is_the_probability_of_being_kept(weight):
    keys = np.random.default_rng(0).integers(0, 1 << 64, 50_000, dtype=np.uint64, endpoint=False)
    kept = [keep_by_weight(np.full(len(keys), weight, np.float32), keys, seed=2, epoch=epoch) for epoch in (0, 1)]
    for one in kept:
        assert abs(one.mean() - weight) <= 5 * sqrt(weight * (1 - weight) / len(keys)) + 1e-8
    both = (kept[0] & kept[1]).mean()
    assert abs(both - weight**2) <= 5 * sqrt(weight**2 * (1 - weight**2) / len(keys)) + 1e-6


@given(st.lists(uint64s, min_size=2, max_size=20), st.integers(0, 1 << 62), st.integers(0, 1 << 62))
def test_a_draw_does_not_depend_on_its_neighbours(keys, seed, epoch):
    keys = np.array(keys, dtype=np.uint64)
    weight, size = np.full(len(keys), 0.5), np.full(len(keys), 2)
    kept = keep_by_weight(weight, keys, seed=seed, epoch=epoch)
    drawn = one_per_cluster(keys, size, np.zeros(len(keys), int), seed=seed, epoch=epoch)
    for at in range(len(keys)):
        one = slice(at, at + 1)
        assert keep_by_weight(weight[one], keys[one], seed=seed, epoch=epoch)[0] == kept[at]
        assert one_per_cluster(keys[one], size[one], size[one] * 0, seed=seed, epoch=epoch)[0] == drawn[at]


def test_weights_and_clusters_draw_from_different_streams():
    keys, sizes, rank = clusters([2] * 20_000)
    drawn = one_per_cluster(keys[::2], sizes[::2], rank[::2], seed=0, epoch=0)
    kept = keep_by_weight(np.full(20_000, 0.5), keys[::2], seed=0, epoch=0)
    assert abs((drawn == kept).mean() - 0.5) < 5 * sqrt(0.25 / 20_000)
