"""From a block of records to the records that are kept, and what became of the others.

::

    block ──▶ '*' at the end off ──▶ invalid characters ──▶ letters replaced ──▶ filters ──▶ record keys ──▶ kept
                                     drop, X or error                            one reason for each dropped record
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import OnInvalid
from pipeline.core import alphabet
from pipeline.core.replacement import replace_residues, replacement_table
from pipeline.errors import InputFormatError
from pipeline.formats.corpus import record_keys
from pipeline.formats.corpus_statistics import Statistics, statistics_of_dropped
from pipeline.formats.detection import ReadOptions
from pipeline.formats.duplicates import RECORD_SCHEMA
from pipeline.formats.fasta_spans import Span, shift_of
from pipeline.formats.parquet import RowGroupWriter
from pipeline.formats.problems import OnError, Problems
from pipeline.formats.records import HeaderBlock, RecordBlock
from pipeline.formats.storage import atomic_path
from pipeline.stages.ingest.filtering import Filtering

EMPTY_SEQUENCE = "empty-sequence"
DROPPED_NAME = "dropped"
DROPPED_SCHEMA = pa.schema(
    [pa.field("reason", pa.string()), *(field for field in RECORD_SCHEMA if field.name != "record_key")]
)
"""Columns of what ``--keep-dropped`` writes."""

_SAMPLED_RESIDUES = 64 << 10
"""Of each block, to tell nucleotides from proteins."""

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How to read one input file, or a span of one; picklable."""

    path: Path
    span: Span
    source: str | None
    """Database name that overrides what the headers say."""
    file_format: str | None
    on_error: OnError
    options: ReadOptions
    on_invalid: OnInvalid
    allowed: bytes
    """Characters that may stand between residues."""
    replace: tuple[str, ...]
    filtering: Filtering
    keep_dropped: bool
    name: str
    """Names the files of the task."""
    num_buckets: int
    """Buckets of each run, a power of two."""
    run_bytes: int
    """Decoded bytes of a run."""
    source_priority: tuple[str, ...]
    """Whose record survives where sequences are equal."""


