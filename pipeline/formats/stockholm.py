"""Stockholm alignments (Pfam, jackhmmer) to blocks of records: every row is a protein, or the part that was aligned.

::

    # STOCKHOLM 1.0
    #=GF ID   ArsP_1                                        of the file, a row or a column: not read
    #=GS MGYP000406148242/1-68 DE [subseq from] PL=00       DE is the rest of the row's title line

    MGYP000406148242/1-68   -PRTGAEhhEAAA                   a name and aligned residues
    query                   MAAHKGAEHHHKAA                   '-' '.' '_' '~' are gaps
    #=GC RF                 xxxxxxx..xxxxx                   what is no gap here is a match column

    MGYP000406148242/1-68   AQHHEQ                           next block: goes on behind the first one
    query                   EHHEQA
    #=GC RF                 xxxxxx
    //

(https://sonnhammer.sbc.su.se/Stockholm.html). A file holds any number of alignments. Rows that are no protein, such as
``ss_pred`` and ``…_consensus``, are skipped as in A3M. Insertions are what stands outside the match columns; without an
RF line they are the lower-case residues, as in A3M. (jackhmmer writes insertions in upper case, and an RF line.)

An alignment is malformed without its first or last line, if rows or the RF line differ in length, if a row comes twice
in a block or has a name and no residues, and if ``#=GS`` describes a row that is not there.

Cost: about 2 µs a line. Memory: blocks may be interleaved, so a whole alignment is held, beside a block of records.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.errors import InputFormatError
from pipeline.formats.alignment import GAPS, LOWER_CASE, Insertions, skipped_kind
from pipeline.formats.compression import read_blocks
from pipeline.formats.cutting import split
from pipeline.formats.problems import Problems
from pipeline.formats.records import UPPER, WHITE_SPACE, BlockBuilder, HeaderBlock

UNREADABLE_ALIGNMENT = "unreadable-alignment"
"""Reason of a malformed alignment."""

MAGIC = b"# STOCKHOLM 1."
"""What the first line of an alignment starts with."""

_END = b"//"
_GAPS = GAPS + b"_~"
_MATCH_COLUMNS = b"RF"
_DESCRIPTION = b"DE"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EXCERPT_BYTES = 60


def read_stockholm(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    insertions: Insertions = Insertions.KEEP,
    problems: Problems | None = None,
) -> Iterator[HeaderBlock]:
    """Read the rows of the Stockholm alignments in a file, plain or compressed.

    Args:
        path: A file or a pipe.
        source: The database's name, if it is not to come from names and descriptions.
        insertions: Whether residues outside match columns stay.
        problems: What becomes of malformed alignments, whole ones; by default the first one raises.

    Yields:
        Blocks of records, in the order of the file.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The file is empty, is no Stockholm, is cut short, or has a malformed alignment.
    """
    reader = StockholmReader(Path(path), source, insertions, problems or Problems())
    for line in split(read_blocks(path), b"\n"):
        yield from reader.read_line(line.rstrip(WHITE_SPACE))
    yield from reader.finish()


class MalformedAlignmentError(Exception):
    """What is wrong with an alignment, in words: line, expected, found."""

    def __init__(self, line: int, expected: str, found: str) -> None:
        super().__init__(line, expected, found)
        self.line, self.expected, self.found = line, expected, found


class StockholmAlignment:
    """One alignment while its lines come in."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.num_comment_lines = 0
        self.is_malformed = False
        self._rows: dict[bytes, list[bytes]] = {}
        self._descriptions: dict[bytes, list[bytes]] = {}
        self._described: dict[bytes, int] = {}
        self._lines: dict[bytes, int] = {}
        self._in_block: set[bytes] = set()
        self._match_columns: list[bytes] = []

    def add(self, line: bytes, number: int) -> None:
        """Take a line that is neither the first nor the last one."""
        if not line:
            self._in_block.clear()
        elif line.startswith(b"#=GS"):
            self._describe(line, number)
        elif line.startswith(b"#=GC"):
            _, name, text = (*line.split(None, 2), b"", b"")[:3]
            self._match_columns += [text] if name == _MATCH_COLUMNS else []
        elif line.startswith(b"#"):
            self.num_comment_lines += not line.startswith(b"#=")
        else:
            self._add_row(line, number)

    def _describe(self, line: bytes, number: int) -> None:
        _, name, tag, text = (*line.split(None, 3), b"", b"", b"")[:4]
        self._described.setdefault(name, number)
        if tag == _DESCRIPTION:
            self._descriptions.setdefault(name, []).append(text)

    def _add_row(self, line: bytes, number: int) -> None:
        name, residues = (*line.split(None, 1), b"")[:2]
        if not residues:
            raise MalformedAlignmentError(number, "a name and aligned residues", _excerpt(line))
        if name in self._in_block:
            raise MalformedAlignmentError(number, f"one line for {_excerpt(name)} in a block", "another one")
        self._in_block.add(name)
        self._lines.setdefault(name, number)
        self._rows.setdefault(name, []).append(residues.translate(None, WHITE_SPACE))

    def rows(self, insertions: Insertions) -> list[tuple[bytes, bytes, int]]:
        """Title line, residues and first line of each row, in order."""
        joined = {name: b"".join(parts) for name, parts in self._rows.items()}
        self._check(joined)
        clean = {
            name: row.translate(UPPER, _GAPS) for name, row in self._without_insertions(joined, insertions).items()
        }
        titles = {name: b" ".join([name, *self._descriptions.get(name, ())]) for name in joined}
        return [(titles[name], row, self._lines[name]) for name, row in clean.items()]

    def _without_insertions(self, joined: dict[bytes, bytes], insertions: Insertions) -> dict[bytes, bytes]:
        if insertions is Insertions.KEEP:
            return joined
        if not self._match_columns:
            return {name: row.translate(None, LOWER_CASE) for name, row in joined.items()}
        columns = np.frombuffer(b"".join(self._match_columns), dtype=np.uint8)
        is_match = ~np.isin(columns, np.frombuffer(_GAPS, dtype=np.uint8))
        return {name: np.frombuffer(row, dtype=np.uint8)[is_match].tobytes() for name, row in joined.items()}

    def _check(self, joined: dict[bytes, bytes]) -> None:
        if not joined:
            raise MalformedAlignmentError(self.line, "an alignment with rows", "none")
        first = next(iter(joined))
        for name, row in joined.items():
            if len(row) != len(joined[first]):
                expected = f"{len(joined[first])} columns in {_excerpt(name)} as in {_excerpt(first)}"
                raise MalformedAlignmentError(self._lines[name], expected, str(len(row)))
        num_columns = len(b"".join(self._match_columns))
        if self._match_columns and num_columns != len(joined[first]):
            raise MalformedAlignmentError(
                self.line, f"{len(joined[first])} columns in '#=GC RF' as in the rows", str(num_columns)
            )
        for name, number in self._described.items():
            if name not in joined:
                raise MalformedAlignmentError(number, f"a row {_excerpt(name)}, which #=GS describes", "none")


