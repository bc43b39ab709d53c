"""The laws of one part of alignments, row group by row group."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import IntegrityError
from pipeline.formats.alignments import (
    ALIGNMENTS_SCHEMA,
    GAP,
    StoredAlignment,
    alignment_key,
    is_strange,
    read_metadata,
    stored_alignments,
)
from pipeline.formats.content import ContentHasher
from pipeline.formats.corpus import key_range
from pipeline.formats.manifest import File, Manifest
from pipeline.stages.verify.checks import Checked, Finding, check_content, check_file, check_schema, guarded

GROUP_SETTING = "alignments_per_group"


def verify_alignments_part(
    folder: Path, file: File, configuration: dict[str, Any], part: int, num_parts: int
) -> Checked:
    """Check one part.

    Args:
        folder: The artefact.
        file: Its entry in the manifest.
        configuration: The artefact's.
        part: Number of the part.
        num_parts: How many there are.
    """
    if broken := check_file(folder, file):
        return Checked(counts={"files": 1}, findings=tuple(broken))
    return guarded(file.path, lambda: _checked(folder, file, configuration, (part, num_parts)))


def expected_counts(manifest: Manifest, found: dict[str, int]) -> dict[str, int]:
    """What the manifest must count, from what was found and what it says was left out."""
    counts = {key: number for key, number in found.items() if key != "files"}
    whole = manifest.counts.get("alignments_left_out", 0)
    rows = sum(manifest.reasons.values()) - whole
    read = {"alignments_read": counts["alignments"] + whole, "aligned_rows_read": counts["aligned_rows"] + rows}
    return counts | read | {"aligned_rows_left_out": rows}


def _checked(folder: Path, file: File, configuration: dict[str, Any], place: tuple[int, int]) -> Checked:
    path = folder / file.path
    metadata = read_metadata(path)
    findings = check_schema(file.path, metadata.schema.to_arrow_schema(), ALIGNMENTS_SCHEMA)
    if findings:
        return Checked(counts={"files": 1}, findings=tuple(findings))
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    findings += _check_groups(file, sizes, configuration.get(GROUP_SETTING))
    counts: Counter[str] = Counter(files=1, alignments=0, aligned_rows=0, residues=0)
    most = {"most_rows": 0, "most_columns": 0}
    hasher, keys = ContentHasher(), []
    for table in _tables(path, metadata):
        hasher.update(table)
        for at, stored in enumerate(stored_alignments(table, path)):
            keys.append(stored.key)
            depth, width = stored.letters.shape
            counts.update(alignments=1, aligned_rows=depth, residues=int(np.count_nonzero(stored.letters != GAP)))
            most = {"most_rows": max(most["most_rows"], depth), "most_columns": max(most["most_columns"], width)}
            findings += [
                Finding(path=file.path, message=f"alignment {len(keys) - 1}: {broken}")
                for broken in _broken(table, at, stored, place)
            ]
    findings += check_content(file, hasher.num_rows, hasher.hexdigest())
    if any(first > second for first, second in pairwise(keys)):
        findings.append(
            Finding(path=file.path, message="expected alignments sorted by key, found them in another order")
        )
    return Checked(counts={**counts, **most}, findings=tuple(findings))


def _tables(path: Path, metadata: pq.FileMetaData) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path, metadata=metadata, page_checksum_verification=True) as opened:
            for group in range(metadata.num_row_groups):
                yield opened.read_row_group(group)
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"{path}: cannot be decoded: {error}") from error


def _check_groups(file: File, sizes: list[int], wanted: Any) -> list[Finding]:
    """All row groups but the last have as many alignments as the manifest says: the order of an epoch counts on it."""
    whole, rest = divmod(file.rows, wanted) if isinstance(wanted, int) and wanted > 0 else (0, -1)
    if sizes == [wanted] * whole + [rest] * (rest > 0):
        return []
    return [Finding(path=file.path, message=f"expected row groups of {wanted} alignments, found {sizes[:5]} …")]


def _broken(table: pa.Table, at: int, stored: StoredAlignment, place: tuple[int, int]) -> Iterator[str]:
    """What is wrong with one alignment, in words."""
    depth, _ = stored.letters.shape
    first_key, end_key = key_range(*place)
    said = {name: table.column(name)[at].as_py() for name in ("depth", "query", "accession", "accessions")}
    if said["depth"] != depth:
        yield f"expected a depth of {depth}, found {said['depth']}"
    if said["query"].encode() != stored.letters[0].tobytes():
        yield "expected the query to be its first row, found another"
    if len(said["accessions"]) != depth:
        yield f"expected an accession for each of {depth} rows, found {len(said['accessions'])}"
    elif said["accession"] != (said["accessions"][0] or f"aln-{stored.key:016x}"):
        yield f"expected the accession of its first row, found {said['accession']!r}"
    if is_strange(stored.letters).any():
        yield "expected residue letters and gaps, found another character"
    if (found := alignment_key(stored.letters)) != stored.key:
        yield f"expected the key {found:016x} of its rows, found {stored.key:016x}"
    if not first_key <= stored.key < end_key:
        yield f"key {stored.key:016x} belongs to another part"
