"""UniProtKB entries: what is taken from one, whether it came as flat file or as XML, and their way to blocks.

An entry becomes the title line that UniProt's own FASTA has for it, so all three formats give the same columns::

    ID   HLAA_HUMAN        Reviewed;         365 AA.       <entry dataset="Swiss-Prot" …>
    AC   P04439; B1PKZ3;                                     <accession>P04439</accession><accession>B1PKZ3</accession>
    DE   RecName: Full=HLA class I …, A alpha chain;         <recommendedName><fullName>HLA class I …
    …                                                        …
    sp|P04439|HLAA_HUMAN HLA class I …, A alpha chain OS=Homo sapiens OX=9606 GN=HLA-A PE=1 SV=2

(https://www.uniprot.org/help/fasta-headers). The accession is the primary one; the name is the first recommended or
submitted one with ``(Fragment)`` or ``(Fragments)`` behind it; OS is the scientific name; GN is the first name of the
first gene, else its first ordered locus or ORF name. What an entry lacks is left out of the line.

- The residues must be as many as the entry itself says.
- An entry is cut out of the stream before it is parsed: memory is a block of records and the longest entry, a damaged
  entry can be skipped, and its line and byte are known. A file that ends inside an entry is an error in any case.

Cost: that of Biopython, and more than that of the rest together; see the two readers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputFormatError
from pipeline.formats.problems import Problems
from pipeline.formats.records import UPPER, WHITE_SPACE, BlockBuilder, HeaderBlock

UNREADABLE_ENTRY = "unreadable-entry"
"""Reason of a damaged entry."""

DATABASES = {
    "Reviewed": "sp",
    "Unreviewed": "tr",
    # As flat files said it before 2006.
    "STANDARD": "sp",
    "PRELIMINARY": "tr",
    # As XML says it.
    "Swiss-Prot": "sp",
    "TrEMBL": "tr",
}
"""What a title line starts with, by the entry's data class or data set."""

_REASON_CHARACTERS = 200
# What Biopython raises on damage: its own errors are ValueErrors, those of XML are SyntaxErrors.
_BIOPYTHON_ERRORS = (ValueError, AssertionError, LookupError, AttributeError, TypeError, SyntaxError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is wanted of an entry; empty strings for what it lacks."""

    database: str
    """``sp``, ``tr``, or empty for neither."""
    accession: str
    name: str
    """The entry's name, such as ``HLAA_HUMAN``."""
    protein: str
    organism: str
    taxon_id: str
    gene: str
    existence: str
    """Evidence for the protein's existence, 1 to 5."""
    version: str
    """Version of the sequence."""
    residues: str
    num_residues: int
    """How many residues the entry says it has."""

    def header(self) -> bytes:
        """The title line of UniProt's FASTA, UTF-8."""
        title = f"{self.database}|{self.accession}|{self.name}" if self.database else self.accession
        tail = {"OS": self.organism, "OX": self.taxon_id, "GN": self.gene, "PE": self.existence, "SV": self.version}
        words = [title, self.protein, *(f"{key}={value}" for key, value in tail.items() if value)]
        return " ".join(" ".join(words).split()).encode()


class EntryStream:
    """The entries of one file on their way to blocks, and the place in the file that was reached.

    Args:
        path: The file, for messages.
        parse: An entry from its text.
        source: The database's name, if it is not to come from the entries.
        problems: What becomes of damaged entries; by default the first one raises.
    """

    def __init__(
        self, path: Path, parse: Callable[[bytes], Entry], *, source: str | None, problems: Problems | None
    ) -> None:
        self.num_entries = 0
        """Entries passed, damaged ones included."""
        self._path = path
        self._parse = parse
        self._problems = problems or Problems()
        self._builder = BlockBuilder(place_format="line {}, byte {}", source=source)
        self._line, self._byte = 1, 0

    def skip(self, text: bytes) -> None:
        """Pass text that is no entry."""
        self._line += text.count(b"\n")
        self._byte += len(text)

    def read(self, text: bytes) -> Iterator[HeaderBlock]:
        """Parse an entry and pass it; yields a block whenever one is full."""
        if self._builder.is_full:
            yield self._builder.take()
        try:
            self._add(text)
        except InputFormatError as error:
            self._problems.report(UNREADABLE_ENTRY, error)
        self.num_entries += 1
        self.skip(text)

    def finish(self) -> Iterator[HeaderBlock]:
        """Yields the last block."""
        if not self.num_entries:
            hint = "was the file downloaded or written completely?"
            raise InputFormatError(f"{self._path}: expected UniProt entries, found none", hint=hint)
        if self._builder.num_records:
            yield self._builder.take()

    def error(self, expected: str, found: str, hint: str | None = None) -> InputFormatError:
        """What is wrong at the place that was reached."""
        where = f"{self._path}: entry {self.num_entries + 1} (line {self._line}, byte {self._byte})"
        return InputFormatError(f"{where}: expected {expected}, found {found}", hint=hint)

    def cut_short(self, expected: str) -> InputFormatError:
        """The file ends where it should not."""
        return self.error(expected, "the end of the file", "the file is cut short: download it again")

    def _add(self, text: bytes) -> None:
        try:
            entry = self._parse(text)
        except _BIOPYTHON_ERRORS as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:_REASON_CHARACTERS]
            raise self.error("a UniProt entry", f"one that Biopython cannot read ({reason})") from error
        residues = entry.residues.encode().translate(UPPER, WHITE_SPACE)
        if len(residues) != entry.num_residues:
            raise self.error(f"{entry.num_residues} residues as {entry.accession} says itself", str(len(residues)))
        self._builder.add(entry.header(), residues, (self._line, self._byte))
