"""Residue letters: what is one, what is none, and arrays of them.

A set of records is two arrays, and every function here takes and gives them so::

    residues  M K V * G A C D *      uint8[total], ASCII, upper case, all records joined
    offsets   0       4         9    int64[num_records + 1]: record i is residues[offsets[i]:offsets[i + 1]]

The 26 letters are all residues (IUPAC-IUB: the 20 standard ones, B and Z for either of two, J for leucine or
isoleucine, U selenocysteine, O pyrrolysine, X any). Anything else is none, for a named reason. What becomes of a record
with such characters is the caller's policy; here they are found, counted and replaced.

Cost: one or two passes over the residues at memory speed, and array work in proportion to what is found; nothing runs
once a residue or once a record in Python. Temporary memory is at most one byte a residue beside eight bytes a finding.
"""

import string
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

STANDARD_RESIDUES = b"ACDEFGHIKLMNPQRSTVWY"
"""The 20 amino acids of the genetic code, in alphabetical order."""

RESIDUES = string.ascii_uppercase.encode()
"""Every letter that counts as a residue."""

NORMALISE = bytes(range(256)).upper()
"""Table for ``bytes.translate``: lower case to upper, everything else as it is."""

WHITE_SPACE = b" \t\r\n\v\f"
"""What may stand between residues and means nothing: the second argument of ``bytes.translate``."""

INVALID_REASONS = ("invalid-gap", "invalid-stop", "invalid-digit", "invalid-character")
"""Why a character is no residue: ``-`` or ``.``; ``*`` (before the end); a digit; anything else."""

CHAIN_BREAK = b"|"
"""What stands between the chains of one record, where a corpus may have any: AMPLIFY's and ESM3's token."""

UNKNOWN_RESIDUE = ord("X")
"""What an invalid character is replaced with."""

MINIMUM_NUCLEOTIDES = 200
"""Fewer letters say nothing about being nucleotides."""

NUCLEOTIDE_FRACTION = 0.95
"""A greater share of A, C, G, T, U and N among the letters than any proteome has."""

_STOP = ord("*")
_FIRST_LETTER = np.uint8(ord("A"))
_LAST_LETTER = np.uint8(ord("Z") - ord("A"))
_NUCLEOTIDES = np.frombuffer(b"ACGTUN", dtype=np.uint8)
_LETTERS = np.frombuffer(RESIDUES, dtype=np.uint8)
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidRecords:
    """Records with a character that is no residue, in order; each with the first such character it holds."""

    record: npt.NDArray[np.int64]
    """int64[k]: index of the record, ascending."""
    position: npt.NDArray[np.int64]
    """int64[k]: 0-based position of the character in the record."""
    character: ByteArray
    """uint8[k]: the character."""
    reason: ByteArray
    """uint8[k]: index into ``INVALID_REASONS``."""


def strip_stops(residues: ByteArray, offsets: Offsets) -> tuple[ByteArray, Offsets, int]:
    """Take off the ``*`` (one or more) at the end of each record; those before the end stay.

    Args:
        residues: uint8[total].
        offsets: int64[n + 1].

    Returns:
        The new residues and offsets (the same arrays if there is nothing to strip), and the number of records stripped.
    """
    stops = np.flatnonzero(residues == _STOP)
    record = _record_of(stops, offsets)
    ends = offsets[record + 1]
    # A stop is at the end of its record if there are as many stops as characters from it to the end.
    at_end = ends - stops == np.searchsorted(stops, ends) - np.arange(len(stops))
    if not at_end.any():
        return residues, offsets, 0
    num_stripped = np.bincount(record[at_end], minlength=len(offsets) - 1)
    new_offsets = offsets.copy()
    new_offsets[1:] -= np.cumsum(num_stripped)
    return np.delete(residues, stops[at_end]), new_offsets, int(np.count_nonzero(num_stripped))


def find_invalid(residues: ByteArray, offsets: Offsets, *, allowed: bytes = b"") -> InvalidRecords:
    """The records that hold a character which is no residue, each with the first one.

    Args:
        residues: uint8[total]; lower case is no residue here, normalise first.
        offsets: int64[n + 1].
        allowed: Characters that may stand between residues, such as ``CHAIN_BREAK``.
    """
    positions = _invalid_positions(residues, allowed)
    record = _record_of(positions, offsets)
    first = np.flatnonzero(np.diff(record, prepend=-1))
    record, positions = record[first], positions[first]
    character = residues[positions]
    return InvalidRecords(
        record=record, position=positions - offsets[record], character=character, reason=_REASON_CODES[character]
    )


