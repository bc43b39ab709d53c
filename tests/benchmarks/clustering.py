"""What the cluster stage costs beside plain mmseqs on the same sequences, and whether the memory it names is enough.

    python tests/benchmarks/clustering.py [--records 200000] [--repeats 3] [--threads 2] [--min-seq-id 0.5]
        [--levels 1] [--keep FOLDER]

The sequences are families: ancestors of UniRef50's lengths and residues, and descendants with 5 to 70 % of their
residues changed and the ends cut, families of 1 to 200 members, most of them small. *mmseqs* is `easy-linclust` on the
FASTA that the corpus holds, in its order; *ours* is `pipeline cluster` with the same parameters, reading and writing
Parquet, names and digests included. They take turns. Figures are processor seconds of the command and all that it
starts, and seconds on the clock; *more* is the median of ours over that of mmseqs. Peak memory is that of the largest
process, with the pages of files that it maps; below stands what the stage says that mmseqs needs. Both must find the
same clusters.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet as pq

from pipeline.config import IngestConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.mmseqs import Clustering, find_mmseqs, memory_needed
from pipeline.engines.runner import run_stage
from pipeline.formats.manifest import read_manifest
from pipeline.formats.storage import remove_folder
from pipeline.stages.ingest.stage import Ingest

LETTERS = np.frombuffer(b"ARNDCQEGHILKMFPSTWYV", dtype=np.uint8)
FREQUENCIES = np.array(
    [825, 553, 405, 546, 138, 393, 672, 708, 227, 591, 965, 580, 241, 386, 473, 663, 535, 109, 292, 686]
)
"""Residues of Swiss-Prot in hundredths of a per cent (its release statistics of August 2020)."""
LARGEST_FAMILY = 200


def families(num_records: int, seed: int = 0) -> Iterator[bytes]:
    """Residues of records, family after family."""
    rng = np.random.default_rng(seed)
    chances = FREQUENCIES / FREQUENCIES.sum()
    made = 0
    while made < num_records:
        length = int(np.clip(rng.lognormal(5.2, 0.85), 11, 35_000))
        ancestor = rng.choice(LETTERS, length, p=chances)
        size = min(int(rng.zipf(1.7)), LARGEST_FAMILY, num_records - made)
        for _ in range(size):
            cut = rng.integers(0, length // 20 + 1, 2)
            descendant = ancestor[cut[0] : length - cut[1]].copy()
            changed = rng.random(len(descendant)) < rng.uniform(0.05, 0.7)
            descendant[changed] = rng.choice(LETTERS, int(changed.sum()), p=chances)
            yield descendant.tobytes()
        made += size


@dataclass(frozen=True, slots=True)
class Used:
    """By a command and all that it started."""

    processor: float
    seconds: float
    peak_bytes: int


def measured(command: list[str], folder: Path) -> Used:
    """Run a command in a process of its own, so that the peak is that of its children alone."""
    code = (
        "import resource, subprocess, sys, time\n"
        "begin = time.perf_counter()\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime, time.perf_counter() - begin, used.ru_maxrss)\n"
    )
    run = [sys.executable, "-c", code, *command]
    told = subprocess.run(run, cwd=folder, check=True, capture_output=True, text=True).stdout.split()
    unit = 1 if sys.platform == "darwin" else 1024
    return Used(float(told[0]), float(told[1]), int(told[2]) * unit)


def make_corpus(folder: Path, num_records: int) -> Path:
    """Corpus, and beside it the FASTA that it holds, in its order."""
    raw = folder / "families.fasta"
    with raw.open("wb") as file:
        for number, text in enumerate(families(num_records)):
            file.write(b">F%07d\n%s\n" % (number, text))
    with SerialExecutor() as executor:
        run_stage(Ingest(IngestConfig(files=(str(raw),))), folder / "corpus", executor=executor)
    with (folder / "input.fasta").open("w") as file:
        for part in read_manifest(folder / "corpus").tables:
            table = pq.read_table(folder / "corpus" / part.path, columns=["accession", "sequence"])
            for name, text in zip(*(column.to_pylist() for column in table.columns), strict=True):
                file.write(f">{name}\n{text}\n")
    return folder / "corpus"


def same_clusters(folder: Path, clusters: Path) -> bool:
    """Whether both found the same representative of every record."""
    told = dict(reversed(line.split("\t")) for line in (folder / "out_cluster.tsv").read_text().splitlines())
    found = {}
    for part in read_manifest(clusters).tables:
        names = pq.read_table(folder / "corpus" / part.path, columns=["accession"]).column(0).to_pylist()
        representatives = pq.read_table(clusters / part.path, columns=["representative"]).column(0).to_pylist()
        found |= dict(zip(names, representatives, strict=True))
    return told == found


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Make the corpus, run both in turns, and print the table."""
    corpus = make_corpus(folder, options.records)
    identity, threads = f"{options.min_seq_id:g}", str(options.threads)
    plain = [str(find_mmseqs()), "easy-linclust", "input.fasta", "out", "tmp", "--min-seq-id", identity, "-c", "0.8"]
    levels = [
        word for level in range(options.levels) for word in ("--min-seq-id", f"{options.min_seq_id + level / 10:g}")
    ]
    ours = [sys.executable, "-m", "pipeline", "cluster", str(corpus), "--out", "clusters", *levels, "--quiet"]
    used: dict[str, list[Used]] = {"mmseqs": [], "ours": []}
    for _ in range(options.repeats):
        for name, command in (("mmseqs", [*plain, "--threads", threads]), ("ours", [*ours, "--workers", threads])):
            remove_folder(folder / "tmp")
            remove_folder(folder / "clusters")
            used[name].append(measured(command, folder))
    counts = read_manifest(corpus).counts
    print(f"{counts['records']:,} records, {counts['residues']:,} residues, {options.threads} threads\n")
    print("           processor s   clock s   peak MB")
    for name, runs in used.items():
        figures = [median(getattr(run, key) for run in runs) for key in ("processor", "seconds", "peak_bytes")]
        print(f"{name:9} {figures[0]:12.1f} {figures[1]:9.1f} {figures[2] / 1e6:9.0f}")
    more = [
        median(getattr(run, key) for run in used["ours"]) / median(getattr(run, key) for run in used["mmseqs"])
        for key in ("processor", "seconds")
    ]
    needed = memory_needed(
        Clustering(min_seq_id=options.min_seq_id),
        num_records=counts["records"],
        num_residues=counts["residues"],
        num_threads=options.threads,
    )
    processor, clock = (f"{100 * (factor - 1):+.1f} %" for factor in more)
    print(f"\nmore: {processor} processor, {clock} clock; memory that is named before: {needed.total / 1e6:,.0f} MB")
    if options.levels == 1:
        print(f"the same clusters: {'yes' if same_clusters(folder, folder / 'clusters') else 'NO'}")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--levels", type=int, default=1)
    parser.add_argument("--min-seq-id", type=float, default=0.5)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    with nullcontext(str(options.keep)) if options.keep else tempfile.TemporaryDirectory() as folder:
        compare(Path(folder).resolve(), options)


if __name__ == "__main__":
    main()
