"""A3M alignments to blocks of records: every row is a protein, or the part of one that was aligned.

::

    #59                          a comment: ColabFold's lengths and copies, HH-suite's name of the alignment
    >ss_pred                     a pseudo record: skipped and counted
    CHHHCCC
    >query                       the first other row has L match columns, and so must all have
    MKVACDE
    >SRR5512133_130811           upper case and '-' are match columns
    M-VACefgDE                   lower case is an insertion, '.' fills others' insertions up
                                 kept: MVACEFGDE         removed: MVACDE

HH-suite's rules (https://github.com/soedinglab/hh-suite/wiki): names that start with ``ss_``, ``sa_`` or ``aa_`` are
secondary structure, accessibility and the like; those that end with ``_consensus`` are no protein anybody has, though
such a row may be the first one. Gaps always go. Insertions are residues of the protein: they are kept unless asked
otherwise, and what remains without them are the columns of the query.

A row without the right number of match columns is an error; a file of several chains, as ColabFold writes for
complexes, too, because its rows are several proteins each.

Cost: 2 to 3 µs a row of 250 columns, and nothing in Python once a residue. Memory is a block of records and the
longest row.
"""

import os
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputFormatError
from pipeline.formats.compression import read_blocks
from pipeline.formats.cutting import split
from pipeline.formats.problems import Problems
from pipeline.formats.records import UPPER, WHITE_SPACE, BlockBuilder, HeaderBlock

PSEUDO_RECORD = "pseudo-record"
"""Secondary structure, accessibility, confidence: what is counted as skipped."""
CONSENSUS = "consensus"
"""Consensus rows, likewise."""
UNEQUAL_COLUMNS = "unequal-columns"
"""Reason of a row without the right number of match columns."""

ROW_MARK = b"\n>"
"""What begins a row: a '>' at the start of a line."""

LOWER_CASE = b"abcdefghijklmnopqrstuvwxyz"
GAPS = b"-."

_NO_MATCH = WHITE_SPACE + LOWER_CASE + b"."
_EXCERPT_BYTES = 60
_PSEUDO = re.compile(rb"(?:ss|sa|aa)_")
_CONSENSUS = re.compile(rb"\S*_consensus(?!\S)")
_SEVERAL_CHAINS = re.compile(rb"#[ \t]*[0-9]+(?:,[0-9]+)+[ \t]")


class Insertions(StrEnum):
    """What becomes of residues that stand in no column of the query."""

    KEEP = "keep"
    """The row's whole sequence."""
    REMOVE = "remove"
    """Match columns alone."""


REMOVED_CHARACTERS = {
    Insertions.KEEP: WHITE_SPACE + GAPS,
    Insertions.REMOVE: WHITE_SPACE + GAPS + LOWER_CASE,
}
"""What is taken out of an aligned row."""


def skipped_kind(name: bytes) -> str | None:
    """Why a row is no protein, by its header: ``PSEUDO_RECORD``, ``CONSENSUS``, or None for a protein."""
    if _PSEUDO.match(name):
        return PSEUDO_RECORD
    return CONSENSUS if _CONSENSUS.match(name) else None


def count_match_columns(row: bytes) -> int:
    """Match columns of an aligned row: everything but white space, lower case and '.'."""
    return len(row.translate(None, _NO_MATCH))


def read_a3m(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    insertions: Insertions = Insertions.KEEP,
    problems: Problems | None = None,
) -> Iterator[HeaderBlock]:
    """Read the rows of an A3M alignment, plain or compressed.

    Args:
        path: A file or a pipe.
        source: The database's name, if it is not to come from the headers.
        insertions: Whether lower-case residues stay.
        problems: What becomes of rows without the right number of match columns; by default the first one raises.

    Yields:
        Blocks of records, in the order of the file.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The file is empty, is no A3M, holds nothing but skipped rows, or has a row of another length.
    """
    reader = RowReader(Path(path), place_format="line {}, byte {}", source=source, problems=problems)
    # As if a line ended in front of the file, every row begins behind the same mark.
    pieces = split(chain([b"\n"], read_blocks(path)), ROW_MARK)
    preamble = next(pieces)
    reader.read_preamble(preamble, Origin(line=1, byte=0))
    yield from reader.read_rows(pieces, origin_behind(preamble, Origin(line=1, byte=0)), insertions=insertions)
    yield from reader.finish()


class Origin(NamedTuple):
    """Where a piece of an alignment begins."""

    line: int
    byte: int
    context: tuple[int, ...] = ()
    """What else the place of a record needs, in front of line and byte."""


def origin_behind(preamble: bytes, origin: Origin) -> Origin:
    """Where the first row of an alignment begins.

    Args:
        preamble: What ``split`` gives in front of the first ``ROW_MARK``, the line end put in front included.
        origin: Where the alignment begins.
    """
    return origin._replace(line=origin.line + preamble.count(b"\n"), byte=origin.byte + len(preamble))


