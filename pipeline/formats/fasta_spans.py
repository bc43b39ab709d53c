"""Where a FASTA file can be cut, so that its pieces are read apart from each other.

::

    file    >a..MKV..>b..ACD..│..>c..WYY..>d..GGG..     │ every chunk_bytes
    spans   [───────────────────┘└───────────────────]  each begins with a header

Plain files are cut, and those compressed files of which a part can be decompressed alone: BGZF, as bgzip writes it, and
zstd with a seek table. Their members are small (blocks of 64 KiB, frames), and a span begins with the first header in a
member::

    members │ ..>a..MK │ V..>b..ACD.. │ ..GG..>c..WY │ Y..>d..         │ every chunk_bytes, of the compressed file
    span                              ·      └────────────────         the end of a record that began before is passed

Another compressed file is one span, and so is one without a line feed in its first 64 KiB: its lines end with CR.
Nothing is lost where members are not what they seem: reading one span must come past the very member in which the next
one begins, or it is an error. Looking for the cuts reads a megabyte a chunk at most, unless records are larger.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.errors import InputFormatError
from pipeline.formats.block_compression import block_starts
from pipeline.formats.compression import (
    HEAD_BYTES,
    Piece,
    detect_compression,
    equal_blocks,
    read_blocks,
    read_members,
)
from pipeline.formats.seekable_zstd import frame_starts

LINES_BYTES = 64 << 10
"""How much of a file tells by what its lines end."""
_STEP = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Span(NamedTuple):
    """A part of a file; both ends are starts of records, or the ends of the file.

    A place in a plain file is a byte of it. In a compressed one it is the byte at which a member starts, shifted left,
    plus a byte of that member's content: by 16 bits for BGZF (htslib's virtual offset), by 32 for zstd.
    """

    start: int
    end: int | None
    """None: to the end of the file."""


WHOLE = Span(0, None)


class Shift(NamedTuple):
    """What to add to the records, lines and bytes of a span, so that they count from the start of the file."""

    records: int
    lines: int
    bytes: int


class _Place(NamedTuple):
    """A byte of the content of a member; of a plain file member 0."""

    member: int
    offset: int


def fasta_spans(path: Path, chunk_bytes: int) -> list[Span]:
    """Cut a file into spans of about ``chunk_bytes``.

    Args:
        path: A FASTA file; must be readable.
        chunk_bytes: Wanted size of a span on disk, at least 1. The content of a compressed one is two to four times as
            large; no span is smaller than a member.

    Returns:
        Spans that tile the file, in order; ``[WHOLE]`` for one that cannot be cut.

    Raises:
        InputFormatError: The first 64 KiB cannot be decompressed.
    """
    size = path.stat().st_size
    if size <= chunk_bytes:
        return [WHOLE]
    head = next(read_blocks(path, block_bytes=LINES_BYTES), b"")
    if b"\n" not in head:
        return [WHOLE]
    cuts = _find_cuts(path, range(chunk_bytes, size, chunk_bytes))
    if cuts and not head.removeprefix(_BYTE_ORDER_MARK).startswith(b">") and _find_cuts(path, [0]) == cuts[:1]:
        cuts = cuts[1:]  # comments alone are no FASTA: the first record belongs to them
    starts: list[int] = [0, *cuts]
    return [Span(start, end) for start, end in zip(starts, [*cuts, None], strict=True)]


def _find_cuts(path: Path, wanted: Iterable[int]) -> list[int]:
    """The first start of a record behind each place from which one is looked for, ascending."""
    kind = _compression_of(path)
    if kind not in _STARTS:
        return []
    places: list[_Place] = []
    with path.open("rb") as file:
        for start in _STARTS[kind](file, wanted):
            if places and start <= places[-1]:
                continue
            try:
                place = _first_header(_pieces_from(path, kind, start))
            except InputFormatError:
                continue  # whoever reads this part says what is wrong with it
            if place is None:
                break
            places.append(place)
    bits = _OFFSET_BITS[kind]
    # An offset that is too large for its bits lies in a member that is no block of BGZF.
    return [member << bits | offset for member, offset in places if not offset >> bits]


def _compression_of(path: Path) -> str:
    with path.open("rb") as file:
        return detect_compression(file.read(HEAD_BYTES))


def _pieces_from(path: Path, kind: str, start: _Place) -> Iterator[Piece]:
    if kind != "none":
        yield from read_members(path, kind, start.member)
        return
    offset = start.offset
    for block in _read_plain(path, Span(offset, None), _STEP):
        yield Piece(0, offset, block)
        offset += len(block)


def _first_header(pieces: Iterable[Piece]) -> _Place | None:
    """The first header behind a line feed."""
    ends_line = False
    for member, offset, content in pieces:
        # A line feed at the end of one piece and the '>' at the start of the next belong together.
        if ends_line and content.startswith(b">"):
            return _Place(member, offset)
        found = content.find(b"\n>")
        if found >= 0:
            return _Place(member, offset + found + 1)
        ends_line = content.endswith(b"\n")
    return None


def read_span(path: Path, span: Span, block_bytes: int) -> Iterator[bytes]:
    """The content of a span, in blocks.

    Raises:
        InputFormatError: The compressed data is cut short or damaged, or the next span begins in no member of it.
    """
    kind = _compression_of(path) if span != WHOLE else "none"
    if span == WHOLE:
        yield from read_blocks(path, block_bytes=block_bytes)
    elif kind == "none":
        yield from _read_plain(path, span, block_bytes)
    else:
        yield from equal_blocks(_read_compressed(path, kind, span), block_bytes)


def _read_plain(path: Path, span: Span, block_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(span.start)
        left = None if span.end is None else span.end - span.start
        while block := file.read(block_bytes if left is None else min(block_bytes, left)):
            yield block
            left = None if left is None else left - len(block)


def _read_compressed(path: Path, kind: str, span: Span) -> Iterator[bytes]:
    start = _Place(*divmod(span.start, 1 << _OFFSET_BITS[kind]))
    end = None if span.end is None else _Place(*divmod(span.end, 1 << _OFFSET_BITS[kind]))
    reached = _Place(0, 0)
    for member, offset, content in read_members(path, kind, start.member):
        reached = _Place(member, offset + len(content))
        first = max(0, start.offset - offset) if member == start.member else 0
        if end is None or reached < end:
            yield content[first:]
            continue
        if member == end.member:
            yield content[first : end.offset - offset]
            return
        break
    if reached <= start:
        raise _no_member(path, kind, start)
    if end is not None:
        raise _no_member(path, kind, end)


def _no_member(path: Path, kind: str, place: _Place) -> InputFormatError:
    return InputFormatError(
        f"{path}: expected a {kind} member that starts at compressed byte {place.member} and holds its byte "
        f"{place.offset}, found none",
        hint="the file has changed, is damaged, or was put together from files of several kinds: decompress it and "
        "compress it anew",
    )


def first_byte(path: Path, span: Span) -> int:
    """The number of a span's first byte: in a plain file its own, in a compressed one 0."""
    return span.start if span.start and _compression_of(path) == "none" else 0


def shift_of(path: Path, span: Span) -> Shift:
    """Count what is in front of a span, by reading it: only an error message needs it."""
    num_records, num_lines, num_bytes, last = 0, 0, 0, b"\n"
    for block in read_span(path, Span(0, span.start), _STEP) if span.start else ():
        text = last + block if num_bytes else b"\n" + block.removeprefix(_BYTE_ORDER_MARK)
        num_records += text.count(b"\n>")
        num_lines += block.count(b"\n")
        num_bytes += len(block)
        last = block[-1:]
    return Shift(num_records, num_lines, num_bytes - first_byte(path, span))


_STARTS: dict[str, Callable[[BinaryIO, Iterable[int]], Iterator[_Place]]] = {
    "none": lambda _, wanted: (_Place(0, max(0, byte - 1)) for byte in wanted),
    "gzip": lambda file, wanted: (_Place(member, 0) for member in block_starts(file, wanted)),
    "zstd": lambda file, wanted: (_Place(member, 0) for member in frame_starts(file, wanted)),
}
"""Places from which a header is looked for, one for each wanted byte of the file at most."""

_OFFSET_BITS = {"none": 64, "gzip": 16, "zstd": 32}
"""Bits of a place that are not the start of the member. A plain file is one member."""
