"""FASTA to a corpus as a user would write it today: a fast parser, a dict, a sort, pyarrow. A part of ingesting.py.

    python tests/benchmarks/by_hand.py needletail|dnaio|Biopython FILE OUT.parquet

Exact duplicates are merged under the smallest accession, records are sorted by xxh3_64 of the sequence, the file is
Parquet with zstd: what `pipeline ingest` does with such a file, less the header grammar, the checks of characters, the
digests, the report, several parts, going on after an interruption, and a bound on memory. Every sequence is in memory.
"""

import argparse
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_64_intdigest

ROWS_PER_GROUP = 65_536
MAX_ALIASES = 1000
SCHEMA = pa.schema(
    {
        "accession": pa.string(),
        "sequence": pa.string(),
        "length": pa.uint32(),
        "record_key": pa.uint64(),
        "description": pa.string(),
        "aliases": pa.list_(pa.string()),
        "num_merged": pa.uint32(),
    }
)


def read_needletail(path: str) -> Iterator[tuple[str, str]]:
    from needletail import parse_fastx_file

    for record in parse_fastx_file(path):
        yield record.id, record.seq


def read_dnaio(path: str) -> Iterator[tuple[str, str]]:
    import dnaio

    with dnaio.open(path) as reader:
        for record in reader:
            yield record.name, record.sequence


def read_biopython(path: str) -> Iterator[tuple[str, str]]:
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    with open_text(path) as stream:
        yield from SimpleFastaParser(stream)


def open_text(path: str) -> TextIO:
    return gzip.open(path, "rt") if path.endswith(".gz") else Path(path).open()


def write_corpus(records: Iterator[tuple[str, str]], out: str) -> None:
    headers: dict[str, str] = {}
    duplicates: dict[str, list[str]] = {}
    for header, sequence in records:
        if headers.setdefault(sequence, header) is not header:
            duplicates.setdefault(sequence, []).append(header)
    order = sorted((xxh3_64_intdigest(sequence.encode()), sequence) for sequence in headers)
    with pq.ParquetWriter(out, SCHEMA, compression="zstd", use_dictionary=False) as writer:
        for first in range(0, len(order), ROWS_PER_GROUP):
            rows = [make_row(*entry, headers, duplicates) for entry in order[first : first + ROWS_PER_GROUP]]
            columns = zip(SCHEMA.types, zip(*rows, strict=True), strict=True)
            writer.write_batch(pa.record_batch([pa.array(column, kind) for kind, column in columns], schema=SCHEMA))


def make_row(
    key: int, sequence: str, headers: dict[str, str], duplicates: dict[str, list[str]]
) -> tuple[str, str, int, int, str, list[str], int]:
    header, aliases, num_merged = headers[sequence], [], 1
    if others := duplicates.get(sequence):
        header, *rest = sorted([header, *others])
        aliases = sorted({other.partition(" ")[0] for other in rest})[:MAX_ALIASES]
        num_merged += len(others)
    accession, _, description = header.partition(" ")
    return accession, sequence, len(sequence), key, description, aliases, num_merged


READERS: dict[str, Callable[[str], Iterator[tuple[str, str]]]] = {
    "needletail": read_needletail,
    "dnaio": read_dnaio,
    "Biopython": read_biopython,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("file")
    parser.add_argument("out")
    options = parser.parse_args()
    write_corpus(READERS[options.reader](options.file), options.out)


if __name__ == "__main__":
    main()
