"""Law 1 for one part: every record is there exactly once, as one segment or as declared pieces, or left out by name.

What is declared follows from the over-length policy and the number of residues that fit into a row:

    record fits             exactly one segment, start 0, its whole length
    crop-start              exactly one, start 0, max residues
    crop-random             exactly one, max residues, inside the record
    windows                 least number of consecutive pieces from 0 to the end, lengths differing by at most 1
    drop                    none
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.pieces import Overlong
from pipeline.stages.verify.checks import Finding, first_broken

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """The segments of a part, in any order."""

    record: Integers
    """[segments] which record each one is of."""
    start: Integers
    """[segments] its first residue."""
    length: Integers
    """[segments] its residues."""

    def sorted(self) -> "Pieces":
        """By record, then start."""
        order = np.lexsort((self.start, self.record))
        return Pieces(record=self.record[order], start=self.start[order], length=self.length[order])


def check_coverage(
    name: str, pieces: Pieces, record_lengths: Integers, *, max_residues: int, policy: Overlong
) -> list[Finding]:
    """Compare the segments of a part with its records.

    Args:
        name: File that the findings name.
        pieces: The segments.
        record_lengths: [records] residues of each record.
        max_residues: Residues that fit into a row.
        policy: The over-length policy.
    """
    pieces = pieces.sorted()
    end, of = pieces.start + pieces.length, record_lengths[pieces.record]
    if findings := first_broken(
        name,
        end > of,
        lambda at: f"a segment ends at residue {end[at]} of record {pieces.record[at]}, which has {of[at]}",
    ):
        return findings
    expected = _expected_pieces(record_lengths, max_residues, policy)
    found = np.bincount(pieces.record, minlength=len(record_lengths))
    if findings := first_broken(
        name,
        found != expected,
        lambda at: f"record {at}: expected {expected[at]} segments of it, found {found[at]}",
    ):
        return findings
    undeclared = (
        _broken_windows(pieces, of, found)
        if policy is Overlong.WINDOWS
        else (pieces.length != np.minimum(of, max_residues))
        | ((pieces.start != 0) & (policy is not Overlong.CROP_RANDOM))
    )
    return first_broken(
        name,
        undeclared,
        lambda at: (
            f"record {pieces.record[at]} of {of[at]} residues: found a piece of {pieces.length[at]} "
            f"from {pieces.start[at]}, which {policy.value} does not declare"
        ),
    )


def coverage_counts(pieces: Pieces, record_lengths: Integers, *, max_residues: int, policy: Overlong) -> dict[str, int]:
    """What the manifest must count of a part, derived anew from its records and segments."""
    num_overlong = int(np.count_nonzero(record_lengths > max_residues))
    residues, packed = int(record_lengths.sum()), int(pieces.length.sum())
    return {
        "records": len(record_lengths),
        "segments": len(pieces.record),
        "residues": residues,
        "residues_packed": packed,
        "residues_lost": residues - packed,
        "records_cropped": num_overlong if policy in {Overlong.CROP_START, Overlong.CROP_RANDOM} else 0,
        "records_windowed": num_overlong if policy is Overlong.WINDOWS else 0,
        "overlong": num_overlong if policy is Overlong.DROP else 0,
    }


def _expected_pieces(record_lengths: Integers, max_residues: int, policy: Overlong) -> Integers:
    if policy is Overlong.WINDOWS:
        return -(-record_lengths // max_residues)
    return np.where(record_lengths > max_residues, 0 if policy is Overlong.DROP else 1, 1)


def _broken_windows(pieces: Pieces, of: Integers, found: Integers) -> npt.NDArray[np.bool_]:
    """Which windows do not continue the one before, end elsewhere than the record, or are uneven."""
    if not len(of):
        return np.empty(0, dtype=bool)
    first = np.r_[True, pieces.record[1:] != pieces.record[:-1]]
    last = np.r_[first[1:], True]
    end = pieces.start + pieces.length
    expected_start = np.where(first, 0, np.r_[0, end[:-1]])
    num_pieces = found[pieces.record]
    even = (pieces.length == of // num_pieces) | (pieces.length == -(-of // num_pieces))
    broken: npt.NDArray[np.bool_] = (pieces.start != expected_start) | (last & (end != of)) | ~even
    return broken
