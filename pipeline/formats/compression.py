"""A file's bytes, whatever compressed them: blocks of one size, in memory that does not grow.

Told by content, never by name. A compressed file is a row of members (gzip's word; zstd says frame, bzip2 and xz
stream), each complete in itself; concatenated files and block compressors (bgzip, pigz, pzstd) have many::

    │ member 1 │ member 2 │ padding │ member 3 │          padding: zero bytes, where the format allows them
    0          a          b         c          end        offsets in messages are compressed bytes: a, b, c

- What is yielded is the whole content or an error: a file that ends inside a member, damage that a checksum shows, and
  bytes behind a member that start no other one all raise ``InputFormatError``. A file that ends between two members is
  complete as far as anybody can tell.
- Only whole blocks are handed on, so the last block of a damaged file is never seen.
- Memory is a block and the decoder's window, whatever the ratio: a decoder is asked for at most 1 MiB at a time. That
  of zstandard cannot be asked, so it is fed 1 KiB at a time, which can become 32 MiB at most (a block of 128 KiB takes
  at least 4 bytes, RFC 8878 section 3.1.1.2).
- ``read_blocks`` never seeks: a pipe works as well as a file.

The decoders set the speed; measured on UniProt FASTA, MB/s of content on one core: zstd 500 to 900, gzip 330 to 390
(zlib 140 to 220 in the same runs), xz 30, bzip2 10.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.decoders import CODECS

DEFAULT_BLOCK_BYTES = 2 << 20
"""Large against the cost of a Python call, and small enough that work on a block stays in the processor's caches."""

_READ_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20
_FIRST_STEP = 4 << 10
HEAD_BYTES = 6
"""What :func:`detect_compression` needs to see."""


class Piece(NamedTuple):
    """A part of the content of a compressed file."""

    member: int
    """Compressed byte at which its member starts."""
    offset: int
    """Bytes of the member's content in front of it."""
    content: bytes


class _Source:
    """The compressed bytes ahead, and their offset in the file."""

    def __init__(self, path: Path, file: BinaryIO, start: int = 0) -> None:
        self.path = path
        self.offset = self.start = start
        self._file = file
        self._buffer = b""
        self._position = 0

    def ahead(self, num_bytes: int) -> bytes:
        """The next bytes without passing them; fewer only at the end of the file."""
        if len(self._buffer) - self._position < num_bytes:
            self._buffer = self._buffer[self._position :] + _read(self.path, self._file, max(num_bytes, _READ_BYTES))
            self._position = 0
        return self._buffer[self._position : self._position + num_bytes]

    def skip(self, num_bytes: int) -> None:
        """Pass bytes that ``ahead`` has shown; a negative number goes back over those shown last."""
        self._position += num_bytes
        self.offset += num_bytes

    def plain_pieces(self, block_bytes: int) -> Iterator[bytes]:
        """All bytes that are left, read so that no block needs copying but those that were looked at before."""
        piece = self._buffer[self._position :]
        num_bytes = -len(piece) % block_bytes or block_bytes
        while piece:
            yield piece
            piece, num_bytes = _read(self.path, self._file, num_bytes), block_bytes


def detect_compression(head: bytes) -> str:
    """The compression of a file, by its first bytes.

    Args:
        head: The first six bytes or more; all of a shorter file.

    Returns:
        ``"gzip"``, ``"zstd"``, ``"bzip2"``, ``"xz"``, or ``"none"`` for anything else.
    """
    return next((kind for kind, codec in CODECS.items() if head.startswith(codec.magics)), "none")


def read_blocks(path: str | os.PathLike[str], *, block_bytes: int = DEFAULT_BLOCK_BYTES) -> Iterator[bytes]:
    """Read a file's content, decompressed if it is compressed.

    Args:
        path: A file or a pipe.
        block_bytes: Bytes of content in a block, at least 1.

    Yields:
        Blocks of exactly ``block_bytes``, the last one shorter; none for an empty file.

    Raises:
        ConfigurationError: The path does not exist, is a directory, or cannot be read.
        InputFormatError: The compressed data is cut short, damaged, or followed by something else.
    """
    assert block_bytes >= 1
    path = Path(path)
    with _open(path) as file:
        source = _Source(path, file)
        kind = detect_compression(source.ahead(HEAD_BYTES))
        is_plain = kind == "none"
        pieces = source.plain_pieces(block_bytes) if is_plain else (piece.content for piece in _members(source, kind))
        yield from equal_blocks(pieces, block_bytes)


