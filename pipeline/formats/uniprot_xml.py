"""UniProtKB's XML, through Biopython; what is taken from an entry is said in ``uniprot``.

::

    <?xml …?><uniprot xmlns="http://uniprot.org/uniprot" …>          handed to Biopython with every entry
    <entry dataset="Swiss-Prot" …>
      <accession/> <name/> <protein/> <gene/> <organism/>
      <reference/> <comment/> <dbReference/> <feature/> …             most of the bytes, and nothing that is wanted
      <sequence length="365" …>MAVMAPRTLL…</sequence>
    </entry>
    …
    <copyright/></uniprot>

(https://www.uniprot.org/docs/uniprot.xsd). The namespace may also start with https, as newer releases write it, which
Biopython refuses. An entry's own ``sequence`` counts, not the one of each isoform, which has no residues. Files joined
end to end are read one after another.

Cost: references, comments, cross-references and features are cut out before Biopython sees the entry, by a regular
expression that knows how start tags end. Entries as long as Swiss-Prot's, one core: 15 MB/s by Biopython alone, 85 MB/s
so, and memory that does not grow with the entries read.
"""

import io
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import InputFormatError
from pipeline.formats.compression import read_blocks
from pipeline.formats.cutting import cut_behind
from pipeline.formats.problems import Problems
from pipeline.formats.records import HeaderBlock
from pipeline.formats.uniprot import DATABASES, Entry, EntryStream

_END = b"</entry>"
_FOUND_BYTES = 60
_ATTRIBUTES = rb"""(?=[\s/>])(?:[^>"']++|"[^"]*+"|'[^']*+')*+"""
_ENTRY = re.compile(rb"<entry(?=[\s>])")
_BETWEEN = re.compile(
    rb"(?P<declaration><\?xml\s.*?\?>)|(?P<root><uniprot" + _ATTRIBUTES + rb">)|(?P<close></uniprot\s*>)"
    rb"|\s++|\xef\xbb\xbf|<\?.*?\?>|<!--.*?-->|<copyright(?=[\s>]).*?</copyright>",
    re.DOTALL,
)
_UNWANTED = re.compile(
    rb"<(?P<element>reference|comment|feature|keyword|geneLocation|organismHost|lineage|evidence"
    rb"""|dbReference(?![^>]*NCBI Taxonomy)|name(?=\s+type=["']common["']))"""
    + _ATTRIBUTES
    + rb">(?:(?<=/>)|(?:[^<]++|<(?!/(?P=element)>))*+</(?P=element)>)\s*+",
    re.DOTALL,
)
_GENE = re.compile(rb"<gene(?=[\s>]).*?</gene>", re.DOTALL)
_NAMESPACE = re.compile(rb"""https(?=://uniprot\.org/uniprot["'])""")
_EXISTENCE = (
    "evidence at protein level",
    "evidence at transcript level",
    "inferred from homology",
    "predicted",
    "uncertain",
)
_FRAGMENTS = {"single": " (Fragment)", "multiple": " (Fragments)"}
_TAXONOMY = "NCBI Taxonomy:"
_NO_NAME = "<unknown description>"


def read_uniprot_xml(
    path: str | os.PathLike[str], *, source: str | None = None, problems: Problems | None = None
) -> Iterator[HeaderBlock]:
    """Read the entries of a UniProtKB XML file, plain or compressed.

    Args:
        path: A file or a pipe.
        source: The database's name; by default that of the data set that each entry belongs to.
        problems: What becomes of damaged entries; by default the first one raises.

    Yields:
        Blocks of records, in the order of the file.

    Raises:
        ConfigurationError: The path cannot be read.
        InputFormatError: The file holds no entry, is cut short, or has a damaged entry.
    """
    document = _Document()
    stream = EntryStream(Path(path), document.parse, source=source, problems=problems)
    for text in cut_behind(read_blocks(path), _END):
        start = _ENTRY.search(text)
        document.pass_markup(text[: start.start() if start else len(text)], stream)
        if start:
            if not text.endswith(_END):
                raise stream.cut_short("'</entry>' at the end of the entry")
            yield from stream.read(text[start.start() :])
    if document.is_open:
        raise stream.cut_short("'</uniprot>' behind the last entry")
    yield from stream.finish()


