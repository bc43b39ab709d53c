"""Clusters that others made: which name belongs to which representative.

::

    table             representative ⇥ member                                 one level; as `mmseqs createtsv` writes it
    idmapping         idmapping_selected.tab: accession … ⇥ UniRef100 ⇥ UniRef90 ⇥ UniRef50 ⇥ UniParc (columns 1, 8-11)
    uniref-xml        <entry id="UniRef90_…"> and the ids that its members have in UniRef's other databases

Told by content: the root element, or the number of columns (2, 22). The last two hold UniRef's hierarchy, which becomes
two levels, UniRef50 and within it UniRef90. They call a protein by several names; only those that the corpus uses are
read: accessions of UniProtKB or UniParc, or ids of a UniRef database.

Sources: README of idmapping at UniProt's FTP server, https://www.uniprot.org/docs/uniref.xsd. Cost, on one core: tables
are read by Arrow, 160 MB/s; XML takes regular expressions over each entry, which is cut out of the stream, 19 MB or
34,000 members a second. Memory: a block, and the longest entry.
"""

import io
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipeline.errors import InputFormatError
from pipeline.formats.block_file import BlockFile
from pipeline.formats.compression import read_blocks
from pipeline.formats.cutting import cut_behind
from pipeline.formats.uniref_xml import ROOT

MEMBERSHIP_SCHEMA = pa.schema([("level", pa.int64()), ("name", pa.string()), ("representative", pa.string())])

TABLE, IDMAPPING, UNIREF_XML = "table", "idmapping", "uniref-xml"
HIERARCHY = ("UniRef50", "UniRef90")
"""Levels of the hierarchy, coarsest first."""

NAME_KINDS = {
    "UniRef100": r"^UniRef100_",
    "UniRef90": r"^UniRef90_",
    "UniRef50": r"^UniRef50_",
    "UniParc": r"^UPI[0-9A-F]{10}$",
}
"""How databases name proteins: regular expressions; any other name is an accession of UniProtKB."""
ACCESSION = "accession"

_COLUMNS = {"f0": ACCESSION, "f7": "UniRef100", "f8": "UniRef90", "f9": "UniRef50", "f10": "UniParc"}
_NUM_COLUMNS = {2: TABLE, 22: IDMAPPING}
_BLOCK_BYTES = 4 << 20
_ROWS_AT_A_TIME = 100_000
_UNIPROT_NAME = r"^(?:sp|tr)\|([^|]+)\|.*$"

_ENTRY = re.compile(rb'<entry\s[^>]*?\bid="(UniRef(?:100|90|50))_([^"]+)"')
_MEMBER = re.compile(
    rb'<dbReference type="(UniProtKB|UniParc) ID" id="([^"]*)"\s*(?:/>|>(.*?)</dbReference>)', re.DOTALL
)
_PROPERTY = re.compile(rb'<property type="(UniProtKB accession|UniParc ID|UniRef(?:100|90|50) ID)" value="([^"]*)"')
_END = b"</entry>"


def kinds_of(names: pa.Array | pa.ChunkedArray) -> set[str]:
    """Which kinds of names there are."""
    kinds, others = set(), pc.is_valid(names)
    for kind, pattern in NAME_KINDS.items():
        matches = pc.match_substring_regex(names, pattern)
        if pc.any(matches).as_py():
            kinds.add(kind)
        others = pc.and_not(others, matches)
    return kinds | ({ACCESSION} if pc.any(others).as_py() else set())


def detect_memberships(path: Path) -> str:
    """What a file is: table, idmapping or uniref-xml.

    Raises:
        ConfigurationError: The file cannot be read.
        InputFormatError: It is none of them.
    """
    head = next(read_blocks(path), b"")
    if re.search(ROOT, head):
        return UNIREF_XML
    num_columns = head.partition(b"\n")[0].count(b"\t") + 1
    if num_columns in _NUM_COLUMNS:
        return _NUM_COLUMNS[num_columns]
    raise InputFormatError(
        f"{path}: expected UniRef XML, 22 tab-separated columns (idmapping_selected.tab), or 2 (representative and "
        f"member), found {num_columns} in the first line"
    )


def read_memberships(path: Path, kinds: Collection[str], *, level: int = 0) -> Iterator[pa.Table]:
    """Read who belongs to whom.

    Args:
        path: The file, compressed or not.
        kinds: Kinds of names that matter, where proteins have several.
        level: Of a table's clusters; the hierarchy has levels of its own.

    Yields:
        Tables with the columns of ``MEMBERSHIP_SCHEMA``.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The file is damaged, cut short, or has a row or an entry that says nothing.
    """
    kind = detect_memberships(path)
    if kind == UNIREF_XML:
        for members in _xml_members(path):
            yield _by_name(members, kinds)
        return
    for batch in _batches(path, 2 if kind == TABLE else 22):
        yield _table_rows(path, batch, level) if kind == TABLE else _by_name(_renamed(batch), kinds)