@dataclass(slots=True)
class Tally:
    """What was counted so far."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    composition: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    """Letters of a sample."""
    dropped: Statistics = field(default_factory=Statistics)

    def gather(self, sieved: "Iterable[Sieved]", writer: RowGroupWriter | None) -> Iterator[pa.RecordBatch]:
        """Add up what was counted in each block and pass its records on; what was dropped goes to ``writer``."""
        for block in sieved:
            self.counts.update(block.tally.counts)
            self.reasons.update(block.tally.reasons)
            self.composition += block.tally.composition
            if block.dropped is not None:
                self.dropped += block.tally.dropped
                if writer is not None:
                    writer.write(block.dropped)
            yield block.kept

    def add_problems(self, problems: Problems) -> None:
        """Records that could not be read were in the input all the same: read, and dropped under their reason."""
        self.reasons.update(problems.counts)
        self.counts["records_read"] += sum(problems.counts.values())
        self.counts["comment_lines"] += problems.num_comment_lines
        self.counts.update({f"skipped_{name.replace('-', '_')}": number for name, number in problems.skipped.items()})
        facts = [{"reason": reason, "accession": "", "length": 0} for reason in problems.counts.elements()]
        if facts:
            self.dropped += statistics_of_dropped(pa.Table.from_pylist(facts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sieved:
    """What became of the records of a block."""

    kept: pa.RecordBatch
    """Columns of ``RECORD_SCHEMA``."""
    dropped: pa.Table | None
    """Columns of ``DROPPED_SCHEMA``; None where nothing was dropped."""
    tally: Tally


class Sieve:
    """Decides what becomes of each record of a file."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._table = replacement_table(*reading.replace)
        names = [predicate.name for predicate in reading.filtering.predicates()]
        self._reasons = ("", EMPTY_SEQUENCE, *alphabet.INVALID_REASONS, *names)

    def sift(self, block: RecordBlock) -> Sieved:
        """Split the records of a block into those that are kept and those that are not."""
        tally = Tally()
        residues, offsets, num_stripped = alphabet.strip_stops(block.residues, block.offsets)
        tally.composition += alphabet.composition(residues[:_SAMPLED_RESIDUES])
        tally.counts["records_read"] += block.num_records
        tally.counts["residues_read"] += len(residues)
        tally.counts["trailing_stops_removed"] += num_stripped
        tally.counts["comment_lines"] += block.num_comment_lines
        tally.counts.update({f"skipped_{name.replace('-', '_')}": number for name, number in block.skipped.items()})
        if self._reading.on_invalid is OnInvalid.REPLACE:
            residues, num_invalid = alphabet.replace_invalid(residues, allowed=self._reading.allowed)
            tally.counts["residues_replaced"] += num_invalid
        if self._reading.replace:
            residues, num_replaced = replace_residues(residues, self._table)
            tally.counts["letters_replaced"] += num_replaced
        columns = block.columns()
        codes = self._codes(block, columns, residues, offsets)
        return self._split(columns, residues, offsets, codes=codes, tally=tally)

    def _codes(
        self, block: RecordBlock, columns: pa.RecordBatch, residues: alphabet.ByteArray, offsets: alphabet.Offsets
    ) -> Codes:
        """uint8 [records]: index into the reasons, 0 for what is kept."""
        codes: Codes = (np.diff(offsets) == 0).astype(np.uint8)
        invalid = alphabet.find_invalid(residues, offsets, allowed=self._reading.allowed)
        if len(invalid.record) and self._reading.on_invalid is OnInvalid.ERROR:
            raise self._invalid_error(invalid, block)
        codes[invalid.record] = 2 + invalid.reason
        first_filter = 2 + len(alphabet.INVALID_REASONS)
        if len(self._reasons) > first_filter:
            valid = codes == 0
            chosen = alphabet.select_records(residues, offsets, valid)
            filtered = self._reading.filtering.reasons(columns.filter(pa.array(valid)), *chosen)
            codes[valid] = np.where(filtered > 0, filtered + (first_filter - 1), 0)
        return codes

    def _split(
        self,
        columns: pa.RecordBatch,
        residues: alphabet.ByteArray,
        offsets: alphabet.Offsets,
        *,
        codes: Codes,
        tally: Tally,
    ) -> Sieved:
        keep = codes == 0
        if keep.all():
            return Sieved(kept=_record_batch(columns, residues, offsets), dropped=None, tally=tally)
        for code, number in enumerate(np.bincount(codes[~keep]).tolist()):
            if number:
                tally.reasons[self._reasons[code]] += number
        gone = _record_batch(columns.filter(pa.array(~keep)), *alphabet.select_records(residues, offsets, ~keep))
        reasons = pa.array(self._reasons).take(pa.array(codes[~keep]))
        dropped = pa.Table.from_batches([gone]).drop_columns(["record_key"]).add_column(0, "reason", reasons)
        facts = {"reason": reasons, "accession": gone.column("accession").cast(pa.string())}
        facts["length"] = pc.binary_length(gone.column("sequence")).cast(pa.int64())
        tally.dropped = statistics_of_dropped(pa.table(facts))
        kept = _record_batch(columns.filter(pa.array(keep)), *alphabet.select_records(residues, offsets, keep))
        return Sieved(kept=kept, dropped=dropped, tally=tally)

    def _invalid_error(self, invalid: alphabet.InvalidRecords, block: RecordBlock) -> InputFormatError:
        path, span, at = self._reading.path, self._reading.span, int(invalid.record[0])
        shift = shift_of(path, span)
        accession = block.columns().column("accession")[at].as_py()
        record = shift.records + block.first_record + at + 1
        if isinstance(block, HeaderBlock) and span.start:
            block = replace(block, positions=block.positions + np.array([shift.lines, shift.bytes]))
        return InputFormatError(
            f"{path}: record {record} ({accession[:60]!r}, {block.place(at)}): "
            f"expected residue letters, found {chr(int(invalid.character[0]))!r} at residue "
            f"{int(invalid.position[0]) + 1}",
            hint="--on-invalid drop leaves such records out, --on-invalid replace makes the character X; "
            "both are counted",
        )


@contextmanager
def dropped_writer(folder: Path, name: str) -> Iterator[RowGroupWriter]:
    """A writer of what one task drops."""
    with (
        atomic_path(folder / DROPPED_NAME / f"{name}.parquet") as temporary,
        RowGroupWriter(temporary, DROPPED_SCHEMA, rows_per_group=65_536, dictionaries=["reason", "source"]) as writer,
    ):
        yield writer


def _record_batch(columns: pa.RecordBatch, residues: alphabet.ByteArray, offsets: alphabet.Offsets) -> pa.RecordBatch:
    """Records with the columns of ``RECORD_SCHEMA``."""
    buffers = [pa.py_buffer(np.ascontiguousarray(array)) for array in (offsets, residues)]
    sequences = pa.LargeStringArray.from_buffers(columns.num_rows, *buffers)
    keys = record_keys(sequences)
    named = {name: columns.column(name).cast(RECORD_SCHEMA.field(name).type) for name in columns.schema.names}
    named["accession"] = _minted(named["accession"], keys)
    named |= {"record_key": pa.array(keys), "sequence": sequences}
    return pa.RecordBatch.from_arrays([named[name] for name in RECORD_SCHEMA.names], schema=RECORD_SCHEMA)


def _minted(accessions: pa.Array, keys: npt.NDArray[np.uint64]) -> pa.Array:
    """Accessions, with ``seq-<key in hexadecimal>`` where the header was empty."""
    nameless = np.flatnonzero(pc.equal(pc.binary_length(accessions), 0).to_numpy(zero_copy_only=False))
    if not len(nameless):
        return accessions
    minted = pa.array([f"seq-{key:016x}" for key in keys[nameless].tolist()], accessions.type)
    mask = np.zeros(len(accessions), dtype=bool)
    mask[nameless] = True
    return pc.replace_with_mask(accessions, pa.array(mask), minted)
