"""The command line: parse, call, print.

``main(argv)`` runs in this process and returns the exit code: 0 done, 1 the data failed a check, 2 usage, configuration
or internal error, 130 interrupted. Stages are imported inside the commands, so that ``--help`` stays quick.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import pipeline
from pipeline import config as settings
from pipeline import options
from pipeline.cluster_command import cluster
from pipeline.errors import ConfigurationError
from pipeline.formats.alignment import Insertions
from pipeline.formats.headers import DATABASE_NAMES
from pipeline.formats.problems import OnError
from pipeline.inspect_command import inspect
from pipeline.progress import TransferWatcher
from pipeline.session import internal_error, largest_task, make, speaking, tell, working
from pipeline.status_command import status

_DOWNLOAD = settings.DownloadConfig(source="uniref50")
_PACK = settings.PackConfig()
_SHARD = settings.ShardConfig()
_PRIORITY = ",".join(DATABASE_NAMES)

app = typer.Typer(
    name="pipeline",
    help="Protein corpora to packed, fixed-length Parquet shards, streamed to PyTorch trainers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def sources(as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """List the public corpora that `pipeline download` knows, with size, licence, format and URL.

    Example: pipeline sources
    """
    with speaking(as_json=as_json, quiet=quiet) as console:
        from pipeline.formats.sources import known_sources
        from pipeline.reports import show_sources, sources_document

        console.document(sources_document(known_sources()))
        show_sources(known_sources(), console)


@app.command()
def download(
    source: options.DownloadSource,
    out: options.Downloads = Path("downloads"),
    release: options.Release = _DOWNLOAD.release,
    name: options.AddressName = None,
    checksum: options.FileChecksum = None,
    licence: options.AddressLicence = None,
    mirror: options.Mirror = None,
    taxon: options.ProteomeTaxon = None,
    domain: options.ProteomeDomain = None,
    connections: options.Connections = _DOWNLOAD.connections,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fetch a public corpus, or a file at an address: goes on where it stopped, checked against the publisher's list.

    Example: pipeline download uniref50 --out downloads/
    """
    with speaking(as_json=as_json, quiet=quiet) as console, TransferWatcher(console) as watcher:
        from pipeline.engines.execution import SerialExecutor
        from pipeline.engines.runner import run_stage
        from pipeline.stages.download.stage import Download

        values: dict[str, Any] = {"source": source, "release": release, "name": name, "checksum": checksum}
        values |= {"licence": licence, "mirror": mirror, "taxon": taxon, "domain": domain, "connections": connections}
        config = settings.checked(settings.DownloadConfig, values, where="command line")
        stage = Download(config, progress=watcher.progress, notify=watcher.notify)
        folder = out / stage.folder_name
        # One process: connections, not processors, are what a download can have more of.
        outcome = run_stage(stage, folder, executor=SerialExecutor(), watcher=watcher, overwrite=overwrite)
        tell(outcome, folder, console, f"pipeline ingest {shlex.quote(str(folder))} --out corpus/")