def _batches(path: Path, num_columns: int) -> Iterator[pa.RecordBatch]:
    blocks = read_blocks(path)
    included = [f"f{column}" for column in range(2)] if num_columns == 2 else list(_COLUMNS)
    try:
        with pa_csv.open_csv(
            io.BufferedReader(BlockFile(chain(blocks)), _BLOCK_BYTES),
            read_options=pa_csv.ReadOptions(autogenerate_column_names=True, use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                include_columns=included, column_types=dict.fromkeys(included, pa.string())
            ),
        ) as reader:
            yield from reader
    except pa.ArrowException as error:
        found = str(error).partition("\n")[0]
        raise InputFormatError(
            f"{path}: expected {num_columns} tab-separated columns, found damage: {found}"
        ) from error


def _table_rows(path: Path, batch: pa.RecordBatch, level: int) -> pa.Table:
    representatives, names = (plain_accessions(batch.column(index)) for index in range(2))
    if pc.any(pc.or_(pc.equal(names, ""), pc.equal(representatives, ""))).as_py():
        raise InputFormatError(f"{path}: expected a representative and a member in each row, found an empty field")
    return _rows(level, names, representatives)


def plain_accessions(names: pa.Array) -> pa.Array:
    """Names as a corpus has them: ``sp|P12345|NAME_SPECIES`` becomes ``P12345``, others stay as they are."""
    return pc.replace_substring_regex(names, _UNIPROT_NAME, r"\1")


def _renamed(batch: pa.RecordBatch) -> pa.Table:
    return pa.table({name: batch.column(column) for column, name in _COLUMNS.items()})


def _by_name(members: pa.Table, kinds: Collection[str]) -> pa.Table:
    """The rows of members that have several names, once for each kind of name that matters, at each level."""
    tables = []
    for kind in sorted(kinds):
        names = members.column(kind)
        for level, database in enumerate(HIERARCHY):
            representatives = members.column(database)
            told = pc.and_(pc.not_equal(names, ""), pc.not_equal(representatives, ""))
            tables.append(_rows(level, names.filter(told), representatives.filter(told)))
    return pa.concat_tables(tables)


def _rows(level: int, names: pa.Array, representatives: pa.Array) -> pa.Table:
    levels = pa.array([level] * len(names), pa.int64())
    return pa.table({"level": levels, "name": names, "representative": representatives}, MEMBERSHIP_SCHEMA)


def _xml_members(path: Path) -> Iterator[pa.Table]:
    gathered: list[dict[str, str]] = []
    num_entries, rest = 0, b""
    for text in cut_behind(read_blocks(path), _END):
        if not text.endswith(_END):
            rest = text
            break
        num_entries += 1
        gathered += _entry_members(path, text, num_entries)
        if len(gathered) >= _ROWS_AT_A_TIME:
            yield _members_table(gathered)
            gathered = []
    if not num_entries or b"</UniRef" not in rest:
        found = f"the end of the file behind entry {num_entries}"
        raise InputFormatError(
            f"{path}: expected the end of the root element, found {found}",
            hint="the file is cut short: download it again",
        )
    yield _members_table(gathered)


def _entry_members(path: Path, text: bytes, number: int) -> Iterator[dict[str, str]]:
    """Every member of an entry, by its names: those of the entry's own cluster, and of the next coarser one."""
    entry, members = _ENTRY.search(text), _MEMBER.findall(text)
    if entry is None or not members:
        raise InputFormatError(
            f"{path}: entry {number}: expected an id of UniRef and members, found {text.strip()[:60]!r}",
            hint="is it UniRef's XML?",
        )
    database = entry[1].decode()
    own = {database: f"{database}_{entry[2].decode()}"}
    shared: dict[str, str] = {}
    for source, identifier, properties in members:
        named = dict.fromkeys((ACCESSION, *NAME_KINDS), "")
        if source == b"UniParc":
            named["UniParc"] = identifier.decode()
        for kind, value in _PROPERTY.findall(properties):
            name = _PROPERTY_NAMES[kind]
            named[name] = named[name] or value.decode()  # the first accession is the primary one
        # Some members do not repeat the coarser clusters that all members of an entry share with its representative.
        shared = shared or {coarser: named[coarser] for coarser in _COARSER[database]}
        inherited = {coarser: named[coarser] or shared[coarser] for coarser in _COARSER[database]}
        yield named | inherited | own


def _members_table(members: Sequence[dict[str, str]]) -> pa.Table:
    schema = pa.schema([(name, pa.string()) for name in (ACCESSION, *NAME_KINDS)])
    return pa.Table.from_pylist(list(members), schema=schema)


_PROPERTY_NAMES = {
    b"UniProtKB accession": ACCESSION,
    b"UniParc ID": "UniParc",
    b"UniRef100 ID": "UniRef100",
    b"UniRef90 ID": "UniRef90",
    b"UniRef50 ID": "UniRef50",
}
_COARSER: dict[str, tuple[str, ...]] = {
    "UniRef100": ("UniRef90", "UniRef50"),
    "UniRef90": ("UniRef50",),
    "UniRef50": (),
}
