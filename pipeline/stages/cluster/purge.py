"""What a model is tested on leaves nothing like it in what it is trained on: similar records are excluded.

::

    benchmarks   every record that is similar to one of a benchmark's proteins: similar-to-NAME
    test         every record of train and valid that is similar to one of test: similar-to-test
    valid        every record of train that is similar to one of valid: similar-to-valid

One after the other, and what was excluded before is neither searched nor searched against: it is in no split. Records
are searched some millions at a time, which changes nothing: each is compared with the same targets. Memory, mmseqs
apart: a part, or the proteins of a benchmark.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core.alphabet import RESIDUES
from pipeline.engines.mmseqs_search import QUERIES_NAME, TARGETS_NAME, Search, search_sequences
from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.errors import InputFormatError
from pipeline.formats.exchange import exchange_writer, read_bucket, scratch_paths
from pipeline.formats.fasta import FastaBlock, read_fasta
from pipeline.formats.parquet import read_columns
from pipeline.formats.storage import atomic_path, remove_folder
from pipeline.stages.cluster.layout import CorpusLayout, Int64Array
from pipeline.stages.cluster.ranking import RANKED_SCHEMA
from pipeline.stages.cluster.search import fasta_text, numbered_fasta

HIT_SCHEMA = pa.schema([("number", pa.int64())])
EXCLUDED = -1
"""Among the places of splits: none; among those of reasons: not excluded."""

_IS_RESIDUE = np.isin(np.arange(256), list(RESIDUES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Which split each record is in so far, and which ones are excluded."""

    ranked: Sequence[str]
    """Exchange files of the coarsest level, by the part of the record."""
    hits: Sequence[Sequence[str]] = ()
    """Exchange files of the records that are excluded, by the part of the record, for each reason."""

    def excluded(self, folder: Path, corpus: CorpusLayout, part: int) -> Int64Array:
        """int64 [records]: why each record of a part is excluded, by the place among ``hits``; −1 where it is not."""
        excluded = np.full(corpus.starts[part + 1] - corpus.starts[part], EXCLUDED, dtype=np.int64)
        for place, names in enumerate(self.hits):
            rows = read_bucket(scratch_paths(folder, names), part, HIT_SCHEMA)
            excluded[rows.column("number").to_numpy() - corpus.starts[part]] = place
        return excluded

    def rows_in(self, folder: Path, corpus: CorpusLayout, part: int, splits: Sequence[int]) -> Int64Array:
        """Rows of a part that are in some splits and not excluded, in order."""
        rows = read_bucket(scratch_paths(folder, self.ranked), part, RANKED_SCHEMA)
        numbers = rows.column("number").to_numpy()[np.isin(rows.column("split").to_numpy(), splits)]
        chosen: Int64Array = np.sort(numbers) - corpus.starts[part]
        is_left = self.excluded(folder, corpus, part)[chosen] == EXCLUDED
        return np.asarray(chosen[is_left])


def write_held_out(
    folder: Path,
    *,
    corpus: CorpusLayout,
    part: int,
    name: str,
    split: int,
    standing: Standing,
) -> TaskResult:
    """FASTA of the records of a part that are held out in a split and not excluded.

    Args:
        folder: The clusters.
        corpus: Where the records are.
        part: Which part.
        name: Of the search.
        split: Its place in ``CLUSTER_SPLITS``.
        standing: Who is where.
    """
    rows = standing.rows_in(folder, corpus, part, [split])
    lengths = read_columns(corpus.path(part), ["length"]).column("length").to_numpy()[rows]
    made = f"{SCRATCH_NAME}/targets-{name}-{part:05d}.fasta"
    with atomic_path(folder / made, durable=False) as temporary, temporary.open("wb") as file:
        for text in numbered_fasta(corpus, part, rows):
            file.write(text)
    counts = {"targets": len(rows), "residues": int(lengths.sum(dtype=np.int64))}
    return TaskResult(scratch={made: (folder / made).stat().st_size}, counts=counts)


