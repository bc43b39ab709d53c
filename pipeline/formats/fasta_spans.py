"""Where a plain FASTA file can be cut, so that its pieces are read apart from each other.

::

    file    >a..MKV..>b..ACD..│..>c..WYY..>d..GGG..     │ every chunk_bytes
    spans   [───────────────────┘└───────────────────]  each begins with a header

Looking for the cuts reads a megabyte a chunk at most. A compressed file, or one whose lines do not end with LF, is one
span.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.formats.compression import HEAD_BYTES, detect_compression

_STEP = 1 << 20


class Span(NamedTuple):
    """A range of bytes of a file; both ends are starts of records, or the ends of the file."""

    start: int
    end: int | None
    """None: to the end of the file."""


WHOLE = Span(0, None)


def fasta_spans(path: Path, chunk_bytes: int) -> list[Span]:
    """Cut a file into spans of about ``chunk_bytes``.

    Args:
        path: A FASTA file; must be readable.
        chunk_bytes: Wanted size of a span, at least 1.

    Returns:
        Spans that tile the file, in order; ``[WHOLE]`` for one that cannot be cut.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= chunk_bytes or detect_compression(file.read(HEAD_BYTES)) != "none":
            return [WHOLE]
        found = {_header_at(file, wanted, size) for wanted in range(chunk_bytes, size, chunk_bytes)}
        cuts = sorted(cut for cut in found if cut is not None)
        if cuts and not _begins_with_header(file) and _header_at(file, 1, size) == cuts[0]:
            cuts = cuts[1:]  # comments alone are no FASTA: the first record belongs to them
    starts: list[int] = [0, *cuts]
    return [Span(start, end) for start, end in zip(starts, [*cuts, None], strict=True)]


def _begins_with_header(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(4).removeprefix(b"\xef\xbb\xbf").startswith(b">")


def _header_at(file: BinaryIO, wanted: int, size: int) -> int | None:
    """The first start of a record at or behind a byte, or None."""
    position, carried = wanted - 1, b""
    file.seek(position)
    while position < size and (block := file.read(_STEP)):
        # A line feed at the end of one block and the '>' at the start of the next belong together.
        found = (carried + block).find(b"\n>")
        if found >= 0:
            return position - len(carried) + found + 1
        position += len(block)
        carried = block[-1:]
    return None


def read_span(path: Path, span: Span, block_bytes: int) -> Iterator[bytes]:
    """The bytes of a span of a plain file, in blocks."""
    with path.open("rb") as file:
        file.seek(span.start)
        left = None if span.end is None else span.end - span.start
        while block := file.read(block_bytes if left is None else min(block_bytes, left)):
            yield block
            left = None if left is None else left - len(block)


def lines_before(path: Path, byte: int) -> int:
    """Line feeds in front of a byte of a plain file: only an error message needs them."""
    return sum(block.count(b"\n") for block in read_span(path, Span(0, byte), _STEP))


def records_before(path: Path, byte: int) -> int:
    """Records in front of a byte of a plain file at which a record starts: only an error message needs them."""
    count, last = 0, b"\n"
    for block in read_span(path, Span(0, byte), _STEP):
        count += (last + block).count(b"\n>")
        last = block[-1:]
    return count