def replace_invalid(residues: ByteArray, *, allowed: bytes = b"") -> tuple[ByteArray, int]:
    """A copy with every character that is no residue replaced by ``X``, and the number of characters replaced.

    Args:
        residues: uint8[total].
        allowed: Characters that may stand between residues.
    """
    positions = _invalid_positions(residues, allowed)
    replaced = residues.copy()
    replaced[positions] = UNKNOWN_RESIDUE
    return replaced, len(positions)


def select_records(residues: ByteArray, offsets: Offsets, keep: npt.NDArray[np.bool_]) -> tuple[ByteArray, Offsets]:
    """The kept records, in order, as arrays of their own.

    Args:
        residues: uint8[total].
        offsets: int64[n + 1].
        keep: bool[n].

    Returns:
        New residues and offsets (the same arrays if every record is kept).
    """
    if keep.all():
        return residues, offsets
    lengths = np.diff(offsets)
    new_offsets = np.zeros(np.count_nonzero(keep) + 1, dtype=np.int64)
    np.cumsum(lengths[keep], out=new_offsets[1:])
    return residues[np.repeat(keep, lengths)], new_offsets


def composition(residues: ByteArray) -> npt.NDArray[np.int64]:
    """How often each of the 256 characters occurs: int64[256]; compositions of blocks add up.

    Args:
        residues: uint8[total], contiguous.
    """
    # Two residues at a time: half as many counts, and few of the 65,536 pairs occur.
    pairs = residues[: len(residues) & ~1].view(np.uint16)
    of_pairs = np.zeros(1 << 16, dtype=np.int64)
    # bincount widens its input to eight bytes an item: pieces keep that small.
    for start in range(0, len(pairs), _PIECE):
        of_pairs += np.bincount(pairs[start : start + _PIECE], minlength=1 << 16)
    square = of_pairs.reshape(256, 256)
    counts: npt.NDArray[np.int64] = square.sum(axis=0) + square.sum(axis=1)
    counts[residues[2 * len(pairs) :]] += 1
    return counts


def nucleotide_fraction(counts: npt.NDArray[np.int64]) -> float:
    """The share of A, C, G, T, U and N among the letters; 0 if there are none.

    Args:
        counts: int64[256], as ``composition`` gives it.
    """
    num_letters = int(counts[_LETTERS].sum())
    return int(counts[_NUCLEOTIDES].sum()) / num_letters if num_letters else 0.0


def looks_like_nucleotides(counts: npt.NDArray[np.int64]) -> bool:
    """Whether the letters are almost only nucleotides, so that the input is probably DNA or RNA.

    In proteins they are about a quarter of the residues (E. coli and yeast: 26 %).

    Args:
        counts: int64[256], as ``composition`` gives it.
    """
    return int(counts[_LETTERS].sum()) >= MINIMUM_NUCLEOTIDES and nucleotide_fraction(counts) > NUCLEOTIDE_FRACTION


def _invalid_positions(residues: ByteArray, allowed: bytes) -> npt.NDArray[np.int64]:
    # Unsigned subtraction wraps round, so one comparison tests both ends of A to Z.
    positions = np.flatnonzero(residues - _FIRST_LETTER > _LAST_LETTER)
    return positions[np.isin(residues[positions], list(allowed), invert=True)] if allowed else positions


def _record_of(positions: npt.NDArray[np.int64], offsets: Offsets) -> npt.NDArray[np.int64]:
    # The last of several equal offsets: empty records hold no position.
    return np.searchsorted(offsets, positions, side="right") - 1


def _reason_codes() -> ByteArray:
    codes = np.full(256, INVALID_REASONS.index("invalid-character"), dtype=np.uint8)
    for reason, characters in _REASON_CHARACTERS.items():
        codes[np.frombuffer(characters, dtype=np.uint8)] = INVALID_REASONS.index(reason)
    return codes


_REASON_CHARACTERS = {"invalid-gap": b"-.", "invalid-stop": b"*", "invalid-digit": string.digits.encode()}
_REASON_CODES = _reason_codes()