@app.command()
@options.with_workforce
def ingest(
    files: options.InputFiles = None,
    out: options.OutNamedLater = None,
    made: options.Made = "corpus",
    source: options.Source = None,
    file_format: options.Format = None,
    on_error: options.OnErrorOption = OnError.STOP,
    insertions: options.InsertionsOption = Insertions.KEEP,
    sequence_column: options.SequenceColumn = "sequence",
    accession_column: options.AccessionColumn = None,
    on_invalid: options.OnInvalidOption = settings.OnInvalid.DROP,
    source_priority: options.SourcePriority = _PRIORITY,
    replace: options.Replace = None,
    min_length: options.MinLength = 0,
    max_length: options.MaxLength = None,
    max_nonstandard: options.MaxNonstandard = None,
    max_low_complexity: options.MaxLowComplexity = None,
    drop_fragments: options.DropFragments = False,
    taxon: options.Taxon = None,
    exclude_taxon: options.ExcludeTaxon = None,
    database: options.Database = None,
    exclude_database: options.ExcludeDatabase = None,
    exclude: options.Exclude = None,
    keep_dropped: options.KeepDropped = False,
    licence: options.Licence = None,
    release: options.InputRelease = None,
    url: options.Address = None,
    workforce: options.Workforce = options.NO_WISHES,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn FASTA into a corpus: checked, exact duplicates merged, sorted by a hash of the residues.

    Example: pipeline ingest uniref50.fasta.gz --out corpus/ --licence CC-BY-4.0
    """
    with speaking(as_json=as_json, quiet=quiet) as console:
        from pipeline.stages.ingest.choice import stage_for

        if unnamed := next((entry for entry in source or [] if settings.split_source(entry)[0] is None), None):
            raise ConfigurationError(f"--source {unnamed}: expected NAME=FILE")
        values: dict[str, Any] = {"files": [*(files or []), *(source or [])], "on_invalid": on_invalid}
        values |= {"source_priority": [name.strip() for name in source_priority.split(",")]}
        values |= {"licence": licence, "release": release, "url": url, "replace": replace or []}
        values |= {"keep_dropped": keep_dropped, "file_format": file_format, "on_error": on_error}
        values |= {"insertions": insertions, "sequence_column": sequence_column, "accession_column": accession_column}
        values["filters"] = {
            "exclude": exclude or [],
            "sources": database or [],
            "exclude_sources": exclude_database or [],
            "taxa": taxon or [],
            "exclude_taxa": exclude_taxon or [],
            "drop_fragments": drop_fragments,
            "min_length": min_length,
            "max_length": max_length,
            "max_nonstandard": max_nonstandard,
            "max_low_complexity": max_low_complexity,
        }
        if not values["files"]:
            raise ConfigurationError(
                "no input: expected FASTA files", hint="pipeline ingest proteins.fasta --out corpus/"
            )
        folder = out or Path(made)
        outcome = make(stage_for(made, values), folder, workforce=workforce, overwrite=overwrite, console=console)
        following = "pipeline pack {} --out plan/" if made == "corpus" else "pipeline verify {}"
        tell(outcome, folder, console, following.format(shlex.quote(str(folder))))


app.command()(cluster)


@app.command()
@options.with_workforce
def pack(
    corpus: Annotated[Path, typer.Argument(help="A corpus, made by `pipeline ingest`.")],
    out: options.Out = Path("plan"),
    length: Annotated[int, typer.Option(help="Tokens in a row, special tokens included.")] = _PACK.length,
    tokenizer: options.TokenizerOption = _PACK.tokenizer,
    algorithm: options.Algorithm = _PACK.algorithm,
    overlong: options.OverlongOption = _PACK.overlong,
    alignment: Annotated[int, typer.Option(help="Round the room of a segment up to this multiple.")] = _PACK.alignment,
    max_segments: Annotated[int, typer.Option(help="Most segments in a row.")] = _PACK.max_segments,
    order: options.RowOrderOption = _PACK.order,
    seed: Annotated[int, typer.Option(help="Seed of places, order of rows and crops.")] = _PACK.seed,
    epoch: Annotated[int, typer.Option(help="Draw crops, and records of clusters, of another epoch.")] = _PACK.epoch,
    clusters: options.Clusters = None,
    sample: options.SampleOption = _PACK.sample,
    level: options.Level = _PACK.level,
    workforce: options.Workforce = options.NO_WISHES,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Plan which record goes into which row; by clusters, of which split, and which of them an epoch takes.

    Example: pipeline pack corpus/ --clusters clusters/ --out plan/ --length 1024 --sample one-per-cluster --epoch 3
    """
    with speaking(as_json=as_json, quiet=quiet) as console:
        from pipeline.stages.pack.stage import Pack

        values = {"length": length, "tokenizer": tokenizer, "algorithm": algorithm, "overlong": overlong}
        values |= {"alignment": alignment, "max_segments": max_segments, "order": order, "seed": seed, "epoch": epoch}
        values |= {"sample": sample, "level": level}
        stage = Pack(corpus, settings.checked(settings.PackConfig, values, where="command line"), clusters=clusters)
        outcome = make(stage, out, workforce=workforce, overwrite=overwrite, console=console)
        tell(outcome, out, console, f"pipeline shard {shlex.quote(str(out))} --out shards/")


@app.command()
@options.with_workforce
def shard(
    plan: Annotated[Path, typer.Argument(help="A plan, made by `pipeline pack`.")],
    out: options.Out = Path("shards"),
    corpus: options.Corpus = None,
    layout: Annotated[settings.Layout, typer.Option(help="How tokens are stored.")] = _SHARD.layout,
    rows_per_group: Annotated[int | None, typer.Option(help="Rows in a Parquet row group.")] = None,
    rows_per_shard: Annotated[int, typer.Option(help="Rows in a shard at most.")] = _SHARD.rows_per_shard,
    workforce: options.Workforce = options.NO_WISHES,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the rows of a plan as Parquet shards.

    Example: pipeline shard plan/ --out shards/ --layout binary
    """
    with speaking(as_json=as_json, quiet=quiet) as console:
        from pipeline.stages.shard import Shard

        values = {"layout": layout, "rows_per_group": rows_per_group, "rows_per_shard": rows_per_shard}
        config = settings.checked(settings.ShardConfig, values, where="command line")
        stage = Shard(plan, config, corpus=corpus)
        outcome = make(stage, out, workforce=workforce, overwrite=overwrite, console=console)
        tell(outcome, out, console, f"pipeline verify {shlex.quote(str(out))}")


@app.command()
@options.with_workforce
def verify(
    path: Annotated[Path, typer.Argument(help="A corpus, clusters, a plan or shards.")],
    corpus: options.Corpus = None,
    clusters: options.MovedClusters = None,
    splits: Annotated[
        bool, typer.Option("--splits", help="Of clusters: search for homologues across train, valid and test.")
    ] = False,
    workforce: options.Workforce = options.NO_WISHES,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Prove from the files alone that nothing was lost or changed: digests, schema, laws, every residue.

    Example: pipeline verify shards/
    """
    with speaking(as_json=as_json, quiet=quiet) as console:
        from pipeline.reports import show_verification, verification_document
        from pipeline.stages.verify.stage import verify as verify_artefact

        with working(workforce, console) as (chosen, watcher):
            report = verify_artefact(
                path, executor=chosen, watcher=watcher, corpus=corpus, clusters=clusters, splits=splits
            )
        console.document(verification_document(report))
        show_verification(report, console)
        if report.splits is not None:
            console.note(f"{path}: {report.splits.sentence}")
        raise typer.Exit(0 if report.is_sound else 1)


app.command()(inspect)
app.command()(status)


@app.command()
@options.with_workforce
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe in TOML.")],
    input_files: Annotated[
        list[str] | None, typer.Option("--input", help="Input instead of the recipe's; may be given several times.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the artefacts, instead of the recipe's.")] = None,
    workforce: options.Workforce = options.NO_WISHES,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Do all of a recipe: ingest, cluster, pack, shard, verify, and read one epoch. Does only what is missing.

    Example: pipeline run workflows/quickstart.toml
    """
    with speaking(as_json=as_json, quiet=quiet) as console:
        from pipeline.recipe import read_recipe
        from pipeline.recipe_report import recipe_document, show_recipe
        from pipeline.workflow import run_recipe

        chosen_recipe = read_recipe(recipe, files=input_files or [])
        folder = out or Path(chosen_recipe.out or f"build/{chosen_recipe.name}")
        most = largest_task(workforce)
        with working(workforce, console) as (chosen, watcher):
            outcome = run_recipe(
                chosen_recipe, folder, executor=chosen, watcher=watcher, overwrite=overwrite, largest_task=most
            )
        console.document(recipe_document(outcome))
        show_recipe(outcome, console)
        raise typer.Exit(0 if all(report.is_sound for report in outcome.reports) else 1)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(pipeline.__version__)
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line in this process.

    Args:
        argv: Arguments without the program's name; None takes them from the process.

    Returns:
        The exit code.
    """
    try:
        app(args=None if argv is None else list(argv), prog_name="pipeline")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception as error:  # noqa: BLE001  (the last line of defence: a bug must not look like a traceback)
        return internal_error(error)
    return 0


def run_and_exit() -> None:
    """Entry point of the ``pipeline`` command."""
    sys.exit(main())
