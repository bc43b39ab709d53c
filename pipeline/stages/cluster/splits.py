"""Which split each cluster of the coarsest level is in.

::

    split      train, valid or test, by a hash of (seed, record key of the representative), uniform in [0, 1)
    pinned     an earlier split of some records counts instead, for all members of their clusters

    names of records ─┐ by the hash of the name
    earlier split ────┴─▶ join_pins ─▶ by part of the record ─▶ mark_part ─▶ a byte for each record ─▶ rank_bucket

A representative that is no record of the corpus, as those of existing clusters need not be, counts by ``xxh3_64`` of
its name. Where earlier splits of a cluster's members differ, test counts before valid, and valid before train: nothing
that was held out is ever trained on. A record that was excluded says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.randomness import PURPOSE_SPLIT, UInt64Array, derive_key, draw, uniform
from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.formats.clusters import CLUSTER_SPLITS, TEST, TRAIN, VALID
from pipeline.formats.exchange import exchange_writer, read_bucket, scratch_paths
from pipeline.formats.splits import PIN_SCHEMA, read_splits
from pipeline.formats.storage import atomic_path
from pipeline.stages.cluster.layout import CorpusLayout, Int64Array, name_buckets
from pipeline.stages.cluster.names import NAME_SCHEMA, first_names

PINNED_SCHEMA = pa.schema([("number", pa.int64()), ("split", pa.int8())])
NOT_PINNED = np.int8(-1)

Int8Array = npt.NDArray[np.int8]
_TRAIN, _VALID, _TEST = (CLUSTER_SPLITS.index(split) for split in (TRAIN, VALID, TEST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Splitting:
    """What decides which split a cluster is in."""

    valid_fraction: float = 0.0
    test_fraction: float = 0.0
    seed: int = 0
    is_pinned: bool = False
    """Whether there is a byte for each record, with its earlier split."""


def read_pins(folder: Path, *, corpus: CorpusLayout, path: str) -> TaskResult:
    """The rows of an earlier split, by the hash of the name."""
    made, num_rows = f"{SCRATCH_NAME}/earlier.arrow", 0
    with exchange_writer(folder / made, PIN_SCHEMA, corpus.num_parts) as exchange:
        for rows in read_splits(Path(path)):
            num_rows += rows.num_rows
            columns = {name: rows.column(name) for name in rows.column_names}
            exchange.add(columns, name_buckets(columns["name"], corpus.num_parts))
    return TaskResult(scratch={made: (folder / made).stat().st_size}, counts={"pins_read": num_rows})


def join_pins(
    folder: Path, *, corpus: CorpusLayout, bucket: int, names: Sequence[str], pins: Sequence[str]
) -> TaskResult:
    """Earlier splits of records, by the part of the record.

    Counts names of the earlier split that are no record's, and those that it has in two splits.
    """
    known = read_bucket(scratch_paths(folder, names), bucket, NAME_SCHEMA).combine_chunks()
    told = read_bucket(scratch_paths(folder, pins), bucket, PIN_SCHEMA).group_by("name")
    told = told.aggregate([("split", "min"), ("split", "max")]).combine_chunks()
    is_known = pc.is_in(told.column("name"), value_set=known.column("name").combine_chunks())
    unknown = told.column("name").filter(pc.invert(is_known))
    twice = told.column("name").filter(pc.not_equal(told.column("split_min"), told.column("split_max")))
    row = pc.index_in(known.column("name"), value_set=told.column("name").combine_chunks())
    has_row = pc.is_valid(row)
    numbers = known.column("number").filter(has_row)
    made = f"{SCRATCH_NAME}/pinned-{bucket:05d}.arrow"
    with exchange_writer(folder / made, PINNED_SCHEMA, corpus.num_parts) as exchange:
        columns = {"number": numbers, "split": told.column("split_max").take(row.filter(has_row))}
        exchange.add(columns, corpus.part_of(numbers.to_numpy()))
    return TaskResult(
        scratch={made: (folder / made).stat().st_size},
        counts={"pins_unknown": len(unknown), "pins_contradictory": len(twice)},
        values={"unknown": first_names(unknown), "contradictory": first_names(twice)},
    )


def mark_part(folder: Path, *, corpus: CorpusLayout, part: int, pinned: Sequence[str]) -> TaskResult:
    """The earlier split of each record of a part, int8 [records]: a file of as many bytes."""
    rows = read_bucket(scratch_paths(folder, pinned), part, PINNED_SCHEMA)
    marks = np.full(corpus.starts[part + 1] - corpus.starts[part], NOT_PINNED)
    np.maximum.at(marks, rows.column("number").to_numpy() - corpus.starts[part], rows.column("split").to_numpy())
    made = _marks_name(part)
    with atomic_path(folder / made, durable=False) as temporary:
        temporary.write_bytes(marks.tobytes())
    return TaskResult(scratch={made: len(marks)}, counts={"records_pinned": int(np.count_nonzero(marks >= 0))})


def _marks_name(part: int) -> str:
    return f"{SCRATCH_NAME}/marks-{part:05d}.bytes"


def marks_of(folder: Path, corpus: CorpusLayout, numbers: Int64Array) -> Int8Array:
    """int8 [records]: the earlier split of each, −1 where it has none."""
    marks, parts = np.full(len(numbers), NOT_PINNED), corpus.part_of(numbers)
    for part in np.unique(parts).tolist():
        rows = np.flatnonzero(parts == part)
        of_part = np.memmap(folder / _marks_name(part), dtype=np.int8, mode="r")
        marks[rows] = of_part[numbers[rows] - corpus.starts[part]]
    return marks


def drawn_splits(keys: UInt64Array, splitting: Splitting) -> Int8Array:
    """int8 [clusters]: the split that each cluster draws.

    Args:
        keys: uint64 [clusters], record keys of the representatives.
        splitting: Fractions and seed.
    """
    place = uniform(draw(derive_key(PURPOSE_SPLIT, splitting.seed, keys), 0))
    bounds = np.array([splitting.valid_fraction, splitting.valid_fraction + splitting.test_fraction])
    drawn = np.array([_VALID, _TEST, _TRAIN], dtype=np.int8)
    splits: Int8Array = drawn[np.searchsorted(bounds, place, side="right")]
    return splits


def cluster_splits(
    keys: UInt64Array, marks: Int8Array, firsts: Int64Array, splitting: Splitting
) -> tuple[Int8Array, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The split of each cluster, which ones are pinned, and which of those in two ways.

    Args:
        keys: uint64 [clusters], record keys of the representatives.
        marks: int8 [records], of the members of one cluster after another.
        firsts: int64 [clusters], where the members of each begin.
        splitting: What decides.

    Returns:
        int8, bool and bool [clusters].
    """
    drawn = drawn_splits(keys, splitting)
    if not splitting.is_pinned or not len(firsts):
        nowhere = np.zeros(len(firsts), dtype=np.bool_)
        return drawn, nowhere, nowhere
    strongest = np.maximum.reduceat(marks, firsts)
    weakest = np.minimum.reduceat(np.where(marks >= 0, marks, np.int8(len(CLUSTER_SPLITS))), firsts)
    is_pinned = strongest >= 0
    return np.where(is_pinned, strongest, drawn), is_pinned, is_pinned & (strongest != weakest)
