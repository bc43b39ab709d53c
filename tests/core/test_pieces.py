"""Over-length policies: windows tile, crops reach both ends, and no record depends on another."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core.pieces import POLICIES, CutCounts, Overlong, cut
from pipeline.errors import ConfigurationError

policies = pytest.mark.parametrize("policy", Overlong)


def cut_records(lengths, policy, *, max_residues=10, keys=None, seed=0, epoch=0):
    lengths = np.array(lengths, dtype=np.uint32)
    keys = np.arange(len(lengths), dtype=np.uint64) if keys is None else np.array(keys, dtype=np.uint64)
    return cut(lengths, max_residues=max_residues, policy=policy, record_keys=keys, seed=seed, epoch=epoch)


def spans(pieces):
    return list(zip(pieces.record.tolist(), pieces.start.tolist(), pieces.length.tolist(), strict=True))


lengths_and_most = st.integers(1, 40).flatmap(
    lambda most: st.tuples(st.lists(st.integers(1, 130), max_size=30), st.just(most))
)


@policies
@given(lengths_and_most, st.integers(0, 2**64 - 1))
def test_pieces_are_within_their_records_and_rows(policy, problem, seed):
    lengths, most = problem
    pieces = cut_records(lengths, policy, max_residues=most, seed=seed)
    assert (pieces.record.dtype, pieces.start.dtype, pieces.length.dtype) == (np.uint32,) * 3
    for record, start, length in spans(pieces):
        assert 1 <= length <= most
        assert start + length <= lengths[record]
    assert spans(pieces) == sorted(spans(pieces))


@policies
@given(lengths_and_most)
def test_counts_add_up(policy, problem):
    lengths, most = problem
    pieces = cut_records(lengths, policy, max_residues=most)
    overlong = sum(length > most for length in lengths)
    expected = {Overlong.WINDOWS: (0, overlong, 0), Overlong.DROP: (0, 0, overlong)}.get(policy, (overlong, 0, 0))
    counts = pieces.counts
    assert (counts.records_cropped, counts.records_windowed, counts.records_dropped) == expected
    assert counts.residues_lost == sum(lengths) - int(pieces.length.sum())


@policies
@given(st.lists(st.integers(1, 10), max_size=20))
def test_records_that_fit_are_left_whole(policy, lengths):
    pieces = cut_records(lengths, policy)
    assert spans(pieces) == [(record, 0, length) for record, length in enumerate(lengths)]
    assert pieces.counts == CutCounts(records_cropped=0, records_windowed=0, records_dropped=0, residues_lost=0)


@given(lengths_and_most)
@example(([1023], 1022))
def test_windows_tile_each_record(problem):
    lengths, most = problem
    pieces = spans(cut_records(lengths, Overlong.WINDOWS, max_residues=most))
    for record, total in enumerate(lengths):
        windows = [(start, length) for number, start, length in pieces if number == record]
        residues = [residue for start, length in windows for residue in range(start, start + length)]
        assert residues == list(range(total))
        assert len(windows) == -(-total // most)
        sizes = [length for _, length in windows]
        assert max(sizes) - min(sizes) <= 1
        assert sizes == sorted(sizes, reverse=True)


def test_a_record_of_one_residue_too_many_is_halved():
    assert spans(cut_records([1023], Overlong.WINDOWS, max_residues=1022)) == [(0, 0, 512), (0, 512, 511)]


def test_each_policy_by_hand():
    lengths = [4, 23, 10, 11]
    assert spans(cut_records(lengths, "crop-start")) == [(0, 0, 4), (1, 0, 10), (2, 0, 10), (3, 0, 10)]
    assert spans(cut_records(lengths, "drop")) == [(0, 0, 4), (2, 0, 10)]
    windows = [(0, 0, 4), (1, 0, 8), (1, 8, 8), (1, 16, 7), (2, 0, 10), (3, 0, 6), (3, 6, 5)]
    assert spans(cut_records(lengths, "windows")) == windows
    assert cut_records(lengths, "drop").counts == CutCounts(
        records_cropped=0, records_windowed=0, records_dropped=2, residues_lost=34
    )


def test_random_crops_reach_both_ends_and_every_start_alike():
    num_records = 20_000
    keys = np.random.default_rng(0).integers(0, 2**64, num_records, dtype=np.uint64)
    pieces = cut_records([14] * num_records, Overlong.CROP_RANDOM, keys=keys)
    starts = np.bincount(pieces.start, minlength=6)
    assert len(starts) == 6
    assert starts[5] == 0
    # Chi-squared with 4 degrees of freedom: above 23.5 once in 10,000.
    assert np.sum((starts[:5] - num_records / 5) ** 2 / (num_records / 5)) < 23.5
    assert set(pieces.length.tolist()) == {10}


@policies
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2**64 - 1)), min_size=1, max_size=20), st.data())
def test_a_record_does_not_depend_on_its_neighbours(policy, records, data):
    """Law 7: alone, or among others in any order, a record gives the same pieces."""
    order = data.draw(st.permutations(range(len(records))))
    lengths, keys = zip(*records, strict=True)
    together = spans(cut_records(lengths, policy, keys=keys, seed=3))
    shuffled = spans(
        cut_records([lengths[record] for record in order], policy, keys=[keys[record] for record in order], seed=3)
    )
    assert sorted((order[record], start, length) for record, start, length in shuffled) == together
    alone = spans(cut_records(lengths[:1], policy, keys=keys[:1], seed=3))
    assert alone == [piece for piece in together if piece[0] == 0]


def test_random_crops_depend_on_seed_epoch_and_key():
    lengths = [1000] * 100

    def starts(**arguments):
        return tuple(cut_records(lengths, Overlong.CROP_RANDOM, **arguments).start.tolist())

    variants = [starts(), starts(seed=1), starts(epoch=1), starts(keys=range(100, 200))]
    assert len(set(variants)) == 4
    assert starts(seed=1, epoch=2) == starts(seed=1, epoch=2)


def test_golden_crops():
    """Computed once and never to change."""
    pieces = cut_records([20, 300, 7, 5000, 11], "crop-random", keys=[1, 2, 3, 4, 2**64 - 1], seed=7, epoch=1)
    assert pieces.start.tolist() == GOLDEN_STARTS


GOLDEN_STARTS = [4, 281, 0, 410, 1]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.uint64])
def test_the_dtype_of_lengths_does_not_matter(dtype):
    keys = np.arange(4, dtype=np.uint64)
    for policy in Overlong:
        pieces = cut(
            np.array([4, 23, 10, 11], dtype=dtype), max_residues=10, policy=policy, record_keys=keys, seed=0, epoch=0
        )
        assert spans(pieces) == spans(cut_records([4, 23, 10, 11], policy))


@policies
def test_no_records(policy):
    assert spans(cut_records([], policy)) == []


def test_every_policy_has_a_function():
    assert list(POLICIES) == list(Overlong)


def test_arguments_that_cannot_be_used():
    with pytest.raises(ConfigurationError, match=r"'crop' is not known .*crop-start, crop-random, windows, drop"):
        cut_records([5], "crop")
    with pytest.raises(ConfigurationError, match="at least one residue, found 0"):
        cut_records([5], "drop", max_residues=0)


def test_inputs_are_not_changed():
    lengths, keys = np.array([23, 4], dtype=np.int64), np.array([5, 6], dtype=np.uint64)
    for policy in Overlong:
        cut(lengths, max_residues=10, policy=policy, record_keys=keys, seed=0)
    assert_array_equal(lengths, [23, 4])
    assert_array_equal(keys, [5, 6])
