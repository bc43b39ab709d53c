"""Clusters by mmseqs: sequences out, pairs of representative and member back, one level within the other.

::

    corpus ─▶ FASTA of numbers ─▶ mmseqs ─▶ TSV ─▶ pairs ─────────▶ finest level
                  ▲                                  │ representatives
                  └──────────────────────────────────┘
                  then mmseqs again ─▶ pairs of representatives ─▶ composed ─▶ next coarser level

A record belongs to the coarser cluster of its finer representative, so levels nest. Memory, mmseqs apart: a part.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipeline.engines.mmseqs import SEQUENCES_NAME, Clustering, cluster_sequences
from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.errors import IntegrityError
from pipeline.formats.content import string_bytes
from pipeline.formats.exchange import exchange_writer, read_bucket, scratch_paths
from pipeline.formats.parquet import read_columns
from pipeline.formats.storage import atomic_path, remove_folder
from pipeline.stages.cluster.layout import CorpusLayout, Int64Array, name_buckets
from pipeline.stages.cluster.ranking import ASSIGNED_SCHEMA, assigned_name

PAIR_SCHEMA = pa.schema([("representative", pa.int64()), ("member", pa.int64())])
"""Numbers of records."""

_BLOCK_BYTES = 16 << 20


def search_level(
    folder: Path,
    *,
    corpus: CorpusLayout,
    clustering: Clustering,
    name: str,
    program: str,
    num_threads: int,
    finer: Sequence[str],
) -> TaskResult:
    """Run mmseqs over the corpus, or over the representatives of the next finer level.

    Args:
        folder: The clusters.
        corpus: Where the records are.
        clustering: What mmseqs is told.
        name: Of the level; names the files.
        program: mmseqs.
        num_threads: Threads of mmseqs.
        finer: Exchange files of pairs of the finer level, by the part of the representative; none for the finest.

    Raises:
        ExecutionError: mmseqs failed; the steps that it finished are kept.
    """
    work, table = folder / SCRATCH_NAME / name, f"{SCRATCH_NAME}/{name}.tsv"
    if not (folder / table).exists():  # else an earlier attempt was killed while it tidied up
        if not (work / SEQUENCES_NAME).exists():
            _write_sequences(work / SEQUENCES_NAME, folder, finer, corpus)
        cluster_sequences(Path(program), clustering, work, folder / table, num_threads=num_threads)
    remove_folder(work)
    return TaskResult(scratch={table: (folder / table).stat().st_size})


def _write_sequences(path: Path, folder: Path, finer: Sequence[str], corpus: CorpusLayout) -> None:
    with atomic_path(path, durable=False) as temporary, temporary.open("wb") as file:
        for part in range(corpus.num_parts):
            rows = _representatives(folder, finer, corpus, part) if finer else None
            for text in numbered_fasta(corpus, part, rows):
                file.write(text)


def _representatives(folder: Path, finer: Sequence[str], corpus: CorpusLayout, part: int) -> Int64Array:
    """Rows of a part that represent clusters, in order."""
    pairs = read_bucket(scratch_paths(folder, finer), part, PAIR_SCHEMA)
    return np.unique(pairs.column("representative").to_numpy()) - corpus.starts[part]


def numbered_fasta(corpus: CorpusLayout, part: int, rows: Int64Array | None) -> Iterator[memoryview]:
    """FASTA text of a part, or of some of its rows: two lines a record, its number and its residues."""
    sequences = read_columns(corpus.path(part), ["sequence"]).column("sequence").cast(pa.large_string())
    numbers = corpus.numbers(part)
    if rows is not None:
        sequences, numbers = sequences.take(pa.array(rows)), numbers[rows]
    yield from fasta_text(numbers, sequences)


def fasta_text(numbers: Int64Array, sequences: pa.ChunkedArray) -> Iterator[memoryview]:
    """FASTA text of large strings, named by numbers."""
    names = pa.chunked_array([pa.array(numbers)]).cast(pa.large_string())
    start, end = (pa.scalar(text, pa.large_string()) for text in (">", "\n"))
    records = pc.binary_join_element_wise(start, names, end, sequences, end, pa.scalar("", pa.large_string()))
    for chunk in records.chunks:
        yield string_bytes(chunk)


def split_pairs(folder: Path, *, corpus: CorpusLayout, name: str, by: str) -> TaskResult:
    """The TSV of a level as pairs in buckets, one for each part.

    Args:
        folder: The clusters.
        corpus: Where the records are.
        name: Of the level.
        by: representative or member: whose part decides.
    """
    made = f"{SCRATCH_NAME}/pairs-{name}.arrow"
    table = folder / SCRATCH_NAME / f"{name}.tsv"
    with exchange_writer(folder / made, PAIR_SCHEMA, corpus.num_parts) as exchange, _open_table(table) as batches:
        for batch in batches:
            columns = {column: batch.column(column).to_numpy() for column in PAIR_SCHEMA.names}
            exchange.add(columns, corpus.part_of(columns[by]))
    return TaskResult(scratch={made: (folder / made).stat().st_size})


def _open_table(path: Path) -> pa_csv.CSVStreamingReader:
    return pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(column_names=PAIR_SCHEMA.names, block_size=_BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=pa_csv.ConvertOptions(column_types=PAIR_SCHEMA),
    )


def compose_part(
    folder: Path, *, corpus: CorpusLayout, part: int, level: int, finer: Sequence[str], coarser: Sequence[str]
) -> TaskResult:
    """Pairs of a coarser level for all records whose finer representative is in a part.

    Args:
        folder: The clusters.
        corpus: Where the records are.
        part: Of the finer representatives.
        level: The coarser one.
        finer: Pairs of the finer level, by the part of the representative.
        coarser: Pairs of finer representatives, by the part of the member.

    Returns:
        A file of pairs, by the part of the representative.
    """
    fine = read_bucket(scratch_paths(folder, finer), part, PAIR_SCHEMA)
    coarse = read_bucket(scratch_paths(folder, coarser), part, PAIR_SCHEMA).sort_by("member")
    middle, wanted = coarse.column("member").to_numpy(), fine.column("representative").to_numpy()
    places = np.minimum(np.searchsorted(middle, wanted), max(0, len(middle) - 1))
    if len(wanted) and (not len(middle) or (middle[places] != wanted).any()):
        raise IntegrityError("mmseqs left a sequence out of a coarser level", hint="run again with --overwrite")
    representative = coarse.column("representative").to_numpy()[places]
    made = f"{SCRATCH_NAME}/composed-{level}-{part:05d}.arrow"
    with exchange_writer(folder / made, PAIR_SCHEMA, corpus.num_parts) as exchange:
        columns = {"representative": representative, "member": fine.column("member").to_numpy()}
        exchange.add(columns, corpus.part_of(representative))
    return TaskResult(scratch={made: (folder / made).stat().st_size})


def name_part(folder: Path, *, corpus: CorpusLayout, part: int, level: int, pairs: Sequence[str]) -> TaskResult:
    """Pairs whose representative is in a part, with its accession: by the hash of it.

    Args:
        folder: The clusters.
        corpus: Where the records are.
        part: Of the representatives.
        level: 0 being the coarsest.
        pairs: Pairs of the level, by the part of the representative.
    """
    found = read_bucket(scratch_paths(folder, pairs), part, PAIR_SCHEMA)
    records = read_columns(corpus.path(part), ["accession", "record_key"])
    rows = pa.array(found.column("representative").to_numpy() - corpus.starts[part])
    accessions = records.column("accession").take(rows)
    columns = {
        "representative": accessions,
        "representative_key": records.column("record_key").take(rows),
        "split_key": records.column("record_key").take(rows),
        "number": found.column("member"),
        "parent": pa.nulls(found.num_rows, pa.string()),
    }
    made = assigned_name(level, part)
    with exchange_writer(folder / made, ASSIGNED_SCHEMA, corpus.num_parts) as exchange:
        exchange.add(columns, name_buckets(accessions, corpus.num_parts))
    return TaskResult(scratch={made: (folder / made).stat().st_size})
