"""One part of a corpus against all held-out records: which pairs to compare, align them, keep the closest.

Lengths first. An alignment of c columns with i identities covers at most c residues of one record and at least i of the
other; a hit has i ≥ c / 2, and covers 80 % of both. So the shorter record has at least 0.5 · 0.8 = 0.4 of the residues
of the longer one; where coverage counted only residues beside residues, it would be 0.8, but then a domain with an
insertion would be no homologue of one without.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.alphabet import select_records
from pipeline.core.kmers import Marks, Records, Windows, WordIndex, blocks_of
from pipeline.core.ragged import ramps
from pipeline.engines.aligner import align_pairs
from pipeline.formats.clusters import TEST, TRAIN, VALID
from pipeline.formats.corpus import joined_strings
from pipeline.formats.parquet import read_columns

Int64Array = npt.NDArray[np.int64]

MIN_IDENTITY = 0.5
MIN_COVERAGE = 0.8
LENGTH_RATIO = (2, 5)
"""The shorter record has at least two fifths of the residues of the longer one."""
NUM_EXAMPLES = 10

_SEARCHED = ((VALID, (TRAIN,)), (TEST, (TRAIN, VALID)))
"""Held-out splits, and those that are compared with each."""
_PAIRS_PER_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Two records of two splits whose best alignment covers enough of both."""

    splits: tuple[str, str]
    accessions: tuple[str, str]
    identity: float
    """Columns with equal residues among the columns of the alignment."""
    coverages: tuple[float, float]

    @property
    def rank(self) -> tuple[float, tuple[str, str], tuple[str, str]]:
        """The closest are the least."""
        return -self.identity, self.splits, self.accessions

    @property
    def is_hit(self) -> bool:
        """Whether it should not be."""
        return self.identity >= MIN_IDENTITY


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPair:
    """What was found between two splits."""

    splits: tuple[str, str]
    pairs: int
    """Of records, whose lengths allow a hit."""
    pairs_aligned: int
    hits: int
    closest: tuple[Neighbour, ...]
    """The closest of those that cover enough, hits or not, at most ten."""


def collect_part(clusters_part: Path, corpus_part: Path) -> tuple[pa.Table, Int64Array]:
    """The held-out records of a part, and int64 [lengths], how many of its training records have each length."""
    split = read_columns(clusters_part, ["split"]).column("split").cast(pa.string())
    length = read_columns(corpus_part, ["length"]).column("length").to_numpy()
    is_train = _is(split, TRAIN)
    lengths = np.bincount(length[is_train]).astype(np.int64)
    table = read_columns(corpus_part, ["accession", "sequence", "length"]).append_column("split", split)
    return table.filter(pa.array(_is(split, VALID) | _is(split, TEST))), lengths


def search_part(
    clusters_part: Path, corpus_part: Path, held_out: pa.Table, rulers: Sequence[Marks] | None
) -> tuple[SplitPair, ...]:
    """Compare the records of a part with all held-out ones.

    Args:
        clusters_part: File of the clusters.
        corpus_part: The corpus part beside it.
        held_out: accession, sequence, length, split.
        rulers: Of the words that candidates have in common; None makes every pair one whose lengths allow a hit.
    """
    split = read_columns(clusters_part, ["split"]).column("split").cast(pa.string())
    records = read_columns(corpus_part, ["accession", "sequence"])
    found = []
    for target_split, query_splits in _SEARCHED:
        targets = held_out.filter(pc.equal(held_out.column("split"), target_split)).sort_by("length")
        if targets.num_rows:
            search = _Search(targets, rulers)
            found += [search.run(records, _is(split, name), (name, target_split)) for name in query_splits]
    return tuple(found)


