"""Law 1 for one part: every record is there exactly once, as one segment or as declared pieces, or left out by name.

What is declared follows from the over-length policy and the number of residues that fit into a row:

    record fits             exactly one segment, start 0, its whole length
    crop-start              exactly one, start 0, max residues
    crop-random             exactly one, max residues, inside the record
    windows                 least number of consecutive pieces from 0 to the end, lengths differing by at most 1
    drop                    none
    not of this split       none
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.pieces import Overlong
from pipeline.stages.verify.checks import Checked, Finding, first_broken
from pipeline.stages.verify.choice import Choice
from pipeline.stages.verify.segments import Integers, Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pieces:
    """Segments by record, then start."""

    record: Integers
    start: Integers
    length: Integers


class Coverage:
    """The account of records that are packed whole, cropped, in windows, or not at all.

    Args:
        record_lengths: int64 [records] residues of each record of the part.
        max_residues: Residues that fit into a row.
        policy: The over-length policy.
        max_segments: Most segments a row may hold.
        least_rows: Rows that segments of so many residues cannot do without.
        choice: Which records the account is of.
    """

    def __init__(
        self,
        record_lengths: Integers,
        *,
        max_residues: int,
        policy: Overlong,
        max_segments: int,
        least_rows: Callable[[Integers], int],
        choice: Choice,
    ) -> None:
        self._lengths = record_lengths
        self._max_residues = max_residues
        self._policy = policy
        self._max_segments = max_segments
        self._least_rows = least_rows
        self._choice = choice
        self._seen: list[Segments] = []

    def enter(self, name: str, segments: Segments) -> list[Finding]:
        """The next rows; where a segment is does not matter, so that the rest is told at the end."""
        self._seen.append(segments)
        num_segments, most = np.diff(segments.row_offsets), self._max_segments
        return first_broken(
            name,
            num_segments > most,
            lambda at: f"row {segments.first_row + at}: expected at most {most} segments, found {num_segments[at]}",
        )

    def skip(self) -> None:
        """Nothing: whoever cannot take in some rows does not close the account."""

    def close(self, name: str) -> Checked:
        """Compare the segments with the records."""
        pieces = self._pieces()
        return Checked(counts=self._counts(pieces), findings=tuple(self._check(name, pieces)))

    def _pieces(self) -> _Pieces:
        empty = np.empty(0, dtype=np.int64)
        record, start, length = (
            np.concatenate([empty, *(getattr(segments, name) for segments in self._seen)])
            for name in ("record", "start", "length")
        )
        order = np.lexsort((start, record))
        return _Pieces(record=record[order], start=start[order], length=length[order])

    def _check(self, name: str, pieces: _Pieces) -> list[Finding]:
        of, policy = self._lengths[pieces.record], self._policy
        expected = self._expected_pieces()
        found = np.bincount(pieces.record, minlength=len(self._lengths))
        if findings := first_broken(
            name,
            found != expected,
            lambda at: f"record {at}: expected {expected[at]} segments of it{self._choice.why(at)}, found {found[at]}",
        ):
            return findings
        undeclared = (
            _broken_windows(pieces, of, found)
            if policy is Overlong.WINDOWS
            else (pieces.length != np.minimum(of, self._max_residues))
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

    def _expected_pieces(self) -> Integers:
        if self._policy is Overlong.WINDOWS:
            pieces = -(-self._lengths // self._max_residues)
        else:
            pieces = np.where(self._lengths > self._max_residues, 0 if self._policy is Overlong.DROP else 1, 1)
        return np.where(self._choice.is_taken, pieces, 0)

    def _counts(self, pieces: _Pieces) -> dict[str, int]:
        policy = self._policy
        lengths = self._lengths[self._choice.is_taken]
        num_overlong = int(np.count_nonzero(lengths > self._max_residues))
        residues, packed = int(lengths.sum()), int(pieces.length.sum())
        return {
            "records": len(lengths),
            "segments": len(pieces.record),
            "most_segments": max((int(np.diff(seen.row_offsets).max(initial=0)) for seen in self._seen), default=0),
            "residues": residues,
            "residues_packed": packed,
            "residues_lost": residues - packed,
            "rows_lower_bound": self._least_rows(pieces.length),
            "records_cropped": num_overlong if policy in {Overlong.CROP_START, Overlong.CROP_RANDOM} else 0,
            "records_windowed": num_overlong if policy is Overlong.WINDOWS else 0,
            "overlong": num_overlong if policy is Overlong.DROP else 0,
        }


def _broken_windows(pieces: _Pieces, of: Integers, found: Integers) -> npt.NDArray[np.bool_]:
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
