"""The row groups of a mixture: shares by weight, no repeats before a pass is over, epochs that go on."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.group_index import Ingredient, MixedGroups, StoredGroups
from pipeline.core.ordering import EpochOrder
from pipeline.errors import ConfigurationError

ROWS_PER_GROUP = 8


def ingredients(*rows_of_files):
    return [Ingredient(StoredGroups(rows, ROWS_PER_GROUP), f"fingerprint {rows}") for rows in rows_of_files]


def groups_of(mixture):
    """(file, group) of every number."""
    found = mixture.at(np.arange(mixture.num_groups))
    assert (found.num_rows > 0).all()
    assert found.num_rows.sum() == mixture.num_rows
    return list(zip(found.file.tolist(), found.group.tolist(), strict=True))


@given(
    first=st.lists(st.integers(1, 200), min_size=1, max_size=3),
    second=st.lists(st.integers(1, 200), min_size=1, max_size=3),
    weights=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)),
    seed=st.integers(0, 5),
)
def test_epochs_go_through_each_dataset_pass_by_pass_in_proportion(first, second, weights, seed):
    parts = ingredients(first, second)
    epochs = []
    for epoch in range(4):
        try:
            mixture = MixedGroups(parts, weights, seed=seed, epoch=epoch)
        except ConfigurationError:
            assert min(part.groups.num_groups for part in parts) <= max(weights) / min(weights)
            return
        epochs.append(groups_of(mixture))
        short, rows = mixture.short()
        found = mixture.at(np.arange(mixture.num_groups)).num_rows
        assert sorted(short.tolist()) == np.flatnonzero(found < ROWS_PER_GROUP).tolist()
        assert found[short].tolist() == rows.tolist()
    for number, part in enumerate(parts):
        files = range(len(first)) if number == 0 else range(len(first), len(first) + len(second))
        taken = [[one for one in epoch if one[0] in files] for epoch in epochs]
        assert len(set(taken[0])) == len(taken[0])  # the first epoch repeats nothing
        stream = [one for epoch in taken for one in epoch]
        counts = Counter(stream)
        whole_passes, rest = divmod(len(stream), part.groups.num_groups)
        assert set(counts.values()) <= {whole_passes, whole_passes + 1}
        assert (
            sum(count - whole_passes for count in counts.values())
            + whole_passes * (part.groups.num_groups - len(counts)) * (whole_passes == 0)
            == rest
        )
        expected = sum(map(len, epochs)) * weights[number] / sum(weights)
        assert abs(len(stream) - expected) <= 2.01


def test_another_seed_or_dataset_is_another_order():
    def first(seed, *rows):
        return groups_of(MixedGroups(ingredients(*rows), (1, 1), seed=seed, epoch=0))

    assert first(0, [400], [400]) == first(0, [400], [400])
    assert first(0, [400], [400]) != first(1, [400], [400])
    one = [group for file, group in first(0, [400], [400]) if file == 0]
    other = [group for file, group in first(0, [400], [400, 1]) if file == 0]
    assert one[: len(other)] == other[: len(one)]  # what stands beside it does not matter


def test_an_epoch_ends_when_the_first_dataset_has_been_gone_through():
    parts = ingredients([80 * ROWS_PER_GROUP], [1000 * ROWS_PER_GROUP])
    counts = Counter(file for file, _ in groups_of(MixedGroups(parts, (0.2, 0.8), seed=0, epoch=0)))
    assert counts[0] == pytest.approx(80, abs=1)
    assert counts[1] == pytest.approx(320, abs=1)


def test_rows_of_a_mixture_come_once_an_epoch_in_the_lanes():
    parts = ingredients([300, 5], [77, 901])
    order = EpochOrder(MixedGroups(parts, (1, 1), seed=3, epoch=2), fingerprint="mixture", seed=3, epoch=2)
    found = order.locate(np.arange(order.num_rows))
    rows = set(zip(found.file.tolist(), found.group.tolist(), found.row.tolist(), strict=True))
    assert len(rows) >= order.num_rows - 2 * ROWS_PER_GROUP  # a pass that ends in this epoch and another that begins
    position = order.positions_of(np.zeros(1), np.zeros(1))
    assert 0 <= position[0] < order.num_rows


@pytest.mark.parametrize("weights", [(0, 1), (-1, 2), (float("nan"), 1), (1, 1e-9)])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(ConfigurationError, match="weights of a mixture: expected"):
        MixedGroups(ingredients([100], [100]), weights, seed=0, epoch=0)
