"""Which format a file is in, told by its content, and the one function that reads them all.

The first rule that holds for the first ``HEAD_BYTES`` of the decompressed content decides:

===========  ==========================================================================================================
parquet      starts with ``PAR1``
tar          ``ustar`` at byte 257, and a name that ends with ``.ffdata`` or ``.ffindex``: an archive of HH-suite's
archive      ``ustar`` at byte 257 otherwise: an archive with files of records; or nothing but a few blocks of zeros
stockholm    starts with ``# STOCKHOLM 1.``
uniprot-xml  XML whose root is ``<uniprot``
uniref-xml   XML whose root is ``<UniRef``, ``<UniRef50`` or the like
uniprot-dat  an ``ID`` line with a status as UniProt has it (other flat files have ``ID`` lines, too)
ffindex      begins like FASTA and holds a zero byte; or lines of name, offset and length, and nothing else
a3m          begins like FASTA, and with ColabFold's line of lengths and copies, or with a row ``ss_pred`` or the like;
             or its rows are two at least, one has a ``-``, and all have as many match columns (upper case and ``-``)
fasta        a line that starts with ``>`` comes first, behind comments at most
csv, tsv     the first two lines have as many fields, two at least; or ``sequence`` is a field of the first
fasta        anything else, so that its reader says what is wrong
===========  ==========================================================================================================

A byte order mark and blank lines in front of text do not count. FASTA with gaps is taken for A3M only if its rows are
an alignment, and then reads as it should. An A3M without any gap in its head is taken for FASTA, which reads the same
unless insertions are to be removed: then lower case is an error that asks for the format. A pipe can be read only once,
so it is FASTA unless the caller says otherwise. ``*.ffdata`` with an index beside it is ffindex even if its first entry
is larger than the head. ``file_format`` overrides all of this.

Files in an archive are told by their content, too: FASTA, UniProt's .dat and XML, UniRef's XML and Stockholm. Which of
them are wanted a caller may say, or the manifest of the download that the archive belongs to: an older release of
UniProt comes as one archive of several databases.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigurationError
from pipeline.formats.alignment import ROW_MARK, Insertions, count_match_columns, read_a3m
from pipeline.formats.archived_records import Reader, read_archived_records, wanted_members
from pipeline.formats.archives import first_names, is_archive
from pipeline.formats.compression import read_blocks
from pipeline.formats.fasta import read_fasta
from pipeline.formats.fasta_spans import WHOLE, Span
from pipeline.formats.ffindex import DATA_SUFFIX, INDEX_SUFFIX, read_archive, read_ffindex
from pipeline.formats.problems import Problems
from pipeline.formats.records import HeaderBlock, RecordBlock
from pipeline.formats.stockholm import MAGIC, read_stockholm
from pipeline.formats.table_rows import SEQUENCE_COLUMN
from pipeline.formats.tables import CSV_DELIMITER, TSV_DELIMITER, read_parquet, read_text_table
from pipeline.formats.uniprot_dat import read_uniprot_dat
from pipeline.formats.uniprot_xml import read_uniprot_xml
from pipeline.formats.uniref_xml import ROOT, read_uniref_xml

HEAD_BYTES = 1 << 20
"""How much of a file is looked at."""

_START = rb"(?:\xef\xbb\xbf)?\s*+"
_PROLOGUE = rb"(?:<\?.*?\?>|<!--.*?-->|\s++)*+"
_COMMENTS = re.compile(_START + rb"(?:[;#][^\n]*+\n\s*+)*+")
_COLABFOLD = re.compile(_START + rb"#[0-9,]+\t[0-9,]+\r?\n")
_FIRST_PSEUDO_RECORD = re.compile(rb">(?:ss_dssp|sa_dssp|ss_pred|ss_conf)\s")
_INDEX = re.compile(rb"(?:[^\t\n]+\t[0-9]+\t[0-9]+\r?\n)++[^\n]*+\Z")
_NO_TABLE = re.compile(_START + rb"[{\[<@]")
# Two blocks or more of 512 bytes, and one record of tar at most.
_EMPTY_ARCHIVE = re.compile(rb"(?:\0{512}){2,20}")
_LINES_BYTES = 64 << 10
_MINIMUM_ROWS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """Choices that only some formats have."""

    insertions: Insertions = Insertions.KEEP
    """Alignments: what becomes of residues outside the match columns."""
    sequence_column: str = SEQUENCE_COLUMN
    """Tables: the column with the sequences."""
    accession_column: str | None = None
    """Tables: the column with the accessions; None to look for it."""
    members: tuple[str, ...] = ()
    """Archives: names of the files to read, without folders. None: what its download says is wanted of it, else every
    file with records."""


def open_records(
    path: str | os.PathLike[str],
    *,
    file_format: str | None = None,
    source: str | None = None,
    options: ReadOptions | None = None,
    problems: Problems | None = None,
) -> Iterator[RecordBlock]:
    """Read the records of a file in any format and compression.

    Args:
        path: A file or a pipe.
        file_format: One of ``FORMATS``; None to tell by the content.
        source: The database's name for every record, in place of what the file says.
        options: Choices that only some formats have.
        problems: What becomes of damaged records; by default the first one raises.

    Yields:
        Blocks of records, in the order of the file.

    Raises:
        ConfigurationError: The path cannot be read, or the format is not known or cannot be told.
        InputFormatError: The file is cut short, is not what it should be, or has a damaged record.
    """
    options = options or ReadOptions()
    path = Path(path)
    name = file_format or detect_file(path, options)
    if name not in _READERS:
        known = ", ".join(FORMATS)
        raise ConfigurationError(f"expected one of the formats {known}, found {name!r}")
    yield from _READERS[name](path, source, options, problems)


def detect_format(head: bytes) -> str:
    """The format of a file, by its content; see the rules above.

    Args:
        head: The first ``HEAD_BYTES`` of it, decompressed; all of a shorter file.

    Returns:
        One of ``FORMATS``.
    """
    if name := next((name for name, signature in _SIGNATURES.items() if signature.match(head)), None):
        return name
    if is_archive(head) or _EMPTY_ARCHIVE.fullmatch(head):
        return "tar" if any(name.endswith((DATA_SUFFIX, INDEX_SUFFIX)) for name in first_names(head)) else "archive"
    if rows := _rows_of(head):
        return _detect_rows(head, rows)
    return "ffindex" if _INDEX.match(head) else _detect_table(head)


def _rows_of(head: bytes) -> bytes:
    """The text from its first row on, comments passed; empty if something else comes first."""
    comments = _COMMENTS.match(head)
    rows = head[comments.end() :] if comments else head
    return rows if rows.startswith(b">") else b""


def _detect_rows(head: bytes, rows: bytes) -> str:
    if b"\0" in rows:
        return "ffindex"
    if _COLABFOLD.match(head) or _FIRST_PSEUDO_RECORD.match(rows):
        return "a3m"
    bodies = _bodies(rows)
    # The head may end within a row.
    return "a3m" if _is_alignment(bodies if len(head) < HEAD_BYTES else bodies[:-1]) else "fasta"


def _bodies(rows: bytes) -> list[bytes]:
    return [row.partition(b"\n")[2] for row in (b"\n" + rows).split(ROW_MARK)[1:]]


def _is_alignment(bodies: list[bytes]) -> bool:
    if len(bodies) < _MINIMUM_ROWS or not any(b"-" in body for body in bodies):
        return False
    return len({count_match_columns(body) for body in bodies}) == 1


def _detect_table(head: bytes) -> str:
    lines = head[:_LINES_BYTES].decode("utf-8-sig", errors="replace").lstrip().splitlines()[:_MINIMUM_ROWS]
    if not _NO_TABLE.match(head):
        for name, delimiter in (("csv", CSV_DELIMITER), ("tsv", TSV_DELIMITER)):
            rows = [line.split(delimiter) for line in lines]
            num_fields = {len(fields) for fields in rows}
            are_equal = len(rows) == _MINIMUM_ROWS and len(num_fields) == 1 and num_fields != {1}
            if are_equal or SEQUENCE_COLUMN in (field.strip('"').lower() for field in chain(*rows[:1])):
                return name
    return "fasta"


def detect_file(path: Path, options: ReadOptions) -> str:
    """The format of a file that may be read twice; see ``open_records``."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        return "fasta"
    head = next(read_blocks(path, block_bytes=HEAD_BYTES), b"")
    name = detect_format(head)
    if name not in {"fasta", "a3m"}:
        return name
    # The first entry may be larger than the head.
    if DATA_SUFFIX in path.name and path.with_name(path.name.replace(DATA_SUFFIX, INDEX_SUFFIX)).exists():
        return "ffindex"
    has_lower_case = any(body != body.upper() for body in _bodies(_rows_of(head)))
    if name == "fasta" and options.insertions is Insertions.REMOVE and has_lower_case:
        raise ConfigurationError(
            f"{path}: expected an alignment, from which insertions are removed, found one or FASTA with lower case",
            hint="say which: --format a3m or --format fasta",
        )
    return name


