"""Blocks of records: what every reader yields, whatever the format was.

A block is some thousand consecutive records of one input. Residues lie end to end, upper case and without white space;
everything else about a record is a row of ``columns()`` and, for messages, a ``place``::

    residues  M K V * G A C D *      uint8[total]
    offsets   0       4         9    int64[n + 1]: record i is residues[offsets[i]:offsets[i + 1]]
    columns   accession source taxon_id cluster description          n rows
    place(1)  "line 3, byte 6"

Two kinds differ in where the columns come from. A :class:`HeaderBlock` holds title lines as FASTA has them, and reads
them only when asked: alignments have such lines, and UniProt's entries are given the line that UniProt's own FASTA has,
so that an entry becomes the same columns from every format. A :class:`ColumnBlock` holds columns that came as such.

Which records share a block means nothing. Nothing here runs once a residue; ``BlockBuilder`` costs about 1 µs a record.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.formats.headers import parse_headers

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]

UPPER = bytes(range(256)).upper()
"""Table for ``bytes.translate``: lower case to upper."""

WHITE_SPACE = b" \t\r\n\v\f"
"""What may stand between residues and means nothing: the second argument of ``bytes.translate``."""

RECORDS_PER_BLOCK = 20_000
"""Most records in a block of a ``BlockBuilder``."""

RESIDUES_PER_BLOCK = 8 << 20
"""A block of a ``BlockBuilder`` that has as many gets no further record."""


class RecordBlock(Protocol):
    """Consecutive records of an input; ``n`` of them, at least one."""

    @property
    def residues(self) -> UInt8Array:
        """uint8[total]: the residues of all records joined, upper case, without white space. May be read-only."""

    @property
    def offsets(self) -> Int64Array:
        """int64[n + 1], from 0: record i has residues[offsets[i]:offsets[i + 1]], which may be empty."""

    @property
    def first_record(self) -> int:
        """How many records of the input come before this block; what was skipped is no record."""

    @property
    def num_comment_lines(self) -> int:
        """Comment lines in or before these records."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """What stood between these records and is none by the rules of the format, such as consensus rows, by name."""

    @property
    def num_records(self) -> int:
        """The number of records, n."""

    def columns(self) -> pa.RecordBatch:
        """RecordBatch of ``headers.HEADER_SCHEMA`` with n rows; an accession may be empty."""

    def place(self, index: int) -> str:
        """Where record ``index`` of the block is, in words for a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """What both kinds share."""

    residues: UInt8Array
    offsets: Int64Array
    positions: Int64Array
    """int64[n, k]: numbers that say where each record is."""
    place_format: str
    """Format string that takes the k positions of a record."""
    first_record: int
    num_comment_lines: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def num_records(self) -> int:
        """The number of records, n."""
        return len(self.offsets) - 1

    def place(self, index: int) -> str:
        """Where record ``index`` of the block is, in words for a message."""
        return self.place_format.format(*self.positions[index].tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderBlock(_Block):
    """Records with title lines as FASTA has them."""

    headers: pa.Array
    """n title lines without ``>``: string or binary."""
    source: str | None = None
    """The database's name, if it is not to come from the title lines."""

    def columns(self) -> pa.RecordBatch:
        """RecordBatch of ``headers.HEADER_SCHEMA``, read from the title lines on each call."""
        return parse_headers(self.headers, source=self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnBlock(_Block):
    """Records whose columns are known."""

    table: pa.RecordBatch
    """RecordBatch of ``headers.HEADER_SCHEMA`` with n rows."""

    def columns(self) -> pa.RecordBatch:
        """RecordBatch of ``headers.HEADER_SCHEMA``."""
        return self.table


class BlockBuilder:
    """Records one after another to blocks.

    ::

        for … :
            if builder.is_full:
                yield builder.take()
            builder.add(header, residues, (line, byte))
        if builder.num_records:
            yield builder.take()

    A full block is taken when the next record comes, and not before, so that what is skipped behind the last record
    still finds a block to be counted in.

    Args:
        place_format: Format string that takes the positions of a record.
        source: The database's name, if it is not to come from the headers.
    """

    def __init__(self, *, place_format: str, source: str | None = None) -> None:
        self.num_comment_lines = 0
        """Comment lines since the last block; readers count here."""
        self.skipped: Counter[str] = Counter()
        """What was passed since the last block; readers count here."""
        self._place_format = place_format
        self._source = source
        self._first_record = 0
        self._start()

    def _start(self) -> None:
        self._headers: list[bytes] = []
        self._residues: list[bytes] = []
        # Flat, because a tuple for each record would keep the garbage collector busy.
        self._positions: list[int] = []
        self._num_residues = 0

    @property
    def num_records(self) -> int:
        """Records since the last block."""
        return len(self._headers)

    @property
    def total_records(self) -> int:
        """Records added in all."""
        return self._first_record + self.num_records

    @property
    def is_full(self) -> bool:
        """Whether the next record belongs to another block."""
        return len(self._headers) >= RECORDS_PER_BLOCK or self._num_residues >= RESIDUES_PER_BLOCK

    def add(self, header: bytes, residues: bytes, position: tuple[int, ...]) -> None:
        """Append a record.

        Args:
            header: Its title line without ``>``.
            residues: Upper case, without white space.
            position: What the format string takes.
        """
        self._headers.append(header)
        self._residues.append(residues)
        self._positions += position
        self._num_residues += len(residues)

    def take(self) -> HeaderBlock:
        """The records since the last block; there must be one at least."""
        assert self._headers, "a block has at least one record"
        num_records = self.num_records
        offsets = np.zeros(num_records + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, self._residues), dtype=np.int64, count=num_records), out=offsets[1:])
        block = HeaderBlock(
            headers=pa.array(self._headers, type=pa.large_binary()),
            residues=np.frombuffer(b"".join(self._residues), dtype=np.uint8),
            offsets=offsets,
            positions=np.array(self._positions, dtype=np.int64).reshape(
                num_records, len(self._positions) // num_records
            ),
            place_format=self._place_format,
            first_record=self._first_record,
            num_comment_lines=self.num_comment_lines,
            skipped=dict(self.skipped),
            source=self._source,
        )
        self._first_record += num_records
        self.num_comment_lines = 0
        self.skipped = Counter()
        self._start()
        return block
