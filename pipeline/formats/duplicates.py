"""Records of equal sequence made one: who survives, how many it stands for, and what the others were called.

::

    key  sequence  accession               key  sequence  accession  num_merged  aliases
    7    MKV       b                       7    MKA       c          1           []
    9    MQ        e               ──▶     7    MKV       a          3           [b, d]
    7    MKA       c                       9    MQ        e          1           []
    7    MKV       a, stands for a and d

Records whose key stands alone are the rule and only sorted. Those that share a key with another are compared by
sequence: equal ones are merged, different ones (a collision of the hash) both stay.

Merging may be done in steps, within a run and then between runs, in any order: the survivor is a minimum, the number a
sum, and the aliases the smallest of a union. So that none of the smallest is lost on the way, one alias more than a
corpus keeps is carried: the survivor of a later step may be among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.formats.corpus import MAX_ALIASES

RECORD_SCHEMA = pa.schema(
    [
        ("record_key", pa.uint64()),
        ("sequence", pa.large_string()),
        ("accession", pa.string()),
        ("source", pa.string()),
        ("taxon_id", pa.uint32()),
        ("cluster", pa.string()),
        ("description", pa.string()),
    ]
)
"""Columns of a record as it was read."""

ALIASES = pa.list_(pa.field("element", pa.string(), nullable=False))

MERGED_SCHEMA = pa.schema([*RECORD_SCHEMA, ("num_merged", pa.uint32()), ("aliases", ALIASES)])
"""Columns of a record that may stand for others."""

CARRIED_ALIASES = MAX_ALIASES + 1

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivors:
    """What is left of a table of ``n`` rows after merging; ``m`` records, sorted by record key, then sequence."""

    rows: Int64Array
    """int64[m]: the row of each in the table."""
    num_merged: npt.NDArray[np.uint32]
    """uint32[m]: records merged into it, itself included."""
    aliases: pa.Array
    """m lists: accessions of the others, sorted, the first 1,001."""

    def of(self, table: pa.Table, start: int = 0, end: int | None = None) -> pa.Table:
        """The surviving records ``start`` to ``end``, with the columns of ``MERGED_SCHEMA``."""
        rows = pa.array(self.rows[start:end])
        columns = [table.column(name).take(rows) for name in RECORD_SCHEMA.names]
        columns += [pa.array(self.num_merged[start:end]), self.aliases[start:end]]
        return pa.Table.from_arrays(columns, schema=MERGED_SCHEMA)


def standing_alone(records: pa.Table) -> pa.Table:
    """Records as they were read, each standing for itself: ``RECORD_SCHEMA`` to ``MERGED_SCHEMA``."""
    ones = pa.array(np.ones(records.num_rows, dtype=np.uint32))
    return pa.Table.from_arrays([*records.columns, ones, _no_aliases(records.num_rows)], schema=MERGED_SCHEMA)


def find_survivors(table: pa.Table, source_priority: Sequence[str]) -> Survivors:
    """Sort records and merge those of equal sequence.

    Args:
        table: Columns of ``MERGED_SCHEMA``, rows in any order.
        source_priority: Database names, the one whose record survives first; then the smallest accession and the
            smallest description decide.
    """
    keys = table.column("record_key").to_numpy()
    order = np.argsort(keys, kind="stable")
    shared = _shared(keys[order])
    single = order[~shared]
    groups = _merged(table, order[shared], source_priority)
    places = np.searchsorted(keys[single], keys[groups.rows])
    rows = np.insert(single, places, groups.rows)
    is_group = np.insert(np.zeros(len(single), dtype=np.bool_), places, values=True)
    num_merged = table.column("num_merged").to_numpy()[rows]
    num_merged[is_group] = groups.num_merged
    chosen = rows.copy()
    chosen[is_group] = table.num_rows + np.arange(len(groups.rows))
    aliases = pa.concat_arrays([*table.column("aliases").chunks, groups.aliases]).take(pa.array(chosen))
    return Survivors(rows=rows, num_merged=num_merged, aliases=aliases)


def _shared(sorted_keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Whether each key has an equal one beside it."""
    equal = sorted_keys[1:] == sorted_keys[:-1]
    shared = np.zeros(len(sorted_keys), dtype=np.bool_)
    shared[1:] |= equal
    shared[:-1] |= equal
    return shared


class _Groups(NamedTuple):
    """The survivors of some rows, sorted by record key, then sequence."""

    rows: Int64Array
    num_merged: npt.NDArray[np.uint32]
    aliases: pa.Array


def _merged(table: pa.Table, rows: Int64Array, source_priority: Sequence[str]) -> _Groups:
    """Merge the rows of a table that share their keys with others."""
    if not len(rows):
        return _Groups(rows, np.empty(0, dtype=np.uint32), _no_aliases(0))
    members = table.take(pa.array(rows)).append_column(
        "rank", _ranks(table.column("source").take(pa.array(rows)), source_priority)
    )
    order = pc.sort_indices(members, sort_keys=_CHOICE)
    members, rows = members.take(order).combine_chunks(), rows[order.to_numpy()]
    firsts = np.flatnonzero(_differs_from_the_one_before(members, "record_key", "sequence"))
    num_merged = np.add.reduceat(members.column("num_merged").to_numpy(), firsts)
    return _Groups(rows[firsts], num_merged, _aliases(members, firsts))


_CHOICE = [
    (name, "ascending")
    # Missing values come last. The last three decide between records that agree in all that names them: a total order.
    for name in ("record_key", "sequence", "rank", "accession", "description", "source", "taxon_id", "cluster")
]


def _ranks(sources: pa.ChunkedArray, source_priority: Sequence[str]) -> pa.Array:
    position = pc.index_in(sources, value_set=pa.array(source_priority, pa.string()))
    return pc.fill_null(position, len(source_priority))


def _differs_from_the_one_before(table: pa.Table, *names: str) -> npt.NDArray[np.bool_]:
    differs = np.zeros(table.num_rows, dtype=np.bool_)
    differs[:1] = True
    for name in names:
        column = table.column(name)
        differs[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy()
    return differs


def _aliases(members: pa.Table, firsts: Int64Array) -> pa.Array:
    """For each group of rows, which starts at ``firsts``: the accessions that are not the first row's."""
    group = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=members.num_rows))
    accessions, carried = members.column("accession"), members.column("aliases")
    named = pa.table(
        {
            "group": pa.array(np.concatenate([group, group[pc.list_parent_indices(carried).to_numpy()]])),
            "accession": pa.chunked_array([*accessions.chunks, *pc.list_flatten(carried).chunks]),
        }
    )
    survivors = accessions.take(pa.array(firsts[named.column("group").to_numpy()]))
    others = named.filter(pc.not_equal(named.column("accession"), survivors))
    others = others.take(pc.sort_indices(others, sort_keys=[("group", "ascending"), ("accession", "ascending")]))
    others = others.combine_chunks().filter(pa.array(_differs_from_the_one_before(others, "group", "accession")))
    groups = others.column("group").to_numpy()
    # How many of its group come before each: only so many are carried.
    place = np.arange(len(groups)) - np.searchsorted(groups, groups)
    kept = place < CARRIED_ALIASES
    sizes = np.bincount(groups[kept], minlength=len(firsts))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    values = others.column("accession").filter(pa.array(kept)).combine_chunks()
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=ALIASES)


def _no_aliases(num_rows: int) -> pa.Array:
    offsets = pa.array(np.zeros(num_rows + 1, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, pa.nulls(0, pa.string()), type=ALIASES)
