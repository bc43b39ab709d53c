"""Packing: every item once, the algorithm's bins whatever the seed, and an order that betrays nothing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core import packing, row_order, sort_keys
from pipeline.core import placement as placements
from pipeline.core.packing import ALGORITHMS, MAX_ITEMS, length_histogram, lower_bound, pack
from pipeline.errors import ConfigurationError

names = pytest.mark.parametrize("algorithm", ALGORITHMS)


def protein_lengths(num_records, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(rng.lognormal(5.2, 0.85, num_records), 11, 1022).astype(np.uint32) + 2


def rows_of(placement, lengths):
    """The lengths in each row, by slot."""
    ordered = np.asarray(lengths)[placement.order].tolist()
    return [ordered[start:end] for start, end in pairwise(placement.row_offsets.tolist())]


def bins_of(lengths, capacity, algorithm, max_segments=packing.MAX_SEGMENTS):
    """The algorithm's bins: sorted lists of lengths, in opening order."""
    fills = ALGORITHMS[algorithm](
        length_histogram(np.asarray(lengths, dtype=np.int64), capacity), capacity, max_segments
    )
    bins = [[] for _ in range(fills.total_bins)]
    for length, first_bin, num_bins, per_bin in zip(
        fills.length, fills.first_bin, fills.num_bins, fills.per_bin, strict=True
    ):
        for number in range(first_bin, first_bin + num_bins):
            bins[number] += [int(length)] * int(per_bin)
    return [sorted(items) for items in bins]


lengths_and_capacity = st.integers(1, 60).flatmap(
    lambda capacity: st.tuples(st.lists(st.integers(1, capacity), max_size=120), st.just(capacity))
)
seeds = st.integers(-(2**70), 2**70)


@names
@given(lengths_and_capacity, seeds, st.sampled_from([1, 2, 4, 32_767]))
def test_each_item_has_one_place_and_rows_hold_what_the_algorithm_put_in_a_bin(algorithm, problem, seed, max_segments):
    lengths, capacity = problem
    placement = pack(lengths, capacity, algorithm=algorithm, seed=seed, max_segments=max_segments)
    rows = rows_of(placement, lengths)
    expected = bins_of(lengths, capacity, algorithm, max_segments)
    assert sorted(placement.order.tolist()) == list(range(len(lengths)))
    assert sorted(sorted(row) for row in rows) == sorted(expected)
    assert placement.num_rows == len(expected)
    assert all(sum(row) <= capacity and 1 <= len(row) <= max_segments for row in rows)


@names
@given(lengths_and_capacity, seeds)
def test_row_slot_and_order_say_the_same(algorithm, problem, seed):
    lengths, capacity = problem
    placement = pack(lengths, capacity, algorithm=algorithm, seed=seed)
    assert_array_equal(placement.order, np.lexsort((placement.slot, placement.row)))
    assert_array_equal(np.bincount(placement.row, minlength=placement.num_rows), np.diff(placement.row_offsets))
    for start, end in pairwise(placement.row_offsets.tolist()):
        assert_array_equal(placement.slot[placement.order[start:end]], np.arange(end - start))
    assert (placement.row.dtype, placement.slot.dtype, placement.order.dtype) == (np.uint32, np.uint16, np.uint32)
    assert placement.row_offsets.dtype == np.int64


@pytest.mark.parametrize("order", ["random", "balanced"])
def test_chunks_do_not_show(monkeypatch, order):
    """Chunks of 64 places cut fills and rows at every possible point; the result is that of one chunk."""
    lengths = protein_lengths(3000)
    whole = pack(lengths, 1024, seed=5, order=order)
    assert_array_equal(whole.row[whole.order], whole.ordered_row())  # so that whole.row is computed in one chunk too
    assert_array_equal(whole.slot[whole.order], whole.ordered_slot())
    for module in (packing, placements, row_order, sort_keys):
        monkeypatch.setattr(module, "CHUNK", 64)
    monkeypatch.setattr(packing, "_HISTOGRAM_CHUNK", 100)
    chunked = pack(lengths, 1024, seed=5, order=order)
    assert_array_equal(whole.order, chunked.order)
    assert_array_equal(whole.row, chunked.row)
    assert_array_equal(whole.slot, chunked.slot)
    assert_array_equal(whole.ordered_row(), chunked.ordered_row())
    assert_array_equal(whole.ordered_slot(), chunked.ordered_slot())


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.uint16, ">u2", np.int32, np.uint32, np.int64, np.uint64, ">i8"]
)
def test_the_dtype_of_lengths_does_not_matter(dtype):
    lengths = np.random.default_rng(1).integers(1, 120, 500)
    expected, placement = pack(lengths, 127, seed=2), pack(lengths.astype(dtype), 127, seed=2)
    assert_array_equal(placement.order, expected.order)
    assert_array_equal(placement.row_offsets, expected.row_offsets)


def test_strides_and_lists_do_not_matter():
    lengths = protein_lengths(1000)
    expected = pack(lengths, 1024).order
    assert_array_equal(pack(np.stack((lengths, lengths[::-1]), axis=1)[:, 0], 1024).order, expected)
    assert_array_equal(pack(lengths.tolist(), 1024).order, expected)


