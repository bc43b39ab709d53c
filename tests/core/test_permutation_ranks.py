"""Permutation ranks: targets numbered from 0, context −1, law 7, every residue a target as often as any other."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import permutation_ranks as module
from pipeline.core.permutation_ranks import permutation_ranks
from pipeline.core.segments import Segments

segments = st.lists(
    st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, 999), st.integers(0, 40)), max_size=8, unique=True
)


def ranks_of(pieces, predicted, *, seed=0, epoch=0):
    lengths = np.array([count + 2 for *_, count in pieces], dtype=np.uint32)
    arrays = Segments(
        row_offsets=np.array([0, len(pieces)]),
        lengths=lengths,
        record_keys=np.array([key for key, *_ in pieces], dtype=np.uint64),
        starts=np.array([start for _, start, _ in pieces], dtype=np.uint32),
        num_prefix=1,
        num_suffix=1,
    )
    flat = permutation_ranks(arrays, predicted, seed=seed, epoch=epoch).tolist()
    ends = np.cumsum([count for *_, count in pieces]).tolist()
    return {piece: flat[end - piece[2] : end] for piece, end in zip(pieces, ends, strict=True)}


@given(segments, st.sampled_from([0.01, 1 / 6, 0.5, 1.0]), st.integers(1, 60))
def test_targets_are_numbered_and_the_rest_is_context(pieces, predicted, at_a_time):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RESIDUES_AT_A_TIME", at_a_time)
        found = ranks_of(pieces, predicted)
    for (*_, count), ranks in found.items():
        num_targets = max(round(count * predicted), min(count, 1))
        assert sorted(ranks) == [-1] * (count - num_targets) + list(range(num_targets))


@given(segments, st.data())
def test_an_order_does_not_depend_on_the_other_segments(pieces, data):
    """Law 7."""
    together = ranks_of(pieces, 0.5, seed=1, epoch=2)
    assert ranks_of(data.draw(st.permutations(pieces)), 0.5, seed=1, epoch=2) == together
    assert all(ranks_of([piece], 0.5, seed=1, epoch=2)[piece] == together[piece] for piece in pieces)


def test_residues_are_targets_equally_often_and_orders_differ():
    num = 6000
    found = ranks_of([(key, 0, 12) for key in range(num)], 1 / 6)
    ranks = np.array(list(found.values()))
    expected, spread = num / 12, sqrt(num * 11) / 12
    for rank in (0, 1):
        assert np.all(np.abs((ranks == rank).sum(axis=0) - expected) < 4.5 * spread)
    assert ranks_of([(1, 0, 40)], 1.0) != ranks_of([(1, 0, 40)], 1.0, epoch=1)


def test_golden_vector():
    piece = (0x0123456789ABCDEF, 512, 12)
    assert ranks_of([piece], 0.5, seed=42, epoch=3)[piece] == [5, -1, 2, -1, -1, 3, 1, -1, 0, 4, -1, -1]