def write_benchmark(folder: Path, *, name: str, path: str) -> TaskResult:
    """FASTA of the proteins of a benchmark; gaps, stops and whatever else is no residue are left out of them.

    Raises:
        InputFormatError: The file is no FASTA, or has no residues.
    """
    made = f"{SCRATCH_NAME}/targets-{name}-00000.fasta"
    num_targets = num_residues = 0
    with atomic_path(folder / made, durable=False) as temporary, temporary.open("wb") as file:
        for block in read_fasta(path):
            sequences = _residues_of(block)
            for text in fasta_text(np.arange(num_targets, num_targets + len(sequences)), sequences):
                file.write(text)
            num_targets += len(sequences)
            num_residues += sum(chunk.buffers()[2].size for chunk in sequences.chunks if len(chunk))
    if not num_targets:
        raise InputFormatError(f"{path}: expected proteins of the benchmark {name}, found no residues")
    counts = {"targets": num_targets, "residues": num_residues}
    return TaskResult(scratch={made: (folder / made).stat().st_size}, counts=counts)


def _residues_of(block: FastaBlock) -> pa.ChunkedArray:
    """Large strings of the records of a block that have residues."""
    is_residue = _IS_RESIDUE[block.residues]
    offsets = np.append(0, np.cumsum(is_residue))[block.offsets]
    lengths = np.diff(offsets)
    borders = np.append(0, np.cumsum(lengths[lengths > 0]))
    buffers = [None, pa.py_buffer(borders.astype(np.int64)), pa.py_buffer(block.residues[is_residue])]
    return pa.chunked_array([pa.Array.from_buffers(pa.large_string(), len(borders) - 1, buffers)])


def search_parts(
    folder: Path,
    *,
    corpus: CorpusLayout,
    parts: Sequence[int],
    name: str,
    search: Search,
    program: str,
    num_threads: int,
    queried: Sequence[int],
    targets: Sequence[str],
    standing: Standing,
) -> TaskResult:
    """Records of some parts that are similar to a target.

    Args:
        folder: The clusters.
        corpus: Where the records are.
        parts: Which parts.
        name: Of the search and of these parts; names the files.
        search: What mmseqs is told.
        program: mmseqs.
        num_threads: Threads of mmseqs.
        queried: Places in ``CLUSTER_SPLITS`` of the splits that are searched.
        targets: FASTA files, numbered within each of them.
        standing: Who is where.

    Returns:
        A file of the numbers of similar records, by the part of the record.

    Raises:
        ExecutionError: mmseqs failed; the steps that it finished are kept.
    """
    work, table, made = (folder / SCRATCH_NAME / f"{name}{suffix}" for suffix in ("", ".txt", ".arrow"))
    if not table.exists():  # else an earlier attempt was killed while it tidied up
        if not (work / QUERIES_NAME).exists():
            _write_joined(work / TARGETS_NAME, [folder / target for target in targets])
            texts = (
                text
                for part in parts
                for text in numbered_fasta(corpus, part, standing.rows_in(folder, corpus, part, queried))
            )
            _write_texts(work / QUERIES_NAME, texts)
        if (work / QUERIES_NAME).stat().st_size:
            search_sequences(Path(program), search, work, table, num_threads=num_threads)
        else:
            _write_texts(table, iter(()))
    numbers = np.array(table.read_text(encoding="ascii").split(), dtype=np.int64)
    with exchange_writer(made, HIT_SCHEMA, corpus.num_parts) as exchange:
        exchange.add({"number": numbers}, corpus.part_of(numbers))
    remove_folder(work)
    return TaskResult(scratch={made.relative_to(folder).as_posix(): made.stat().st_size})


def _write_joined(path: Path, pieces: Sequence[Path]) -> None:
    with atomic_path(path, durable=False) as temporary, temporary.open("wb") as file:
        for piece in pieces:
            with piece.open("rb") as source:
                shutil.copyfileobj(source, file)


def _write_texts(path: Path, texts: Iterator[memoryview]) -> None:
    with atomic_path(path, durable=False) as temporary, temporary.open("wb") as file:
        for text in texts:
            file.write(text)
