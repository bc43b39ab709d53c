"""Clusters that others made, joined to a corpus by the names of its records, in memory of one bucket.

::

    corpus ─▶ names of records ─┐ by the hash of the name
    files  ─▶ rows ─────────────┴─▶ join ─▶ found, by part of the record ─▶ decide ─▶ assigned, by representative

A record goes by its accession and by those of the records that were merged into it. Where rows disagree about a record,
its accession counts more than an alias, and then the smallest representative is taken: the order of rows is of no
consequence. A record that no row names is a cluster of its own, unless there is one of its name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.formats.exchange import exchange_writer, read_bucket, scratch_paths
from pipeline.formats.memberships import MEMBERSHIP_SCHEMA, NAME_KINDS, read_memberships
from pipeline.formats.parquet import read_columns
from pipeline.stages.cluster.layout import CorpusLayout, Int64Array, name_buckets
from pipeline.stages.cluster.names import NAME_SCHEMA, first_names
from pipeline.stages.cluster.ranking import ASSIGNED_SCHEMA, assigned_name

FOUND_SCHEMA = pa.schema(
    [("level", pa.int64()), ("number", pa.int64()), ("is_alias", pa.bool_()), ("representative", pa.string())]
)
_UNIPARC = rf"{NAME_KINDS['UniParc']}|^UniRef[0-9]+_UPI"


def read_rows(
    folder: Path, *, corpus: CorpusLayout, path: str, index: int, level: int, kinds: Sequence[str]
) -> TaskResult:
    """The rows of a file of clusters, by the hash of the name.

    Args:
        folder: The clusters.
        corpus: For the number of buckets.
        path: The file.
        index: Of the file; names what is made.
        level: Of a table.
        kinds: Of the names in the corpus.
    """
    made = f"{SCRATCH_NAME}/rows-{index:05d}.arrow"
    num_rows = 0
    with exchange_writer(folder / made, MEMBERSHIP_SCHEMA, corpus.num_parts) as exchange:
        for rows in read_memberships(Path(path), kinds, level=level):
            num_rows += rows.num_rows
            columns = {name: rows.column(name) for name in rows.column_names}
            exchange.add(columns, name_buckets(columns["name"], corpus.num_parts))
    return TaskResult(scratch={made: (folder / made).stat().st_size}, counts={"rows_read": num_rows})


def join_bucket(
    folder: Path, *, corpus: CorpusLayout, bucket: int, names: Sequence[str], rows: Sequence[str]
) -> TaskResult:
    """Rows and records that have a name in common, by the part of the record.

    Counts rows whose name is no record's, that repeat another, or say of a name what another denies.
    """
    known = read_bucket(scratch_paths(folder, names), bucket, NAME_SCHEMA).combine_chunks()
    told = read_bucket(scratch_paths(folder, rows), bucket, MEMBERSHIP_SCHEMA).combine_chunks()
    distinct = pc.unique(known.column("name"))
    codes = pc.index_in(told.column("name"), value_set=distinct)
    is_known = pc.is_valid(codes)
    unknown = told.column("name").filter(pc.invert(is_known))
    told = told.filter(is_known).append_column("code", codes.filter(is_known))
    unique = told.group_by(["level", "code", "representative", "name"]).aggregate([])
    unique = unique.sort_by([("code", "ascending"), ("level", "ascending"), ("representative", "ascending")])
    denied = _repeats(unique.column("code").to_numpy(), unique.column("level").to_numpy())
    disputed = unique.column("name").filter(pa.array(denied))
    found = _records_of_rows(known, unique, pc.index_in(known.column("name"), value_set=distinct))
    made = f"{SCRATCH_NAME}/found-{bucket:05d}.arrow"
    with exchange_writer(folder / made, FOUND_SCHEMA, corpus.num_parts) as exchange:
        exchange.add(found, corpus.part_of(found["number"].to_numpy()))
    return TaskResult(
        scratch={made: (folder / made).stat().st_size},
        counts={
            "rows_unknown": len(unknown),
            "rows_repeated": told.num_rows - unique.num_rows,
            "rows_contradictory": int(np.count_nonzero(denied)),
        },
        values={"unknown": first_names(unknown), "contradictory": first_names(disputed)},
    )


def _repeats(*columns: Int64Array) -> npt.NDArray[np.bool_]:
    """Where rows of a sorted table agree with the one before in some columns."""
    repeats = np.ones(len(columns[0]), dtype=np.bool_)
    repeats[:1] = False
    for column in columns:
        repeats[1:] &= column[1:] == column[:-1]
    return repeats


def _records_of_rows(known: pa.Table, rows: pa.Table, codes: pa.ChunkedArray) -> dict[str, Any]:
    """Every record of every row, columns of ``FOUND_SCHEMA``: names may be shared by several records."""
    row_codes, record_codes = rows.column("code").to_numpy(), codes.to_numpy()
    order = np.argsort(record_codes, kind="stable")
    starts, ends = (np.searchsorted(record_codes[order], row_codes, side=side) for side in ("left", "right"))
    row = np.repeat(np.arange(len(row_codes)), ends - starts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(ends - starts) - (ends - starts), ends - starts)
    record = pa.array(order[starts[row] + within])
    return {
        "level": rows.column("level").take(pa.array(row)),
        "number": known.column("number").take(record),
        "is_alias": known.column("is_alias").take(record),
        "representative": rows.column("representative").take(pa.array(row)),
    }


def decide_part(folder: Path, *, corpus: CorpusLayout, part: int, num_levels: int, found: Sequence[str]) -> TaskResult:
    """One cluster of each level for every record of a part: by the hash of the representative, a file for each level.

    Counts records that rows disagree about, and records without a row, those that only UniParc knows among them.
    """
    rows = read_bucket(scratch_paths(folder, found), part, FOUND_SCHEMA)
    records = read_columns(corpus.path(part), ["accession", "record_key"])
    accessions, keys = records.column("accession").combine_chunks(), records.column("record_key").combine_chunks()
    scratch, counts = {}, {"records_contradictory": 0}
    listed = np.zeros(len(accessions), dtype=np.bool_)
    parents = pa.nulls(len(accessions), pa.string())
    for level in range(num_levels):
        of_level = rows.filter(pc.equal(rows.column("level"), level))
        chosen, is_listed, num_disputed = _chosen(of_level, accessions, corpus.starts[part])
        counts["records_contradictory"] += num_disputed
        listed |= is_listed
        made = assigned_name(level, part)
        columns = {"representative": chosen, "representative_key": np.zeros(len(chosen), np.uint64)}
        columns |= {"number": corpus.numbers(part), "parent": parents}
        columns["split_key"] = pc.if_else(pc.equal(chosen, accessions), keys, None)
        with exchange_writer(folder / made, ASSIGNED_SCHEMA, corpus.num_parts) as exchange:
            exchange.add(columns, name_buckets(chosen, corpus.num_parts))
        scratch[made] = (folder / made).stat().st_size
        parents = chosen
    unlisted = accessions.filter(pa.array(~listed))
    counts["records_unlisted"] = len(unlisted)
    counts["records_uniparc_only"] = pc.sum(pc.match_substring_regex(unlisted, _UNIPARC)).as_py() or 0
    return TaskResult(scratch=scratch, counts=counts, values={"unlisted": first_names(unlisted)})


def _chosen(rows: pa.Table, accessions: pa.Array, start: int) -> tuple[pa.Array, npt.NDArray[np.bool_], int]:
    """Representative of each record, whether a row says so, and how many records rows disagree about."""
    keys = [("number", "ascending"), ("is_alias", "ascending"), ("representative", "ascending")]
    rows = rows.sort_by(keys)
    at = rows.column("number").to_numpy() - start
    is_first = ~_repeats(at)
    firsts = np.flatnonzero(is_first)
    of_first = firsts[np.cumsum(is_first) - 1]
    representatives = rows.column("representative").combine_chunks()
    differs = pc.not_equal(representatives, representatives.take(pa.array(of_first))).to_numpy(zero_copy_only=False)
    is_listed = np.zeros(len(accessions), dtype=np.bool_)
    is_listed[at[firsts]] = True
    chosen = pc.replace_with_mask(accessions, pa.array(is_listed), representatives.take(pa.array(firsts)))
    return chosen, is_listed, len(np.unique(at[differs]))
