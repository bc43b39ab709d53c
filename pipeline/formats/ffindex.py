"""HH-suite's databases of A3M alignments (how BFD and UniRef30 are published): two files, or an archive with such.

::

    X_a3m.ffdata      >query↵MKV…↵>row↵…␀>query↵…␀      entries, each an alignment, each ended by a zero byte
    X_a3m.ffindex     cl-1⇥0⇥1532↵                       name, offset, length with the zero byte, sorted by name
                      cl-2⇥1532⇥907↵

(https://github.com/soedinglab/hh-suite/wiki). The data is read once from start to end, by its zero bytes, so that an
archive can be read as it is decompressed, with its index before the data or behind it. Whenever an index is there, it
must describe the very same entries: their number and a sum of hashes over (offset, length) are compared, which needs
neither order nor memory.

From an archive, ``*_a3m.ffdata`` and ``*_a3m.ffindex`` are read and everything else is passed. Nothing is ever written:
names are compared and shown in messages, links and devices are not followed. An archive must end as tar says, with
blocks of zeros, or it is cut short; several archives end to end are read as one.

Cost: that of the alignments (see ``alignment``), and about 1 µs for each line of an index. Memory is a block of
records and the largest entry.
"""

import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline.errors import InputFormatError
from pipeline.formats.alignment import ROW_MARK, Insertions, Origin, RowReader, origin_behind
from pipeline.formats.block_file import BlockFile
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
_PIECE_BYTES = 1 << 20
_INDEX_FIELDS = 3
_HASH_MODULUS = 1 << 64
_EXCERPT = 60
_NAMED_MEMBERS = 5


@dataclass(slots=True)
class _Listing:
    """Entries, as the data has them or as an index lists them, whatever their order."""

    num_entries: int = 0
    num_bytes: int = 0
    digest: int = 0

    def add(self, offset: int, length: int) -> None:
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
    data, index = _pair(Path(path))
    entries = _EntryReader(data, RowReader(data, place_format=_PLACE, source=source, problems=problems), insertions)
    found = _Listing()
    yield from entries.read(read_blocks(data), found)
    if index is not None:
        listed = _Listing()
        _read_index(str(index), read_blocks(index), listed)
        _compare(str(index), listed, found)
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
    data: dict[str, _Listing] = {}
    indexes: dict[str, _Listing] = {}
    others: list[str] = []
    for name, content in _members(path):
        if name.endswith(_ALIGNMENTS + DATA_SUFFIX):
            found = data.setdefault(name.removesuffix(DATA_SUFFIX), _Listing())
            yield from entries.read(content, found)
        elif name.endswith(_ALIGNMENTS + INDEX_SUFFIX):
            _read_index(_label(path, name), content, indexes.setdefault(name.removesuffix(INDEX_SUFFIX), _Listing()))
        elif len(others) < _NAMED_MEMBERS:
            others.append(name)
    if not data:
        raise _no_data(path, [*(stem + INDEX_SUFFIX for stem in indexes), *others])
    for stem, listed in indexes.items():
        _compare(_label(path, stem + INDEX_SUFFIX), listed, data.get(stem, _Listing()))
    yield from entries.rows.finish()


class _EntryReader:
    """Entries of databases to the rows of their alignments."""

    def __init__(self, path: Path, rows: RowReader, insertions: Insertions) -> None:
        self.rows = rows
        self._path = path
        self._insertions = insertions

    def read(self, blocks: Iterable[bytes], listing: _Listing) -> Iterator[HeaderBlock]:
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


def _pair(path: Path) -> tuple[Path, Path | None]:
    """Data file and index, by the name of either; no index if there is none beside the data."""
    data = path.with_name(path.name.replace(INDEX_SUFFIX, DATA_SUFFIX))
    index = path.with_name(path.name.replace(DATA_SUFFIX, INDEX_SUFFIX))
    return data, index if index != data and index.exists() else None


def _read_index(label: str, blocks: Iterable[bytes], listing: _Listing) -> None:
    for number, line in enumerate(cut_behind(blocks, b"\n"), start=1):
        fields = line.rstrip(b"\r\n").split(b"\t")
        if len(fields) != _INDEX_FIELDS or not (fields[1].isdigit() and fields[2].isdigit()):
            found = line[:_EXCERPT].decode(errors="backslashreplace")
            raise InputFormatError(f"{label}: line {number}: expected name, offset and length, found {found!r}")
        listing.add(int(fields[1]), int(fields[2]))


def _compare(label: str, listed: _Listing, found: _Listing) -> None:
    """Refuse an index that is not the data's."""
    if listed == found:
        return
    expected = f"{found.num_entries} entries of {found.num_bytes} bytes in all, as the data has"
    described = f"{listed.num_entries} of {listed.num_bytes}"
    if (listed.num_entries, listed.num_bytes) == (found.num_entries, found.num_bytes):
        described = "as many, but not at the same places"
    hint = "index and data are not of one database, or one of them is cut short or damaged"
    raise InputFormatError(f"{label}: expected {expected}, found {described}", hint=hint)


def _members(path: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Name and content of each plain file in an archive; the content is to be read at once or not at all."""
    offset = 0
    try:
        file = BlockFile(read_blocks(path))
        with tarfile.open(
            fileobj=file, mode="r|", bufsize=_PIECE_BYTES, tarinfo=_strict_headers(), ignore_zeros=True
        ) as archive:
            for member in archive:
                offset = member.offset_data
                if member.isreg():
                    yield member.name, _pieces(path, archive, member)
                # It would keep a list of all.
                archive.members = []  # type: ignore[attr-defined]
    except tarfile.TarError as error:
        raise _damaged(path, offset, error) from error


def _pieces(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    content = archive.extractfile(member)
    assert content is not None, "a plain file has content"
    try:
        while piece := content.read(_PIECE_BYTES):
            yield piece
    except tarfile.TarError as error:
        raise _damaged(path, member.offset_data, error) from error


def _strict_headers() -> type[tarfile.TarInfo]:
    """A class that reads the headers of one archive: tarfile takes a damaged header, or none, for the end."""
    seen_end = False

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            nonlocal seen_end
            is_end = not any(buf) if buf else seen_end
            seen_end = is_end
            try:
                return super().frombuf(buf, encoding, errors)
            except tarfile.HeaderError as error:
                if is_end:
                    raise
                raise tarfile.ReadError(f"no file and no end of the archive there: {error}") from error

    return Header


def _damaged(path: Path, offset: int, error: tarfile.TarError) -> InputFormatError:
    return InputFormatError(
        f"{path}: expected a tar archive, found damage behind byte {offset} of it: {error}",
        hint="the archive is damaged or cut short: download it again",
    )


def _no_data(path: Path, names: list[str]) -> InputFormatError:
    found = ", ".join(map(_shown, names[:_NAMED_MEMBERS])) or "nothing"
    return InputFormatError(
        f"{path}: expected a file *{_ALIGNMENTS}{DATA_SUFFIX} in the archive, found {found}",
        hint="HH-suite's databases of alignments are read from archives; unpack others and name the files",
    )


def _label(path: Path, name: str) -> str:
    return f"{path}: {_shown(name)}"


def _shown(name: str) -> str:
    """A name from an archive without characters that a terminal would obey."""
    return ascii(name)[1:-1]
