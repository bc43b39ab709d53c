"""Make FASTA that looks like UniRef50, as large as wanted, the same bytes for the same seed.

    python tests/benchmarks/generate.py --records 1000000 --out uniref50-like.fasta [--gzip] [--seed 0] [--copies 0]

One million records are 382 MB of text. Lengths are lognormal (mu 5.2, sigma 0.85) in 11 … 35,000, residues have
UniProt's frequencies, lines have 60 columns. Headers are UniRef50's (``n= Tax= TaxID= RepID=``), with names that hold
``->``, ``=`` and ``n=``, and ``TaxID=N/A``. One record in 200 repeats the sequence of another under a name of its own,
one in 200 has letters outside the twenty, one in 12 is called a fragment, three in ten are known from UniParc only.
With --copies, so many more records repeat the first sequence, each under a name of its own, dealt among the others.

Records are made 20,000 at a time, each time from a generator of its own: a file begins with the shorter ones of whole
twenty thousands. Measured: 1,000,000 records in 5 s, with --gzip 14 s, in 110 MB of memory.
"""

import argparse
import gzip
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np

CHUNK_RECORDS = 20_000
LINE = 60
REPEATED_SHARE = 0.005
NONSTANDARD_SHARE = 0.005
FRAGMENT_SHARE = 1 / 12
UNIPARC_SHARE = 0.3
GZIP_LEVEL = 6

FREQUENCIES = {
    "A": 825, "C": 138, "D": 546, "E": 672, "F": 386, "G": 708, "H": 227, "I": 591, "K": 580, "L": 965,
    "M": 241, "N": 405, "P": 473, "Q": 393, "R": 553, "S": 663, "T": 535, "V": 686, "W": 109, "Y": 292,
}  # fmt: skip
"""Residues of Swiss-Prot in hundredths of a per cent (its release statistics of August 2020)."""

NONSTANDARD = {"X": 96, "U": 2, "B": 1, "Z": 1}

NAMES = (
    "Uncharacterized protein",
    "Hypothetical protein",
    "Transcriptional regulator, TetR family",
    "ABC transporter ATP-binding protein",
    "Beta-1,4-galactosyltransferase (UDP-Gal->GlcNAc)",
    "1,3-beta-glucanosyltransferase (1->3)-beta-D-glucan=elongating",
    "Pyruvate dehydrogenase (acetyl-transferring) E1 component, alpha subunit (EC 1.2.4.1)",
    "Poly [ADP-ribose] polymerase n=2 domain protein",
    "NADH:ubiquinone oxidoreductase, Na(+)-translocating, F subunit",
    "Similar to Tax=specific enhancer-binding factor",
    "IS5/IS1182 family transposase",
    "Alpha-(1->6)-mannosyltransferase; chain length=long",
    "Serine/threonine-protein kinase PknB",
    "Related to cytochrome P450 CYP3/CYP5/CYP6/CYP9 subfamilies",
    "N(6)-L-threonylcarbamoyladenine synthase",
    "DUF4158 domain-containing protein",
    "Putative 3'-5' exonuclease",
    "Ankyrin repeat protein",
    "Zinc finger, C2H2-type/integrase, DNA-binding protein",
    "50S ribosomal protein L7/L12",
)

TITLES = (*NAMES, *(f"{name} (Fragment)" for name in NAMES))

ORGANISMS = (
    ("Bacteria", 2, "9BACT"),
    ("Escherichia coli", 562, "ECOLX"),
    ("uncultured bacterium", 77133, "9BACT"),
    ("Gammaproteobacteria bacterium", 1913989, "9GAMM"),
    ("Homo sapiens", 9606, "HUMAN"),
    ("Streptomyces sp. NBRC 110611", 1621259, "9ACTN"),
    ("Arabidopsis thaliana", 3702, "ARATH"),
    ("Candidatus Marinimicrobia bacterium", 2026760, "9BACT"),
    ("Fusarium oxysporum f. sp. cubense (strain race 1)", 1229664, "FUSC1"),
    ("Monodon monoceros", 40151, "MONMO"),
    ("root", 1, "9ZZZZ"),
    ("Trichomonas vaginalis (strain ATCC PRA-98 / G3)", 412133, "TRIV3"),
    ("Drosophila melanogaster", 7227, "DROME"),
    ("Eukaryota", 2759, "9EUKA"),
    ("Plasmodium falciparum (isolate 3D7)", 36329, "PLAF7"),
    ("Caudovirales sp. ctrNG92", 2827638, "9CAUD"),
    ("Saccharomyces cerevisiae (strain ATCC 204508 / S288c)", 559292, "YEAST"),
    ("Oryza sativa subsp. japonica", 39947, "ORYSJ"),
    ("Methanosarcina sp. 2.H.T.1A.6", 1483599, "9EURY"),
    ("unknown", None, ""),
)
GENERA = (
    "Pseudomonas",
    "Bacillus",
    "Streptomyces",
    "Paenibacillus",
    "Aspergillus",
    "Vibrio",
    "Nocardia",
    "Flavobacterium",
)

Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]
Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass
class Summary:
    """What was written."""

    records: int = 0
    residues: int = 0
    repeated: int = 0
    """Records that repeat the sequence of an earlier one."""
    bytes: int = 0
    """Of text, before compression."""


