"""The published split: where each record of a corpus is, by its accession, for others and for the next release.

::

    clusters/splits.parquet     accession   split          reason               in the order of the corpus
                                P12345      train
                                P67890      valid
                                Q11111                     similar-to-valid     excluded: in no split

Read as Parquet, or as tab-separated text with two or three of these columns, compressed or not, with or without a
line of their names; told by content. Memory: a row group of the one, a block of the other.
"""

import io
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.errors import InputFormatError
from pipeline.formats.block_file import BlockFile
from pipeline.formats.clusters import CLUSTER_SPLITS
from pipeline.formats.compression import read_blocks
from pipeline.formats.corpus import ROWS_PER_GROUP
from pipeline.formats.memberships import plain_accessions
from pipeline.formats.parquet import RowGroupWriter
from pipeline.formats.storage import atomic_path

SPLITS_NAME = "splits.parquet"
SPLITS_SCHEMA = pa.schema(
    [
        pa.field("accession", pa.string(), nullable=False),
        pa.field("split", pa.dictionary(pa.int32(), pa.string())),
        pa.field("reason", pa.dictionary(pa.int32(), pa.string())),
    ]
)
"""Columns of a published split, in order."""

PIN_SCHEMA = pa.schema([("name", pa.string()), ("split", pa.int8())])
"""What is read of one: a name, and the place of its split in ``CLUSTER_SPLITS``."""

_PARQUET = b"PAR1"
_BLOCK_BYTES = 4 << 20


def write_splits(folder: Path, parts: Iterable[pa.Table]) -> None:
    """Write ``splits.parquet`` of a folder atomically.

    Args:
        folder: The clusters.
        parts: Tables with the columns of ``SPLITS_SCHEMA``, one after another.
    """
    with atomic_path(folder / SPLITS_NAME) as temporary:
        writer = RowGroupWriter(
            temporary, SPLITS_SCHEMA, rows_per_group=ROWS_PER_GROUP, dictionaries=["split", "reason"]
        )
        with writer:
            for part in parts:
                writer.write(part)


def read_splits(path: Path) -> Iterator[pa.Table]:
    """Read who is in which split; rows of excluded records say nothing of it and are left out.

    Yields:
        Tables with the columns of ``PIN_SCHEMA``.

    Raises:
        ConfigurationError: The file cannot be read.
        InputFormatError: It is no published split, is damaged, or a row has no accession or an unknown split.
    """
    blocks = read_blocks(path)
    head = next(blocks, b"")
    first_row = 1
    for rows in _parquet_rows(path) if head.startswith(_PARQUET) else _text_rows(path, chain([head], blocks), head):
        yield _pins(path, rows, first_row)
        first_row += rows.num_rows


def _parquet_rows(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(columns=["accession", "split"]):
                yield _texts(path, batch)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputFormatError(f"{path}: expected columns accession and split, found {error}") from error


def _texts(path: Path, batch: pa.RecordBatch) -> pa.RecordBatch:
    if batch.schema.names != ["accession", "split"]:
        raise InputFormatError(f"{path}: expected columns accession and split, found {batch.schema.names}")
    return pa.record_batch([column.cast(pa.string()) for column in batch.columns], names=batch.schema.names)


def _text_rows(path: Path, blocks: Iterator[bytes], head: bytes) -> Iterator[pa.RecordBatch]:
    words = head.partition(b"\n")[0].rstrip(b"\r").split(b"\t")
    if len(words) not in {2, 3}:
        raise InputFormatError(
            f"{path}: expected Parquet, or 2 or 3 tab-separated columns (accession, split, reason), found {len(words)} "
            "in the first line",
            hint=f"such as {SPLITS_NAME} of earlier clusters",
        )
    names = list(SPLITS_SCHEMA.names[: len(words)])
    has_names = words[:2] == [b"accession", b"split"]
    kinds = dict.fromkeys(names, pa.string())
    try:
        with pa_csv.open_csv(
            io.BufferedReader(BlockFile(blocks), _BLOCK_BYTES),
            read_options=pa_csv.ReadOptions(
                column_names=names, skip_rows=int(has_names), use_threads=False, block_size=_BLOCK_BYTES
            ),
            parse_options=pa_csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pa_csv.ConvertOptions(include_columns=names[:2], column_types=kinds),
        ) as reader:
            yield from reader
    except pa.ArrowException as error:
        found = str(error).partition("\n")[0]
        raise InputFormatError(f"{path}: expected {len(words)} tab-separated columns, found damage: {found}") from error


def _pins(path: Path, rows: pa.RecordBatch, first_row: int) -> pa.Table:
    accessions, splits = plain_accessions(rows.column("accession")), rows.column("split").fill_null("")
    places = pc.index_in(splits, value_set=pa.array(CLUSTER_SPLITS, pa.string()))
    unknown = pc.and_(pc.is_null(places), pc.not_equal(splits, ""))
    for is_wrong, wanted, column in (
        (unknown, f"one of {', '.join(CLUSTER_SPLITS)}, or nothing", splits),
        (pc.equal(accessions.fill_null(""), ""), "an accession", accessions),
    ):
        at = pc.index(is_wrong, pa.scalar(value=True)).as_py()
        if at >= 0:
            raise InputFormatError(f"{path}: row {first_row + at:,}: expected {wanted}, found {column[at].as_py()!r}")
    return pa.table({"name": accessions, "split": places.cast(pa.int8())}, PIN_SCHEMA).filter(pc.is_valid(places))
