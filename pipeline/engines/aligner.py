"""Local alignments of pairs of records, by parasail: an aligner that has nothing in common with MMseqs2.

Smith and Waterman's algorithm with affine gaps, BLOSUM62, 11 for the first residue of a gap and 1 for each further one,
as MMseqs2 has them by default. Of the best alignment::

    columns          M K V L A - - G I V        identity  = columns with equal residues / all columns, gaps included
                     | |   |       | | |                    (MMseqs2: --alignment-mode 3 --seq-id-mode 0)
                     M K T L S D E G I V        coverage  = residues from the first column to the last / residues of
                                                            the record (MMseqs2: --cov-mode 0), 8 and 10 here

Residues that BLOSUM62 does not score are aligned as MMseqs2 does: J as L, U and O as X.

Cost, measured on proteins of E. coli, one core: 53 µs a pair, 1.8·10⁹ cells a second (Biopython's PairwiseAligner needs
1,070 µs for the score alone). Memory is a few bytes a residue of the pair: where an alignment begins is found by
aligning backwards from where it ends, not from a table of all cells.
"""

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.kmers import Records
from pipeline.errors import MissingExtraError

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

GAP_OPEN, GAP_EXTEND = 11, 1

_LETTERS = bytes.maketrans(b"JUO", b"LXX")

_Ended = tuple[int, tuple[str, str], tuple[int, int], float]
"""Index of a pair, both records up to where the alignment ends, their lengths, identity."""


class Alignments(NamedTuple):
    """The pairs whose alignment covers enough of both records, arrays of the same length."""

    pair: Int64Array
    """int64: index of the pair, ascending."""
    identity: Float64Array
    """float64, 0 to 1."""
    query_coverage: Float64Array
    target_coverage: Float64Array

    def rows(self) -> Iterator[tuple[int, float, float, float]]:
        """One pair after another."""
        yield from zip(*(column.tolist() for column in self), strict=True)


def align_pairs(
    queries: Records, targets: Records, query: Int64Array, target: Int64Array, *, min_coverage: float
) -> Alignments:
    """Align each pair, and tell of those that cover enough.

    Args:
        queries: Records, none of them empty.
        targets: Records, none of them empty.
        query: int64 [pairs], of a pair; fastest where equal ones are side by side.
        target: int64 [pairs], of a pair.
        min_coverage: Of both records.

    Raises:
        MissingExtraError: parasail is not installed.
    """
    parasail = load_aligner()
    pairs = zip(query.tolist(), target.tolist(), strict=True)
    covering = _covering(parasail, _Texts(queries), _Texts(targets), pairs, min_coverage)
    kept = [_traced(parasail, *ended) for ended in covering]
    table = np.array(kept, dtype=np.float64).reshape(-1, 4)
    table = table[(table[:, 2:] >= min_coverage).all(axis=1)]
    return Alignments(table[:, 0].astype(np.int64), table[:, 1], table[:, 2], table[:, 3])


def load_aligner() -> Any:
    """The module.

    Raises:
        MissingExtraError: parasail is not installed.
    """
    try:
        return importlib.import_module("parasail")
    except ImportError as error:
        raise MissingExtraError(
            "the search across splits needs parasail, which is not installed",
            hint="pip install 'protein-pipeline[cluster]'; on ARM, for which it has no wheel, "
            "conda install -c bioconda parasail-python",
        ) from error


class _Texts:
    """Records as text."""

    def __init__(self, records: Records) -> None:
        self._joined = records.residues.tobytes().translate(_LETTERS).decode("ascii")
        self._offsets = records.offsets.tolist()

    def __getitem__(self, record: int) -> str:
        return self._joined[self._offsets[record] : self._offsets[record + 1]]


def _covering(
    parasail: Any, queries: _Texts, targets: _Texts, pairs: Iterable[tuple[int, int]], min_coverage: float
) -> Iterator[_Ended]:
    """Pairs with enough columns to cover both records."""
    previous, text, profile = -1, "", None
    for pair, (one, other) in enumerate(pairs):
        if one != previous:
            previous, text = one, queries[one]
            profile = parasail.profile_create_stats_sat(text, parasail.blosum62)
        found = targets[other]
        result = parasail.sw_stats_striped_profile_sat(profile, found, GAP_OPEN, GAP_EXTEND)
        num_columns = result.length
        # An alignment has at least as many columns as it covers residues of either record.
        if num_columns / max(len(text), len(found)) >= min_coverage:
            ends = text[: result.end_query + 1], found[: result.end_ref + 1]
            yield pair, ends, (len(text), len(found)), result.matches / num_columns


def _traced(
    parasail: Any, pair: int, ends: tuple[str, str], lengths: tuple[int, int], identity: float
) -> tuple[float, ...]:
    """Index, identity and both coverages: backwards from its end, the best alignment ends where it begins."""
    result = parasail.sw_stats_striped_sat(ends[0][::-1], ends[1][::-1], GAP_OPEN, GAP_EXTEND, parasail.blosum62)
    return pair, identity, (result.end_query + 1) / lengths[0], (result.end_ref + 1) / lengths[1]
