"""The two tasks of ingesting alignments: one input file to a spool, and a range of keys from all spools to a part.

::

    file    ──▶ alignments ──▶ rows with strange characters out ──▶ .scratch/chunk-00000.spool
    spools  ──▶ a range of keys, in order ──▶ part-00003.parquet

Memory: about ten bytes for each cell of the largest alignment, two and a half for those of a row group, and 24 for each
alignment of the file, beside 175 MB of libraries and blocks: measured 217 MB with alignments of 20,000 rows and 300
columns, one a row group, 310 MB with eight. From file to parts 13 µs a row of 300 columns.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import OnInvalid
from pipeline.core import alphabet
from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.errors import InputFormatError
from pipeline.formats.aligned import ALIGNMENT_REASONS, open_alignments
from pipeline.formats.aligned_a3m import Alignment
from pipeline.formats.alignment_spool import read_spools, spool_writer
from pipeline.formats.alignments import ALIGNMENTS_SCHEMA, GAP, alignment_record, alignments_writer, is_strange
from pipeline.formats.content import string_bytes
from pipeline.formats.corpus import key_range
from pipeline.formats.headers import parse_headers
from pipeline.formats.problems import OnError, Problems

NO_QUERY = "no-query"
"""Reason of an alignment whose first row has strange characters, or no residue: nothing says what its columns are."""
LEFT_OUT_WHOLE = ALIGNMENT_REASONS | {NO_QUERY}
"""Reasons that count alignments; any other counts rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentReading:
    """How to read one input file; picklable."""

    path: Path
    source: str | None
    """Database name that overrides what the headers say."""
    file_format: str | None
    on_error: OnError
    on_invalid: OnInvalid
    name: str
    """Names the files of the task."""


def spool_alignments(folder: Path, *, reading: AlignmentReading) -> TaskResult:
    """Read one input file into a spool in the scratch folder.

    Args:
        folder: The artefact.
        reading: What to read, and how.

    Raises:
        ConfigurationError: The file holds no alignments.
        InputFormatError: It is damaged, or holds a strange character under ``error``.
    """
    problems = Problems(reading.on_error)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    spool = f"{SCRATCH_NAME}/{reading.name}.spool"
    with spool_writer(folder / spool) as writer:
        for found in open_alignments(reading.path, file_format=reading.file_format, problems=problems):
            counts["alignments_read"] += 1
            sifted = _sifted(found, reading, counts, reasons)
            if sifted is None:
                continue
            counts["aligned_rows_read"] += len(found.titles)
            counts["alignments_spooled"] += 1
            counts["insertions_removed"] += found.num_insertions
            columns = parse_headers(pa.array(sifted.titles, pa.large_binary()), source=reading.source)
            source = columns.column("source")[0].as_py()
            writer.add(alignment_record(sifted.letters, columns.column("accession").cast(pa.string()), source))
    reasons.update(problems.counts)
    unread = sum(number for reason, number in problems.counts.items() if reason in ALIGNMENT_REASONS)
    counts["alignments_read"] += unread
    counts["aligned_rows_read"] += sum(problems.counts.values()) - unread
    counts["comment_lines"] += problems.num_comment_lines
    counts.update({f"skipped_{name.replace('-', '_')}": number for name, number in problems.skipped.items()})
    names = (spool, spool.replace(".spool", ".npy"))
    return TaskResult(
        scratch={name: (folder / name).stat().st_size for name in names},
        counts=dict(counts),
        reasons=dict(reasons),
        warnings=tuple(f"left out: {example}" for example in problems.examples),
    )


