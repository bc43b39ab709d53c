"""Whole alignments from A3M, Stockholm and ffindex databases: match columns alone, gaps kept.

::

    >query              MKVA        depth 3, width 4
    MKVA                M-VA        every row: upper-case letters and '-'
    >one                -KVA        rows in the order of the file, none merged
    M-VefA
    >two                lower case is an insertion: removed and counted
    -KVA

What is a row, what is a match column and what is damaged, :mod:`pipeline.formats.alignment`,
:mod:`pipeline.formats.stockholm` and :mod:`pipeline.formats.ffindex` say, which read the same files as proteins; only
what becomes of gaps differs, and this: in a Stockholm alignment without an RF line a column with a lower-case letter is
an insertion, for every row. Secondary structure and the like are no rows, and consensus rows neither: the query is the
first protein.

An A3M file is one alignment, a Stockholm file any number of them, an ffindex database one an entry. A damaged row is
left out and its alignment stays; a Stockholm alignment is left out whole, because nothing tells which row is wrong.

Cost: 3 µs a row of 250 columns. Memory: an alignment, three times.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigurationError, InputFormatError
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
from pipeline.formats.alignments import GAP, UInt8Array
from pipeline.formats.archives import members
from pipeline.formats.compression import read_blocks
from pipeline.formats.cutting import cut_behind, split
from pipeline.formats.detection import ReadOptions, detect_file
from pipeline.formats.ffindex import (
    DATA_SUFFIX,
    EMPTY_ENTRY,
    INDEX_SUFFIX,
    NO_ALIGNMENT,
    _compare,
    _Listing,
    _no_data,
    _pair,
    _read_index,
)
from pipeline.formats.problems import Problems
from pipeline.formats.records import UPPER, WHITE_SPACE
from pipeline.formats.stockholm import UNREADABLE_ALIGNMENT, _Alignment, _MalformedError, _Reader

NO_ROWS = "no-rows"
"""Reason of an alignment of which every row is damaged."""
ALIGNMENT_REASONS = frozenset({NO_ALIGNMENT, UNREADABLE_ALIGNMENT, NO_ROWS})
"""Reasons that count alignments; any other counts rows."""

FASTA_LIKE = frozenset({"a3m", "fasta"})
"""Formats that an A3M is detected as."""

_A3M_SUFFIX = "_a3m"
_END = b"\0"
_PLACE = "line {}, byte {}"
_ENTRY_PLACE = "entry {}, line {} (byte {} of the data)"
_NAMED_MEMBERS = 5
_REMOVED = WHITE_SPACE + LOWER_CASE + b"."
_GAPS = np.frombuffer(b"-._~", dtype=np.uint8)
_UPPER = np.frombuffer(UPPER, dtype=np.uint8)


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


def open_alignments(
    path: Path, *, file_format: str | None = None, problems: Problems | None = None
) -> Iterator[Alignment]:
    """The alignments of a file, plain or compressed.

    Args:
        path: The file.
        file_format: One of ``ALIGNMENT_FORMATS``; None to tell by the content.
        problems: What becomes of damaged rows and alignments; by default the first one raises.

    Yields:
        Alignments with at least a row and a column, in the order of the file.

    Raises:
        ConfigurationError: The path cannot be read, or holds no alignments.
        InputFormatError: The file is empty, cut short, or has a damaged alignment.
    """
    problems = problems or Problems()
    name = file_format or detect_file(path, ReadOptions())
    name = "a3m" if name in FASTA_LIKE else name
    if name not in _READERS:
        raise ConfigurationError(
            f"{path}: expected alignments ({', '.join(ALIGNMENT_FORMATS)}), found {name}",
            hint="unpack an archive and name the files; for single proteins leave --as out",
        )
    yield from _READERS[name](path, problems)


class AlignedRowReader(RowReader):
    """The rows of A3M alignments with their gaps."""

    def read_alignment(self, rows: Iterable[bytes], origin: Origin) -> Alignment | None:
        """One alignment; None where no row is left of it.

        Args:
            rows: Pieces between two ``ROW_MARK``.
            origin: Where the first row's '>' is.
        """
        first, at = origin, origin
        titles: list[bytes] = []
        kept: list[bytes] = []
        num_insertions, query, was_damaged = 0, None, False
        for row in rows:
            title, body = self._parts(row, at)
            kind = skipped_kind(title)
            if kind != PSEUDO_RECORD:
                aligned = body.translate(None, _REMOVED)
                query = query or (title, len(aligned))
                if len(aligned) != query[1] or not aligned:
                    self.problems.report(UNEQUAL_COLUMNS, self._unequal_to(at, (title, len(aligned)), query))
                    was_damaged = True
                elif kind is None:
                    titles.append(title)
                    kept.append(aligned)
                    num_insertions += len(body.translate(None, WHITE_SPACE + b".")) - len(aligned)
            if kind is not None:
                self.builder.skipped[kind] += 1
            at = at._replace(line=at.line + row.count(b"\n") + 1, byte=at.byte + len(row) + len(ROW_MARK))
        if not kept:
            self._count_empty(was_damaged=was_damaged)
            return None
        letters = np.frombuffer(b"".join(kept), dtype=np.uint8).reshape(len(kept), -1)
        return Alignment(titles=titles, letters=letters, num_insertions=num_insertions, place=self.place(first))

    def place(self, origin: Origin) -> str:
        """Where an alignment begins, in words for a message."""
        return self._place_format.format(*origin.context, origin.line, origin.byte)

    def _parts(self, row: bytes, origin: Origin) -> tuple[bytes, bytes]:
        if _END in row:
            hint = "it looks like the data file of an ffindex database: --format ffindex reads those"
            raise self.error(origin, "a row of text", "a zero byte", hint)
        title, _, body = row.partition(b"\n")
        return title.strip(WHITE_SPACE), self._without_comments(body) if b"#" in body else body

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


def _read_a3m(path: Path, problems: Problems) -> Iterator[Alignment]:
    reader = AlignedRowReader(path, place_format=_PLACE, source=None, problems=problems)
    # As if a line ended in front of the file, every row begins behind the same mark.
    pieces = split(chain([b"\n"], read_blocks(path)), ROW_MARK)
    preamble = next(pieces)
    reader.read_preamble(preamble, Origin(line=1, byte=0))
    found = reader.read_alignment(pieces, origin_behind(preamble, Origin(line=1, byte=0)))
    if found is not None:
        yield found
    reader.end(int(found is not None))


class _Entries:
    """Entries of ffindex databases to alignments."""

    def __init__(self, path: Path, problems: Problems) -> None:
        self._rows = AlignedRowReader(path, place_format=_ENTRY_PLACE, source=None, problems=problems)
        self._num_alignments = 0

    def read(self, blocks: Iterable[bytes], listing: _Listing) -> Iterator[Alignment]:
        """The entries of one data file, each entered into the listing."""
        offset = 0
        for number, text in enumerate(cut_behind(blocks, _END), start=1):
            origin = Origin(line=1, byte=offset, context=(number,))
            if not text.endswith(_END):
                expected = "a zero byte at the end of the entry"
                raise self._rows.error(origin, expected, "the end of the data", "it is cut short: download it again")
            listing.add(offset, len(text))
            offset += len(text)
            found = self._read_entry(text.removesuffix(_END), origin)
            if found is not None:
                self._num_alignments += 1
                yield found

    def _read_entry(self, text: bytes, origin: Origin) -> Alignment | None:
        preamble, *rows = (b"\n" + text).split(ROW_MARK)
        try:
            self._rows.read_preamble(preamble, origin)
        except InputFormatError as error:
            self._rows.problems.report(NO_ALIGNMENT, error)
            return None
        return self._rows.read_alignment(rows, origin_behind(preamble, origin))

    def end(self) -> None:
        """Count what was skipped."""
        self._rows.end(self._num_alignments)


def _read_ffindex(path: Path, problems: Problems) -> Iterator[Alignment]:
    data, index = _pair(path)
    entries, found = _Entries(data, problems), _Listing()
    yield from entries.read(read_blocks(data), found)
    if index is not None:
        listed = _Listing()
        _read_index(str(index), read_blocks(index), listed)
        _compare(str(index), listed, found)
    entries.end()


def _read_archive(path: Path, problems: Problems) -> Iterator[Alignment]:
    entries = _Entries(path, problems)
    data: dict[str, _Listing] = {}
    indexes: dict[str, _Listing] = {}
    others: list[str] = []
    for member in members(path):
        name, content = member.name, member.content
        if content is None:
            continue
        if name.endswith(_A3M_SUFFIX + DATA_SUFFIX):
            yield from entries.read(content, data.setdefault(name.removesuffix(DATA_SUFFIX), _Listing()))
        elif name.endswith(_A3M_SUFFIX + INDEX_SUFFIX):
            _read_index(f"{path}: {name}", content, indexes.setdefault(name.removesuffix(INDEX_SUFFIX), _Listing()))
        elif len(others) < _NAMED_MEMBERS:
            others.append(name)
    if not data:
        raise _no_data(path, [*(stem + INDEX_SUFFIX for stem in indexes), *others])
    for stem, listed in indexes.items():
        _compare(f"{path}: {stem}{INDEX_SUFFIX}", listed, data.get(stem, _Listing()))
    entries.end()


class _Columns(_Alignment):
    """A Stockholm alignment while its lines come in, with the gaps of its match columns."""

    def aligned(self) -> tuple[list[bytes], UInt8Array, int]:
        """Title lines, uint8 [rows, match columns], and residues outside of these."""
        joined = {name: b"".join(parts) for name, parts in self._rows.items()}
        self._check(joined)
        everything = np.frombuffer(b"".join(joined.values()), dtype=np.uint8).reshape(len(joined), -1)
        is_gap = np.isin(everything, _GAPS)
        if self._match_columns:
            is_match = ~np.isin(np.frombuffer(b"".join(self._match_columns), dtype=np.uint8), _GAPS)
        else:
            is_match = (everything == _UPPER[everything]).all(axis=0)
        if not is_match.any():
            raise _MalformedError(self.line, "match columns", "none")
        upper = _UPPER[everything]
        upper[is_gap] = GAP
        letters = upper[:, is_match]
        titles = [b" ".join([name, *self._descriptions.get(name, ())]) for name in joined]
        return titles, letters, int(np.count_nonzero(~is_gap[:, ~is_match]))


class _AlignedReader(_Reader):
    """The lines of a Stockholm file on their way to alignments."""

    def _begin(self) -> None:
        super()._begin()
        self._alignment = _Columns(self._num_lines)

    # The parent makes blocks of proteins where this makes whole alignments; who calls either knows which.
    def _end(self, alignment: _Alignment) -> Iterator[Alignment]:  # type: ignore[override]
        assert isinstance(alignment, _Columns), "begun here"
        self._alignment = None
        if alignment.is_malformed:
            return
        try:
            titles, letters, num_insertions = alignment.aligned()
        except _MalformedError as malformed:
            self._report(malformed)
            return
        self._builder.num_comment_lines += alignment.num_comment_lines
        kinds = [skipped_kind(title) for title in titles]
        self._builder.skipped.update(kind for kind in kinds if kind is not None)
        kept = [at for at, kind in enumerate(kinds) if kind is None]
        if not kept:
            self._builder.skipped[EMPTY_ENTRY] += 1
            return
        place = f"alignment {self._num_alignments}, line {alignment.line}"
        yield Alignment(
            titles=[titles[at] for at in kept], letters=letters[kept], num_insertions=num_insertions, place=place
        )


def _read_stockholm(path: Path, problems: Problems) -> Iterator[Alignment]:
    reader = _AlignedReader(path, None, ReadOptions().insertions, problems)
    for line in split(read_blocks(path), b"\n"):
        yield from reader.read_line(line.rstrip(WHITE_SPACE))  # type: ignore[misc]
    yield from reader.finish()  # type: ignore[misc]


def _excerpt(text: bytes) -> str:
    return repr(text[:60].decode(errors="backslashreplace"))


_READERS: dict[str, Callable[[Path, Problems], Iterator[Alignment]]] = {
    "a3m": _read_a3m,
    "stockholm": _read_stockholm,
    "ffindex": _read_ffindex,
    "tar": _read_archive,
}

ALIGNMENT_FORMATS = tuple(_READERS)
"""Names of the formats that hold alignments."""
