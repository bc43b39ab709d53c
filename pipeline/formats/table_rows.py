"""Rows of a table to blocks of records: which column is what, and what becomes of their values.

::

    accession     sequence    taxon_id   source   description   cluster      … any others are not read
    P04637        MEEPQSD…    9606                 p53           …

Names of columns count without regard to case (UniProt's own tables say ``Sequence``). Which column is what:

- sequence: the one that was asked for, ``sequence`` by default;
- accession: the one that was asked for, else ``accession``, ``id`` or ``name``, else the first that is nothing else;
- ``taxon_id``, ``source``, ``description`` and ``cluster`` if they are there.

Accession and description are read as the title line of a FASTA record would be, so ``sp|P04637|P53_HUMAN`` or
``UniRef50_P04637`` say what they say elsewhere; the other columns win where they hold something. A row without a
sequence (null) is damaged; an empty one is a record without residues, as in FASTA.

Cost: Arrow works on columns; nothing runs once a row in Python.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputFormatError
from pipeline.formats.headers import HEADER_SCHEMA, parse_headers
from pipeline.formats.problems import Problems
from pipeline.formats.records import UPPER, WHITE_SPACE, ColumnBlock, Int64Array, UInt8Array

MISSING_SEQUENCE = "missing-sequence"
"""Reason of a row whose sequence is null."""

SEQUENCE_COLUMN = "sequence"
ACCESSION_COLUMNS = ("accession", "id", "name")
OPTIONAL_COLUMNS = ("taxon_id", "source", "description", "cluster")

_WHITE_SPACE_CODES = np.frombuffer(WHITE_SPACE, dtype=np.uint8)
_TAXON = "^[0-9]{1,10}$"


def choose_columns(
    path: Path, names: list[str], sequence_column: str = SEQUENCE_COLUMN, accession_column: str | None = None
) -> dict[str, str]:
    """Which column is what.

    Args:
        path: The file, for messages.
        names: All columns of the table.
        sequence_column: The one with the sequences.
        accession_column: The one with the accessions; None to look for it.

    Returns:
        Names of columns, by ``sequence``, ``accession`` and ``OPTIONAL_COLUMNS``, without those that are not there.

    Raises:
        InputFormatError: A column that is needed is not there, or is there twice.
    """
    present = {name.lower() for name in names}
    chosen = {"sequence": _find_column(path, names, sequence_column)}
    others = [name for name in names if name != chosen["sequence"] and name.lower() not in OPTIONAL_COLUMNS]
    candidates = [name for name in ACCESSION_COLUMNS if name in present and name != chosen["sequence"].lower()]
    if accession := accession_column or next(iter([*candidates, *others]), None):
        chosen["accession"] = _find_column(path, names, accession)
    return chosen | {name: _find_column(path, names, name) for name in OPTIONAL_COLUMNS if name in present}


def _find_column(path: Path, names: list[str], wanted: str) -> str:
    found = [name for name in names if name == wanted] or [name for name in names if name.lower() == wanted.lower()]
    if len(found) == 1:
        return found[0]
    columns = ", ".join(map(repr, names))
    hint = "say which columns hold the sequences and the accessions, if they have other names"
    raise InputFormatError(f"{path}: expected one column {wanted!r}, found the columns {columns}", hint=hint)


class RowReader:
    """Batches of rows of one table to blocks.

    Args:
        path: The file, for messages.
        columns: Which column is what, as ``choose_columns`` says.
        source: The database's name, if it is not to come from the rows.
        problems: What becomes of rows without a sequence.
    """

    def __init__(self, path: Path, columns: Mapping[str, str], source: str | None, problems: Problems) -> None:
        self.num_rows = 0
        """Rows read."""
        self._path = path
        self._columns = columns
        self._source = source
        self._problems = problems
        self._num_records = 0

    def read(self, batch: pa.RecordBatch, numbers: Int64Array) -> Iterator[ColumnBlock]:
        """One block, or none if no row is left.

        Args:
            batch: Of the chosen columns.
            numbers: int64[rows]: number of each row in the file, from 0.
        """
        self.num_rows += batch.num_rows
        values = {name: self._text(batch.column(column), column) for name, column in self._columns.items()}
        is_missing = np.asarray(values["sequence"].is_null())
        if is_missing.any():
            self._report_missing(numbers[is_missing] + 1)
            keep = pa.array(~is_missing)
            values = {name: column.filter(keep) for name, column in values.items()}
            numbers = numbers[~is_missing]
        if len(numbers):
            residues, offsets = _residues(values["sequence"])
            yield ColumnBlock(
                residues=residues,
                offsets=offsets,
                table=_header_columns(values, self._source),
                positions=numbers[:, np.newaxis] + 1,
                place_format="row {}, column " + self._columns["sequence"].replace("{", "{{").replace("}", "}}"),
                first_record=self._num_records,
            )
            self._num_records += len(numbers)

    def _report_missing(self, numbers: Int64Array) -> None:
        for number in numbers.tolist():
            where = f"{self._path}: row {number}"
            error = InputFormatError(
                f"{where}: expected a sequence in column {self._columns['sequence']!r}, found null"
            )
            self._problems.report(MISSING_SEQUENCE, error)

    def _text(self, column: pa.Array, name: str) -> pa.LargeBinaryArray:
        """A column as bytes."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_integer(column.type) and name != self._columns["sequence"]:
            column = column.cast(pa.large_string())
        if pa.types.is_null(column.type) or column.type in _TEXT_TYPES:
            return column.cast(pa.large_string() if column.type == pa.string_view() else column.type).cast(
                pa.large_binary()
            )
        raise InputFormatError(f"{self._path}: expected text in column {name!r}, found {column.type}")


