"""How files come to be: whole or not at all.

A file is written under a temporary name that no other attempt shares, flushed to disk, and renamed. A kill at any
moment leaves either no file or the whole file, plus perhaps a ``.…tmp`` that nothing reads::

    part-00000.parquet  ◀── rename ── .part-00000.parquet.5f0c2ab91d3e.tmp
"""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from pipeline.errors import ArtefactError, ConfigurationError

_TEMPORARY_SUFFIX = ".tmp"
_BLOCK_BYTES = 8 << 20


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary name beside ``path``; on a clean exit it becomes ``path``, on an error it is removed.

    Args:
        path: Where the file is to be.
        durable: Flush to disk before the rename, so that not even a power failure leaves half a file. Intermediate
            files, which can be made again, do without: a disk flushes some dozens of files a second.

    Raises:
        ConfigurationError: The folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if durable:
                _flush(temporary)
            temporary.replace(path)
            if durable:
                _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _write_error(path, error) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_error(path: Path, error: OSError) -> ConfigurationError:
    remedy = "free some space" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "check the path and its permissions"
    return ConfigurationError(
        f"{path}: cannot be written: {error.strerror or error}",
        hint=f"{remedy} or choose another --out, then run the same command again: finished files are kept",
    )


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a UTF-8 file atomically."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any, *, durable: bool = True) -> None:
    """Write a JSON document atomically, indented, keys in the order given."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n", durable=durable)


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises:
        ArtefactError: The file cannot be read or is no JSON; the message says at which line.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ArtefactError(
            f"{path}: expected UTF-8 text, found byte {error.object[error.start]:#04x} at byte {error.start}"
        ) from error
    except json.JSONDecodeError as error:
        raise ArtefactError(
            f"{path}: expected JSON, found {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error


def file_digest(path: Path, *, bits: int = 64) -> tuple[int, str]:
    """Size and XXH3 digest of a file, read in blocks of 8 MiB.

    Args:
        path: The file.
        bits: 64 (``xxh3_64``, as manifests list files) or 128 (as inputs are identified).

    Returns:
        Number of bytes, and the digest in hexadecimal.

    Raises:
        ConfigurationError: The file is missing or cannot be read.
    """
    hasher = xxhash.xxh3_64() if bits == 64 else xxhash.xxh3_128()
    num_bytes = 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                hasher.update(block)
                num_bytes += len(block)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}", hint="check the path") from error
    return num_bytes, hasher.hexdigest()


def bytes_digest(data: bytes) -> str:
    """The XXH3 digest of some bytes, 64 bits in hexadecimal."""
    return xxhash.xxh3_64(data).hexdigest()


def remove_folder(folder: Path) -> None:
    """Remove a folder of ours and everything in it, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed attempts left in a folder: only names that :func:`atomic_path` makes."""
    for leftover in folder.rglob(f".*{_TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)
