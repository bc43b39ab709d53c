"""FASTA: from a file to arrays of headers and residues, some thousand records at a time.

What is read, line by line (a line ends with LF; CRLF and the lone CR of old Macs work too, see below)::

    # words, ; words        a comment, before the first record or inside one: counted, otherwise ignored
    >P12345 a protein       a header: the text behind '>', trailing white space kept off
    mkv ACD                 residues: upper-cased, white space removed, nothing else changed
                            blank: ignored
    >                       an empty header, and a record without residues, are records like any other

A record is the lines from its '>' to the next line that starts with one; '>' elsewhere is text. Before the first record
there may be comments, blank lines and a UTF-8 byte order mark; anything else is no FASTA, and the error says what it
looks like. CR ends lines in a file whose first 64 KiB have CRs and no LF at all; in every other file it is white space.

Blocks of the file are cut in front of the last header, and what is behind the cut waits for the next block::

    file    >a..MKV..>b..ACD..>c..W│YY..>d..GGG..       │ border of blocks
    cut     └──── FastaBlock ──┘└───────┘ waits

so records are whole, a record may be larger than a block, and the records do not depend on where the borders are.

Cost: no Python runs once a record or a line. Line ends are found by one comparison; header lines and residue lines are
then gathered by Arrow's ``take``, which copies each byte once. Lower case, CRLF and white space in lines cost another
pass. Memory is a few blocks, or a few times the largest record. Measured on UniProt with 60-column lines, one core:
700 to 1,300 MB/s as the machine is busy or not, 400 to 550 with CRLF (Biopython's plain parser beside it: 165 to 250).
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputFormatError
from pipeline.formats.compression import DEFAULT_BLOCK_BYTES
from pipeline.formats.fasta_spans import LINES_BYTES, WHOLE, Span, first_byte, read_span
from pipeline.formats.lookalikes import LOOKALIKE_BYTES, name_lookalike

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""UTF-8's, as some editors write it."""

_WHITE_SPACE = b" \t\r\n\v\f"
_UPPER = bytes(range(256)).upper()
_IS_WHITE_SPACE = np.isin(np.arange(256), list(_WHITE_SPACE))
_LINE_FEED, _HEADER, _COMMENTS = ord("\n"), ord(">"), b";#"
_IGNORED_LINE = re.compile(rb"[ \t\r\v\f]*\n|[;#][^\n]*\n")
_BEGUN_IGNORED_LINE = re.compile(rb"[ \t\r\v\f]*|[;#][^\n]*")
_FOUND_BYTES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class FastaBlock:
    """Consecutive records of a file; ``n`` of them, at least one."""

    headers: pa.LargeStringArray
    """n strings: the text behind '>', trailing white space kept off. One that is no UTF-8 is read as Latin-1."""
    residues: UInt8Array
    """uint8[total]: the residues of all records joined, upper case. May be read-only."""
    offsets: Int64Array
    """int64[n + 1]: record i has residues[offsets[i]:offsets[i + 1]], which may be empty."""
    byte_offsets: Int64Array
    """int64[n]: where each record's '>' is in the (decompressed) file."""
    lines: Int64Array
    """int64[n]: line number of each header, from 1."""
    first_record: int
    """How many records of the file come before this block."""
    num_comment_lines: int
    """Comment lines in these records, those before the first record of the file included."""

    @property
    def num_records(self) -> int:
        """The number of records, n."""
        return len(self.lines)


class _Origin(NamedTuple):
    """Where in the file a text begins that starts with a header."""

    byte: int
    line: int
    record: int
    num_comment_lines: int


class _Lines(NamedTuple):
    """The lines of a text: line i is text[starts[i]:ends[i]], its line end left out."""

    starts: Int64Array
    ends: Int64Array
    first: UInt8Array
    """First byte of each line; that of a blank one is its line end."""


