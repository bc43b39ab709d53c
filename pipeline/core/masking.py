"""Masked language modelling on packed rows: which residues a model must guess, and what it sees in their place.

Segments lie one after another in a row, each with its special tokens; only residues are ever selected::

    input_ids   cls  M  K  T  V  eos cls  G  S  eos pad pad
    position         0  1  2  3           0  1
    selected         .  x  .  x           .  .
    corrupted   cls  M  *  T  R  eos cls  G  S  eos pad pad      * is the mask token
    labels      -100 .  K  .  V  ...                             the original id; -100 elsewhere

Each residue is selected independently with the rate of its segment, or a segment has a given number of residues
selected. Which ones, and what they become, depends on (seed, epoch, record key, start, position) alone: not on rank,
worker, batch size, row or neighbours (law 7). Position counts the residues of the segment from 0, so special tokens do
not matter either.

One draw of the counter hash decides about one residue: its upper 32 bits whether it is selected, its lower 32 bits its
fate (mask, random residue, itself). A random residue takes a second draw, under a key of its own purpose.

Cost: 9 ns a token on one core with a schedule and 12 with a plain rate, copies included, in blocks of 512 rows of 1,024
as the reader has them; 18 to 20 with 32 rows (tests/benchmarks/objectives.py, both processors busy with other things).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.noise import Constant, Schedule, draw_rates
from pipeline.core.randomness import PURPOSE_MASK, PURPOSE_REPLACEMENT, UInt64Array, draw, draw_runs
from pipeline.core.replacement_pool import Pool
from pipeline.core.segments import RESIDUES_AT_A_TIME, Int64Array, IntArray, Segments, slices
from pipeline.core.shuffled_runs import random_subsets

IGNORED = -100
"""The label of a token that the loss leaves out: ``torch.nn.functional.cross_entropy``'s default."""


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
class Fate:
    """What selected residues become.

    Attributes:
        corruption: The shares of masks and of random residues.
        mask_id: The mask token.
        pool: What random residues are drawn from.
    """

    corruption: Corruption
    mask_id: int
    pool: Pool