def read_fasta_records(path: Path, source: str | None, span: Span = WHOLE) -> Iterator[HeaderBlock]:
    """The records of a FASTA file, or of a span of one, as blocks; lines and records count from its start."""
    for block in read_fasta(path, span=span):
        yield HeaderBlock(
            headers=block.headers,
            residues=block.residues,
            offsets=block.offsets,
            positions=np.column_stack((block.lines, block.byte_offsets)),
            place_format="line {}, byte {}",
            first_record=block.first_record,
            num_comment_lines=block.num_comment_lines,
            source=source,
        )


_Reader = Callable[[Path, str | None, ReadOptions, Problems | None], Iterator[RecordBlock]]


def _entries(read: Callable[..., Iterator[RecordBlock]]) -> _Reader:
    return lambda path, source, _, problems: read(path, source=source, problems=problems)


def _alignments(read: Callable[..., Iterator[RecordBlock]]) -> _Reader:
    return lambda path, source, options, problems: read(
        path, source=source, insertions=options.insertions, problems=problems
    )


def _tables(read: Callable[..., Iterator[RecordBlock]], **choices: str) -> _Reader:
    return lambda path, source, options, problems: read(
        path,
        source=source,
        sequence_column=options.sequence_column,
        accession_column=options.accession_column,
        problems=problems,
        **choices,
    )


