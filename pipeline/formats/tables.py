"""Tables with a column of sequences, Parquet, CSV and TSV; what becomes of their columns is said in ``table_rows``.

CSV is that of RFC 4180: comma, quotes, line ends allowed within quotes. TSV has no quoting, and so no tab in a value.
Both begin with the names of the columns, and a row with more or fewer fields is damaged. A text without rows is an
error, because nothing else would show that it is cut short; Parquet says how many rows it has, and may have none.

Cost: that of Arrow. Memory is some 40 MiB; for Parquet, the rows of a block and a page of each column.
"""

import csv
import io
import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.block_file import BlockFile
from pipeline.formats.compression import read_blocks
from pipeline.formats.problems import OnError, Problems
from pipeline.formats.records import RECORDS_PER_BLOCK, ColumnBlock, Int64Array
from pipeline.formats.table_rows import SEQUENCE_COLUMN, RowReader, choose_columns

UNEQUAL_FIELDS = "unequal-fields"
"""Reason of a row of text with more or fewer fields than there are columns."""

CSV_DELIMITER, TSV_DELIMITER = ",", "\t"

_PARQUET = b"PAR1"
# Arrow reads 32 blocks ahead, whatever becomes of them; a row must fit into one.
_BLOCK_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 20
_EXCERPT_CHARACTERS = 60
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"[\r\n]")
_CUT_SHORT = "the file is damaged or cut short: download it again"


def read_parquet(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    sequence_column: str = SEQUENCE_COLUMN,
    accession_column: str | None = None,
    problems: Problems | None = None,
) -> Iterator[ColumnBlock]:
    """Read the rows of a Parquet file.

    Args:
        path: A file, not a pipe: Parquet begins at its end.
        source: The database's name, if it is not to come from the rows.
        sequence_column: The column with the sequences.
        accession_column: The column with the accessions; None to look for it.
        problems: What becomes of rows without a sequence; by default the first one raises.

    Yields:
        Blocks of records, in the order of the file.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The file is no Parquet, is damaged, lacks a column, or a column holds no text.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"{path}: expected a file that can be read, found: {error.strerror}") from error
    with file:
        start = file.read(len(_PARQUET))
        if start != _PARQUET:
            hint = "decompress it first, if it is compressed: Parquet is read from its end"
            raise InputFormatError(f"{path}: expected {_PARQUET!r} at its start, found {start!r}", hint=hint)
        try:
            # Without its own buffers Arrow would read whole column chunks, of which a file may have just one.
            table = pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
            columns = choose_columns(path, table.schema_arrow.names, sequence_column, accession_column)
            rows = RowReader(path, columns, source, problems or Problems())
            for batch in table.iter_batches(
                RECORDS_PER_BLOCK, columns=list(dict.fromkeys(columns.values())), use_threads=False
            ):
                yield from rows.read(batch, np.arange(batch.num_rows) + rows.num_rows)
        except (pa.ArrowException, OSError) as error:
            found = f"damage: {_first_line(error)}"
            raise InputFormatError(f"{path}: expected a Parquet file, found {found}", hint=_CUT_SHORT) from error


def read_text_table(
    path: str | os.PathLike[str],
    *,
    delimiter: str,
    source: str | None = None,
    sequence_column: str = SEQUENCE_COLUMN,
    accession_column: str | None = None,
    problems: Problems | None = None,
) -> Iterator[ColumnBlock]:
    """Read the rows of a CSV or TSV file, plain or compressed.

    Args:
        path: A file or a pipe.
        delimiter: ``CSV_DELIMITER`` or ``TSV_DELIMITER``.
        source: The database's name, if it is not to come from the rows.
        sequence_column: The column with the sequences.
        accession_column: The column with the accessions; None to look for it.
        problems: What becomes of damaged rows; by default the first one raises.

    Yields:
        Blocks of records, in the order of the file.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The file has no rows, lacks a column, or has a row with more or fewer fields than the first.
    """
    path = Path(path)
    blocks = read_blocks(path)
    head = next(blocks, b"")
    columns = choose_columns(path, _column_names(path, head, delimiter), sequence_column, accession_column)
    types = dict.fromkeys(columns.values(), pa.large_binary())
    damaged = _DamagedRows(path, problems or Problems())
    rows = RowReader(path, columns, source, damaged.problems)
    try:
        with pa_csv.open_csv(
            io.BufferedReader(BlockFile(chain([head], blocks)), _BUFFER_BYTES),
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if delimiter == CSV_DELIMITER else False,
                newlines_in_values=delimiter == CSV_DELIMITER,
                invalid_row_handler=damaged.handle,
            ),
            convert_options=pa_csv.ConvertOptions(
                include_columns=list(types),
                column_types=types,
            ),
        ) as table:
            for batch in table:
                yield from rows.read(batch, damaged.numbers(np.arange(batch.num_rows) + rows.num_rows))
            if not rows.num_rows and not damaged.problems.counts:
                raise InputFormatError(f"{path}: expected rows behind the names of the columns, found none")
    except pa.ArrowException as error:
        if damaged.error is not None:
            raise damaged.error from None
        raise _unreadable(path, error) from error


def _column_names(path: Path, head: bytes, delimiter: str) -> list[str]:
    first_line = _LINE_END.split(head.removeprefix(_BYTE_ORDER_MARK).lstrip(b"\r\n"), maxsplit=1)[0]
    if not first_line:
        raise InputFormatError(f"{path}: expected a line with the names of the columns, found an empty file")
    text = first_line.decode(errors="replace")
    return text.split(delimiter) if delimiter == TSV_DELIMITER else next(csv.reader([text]))


class _DamagedRows:
    """Rows that Arrow could not split into fields, and so leaves out of its batches."""

    def __init__(self, path: Path, problems: Problems) -> None:
        self.problems = problems
        self.error: InputFormatError | None = None
        """What ended the reading."""
        self._path = path
        self._numbers: list[int] = []

    def handle(self, row: pa_csv.InvalidRow) -> str:
        """Count a row, or keep its error: an exception would be lost in Arrow."""
        text = row.text[:_EXCERPT_CHARACTERS]
        expected = f"{row.expected_columns} fields as in the first line"
        error = InputFormatError(
            f"{self._path}: row {row.number - 1}: expected {expected}, found {row.actual_columns} in {text!r}"
        )
        if self.problems.on_error is OnError.STOP:
            self.error = self.error or error
            return "error"
        self.problems.report(UNEQUAL_FIELDS, error)
        self._numbers.append(row.number - 2)
        return "skip"

    def numbers(self, indices: Int64Array) -> Int64Array:
        """What number in the file each row has, from 0, by its number among the rows that were given."""
        given_before = np.array(self._numbers, dtype=np.int64) - np.arange(len(self._numbers))
        return indices + np.searchsorted(given_before, indices, side="right")


def _unreadable(path: Path, error: pa.ArrowException) -> InputFormatError:
    if "straddl" in str(error):
        found = f"a row of more than {_BLOCK_BYTES} bytes"
        return InputFormatError(f"{path}: expected a table, found {found}", hint="is a quote never closed?")
    return InputFormatError(f"{path}: expected a table, found damage: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