@names
def test_nothing_to_pack(algorithm):
    for empty in ([], np.zeros(0, dtype=np.uint32)):
        placement = pack(empty, 1024, algorithm=algorithm)
        assert placement.num_rows == 0
        assert len(placement.row) == len(placement.slot) == len(placement.order) == 0


def test_a_row_may_be_of_full_length_or_one_token():
    assert pack([1 << 20, 1], 1 << 20).num_rows == 2
    assert pack([1, 1, 1], 1).num_rows == 3


def test_a_row_never_has_more_segments_than_sequence_id_can_number():
    placement = pack(np.ones(70_000, dtype=np.uint8), 1 << 20)
    assert sorted(np.diff(placement.row_offsets).tolist()) == [70_000 - 2 * 32_767, 32_767, 32_767]
    assert placement.slot.max() == 32_766


@names
@pytest.mark.parametrize("num_records", [2, 5, 2000])
def test_the_seed_changes_places_but_not_rows(algorithm, num_records):
    lengths = protein_lengths(num_records)
    placements = [pack(lengths, 1024, algorithm=algorithm, seed=seed) for seed in range(8)]
    contents = [sorted(sorted(row) for row in rows_of(placement, lengths)) for placement in placements]
    assert all(content == contents[0] for content in contents)
    assert len({placement.order.tobytes() for placement in placements}) > 1


def test_golden_placement():
    """Computed once and never to change: a plan made today must be made again in ten years."""
    lengths = [7, 3, 3, 9, 7, 3, 10, 3, 1, 5, 5, 2, 2, 2, 4]
    placement = pack(lengths, 10, seed=7)
    assert placement.order.tolist() == GOLDEN_ORDER
    assert placement.row_offsets.tolist() == GOLDEN_ROW_OFFSETS
    assert pack(lengths, 10, seed=8, algorithm="pad").order.tolist() == GOLDEN_PADDED_ORDER


GOLDEN_ORDER = [11, 13, 12, 7, 1, 14, 2, 0, 6, 3, 8, 4, 5, 9, 10]
GOLDEN_ROW_OFFSETS = [0, 3, 6, 8, 9, 11, 13, 15]
GOLDEN_PADDED_ORDER = [13, 2, 5, 1, 6, 10, 7, 4, 14, 0, 12, 11, 9, 8, 3]


def rank_correlation(x, y):
    """Between ranks, equal values sharing one."""
    ranks = [np.unique(values, return_inverse=True)[1] for values in (x, y)]
    return float(np.corrcoef(*ranks)[0, 1])


@pytest.fixture(scope="module")
def packed_proteins():
    lengths = protein_lengths(60_000)
    return lengths, pack(lengths, 1024, seed=3)


def test_bins_in_opening_order_are_what_the_next_tests_would_notice(packed_proteins):
    """The control: without permutations each statistic is far from what it may be."""
    lengths, _ = packed_proteins
    bins = bins_of(lengths, 1024, "first-fit-decreasing")
    number = np.arange(len(bins))
    assert abs(rank_correlation(number, [len(items) for items in bins])) > 0.5
    assert abs(rank_correlation(number, [items[-1] for items in bins])) > 0.5


@pytest.mark.parametrize(
    "statistic",
    [
        pytest.param(len, id="segments"),
        pytest.param(max, id="longest"),
        pytest.param(min, id="shortest"),
        pytest.param(sum, id="tokens"),
        pytest.param(lambda row: sum(length**2 for length in row), id="attention cost"),
    ],
)
def test_the_order_of_rows_betrays_nothing(packed_proteins, statistic):
    lengths, placement = packed_proteins
    values = np.array([statistic(row) for row in rows_of(placement, lengths)])
    # Four standard deviations of a rank correlation between independent values.
    limit = 4 / np.sqrt(placement.num_rows)
    assert abs(rank_correlation(np.arange(len(values)), values)) < limit
    assert abs(rank_correlation(values[:-1], values[1:])) < limit


def test_the_order_in_a_row_betrays_nothing(packed_proteins):
    lengths, placement = packed_proteins
    rows = [row for row in rows_of(placement, lengths) if len(set(row)) == len(row) > 1]
    longest_first = np.mean([row.index(max(row)) == 0 for row in rows])
    expected = np.mean([1 / len(row) for row in rows])
    assert abs(longest_first - expected) < 4 * np.sqrt(0.25 / len(rows))
    falling = np.mean([first > second for row in rows for first, second in pairwise(row)])
    assert abs(falling - 0.5) < 4 * np.sqrt(0.25 / len(rows))


def test_the_order_of_input_betrays_nothing(packed_proteins):
    """Accessions and sources are sorted in many a corpus: neither row nor slot may follow the number of the item."""
    _, placement = packed_proteins
    item = np.arange(len(placement.row))
    limit = 4 / np.sqrt(len(item))
    assert abs(rank_correlation(item, placement.row)) < limit
    assert abs(rank_correlation(item, placement.slot)) < limit
    assert abs(rank_correlation(placement.row[:-1], placement.row[1:])) < limit