def write_fasta(path: Path, num_records: int, *, seed: int = 0, compress: bool = False, copies: int = 0) -> Summary:
    """Write a file of ``num_records`` records and ``copies`` of the first; one gzip stream if ``compress``."""
    summary = Summary()
    with open_output(path, compress) as stream:
        for text in make_fasta(num_records, seed=seed, copies=copies, summary=summary):
            stream.write(text)
    return summary


@contextmanager
def open_output(path: Path, compress: bool) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with path.open("wb") as file:
        if not compress:
            yield file
            return
        # Neither name nor time goes into the file: the same bytes every time.
        with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as stream:
            yield stream


def make_fasta(
    num_records: int, *, seed: int = 0, copies: int = 0, summary: Summary | None = None
) -> Iterator[memoryview]:
    """The text of ``num_records`` records and ``copies`` of the first, some megabytes at a time."""
    summary = summary or Summary()
    pool: tuple[Bytes, Numbers] | None = None
    for chunk, first in enumerate(range(0, num_records, CHUNK_RECORDS)):
        rng = np.random.default_rng([seed, chunk])
        number = min(CHUNK_RECORDS, num_records - first)
        residues, offsets = make_sequences(rng, number)
        # Repeats are of the first chunk, so that they lie apart as far as the file is long.
        residues, offsets, num_repeated = repeat_some(rng, residues, offsets, *(pool or (residues, offsets)))
        pool = pool or (residues, offsets)
        headers = make_headers(rng, first, number)
        if copies:
            dealt, end = (copies * passed // num_records for passed in (first, first + number))
            copied = make_headers(rng, num_records + dealt, end - dealt)
            sequences, copy = np.split(residues, offsets[1:-1]), pool[0][: pool[1][1]]
            headers, residues, offsets = deal_copies(rng, headers, sequences, copied=copied, copy=copy)
            num_repeated += len(copied)
        text = lay_out(headers, residues, offsets)
        summary.records += len(headers)
        summary.residues += int(offsets[-1])
        summary.repeated += num_repeated
        summary.bytes += len(text)
        yield text.data


def make_sequences(rng: np.random.Generator, number: int) -> tuple[Bytes, Numbers]:
    lengths = np.clip(rng.lognormal(5.2, 0.85, number), 11, 35_000).astype(np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    residues = letter_table(FREQUENCIES)[rng.integers(0, 1 << 16, offsets[-1], dtype=np.uint16)]
    strange = np.flatnonzero(rng.random(number) < NONSTANDARD_SHARE)
    # Usually one letter, sometimes a run of them, as where a genome was not read.
    runs = np.minimum(rng.geometric(0.3, len(strange)), lengths[strange])
    begins = offsets[strange] + rng.integers(0, lengths[strange] - runs + 1)
    places = np.repeat(begins - (np.cumsum(runs) - runs), runs) + np.arange(runs.sum())
    residues[places] = letter_table(NONSTANDARD)[rng.integers(0, 1 << 16, len(places), dtype=np.uint16)]
    return residues, offsets


def letter_table(shares: dict[str, int]) -> Bytes:
    """65,536 letters in these shares: one table look-up draws a residue from 16 random bits."""
    ends = np.cumsum(list(shares.values())) / sum(shares.values())
    letters = np.frombuffer("".join(shares).encode(), dtype=np.uint8)
    return letters[np.searchsorted(ends, (np.arange(1 << 16) + 0.5) / (1 << 16))]


def repeat_some(
    rng: np.random.Generator, residues: Bytes, offsets: Numbers, pool: Bytes, pool_offsets: Numbers
) -> tuple[Bytes, Numbers, int]:
    """Give some records the residues of records in the pool; lengths change with them."""
    sequences = np.split(residues, offsets[1:-1])
    chosen = np.flatnonzero(rng.random(len(sequences)) < REPEATED_SHARE)
    donors = rng.integers(0, len(pool_offsets) - 1, len(chosen))
    if pool is residues:
        # In the first chunk itself, only what no repeat replaces can be repeated.
        proper = ~np.isin(donors, chosen)
        chosen, donors = chosen[proper], donors[proper]
    for record, donor in zip(chosen.tolist(), donors.tolist(), strict=True):
        sequences[record] = pool[pool_offsets[donor] : pool_offsets[donor + 1]]
    return *joined(sequences), len(chosen)


def deal_copies(
    rng: np.random.Generator, headers: list[bytes], sequences: list[Bytes], *, copied: list[bytes], copy: Bytes
) -> tuple[list[bytes], Bytes, Numbers]:
    """Records, and those of the headers in ``copied``, which all have one sequence, in random order."""
    headers, sequences = [*headers, *copied], [*sequences, *(copy for _ in copied)]
    order = rng.permutation(len(headers)).tolist()
    return [headers[at] for at in order], *joined([sequences[at] for at in order])


def joined(sequences: list[Bytes]) -> tuple[Bytes, Numbers]:
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    return np.concatenate(sequences), np.concatenate(([0], np.cumsum(lengths)))


def make_headers(rng: np.random.Generator, first: int, number: int) -> list[bytes]:
    in_uniparc = (rng.random(number) < UNIPARC_SHARE).tolist()
    names = np.minimum(rng.geometric(0.3, number) - 1, len(NAMES) - 1)
    titles = np.where(rng.random(number) < FRAGMENT_SHARE, names + len(NAMES), names).tolist()
    members = np.minimum(rng.zipf(2.2, number), 9_999).tolist()
    organisms = (rng.zipf(1.35, number) - 1).tolist()
    accessions = make_accessions(first, number, in_uniparc)
    return [make_header(*fields) for fields in zip(accessions, titles, members, organisms, strict=True)]


def make_header(accession: str, title: int, members: int, organism: int) -> bytes:
    organism_name, taxon, mnemonic = find_organism(organism)
    if taxon is None:
        rest = f"{accession} UniRef50 entry n={members} Tax={organism_name} TaxID=N/A RepID={accession}"
    else:
        representative = accession if accession.startswith("UPI") else f"{accession}_{mnemonic}"
        rest = f"{TITLES[title]} n={members} Tax={organism_name} TaxID={taxon} RepID={representative}"
    return f">UniRef50_{accession} {rest}\n".encode()


def find_organism(rank: int) -> tuple[str, int | None, str]:
    """The organism of this rank of frequency: known ones first, then any number of strains."""
    if rank < len(ORGANISMS):
        return ORGANISMS[rank]
    taxon = 100_000 + rank % 2_000_000
    return f"{GENERA[rank % len(GENERA)]} sp. {taxon}", taxon, f"9{GENERA[rank % len(GENERA)][:4].upper()}"


def make_accessions(first: int, number: int, in_uniparc: list[bool]) -> list[str]:
    """UPI and ten hexadecimal digits, or UniProtKB's form of ten characters; no two alike."""
    # A multiplication by an odd number permutes the numbers below 2^32, so that neighbours look unlike.
    scrambled = ((np.arange(first, first + number, dtype=np.uint64) * np.uint64(2_654_435_761)) % (1 << 32)).tolist()
    kinds = zip(scrambled, in_uniparc, strict=True)
    return [f"UPI{code:010X}" if uniparc else trembl_accession(code) for code, uniparc in kinds]


def trembl_accession(code: int) -> str:
    """A0A, then letter or digit twice, digit, letter, letter or digit twice, digit: A0A4U1FNC5."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    characters = []
    for size, shift in ((10, 0), (36, 0), (36, 0), (26, 10), (10, 0), (36, 0), (36, 0)):
        code, digit = divmod(code, size)
        characters.append(alphabet[digit + shift])
    return "A0A" + "".join(reversed(characters))


def lay_out(headers: list[bytes], residues: Bytes, offsets: Numbers) -> Bytes:
    """Headers, and residues in lines: every byte is copied once, with no Python by the line."""
    header_lengths = np.fromiter(map(len, headers), dtype=np.int64, count=len(headers))
    lengths = np.diff(offsets)
    num_lines = -(-lengths // LINE)
    spans = np.column_stack((header_lengths, lengths + num_lines)).ravel()
    is_header = np.repeat(np.tile([True, False], len(headers)), spans)
    text = np.full(len(is_header), ord("\n"), dtype=np.uint8)
    text[is_header] = np.frombuffer(b"".join(headers), dtype=np.uint8)
    line_lengths = np.full(num_lines.sum(), LINE)
    line_lengths[np.cumsum(num_lines) - 1] = lengths - LINE * (num_lines - 1)
    is_residue = np.repeat(np.tile([True, False], len(line_lengths)), with_ends(line_lengths))
    body = np.full(len(is_residue), ord("\n"), dtype=np.uint8)
    body[is_residue] = residues
    text[~is_header] = body
    return text


def with_ends(line_lengths: Numbers) -> Numbers:
    """The lengths of lines and of their ends, one after the other."""
    return np.column_stack((line_lengths, np.ones_like(line_lengths))).ravel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--copies", type=int, default=0)
    options = parser.parse_args()
    begin = time.perf_counter()
    summary = write_fasta(options.out, options.records, seed=options.seed, compress=options.gzip, copies=options.copies)
    print(json.dumps(asdict(summary) | {"seconds": round(time.perf_counter() - begin, 2)}))


if __name__ == "__main__":
    main()
