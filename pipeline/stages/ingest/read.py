"""One input file to sorted runs: the first half of a shuffle that is a sort.

::

    FASTA ──▶ blocks ──▶ strip, check, drop ──▶ header columns, record keys ──▶ runs of 32 MB, each sorted by key
                                                                                .scratch/chunk-00000.arrow

Memory: a few times one run.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import OnInvalid
from pipeline.core import alphabet
from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.engines.threads import in_threads
from pipeline.errors import InputFormatError
from pipeline.formats.corpus import record_keys
from pipeline.formats.fasta import FastaBlock, read_fasta
from pipeline.formats.fasta_spans import Span, lines_before, records_before
from pipeline.formats.headers import parse_headers
from pipeline.formats.runs import RUN_SCHEMA, run_writer
from pipeline.formats.storage import atomic_path

EMPTY_SEQUENCE = "empty-sequence"

RUN_BYTES = 32 << 20
"""Decoded bytes of one run: about what a task holds three times while it sorts one."""


def read_chunk(
    folder: Path, *, path: str, span: Span, source: str | None, on_invalid: OnInvalid, name: str, num_buckets: int
) -> TaskResult:
    """Read one FASTA file, or a span of one, into sorted runs in the scratch folder.

    Args:
        folder: The corpus.
        path: The FASTA file.
        span: Which bytes of it.
        source: Database name that overrides what the headers say.
        on_invalid: What becomes of records with characters that are no residue.
        name: Name of the run file.
        num_buckets: Buckets of each run, a power of two.

    Raises:
        InputFormatError: The file is no FASTA or is cut short, or holds an invalid character under ``error``.
    """
    reader = _Reader(path=Path(path), span=span, source=source, on_invalid=on_invalid)
    tally = _Tally()
    run_path = folder / SCRATCH_NAME / name
    with atomic_path(run_path, durable=False) as temporary, run_writer(temporary, num_buckets) as writer:
        # Decompressing, parsing and sorting go on beside each other in as many threads as this process may have.
        blocks = in_threads(reader.records_of, read_fasta(reader.path, span=span), num_threads=pa.cpu_count())
        for run in _runs(tally.gather(blocks)):
            writer.write(run)
    return TaskResult(
        scratch={f"{SCRATCH_NAME}/{name}": run_path.stat().st_size},
        counts=dict(tally.counts),
        reasons=dict(tally.reasons),
        values={"composition": tally.composition.tolist()},
    )


def _runs(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Small batches gathered to runs."""
    gathered: list[pa.RecordBatch] = []
    num_bytes = 0
    for batch in batches:
        gathered.append(batch)
        num_bytes += batch.nbytes
        if num_bytes >= RUN_BYTES:
            yield pa.Table.from_batches(gathered, RUN_SCHEMA)
            gathered, num_bytes = [], 0
    if gathered:
        yield pa.Table.from_batches(gathered, RUN_SCHEMA)


@dataclass(slots=True)
class _Tally:
    """What was counted so far."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    composition: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, dtype=np.int64))

    def gather(self, blocks: "Iterable[tuple[pa.RecordBatch, _Tally]]") -> Iterator[pa.RecordBatch]:
        """Add up what was counted in each block and pass its records on."""
        for batch, tally in blocks:
            self.counts.update(tally.counts)
            self.reasons.update(tally.reasons)
            self.composition += tally.composition
            yield batch


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """One input file on its way to runs."""

    path: Path
    span: Span
    source: str | None
    on_invalid: OnInvalid

    def records_of(self, block: FastaBlock) -> tuple[pa.RecordBatch, _Tally]:
        """The records of a block that are kept, with the columns of ``RUN_SCHEMA``, and what was counted."""
        tally = _Tally()
        residues, offsets, num_stripped = alphabet.strip_stops(block.residues, block.offsets)
        tally.composition += alphabet.composition(residues)
        tally.counts["records_read"] += len(block.headers)
        tally.counts["residues_read"] += len(residues)
        tally.counts["trailing_stops_removed"] += num_stripped
        tally.counts["comment_lines"] += block.num_comment_lines
        if self.on_invalid is OnInvalid.REPLACE:
            residues, num_replaced = alphabet.replace_invalid(residues)
            tally.counts["residues_replaced"] += num_replaced
        headers, keep = block.headers, self._kept(residues, offsets, block, tally)
        if not keep.all():
            residues, offsets = alphabet.select_records(residues, offsets, keep)
            headers = headers.filter(pa.array(keep))
        return _record_batch(headers, residues, offsets, self.source), tally

    def _kept(
        self, residues: alphabet.ByteArray, offsets: alphabet.Offsets, block: FastaBlock, tally: _Tally
    ) -> npt.NDArray[np.bool_]:
        keep = np.diff(offsets) > 0
        if num_empty := int(np.count_nonzero(~keep)):
            tally.reasons[EMPTY_SEQUENCE] += num_empty
        invalid = alphabet.find_invalid(residues, offsets)
        if len(invalid.record) and self.on_invalid is OnInvalid.ERROR:
            raise self._invalid_error(invalid, block)
        keep[invalid.record] = False
        for code, number in zip(*np.unique(invalid.reason, return_counts=True), strict=True):
            tally.reasons[alphabet.INVALID_REASONS[int(code)]] += int(number)
        return keep

    def _invalid_error(self, invalid: alphabet.InvalidRecords, block: FastaBlock) -> InputFormatError:
        at = int(invalid.record[0])
        header = block.headers[at].as_py()
        record = records_before(self.path, self.span.start) + block.first_record + at + 1
        line = lines_before(self.path, self.span.start) + int(block.lines[at])
        return InputFormatError(
            f"{self.path}: record {record} ({header[:60]!r}, line {line}, byte {int(block.byte_offsets[at])}): "
            f"expected residue letters, found {chr(int(invalid.character[0]))!r} at residue "
            f"{int(invalid.position[0]) + 1}",
            hint="--on-invalid drop leaves such records out, --on-invalid replace makes the character X; "
            "both are counted",
        )


def _record_batch(
    headers: pa.Array, residues: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], source: str | None
) -> pa.RecordBatch:
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(np.ascontiguousarray(residues))]
    sequences = pa.LargeStringArray.from_buffers(len(headers), buffers[1], buffers[2])
    keys = record_keys(sequences)
    columns = {name: column.cast(RUN_SCHEMA.field(name).type) for name, column in _header_columns(headers, source)}
    columns["accession"] = _named(columns["accession"], keys)
    columns |= {"record_key": pa.array(keys), "sequence": sequences}
    return pa.RecordBatch.from_arrays([columns[name] for name in RUN_SCHEMA.names], schema=RUN_SCHEMA)


def _header_columns(headers: pa.Array, source: str | None) -> Iterator[tuple[str, pa.Array]]:
    table = parse_headers(headers, source=source)
    for name in ("accession", "source", "taxon_id", "cluster", "description"):
        column = table.column(name)
        yield name, column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _named(accessions: pa.Array, keys: npt.NDArray[np.uint64]) -> pa.Array:
    """Accessions, with ``seq-<key in hexadecimal>`` where the header was empty."""
    nameless = np.flatnonzero(pc.equal(pc.binary_length(accessions), 0).to_numpy(zero_copy_only=False))
    if not len(nameless):
        return accessions
    minted = pa.array([f"seq-{key:016x}" for key in keys[nameless].tolist()], accessions.type)
    mask = np.zeros(len(accessions), dtype=bool)
    mask[nameless] = True
    return pc.replace_with_mask(accessions, pa.array(mask), minted)
