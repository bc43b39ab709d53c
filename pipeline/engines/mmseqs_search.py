"""Which sequences are similar to any of some others, by MMseqs2: nothing that should be found may stay hidden.

::

    queries.fasta ─▶ queries ─┬─ likely: pairs with k-mers on one diagonal ─┐
    targets.fasta ─▶ targets ─┴─ paired: every pair of some, or of all ─────┴─▶ align, twice ─▶ queries with a hit

A hit is ESM-2's: identity of the aligned columns, and the fraction of *both* sequences from the first of them to the
last. What else could hide one is turned off:

- E-values (``-e inf``): they grow with the targets, and with 10⁻³ no pair of short proteins would be a hit.
- Lengths: told the coverage, mmseqs drops pairs whose lengths differ by more, though a long gap can join them. Q03099
  and P0CX14 of yeast are 75 % identical over all of the one and 97 % of the other, 1.35 times as long. It is told
  the least that lengths can be apart, coverage times identity, and coverage is decided here.
- The number of candidates of a query (``--max-seqs``): all targets.
- Masking and the correction for composition, before the alignment: low complexity is similar to itself, too.
- k-mers: they miss short sequences. Of pairs that an alignment of all with all finds, ``-s 7`` missed none of 1,600
  longer than 40 residues, 2 of 73 at 40, 1 in 30 at 24 to 32, and 2 in 3 at 10. So short ones are aligned all with all,
  and where there are few targets everything is, which takes no more time: 35 µs a pair, against 20 ms a query.

The best local alignment depends on the scores, and near the thresholds so does a hit: with and without the correction
for the composition of the query, 2,280 and 2,299 of 2,304 were found. A query counts as soon as one of the two sees it.

The outcome is a property of a query and the targets: not of other queries, threads, or splits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipeline.engines.mmseqs import MemoryNeed
from pipeline.engines.mmseqs_steps import Steps
from pipeline.formats.content import string_bytes
from pipeline.formats.storage import atomic_path

QUERIES_NAME, TARGETS_NAME = "queries.fasta", "targets.fasta"
FEW_TARGETS = 500
"""Up to as many, all pairs are aligned."""
SHORT_RESIDUES = 60
"""Pairs of sequences up to this length are always aligned."""
LEAST_SPLIT_BYTES = 1_300_000_000
"""With 6-mers, mmseqs can do nothing with less, be the targets ever so few: release 18 wants 1.1 to 1.2 GB."""

_QUERIES, _TARGETS = "queries", "targets"
_LIKELY, _PAIRED = "likely", "paired"
_PREFILTER_RESULT = 7
_NEVER_SPLIT = "64T"
_END_BYTES = 2
"""A line feed and a zero, which the index counts with the residues."""
_KMER_TABLE_BYTES = 20**6 * 8 + 20**6 * 6
"""Where the entries of each 6-mer begin, and the scores of all pairs of 3-mers."""
_RESIDUE_BYTES = 8
_THREAD_BYTES = 60_000_000
_RECORD_BYTES = 150
_FIXED_BYTES = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What decides a search."""

    min_seq_id: float = 0.5
    """Least identity, of the aligned columns."""
    coverage: float = 0.8
    """Least fraction of both sequences that is aligned."""
    sensitivity: float = 7.0
    """Of the search for k-mers."""
    split_memory_limit: int | None = None
    """Bytes above which the k-mers of the targets are split; None: never. It changes nothing. What is below
    ``LEAST_SPLIT_BYTES`` counts as that."""

    @property
    def arguments(self) -> list[str]:
        """What decides about a pair, as mmseqs wants it."""
        least = f"{self.min_seq_id * self.coverage:g}"
        threshold = ["--min-seq-id", f"{self.min_seq_id:g}", "-c", least, "--cov-mode", "0"]
        return [*threshold, "--alignment-mode", "3", "--seq-id-mode", "0", "-e", "inf"]

    @property
    def prefilter_arguments(self) -> list[str]:
        """How candidates are found, as mmseqs wants it."""
        limit = (
            _NEVER_SPLIT if self.split_memory_limit is None else f"{max(self.split_memory_limit, LEAST_SPLIT_BYTES)}B"
        )
        hiding = ["--mask", "0", "--comp-bias-corr", "0", "--min-ungapped-score", "0"]
        # Left to itself, mmseqs takes longer k-mers where there are more targets.
        return ["-s", f"{self.sensitivity:g}", "-k", "6", *hiding, "--split-memory-limit", limit]


def memory_needed_to_search(
    search: Search, *, num_queries: int, num_targets: int, target_residues: int, num_threads: int
) -> MemoryNeed:
    """Memory that a search will need: the table of all 6-mers and the residues in it, where k-mers are searched."""
    tables = 0 if num_targets <= FEW_TARGETS else _KMER_TABLE_BYTES + target_residues * _RESIDUE_BYTES
    if search.split_memory_limit is not None:
        tables = min(tables, max(search.split_memory_limit, LEAST_SPLIT_BYTES))
    others = _FIXED_BYTES + num_threads * _THREAD_BYTES
    return MemoryNeed(tables=tables, others=others + (num_queries + num_targets) * _RECORD_BYTES + target_residues)