class _Document:
    """What is in force around an entry: the root element that it stands in."""

    def __init__(self) -> None:
        self._declaration = b""
        self._root = b""

    @property
    def is_open(self) -> bool:
        """Whether a root element has begun and not ended."""
        return bool(self._root)

    def pass_markup(self, text: bytes, stream: EntryStream) -> None:
        """Read what stands between two entries, or in front of the first, or behind the last."""
        position = 0
        while position < len(text):
            token = _BETWEEN.match(text, position)
            if token is None:
                raise self._unexpected(text[position:], stream)
            self._enter(token)
            stream.skip(token[0])
            position = token.end()

    def _enter(self, token: re.Match[bytes]) -> None:
        match token.lastgroup:
            case "declaration":
                self._declaration = token[0]
            case "root":
                self._root = self._declaration + _plain_namespace(token[0])
            case "close":
                self._declaration = self._root = b""

    def _unexpected(self, text: bytes, stream: EntryStream) -> InputFormatError:
        expected = "'<entry' or '</uniprot>'" if self.is_open else "'<uniprot'"
        hint = "UniRef's XML is read without --format; UniParc's is not: use its FASTA"
        if self.is_open:
            hint = "the file is damaged or cut short: download it again"
        found = text[:_FOUND_BYTES].decode(errors="backslashreplace")
        return stream.error(expected, repr(found), hint)

    def parse(self, text: bytes) -> Entry:
        """An entry from its element."""
        # Takes a quarter of a second to import, and most runs read FASTA.
        from Bio import SeqIO  # noqa: PLC0415

        document = self._root + _plain_namespace(text) + b"</uniprot>"
        if b"<!" in text:
            # Behind a '<!' might be anything, even what looks like an element.
            document = ET.canonicalize(from_file=io.BytesIO(document)).encode()
        return _entry_of(SeqIO.read(io.BytesIO(_without_unwanted(document)), "uniprot-xml"))  # type: ignore[no-untyped-call]


def _plain_namespace(text: bytes) -> bytes:
    return _NAMESPACE.sub(b"http", text)


def _without_unwanted(document: bytes) -> bytes:
    wanted = _UNWANTED.sub(b"", document)
    # Biopython would keep the name of the last gene.
    first = _GENE.search(wanted)
    return wanted[: first.end()] + _GENE.sub(b"", wanted[first.end() :]) if first else wanted


def _entry_of(record: Any) -> Entry:
    annotations = record.annotations
    genes = [annotations.get("gene_name_primary", "")]
    genes += [*annotations.get("gene_name_ordered locus", ()), *annotations.get("gene_name_ORF", ())]
    taxa = [reference.removeprefix(_TAXONOMY) for reference in record.dbxrefs if reference.startswith(_TAXONOMY)]
    protein = "" if record.description == _NO_NAME else record.description
    return Entry(
        database=DATABASES.get(annotations.get("dataset"), ""),
        accession=record.id,
        name=record.name,
        protein=protein + _FRAGMENTS.get(annotations.get("sequence_fragment"), ""),
        organism=annotations.get("organism", ""),
        taxon_id=taxa[0] if taxa else "",
        gene=next(filter(None, genes), ""),
        existence=_existence(annotations.get("proteinExistence", ())),
        version=str(annotations.get("sequence_version", "")),
        residues=str(record.seq),
        num_residues=annotations["sequence_length"],
    )


def _existence(texts: list[str]) -> str:
    """The number that the other formats have for it."""
    return str(_EXISTENCE.index(texts[0].lower()) + 1) if texts and texts[0].lower() in _EXISTENCE else ""
