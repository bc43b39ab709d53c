"""What every artefact must obey, and how a broken law is told.

A check returns findings instead of raising, so that one run names every broken place it can still reach.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import PipelineError
from pipeline.formats.manifest import File, add_counts
from pipeline.formats.plan import of_split
from pipeline.formats.storage import file_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One broken law and its place."""

    path: str
    """File, relative to the artefact."""
    message: str
    """Where in the file, what was expected, what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one task of the verification did."""

    counts: dict[str, int]
    """What was compared: files, records, residues, segments, tokens …"""
    findings: tuple[Finding, ...]
    """What was broken."""

    def of_split(self, split: str) -> "Checked":
        """The same, with what is counted of each split once more under its name."""
        return Checked(counts=of_split(self.counts, split), findings=self.findings)


def check_file(folder: Path, file: File) -> list[Finding]:
    """Presence, size and digest of one file."""
    path = folder / file.path
    if not path.is_file():
        return [Finding(path=file.path, message="missing: the manifest lists it")]
    num_bytes, digest = file_digest(path)
    if num_bytes != file.bytes:
        return [Finding(path=file.path, message=f"expected {file.bytes:,} bytes, found {num_bytes:,}")]
    if digest != file.xxh3_64:
        return [Finding(path=file.path, message=f"expected xxh3_64 {file.xxh3_64}, found {digest}: the bytes changed")]
    return []


def check_content(file: File, num_rows: int, content: str) -> list[Finding]:
    """Rows and decoded content of one file against the manifest."""
    if num_rows != file.rows:
        return [Finding(path=file.path, message=f"expected {file.rows:,} rows, found {num_rows:,}")]
    if content != file.content:
        return [Finding(path=file.path, message=f"expected content {file.content}, found {content}")]
    return []


def check_schema(name: str, found: pa.Schema, expected: pa.Schema) -> list[Finding]:
    """Names and types of the columns, in order, and which may hold nulls."""
    if found.names != expected.names:
        return [Finding(path=name, message=f"expected columns {expected.names}, found {found.names}")]
    return [
        Finding(path=name, message=f"column {field.name}: expected {field}, found {found.field(field.name)}")
        for field in expected
        if not found.field(field.name).equals(field)
    ]


def first_broken(name: str, broken: npt.NDArray[np.bool_], tell: Callable[[int], str]) -> list[Finding]:
    """At most one finding for a law over many places: the first broken one, and how many there are.

    Args:
        name: File.
        broken: bool [places].
        tell: Message for a place.
    """
    places = np.flatnonzero(broken)
    if not len(places):
        return []
    more = f" (and {len(places) - 1:,} more)" if len(places) > 1 else ""
    return [Finding(path=name, message=tell(int(places[0])) + more)]


def guarded(name: str, check: Callable[[], Checked]) -> Checked:
    """Run a check; an error of ours, such as a file that cannot be decoded, becomes a finding."""
    try:
        return check()
    except PipelineError as error:
        return Checked(counts={}, findings=(Finding(path=name, message=error.message),))


def merged(results: Sequence[Checked]) -> Checked:
    """Counts added up, findings one after another."""
    counts = add_counts(result.counts for result in results)
    return Checked(counts=counts, findings=tuple(finding for result in results for finding in result.findings))
