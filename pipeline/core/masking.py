"""Masked language modelling on packed rows: which residues a model must guess, and what it sees in their place.

Segments lie one after another in a row, each with its special tokens; only residues are ever selected::

    input_ids   cls  M  K  T  V  eos cls  G  S  eos pad pad
    position         0  1  2  3           0  1
    selected         .  x  .  x           .  .
    corrupted   cls  M  *  T  R  eos cls  G  S  eos pad pad      * is the mask token
    labels      -100 .  K  .  V  ...                             the original id; -100 elsewhere

Each residue is selected independently with the rate of its segment. Whether it is, and what it becomes, depends on
(seed, epoch, record key, start, position) alone: not on rank, worker, batch size, row or neighbours (law 7). Position
counts the residues of the segment from 0, so special tokens do not matter either.

One draw of the counter hash decides about one residue: its upper 32 bits whether it is selected, its lower 32 bits its
fate (mask, random residue, itself). A random residue takes a second draw, under a key of its own purpose.

Cost: 12 to 20 ns a token on one core with 32 rows of 1,024, the copies of tokens and labels included; 9 to 17 with 256.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.noise import Constant, Schedule, draw_rates
from pipeline.core.randomness import (
    PURPOSE_MASK,
    PURPOSE_REPLACEMENT,
    UInt64Array,
    below,
    derive_key,
    draw,
    draw_runs,
)

IntArray = npt.NDArray[np.integer]
Positions = npt.NDArray[np.int64]

IGNORED = -100
"""The label of a token that the loss leaves out: ``torch.nn.functional.cross_entropy``'s default."""

_RESIDUES_AT_A_TIME = 12_000
# Arrays of eight bytes a residue stay below 128 KiB, above which malloc maps fresh pages for each: with 15,000 a batch
# of 32 rows of 1,024 takes twice as long.
_LOWER_HALF = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Corruption:
    """What becomes of selected residues; those that are neither masked nor replaced stay as they are.

    Attributes:
        mask: The share that becomes the mask token.
        random: The share that becomes a random residue of the pool.
    """

    mask: float
    random: float


