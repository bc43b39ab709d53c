"""Rows and windows of alignments: the query first, without replacement, within the limits, the same for ever."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import randomness
from pipeline.core.alignment_sampling import PURPOSE_ALIGNMENT_ROWS, AlignmentLimits, sample_alignment

KEY = 0x8E64A4E2ED4E417E
GOLDEN_ROWS = [0, 23, 27, 35, 76, 78]
GOLDEN_WINDOWS = [2728, 17, 1189]


def sample(depth, width, *, key=KEY, seed=0, epoch=0, num_special=1, **limits):
    limits = AlignmentLimits(**limits)
    return sample_alignment(
        key, depth=depth, width=width, limits=limits, num_special=num_special, seed=seed, epoch=epoch
    )


@given(
    depth=st.integers(1, 5000),
    width=st.integers(1, 3000),
    key=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 9),
    limits=st.tuples(st.integers(1, 1200), st.integers(2, 1200), st.integers(2, 1 << 15)),
)
def test_the_query_is_first_and_the_limits_hold(depth, width, key, epoch, limits):
    max_rows, max_columns, max_tokens = limits
    named = {"max_rows": max_rows, "max_columns": max_columns, "max_tokens": max_tokens}
    rows, first, num_columns = sample(depth, width, key=key, epoch=epoch, **named)
    assert rows[0] == 0
    assert (np.diff(rows) > 0).all()  # rising, so without replacement
    assert rows[-1] < depth
    assert len(rows) * (num_columns + 1) <= max_tokens
    assert len(rows) <= max_rows
    assert 1 <= num_columns <= max_columns - 1
    assert 0 <= first <= width - num_columns
    # Nothing is left out that would have had room.
    assert num_columns == min(width, max_columns - 1, max_tokens - 1)
    assert len(rows) == min(depth, max_rows, max_tokens // (num_columns + 1))


def test_the_defaults_are_those_of_msa_transformer():
    assert len(sample(5000, 15).rows) == 1024
    assert len(sample(5000, 127).rows) * 128 == 1 << 14
    assert sample(5000, 5000).num_columns == 1023
    assert len(sample(5000, 5000).rows) == 16


def test_golden_vectors():
    assert sample(100, 20, max_tokens=126).rows.tolist() == GOLDEN_ROWS
    assert [sample(1, 5000, epoch=epoch).first_column for epoch in range(3)] == GOLDEN_WINDOWS


def test_epochs_seeds_and_alignments_differ():
    drawn = [sample(1000, 50, **other).rows.tolist() for other in ({}, {"epoch": 1}, {"seed": 1}, {"key": KEY + 1})]
    assert len({tuple(rows) for rows in drawn}) == 4


def test_every_row_is_as_likely():
    counts = np.zeros(40)
    for key in range(3000):
        counts[sample(40, 9, key=key, max_rows=11).rows] += 1
    assert counts[0] == 3000
    expected = 3000 * 10 / 39
    assert np.abs(counts[1:] - expected).max() < 5 * np.sqrt(expected)


def test_the_purpose_is_its_own():
    others = {value for name, value in vars(randomness).items() if name.startswith("PURPOSE_")}
    assert PURPOSE_ALIGNMENT_ROWS not in others


@pytest.mark.parametrize("depth", [1, 2])
def test_shallow_alignments_are_taken_whole(depth):
    assert sample(depth, 30).rows.tolist() == list(range(depth))
