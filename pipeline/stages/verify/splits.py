"""Search again across the splits of clusters, with an aligner that has nothing in common with the one that purged them.

::

    round 1, a task a part    held-out records of the part, and how long its training records are
    round 2, a task a part    its records against all that are held out, by ``split_search``

A hit is a pair of records of two splits that is at least 50 % identical where its best local alignment covers at least
80 % of both (``pipeline.engines.aligner`` says how each is counted). Train is compared with valid and with test, valid
with test; excluded records take no part. Chance is not asked about: two peptides of a dozen residues may be a hit.

Which pairs are aligned depends on how many cells their tables have together, so that the outcome is the same for every
executor: up to 2^36, which take half a minute of one core, every pair whose lengths allow a hit; beyond, those that
have words of four residues in common, of five beyond 2^40, of six beyond 2^48 (``pipeline.core.kmers`` says what each
may miss).

Memory: each task holds all held-out records and the index of their words, 13, 21 or 37 bytes a residue, about 30 more
while it is made, and a part of the corpus. 0.5 % of UniRef50, 10^8 residues, are 4 to 7 GB a worker.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.kmers import WORDS_OF_FIVE, WORDS_OF_FOUR, WORDS_OF_SIX, Marks
from pipeline.engines.aligner import load_aligner
from pipeline.engines.execution import Executor
from pipeline.engines.stage import TaskResult, Watcher
from pipeline.errors import ConfigurationError
from pipeline.formats.clusters import TEST, TRAIN, VALID
from pipeline.stages.verify.checks import Finding
from pipeline.stages.verify.split_search import (
    MIN_COVERAGE,
    MIN_IDENTITY,
    Int64Array,
    Neighbour,
    SplitPair,
    collect_part,
    merged_pairs,
    search_part,
    windows_of,
)

METHODS: tuple[tuple[str, tuple[Marks, ...] | None], ...] = (
    ("every one whose lengths allow a hit", None),
    ("those with words of four residues in common", WORDS_OF_FOUR),
    ("those with words of five residues in common", WORDS_OF_FIVE),
    ("those with words of six residues in common", WORDS_OF_SIX),
)
"""Which pairs are aligned, and the rulers of their words."""
MOST_CELLS: tuple[float, ...] = (2**36, 2**40, 2**48)
"""Cells up to which each method but the last is chosen."""

_EVERYWHERE = "part-*.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitsReport:
    """What the search across splits found."""

    records: dict[str, int]
    """Records of each split."""
    method: str
    """Which pairs were aligned."""
    pairs: tuple[SplitPair, ...]
    """What was found between each two splits."""

    @property
    def highest(self) -> Neighbour | None:
        """The pair of highest identity among those that cover enough."""
        closest = (pair.closest[0] for pair in self.pairs if pair.closest)
        return min(closest, key=lambda neighbour: neighbour.rank, default=None)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """For each two splits with hits, how many there are, and the first of them."""
        return tuple(
            Finding(path=_EVERYWHERE, message=message)
            for pair in self.pairs
            if pair.hits
            for message in _messages(pair)
        )

    @property
    def sentence(self) -> str:
        """The outcome, in one line."""
        held_out = self.records[VALID] + self.records[TEST]
        hits, aligned = sum(pair.hits for pair in self.pairs), sum(pair.pairs_aligned for pair in self.pairs)
        highest = f"the highest is {_told(self.highest)}" if self.highest else "none covers enough of both records"
        return (
            f"{_hits(hits)} across splits ({held_out:,} held-out records; aligned {aligned:,} pairs, {self.method}); "
            f"{highest}"
        )


def search_splits(
    parts: Sequence[tuple[Path, Path]], *, executor: Executor, watcher: Watcher, folder: Path
) -> SplitsReport:
    """Search across the splits of clusters.

    Args:
        parts: Each file of the clusters, and the corpus part beside it.
        executor: Who searches the parts.
        watcher: Who is told how far it is.
        folder: The clusters, for messages.

    Raises:
        ConfigurationError: Nothing is held out.
        MissingExtraError: parasail is not installed.
    """
    load_aligner()
    collected = _mapped([partial(collect_part, *part) for part in parts], "collect", executor, watcher)
    held_out = pa.concat_tables([table for table, _ in collected]).combine_chunks()
    if not held_out.num_rows:
        raise ConfigurationError(
            f"{folder}: expected records in the splits valid or test, found none: there is nothing to search across",
            hint="hold some out, with `pipeline cluster … --valid-fraction 0.005`, or verify without --splits",
        )
    lengths = _lengths_of(held_out) | {TRAIN: _added([counts for _, counts in collected])}
    method, rulers = _method(lengths)
    calls = [partial(search_part, *part, held_out, rulers) for part in parts]
    return SplitsReport(
        records={split: int(lengths[split].sum()) for split in (TRAIN, VALID, TEST)},
        method=method,
        pairs=merged_pairs(_mapped(calls, "search", executor, watcher)),
    )


def _mapped(calls: Sequence[Callable[[], Any]], label: str, executor: Executor, watcher: Watcher) -> list[Any]:
    """Results in the order of the calls."""
    watcher.round_started("clusters", label, len(calls), 0)
    results: list[Any] = [None] * len(calls)
    for index, result in executor.map(calls):
        results[index] = result
        watcher.task_finished("clusters", TaskResult())
    return results


def _lengths_of(held_out: pa.Table) -> dict[str, Int64Array]:
    """Histograms of the lengths of valid and test."""
    split = np.array(held_out.column("split").to_pylist())
    length = held_out.column("length").to_numpy()
    return {name: np.bincount(length[split == name]).astype(np.int64) for name in (VALID, TEST)}


def _added(histograms: Sequence[Int64Array]) -> Int64Array:
    total = np.zeros(max(map(len, histograms), default=0), dtype=np.int64)
    for histogram in histograms:
        total[: len(histogram)] += histogram
    return total


def _method(lengths: dict[str, Int64Array]) -> tuple[str, tuple[Marks, ...] | None]:
    cells = sum(
        _num_cells(lengths[one], lengths[other]) for one, other in ((TRAIN, VALID), (TRAIN, TEST), (VALID, TEST))
    )
    return METHODS[bisect_left(MOST_CELLS, cells)]


def _num_cells(queries: Int64Array, targets: Int64Array) -> float:
    """Cells of the tables of all pairs whose lengths allow a hit.

    Args:
        queries: int64 [lengths] records of each length.
        targets: int64 [lengths] records of each length.
    """
    residues = np.r_[0.0, np.cumsum(targets * np.arange(len(targets), dtype=np.float64))]
    length = np.arange(len(queries))
    windows = windows_of(length, np.arange(len(targets)))
    return float((queries * length * (residues[windows.last] - residues[windows.first])).sum())


def _messages(pair: SplitPair) -> Iterator[str]:
    between = " and ".join(pair.splits)
    yield (
        f"{_hits(pair.hits)} between {between}: expected none of at least {MIN_IDENTITY:.0%} identity over "
        f"{MIN_COVERAGE:.0%} of both"
    )
    for neighbour in pair.closest:
        if neighbour.is_hit:
            yield f"hit between {between}: {_told(neighbour)}"


def _hits(number: int) -> str:
    return f"{number:,} hit{'' if number == 1 else 's'}"


def _told(neighbour: Neighbour) -> str:
    (one, other), (first, second) = neighbour.splits, neighbour.accessions
    coverage, other_coverage = neighbour.coverages
    return (
        f"{first} ({one}) and {second} ({other}), {neighbour.identity:.1%} identical over {coverage:.1%} and "
        f"{other_coverage:.1%} of them"
    )
