"""Alignments of ffindex databases, gaps kept; see :mod:`pipeline.formats.aligned`.

How a database is laid out, :mod:`pipeline.formats.ffindex` says, whose listings and errors these are. An entry is read
when it is asked for; an index beside the data is compared when all of them were.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.errors import InputFormatError
from pipeline.formats.aligned_a3m import AlignedRowReader, Alignment
from pipeline.formats.alignment import ROW_MARK, Origin, origin_behind
from pipeline.formats.archives import members
from pipeline.formats.compression import read_blocks
from pipeline.formats.cutting import cut_behind
from pipeline.formats.ffindex import (
    DATA_SUFFIX,
    INDEX_SUFFIX,
    NO_ALIGNMENT,
    Listing,
    compare_listing,
    no_data,
    pair_files,
    read_index,
)
from pipeline.formats.problems import Problems

_A3M_SUFFIX = "_a3m"
_END = b"\0"
_PLACE = "entry {}, line {} (byte {} of the data)"
_NAMED_MEMBERS = 5


class _Entries:
    """Entries of ffindex databases to alignments."""

    def __init__(self, path: Path, problems: Problems) -> None:
        self._rows = AlignedRowReader(path, place_format=_PLACE, source=None, problems=problems)
        self._num_alignments = 0

    def read(self, blocks: Iterable[bytes], listing: Listing) -> Iterator[Alignment]:
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


def read_aligned_ffindex(path: Path, problems: Problems) -> Iterator[Alignment]:
    """The alignments of a database, by its data or its index; see :func:`pipeline.formats.aligned.open_alignments`."""
    data, index = pair_files(path)
    entries, found = _Entries(data, problems), Listing()
    yield from entries.read(read_blocks(data), found)
    if index is not None:
        listed = Listing()
        read_index(str(index), read_blocks(index), listed)
        compare_listing(str(index), listed, found)
    entries.end()


def read_aligned_archive(path: Path, problems: Problems) -> Iterator[Alignment]:
    """The alignments of the databases in a tar archive; see :func:`pipeline.formats.aligned.open_alignments`."""
    entries = _Entries(path, problems)
    data: dict[str, Listing] = {}
    indexes: dict[str, Listing] = {}
    others: list[str] = []
    for member in members(path):
        name, content = member.name, member.content
        if content is None:
            continue
        if name.endswith(_A3M_SUFFIX + DATA_SUFFIX):
            yield from entries.read(content, data.setdefault(name.removesuffix(DATA_SUFFIX), Listing()))
        elif name.endswith(_A3M_SUFFIX + INDEX_SUFFIX):
            read_index(f"{path}: {name}", content, indexes.setdefault(name.removesuffix(INDEX_SUFFIX), Listing()))
        elif len(others) < _NAMED_MEMBERS:
            others.append(name)
    if not data:
        raise no_data(path, [*(stem + INDEX_SUFFIX for stem in indexes), *others])
    for stem, listed in indexes.items():
        compare_listing(f"{path}: {stem}{INDEX_SUFFIX}", listed, data.get(stem, Listing()))
    entries.end()