def test_equal_lengths_are_dealt_by_chance():
    """Which of 6 equal items share a row: all 15 ways to choose the first item's company are met, none too often."""
    partners = np.zeros(6, dtype=int)
    num_seeds = 3000
    for seed in range(num_seeds):
        placement = pack([5] * 6, 10, seed=seed)
        partners += placement.row == placement.row[0]
    share = partners[1:] / num_seeds
    assert np.all(np.abs(share - 1 / 5) < 4 * np.sqrt(0.16 / num_seeds))


def fewest_rows(lengths, capacity, max_segments):
    """By trying everything."""

    def search(rest, rows, best):
        if len(rows) >= best:
            return best
        if not rest:
            return len(rows)
        for number, (free, count) in enumerate(rows):
            if free >= rest[0] and count < max_segments:
                tried = [*rows[:number], (free - rest[0], count + 1), *rows[number + 1 :]]
                best = search(rest[1:], tried, best)
        return search(rest[1:], [*rows, (capacity - rest[0], 1)], best)

    return search(sorted(lengths, reverse=True), [], len(lengths) + 1)


few_lengths_and_capacity = st.integers(1, 20).flatmap(
    lambda capacity: st.tuples(st.lists(st.integers(1, capacity), max_size=7), st.just(capacity))
)


@given(few_lengths_and_capacity, st.sampled_from([1, 2, 3, 32_767]))
def test_lower_bound_is_one(problem, max_segments):
    lengths, capacity = problem
    bound = lower_bound(length_histogram(np.array(lengths, dtype=np.int64), capacity), capacity, max_segments)
    assert max(-(-sum(lengths) // capacity), -(-len(lengths) // max_segments)) <= bound
    assert bound <= fewest_rows(lengths, capacity, max_segments)


@pytest.mark.parametrize(
    ("lengths", "capacity", "expected"),
    [
        ([], 10, 0),
        ([6, 6, 6], 10, 3),  # no two share: 2 by tokens alone
        ([5, 5, 5], 10, 2),
        ([7, 7, 4], 10, 3),  # the 4 does not fit beside a 7: 2 by tokens, 2 by the long ones
        ([7, 7, 3, 3], 10, 2),
        ([1] * 10, 10, 1),
    ],
)
def test_lower_bound_by_hand(lengths, capacity, expected):
    assert lower_bound(length_histogram(np.array(lengths, dtype=np.int64), capacity), capacity) == expected


def test_proteins_are_packed_almost_at_the_lower_bound():
    lengths = protein_lengths(100_000)
    bound = lower_bound(length_histogram(lengths, 1024), 1024)
    assert bound <= pack(lengths, 1024).num_rows <= bound * 1.0007


@given(st.lists(st.integers(0, 30), max_size=50), st.lists(st.integers(0, 30), max_size=50))
def test_histograms_add_up(left, right):
    parts = [length_histogram(np.array(part, dtype=np.int64), 30) for part in (left, right)]
    both = length_histogram(np.array(left + right, dtype=np.int64), 30)
    assert_array_equal(parts[0] + parts[1], both)
    assert both.tolist() == [(left + right).count(length) for length in range(31)]


@given(st.lists(st.integers(1, 10), min_size=1, max_size=20), st.integers(0, 19), st.integers(-300, 300))
def test_an_item_that_cannot_be_placed_is_named(lengths, item, length):
    assume(item < len(lengths) and not 1 <= length <= 10)
    lengths[item] = length
    with pytest.raises(ConfigurationError, match=rf"item {item} has {length:,} tokens, .* 1 to 10\b"):
        pack(lengths, 10)


def test_lengths_that_wrap_in_their_own_dtype_are_refused():
    with pytest.raises(ConfigurationError, match="item 1 has 18,446,744,073,709,551,615 tokens"):
        pack(np.array([1, 2**64 - 1], dtype=np.uint64), 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], 10), "one dimension of integers, found 1 of float64"),
        (([[1]], 10), "one dimension of integers, found 2 of int64"),
        (([1], 0), "row length must be 1 to 1,048,576, found 0"),
        (([1], 2**20 + 1), "row length must be 1 to 1,048,576, found 1,048,577"),
        ((np.broadcast_to(np.uint8(1), MAX_ITEMS + 1), 10), "up to 1,073,741,823 items, found 1,073,741,824"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        pack(*arguments)


@pytest.mark.parametrize("max_segments", [0, 32_768])
def test_most_segments_a_row_is_what_the_formats_can_number(max_segments):
    with pytest.raises(ConfigurationError, match="most segments a row must be 1 to 32,767"):
        pack([1], 10, max_segments=max_segments)


def test_an_unknown_algorithm_is_answered_with_the_known_ones():
    with pytest.raises(
        ConfigurationError, match=r"'best' is not known .*first-fit-decreasing, best-fit-decreasing, pad"
    ):
        pack([1], 10, algorithm="best")
