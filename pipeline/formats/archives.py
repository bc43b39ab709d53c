"""The files in a tar archive, one after another as it streams; nothing is unpacked, and nothing is ever written.

::

    uniref2023_01.tar.gz
      README                            a file: its name, the start of its content, all of its content
      uniref50.tar                      an archive in an archive is gone into …
        uniref50.xml.gz                 … and this file is called uniref50.tar/uniref50.xml.gz
      uniref100.tar ─▶ /etc/passwd      a link: named and not followed, as devices are; folders are passed

- A name from an archive is compared and shown, never opened: where it points to does not matter. What a terminal would
  obey is escaped.
- An archive must end as tar says, with blocks of zeros, or it is cut short; several archives end to end are one.
- A content is read before the next file is asked for, or not at all: it is passed at the speed of decompression.

Readers take a file or a pipe, so a content reaches its reader through a pipe (:func:`piped`), which a thread fills: the
archive is decompressed beside the file in it. Memory: a few megabytes, whatever an archive says of itself.
"""

import bz2
import lzma
import os
import re
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Self

import zstandard

from pipeline.errors import InputFormatError
from pipeline.formats.block_file import BlockFile
from pipeline.formats.compression import detect_compression, read_blocks

MOST_LEVELS = 3
"""Archives in archives that are gone into, the outermost included: one may hold itself."""