def read_members(path: Path, kind: str, start: int) -> Iterator[Piece]:
    """Read a compressed file from the start of one of its members on.

    Args:
        path: A file.
        kind: What ``detect_compression`` says of it; not ``"none"``.
        start: Compressed byte at which a member starts.

    Yields:
        The content in pieces of up to 1 MiB or so, each of one member.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: No member starts there, or the data is cut short, damaged, or followed by something else.
    """
    with _open(path) as file:
        file.seek(start)
        yield from _members(_Source(path, file, start), kind)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(path: Path, file: BinaryIO, num_bytes: int) -> bytes:
    try:
        return file.read(num_bytes)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    hint = (
        "name the files in the folder" if isinstance(error, IsADirectoryError) else "check the path and its permissions"
    )
    return ConfigurationError(f"{path}: expected a file that can be read, found: {error.strerror or error}", hint=hint)


def equal_blocks(pieces: Iterable[bytes], block_bytes: int) -> Iterator[bytes]:
    """Cut and join pieces to blocks of one size, the last one shorter; a piece of that size passes uncopied."""
    pending: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        if not size and len(piece) == block_bytes:
            yield piece
            continue
        view = memoryview(piece)
        while size + len(view) >= block_bytes:
            cut = block_bytes - size
            yield b"".join([*pending, view[:cut]])
            view, pending, size = view[cut:], [], 0
        if view:
            pending.append(view)
            size += len(view)
    if pending:
        yield b"".join(pending)


def _members(source: _Source, kind: str) -> Iterator[Piece]:
    """The content of every member of a compressed file in pieces, and the checks between members."""
    number = 0
    while head := source.ahead(HEAD_BYTES):
        if not _begins_member(head, kind):
            raise InputFormatError(
                f"{source.path}: expected another {kind} member or the end of the file at compressed byte "
                f"{source.offset}, found {head!r}",
                hint="something was appended to the file or overwrote a part of it: download it again",
            )
        number += 1
        member, offset = source.offset, 0
        for content in _member(source, kind, number):
            yield Piece(member, offset, content)
            offset += len(content)
        _skip_padding(source, kind)


def _begins_member(head: bytes, kind: str) -> bool:
    magics = CODECS[kind].magics
    # The file may end inside a magic number; the decoder then reports that it is cut short.
    return head.startswith(magics) or any(magic.startswith(head) for magic in magics)


def _member(source: _Source, kind: str, number: int) -> Iterator[bytes]:
    """The content of the member that starts here; leaves ``source`` behind its last byte."""
    codec = CODECS[kind]
    decoder = codec.decoder()
    start = source.offset
    # A decoder copies what lies behind its member: short first steps keep that copy small when members are.
    step = min(_FIRST_STEP, codec.longest_step)
    while not decoder.eof:
        needs_input = decoder.needs_input
        data = source.ahead(step) if needs_input else b""
        try:
            piece = decoder.decompress(data, _PIECE_BYTES)
        except codec.errors as error:
            raise _damaged(source, kind, number, error) from error
        source.skip(len(data))
        if piece:
            yield piece
        elif needs_input and not data and not decoder.eof:
            raise _cut_short(source, kind, number, start)
        step = min(2 * step, codec.longest_step)
    source.skip(-len(decoder.unused_data))


def _skip_padding(source: _Source, kind: str) -> None:
    multiple = CODECS[kind].padding
    if not multiple:
        return
    start = source.offset
    while zeros := source.ahead(_FIRST_STEP):
        num_zeros = len(zeros) - len(zeros.lstrip(b"\0"))
        source.skip(num_zeros)
        if num_zeros < len(zeros):
            break
    if (source.offset - start) % multiple:
        raise InputFormatError(
            f"{source.path}: expected zero bytes in multiples of {multiple} behind the {kind} stream that ends at "
            f"compressed byte {start}, found {source.offset - start}",
            hint="the file is cut short or damaged: download it again",
        )


def _damaged(source: _Source, kind: str, number: int, error: Exception) -> InputFormatError:
    reason = str(error).rpartition(": ")[2]
    hint = "the file is damaged: download it again"
    if "too much memory" in reason:
        hint = "its window is over 128 MiB: recompress it with `zstd -d --long=31 --stdout FILE | zstd > NEW`"
    return InputFormatError(
        f"{source.path}: expected valid {kind} data in {_named(source, number)}, found damage at or after "
        f"compressed byte {source.offset}: {reason}",
        hint=hint,
    )


def _cut_short(source: _Source, kind: str, number: int, start: int) -> InputFormatError:
    return InputFormatError(
        f"{source.path}: expected the rest of {kind} {_named(source, number)}, which starts at compressed byte "
        f"{start}, found the end of the file at byte {source.offset}",
        hint="the file is cut short: download it again",
    )


def _named(source: _Source, number: int) -> str:
    """A member, by its number in what is read of the file."""
    return f"member {number}" + (f" from compressed byte {source.start} on" if source.start else "")