def merged_pairs(parts: Sequence[tuple[SplitPair, ...]]) -> tuple[SplitPair, ...]:
    """What was found in all parts, between each two splits."""
    by_splits: dict[tuple[str, str], list[SplitPair]] = {}
    for pair in (pair for part in parts for pair in part):
        by_splits.setdefault(pair.splits, []).append(pair)
    return tuple(
        SplitPair(
            splits=splits,
            pairs=sum(pair.pairs for pair in pairs),
            pairs_aligned=sum(pair.pairs_aligned for pair in pairs),
            hits=sum(pair.hits for pair in pairs),
            closest=_closest([neighbour for pair in pairs for neighbour in pair.closest]),
        )
        for splits, pairs in by_splits.items()
    )


def windows_of(query_lengths: Int64Array, target_lengths: Int64Array) -> Windows:
    """The targets whose lengths allow a hit with each query; none for a record without residues.

    Args:
        query_lengths: int64 [queries].
        target_lengths: int64 [targets], ascending.
    """
    numerator, denominator = LENGTH_RATIO
    shortest = np.maximum(-(-query_lengths * numerator // denominator), 1)
    longest = query_lengths * denominator // numerator
    return Windows(
        np.searchsorted(target_lengths, shortest, side="left"), np.searchsorted(target_lengths, longest, side="right")
    )


class _Search:
    """The held-out records of one split, in ascending order of length."""

    def __init__(self, targets: pa.Table, rulers: Sequence[Marks] | None) -> None:
        self._accessions = targets.column("accession")
        self._records = Records(*joined_strings(targets.column("sequence")))
        self._index = WordIndex(self._records, rulers) if rulers else None

    def run(self, table: pa.Table, chosen: npt.NDArray[np.bool_], splits: tuple[str, str]) -> SplitPair:
        """Compare the chosen records of a table."""
        residues, offsets = joined_strings(table.column("sequence"))
        queries = Records(*select_records(residues, offsets, chosen))
        accessions = table.column("accession").filter(pa.array(chosen))
        windows = windows_of(queries.lengths, self._records.lengths)
        num_aligned = num_hits = 0
        closest: tuple[Neighbour, ...] = ()
        for query, target in self._candidates(queries, windows):
            alignments = align_pairs(queries, self._records, query, target, min_coverage=MIN_COVERAGE)
            num_aligned += len(query)
            num_hits += int(np.count_nonzero(alignments.identity >= MIN_IDENTITY))
            # The tenth: of an unpurged family there are thousands, and none but the closest is told.
            least = np.sort(alignments.identity)[-NUM_EXAMPLES:].min(initial=1)
            neighbours = [
                Neighbour(
                    splits=splits,
                    accessions=(accessions[query[pair]].as_py(), self._accessions[target[pair]].as_py()),
                    identity=identity,
                    coverages=(coverage, other_coverage),
                )
                for pair, identity, coverage, other_coverage in alignments.rows()
                if identity >= least
            ]
            closest = _closest([*closest, *neighbours])
        return SplitPair(
            splits=splits,
            pairs=int((windows.last - windows.first).sum()),
            pairs_aligned=num_aligned,
            hits=num_hits,
            closest=closest,
        )

    def _candidates(self, queries: Records, windows: Windows) -> Iterator[tuple[Int64Array, Int64Array]]:
        if self._index is not None:
            yield from self._index.candidates(queries, windows)
            return
        counts = windows.last - windows.first
        for first, last in blocks_of(counts, _PAIRS_PER_BLOCK):
            chosen = slice(first, last)
            yield np.repeat(np.arange(first, last), counts[chosen]), ramps(counts[chosen], windows.first[chosen])


def _closest(neighbours: Sequence[Neighbour]) -> tuple[Neighbour, ...]:
    return tuple(sorted(neighbours, key=lambda neighbour: neighbour.rank)[:NUM_EXAMPLES])


def _is(split: pa.ChunkedArray, name: str) -> npt.NDArray[np.bool_]:
    return np.array(pc.fill_null(pc.equal(split, name), False).to_numpy(zero_copy_only=False))  # noqa: FBT003