_PIECE_BYTES = 1 << 20
_HEADER_BYTES = 1 << 20
_SIGNATURE = re.compile(rb".{257}ustar", re.DOTALL)
# What tarfile reads whole before it makes sense of it: long names and extended headers.
_READ_WHOLE = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK})
# tarfile lets through what becomes of numbers that are none.
_DAMAGE = (tarfile.TarError, ValueError)
_ERRORS = (zlib.error, zstandard.ZstdError, OSError, lzma.LZMAError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in an archive, or what stands for one."""

    name: str
    """With the folders and archives it is in, and nothing in it that a terminal would obey."""
    head: bytes | None
    """The first MiB or less, decompressed; None if it is compressed and cannot be decompressed."""
    content: Iterator[bytes] | None
    """As it is in the archive, in pieces; None for a link, a pipe or a device."""
    is_sparse: bool
    """Whether there are holes in it that the archive does not store."""

    @property
    def base_name(self) -> str:
        """The name without folders and archives."""
        return self.name.rpartition("/")[2]


def is_archive(head: bytes) -> bool:
    """Whether a content that starts so is a tar archive."""
    return _SIGNATURE.match(head) is not None


def members(path: Path) -> Iterator[Member]:
    """The files in an archive, plain or compressed, and in archives in it.

    Args:
        path: A file or a pipe.

    Yields:
        Them in order, folders left out.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The archive, or one in it, is damaged or cut short.
    """
    yield from _members(read_blocks(path), f"{path}", MOST_LEVELS)


def first_names(head: bytes) -> list[str]:
    """Names of the files that begin in the first bytes of an archive.

    Args:
        head: Decompressed.
    """
    names = []
    with suppress(*_DAMAGE), tarfile.open(fileobj=BytesIO(head), mode="r:", tarinfo=_strict_headers()) as archive:
        for info in archive:
            names += [info.name] if info.isreg() else []
    return names


def _members(blocks: Iterator[bytes], label: str, levels: int) -> Iterator[Member]:
    for archive, info in _headers(blocks, label):
        if not info.isdir():
            yield from _entered(_member(archive, info, label), label, levels)


def _headers(blocks: Iterator[bytes], label: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Each header of an archive, and the archive to read what is behind it."""
    offset = 0
    try:
        with tarfile.open(
            fileobj=BlockFile(blocks), mode="r|", bufsize=_PIECE_BYTES, tarinfo=_strict_headers(), ignore_zeros=True
        ) as archive:
            for info in archive:
                offset = info.offset_data
                yield archive, info
                # It would keep a list of all.
                archive.members = []  # type: ignore[attr-defined]
    except _DAMAGE as error:
        raise _damaged(label, offset, error) from error


def _member(archive: tarfile.TarFile, info: tarfile.TarInfo, label: str) -> Member:
    name = ascii(info.name)[1:-1]
    if not info.isreg():
        return Member(name=name, head=b"", content=None, is_sparse=False)
    pieces = _pieces(archive, info, label)
    first = next(pieces, b"")
    content = chain([first] if first else [], pieces)
    return Member(name=name, head=_decompressed_head(first), content=content, is_sparse=info.issparse())


def _entered(member: Member, label: str, levels: int) -> Iterator[Member]:
    """The files in a member that is an archive; any other as it is."""
    if levels == 1 or member.content is None or not is_archive(member.head or b""):
        yield member
        return
    inner = f"{label}: {member.name}"
    for found in _members(_decompressed(member.content, inner), inner, levels - 1):
        yield Member(
            name=f"{member.name}/{found.name}", head=found.head, content=found.content, is_sparse=found.is_sparse
        )


def _pieces(archive: tarfile.TarFile, info: tarfile.TarInfo, label: str) -> Iterator[bytes]:
    content = archive.extractfile(info)
    assert content is not None, "a plain file has content"
    try:
        while piece := content.read(_PIECE_BYTES):
            yield piece
    except tarfile.TarError as error:
        raise _damaged(label, info.offset_data, error) from error


def _decompressed_head(first: bytes) -> bytes | None:
    try:
        return _HEADS[detect_compression(first)](first)
    except _ERRORS:
        return None


def _decompressed(content: Iterator[bytes], label: str) -> Iterator[bytes]:
    first = next(content, b"")
    whole = chain([first], content)
    if detect_compression(first) == "none":
        yield from whole
        return
    with piped(whole, label) as pipe:
        yield from read_blocks(pipe)


@contextmanager
def piped(content: Iterator[bytes], label: str) -> Iterator[Path]:
    """A pipe with a content, for a reader that takes paths; it may be left before its end.

    Args:
        content: In pieces.
        label: What errors call the pipe.

    Yields:
        A path to open once.

    Raises:
        InputFormatError: What the content raised; or the reader, the pipe's path replaced by the label.
    """
    reader, writer = os.pipe()
    pump = _Pump(content, writer)
    path = Path(f"/dev/fd/{reader}")
    pump.start()
    try:
        yield path
    except InputFormatError as error:
        raise renamed(error, path, label) from error
    finally:
        os.close(reader)
        pump.join()
        if pump.error is not None:
            # Whatever a reader makes of the sudden end, this is why.
            raise pump.error


def renamed(error: InputFormatError, path: Path, label: str) -> InputFormatError:
    """An error of a file under another name."""
    if not error.message.startswith(f"{path}:"):
        return error
    return InputFormatError(label + error.message.removeprefix(f"{path}"), hint=error.hint)


class _Pump(threading.Thread):
    """Writes a content into a pipe until its end, or until nobody reads it any more."""

    def __init__(self, content: Iterator[bytes], writer: int) -> None:
        # A daemon: a run that ends with an error must not wait for a pipe that nobody reads.
        super().__init__(name="pump", daemon=True)
        self.error: Exception | None = None
        self._content = content
        self._writer = writer

    def run(self) -> None:
        """Write everything; an error of the content is kept."""
        try:
            for piece in self._content:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(self._writer, rest) :]
        except BrokenPipeError:
            return  # the reader has had enough
        except Exception as error:  # noqa: BLE001  (raised where the pipe is read)
            self.error = error
        finally:
            os.close(self._writer)


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
                header = super().frombuf(buf, encoding, errors)
            except tarfile.HeaderError as error:
                if is_end:
                    raise
                raise tarfile.ReadError(f"no file and no end of the archive there: {error}") from error
            if header.size < 0 or (header.type in _READ_WHOLE and header.size > _HEADER_BYTES):
                raise tarfile.ReadError(f"a header that says {header.size} bytes")
            return header

    return Header


def _damaged(label: str, offset: int, error: Exception) -> InputFormatError:
    return InputFormatError(
        f"{label}: expected a tar archive, found damage behind byte {offset} of it: {error}",
        hint="the archive is damaged or cut short: download it again",
    )


_HEADS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda first: first,
    "gzip": lambda first: zlib.decompressobj(wbits=31).decompress(first, _PIECE_BYTES),
    "zstd": lambda first: zstandard.ZstdDecompressor().stream_reader(BytesIO(first)).read(_PIECE_BYTES),
    "bzip2": lambda first: bz2.BZ2Decompressor().decompress(first, _PIECE_BYTES),
    "xz": lambda first: lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(first, _PIECE_BYTES),
}
"""How the start of a content is decompressed, by its compression."""