def _read_archive(
    path: Path, source: str | None, options: ReadOptions, problems: Problems | None
) -> Iterator[RecordBlock]:
    readers = {name: _READERS[name] for name in ARCHIVED_FORMATS}

    def with_format(name: str) -> Reader:
        return lambda pipe, found: readers[name](pipe, source, options, found)

    def choose(head: bytes) -> Reader | None:
        name = detect_format(head)
        # What looks like an alignment is read as FASTA, and so is what looks like nothing unless it has rows.
        if name in {"fasta", "a3m"}:
            return with_format("fasta") if _rows_of(head) else None
        return with_format(name) if name in readers else None

    names = options.members or wanted_members(path)
    yield from read_archived_records(path, choose=choose, fallback=with_format("fasta"), names=names, problems=problems)


_SIGNATURES = {
    "parquet": re.compile(rb"PAR1"),
    "stockholm": re.compile(_START + re.escape(MAGIC)),
    "uniprot-xml": re.compile(_START + _PROLOGUE + rb"<uniprot[\s>]", re.DOTALL),
    "uniref-xml": re.compile(_START + _PROLOGUE + ROOT, re.DOTALL),
    "uniprot-dat": re.compile(_START + rb"ID   \S+ +(?:Reviewed|Unreviewed|STANDARD|PRELIMINARY);"),
}
"""How the formats begin that one look is enough for."""

_READERS: dict[str, _Reader] = {
    "fasta": lambda path, source, *_: read_fasta_records(path, source),
    "uniprot-dat": _entries(read_uniprot_dat),
    "uniprot-xml": _entries(read_uniprot_xml),
    "uniref-xml": _entries(read_uniref_xml),
    "a3m": _alignments(read_a3m),
    "stockholm": _alignments(read_stockholm),
    "ffindex": _alignments(read_ffindex),
    "tar": _alignments(read_archive),
    "archive": _read_archive,
    "parquet": _tables(read_parquet),
    "csv": _tables(read_text_table, delimiter=CSV_DELIMITER),
    "tsv": _tables(read_text_table, delimiter=TSV_DELIMITER),
}

FORMATS = tuple(_READERS)
"""Names of the formats."""

ARCHIVED_FORMATS = ("fasta", "uniprot-dat", "uniprot-xml", "uniref-xml", "stockholm")
"""Those that are read from archives: as they stream, and never mistaken for something else."""
