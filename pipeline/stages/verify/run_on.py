"""Law 1 for one part whose records are concatenated: one stream, in which every record is once, with its separator.

A record of n residues is n + 1 tokens, the separator being the last. Told in tokens, the laws are

    a segment begins where the one before ended; where that was the end of a record, with the first residue of another
    a segment that goes on with a record is the first one of its row
    every row is full, but the last one of the part
    every record begins once, and the stream ends with the end of a record

from which it follows that no residue and no separator is lost, doubled or moved. Rows are taken in one after another,
so that memory is one number a record.
"""

import numpy as np

from pipeline.stages.verify.checks import Checked, Finding, first_broken
from pipeline.stages.verify.choice import Choice, all_of
from pipeline.stages.verify.segments import Integers, Segments


class RunOn:
    """The account of concatenated records.

    Args:
        record_lengths: int64 [records] residues of each record of the part.
        row_length: Tokens a row holds.
        choice: Which records the account is of; None: all.
    """

    def __init__(self, record_lengths: Integers, row_length: int, choice: Choice | None = None) -> None:
        self._lengths = record_lengths
        self._choice = choice or all_of(len(record_lengths))
        self._row_length = row_length
        self._begun = np.zeros(len(record_lengths), dtype=np.int64)
        self._num_segments = self._most_segments = 0
        self._num_residues = 0
        # Where the stream stands: in which record (−1 before the first), after how many of its tokens.
        self._record, self._after = -1, 0
        self._is_lost = False
        self._short_row = ""

    def enter(self, name: str, segments: Segments) -> list[Finding]:
        """Follow the stream through the next rows."""
        tokens = segments.length + segments.has_suffix
        findings = [*self._check_rows(name, segments, tokens), *self._check_stream(name, segments, tokens)]
        self._begun += np.bincount(segments.record[segments.start == 0], minlength=len(self._begun))
        self._num_segments += len(tokens)
        self._most_segments = max(self._most_segments, int(np.diff(segments.row_offsets).max(initial=0)))
        self._num_residues += int(segments.length.sum())
        if len(tokens):
            self._record, self._after = int(segments.record[-1]), int(segments.start[-1] + tokens[-1])
            self._is_lost = False
        return findings

    def skip(self) -> None:
        """Rows are missing here: the next segment may begin anywhere."""
        self._is_lost, self._short_row = True, ""

    def close(self, name: str) -> Checked:
        """Whether every record was there, to its end."""
        findings = first_broken(
            name,
            self._begun != self._choice.is_taken,
            lambda at: (
                f"record {at}: expected it {'once' if self._choice.is_taken[at] else 'never'}{self._choice.why(at)}, "
                f"found {self._begun[at]} beginnings of it"
            ),
        )
        if self._record >= 0 and self._after <= self._lengths[self._record]:
            next_token = _place(self._record, self._after, int(self._lengths[self._record]))
            findings.append(Finding(path=name, message=f"expected another segment {next_token}, found the end"))
        lengths = self._lengths[self._choice.is_taken]
        residues = int(lengths.sum())
        counts = {
            "records": len(lengths),
            "segments": self._num_segments,
            "most_segments": self._most_segments,
            "residues": residues,
            "residues_packed": self._num_residues,
            "residues_lost": residues - self._num_residues,
            "rows_lower_bound": -(-(residues + len(lengths)) // self._row_length),
            "records_cropped": 0,
            "records_windowed": 0,
            "overlong": 0,
        }
        return Checked(counts=counts, findings=tuple(findings))

    def _check_rows(self, name: str, segments: Segments, tokens: Integers) -> list[Finding]:
        used = np.diff(np.r_[0, np.cumsum(tokens)][segments.row_offsets])
        first_row, row_length = segments.first_row, self._row_length
        if self._short_row and len(used):
            message = f"row {first_row}: expected none after {self._short_row}, which is not full"
            return [Finding(path=name, message=message)]
        short = np.flatnonzero(used != row_length)
        if short.size:
            self._short_row = f"row {first_row + short[0]} of {name}"
        return [
            *first_broken(
                name,
                (used != row_length)[:-1],
                lambda at: (
                    f"row {first_row + at}: {used[at]} tokens of {row_length}, but it is not the part's last row"
                ),
            ),
            *first_broken(name, tokens < 1, lambda at: f"row {segments.row_of(at)}: a segment without tokens"),
        ]

    def _check_stream(self, name: str, segments: Segments, tokens: Integers) -> list[Finding]:
        record, after = segments.record, segments.start + tokens
        record_before, token_before = np.r_[self._record, record][:-1], np.r_[self._after, after][:-1]
        is_end = (record_before < 0) | (token_before > self._lengths[record_before])
        follows = np.where(is_end, segments.start == 0, (record == record_before) & (segments.start == token_before))
        follows[:1] |= self._is_lost
        is_first = np.zeros(len(record), dtype=bool)
        is_first[segments.row_offsets[:-1][np.diff(segments.row_offsets) > 0]] = True
        is_cut = (segments.start > 0) & ~is_first

        def tell(at: int) -> str:
            row, found = segments.row_of(at), _place(record[at], segments.start[at], self._lengths[record[at]])
            if is_cut[at]:
                return f"row {row}: a segment begins {found}, though it is not the first of its row"
            before = record_before[at]
            expected = "a record" if is_end[at] else _place(before, token_before[at], self._lengths[before])
            return f"row {row}: expected a segment that begins {expected}, found one that begins {found}"

        return first_broken(name, is_cut | ~follows, tell)


def _place(record: int, token: int, length: int) -> str:
    """Which token of a record it is, in words."""
    what = f"residue {token} of {length}" if token < length else "the separator"
    return f"with {what} of record {record}"