def read_fasta(
    path: str | os.PathLike[str], *, span: Span = WHOLE, block_bytes: int = DEFAULT_BLOCK_BYTES
) -> Iterator[FastaBlock]:
    """Read the records of a FASTA file, plain or compressed.

    Args:
        path: A file or a pipe.
        span: The part of the file to read, one of ``fasta_spans``. Records and lines are counted from its start, and so
            are the bytes of a compressed file; ``shift_of`` says what is in front.
        block_bytes: Bytes of decompressed text handled at once, at least 1. Has no influence on the records.

    Yields:
        Blocks of whole records, in the order of the file.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The file is empty, holds no record, is no FASTA, or is cut short or damaged inside its
            compressed data.
    """
    path = Path(path)
    origin, blocks = _Origin(first_byte(path, span), 1, 0, 0), read_span(path, span, block_bytes)
    if not span.start:
        origin, blocks = _first_header(path, _with_line_feeds(blocks))
    for text in _whole_records(blocks):
        lines = _find_lines(text)
        block = _parse(text, lines, origin)
        yield block
        origin = _Origin(
            byte=origin.byte + len(text),
            line=origin.line + len(lines.starts),
            record=origin.record + block.num_records,
            num_comment_lines=0,
        )


def _with_line_feeds(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks, with CR made LF if the file has only the former."""
    head, size = [], 0
    while size < LINES_BYTES and (block := next(blocks, b"")):
        head.append(block)
        size += len(block)
    joined = b"".join(head)[:LINES_BYTES]
    blocks = chain(head, blocks)
    if b"\r" in joined and b"\n" not in joined:
        return (block.replace(b"\r", b"\n") for block in blocks)
    return blocks


def _first_header(path: Path, blocks: Iterator[bytes]) -> tuple[_Origin, Iterator[bytes]]:
    """Pass what may stand before the first record: where that record begins, and the text from there on."""
    byte, blocks = _pass_byte_order_mark(blocks)
    line, num_comment_lines, pending = 1, 0, b""
    for block in blocks:
        pending += block
        start = 0
        while ignored := _IGNORED_LINE.match(pending, start):
            num_comment_lines += pending[start] in _COMMENTS
            line, start = line + 1, ignored.end()
        pending, byte = pending[start:], byte + start
        if not _BEGUN_IGNORED_LINE.fullmatch(pending):
            rest = chain([pending], blocks)
            if pending[0] != _HEADER:
                raise _no_fasta(path, byte, line, rest)
            return _Origin(byte, line, 0, num_comment_lines), rest
        # One byte says as much of a line that is ignored as all that has been seen of it.
        byte += len(pending[1:])
        pending = pending[:1]
    raise _no_record(path, empty=not byte and not pending)


def _pass_byte_order_mark(blocks: Iterator[bytes]) -> tuple[int, Iterator[bytes]]:
    head = b""
    while len(head) < len(BYTE_ORDER_MARK) and (block := next(blocks, b"")):
        head += block
    text = head.removeprefix(BYTE_ORDER_MARK)
    return len(head) - len(text), chain([text], blocks)


def _no_fasta(path: Path, byte: int, line: int, text: Iterator[bytes]) -> InputFormatError:
    head = b""
    while len(head) < LOOKALIKE_BYTES and (block := next(text, b"")):
        head += block
    content = head.lstrip(_WHITE_SPACE)
    byte += len(head) - len(content)
    found = head[:_FOUND_BYTES].partition(b"\n")[0].decode(errors="backslashreplace")
    return InputFormatError(
        f"{path}: expected a header line starting with '>' in line {line} (byte {byte}), found {found!r}",
        hint=name_lookalike(content) or "is it a FASTA file?",
    )


def _no_record(path: Path, *, empty: bool) -> InputFormatError:
    found = "an empty file" if empty else "only blank lines and comments"
    return InputFormatError(
        f"{path}: expected FASTA records, found {found}", hint="was the file downloaded or written completely?"
    )


def _whole_records(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in pieces that begin with a header each and end where one begins, or at the end of the file."""
    pending: list[bytes | memoryview] = []
    ends_line = False
    for block in blocks:
        cut = block.rfind(b"\n>") + 1
        if cut or (ends_line and block[0] == _HEADER):
            yield b"".join([*pending, memoryview(block)[:cut]])
            pending = [block[cut:]]
        else:
            pending.append(block)
        ends_line = block[-1] == _LINE_FEED
    yield b"".join(pending)


def _find_lines(text: bytes) -> _Lines:
    characters = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(characters == _LINE_FEED)
    if characters[-1] != _LINE_FEED:
        ends = np.append(ends, len(text))
    starts = np.empty_like(ends)
    starts[0] = 0
    np.add(ends[:-1], 1, out=starts[1:])
    return _Lines(starts, ends, characters[starts])


def _parse(text: bytes, lines: _Lines, origin: _Origin) -> FastaBlock:
    """The records of a text that begins with a header."""
    is_header = lines.first == _HEADER
    is_comment = (lines.first == ord(";")) | (lines.first == ord("#"))
    header_lines = np.flatnonzero(is_header)
    residues, offsets = _join_residues(text, lines, is_residues=~(is_header | is_comment), header_lines=header_lines)
    return FastaBlock(
        headers=_headers(text, lines.starts[header_lines] + 1, lines.ends[header_lines]),
        residues=residues,
        offsets=offsets,
        byte_offsets=lines.starts[header_lines] + origin.byte,
        lines=header_lines + origin.line,
        first_record=origin.record,
        num_comment_lines=origin.num_comment_lines + int(is_comment.sum()),
    )


def _join_residues(
    text: bytes, lines: _Lines, *, is_residues: BoolArray, header_lines: Int64Array
) -> tuple[UInt8Array, Int64Array]:
    """The residue lines joined and cleaned, and where each record begins in them, the total last."""
    num_residues = np.where(is_residues, lines.ends - lines.starts, 0).cumsum()
    total = int(num_residues[-1])
    offsets = np.append(num_residues[header_lines], total)
    joined = _slices(text, lines.starts[is_residues], lines.ends[is_residues])
    residues = _bytes_of(joined, total)
    if not total or (residues.min() > ord(" ") and residues.max() < ord("a")):
        return residues, offsets
    removed = np.flatnonzero(residues <= ord(" "))
    removed = removed[_IS_WHITE_SPACE[residues[removed]]]
    clean = residues.tobytes().translate(_UPPER, _WHITE_SPACE)
    return np.frombuffer(clean, dtype=np.uint8), offsets - np.searchsorted(removed, offsets)


def _headers(text: bytes, starts: Int64Array, ends: Int64Array) -> pa.LargeStringArray:
    headers = _slices(text, starts, ends)
    strings = _decode(headers)
    last = np.frombuffer(text, dtype=np.uint8)[ends - 1]
    return pc.ascii_rtrim(strings, characters=_WHITE_SPACE.decode()) if _IS_WHITE_SPACE[last].any() else strings


def _decode(headers: pa.LargeBinaryArray) -> pa.LargeStringArray:
    """Read bytes as UTF-8, and those that are not as Latin-1."""
    try:
        return headers.cast(pa.large_string())
    except pa.ArrowInvalid:
        texts = [_decode_one(header) for header in headers.to_pylist()]
        return pa.array(texts, type=pa.large_string())


def _decode_one(header: bytes) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


def _slices(text: bytes, starts: Int64Array, ends: Int64Array) -> pa.LargeBinaryArray:
    """The slices text[starts[i]:ends[i]], ascending and apart, as an array of its own memory."""
    if not len(starts):
        return pa.array([], type=pa.large_binary())
    # Arrow's binary arrays have no holes: the wanted slices are every other element of one that covers the text.
    borders = np.column_stack((starts, ends)).ravel()
    covering = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(borders) - 1, [None, pa.py_buffer(borders), pa.py_buffer(text)]
    )
    return covering.take(pa.array(np.arange(0, len(borders), 2)))


def _bytes_of(strings: pa.LargeBinaryArray, total: int) -> UInt8Array:
    return np.frombuffer(strings.buffers()[2], dtype=np.uint8, count=total) if total else np.empty(0, dtype=np.uint8)