def search_sequences(program: Path, search: Search, work: Path, table: Path, *, num_threads: int) -> None:
    """Find the sequences of ``queries.fasta`` that are similar to any of ``targets.fasta``.

    Goes on from the last finished step of an earlier attempt.

    Args:
        program: mmseqs.
        search: What decides the outcome; the same for every attempt in one folder.
        work: The folder; every record of both files must be two lines, ``>`` with a number and residues.
        table: File that appears when all is done: a query in each line, as the FASTA names them, sorted.
        num_threads: Threads; they change nothing but the time.

    Raises:
        ExecutionError: mmseqs failed or was killed.
    """
    threads = ["--threads", str(num_threads)]
    steps = Steps(program, work, [QUERIES_NAME, TARGETS_NAME])
    steps.remove_unfinished()
    if not steps.is_finished(_QUERIES, f"{_QUERIES}_h", _TARGETS, f"{_TARGETS}_h"):
        steps.remove_all()  # the folder was moved, or nothing is finished: links lead nowhere
        steps.make_database(QUERIES_NAME, _QUERIES)
        steps.make_database(TARGETS_NAME, _TARGETS)
    found: set[int] = set()
    for candidates in _make_candidates(steps, search, threads):
        found |= _similar(steps, search, candidates, threads)
    with atomic_path(table, durable=False) as temporary:
        temporary.write_text("".join(f"{number}\n" for number in sorted(found)), encoding="ascii")


def _make_candidates(steps: Steps, search: Search, threads: Sequence[str]) -> Iterator[str]:
    """Names of databases of the pairs to align."""
    lengths = [_lengths(steps.work / f"{name}.index") for name in (_QUERIES, _TARGETS)]
    num_targets = len(lengths[1])
    few = num_targets <= FEW_TARGETS
    paired = [np.flatnonzero((each <= SHORT_RESIDUES) | few) for each in lengths]
    if len(paired[0]) and len(paired[1]):
        _pair_all(steps.work / _PAIRED, *paired)
        yield _PAIRED
    if few:
        return
    if not steps.is_finished(_LIKELY):
        every = ["--max-seqs", str(num_targets)]
        steps.run("prefilter", _QUERIES, _TARGETS, _LIKELY, *search.prefilter_arguments, *every, *threads)
    yield _LIKELY


def _lengths(index: Path) -> npt.NDArray[np.int64]:
    """Residues of each sequence of a database, by its key: keys count from 0."""
    columns = ["key", "offset", "length"]
    rows = pa_csv.read_csv(
        index,
        read_options=pa_csv.ReadOptions(column_names=columns, use_threads=False),
        parse_options=pa_csv.ParseOptions(delimiter="\t"),
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.int64())),
    )
    lengths = np.empty(rows.num_rows, dtype=np.int64)
    lengths[rows.column("key").to_numpy()] = rows.column("length").to_numpy() - _END_BYTES
    return lengths


def _pair_all(database: Path, queries: npt.NDArray[np.int64], targets: npt.NDArray[np.int64]) -> None:
    """Write candidates as the prefilter would: all queries share one list of targets."""
    listed = _lines(targets, "\t0\t0\n") + b"\0"
    database.write_bytes(listed)
    Path(f"{database}.index").write_bytes(_lines(queries, f"\t0\t{len(listed)}\n"))
    Path(f"{database}.dbtype").write_bytes(_PREFILTER_RESULT.to_bytes(4, "little"))


def _lines(keys: npt.NDArray[np.int64], end: str) -> bytes:
    """A line for each key."""
    texts = pa.array(keys).cast(pa.large_string())
    return bytes(
        string_bytes(
            pc.binary_join_element_wise(texts, pa.scalar(end, pa.large_string()), pa.scalar("", pa.large_string()))
        )
    )


def _similar(steps: Steps, search: Search, candidates: str, threads: Sequence[str]) -> set[int]:
    """Numbers of queries with a hit among some candidates."""
    found: set[int] = set()
    for correction in ("0", "1"):
        made = f"hits-{candidates}-{correction}"
        if not steps.is_finished(made):
            flags = [*search.arguments, "--comp-bias-corr", correction, *threads]
            steps.run("align", _QUERIES, _TARGETS, candidates, made, *flags)
        table = steps.work / f"{made}.tsv"
        table.unlink(missing_ok=True)
        steps.run("createtsv", _QUERIES, _TARGETS, made, table.name, *threads)
        if table.stat().st_size:
            found.update(_covered(table, search.coverage))
    return found


def _covered(table: Path, coverage: float) -> list[int]:
    """Queries that are aligned with a target over enough of both."""
    kinds = {name: pa.int64() for name in _COLUMNS if name not in {"identity", "e_value"}}
    with pa_csv.open_csv(
        table,
        read_options=pa_csv.ReadOptions(column_names=_COLUMNS, use_threads=False),
        parse_options=pa_csv.ParseOptions(delimiter="\t"),
        convert_options=pa_csv.ConvertOptions(column_types=kinds),
    ) as batches:
        return [number for batch in batches for number in _covered_in(batch, coverage)]


def _covered_in(batch: pa.RecordBatch, coverage: float) -> list[int]:
    columns = {name: batch.column(name).to_numpy() for name in _COLUMNS if name not in {"identity", "e_value"}}
    is_covered = np.ones(batch.num_rows, dtype=np.bool_)
    for of in ("query", "target"):
        spanned = columns[f"{of}_end"] - columns[f"{of}_start"] + 1
        is_covered &= spanned >= coverage * columns[f"{of}_length"] - _ROUNDING
    found: list[int] = np.unique(columns["query"][is_covered]).tolist()
    return found


_ROUNDING = 1e-6
_COLUMNS = (
    "query",
    "target",
    "score",
    "identity",
    "e_value",
    "query_start",
    "query_end",
    "query_length",
    "target_start",
    "target_end",
    "target_length",
)
"""Of an alignment in a database of them, behind the two names."""
