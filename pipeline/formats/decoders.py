"""The decoders of compressed files: how a member of each format begins, and who decodes it.

Formats: gzip RFC 1952, zstd RFC 8878, bzip2, xz file format 1.2.1. A decoder takes one member and stops behind it.
"""

import bz2
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import zstandard
from isal import igzip_lib

_LONGEST_STEP = 256 << 10
_ZSTD_STEP = 1 << 10


class Decoder(Protocol):
    """One member's decoder: the interface of ``bz2.BZ2Decompressor`` and ``lzma.LZMADecompressor``."""

    @property
    def eof(self) -> bool:
        """Whether the end of the member was reached."""
        ...

    @property
    def needs_input(self) -> bool:
        """False if there is more to come without any."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was given to it that lies behind the member."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """The next part of the content, of ``max_length`` bytes at most."""
        ...


class _ZstdDecoder:
    """One zstd frame, skippable ones included; gives all that its input holds, so the input must be short."""

    needs_input = True

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor().decompressobj()

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:  # noqa: ARG002
        return self._frame.decompress(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A compressed format."""

    magics: tuple[bytes, ...]
    """What a member can start with."""
    decoder: Callable[[], Decoder]
    errors: tuple[type[Exception], ...]
    """What the decoder raises on damage."""
    longest_step: int = _LONGEST_STEP
    """Most bytes given to the decoder at once."""
    padding: int = 0
    """Zero bytes may follow a member in multiples of this; 0: none may."""


CODECS = {
    "gzip": Codec(
        magics=(b"\x1f\x8b\x08",),
        # ISA-L inflates twice as fast as zlib and checks the same checksums.
        decoder=lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
        errors=(igzip_lib.IsalError,),  # type: ignore[arg-type]  # its stub declares an instance
        padding=1,
    ),
    "zstd": Codec(
        # A frame, or one of the 16 kinds of skippable frames.
        magics=(b"\x28\xb5\x2f\xfd", *(bytes([0x50 + low]) + b"\x2a\x4d\x18" for low in range(16))),
        decoder=_ZstdDecoder,
        errors=(zstandard.ZstdError,),
        longest_step=_ZSTD_STEP,
    ),
    "bzip2": Codec(
        magics=tuple(b"BZh%d" % level for level in range(1, 10)), decoder=bz2.BZ2Decompressor, errors=(OSError,)
    ),
    "xz": Codec(
        magics=(b"\xfd7zXZ\x00",),
        decoder=lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ),
        errors=(lzma.LZMAError,),
        padding=4,
    ),
}
