"""Laws of the keyed permutation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.permutation import Permutation
from pipeline.core.randomness import draw

keys = st.integers(0, 2**64 - 1)


@given(size=st.integers(1, 3000), key=keys)
def test_every_value_is_taken_once(size: int, key: int) -> None:
    taken = Permutation(size, key).forwards(np.arange(size))
    assert np.array_equal(np.sort(taken), np.arange(size))


@given(size=st.integers(1, 2**62), key=keys, data=st.data())
def test_backwards_undoes_forwards(size: int, key: int, data: st.DataObject) -> None:
    values = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20)))
    permutation = Permutation(size, key)
    there = permutation.forwards(values)
    assert there.dtype == np.int64
    assert there.min() >= 0
    assert there.max() < size
    assert np.array_equal(permutation.backwards(there), values)


@given(size=st.integers(1, 1000), key=keys)
def test_shape_is_kept_and_values_do_not_depend_on_their_company(size: int, key: int) -> None:
    permutation = Permutation(size, key)
    alone = [int(permutation.forwards(value)) for value in range(min(size, 6))]
    together = permutation.forwards(np.arange(min(size, 6)).reshape(-1, 1))
    assert together.shape == (min(size, 6), 1)
    assert together[:, 0].tolist() == alone


def test_golden_vectors() -> None:
    assert Permutation(10, 1).forwards(np.arange(10)).tolist() == [3, 7, 0, 5, 8, 6, 9, 2, 4, 1]
    assert Permutation(1_000_003, 2**64 - 1).forwards([0, 1, 2, 3]).tolist() == [860057, 350133, 854827, 813734]
    assert Permutation(2**62, 7).forwards([0, 1]).tolist() == [3692914811885480892, 2326963921560415436]


@pytest.mark.parametrize("size", [7, 64])
def test_places_and_distances_of_neighbours_are_uniform_over_keys(size: int) -> None:
    # Four rounds instead of eight give 11 for the distances at size 64.
    num_keys = 1000
    tables = np.array([Permutation(size, int(key)).forwards(np.arange(size)) for key in draw(5, np.arange(num_keys))])
    places = np.array([np.bincount(column, minlength=size) for column in tables.T])
    assert _chi_squared(places) / (size - 1) ** 2 < 1.3
    distances = np.bincount(((tables[:, 1:] - tables[:, :-1]) % size).ravel(), minlength=size)[1:]
    assert _chi_squared(distances) / (size - 2) < 2


def _chi_squared(counts: np.ndarray) -> float:
    return float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