def mask_tokens(
    input_ids: IntArray,
    segments: Segments,
    *,
    schedule: Schedule,
    seed: int,
    epoch: int,
    mask_id: int,
    pool: Pool,
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
        pool: What random replacements are drawn from.
        corruption: What becomes of a selected residue: by default ``BERT`` for a plain rate, else ``ABSORBING``.
        special_ids: Tokens that are never selected wherever they stand, for layouts whose special tokens are not at
            the same place in each segment (concatenation).
        label_type: dtype of the labels, signed.

    Returns:
        The corrupted tokens, dtype and shape of ``input_ids``, and the labels [rows, row length]: the original token
        where one was selected, ``IGNORED`` elsewhere.
    """
    rates = draw_rates(schedule, seed, epoch, segments.record_keys, segments.starts)
    fate = Fate(
        corruption=corruption or (BERT if isinstance(schedule, Constant) else ABSORBING), mask_id=mask_id, pool=pool
    )
    return mask_at_rates(
        input_ids, segments, rates, seed=seed, epoch=epoch, fate=fate, special_ids=special_ids, label_type=label_type
    )


def mask_at_rates(
    input_ids: IntArray,
    segments: Segments,
    rates: npt.NDArray[np.float64],
    *,
    seed: int,
    epoch: int,
    fate: Fate,
    special_ids: tuple[int, ...] = (),
    label_type: npt.DTypeLike = np.int64,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Select each residue with the rate of its segment.

    Args:
        input_ids: Tokens, integers [rows, row length]; not changed.
        segments: The segments of the rows.
        rates: float64 [segments], from 0 to 1: 1 selects every residue.
        seed: Of the run.
        epoch: Each epoch masks anew.
        fate: What selected residues become.
        special_ids: Tokens that are never selected wherever they stand.
        label_type: dtype of the labels, signed.

    Returns:
        As ``mask_tokens``.
    """
    corrupted = np.array(input_ids, order="C")
    labels = np.full(corrupted.shape, IGNORED, dtype=label_type)
    tokens, targets = corrupted.reshape(-1), labels.reshape(-1)
    keys, limits = segments.keys(PURPOSE_MASK, seed, epoch), _limits(rates)
    counts, firsts = segments.num_residues(), segments.first_residues(corrupted.shape[-1])
    # A run goes from the first residue of a segment to that of the next one. Draws for the special tokens and the
    # padding between them cost less than leaving them out would, and a limit of 0 selects none.
    runs = np.diff(firsts, append=tokens.size)
    limits_of_runs = np.stack((limits, np.zeros_like(limits)), axis=1)
    parts_of_runs = np.stack((counts, runs - counts), axis=1)
    spared = _Spared(fate)
    for few in slices(runs, RESIDUES_AT_A_TIME):
        bits = draw_runs(keys[few], runs[few])
        selected = bits < np.repeat(limits_of_runs[few].reshape(-1), parts_of_runs[few].reshape(-1))
        first = int(firsts[few.start])
        here = slice(first, first + len(bits))
        if special_ids:
            selected &= np.isin(tokens[here], special_ids, invert=True)
        _hide(tokens[here], targets[here], selected, fate.mask_id)
        spared.note(bits, selected, first)
    spared.become(tokens, targets, firsts, lambda: segments.keys(PURPOSE_REPLACEMENT, seed, epoch))
    return corrupted, labels


def mask_exactly(
    input_ids: IntArray,
    segments: Segments,
    sizes: Int64Array,
    *,
    seed: int,
    epoch: int,
    mask_id: int,
    label_type: npt.DTypeLike = np.int64,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Turn a given number of residues of each segment into the mask token, drawn without replacement.

    Args:
        input_ids: Tokens, integers [rows, row length]; not changed.
        segments: The segments of the rows.
        sizes: Residues to mask, int64 [segments], none above the residues of its segment.
        seed: Of the run.
        epoch: Each epoch masks anew.
        mask_id: The mask token.
        label_type: dtype of the labels, signed.

    Returns:
        As ``mask_tokens``.
    """
    corrupted = np.array(input_ids, order="C")
    labels = np.full(corrupted.shape, IGNORED, dtype=label_type)
    tokens, targets = corrupted.reshape(-1), labels.reshape(-1)
    keys = segments.keys(PURPOSE_MASK, seed, epoch)
    counts, firsts = segments.num_residues(), segments.first_residues(corrupted.shape[-1])
    for few in slices(counts, RESIDUES_AT_A_TIME):
        places = random_subsets(keys[few], counts[few], sizes[few]) + np.repeat(firsts[few], sizes[few])
        targets[places] = tokens[places]
        tokens[places] = mask_id
    return corrupted, labels


def _hide(tokens: IntArray, targets: IntArray, selected: npt.NDArray[np.bool_], mask_id: int) -> None:
    """Selected tokens become targets, and then masks, by arithmetic on bits: indices would cost several times more."""
    ones = np.negative(selected.astype(tokens.dtype))  # all bits set where a token is selected
    wide_ones = np.negative(selected.astype(targets.dtype))
    originals = tokens.astype(targets.dtype)
    originals ^= IGNORED
    originals &= wide_ones
    targets ^= originals  # which is IGNORED ^ original ^ IGNORED there
    ones &= tokens ^ tokens.dtype.type(mask_id)
    tokens ^= ones


class _Spared:
    """Selected residues that do not become masks but random ones, or stay: few, so that they are put back at the end.

    Args:
        fate: What selected residues become.
    """

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self._places: list[Int64Array] = []
        self._lower: list[npt.NDArray[np.uint32]] = []

    def note(self, bits: UInt64Array, selected: npt.NDArray[np.bool_], first: int) -> None:
        """Find those among some tokens, of which ``first`` is the place of the first."""
        if self._fate.corruption.mask >= 1.0:
            return
        lower = bits.astype(np.uint32)  # the lower half
        here = np.flatnonzero(selected & (lower >= np.uint32(_share(self._fate.corruption.mask))))
        self._places.append(here + first)
        self._lower.append(lower[here])

    def become(
        self, tokens: IntArray, targets: IntArray, firsts: Int64Array, replacement_keys: Callable[[], UInt64Array]
    ) -> None:
        """Put them back, or what they become; ``firsts`` are the places of the segments' first residues."""
        if not self._places:
            return
        places, lower = np.concatenate(self._places), np.concatenate(self._lower)
        tokens[places] = targets[places]
        corruption = self._fate.corruption
        replaced = places[lower < _share(corruption.mask + corruption.random)]
        # The last segment of those that begin here: the ones before it have no residues.
        segments = np.searchsorted(firsts, replaced, side="right") - 1
        bits = draw(replacement_keys()[segments], replaced - firsts[segments])
        tokens[replaced] = self._fate.pool.draw(bits, targets[replaced])


def _share(fraction: float) -> np.uint64:
    """The part of the range of 32 bits that lies below ``fraction``."""
    return np.uint64(int(fraction * 2.0**32))


def _limits(rates: npt.NDArray[np.float64]) -> UInt64Array:
    """A draw below its limit selects: upper 32 bits < floor(rate * 2^32), whatever the lower 32 bits are.

    With a rate of 1 that is every draw but one in 2^64.
    """
    shares = np.minimum(rates * 2.0**32, 2.0**32).astype(np.uint64)
    return np.where(shares >> np.uint64(32), ~np.uint64(0), shares << np.uint64(32))
