"""Footers of shards in small files of their own, so that readers from afar need not fetch the large ones.

::

    data/train-00000-of-00012.parquet        730 bytes of footer for each row group
    footers/train-00000-of-00012.zst         the same bytes, zstd: about 100

A rank of many reads one row group of hundreds, but needs the footer of every shard. With 64 ranks footers as they are
in the shards make up a sixth of all that is read.
"""

from pathlib import Path, PurePosixPath

import zstandard

from pipeline.errors import IntegrityError
from pipeline.formats.manifest import File, document_entry
from pipeline.formats.storage import atomic_path

FOLDER = "footers"
SUFFIX = ".zst"

_LEVEL = 19
_TAIL_BYTES = 8
"""Of a Parquet file: the length of its footer, little-endian, and PAR1."""
_MOST_BYTES = 1 << 30


def footer_name(shard: str) -> str:
    """Where the footer of a shard is: both paths are relative to the folder."""
    return f"{FOLDER}/{PurePosixPath(shard).stem}{SUFFIX}"


def read_footer(path: Path) -> bytes:
    """The end of a Parquet file, from the beginning of its footer."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        length = int.from_bytes(file.read(_TAIL_BYTES)[:4], "little") + _TAIL_BYTES
        file.seek(max(0, size - length))
        return file.read()


def write_footer(folder: Path, shard: str) -> File:
    """Write the footer of a shard that is there; the manifest's entry of it."""
    name = footer_name(shard)
    with atomic_path(folder / name) as temporary:
        temporary.write_bytes(zstandard.compress(read_footer(folder / shard), _LEVEL))
    return document_entry(folder, name)


def unpack_footer(data: bytes, *, where: str) -> bytes:
    """What :func:`read_footer` gave.

    Args:
        data: Of a file that :func:`write_footer` wrote.
        where: Its path, for the message.

    Raises:
        IntegrityError: It is no such file.
    """
    try:
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=_MOST_BYTES)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"{where}: expected a footer, found {error}", hint="make the shards again") from error