BERT = Corruption(mask=0.8, random=0.1)
"""The 80/10/10 rule of BERT (Devlin et al. 2019), which ESM-1b and ESM-2 use with a plain rate."""
ABSORBING = Corruption(mask=1.0, random=0.0)
"""Every selected residue becomes the mask token, as ESM3 trains with a schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Where the segments of a batch of rows lie and which records they are.

    Attributes:
        row_offsets: int64 [rows + 1]; the segments of row r are those from row_offsets[r] to row_offsets[r + 1].
        lengths: Tokens of each segment with its special tokens, integers [segments].
        record_keys: uint64 [segments].
        starts: First residue of each segment in its record, integers [segments].
        num_prefix: Special tokens before the residues of each segment.
        num_suffix: Special tokens after them.
        alignment: A segment occupies its length rounded up to a multiple of this.
    """

    row_offsets: IntArray
    lengths: IntArray
    record_keys: UInt64Array
    starts: IntArray
    num_prefix: int
    num_suffix: int
    alignment: int = 1

    def num_residues(self) -> Positions:
        """Residues of each segment, int64 [segments]."""
        return np.maximum(self.lengths.astype(np.int64) - (self.num_prefix + self.num_suffix), 0)

    def first_residues(self, row_length: int) -> Positions:
        """Where each segment's first residue is among the tokens of all rows of ``row_length``, int64 [segments]."""
        occupied = -(-self.lengths.astype(np.int64) // self.alignment) * self.alignment
        before = np.concatenate(([0], np.cumsum(occupied)))
        in_row = before[:-1] - np.repeat(before[self.row_offsets[:-1]], np.diff(self.row_offsets))
        rows = np.repeat(np.arange(len(self.row_offsets) - 1), np.diff(self.row_offsets))
        return np.asarray(rows * row_length + in_row + self.num_prefix)


def mask_tokens(
    input_ids: IntArray,
    segments: Segments,
    *,
    schedule: Schedule,
    seed: int,
    epoch: int,
    mask_id: int,
    pool: IntArray,
    corruption: Corruption | None = None,
    special_ids: tuple[int, ...] = (),
    label_type: npt.DTypeLike = np.int64,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Corrupt the residues of packed rows for masked language modelling.

    Args:
        input_ids: Tokens, integers [rows, row length]; not changed.
        segments: The segments of the rows.
        schedule: The mask rate of each segment is drawn from it.
        seed: Of the run.
        epoch: Each epoch masks anew.
        mask_id: The mask token.
        pool: Residues that a random replacement is drawn from, integers [pool size]; usually the 20 standard ones.
        corruption: What becomes of a selected residue: by default ``BERT`` for a plain rate, else ``ABSORBING``.
        special_ids: Tokens that are never selected wherever they stand, for layouts whose special tokens are not at
            the same place in each segment (concatenation).
        label_type: dtype of the labels, signed.

    Returns:
        The corrupted tokens, dtype and shape of ``input_ids``, and the labels [rows, row length]: the original token
        where one was selected, ``IGNORED`` elsewhere.
    """
    corrupted = np.array(input_ids, order="C")
    labels = np.full(corrupted.shape, IGNORED, dtype=label_type)
    tokens, targets = corrupted.reshape(-1), labels.reshape(-1)
    identity = (seed, epoch, segments.record_keys, segments.starts)
    keys = derive_key(PURPOSE_MASK, *identity)
    limits = _limits(draw_rates(schedule, *identity))
    fate = _Fate(corruption or (BERT if isinstance(schedule, Constant) else ABSORBING), mask_id, np.asarray(pool))
    replacement_keys = derive_key(PURPOSE_REPLACEMENT, *identity) if fate.corruption.random else keys
    counts, first_residues = segments.num_residues(), segments.first_residues(corrupted.shape[1])
    for few in _slices(counts):
        draws = _Draws(draw_runs(keys[few], counts[few]), counts[few])
        residues, places = draws.select(limits[few], first_residues[few])
        if special_ids:
            kept = np.isin(tokens[places], special_ids, invert=True)
            residues, places = residues[kept], places[kept]
        originals = tokens[places]
        targets[places] = originals
        tokens[places] = fate.of(originals, residues, draws, replacement_keys[few])
    return corrupted, labels


@dataclass(frozen=True, slots=True)
class _Draws:
    """One draw for each residue of some segments, end to end: uint64 [residues], and how many each segment has."""

    bits: UInt64Array
    counts: Positions

    def select(self, limits: UInt64Array, first_residues: Positions) -> tuple[Positions, Positions]:
        """The selected residues, as indices into ``bits`` and into the tokens of the rows; arguments [segments]."""
        chosen = np.flatnonzero(self.bits < np.repeat(limits, self.counts))
        ends = np.cumsum(self.counts)
        num_chosen = np.diff(np.searchsorted(chosen, ends), prepend=0)
        return chosen, chosen + np.repeat(first_residues - (ends - self.counts), num_chosen)

    def locate(self, residues: Positions) -> tuple[Positions, Positions]:
        """Segment, and position in it, of indices into ``bits``."""
        ends = np.cumsum(self.counts)
        segments = np.searchsorted(ends, residues, side="right")
        return segments, residues - (ends - self.counts)[segments]


@dataclass(frozen=True, slots=True)
class _Fate:
    """What selected residues become."""

    corruption: Corruption
    mask_id: int
    pool: IntArray

    def of(self, originals: IntArray, residues: Positions, draws: _Draws, replacement_keys: UInt64Array) -> IntArray:
        """New tokens [selected] for the selected ``residues`` of ``draws``; ``replacement_keys`` are [segments]."""
        masks = np.full_like(originals, self.mask_id)
        if self.corruption.mask >= 1.0:
            return masks
        lower = draws.bits[residues] & _LOWER_HALF
        masked = lower < _share(self.corruption.mask)
        becomes = np.where(masked, masks, originals)
        replaced = np.flatnonzero(~masked & (lower < _share(self.corruption.mask + self.corruption.random)))
        segments, positions = draws.locate(residues[replaced])
        becomes[replaced] = self.pool[below(draw(replacement_keys[segments], positions), len(self.pool))]
        return becomes


def _share(fraction: float) -> np.uint64:
    """The part of the range of 32 bits that lies below ``fraction``."""
    return np.uint64(int(fraction * 2.0**32))


def _limits(rates: npt.NDArray[np.float64]) -> UInt64Array:
    """A draw below its limit selects: upper 32 bits < floor(rate * 2^32), whatever the lower 32 bits are."""
    return np.minimum(rates * 2.0**32, 2.0**32 - 1).astype(np.uint64) << np.uint64(32)


def _slices(counts: Positions) -> Iterator[slice]:
    """Runs of segments that together have about ``_RESIDUES_AT_A_TIME`` residues."""
    ends = np.cumsum(counts)
    targets = np.arange(_RESIDUES_AT_A_TIME, int(counts.sum()), _RESIDUES_AT_A_TIME)
    borders = np.unique(np.concatenate(([0], np.searchsorted(ends, targets), [len(counts)]))).tolist()
    return (slice(first, last) for first, last in pairwise(borders))
