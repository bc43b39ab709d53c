"""The row groups of an epoch, by number: those of one dataset, or of several mixed by weight.

::

    one dataset     0 1 2 3 4 5 │ 6 7 8 …                 row groups of file 0, of file 1, …
    a mixture       A₃ A₀ A₄ A₁ A₅ │ B₇ B₂ B₉ B₁           of each dataset as many as its weight says, without repeats
                                                          until it has been gone through

A mixture goes through each dataset in passes: each pass takes its row groups in another seeded order, and an epoch goes
on where the one before stopped. An epoch has as many row groups as can be had before the first dataset would begin its
second pass; over all epochs so far, each dataset has had its share to within a few row groups.

Memory does not grow with the rows: a few numbers for each file, whose last row group may be short.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.permutation import Permutation
from pipeline.core.ragged import offsets_of
from pipeline.core.randomness import PURPOSE_MIXTURE, derive_key, words_of
from pipeline.errors import ConfigurationError

Int64Array = npt.NDArray[np.int64]

_WEIGHT_UNITS = 1 << 20
"""Weights are rounded to so many parts of the whole, so that shares can be computed in integers."""


class Groups(NamedTuple):
    """Row groups; int64 arrays of one shape."""

    file: Int64Array
    """Index of the file."""
    group: Int64Array
    """Row group within the file."""
    num_rows: Int64Array
    """How many rows it has."""


class GroupIndex(Protocol):
    """The row groups of an epoch, numbered from 0."""

    rows_per_group: int
    """Of every row group but the short ones."""
    num_groups: int
    num_rows: int

    def at(self, index: Int64Array) -> Groups:
        """The row groups of some numbers."""
        ...

    def short(self) -> tuple[Int64Array, Int64Array]:
        """Numbers and rows of those that are not full."""
        ...


class StoredGroups:
    """Every row group of some files, in order.

    Args:
        rows_of_files: Rows of each file.
        rows_per_group: Rows of every row group but the last of a file.
    """

    def __init__(self, rows_of_files: npt.ArrayLike, rows_per_group: int) -> None:
        self._rows_of_files = np.asarray(rows_of_files, dtype=np.int64).reshape(-1)
        self._offsets = offsets_of(-(-self._rows_of_files // rows_per_group))
        self.rows_per_group = rows_per_group
        self.num_groups = int(self._offsets[-1])
        self.num_rows = int(self._rows_of_files.sum())
        self.num_files = len(self._rows_of_files)

    def at(self, index: Int64Array) -> Groups:
        """The row groups of some numbers."""
        file = np.searchsorted(self._offsets, index, side="right") - 1
        group = index - self._offsets[file]
        num_rows = np.minimum(self._rows_of_files[file] - group * self.rows_per_group, self.rows_per_group)
        return Groups(file, group, num_rows)

    def index_of(self, file: Int64Array, group: Int64Array) -> Int64Array:
        """The inverse of :meth:`at`."""
        return np.asarray(self._offsets[file] + group)

    def short(self) -> tuple[Int64Array, Int64Array]:
        """Numbers and rows of those that are not full: the last of a file."""
        rows = self._rows_of_files % self.rows_per_group
        files = np.flatnonzero(rows)
        return self._offsets[files + 1] - 1, rows[files]


class Ingredient(NamedTuple):
    """A dataset of a mixture."""

    groups: StoredGroups
    fingerprint: str
    """Of the dataset: what the order of its row groups is keyed on, beside the seed."""


class MixedGroups:
    """Row groups of several datasets in one epoch; files are numbered through.

    Args:
        ingredients: The datasets, with the same rows per group.
        weights: Positive, one for each; only their proportions count.
        seed: Of the run.
        epoch: Which epoch.

    Raises:
        ConfigurationError: A weight is not positive, or so small that an epoch would have no row group.
    """

    def __init__(self, ingredients: Sequence[Ingredient], weights: Sequence[float], *, seed: int, epoch: int) -> None:
        self.rows_per_group = ingredients[0].groups.rows_per_group
        self._ingredients = ingredients
        self._keys = [derive_key(PURPOSE_MIXTURE, *words_of(one.fingerprint), seed) for one in ingredients]
        stored = np.array([one.groups.num_groups for one in ingredients], dtype=np.int64)
        bounds = _bounds(weights)
        self.num_groups = _groups_of_epoch(stored, bounds)
        self._begun = _taken(bounds, epoch * self.num_groups)
        counts = _taken(bounds, (epoch + 1) * self.num_groups) - self._begun
        self._offsets = offsets_of(counts)
        self._file_offsets = np.cumsum([0, *(one.groups.num_files for one in ingredients)])
        self._permutations: dict[tuple[int, int], Permutation] = {}
        self.num_rows = self.num_groups * self.rows_per_group - int((self.rows_per_group - self.short()[1]).sum())

    def at(self, index: Int64Array) -> Groups:
        """The row groups of some numbers."""
        flat = np.asarray(index, dtype=np.int64).reshape(-1)
        file, group, num_rows = np.empty((3, len(flat)), dtype=np.int64)
        which = np.searchsorted(self._offsets, flat, side="right") - 1
        for number, ingredient in enumerate(self._ingredients):
            chosen = np.flatnonzero(which == number)
            if chosen.size:
                found = ingredient.groups.at(self._stored(number, flat[chosen] - self._offsets[number]))
                file[chosen] = found.file + self._file_offsets[number]
                group[chosen], num_rows[chosen] = found.group, found.num_rows
        shape = np.shape(index)
        return Groups(file.reshape(shape), group.reshape(shape), num_rows.reshape(shape))

    def short(self) -> tuple[Int64Array, Int64Array]:
        """Numbers and rows of those that are not full."""
        numbers, rows = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        for number, ingredient in enumerate(self._ingredients):
            stored, rows_of = ingredient.groups.short()
            for one_pass in self._passes(number):
                at = one_pass * ingredient.groups.num_groups + self._permutation(number, one_pass).backwards(stored)
                within = at - self._begun[number]
                is_in = (within >= 0) & (within < self._offsets[number + 1] - self._offsets[number])
                numbers.append(within[is_in] + self._offsets[number])
                rows.append(rows_of[is_in])
        return np.concatenate(numbers), np.concatenate(rows)

    def _stored(self, number: int, within: Int64Array) -> Int64Array:
        """Row groups of a dataset, by their number among those that the epoch takes of it."""
        one_pass, place = np.divmod(within + self._begun[number], self._ingredients[number].groups.num_groups)
        stored: Int64Array = np.empty_like(place)
        for value in np.unique(one_pass).tolist():
            is_in = one_pass == value
            stored[is_in] = self._permutation(number, value).forwards(place[is_in])
        return stored

    def _passes(self, number: int) -> range:
        """The passes through a dataset that the epoch touches."""
        begin, count = int(self._begun[number]), int(self._offsets[number + 1] - self._offsets[number])
        stored = self._ingredients[number].groups.num_groups
        return range(begin // stored, -(-(begin + count) // stored)) if count else range(0)

    def _permutation(self, number: int, one_pass: int) -> Permutation:
        if (number, one_pass) not in self._permutations:
            key = derive_key(PURPOSE_MIXTURE, self._keys[number], one_pass)
            self._permutations[number, one_pass] = Permutation(self._ingredients[number].groups.num_groups, key)
        return self._permutations[number, one_pass]


def _bounds(weights: Sequence[float]) -> list[int]:
    """Running sums of the weights in units, from 0 to ``_WEIGHT_UNITS``."""
    total = sum(weights)
    if not all(weight > 0 for weight in weights) or not total < float("inf"):
        raise ConfigurationError(
            f"weights of a mixture: expected positive numbers, found {', '.join(map(str, weights))}"
        )
    bounds = [round(sum(weights[:number]) / total * _WEIGHT_UNITS) for number in range(len(weights) + 1)]
    if any(low == high for low, high in pairwise(bounds)):
        raise ConfigurationError(
            f"weights of a mixture: expected each at least a millionth of the sum, found {weights}"
        )
    return bounds


def _groups_of_epoch(stored: Int64Array, bounds: list[int]) -> int:
    """The most row groups of which the first epoch takes each dataset's at most once."""
    shares = np.diff(bounds)
    most = min(int(number) * _WEIGHT_UNITS // int(share) for number, share in zip(stored, shares, strict=True))
    while most and (_taken(bounds, most) > stored).any():
        most -= 1
    if not most:
        raise ConfigurationError(
            "a mixture needs at least one row group of each dataset", hint="make smaller row groups"
        )
    return most


def _taken(bounds: list[int], num_groups: int) -> Int64Array:
    """How many of the first so many row groups are of each dataset: never decreasing as the number grows.

    The last dataset takes its share of all, the one before it its share of the rest, and so on. Each share is exact to
    within as many row groups as there are datasets.
    """
    # Python integers: an epoch number times a number of row groups times the units may pass 2^63.
    taken: list[int] = []
    for low, high in reversed(list(pairwise(bounds))):
        rest = num_groups * low // high
        taken.insert(0, num_groups - rest)
        num_groups = rest
    return np.array(taken, dtype=np.int64)
