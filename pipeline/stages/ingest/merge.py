"""Runs to one part: the second half of a shuffle that is a sort.

::

    chunk-00000.arrow  [ run | run | run ]  ┐ a slice of the keys of this part, from each run
    chunk-00001.arrow  [ run | run ]        ┘ ──▶ sort by key ──▶ merge equal sequences ──▶ part-00003.parquet
                                                  and so on with the next slice

Records whose key stands alone are the rule and only sorted. Those that share a key with another are compared by
sequence: equal sequences are merged, different ones (a collision of the hash) both stay. Memory: a few times the
records of one slice; a key is never split between slices.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.formats.corpus import CORPUS_SCHEMA, MAX_ALIASES, key_range, part_writer
from pipeline.formats.corpus_statistics import Statistics, statistics_of_part
from pipeline.formats.runs import read_range
from pipeline.formats.storage import write_text


def merge_part(
    folder: Path,
    *,
    name: str,
    runs: Sequence[str],
    num_buckets: int,
    first_slice: int,
    end_slice: int,
    num_slices: int,
    source_priority: Sequence[str],
) -> TaskResult:
    """Collect, sort and merge the records of one key range, slice by slice.

    Args:
        folder: The corpus.
        name: File name of the part.
        runs: Run files, relative to the folder.
        num_buckets: Buckets of each run.
        first_slice: First of the equal slices of the key space that make up the part.
        end_slice: First slice behind them.
        num_slices: Slices of the whole key space.
        source_priority: Database names, the one whose record survives first.
    """
    paths = [folder / run for run in runs]
    num_read = residues = 0
    statistics = Statistics()
    with part_writer(folder, name) as (writer, written):
        for index in range(first_slice, end_slice):
            table = read_range(paths, *key_range(index, num_slices), num_buckets)
            merged = merge_records(table, source_priority)
            writer.write(merged)
            statistics += statistics_of_part(merged)
            num_read += table.num_rows
            residues += pc.sum(merged.column("length")).as_py() or 0
    num_records = written[0].rows
    counts = {"records": num_records, "records_merged": num_read - num_records, "residues": residues}
    statistics_name = f"{SCRATCH_NAME}/{name}.statistics.json"
    write_text(folder / statistics_name, statistics.model_dump_json(), durable=False)
    scratch = {statistics_name: (folder / statistics_name).stat().st_size}
    return TaskResult(files=tuple(written), counts=counts, scratch=scratch)


def merge_records(table: pa.Table, source_priority: Sequence[str]) -> pa.Table:
    """Sort records and merge those of equal sequence.

    Args:
        table: Columns of ``RUN_SCHEMA``, in any order of rows.
        source_priority: Database names, the one whose record survives first; then the smallest accession and the
            smallest description decide.

    Returns:
        Columns of ``CORPUS_SCHEMA``, sorted by record key, then sequence.
    """
    keys = table.column("record_key").to_numpy()
    order = np.argsort(keys, kind="stable")
    shared = _shared(keys[order])
    single = table.take(pa.array(order[~shared]))
    merged = _merged(table.take(pa.array(order[shared])), source_priority)
    joined = pa.concat_tables([_as_corpus(single), merged])
    joined_keys = joined.column("record_key").to_numpy()
    # Stable: records that share a key are all in ``merged``, already sorted by sequence.
    return joined.take(pa.array(np.argsort(joined_keys, kind="stable")))


def _shared(sorted_keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    equal = sorted_keys[1:] == sorted_keys[:-1]
    shared = np.zeros(len(sorted_keys), dtype=bool)
    shared[1:] |= equal
    shared[:-1] |= equal
    return shared


def _as_corpus(table: pa.Table) -> pa.Table:
    num_rows = table.num_rows
    no_aliases = pa.ListArray.from_arrays(pa.array(np.zeros(num_rows + 1, dtype=np.int32)), pa.array([], pa.string()))
    lengths = pc.binary_length(table.column("sequence")).cast(pa.uint32())
    extended = (
        table.append_column("length", lengths)
        .append_column("aliases", no_aliases)
        .append_column("num_merged", pa.array(np.ones(num_rows, dtype=np.uint32)))
    )
    return _typed(extended)


def _merged(table: pa.Table, source_priority: Sequence[str]) -> pa.Table:
    rank = {name: position for position, name in enumerate(source_priority)}
    first = pl.col("accession").first()
    aliases = pl.col("accession").filter(pl.col("accession") != first).unique().sort().head(MAX_ALIASES)
    frame = (
        pl.DataFrame(table)
        .with_columns(
            pl.col("source").replace_strict(rank, default=len(rank), return_dtype=pl.UInt32).alias("rank"),
            pl.col("sequence").str.len_bytes().cast(pl.UInt32).alias("length"),
        )
        # The last three only decide between records that agree in all that names them; they make the choice total.
        .sort("record_key", "sequence", "rank", "accession", "description", "source", "taxon_id", "cluster")
        .group_by("record_key", "sequence", maintain_order=True)
        .agg(
            pl.col("length", "source", "taxon_id", "cluster", "description").first(),
            first.alias("accession_first"),
            aliases.alias("aliases"),
            pl.len().cast(pl.UInt32).alias("num_merged"),
        )
        .rename({"accession_first": "accession"})
    )
    return _typed(frame.to_arrow())


def _typed(table: pa.Table) -> pa.Table:
    columns = {field.name: table.column(field.name).cast(_plain(field.type)) for field in CORPUS_SCHEMA}
    return pa.table(columns)


def _plain(kind: pa.DataType) -> pa.DataType:
    # Dictionaries of two tables need not agree, so sources stay strings until the part is written.
    return pa.string() if pa.types.is_dictionary(kind) else kind
