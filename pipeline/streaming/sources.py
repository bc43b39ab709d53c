"""What a reader reads: one dataset, several as successive epochs, or a mixture of several by weight.

::

    "shards/"                            every epoch reads it
    ["epoch-0/", "epoch-1/", …]          epoch e reads number e, and after the last one the first again
    {"uniref50/": 0.7, "bfd/": 0.3}      an epoch has so much of each (core/group_index.py)

The files of all datasets are numbered through, so that whoever reads row groups need not know where they are from. Rows
of several datasets can only share a stream if they are alike: length, alignment, tokenizer and rows of a row group.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.core.group_index import GroupIndex, Groups, Ingredient, MixedGroups, StoredGroups
from pipeline.core.lanes import Int64Array
from pipeline.core.tokenizer import Tokenizer
from pipeline.errors import ConfigurationError
from pipeline.formats.manifest import digest_of
from pipeline.formats.remote_shard import FetchedRanges
from pipeline.formats.shards import RowGroup
from pipeline.streaming.shard_folder import ShardFolder
from pipeline.streaming.shard_set import ShardSet

Paths = str | Path | Sequence[str | Path] | Mapping[str | Path, float]
"""What a reader can be given."""

_ALIKE = ("length", "alignment", "rows_per_group", "tokenizer", "is_concatenated")


class Shards:
    """The files of one or more datasets, numbered through.

    Args:
        sets: The datasets.
        names: What each is called, for messages.

    Raises:
        ConfigurationError: Their rows are not alike.
    """

    def __init__(self, sets: Sequence[ShardSet], names: Sequence[str]) -> None:
        first = sets[0]
        for name, other in zip(names, sets, strict=True):
            _check_alike(names[0], first, name, other)
        self.sets = tuple(sets)
        self.length = first.length
        self.alignment = first.alignment
        self.rows_per_group = first.rows_per_group
        self.tokenizer = first.tokenizer
        self.is_concatenated = first.is_concatenated
        self.most_segments = max(one.most_segments for one in sets)
        self.is_remote = any(one.is_remote for one in sets)
        self.rows_of_files: Int64Array = np.concatenate([one.rows_of_files for one in sets])
        self.first_files = np.cumsum([0, *(len(one.rows_of_files) for one in sets)])
        folders = [f"{name}/" for name in names] if len(sets) > 1 else [""]
        self.paths = [folder + path for folder, one in zip(folders, sets, strict=True) for path in one.paths]

    def _at(self, file: int) -> tuple[ShardSet, int]:
        number = int(np.searchsorted(self.first_files, file, side="right")) - 1
        return self.sets[number], file - int(self.first_files[number])

    def is_unreadable(self, file: int) -> bool:
        """Whether no row group of this file could be read when one was tried last."""
        shards, own = self._at(file)
        return shards.is_unreadable(own)

    def fetch(self, file: int, group: int, columns: Sequence[str], stop: threading.Event) -> FetchedRanges | None:
        """Get the bytes of a row group, if its dataset is remote. See :meth:`ShardSet.fetch`."""
        shards, own = self._at(file)
        return shards.fetch(own, group, columns, stop) if shards.is_remote else None

    def read(self, file: int, group: int, *, columns: Sequence[str], source: FetchedRanges | None = None) -> RowGroup:
        """Decode a row group. See :meth:`ShardSet.read`."""
        shards, own = self._at(file)
        return shards.read(own, group, columns=columns, source=source)


class Source(Protocol):
    """Which row groups of the shards an epoch has."""

    shards: Shards

    def fingerprint(self, epoch: int) -> str:
        """Of what the epoch reads."""
        ...

    def groups(self, *, seed: int, epoch: int) -> GroupIndex:
        """Its row groups."""
        ...


class Successive:
    """One dataset an epoch, in turns."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def _number(self, epoch: int) -> int:
        return epoch % len(self.shards.sets)

    def fingerprint(self, epoch: int) -> str:
        """Of the dataset that the epoch reads: a list that has grown meanwhile can be gone on with."""
        return self.shards.sets[self._number(epoch)].fingerprint

    def groups(self, *, seed: int, epoch: int) -> GroupIndex:
        """All row groups of the dataset."""
        del seed
        number = self._number(epoch)
        stored = _stored(self.shards.sets[number])
        return stored if number == 0 else _Shifted(stored, int(self.shards.first_files[number]))


class Mixture:
    """Row groups of several datasets by weight."""

    def __init__(self, shards: Shards, weights: Sequence[float]) -> None:
        self.shards = shards
        self._weights = tuple(weights)
        self._ingredients = [Ingredient(_stored(one), one.fingerprint) for one in shards.sets]
        MixedGroups(self._ingredients, self._weights, seed=0, epoch=0)  # raises where the weights cannot be

    def fingerprint(self, epoch: int) -> str:
        """Of the datasets and their shares."""
        del epoch
        shares = [round(weight / sum(self._weights), 9) for weight in self._weights]
        return digest_of(["mixture", [one.fingerprint for one in self._ingredients], shares])

    def groups(self, *, seed: int, epoch: int) -> GroupIndex:
        """The row groups that the epoch takes."""
        return MixedGroups(self._ingredients, self._weights, seed=seed, epoch=epoch)


class _Shifted:
    """Row groups of files that are not the first ones."""

    def __init__(self, groups: StoredGroups, first_file: int) -> None:
        self._groups = groups
        self._first_file = first_file
        self.rows_per_group = groups.rows_per_group
        self.num_groups = groups.num_groups
        self.num_rows = groups.num_rows

    def at(self, index: Int64Array) -> Groups:
        found = self._groups.at(index)
        return found._replace(file=found.file + self._first_file)

    def short(self) -> tuple[Int64Array, Int64Array]:
        return self._groups.short()


def open_source(paths: Paths, opener: Callable[[str | Path], ShardFolder], split: str, *, shuffle: bool) -> Source:
    """What a reader was given.

    Args:
        paths: A path or address; a list of them; or a mapping of them to weights.
        opener: Opens one.
        split: train, valid or test.
        shuffle: Whether rows come in a seeded order.

    Raises:
        ConfigurationError: There is none, they are not alike, a weight cannot be, or a mixture is not to be shuffled.
    """
    if isinstance(paths, str | Path):
        return Successive(Shards([ShardSet(opener(paths), split)], [str(paths)]))
    if not paths:
        raise ConfigurationError("path: expected a shards folder, a list of them, or weights by folder, found none")
    names = [str(path) for path in paths]
    shards = Shards([ShardSet(opener(path), split) for path in paths], names)
    if not isinstance(paths, Mapping):
        return Successive(shards)
    if not shuffle:
        raise ConfigurationError("shuffle: expected True with a mixture, whose datasets would come one after the other")
    return Mixture(shards, [float(weight) for weight in paths.values()])


def _stored(shards: ShardSet) -> StoredGroups:
    return StoredGroups(shards.rows_of_files, shards.rows_per_group)


def _check_alike(first_name: str, first: ShardSet, name: str, other: ShardSet) -> None:
    for what in _ALIKE:
        wanted, found = getattr(first, what), getattr(other, what)
        if wanted != found:
            raise ConfigurationError(
                f"{name}: {what.replace('_', ' ')}: expected {_told(wanted)} as in {first_name}, found {_told(found)}",
                hint="rows can share a stream only if they are alike: pack and shard with the same options",
            )


def _told(value: Any) -> str:
    return f"{value.name} with {len(value.tokens)} tokens" if isinstance(value, Tokenizer) else str(value)
