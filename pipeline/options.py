"""Options that commands share, or have many of: name, type and help text."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config import OnInvalid
from pipeline.core.pieces import Overlong
from pipeline.core.row_order import RowOrder
from pipeline.core.sampling import Sample
from pipeline.formats.alignment import Insertions
from pipeline.formats.problems import OnError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and warnings.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Processes; by default the processors granted.")]
Executor = Annotated[str, typer.Option("--executor", help="Who does the work: serial, processes or dask.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler", help="Of Dask: tcp://…, a scheduler file, or slurm, pbs, sge, lsf with --site; implies dask."
    ),
]
Site = Annotated[
    Path | None, typer.Option("--site", help="TOML of what a job asks for: queue, walltime, cores, memory, ….")
]
Memory = Annotated[
    str | None, typer.Option(help="Memory for all processes together, such as 4GB; by default 512MB for each worker.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Throw away another run's artefact in the way.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the artefact.", show_default=False)]
OutNamedLater = Annotated[Path | None, typer.Option("--out", help="Folder of the artefact; by default what --as says.")]
Corpus = Annotated[Path | None, typer.Option("--corpus", help="Where the corpus is, if it was moved.")]
MovedClusters = Annotated[Path | None, typer.Option("--clusters", help="Where the clusters are, if they were moved.")]

DownloadSource = Annotated[
    str, typer.Argument(help="A name that `pipeline sources` lists, proteome:UP000000625, a URL or a path.")
]
Downloads = Annotated[Path, typer.Option("--out", help="Folder in which NAME-RELEASE/ is made.")]
Release = Annotated[str, typer.Option(help="Release, such as 2025_03.")]
AddressName = Annotated[str | None, typer.Option("--name", help="What to call a file at an address.")]
AddressLicence = Annotated[str | None, typer.Option("--licence", help="SPDX identifier, of a file at an address.")]
FileChecksum = Annotated[str | None, typer.Option("--checksum", help="algorithm:hexadecimal, such as sha256:….")]
Mirror = Annotated[str | None, typer.Option(help="Base URL of another server with the same folders.")]
ProteomeTaxon = Annotated[int | None, typer.Option("--taxon", help="NCBI taxonomy id, of a proteome.")]
ProteomeDomain = Annotated[
    str | None, typer.Option("--domain", help="Archaea, Bacteria, Eukaryota or Viruses, of a proteome.")
]
Connections = Annotated[int, typer.Option(help="Parts of a file fetched at a time.")]

Replace = Annotated[list[str] | None, typer.Option(help="Letters to replace first: UZOB=X, as ProtTrans does.")]
MinLength = Annotated[int, typer.Option(help="Drop what has fewer residues.")]
MaxLength = Annotated[int | None, typer.Option(help="Drop what has more residues.")]
MaxNonstandard = Annotated[
    float | None, typer.Option(help="Drop above this fraction of residues outside the 20 standard ones.")
]
MaxLowComplexity = Annotated[
    float | None, typer.Option(help="Drop above this fraction of residues in segments of low complexity.")
]
DropFragments = Annotated[bool, typer.Option("--drop-fragments", help="Drop what its header calls a fragment.")]
Taxon = Annotated[list[int] | None, typer.Option(help="Keep only this NCBI taxon id; may be repeated.")]
ExcludeTaxon = Annotated[list[int] | None, typer.Option(help="Drop this NCBI taxon id; may be repeated.")]
Database = Annotated[list[str] | None, typer.Option(help="Keep only records of this database; may be repeated.")]
ExcludeDatabase = Annotated[list[str] | None, typer.Option(help="Drop records of this database; may be repeated.")]
Exclude = Annotated[list[str] | None, typer.Option(help="File of accessions, or FASTA of sequences, to leave out.")]
KeepDropped = Annotated[
    bool, typer.Option("--keep-dropped", help="Write what was dropped, and why, to dropped/ in the corpus.")
]
Made = Annotated[str, typer.Option("--as", help="corpus: single proteins; alignments: whole ones, rows as they are.")]
Format = Annotated[str | None, typer.Option("--format", help="Format of the files, instead of telling it from each.")]
OnErrorOption = Annotated[OnError, typer.Option("--on-error", help="Records that cannot be read.")]
InsertionsOption = Annotated[
    Insertions, typer.Option("--insertions", help="Alignments: residues outside the match columns.")
]
SequenceColumn = Annotated[str, typer.Option(help="Tables: the column with the sequences.")]
AccessionColumn = Annotated[str | None, typer.Option(help="Tables: the column with the accessions.")]
Source = Annotated[
    list[str] | None, typer.Option("--source", help="NAME=FILE: a file, and the database its records are from.")
]
OnInvalidOption = Annotated[
    OnInvalid, typer.Option("--on-invalid", help="Records with characters that are no residue.")
]
SourcePriority = Annotated[str, typer.Option(help="Whose record survives when sequences are equal, first one first.")]
TokenizerOption = Annotated[
    str, typer.Option(help="esm2, esm3, protbert, prott5, evo2, progen2, progen3, amplify, …, or a JSON file.")
]
OverlongOption = Annotated[Overlong, typer.Option(help="Records with more residues than fit into a row.")]
InputFiles = Annotated[
    list[str] | None,
    typer.Argument(
        help="FASTA, UniProt .dat or XML, UniRef XML, A3M, Stockholm, ffdata, tables, archives; compressed or not."
    ),
]
Licence = Annotated[str | None, typer.Option(help="SPDX identifier of the input's licence, for the card.")]
InputRelease = Annotated[str | None, typer.Option(help="Release of the input, for the card.")]
Address = Annotated[str | None, typer.Option(help="Where the input came from, for the card.")]
Algorithm = Annotated[
    str,
    typer.Option(
        help="first-fit-decreasing, best-fit-decreasing, optimal, concatenate (records run on over rows) or pad (one a "
        "row)."
    ),
]
RowOrderOption = Annotated[
    RowOrder, typer.Option(help="Rows at random; balanced: neighbours cost alike in sum; length: short ones first.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workforce:
    """Who does the work of a command, as it was asked for: each field is an option."""

    executor: Executor = "processes"
    workers: Workers = None
    memory: Memory = None
    scheduler: Scheduler = None
    site: Site = None


def with_workforce(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :class:`Workforce` in the place of its parameter ``workforce``."""

    @wraps(command)
    def wrapper(**values: Any) -> None:
        asked = {field.name: values.pop(field.name) for field in fields(Workforce)}
        command(**values, workforce=Workforce(**asked))

    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=field.type)
        for field in fields(Workforce)
    ]
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        parameters += options if parameter.name == "workforce" else [parameter.replace(kind=keyword)]
    # typer reads both.
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


NO_WISHES = Workforce()
Clusters = Annotated[
    Path | None, typer.Option(help="Clusters of the corpus: splits, weights, what is excluded. Without, all is train.")
]
SampleOption = Annotated[
    Sample, typer.Option(help="Which records of train the epoch takes; valid and test stay whole.")
]
Level = Annotated[int, typer.Option(help="Level of clusters that one-per-cluster draws from: 1 is the coarsest.")]
