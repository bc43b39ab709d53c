"""Which spans of a segment T5's span corruption hides (Raffel et al. 2020, arXiv:1910.10683).

::

    residues   M K T V R Q G L A          9 residues, density 0.3, mean span 1.5
    runs       gap ─── span gap ─ span    2 spans of 3 hidden residues, 2 gaps of 6 that stay
    noise      . . . x  . . .  x x

As in the released code (google-research/text-to-text-transfer-transformer, random_spans_noise_mask), the number of
hidden residues and of spans follows from the length of the segment, gaps and spans take turns beginning with a gap, and
all ways of cutting the residues into that many spans and gaps are equally likely. A segment of fewer than two residues
has no span.

There are never more spans than sentinel tokens: where there would be, the spans become longer and as many residues are
hidden. Draws are keyed on the segment alone (law 7). Cost: 40 ns a residue.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.core.ragged import offsets_of
from pipeline.core.randomness import UInt64Array
from pipeline.core.segments import Int64Array
from pipeline.core.shuffled_runs import random_subsets


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRule:
    """How much is hidden, in how many spans.

    Attributes:
        density: Share of the residues, between 0 and 1.
        mean_length: Residues of a span on average, at least 1.
        most_spans: In one segment, at least 1.
    """

    density: float
    mean_length: float
    most_spans: int

    def num_noise(self, counts: Int64Array) -> Int64Array:
        """Hidden residues of segments with ``counts`` residues, int64 [segments]: at least one, never all."""
        rounded = np.rint(counts * self.density).astype(np.int64)
        return np.asarray(np.clip(rounded, np.minimum(1, counts - 1), counts - 1).clip(min=0))

    def num_spans(self, counts: Int64Array) -> Int64Array:
        """Spans of segments with ``counts`` residues, int64 [segments]."""
        noise = self.num_noise(counts)
        rounded = np.rint(noise / self.mean_length).astype(np.int64).clip(min=1)
        # A span hides at least one residue and so does a gap show one.
        return np.asarray(
            np.minimum(np.minimum(rounded, self.most_spans), np.minimum(noise, counts - noise).clip(min=0))
        )

    def target_lengths(self, counts: Int64Array) -> Int64Array:
        """Tokens of the targets: a sentinel a span, the hidden residues, an end token; 0 without a span."""
        noise = self.num_noise(counts)
        return np.where(noise > 0, noise + self.num_spans(counts) + 1, 0)

    def longest_targets(self, row_length: int, *, num_special: int, alignment: int = 1, shortest: int = 1) -> int:
        """A number of tokens that the targets of a row never exceed.

        A segment of n residues occupies o(n) tokens of the row and t(n) tokens of the targets. With r the largest
        t(n) / o(n), the targets of a row are sum t(n) <= r sum o(n) <= r row_length.

        Args:
            row_length: Tokens of a row.
            num_special: Special tokens of each segment.
            alignment: A segment occupies its length rounded up to a multiple of this.
            shortest: Residues that every segment has at least.
        """
        counts = np.arange(shortest, max(shortest, row_length - num_special) + 1)
        occupied = -(-(counts + num_special) // alignment) * alignment
        return int((self.target_lengths(counts) * row_length // occupied).max())


@dataclass(frozen=True, slots=True)
class SpanRuns:
    """Segments cut into gaps and spans.

    Attributes:
        lengths: int64 [pairs, 2]: residues of a gap, and of the span behind it. A segment without a span is one pair
            (residues, 0).
        num_pairs: Pairs of each segment, int64 [segments].
    """

    lengths: Int64Array
    num_pairs: Int64Array


def draw_spans(gap_keys: UInt64Array, span_keys: UInt64Array, counts: Int64Array, rule: SpanRule) -> SpanRuns:
    """Cut segments into gaps and spans.

    Args:
        gap_keys: uint64 [segments], for the lengths of gaps.
        span_keys: uint64 [segments], for the lengths of spans.
        counts: Residues of each segment, int64 [segments].
        rule: How much is hidden.
    """
    noise = rule.num_noise(counts)
    num_pairs = np.maximum(rule.num_spans(counts), 1)
    gaps = compositions(gap_keys, counts - noise, num_pairs)
    spans = compositions(span_keys, noise, num_pairs)
    return SpanRuns(np.stack((gaps, spans), axis=1), num_pairs)


def compositions(keys: UInt64Array, totals: Int64Array, num_parts: Int64Array) -> Int64Array:
    """Each total as a sum of positive parts, end to end: int64 [sum of num_parts].

    Every such sum, in its order, is equally likely: parts end behind a random subset of the units but the last one.

    Args:
        keys: uint64 [segments].
        totals: int64 [segments]; 0 is a single part of 0.
        num_parts: int64 [segments], from 1 to the total.
    """
    ends = np.repeat(totals, num_parts)
    is_last = np.zeros(len(ends), dtype=bool)
    is_last[offsets_of(num_parts)[1:] - 1] = True
    ends[~is_last] = random_subsets(keys, np.maximum(totals - 1, 0), num_parts - 1) + 1
    parts = np.diff(ends, prepend=0)
    firsts = offsets_of(num_parts)[:-1]
    parts[firsts] = ends[firsts]
    return parts
