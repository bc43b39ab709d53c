"""UniRef's XML, in which UniProt keeps older releases of UniRef: the representative of each cluster.

::

    <?xml version="1.0" encoding="ISO-8859-1" ?>
    <UniRef50 xmlns="http://uniprot.org/uniref" releaseDate="2024-11-27" version="2024_06">
    <entry id="UniRef50_P99999" updated="2023-09-13">
      <name>Cluster: Cytochrome c</name>
      <property type="member count" value="27"/>
      <property type="common taxon" value="Catarrhini"/>  <property type="common taxon ID" value="9526"/>
      <representativeMember>
        <dbReference type="UniProtKB ID" id="CYC_HUMAN"> … </dbReference>
        <sequence length="105" checksum="…">MGDVEKGKKI…</sequence>
      </representativeMember>
      <member> … </member>                                     most of the bytes, and nothing that is wanted
    </entry>

(https://www.uniprot.org/docs/uniref.xsd). An entry becomes the title line that UniRef's own FASTA has for it
(https://www.uniprot.org/help/fasta-headers), so both formats give the same columns::

    UniRef50_P99999 Cytochrome c n=27 Tax=Catarrhini TaxID=9526 RepID=CYC_HUMAN

Without a common taxon FASTA says ``Tax=unknown TaxID=N/A``, and so does this. The residues must be as many as the entry
itself says. An entry is cut out of the stream before it is parsed, so a damaged one can be skipped; a file that ends
inside one, or without its root element's end, is cut short.

Cost: an entry as UniProt writes it is read by one regular expression, in about 25 µs on one core; any other, such as
one with ``&amp;`` in it, by Python's parser, in 90. Members cost a search over their bytes: 140 MB/s with six an entry.
Memory: a block of records and the longest entry.
"""

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputFormatError
from pipeline.formats.compression import read_blocks
from pipeline.formats.cutting import cut_behind
from pipeline.formats.problems import Problems
from pipeline.formats.records import UPPER, WHITE_SPACE, BlockBuilder, HeaderBlock
from pipeline.formats.uniprot import UNREADABLE_ENTRY

ROOT = rb"<UniRef(?:100|90|50)?(?=[\s>])"
"""How the root element begins: a regular expression."""

