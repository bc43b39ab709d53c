"""One A3M alignment to its match columns, gaps kept; see :mod:`pipeline.formats.aligned`.

What a row, an insertion and a pseudo record are, :mod:`pipeline.formats.alignment` says. Cost: about 5 µs a row of 300
columns. Memory: the text of an alignment, and its letters twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from pipeline.errors import InputFormatError
from pipeline.formats.alignment import (
    LOWER_CASE,
    PSEUDO_RECORD,
    ROW_MARK,
    UNEQUAL_COLUMNS,
    Origin,
    RowReader,
    origin_behind,
    skipped_kind,
)
from pipeline.formats.alignments import UInt8Array
from pipeline.formats.compression import read_blocks
from pipeline.formats.cutting import split
from pipeline.formats.ffindex import EMPTY_ENTRY
from pipeline.formats.problems import Problems
from pipeline.formats.records import WHITE_SPACE

NO_ROWS = "no-rows"
"""Reason of an alignment of which every row is damaged."""

_PLACE = "line {}, byte {}"
_ZERO = b"\0"
_REMOVED = WHITE_SPACE + LOWER_CASE + b"."
_EXCERPT_BYTES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Match columns of one alignment."""

    titles: list[bytes]
    """[depth] title lines without ``>``."""
    letters: UInt8Array
    """[depth, width] ASCII, upper case, gaps as ``-``; anything else may still be there."""
    num_insertions: int
    """Residues that were removed because they stand in no match column."""
    place: str
    """Where it begins, for messages."""


class AlignedRowReader(RowReader):
    """The rows of A3M alignments with their gaps."""

    def read_alignment(self, rows: Iterable[bytes], origin: Origin) -> Alignment | None:
        """One alignment; None where no row is left of it.

        Args:
            rows: Pieces between two ``ROW_MARK``.
            origin: Where the first row's '>' is.
        """
        line, byte, context = origin
        titles: list[bytes] = []
        kept: list[bytes] = []
        num_insertions, query, was_damaged = 0, None, False
        for row in rows:
            title, _, body = row.partition(b"\n")
            title = title.strip(WHITE_SPACE)
            if b"#" in body:
                body = self._without_comments(body)
            kind = skipped_kind(title)
            if kind != PSEUDO_RECORD:
                aligned = body.translate(None, _REMOVED)
                query = query or (title, len(aligned))
                if len(aligned) != query[1] or not aligned or _ZERO in aligned:
                    self._report(Origin(line, byte, context), (title, aligned), query)
                    was_damaged = True
                elif kind is None:
                    titles.append(title)
                    kept.append(aligned)
                    num_insertions += len(body) - len(aligned) - body.count(b"\n")
                    if len(body) - len(aligned) != body.count(b"\n"):
                        num_insertions -= _count_others(body)
            if kind is not None:
                self.builder.skipped[kind] += 1
            line += row.count(b"\n") + 1
            byte += len(row) + len(ROW_MARK)
        if not kept:
            self._count_empty(was_damaged=was_damaged)
            return None
        letters = np.frombuffer(b"".join(kept), dtype=np.uint8).reshape(len(kept), -1)
        return Alignment(titles=titles, letters=letters, num_insertions=num_insertions, place=self.place(origin))

    def place(self, origin: Origin) -> str:
        """Where an alignment begins, in words for a message."""
        return self._place_format.format(*origin.context, origin.line, origin.byte)

    def _report(self, origin: Origin, row: tuple[bytes, bytes], query: tuple[bytes, int]) -> None:
        title, aligned = row
        if _ZERO in aligned:
            hint = "it looks like the data file of an ffindex database: --format ffindex reads those"
            raise self.error(origin, "a row of text", "a zero byte", hint)
        self.problems.report(UNEQUAL_COLUMNS, self._unequal_to(origin, (title, len(aligned)), query))

    def _count_empty(self, *, was_damaged: bool) -> None:
        if was_damaged:
            self.problems.counts[NO_ROWS] += 1
        else:
            self.builder.skipped[EMPTY_ENTRY] += 1

    def _unequal_to(self, origin: Origin, found: tuple[bytes, int], query: tuple[bytes, int]) -> InputFormatError:
        (title, num_columns), (query_title, wanted) = found, query
        expected = f"{wanted} match columns, as in the first row ({_excerpt(query_title)})" if wanted else "residues"
        hint = "upper case and '-' are match columns; --on-error skip leaves such rows out and counts them"
        return self.error(origin, expected, f"{num_columns} in {_excerpt(title)}", hint)

    def end(self, num_alignments: int) -> None:
        """Count what was skipped.

        Raises:
            InputFormatError: There was no alignment at all.
        """
        skipped = self.builder.skipped
        if not num_alignments and not self.problems.counts:
            found = ", ".join(f"{count} skipped as {kind}" for kind, count in skipped.items() if kind != EMPTY_ENTRY)
            hint = "was the file downloaded or written completely?"
            raise InputFormatError(f"{self._path}: expected aligned rows, found {found or 'none'}", hint=hint)
        self.problems.pass_over(skipped, self.builder.num_comment_lines)


def read_aligned_a3m(path: Path, problems: Problems) -> Iterator[Alignment]:
    """The alignment of an A3M file; see :func:`pipeline.formats.aligned.open_alignments`."""
    reader = AlignedRowReader(path, place_format=_PLACE, source=None, problems=problems)
    # As if a line ended in front of the file, every row begins behind the same mark.
    pieces = split(chain([b"\n"], read_blocks(path)), ROW_MARK)
    preamble = next(pieces)
    reader.read_preamble(preamble, Origin(line=1, byte=0))
    found = reader.read_alignment(pieces, origin_behind(preamble, Origin(line=1, byte=0)))
    if found is not None:
        yield found
    reader.end(int(found is not None))


def _count_others(body: bytes) -> int:
    """What stands in no match column and is no residue, line ends left out."""
    return len(body) - len(body.translate(None, b" \t\r\v\f."))


def _excerpt(text: bytes) -> str:
    return repr(text[:_EXCERPT_BYTES].decode(errors="backslashreplace"))
