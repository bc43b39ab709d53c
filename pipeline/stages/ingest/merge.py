"""Runs to one part: the second half of a shuffle that is a sort.

::

    chunk-00000.arrow  [ run | run | run ]  ┐ a slice of the keys of this part, from each run
    chunk-00001.arrow  [ run | run ]        ┘ ──▶ sort by key ──▶ merge equal sequences ──▶ part-00003.parquet
                                                  and so on with the next slice

Memory: a few times the records of one slice, and a row group. A key is never split between slices; a sequence comes at
most once from each run, however often it was in the input.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.formats.corpus import CORPUS_SCHEMA, MAX_ALIASES, key_range, part_writer
from pipeline.formats.corpus_statistics import merge, statistics_of_part
from pipeline.formats.duplicates import find_survivors
from pipeline.formats.runs import read_range
from pipeline.formats.storage import write_text


def merge_part(
    folder: Path,
    *,
    name: str,
    runs: Sequence[str],
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
        first_slice: First of the equal slices of the key space that make up the part.
        end_slice: First slice behind them.
        num_slices: Slices of the whole key space.
        source_priority: Database names, the one whose record survives first.
    """
    paths = [folder / run for run in runs]
    num_read = residues = 0
    statistics = []
    with part_writer(folder, name) as (writer, written):
        for index in range(first_slice, end_slice):
            merged = merge_records(read_range(paths, *key_range(index, num_slices)), source_priority)
            writer.write(merged)
            statistics.append(statistics_of_part(merged))
            num_read += pc.sum(merged.column("num_merged")).as_py() or 0
            residues += pc.sum(merged.column("length")).as_py() or 0
            del merged
            pa.default_memory_pool().release_unused()
    num_records = written[0].rows
    counts = {"records": num_records, "records_merged": num_read - num_records, "residues": residues}
    statistics_name = f"{SCRATCH_NAME}/{name}.statistics.json"
    write_text(folder / statistics_name, merge(statistics).model_dump_json(), durable=False)
    scratch = {statistics_name: (folder / statistics_name).stat().st_size}
    return TaskResult(files=tuple(written), counts=counts, scratch=scratch)


def merge_records(table: pa.Table, source_priority: Sequence[str]) -> pa.Table:
    """Sort records and merge those of equal sequence.

    Args:
        table: Columns of ``MERGED_SCHEMA``, in any order of rows.
        source_priority: Database names, the one whose record survives first; then the smallest accession and the
            smallest description decide.

    Returns:
        Columns of ``CORPUS_SCHEMA``, sorted by record key, then sequence.
    """
    records = find_survivors(table, source_priority).of(table)
    lengths = pc.binary_length(records.column("sequence")).cast(pa.uint32())
    columns = {name: records.column(name) for name in records.column_names}
    columns |= {"length": lengths, "aliases": _first_aliases(columns["aliases"])}
    return pa.table({field.name: columns[field.name].cast(_plain(field.type)) for field in CORPUS_SCHEMA})


def _first_aliases(aliases: pa.ChunkedArray) -> pa.ChunkedArray:
    most = pc.max(pc.list_value_length(aliases)).as_py() or 0
    return pc.list_slice(aliases, 0, MAX_ALIASES) if most > MAX_ALIASES else aliases


def _plain(kind: pa.DataType) -> pa.DataType:
    # Dictionaries of two tables need not agree, so sources stay strings until the part is written.
    return pa.string() if pa.types.is_dictionary(kind) else kind