_END = b"</entry>"
_MEMBERS = b"</representativeMember>"
_FOUND_BYTES = 60
_ENTRY = re.compile(rb"<entry(?=[\s>])")
_BETWEEN = re.compile(
    rb"(?P<declaration><\?xml\s.*?\?>)|(?P<root>" + ROOT + rb"[^>]*+>)|(?P<close></UniRef[0-9]*\s*>)"
    rb"|\s++|\xef\xbb\xbf|<\?.*?\?>|<!--.*?-->|<copyright(?=[\s>]).*?</copyright>",
    re.DOTALL,
)
_NAME_PREFIX = "Cluster:"
# Order, quotes and white space as UniProt writes them, ASCII and no references: what it matches, a parser reads alike.
_PLAIN_VALUE = rb'"[^"<&\x80-\xff]*+"'
_PLAIN_PROPERTY = rb"<property type=" + _PLAIN_VALUE + rb" value=" + _PLAIN_VALUE + rb"/>\s*+"
_PLAIN = re.compile(
    rb'<entry id="(?P<id>[^"<&\x80-\xff]++)"(?: updated=' + _PLAIN_VALUE + rb")?>\s*+"
    rb"<name>(?P<name>[^<&\x80-\xff]*+)</name>\s*+"
    rb"(?P<properties>(?:" + _PLAIN_PROPERTY + rb")*+)"
    rb"<representativeMember>\s*+"
    rb"<dbReference type=" + _PLAIN_VALUE + rb' id="(?P<reference>[^"<&\x80-\xff]*+)">\s*+'
    rb"(?:" + _PLAIN_PROPERTY + rb")*+</dbReference>\s*+"
    rb'<sequence length="(?P<length>[0-9]++)"(?: checksum=' + _PLAIN_VALUE + rb")?>"
    rb"(?P<residues>[A-Za-z\s]*+)</sequence>\s*+</representativeMember>"
)
_PROPERTY = re.compile(rb'type="([^"]*)" value="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cluster:
    """What is wanted of an entry."""

    title: str
    residues: bytes
    num_residues: int
    """How many residues the entry says it has."""


def read_uniref_xml(
    path: str | os.PathLike[str], *, source: str | None = None, problems: Problems | None = None
) -> Iterator[HeaderBlock]:
    """Read the representatives in a UniRef XML file, plain or compressed.

    Args:
        path: A file or a pipe.
        source: The database's name; by default uniref100, uniref90 or uniref50, as each entry's id says.
        problems: What becomes of damaged entries; by default the first one raises.

    Yields:
        Blocks of records, in the order of the file.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The file holds no entry, is cut short, or has a damaged entry.
    """
    document = _Document(Path(path), source, problems or Problems())
    for text in cut_behind(read_blocks(path), _END):
        start = _ENTRY.search(text)
        document.pass_markup(text[: start.start() if start else len(text)])
        if start:
            yield from document.read_entry(text[start.start() :])
    yield from document.finish()


class _Document:
    """A file on its way to blocks: the place that was reached, and what is in force there."""

    def __init__(self, path: Path, source: str | None, problems: Problems) -> None:
        self._path = path
        self._problems = problems
        self._builder = BlockBuilder(place_format="line {}, byte {}", source=source)
        self._line, self._byte, self._num_entries = 1, 0, 0
        self._declaration = b""
        self._is_open = False

    def pass_markup(self, text: bytes) -> None:
        """Pass what stands between two entries, or in front of the first, or behind the last."""
        position = 0
        while position < len(text):
            token = _BETWEEN.match(text, position)
            if token is None:
                raise self._unexpected(text[position:])
            if token.lastgroup == "declaration":
                self._declaration = token[0]
            elif token.lastgroup:
                self._is_open = token.lastgroup == "root"
            self._pass(token[0])
            position = token.end()

    def read_entry(self, text: bytes) -> Iterator[HeaderBlock]:
        """Read an entry and pass it; yields a block whenever one is full."""
        if not text.endswith(_END):
            raise self._cut_short("'</entry>' at the end of the entry")
        if self._builder.is_full:
            yield self._builder.take()
        try:
            self._add(self._parse(text))
        except InputFormatError as error:
            self._problems.report(UNREADABLE_ENTRY, error)
        self._num_entries += 1
        self._pass(text)

    def finish(self) -> Iterator[HeaderBlock]:
        """Yields the last block."""
        if self._is_open:
            raise self._cut_short("the end of the root element behind the last entry")
        if not self._num_entries:
            hint = "was the file downloaded or written completely?"
            raise InputFormatError(f"{self._path}: expected UniRef entries, found none", hint=hint)
        if self._builder.num_records:
            yield self._builder.take()

    def _parse(self, text: bytes) -> _Cluster:
        if plain := _PLAIN.match(text):
            return _plain_cluster(plain)
        # Behind a '<!' might be anything, even what looks like an end.
        end = -1 if b"<!" in text else text.find(_MEMBERS)
        wanted = text if end < 0 else text[:end] + _MEMBERS + _END
        try:
            # No harm can be defined in it: a document type would have to stand in front of the entry.
            return _parsed_cluster(ET.fromstring(self._declaration + wanted))  # noqa: S314
        except (ET.ParseError, LookupError, ValueError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise self._error("a UniRef entry with a representative and its sequence", f"damage ({reason})") from error

    def _add(self, cluster: _Cluster) -> None:
        if len(cluster.residues) != cluster.num_residues:
            expected = f"{cluster.num_residues} residues as {cluster.title.partition(' ')[0]} says itself"
            raise self._error(expected, f"{len(cluster.residues)}")
        self._builder.add(cluster.title.encode(), cluster.residues, (self._line, self._byte))

    def _pass(self, text: bytes) -> None:
        self._line += text.count(b"\n")
        self._byte += len(text)

    def _unexpected(self, text: bytes) -> InputFormatError:
        found = text[:_FOUND_BYTES].decode(errors="backslashreplace")
        if self._is_open:
            hint = "the file is damaged or cut short: download it again"
            return self._error("'<entry' or the end of the root element", repr(found), hint)
        return self._error("'<UniRef100', '<UniRef90' or '<UniRef50'", repr(found), "is it UniRef's XML?")

    def _cut_short(self, expected: str) -> InputFormatError:
        return self._error(expected, "the end of the file", "the file is cut short: download it again")

    def _error(self, expected: str, found: str, hint: str | None = None) -> InputFormatError:
        where = f"{self._path}: entry {self._num_entries + 1} (line {self._line}, byte {self._byte})"
        return InputFormatError(f"{where}: expected {expected}, found {found}", hint=hint)


def _plain_cluster(entry: re.Match[bytes]) -> _Cluster:
    properties = {kind.decode(): value.decode() for kind, value in _PROPERTY.findall(entry["properties"])}
    return _cluster(
        entry["id"].decode(),
        entry["name"].decode(),
        properties=properties,
        reference=entry["reference"].decode(),
        residues=entry["residues"],
        num_residues=int(entry["length"]),
    )


def _parsed_cluster(entry: ET.Element) -> _Cluster:
    """An entry from its element; LookupError where something is missing without which there is no record."""
    children = _children(entry)
    representative = _children(children["representativeMember"])
    sequence = representative["sequence"]
    return _cluster(
        entry.attrib["id"],
        children["name"].text or "",
        properties={child.get("type", ""): child.get("value", "") for child in entry},
        reference=representative["dbReference"].get("id", ""),
        residues=(sequence.text or "").encode(),
        num_residues=int(sequence.attrib["length"]),
    )


def _cluster(
    entry_id: str, name: str, *, properties: Mapping[str, str], reference: str, residues: bytes, num_residues: int
) -> _Cluster:
    tail = {
        "n": properties.get("member count"),
        "Tax": properties.get("common taxon") or "unknown",
        "TaxID": properties.get("common taxon ID") or "N/A",
        "RepID": reference,
    }
    words = [
        entry_id,
        name.strip().removeprefix(_NAME_PREFIX),
        *(f"{key}={value}" for key, value in tail.items() if value),
    ]
    return _Cluster(
        title=" ".join(" ".join(words).split()),
        residues=residues.translate(UPPER, WHITE_SPACE),
        num_residues=num_residues,
    )


def _children(element: ET.Element) -> dict[str, ET.Element]:
    """The first child of each name, without the namespace, which some files say with every entry."""
    return {child.tag.rpartition("}")[2]: child for child in reversed(element)}
