"""What a file that is no FASTA looks like, so that the error can say more than that it is none.

A guess from the first bytes, for a hint to a person; nothing else depends on it. The first pattern that matches wins.
"""

import re

LOOKALIKE_BYTES = 1024
"""How many bytes are enough for every pattern."""


def name_lookalike(head: bytes) -> str | None:
    """What to tell a person about a file that should have been FASTA.

    Args:
        head: The first ``LOOKALIKE_BYTES`` bytes of what is no header; all of a shorter file.

    Returns:
        A hint, or None if nothing is recognised.
    """
    return next((hint for pattern, hint in _LOOKALIKES if pattern.match(head)), None)


def _looks_like(pattern: bytes, hint: str) -> tuple[re.Pattern[bytes], str]:
    return re.compile(pattern, re.DOTALL), hint


_LOOKALIKES = (
    _looks_like(rb">", "take away the white space in front of the '>'"),
    # tar has its mark behind the name of the first file.
    _looks_like(
        rb".{257}ustar",
        "it looks like a tar archive: leave --format out, and the files of records in it are read",
    ),
    _looks_like(rb"PK\x03\x04", "it looks like a zip archive: unpack it first"),
    _looks_like(
        rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd",
        "it looks compressed, twice or with its start cut short: decompress it first",
    ),
    _looks_like(
        rb"7z\xbc\xaf|Rar!|\x1f\x9d|\x04\x22\x4d\x18|LZIP",
        "it is compressed in a way that is not read here: decompress it first",
    ),
    _looks_like(rb"PAR1", "it looks like a Parquet file: leave --format out, and its sequence column is read"),
    _looks_like(rb"\xff\xfe|\xfe\xff", "it looks like UTF-16 text: convert it with `iconv -f UTF-16 -t UTF-8`"),
    _looks_like(
        rb"(?:<\?xml[^>]*>\s*)?<(?i:!doctype html|html)",
        "it looks like a web page, perhaps the server's error message: check the URL",
    ),
    _looks_like(rb"<", "it looks like XML: UniProt's and UniRef's are read without --format, other kinds are not"),
    _looks_like(rb"ID   ", "it looks like a UniProt flat file (.dat): leave --format out, and it is read as one"),
    _looks_like(rb"LOCUS  ", "it looks like a GenBank file: download the protein FASTA file instead"),
    _looks_like(rb"@", "it looks like FASTQ, sequencing reads: this reads proteins as FASTA"),
    _looks_like(rb"CLUSTAL", "it looks like a Clustal alignment: convert it to FASTA first"),
    _looks_like(rb"[{\[]", "it looks like JSON: write its sequences as FASTA first"),
    _looks_like(rb".*\0", "it looks like a binary file"),
    _looks_like(rb"[A-Za-z*\-\r]+(?:\n|$)", "it looks like residues without a header line"),
    _looks_like(
        rb"[^\n]*[\t,][^\n]*\n",
        "it looks like a table: give it a header line with a column named sequence, or say --format csv or tsv",
    ),
)