class RowReader:
    """The rows of one or more alignments on their way to blocks.

    Args:
        path: The file, for messages.
        place_format: Of the context's numbers, the line and the byte.
        source: The database's name, if it is not to come from the headers.
        problems: What becomes of rows without the right number of match columns; by default the first one raises.
    """

    def __init__(self, path: Path, *, place_format: str, source: str | None, problems: Problems | None) -> None:
        self.builder = BlockBuilder(place_format=place_format, source=source)
        self.problems = problems or Problems()
        self._path = path
        self._place_format = place_format

    def read_preamble(self, preamble: bytes, origin: Origin) -> None:
        """Check what stands in front of the first row: comments and blank lines, or this is no A3M.

        Raises:
            InputFormatError: It is something else, or says that there are several chains.
        """
        for number, line in enumerate(preamble.removeprefix(b"\n").split(b"\n")):
            place = origin._replace(line=origin.line + number)
            if _SEVERAL_CHAINS.match(line):
                hint = "its rows are several proteins each: take the alignments of the single chains"
                raise self.error(place, "an alignment of one chain", f"one of several, {_excerpt(line)}", hint)
            if line.startswith(b"#"):
                self.builder.num_comment_lines += 1
            elif line.strip():
                raise self.error(place, "a row that starts with '>'", _excerpt(line), "is it an A3M alignment?")

    def read_rows(self, rows: Iterable[bytes], origin: Origin, *, insertions: Insertions) -> Iterator[HeaderBlock]:
        """The rows of one alignment.

        Args:
            rows: Pieces between two ``ROW_MARK``.
            origin: Where the first row's '>' is.
            insertions: Whether lower-case residues stay.

        Yields:
            A block whenever one is full.
        """
        builder, removed = self.builder, REMOVED_CHARACTERS[insertions]
        line, byte, context = origin
        query: _Query | None = None
        for row in rows:
            if b"\0" in row:
                hint = "it looks like the data file of an ffindex database: --format ffindex reads those"
                raise self.error(Origin(line, byte, context), "a row of text", "a zero byte", hint)
            header, _, body = row.partition(b"\n")
            header = header.strip(WHITE_SPACE)
            kind = skipped_kind(header)
            if b"#" in body:
                body = self._without_comments(body)
            if kind != PSEUDO_RECORD:
                num_columns = count_match_columns(body)
                query = query or _Query(header, num_columns)
                if num_columns != query.num_columns or not num_columns:
                    self.problems.report(UNEQUAL_COLUMNS, self._unequal(Origin(line, byte, context), row, query))
                elif kind is None:
                    if builder.is_full:
                        yield builder.take()
                    builder.add(header, body.translate(UPPER, removed), (*context, line, byte))
            if kind is not None:
                builder.skipped[kind] += 1
            line += row.count(b"\n") + 1
            byte += len(row) + len(ROW_MARK)

    def finish(self) -> Iterator[HeaderBlock]:
        """Yields the last block.

        Raises:
            InputFormatError: There was no record at all.
        """
        if self.builder.num_records:
            yield self.builder.take()
        elif not self.problems.counts:
            found = ", ".join(f"{count} skipped as {kind}" for kind, count in self.builder.skipped.items())
            hint = "was the file downloaded or written completely?"
            raise InputFormatError(f"{self._path}: expected aligned rows, found {found or 'none'}", hint=hint)
        else:
            self.problems.pass_over(self.builder.skipped, self.builder.num_comment_lines)

    def error(self, origin: Origin, expected: str, found: str, hint: str | None = None) -> InputFormatError:
        """What is wrong at a place."""
        where = self._place_format.format(*origin.context, origin.line, origin.byte)
        return InputFormatError(f"{self._path}: {where}: expected {expected}, found {found}", hint=hint)

    def _without_comments(self, body: bytes) -> bytes:
        lines = body.split(b"\n")
        kept = [line for line in lines if not line.startswith(b"#")]
        self.builder.num_comment_lines += len(lines) - len(kept)
        return b"\n".join(kept)

    def _unequal(self, origin: Origin, row: bytes, query: "_Query") -> InputFormatError:
        header, _, body = row.partition(b"\n")
        expected = f"{query.num_columns} match columns, as in the first row ({_excerpt(query.header)})"
        if not query.num_columns:
            expected = "residues"
        hint = "upper case and '-' are match columns; if this is no alignment, --format fasta reads it"
        found = f"{count_match_columns(body)} in {_excerpt(header)}"
        return self.error(origin, expected, found, hint)


class _Query(NamedTuple):
    """The row that says how many match columns there are."""

    header: bytes
    num_columns: int


def _excerpt(text: bytes) -> str:
    return repr(text[:_EXCERPT_BYTES].decode(errors="backslashreplace"))