class StockholmReader:
    """The lines of a file on their way to blocks."""

    def __init__(self, path: Path, source: str | None, insertions: Insertions, problems: Problems) -> None:
        self._path = path
        self._builder = BlockBuilder(place_format="alignment {}, line {}", source=source)
        self._insertions = insertions
        self._problems = problems
        self._alignment: StockholmAlignment | None = None
        self._num_alignments = 0
        self._num_lines = 0

    def read_line(self, line: bytes) -> Iterator[HeaderBlock]:
        """Take a line, white space behind it removed; yields a block whenever one is full."""
        self._num_lines += 1
        if self._num_lines == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if line.startswith(MAGIC):
            self._begin()
        elif self._alignment is None:
            if line:
                raise self._error(MalformedAlignmentError(self._num_lines, "'# STOCKHOLM 1.0'", _excerpt(line)))
        elif line == _END:
            yield from self._end(self._alignment)
        elif not self._alignment.is_malformed:
            self._add(self._alignment, line)

    def finish(self) -> Iterator[HeaderBlock]:
        """Yields the last block."""
        hint = "the file is cut short: download it again"
        if self._alignment is not None:
            expected = f"'//' at the end of the alignment that starts in line {self._alignment.line}"
            raise self._error(MalformedAlignmentError(self._num_lines, expected, "the end of the file"), hint)
        if not self._num_alignments:
            raise InputFormatError(f"{self._path}: expected Stockholm alignments, found none", hint=hint)
        if self._builder.num_records:
            yield self._builder.take()
        else:
            self._problems.pass_over(self._builder.skipped, self._builder.num_comment_lines)

    def _begin(self) -> None:
        if self._alignment is not None and not self._alignment.is_malformed:
            self._report(MalformedAlignmentError(self._num_lines, "'//' before the next alignment", "none"))
        self._num_alignments += 1
        self._alignment = StockholmAlignment(self._num_lines)

    def _add(self, alignment: StockholmAlignment, line: bytes) -> None:
        try:
            alignment.add(line, self._num_lines)
        except MalformedAlignmentError as malformed:
            self._report(malformed)
            alignment.is_malformed = True

    def _end(self, alignment: StockholmAlignment) -> Iterator[HeaderBlock]:
        self._alignment = None
        if alignment.is_malformed:
            return
        try:
            rows = alignment.rows(self._insertions)
        except MalformedAlignmentError as malformed:
            self._report(malformed)
            return
        self._builder.num_comment_lines += alignment.num_comment_lines
        for header, row, line in rows:
            if kind := skipped_kind(header):
                self._builder.skipped[kind] += 1
                continue
            if self._builder.is_full:
                yield self._builder.take()
            self._builder.add(header, row, (self._num_alignments, line))

    def _report(self, malformed: MalformedAlignmentError) -> None:
        self._problems.report(UNREADABLE_ALIGNMENT, self._error(malformed))

    def _error(self, malformed: MalformedAlignmentError, hint: str | None = None) -> InputFormatError:
        where = f"{self._path}: alignment {max(self._num_alignments, 1)}, line {malformed.line}"
        return InputFormatError(f"{where}: expected {malformed.expected}, found {malformed.found}", hint=hint)


def _excerpt(text: bytes) -> str:
    return repr(text[:_EXCERPT_BYTES].decode(errors="backslashreplace"))