def _sifted(
    found: Alignment, reading: AlignmentReading, counts: Counter[str], reasons: Counter[str]
) -> Alignment | None:
    """An alignment without the rows that have strange characters; None where its query is gone."""
    strange = is_strange(found.letters)
    is_bad: npt.NDArray[np.bool_] = np.asarray(strange.any(axis=1))
    kept = found
    if is_bad.any():
        if reading.on_invalid is OnInvalid.ERROR:
            raise _strange_error(found, strange, reading.path)
        if reading.on_invalid is OnInvalid.REPLACE:
            counts["letters_replaced"] += int(np.count_nonzero(strange))
            kept = replace(found, letters=np.where(strange, np.uint8(alphabet.UNKNOWN_RESIDUE), found.letters))
        elif not is_bad[0]:
            reasons.update(_reasons_of(found.letters[is_bad]))
            titles = [title for title, bad in zip(found.titles, is_bad.tolist(), strict=True) if not bad]
            kept = replace(found, titles=titles, letters=found.letters[~is_bad])
        else:
            reasons[NO_QUERY] += 1
            return None
    if (kept.letters[0] == GAP).all():
        reasons[NO_QUERY] += 1
        return None
    return kept


def _reasons_of(letters: npt.NDArray[np.uint8]) -> Counter[str]:
    """Why each of some rows is left out, by its first strange character."""
    residues = np.where(letters == GAP, np.uint8(alphabet.UNKNOWN_RESIDUE), letters)
    offsets = np.arange(len(letters) + 1, dtype=np.int64) * letters.shape[1]
    invalid = alphabet.find_invalid(residues.reshape(-1), offsets)
    return Counter(alphabet.INVALID_REASONS[code] for code in invalid.reason.tolist())


def _strange_error(found: Alignment, strange: npt.NDArray[np.bool_], path: Path) -> InputFormatError:
    row, column = (int(places[0]) for places in np.nonzero(strange))
    title = found.titles[row][:60].decode(errors="backslashreplace")
    return InputFormatError(
        f"{path}: {found.place}: row {row + 1} of the alignment ({title!r}): expected residue letters and gaps, found "
        f"{chr(int(found.letters[row, column]))!r} at match column {column + 1}",
        hint="--on-invalid drop leaves such rows out, --on-invalid replace makes the character X; both are counted",
    )


def write_alignments_part(
    folder: Path,
    *,
    name: str,
    spools: Sequence[str],
    part: int,
    num_parts: int,
    alignments_per_group: int,
) -> TaskResult:
    """Collect the alignments of one key range and write them in order.

    Args:
        folder: The artefact.
        name: File name of the part.
        spools: Spools with an alignment at least, relative to the folder.
        part: Number of the part.
        num_parts: A power of two.
        alignments_per_group: Alignments in a row group.
    """
    counts: Counter[str] = Counter(alignments=0, aligned_rows=0, residues=0)
    most = {"most_rows": 0, "most_columns": 0}
    pending: list[pa.RecordBatch] = []
    with alignments_writer(folder, name, alignments_per_group=alignments_per_group) as (writer, written):
        for record in read_spools([folder / spool for spool in spools], *key_range(part, num_parts)):
            counts.update(counts_of(record))
            depth, width = (record.column(column)[0].as_py() for column in ("depth", "width"))
            most = {"most_rows": max(most["most_rows"], depth), "most_columns": max(most["most_columns"], width)}
            pending.append(record)
            if len(pending) == alignments_per_group:
                writer.write(_table(pending))
                pending = []
        if pending:
            writer.write(_table(pending))
    return TaskResult(files=tuple(written), counts={**counts, **most})


def counts_of(record: pa.RecordBatch) -> dict[str, int]:
    """Alignments, rows and residues of an alignment's record."""
    letters = np.frombuffer(string_bytes(record.column("rows").values), dtype=np.uint8)
    return {
        "alignments": 1,
        "aligned_rows": record.column("depth")[0].as_py(),
        "residues": len(letters) - int(np.count_nonzero(letters == GAP)),
    }


def _table(records: Sequence[pa.RecordBatch]) -> pa.Table:
    # Dictionaries of single records would differ: the source is encoded once for all of them.
    return pa.Table.from_batches(records).combine_chunks().cast(ALIGNMENTS_SCHEMA)
