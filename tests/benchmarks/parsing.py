"""Parse one FASTA file, or decompress it, with one library, and say how long it took: a part of ingesting.py.

    python tests/benchmarks/parsing.py READER FILE

This package makes Arrow arrays of headers and of residues. The others make what they make for a loop in Python: of each
record, the sequence is looked at and nothing else. «needletail, counted» does not even look: its strings stay in Rust.
Imports do not count, nor does pandas, which pyarrow imports with the first array that it makes, where there is one.
"""

import argparse
import importlib.util
import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

READ_BYTES = 256 << 10


class Parsed(NamedTuple):
    """What was seen; zero of what a reader does not see."""

    seconds: float
    processor_seconds: float
    records: int = 0
    residues: int = 0
    num_bytes: int = 0


class Clock:
    """Seconds, and processor seconds of all threads of this process, since it was made."""

    def __init__(self) -> None:
        self.begin = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.begin[0], time.process_time() - self.begin[1]


def parse_ours(path: str) -> Parsed:
    import pyarrow as pa

    from pipeline.formats.fasta import read_fasta

    pa.array([""])
    clock, records, residues = Clock(), 0, 0
    for block in read_fasta(path):
        buffers = pa.py_buffer(block.offsets), pa.py_buffer(block.residues)
        sequences = pa.LargeStringArray.from_buffers(block.num_records, *buffers)
        assert len(block.headers) == len(sequences)
        records += len(sequences)
        residues += int(block.offsets[-1])
    return Parsed(*clock.read(), records, residues)


def parse_needletail(path: str) -> Parsed:
    from needletail import parse_fastx_file

    clock, records, residues = Clock(), 0, 0
    for record in parse_fastx_file(path):
        records += 1
        residues += len(record.seq)
    return Parsed(*clock.read(), records, residues)


def count_needletail(path: str) -> Parsed:
    from needletail import parse_fastx_file

    clock, records = Clock(), 0
    for _ in parse_fastx_file(path):
        records += 1
    return Parsed(*clock.read(), records)


def parse_pyfastx(path: str) -> Parsed:
    from pyfastx import Fastx

    clock, records, residues = Clock(), 0, 0
    for _, sequence in Fastx(path):
        records += 1
        residues += len(sequence)
    return Parsed(*clock.read(), records, residues)


def parse_dnaio(path: str) -> Parsed:
    import dnaio

    clock, records, residues = Clock(), 0, 0
    with dnaio.open(path, open_threads=0) as reader:
        for record in reader:
            records += 1
            residues += len(record.sequence)
    return Parsed(*clock.read(), records, residues)


def parse_biopython(path: str) -> Parsed:
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    clock, records, residues = Clock(), 0, 0
    with Path(path).open() as stream:
        for _, sequence in SimpleFastaParser(stream):
            records += 1
            residues += len(sequence)
    return Parsed(*clock.read(), records, residues)


def decompress_isal(path: str) -> Parsed:
    from isal import igzip_lib

    clock, num_bytes = Clock(), 0
    decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    with Path(path).open("rb") as stream:
        while not decoder.eof:
            data = stream.read(READ_BYTES) if decoder.needs_input else b""
            num_bytes += len(decoder.decompress(data, 1 << 20))
    return Parsed(*clock.read(), num_bytes=num_bytes)


def decompress_zlib(path: str) -> Parsed:
    clock, num_bytes = Clock(), 0
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    with Path(path).open("rb") as stream:
        while not decoder.eof:
            num_bytes += len(decoder.decompress(stream.read(READ_BYTES)))
    return Parsed(*clock.read(), num_bytes=num_bytes)


READERS: dict[str, tuple[str, Callable[[str], Parsed]]] = {
    "pipeline": ("pipeline", parse_ours),
    "needletail": ("needletail", parse_needletail),
    "needletail, counted": ("needletail", count_needletail),
    "pyfastx": ("pyfastx", parse_pyfastx),
    "dnaio": ("dnaio", parse_dnaio),
    "Biopython": ("Bio", parse_biopython),
    "isal alone": ("isal", decompress_isal),
    "zlib alone": ("zlib", decompress_zlib),
}
"""Module that must be installed, and what measures it."""


def is_installed(reader: str) -> bool:
    return importlib.util.find_spec(READERS[reader][0]) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("file")
    options = parser.parse_args()
    print(json.dumps(READERS[options.reader][1](options.file)._asdict()))


if __name__ == "__main__":
    main()
