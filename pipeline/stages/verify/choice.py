"""Which records of a part each split must have, from the files of the clusters alone, and why others are in none.

Derived anew, not with the code that packed: every record's own hash, number by number, instead of that of each name. ::

    excluded is given         left out under that reason
    split is valid or test    taken
    sample all                taken
    sample weight             taken if the upper 53 bits of draw(seed, epoch, record key) are below weight · 2^53
    sample one-per-cluster    taken if draw(seed, epoch, xxh3_64 of the representative) mod cluster_size is member_index
    else                      left out as not drawn
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.randomness import PURPOSE_KEEP, PURPOSE_MEMBER, derive_key, draw
from pipeline.core.sampling import Sample
from pipeline.errors import IntegrityError
from pipeline.formats.clusters import TRAIN, level_columns
from pipeline.formats.corpus import record_keys as record_keys_of
from pipeline.formats.parquet import read_columns
from pipeline.formats.plan import NOT_DRAWN, SPLITS

Keys = npt.NDArray[np.uint64]

LEFT_OUT = "left out: "
"""Before the name of a reason, among the counts of what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The records of one split."""

    is_taken: npt.NDArray[np.bool_]
    """[records] of the part."""
    why: Callable[[int], str]
    """What is known of a record by its number, to be put into a finding; nothing where there are no clusters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What is to become of the records of a part."""

    of_split: dict[str, Choice]
    """By split; train alone where there are no clusters."""
    counts: dict[str, int]
    """Records left out, by reason."""
    has_clusters: bool


def all_of(num_records: int) -> Choice:
    """Every record."""
    return Choice(is_taken=np.ones(num_records, dtype=np.bool_), why=lambda _: "")


def everything(num_records: int) -> Choices:
    """A part without clusters: all of it is train."""
    return Choices(of_split={TRAIN: all_of(num_records)}, counts={}, has_clusters=False)


def choices_of(path: Path, record_keys: Keys, configuration: dict[str, Any]) -> Choices:
    """What clusters and an epoch's draw make of the records of a part.

    Args:
        path: The clusters of the part.
        record_keys: uint64 [records], of the corpus part.
        configuration: Of the plan or of the shards.

    Raises:
        IntegrityError: The clusters cannot be read, or are not those of this part.
    """
    table = read_columns(path)
    needed = ["split", "excluded", "weight", *level_columns(configuration.get("level", 1) - 1)]
    if missing := [name for name in needed if name not in table.column_names]:
        raise IntegrityError(f"{path}: expected the column {missing[0]} of clusters, found none")
    if table.num_rows != len(record_keys):
        raise IntegrityError(
            f"{path}: expected {len(record_keys):,} records, as in the corpus, found {table.num_rows:,}"
        )
    is_excluded = pc.is_valid(table.column("excluded")).to_numpy(zero_copy_only=False)
    of_split = {split: _is(table, "split", split) & ~is_excluded for split in SPLITS}
    unknown = ~(is_excluded | np.logical_or.reduce(list(of_split.values())))
    if unknown.any():
        raise IntegrityError(
            f"{path}: record {int(unknown.argmax())}: it has neither a split nor a reason to exclude it"
        )
    is_left = of_split[TRAIN] & ~_RULES[configuration["sample"]](table, record_keys, configuration)
    of_split[TRAIN] = of_split[TRAIN] & ~is_left

    def why(record: int) -> str:
        split, reason = (table.column(name)[record].as_py() for name in ("split", "excluded"))
        if is_excluded[record]:
            return f", as it is excluded ({reason})"
        return f", as it is of {split}{' and not drawn' if is_left[record] else ''}"

    reasons = table.column("excluded").combine_chunks().dictionary_decode().drop_null().value_counts().to_pylist()
    counts = {NOT_DRAWN: int(is_left.sum())} | {item["values"]: item["counts"] for item in reasons}
    return Choices(
        of_split={split: Choice(is_taken=taken, why=why) for split, taken in of_split.items()},
        counts={f"{LEFT_OUT}{reason}": number for reason, number in counts.items()},
        has_clusters=True,
    )


def _is(table: pa.Table, column: str, value: str) -> npt.NDArray[np.bool_]:
    values = table.column(column).combine_chunks().dictionary_decode()
    return np.asarray(pc.equal(values, value).fill_null(False).to_numpy(zero_copy_only=False))  # noqa: FBT003


def _all(table: pa.Table, keys: Keys, configuration: dict[str, Any]) -> npt.NDArray[np.bool_]:
    del table, configuration
    return np.ones(len(keys), dtype=np.bool_)


def _by_weight(table: pa.Table, keys: Keys, configuration: dict[str, Any]) -> npt.NDArray[np.bool_]:
    bits = draw(derive_key(PURPOSE_KEEP, configuration["seed"], configuration["epoch"], keys), 0)
    weights = table.column("weight").to_numpy().astype(np.float64)
    return np.asarray((bits >> np.uint64(11)).astype(np.float64) < weights * 2.0**53)


def _one_per_cluster(table: pa.Table, keys: Keys, configuration: dict[str, Any]) -> npt.NDArray[np.bool_]:
    del keys
    representative, size, index = (table.column(name) for name in level_columns(configuration["level"] - 1))
    names = record_keys_of(representative.combine_chunks())
    bits = draw(derive_key(PURPOSE_MEMBER, configuration["seed"], configuration["epoch"], names), 0)
    sizes, indices = (column.to_numpy().astype(np.uint64) for column in (size, index))
    return np.asarray(bits - bits // np.maximum(sizes, np.uint64(1)) * sizes == indices)


_Rule = Callable[[pa.Table, Keys, dict[str, Any]], npt.NDArray[np.bool_]]
_RULES: dict[str, _Rule] = {
    Sample.ALL: _all,
    Sample.WEIGHT: _by_weight,
    Sample.ONE_PER_CLUSTER: _one_per_cluster,
}
