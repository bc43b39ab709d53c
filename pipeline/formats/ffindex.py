"""HH-suite's databases of A3M alignments (how BFD and UniRef30 are published): two files, or an archive with such.

::

    X_a3m.ffdata      >query↵MKV…↵>row↵…␀>query↵…␀      entries, each an alignment, each ended by a zero byte
    X_a3m.ffindex     cl-1⇥0⇥1532↵                       name, offset, length with the zero byte, sorted by name
                      cl-2⇥1532⇥907↵

(https://github.com/soedinglab/hh-suite/wiki). The data is read once from start to end, by its zero bytes, so that an
archive can be read as it is decompressed, with its index before the data or behind it. Whenever an index is there, it
must describe the very same entries: their number and a sum of hashes over (offset, length) are compared, which needs
neither order nor memory.

From an archive (see ``archives``), ``*_a3m.ffdata`` and ``*_a3m.ffindex`` are read and everything else is passed.

Cost: that of the alignments (see ``alignment``), and about 1 µs for each line of an index. Memory is a block of
records and the largest entry.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputFormatError
from pipeline.formats.alignment import ROW_MARK, Insertions, Origin, RowReader, origin_behind
from pipeline.formats.archives import members
from pipeline.formats.compression import read_blocks
from pipeline.formats.cutting import cut_behind
from pipeline.formats.problems import Problems
from pipeline.formats.records import HeaderBlock

EMPTY_ENTRY = "empty-entry"
"""What entries without a row are counted as, among the skipped."""
NO_ALIGNMENT = "no-alignment"
"""Reason of an entry that is no A3M."""

DATA_SUFFIX, INDEX_SUFFIX = ".ffdata", ".ffindex"

_ALIGNMENTS = "_a3m"
_END = b"\0"
_PLACE = "entry {}, line {} (byte {} of the data)"
_INDEX_FIELDS = 3
_HASH_MODULUS = 1 << 64
_EXCERPT = 60
_NAMED_MEMBERS = 5


@dataclass(slots=True)
class Listing:
    """Entries, as the data has them or as an index lists them, whatever their order."""

    num_entries: int = 0
    num_bytes: int = 0
    digest: int = 0

    def add(self, offset: int, length: int) -> None:
        """Enter one entry: where it begins, and its bytes with the zero byte behind it."""
        self.num_entries += 1
        self.num_bytes += length
        self.digest = (self.digest + hash((offset, length))) % _HASH_MODULUS


def read_ffindex(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    insertions: Insertions = Insertions.KEEP,
    problems: Problems | None = None,
) -> Iterator[HeaderBlock]:
    """Read the alignments of an ffindex database.

    Args:
        path: The data file; or its index, beside which the data is. An index beside the data is checked.
        source: The database's name, if it is not to come from the headers.
        insertions: Whether lower-case residues stay.
        problems: What becomes of damaged rows and entries; by default the first one raises.

    Yields:
        Blocks of records, in the order of the data.

    Raises:
        ConfigurationError: A path cannot be read.
        InputFormatError: The data is cut short, an entry is no alignment, or the index does not describe the data.
    """
    data, index = pair_files(Path(path))
    entries = _EntryReader(data, RowReader(data, place_format=_PLACE, source=source, problems=problems), insertions)
    found = Listing()
    yield from entries.read(read_blocks(data), found)
    if index is not None:
        listed = Listing()
        read_index(str(index), read_blocks(index), listed)
        compare_listing(str(index), listed, found)
    yield from entries.rows.finish()


def read_archive(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    insertions: Insertions = Insertions.KEEP,
    problems: Problems | None = None,
) -> Iterator[HeaderBlock]:
    """Read the alignments of the ffindex databases in a tar archive, plain or compressed, as it streams.

    Args:
        path: A file or a pipe.
        source: The database's name, if it is not to come from the headers.
        insertions: Whether lower-case residues stay.
        problems: What becomes of damaged rows and entries; by default the first one raises.

    Yields:
        Blocks of records, in the order of the archive.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The archive is damaged, cut short or holds no alignments, an entry is none, or an index does
            not describe its data.
    """
    path = Path(path)
    entries = _EntryReader(path, RowReader(path, place_format=_PLACE, source=source, problems=problems), insertions)
    data: dict[str, Listing] = {}
    indexes: dict[str, Listing] = {}
    others: list[str] = []
    for member in members(path):
        name, content = member.name, member.content
        if content is None:
            continue
        if name.endswith(_ALIGNMENTS + DATA_SUFFIX):
            found = data.setdefault(name.removesuffix(DATA_SUFFIX), Listing())
            yield from entries.read(content, found)
        elif name.endswith(_ALIGNMENTS + INDEX_SUFFIX):
            read_index(f"{path}: {name}", content, indexes.setdefault(name.removesuffix(INDEX_SUFFIX), Listing()))
        elif len(others) < _NAMED_MEMBERS:
            others.append(name)
    if not data:
        raise no_data(path, [*(stem + INDEX_SUFFIX for stem in indexes), *others])
    for stem, listed in indexes.items():
        compare_listing(f"{path}: {stem}{INDEX_SUFFIX}", listed, data.get(stem, Listing()))
    yield from entries.rows.finish()


class _EntryReader:
    """Entries of databases to the rows of their alignments."""

    def __init__(self, path: Path, rows: RowReader, insertions: Insertions) -> None:
        self.rows = rows
        self._path = path
        self._insertions = insertions

    def read(self, blocks: Iterable[bytes], listing: Listing) -> Iterator[HeaderBlock]:
        """The entries of one data file, each entered into the listing; yields a block whenever one is full."""
        offset = 0
        for number, text in enumerate(cut_behind(blocks, _END), start=1):
            origin = Origin(line=1, byte=offset, context=(number,))
            if not text.endswith(_END):
                expected = "a zero byte at the end of the entry"
                raise self.rows.error(origin, expected, "the end of the data", "it is cut short: download it again")
            listing.add(offset, len(text))
            yield from self._read_entry(text.removesuffix(_END), origin)
            offset += len(text)

    def _read_entry(self, text: bytes, origin: Origin) -> Iterator[HeaderBlock]:
        preamble, *rows = (b"\n" + text).split(ROW_MARK)
        try:
            self.rows.read_preamble(preamble, origin)
        except InputFormatError as error:
            self.rows.problems.report(NO_ALIGNMENT, error)
            return
        if not rows:
            self.rows.builder.skipped[EMPTY_ENTRY] += 1
        yield from self.rows.read_rows(rows, origin_behind(preamble, origin), insertions=self._insertions)


def pair_files(path: Path) -> tuple[Path, Path | None]:
    """Data file and index, by the name of either; no index if there is none beside the data."""
    data = path.with_name(path.name.replace(INDEX_SUFFIX, DATA_SUFFIX))
    index = path.with_name(path.name.replace(DATA_SUFFIX, INDEX_SUFFIX))
    return data, index if index != data and index.exists() else None


def read_index(label: str, blocks: Iterable[bytes], listing: Listing) -> None:
    """Enter every line of an index into a listing.

    Raises:
        InputFormatError: A line is not name, offset and length.
    """
    for number, line in enumerate(cut_behind(blocks, b"\n"), start=1):
        fields = line.rstrip(b"\r\n").split(b"\t")
        if len(fields) != _INDEX_FIELDS or not (fields[1].isdigit() and fields[2].isdigit()):
            found = line[:_EXCERPT].decode(errors="backslashreplace")
            raise InputFormatError(f"{label}: line {number}: expected name, offset and length, found {found!r}")
        listing.add(int(fields[1]), int(fields[2]))


def compare_listing(label: str, listed: Listing, found: Listing) -> None:
    """Refuse an index that is not the data's."""
    if listed == found:
        return
    expected = f"{found.num_entries} entries of {found.num_bytes} bytes in all, as the data has"
    described = f"{listed.num_entries} of {listed.num_bytes}"
    if (listed.num_entries, listed.num_bytes) == (found.num_entries, found.num_bytes):
        described = "as many, but not at the same places"
    hint = "index and data are not of one database, or one of them is cut short or damaged"
    raise InputFormatError(f"{label}: expected {expected}, found {described}", hint=hint)


def no_data(path: Path, names: list[str]) -> InputFormatError:
    """The error that an archive holds no data file."""
    found = ", ".join(names[:_NAMED_MEMBERS]) or "nothing"
    return InputFormatError(
        f"{path}: expected a file *{_ALIGNMENTS}{DATA_SUFFIX} in the archive, found {found}",
        hint="this is about HH-suite's databases of alignments; for files of records leave --format out",
    )
