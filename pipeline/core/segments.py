"""Where the segments of a batch of rows lie, and which records they are: what every objective works on.

::

    row        cls  M  K  T  V  eos cls  G  S  eos pad pad
    segments   ├──────── 6 ───────┤├───── 4 ─────┤             lengths, in tokens
    residues        ├─── 4 ───┤        ├─ 2 ─┤                 without prefix and suffix
    position        0  1  2  3         0  1                    counts the residues of a segment from 0

Residues of some segments are often held end to end, without the special tokens between them ("flat"). Random numbers
are keyed on the identity of a segment, (seed, epoch, record key, start), and count its positions: law 7.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.layout import segment_places
from pipeline.core.randomness import UInt64Array, Words, derive_key

IntArray = npt.NDArray[np.integer]
Int64Array = npt.NDArray[np.int64]

RESIDUES_AT_A_TIME = 24_000
"""Residues that are worked on at once: few calls of numpy, and arrays that stay in a second-level cache. Masks take 10
to 20 % longer with 12,000 and with 64,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """The segments of a batch of rows.

    Attributes:
        row_offsets: int64 [rows + 1]; the segments of row r are those from row_offsets[r] to row_offsets[r + 1].
        lengths: Tokens of each segment with its special tokens, integers [segments].
        record_keys: uint64 [segments].
        starts: First residue of each segment in its record, integers [segments].
        num_prefix: Special tokens before the residues of each segment.
        num_suffix: Special tokens after them: of all segments, or integers [segments].
        alignment: A segment occupies its length rounded up to a multiple of this.
    """

    row_offsets: IntArray
    lengths: IntArray
    record_keys: UInt64Array
    starts: IntArray
    num_prefix: int
    num_suffix: int | IntArray
    alignment: int = 1

    def num_residues(self) -> Int64Array:
        """Residues of each segment, int64 [segments]."""
        return np.asarray(np.maximum(self.lengths.astype(np.int64) - (self.num_prefix + self.num_suffix), 0))

    def firsts(self, row_length: int) -> Int64Array:
        """Where each segment begins among the tokens of all rows of ``row_length``, int64 [segments]."""
        return segment_places(self.lengths, self.row_offsets, row_length, self.alignment)

    def first_residues(self, row_length: int) -> Int64Array:
        """Where each segment's first residue is among the tokens of all rows of ``row_length``, int64 [segments]."""
        return self.firsts(row_length) + self.num_prefix

    def by_token(
        self, values: npt.NDArray[np.generic] | int, shape: tuple[int, ...], *, padding: int, dtype: npt.DTypeLike
    ) -> npt.NDArray[Any]:
        """A value for each segment, on each of its tokens.

        Args:
            values: [segments], or the same for all of them.
            shape: Rows and row length.
            padding: The value of padding.
            dtype: Of the result.

        Returns:
            [rows, row length].
        """
        runs = np.zeros(2 * len(self.lengths) + 1, dtype=np.int64)  # padding, segment, padding, segment, … padding
        runs[1::2] = self.lengths
        edges = np.concatenate((self.firsts(shape[1]), [shape[0] * shape[1]]))
        runs[0], runs[2::2] = edges[0], np.diff(edges) - runs[1::2]
        of_runs = np.full(len(runs), padding, dtype=dtype)
        of_runs[1::2] = values
        return np.repeat(of_runs, runs).reshape(shape)

    def keys(self, purpose: int, seed: int, epoch: int) -> UInt64Array:
        """One key a segment for the draws of a purpose, uint64 [segments]."""
        starts: Words = self.starts
        return derive_key(purpose, seed, epoch, self.record_keys, starts)


def slices(counts: Int64Array, at_a_time: int) -> Iterator[slice]:
    """Runs of segments that together have about ``at_a_time`` residues.

    Args:
        counts: Residues of each segment, int64 [segments].
        at_a_time: How many, about: a segment is not cut.
    """
    ends = np.cumsum(counts)
    targets = np.arange(at_a_time, int(counts.sum()), at_a_time)
    borders = np.unique(np.concatenate(([0], np.searchsorted(ends, targets), [len(counts)]))).tolist()
    return (slice(first, last) for first, last in pairwise(borders))
