"""Metalink 3.0: how UniProt publishes the release, size and MD5 of every file of a folder.

::

    <metalink version="3.0" xmlns="http://www.metalinker.org/">
      <version>2025_03</version>                       the release
      <files>
        <file name="uniref50.fasta.gz">                all files of the folder, not only the one that is wanted
          <size>8780552383</size>                      bytes
          <verification><hash type="md5">…</hash></verification>
          <resources> … </resources>                   mirrors: not read, the mirror is the caller's choice

The text comes from a server: it is refused above 64 MiB, and so is any document type declaration, because entities
are declared there and a few lines of nested ones expand to gigabytes. Names are matched against names that are
known beforehand and never used as paths. Format: http://www.metalinker.org/, Metalink 3.0 specification of 2007;
no file of UniProt's was at hand when this was written, five independent parsers of it agree on the shape above.
"""

import re
from dataclasses import dataclass
from typing import Never
from xml.etree import ElementTree as ET
from xml.parsers import expat

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.checksums import HEX_DIGITS, Checksum, parse_checksum

NAMESPACE = "http://www.metalinker.org/"
MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MetalinkFile:
    """What a metalink says of one file."""

    name: str
    num_bytes: int | None
    checksum: Checksum | None
    """The strongest one that is given for the whole file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metalink:
    """A metalink: a release and its files."""

    where: str
    """Where it came from, for messages."""
    version: str | None
    """The release, such as 2025_03."""
    files: dict[str, MetalinkFile]
    """By name."""

    def file(self, name: str) -> MetalinkFile:
        """The entry of a file, with its size and checksum.

        Raises:
            InputFormatError: The file is not listed, or has no checksum or no size.
        """
        if name not in self.files:
            listed = ", ".join(sorted(self.files)[:5]) or "nothing"
            raise InputFormatError(f"{self.where}: expected an entry for {name}, found {len(self.files)}: {listed} …")
        entry = self.files[name]
        for value, what in ((entry.checksum, "checksum"), (entry.num_bytes, "size")):
            if value is None:
                raise InputFormatError(
                    f"{self.where}: {name}: expected a {what}, found none, so the file could not be checked",
                    hint="give the URL of the file itself, with --checksum if you have one",
                )
        return entry

    def matching(self, pattern: str) -> tuple[MetalinkFile, ...]:
        """The entries whose whole name matches a regular expression, numbers within names in order of size."""
        return tuple(self.file(name) for name in sorted(self.files, key=_natural) if re.fullmatch(pattern, name))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(word), "") if word.isdigit() else (0, word) for word in re.split(r"(\d+)", name)]


def parse_metalink(data: bytes, where: str) -> Metalink:
    """Read a metalink.

    Args:
        data: The XML.
        where: Its URL or path, for messages.

    Raises:
        InputFormatError: It is no XML, no Metalink 3.0, declares entities, or an entry is malformed or listed twice.
    """
    root = _root_of(data, where)
    files: dict[str, MetalinkFile] = {}
    for element in root.iterfind(f"{_tag('files')}/{_tag('file')}"):
        entry = _entry(element, where)
        if entry.name in files:
            raise InputFormatError(f"{where}: {entry.name}: listed twice")
        files[entry.name] = entry
    if not files:
        raise InputFormatError(f"{where}: expected <file> entries, found none")
    return Metalink(where=where, version=_text(root, "version") or None, files=files)


def _root_of(data: bytes, where: str) -> ET.Element:
    if len(data) > MOST_BYTES:
        raise InputFormatError(f"{where}: expected at most {MOST_BYTES >> 20} MiB of XML, found {len(data):,} bytes")
    _refuse_declarations(data, where)
    root = ET.fromstring(data)  # noqa: S314  (well-formed, and without the declarations that entities need)
    if root.tag != _tag("metalink"):
        raise InputFormatError(
            f"{where}: expected Metalink 3.0, <metalink> in namespace {NAMESPACE}, found {_readable(root.tag)}",
            hint="check the URL: it may be another document, or a later version of the format",
        )
    return root


def _refuse_declarations(data: bytes, where: str) -> None:
    def refuse(*_: object) -> Never:
        raise InputFormatError(f"{where}: expected no document type declaration, found one", hint="this is no metalink")

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)  # noqa: FBT003  (a positional-only parameter of expat)
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise InputFormatError(
            f"{where}: expected XML, found {reason} at line {error.lineno}, column {error.offset + 1}"
        ) from error
    except (LookupError, ValueError) as error:  # an encoding that nobody knows
        raise InputFormatError(f"{where}: expected XML in UTF-8, found {error}") from error


def _readable(tag: str) -> str:
    namespace, _, name = tag.rpartition("}")
    return f"<{name}> in namespace {namespace[1:]}" if namespace else f"<{name}> without namespace"


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _text(element: ET.Element, name: str) -> str:
    return (element.findtext(_tag(name)) or "").strip()


def _entry(element: ET.Element, where: str) -> MetalinkFile:
    name = element.get("name", "")
    if not name:
        raise InputFormatError(f"{where}: expected a name on every <file>, found none")
    size = _text(element, "size")
    if size and not re.fullmatch(r"[0-9]{1,18}", size):
        raise InputFormatError(f"{where}: {name}: expected <size> in bytes, found {size!r}")
    return MetalinkFile(
        name=name,
        num_bytes=int(size) if size else None,
        checksum=_strongest(element, f"{where}: {name}"),
    )


def _strongest(element: ET.Element, where: str) -> Checksum | None:
    # Hashes of pieces are children of <pieces>, not of <verification>: they are no checksum of the file.
    found: dict[str, Checksum] = {}
    for item in element.iterfind(f"{_tag('verification')}/{_tag('hash')}"):
        algorithm = item.get("type", "").lower().replace("-", "")
        if algorithm in HEX_DIGITS:
            found[algorithm] = _checked(f"{algorithm}:{(item.text or '').strip()}", where)
    return next((found[algorithm] for algorithm in reversed(HEX_DIGITS) if algorithm in found), None)


def _checked(text: str, where: str) -> Checksum:
    try:
        return parse_checksum(text)
    except ConfigurationError as error:
        raise InputFormatError(f"{where}: {error.message}") from error