def _residues(sequences: pa.LargeBinaryArray) -> tuple[UInt8Array, Int64Array]:
    """The sequences joined, upper-cased and without white space, and where each begins, the total last."""
    _, offset_buffer, data = sequences.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[sequences.offset :][: len(sequences) + 1]
    raw = memoryview(data)[offsets[0] : offsets[-1]].tobytes() if data is not None else b""
    offsets = offsets - offsets[0]
    clean = raw.translate(UPPER, WHITE_SPACE)
    if len(clean) != len(raw):
        removed = np.flatnonzero(np.isin(np.frombuffer(raw, dtype=np.uint8), _WHITE_SPACE_CODES))
        offsets = offsets - np.searchsorted(removed, offsets)
    return np.frombuffer(clean, dtype=np.uint8), offsets


def _header_columns(values: Mapping[str, pa.LargeBinaryArray], source: str | None) -> pa.RecordBatch:
    """Columns of ``HEADER_SCHEMA`` from those of a table."""
    empty = pa.array([b""] * len(values["sequence"]), pa.large_binary())
    titles = [values.get(name, empty).fill_null(b"") for name in ("accession", "description")]
    parsed = parse_headers(pc.binary_join_element_wise(*titles, pa.scalar(b" ", pa.large_binary())), source=source)
    columns = {name: parsed.column(name) for name in HEADER_SCHEMA.names}
    if "taxon_id" in values:
        columns["taxon_id"] = pc.coalesce(_taxon_ids(values["taxon_id"]), columns["taxon_id"])
    for name in ("cluster", *([] if source else ["source"])):
        if name in values:
            columns[name] = pc.coalesce(_words(values[name]), columns[name])
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=HEADER_SCHEMA)


def _words(values: pa.LargeBinaryArray) -> pa.StringArray:
    """Text without white space around it; null for none."""
    trimmed = pc.utf8_trim_whitespace(_decode(values)).cast(pa.string())
    return pc.if_else(pc.equal(pc.binary_length(trimmed), 0), pa.scalar(None, pa.string()), trimmed)


def _taxon_ids(values: pa.LargeBinaryArray) -> pa.UInt32Array:
    """Numbers as uint32; null for anything else."""
    digits = _words(values)
    is_number = pc.match_substring_regex(digits, _TAXON)
    numbers = pc.if_else(is_number, digits, pa.scalar(None, pa.string())).cast(pa.uint64())
    fits = pc.less_equal(numbers, np.iinfo(np.uint32).max)
    return pc.if_else(fits, numbers, pa.scalar(None, pa.uint64())).cast(pa.uint32())


def _decode(values: pa.LargeBinaryArray) -> pa.LargeStringArray:
    try:
        return values.cast(pa.large_string())
    except pa.ArrowInvalid:
        texts = [None if value is None else value.decode(errors="replace") for value in values.to_pylist()]
        return pa.array(texts, pa.large_string())


_TEXT_TYPES = frozenset(
    {pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()}
)
"""Types of columns that can be read as text."""
