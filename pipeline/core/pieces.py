"""What becomes of records that are longer than a row: a crop, windows, or nothing.

::

    a record of 23 residues, at most 10 in a piece
    crop-start     [0 ..... 10)                                13 residues lost
    crop-random         [5 ..... 15)                           13 residues lost; all 14 starts are equally likely
    windows        [0 ... 8)[8 ... 16)[16 .. 23)               nothing lost; lengths differ by at most 1
    drop                                                       23 residues lost, the record dropped as overlong

Invariants: a record that fits is one piece, whole; pieces come in the order of records and of starts; what becomes of a
record depends on its length and, in a random crop, on (seed, epoch, record key), never on its neighbours.

Cost: a few passes over the lengths, 0.01 s for 1 million.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipeline.core.randomness import PURPOSE_CROP, UInt64Array, below, derive_key, draw
from pipeline.errors import ConfigurationError

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]
Int64Array = npt.NDArray[np.int64]
UInt32Array = npt.NDArray[np.uint32]
Spans = tuple[Int64Array, Int64Array, Int64Array]
"""Record, start and length of each piece."""
Policy = Callable[[Int64Array, BoolArray, int, UInt64Array], Spans]


class Overlong(StrEnum):
    """What to do with a record that has more residues than a row holds."""

    CROP_START = "crop-start"
    """Keep the first residues."""
    CROP_RANDOM = "crop-random"
    """Keep residues from a random start on; both ends can be reached."""
    WINDOWS = "windows"
    """Keep all residues, as the fewest consecutive pieces of nearly equal length, longer ones first."""
    DROP = "drop"
    """Leave the record out, with the reason ``overlong``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutCounts:
    """What the policy did. Only one of the first three can be above 0."""

    records_cropped: int
    records_windowed: int
    records_dropped: int
    residues_lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """Pieces of records, sorted by (record, start).

    Attributes:
        record: uint32 [pieces], which record, in the order of the lengths given.
        start: uint32 [pieces], first residue.
        length: uint32 [pieces], residues.
        counts: What was cropped, cut or dropped.
    """

    record: UInt32Array
    start: UInt32Array
    length: UInt32Array
    counts: CutCounts


def cut(
    lengths: IntArray, *, max_residues: int, policy: str, record_keys: UInt64Array, seed: int, epoch: int = 0
) -> Pieces:
    """Cut records to pieces of at most ``max_residues``.

    Args:
        lengths: Any integer dtype [records], residues of each record.
        max_residues: Most residues in a piece: the row length without the special tokens of a segment.
        policy: A member of ``Overlong`` or its name.
        record_keys: uint64 [records], the identity that random crops are keyed on.
        seed: The preparation seed.
        epoch: The preparation epoch: another one gives other random crops.

    Raises:
        ConfigurationError: The policy is not known, or not even one residue would fit.
    """
    if policy not in POLICIES:
        raise ConfigurationError(f"overlong policy {policy!r} is not known", hint=f"choose from {', '.join(POLICIES)}")
    if max_residues < 1:
        raise ConfigurationError(f"a row must hold at least one residue, found {max_residues}", hint="use longer rows")
    residues = lengths.astype(np.int64)
    overlong = residues > max_residues
    bits = draw(derive_key(PURPOSE_CROP, seed, epoch, record_keys[overlong]), 0)
    record, start, length = POLICIES[Overlong(policy)](residues, overlong, max_residues, bits)
    return Pieces(
        record=record.astype(np.uint32),
        start=start.astype(np.uint32),
        length=length.astype(np.uint32),
        counts=_counts(Overlong(policy), int(overlong.sum()), int(residues.sum() - length.sum())),
    )


def _crop_start(residues: Int64Array, overlong: BoolArray, max_residues: int, bits: UInt64Array) -> Spans:
    del overlong, bits
    return np.arange(len(residues)), np.zeros_like(residues), np.minimum(residues, max_residues)


def _crop_random(residues: Int64Array, overlong: BoolArray, max_residues: int, bits: UInt64Array) -> Spans:
    record, start, length = _crop_start(residues, overlong, max_residues, bits)
    start[overlong] = below(bits, residues[overlong] - max_residues + 1)
    return record, start, length


def _windows(residues: Int64Array, overlong: BoolArray, max_residues: int, bits: UInt64Array) -> Spans:
    del bits
    num_windows = np.where(overlong, -(-residues // max_residues), 1)
    record = np.repeat(np.arange(len(residues)), num_windows)
    window = np.arange(len(record)) - np.repeat(np.cumsum(num_windows) - num_windows, num_windows)
    shortest, num_longer = np.divmod(residues, num_windows)
    start = window * shortest[record] + np.minimum(window, num_longer[record])
    return record, start, shortest[record] + (window < num_longer[record])


def _drop(residues: Int64Array, overlong: BoolArray, max_residues: int, bits: UInt64Array) -> Spans:
    del max_residues, bits
    record = np.flatnonzero(~overlong)
    return record, np.zeros_like(record), residues[record]


def _counts(policy: Overlong, num_overlong: int, residues_lost: int) -> CutCounts:
    return CutCounts(
        records_cropped=num_overlong if policy in {Overlong.CROP_START, Overlong.CROP_RANDOM} else 0,
        records_windowed=num_overlong if policy is Overlong.WINDOWS else 0,
        records_dropped=num_overlong if policy is Overlong.DROP else 0,
        residues_lost=residues_lost,
    )


POLICIES: dict[Overlong, Policy] = {
    Overlong.CROP_START: _crop_start,
    Overlong.CROP_RANDOM: _crop_random,
    Overlong.WINDOWS: _windows,
    Overlong.DROP: _drop,
}
"""Each takes (residues of each record, which are overlong, most residues, a draw for each overlong record)."""
