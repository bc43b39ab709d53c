"""The `cluster` command, which has more ways to be asked than ``cli`` has room for."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import cluster_config as settings
from pipeline import options
from pipeline.config import checked
from pipeline.session import make, speaking, tell

_PRESETS = ", ".join(settings.PRESETS)


def cluster(
    corpus: Annotated[Path, typer.Argument(help="A corpus, made by `pipeline ingest`.")],
    out: options.Out = Path("clusters"),
    preset: Annotated[list[str] | None, typer.Option(help=f"{_PRESETS}; each is a level.")] = None,
    min_seq_id: Annotated[
        list[float] | None, typer.Option(help="Least identity with the representative; each is a level.")
    ] = None,
    coverage: Annotated[float | None, typer.Option(help="Least fraction of residues aligned; by default 0.8.")] = None,
    cov_mode: Annotated[
        int | None, typer.Option(help="Coverage 0: of both (default), 1: member, 2: representative, 3-5: lengths only.")
    ] = None,
    cluster_mode: Annotated[
        int | None,
        typer.Option(help="0: set cover, 1: connected components, 2: by length, 3: the same in less memory."),
    ] = None,
    kmer_per_seq: Annotated[int | None, typer.Option(help="k-mers of each sequence; by default 21.")] = None,
    method: Annotated[
        settings.Method, typer.Option(help="linclust, or cluster: cascaded, more sensitive, much slower.")
    ] = settings.Method.LINCLUST,
    sensitivity: Annotated[float | None, typer.Option(help="Of --method cluster, 1 to 7.5; by default 4.")] = None,
    split_memory_limit: Annotated[
        str | None, typer.Option(help="Let mmseqs work in pieces of this size, such as 64GB; changes some clusters.")
    ] = None,
    existing: Annotated[
        list[str] | None,
        typer.Option(help="Instead: a TSV of representative and member (each a level), idmapping, or UniRef XML."),
    ] = None,
    executor: options.Executor = "processes",
    workers: options.Workers = None,
    memory: options.Memory = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Group records into clusters of similar sequences, by MMseqs2, or as others grouped them.

    Example: pipeline cluster corpus/ --out clusters/ --preset uniref50 --preset uniref90
    """
    with speaking(as_json=as_json, quiet=quiet) as console:
        from pipeline.engines.resources import parse_size
        from pipeline.stages.cluster.stage import Cluster

        given = {"coverage": coverage, "cov_mode": cov_mode, "cluster_mode": cluster_mode, "kmer_per_seq": kmer_per_seq}
        values: dict[str, Any] = {"existing": existing or [], "method": method, "sensitivity": sensitivity}
        if split_memory_limit is not None:
            values["split_memory_limit"] = parse_size(split_memory_limit, "--split-memory-limit")
        if preset or min_seq_id or not existing:
            values["levels"] = settings.chosen_levels(preset or [], min_seq_id or [], given)
        else:
            settings.refuse_options_of_mmseqs(given | {key: values.get(key) for key in settings.OPTIONS_OF_ALL_LEVELS})
        stage = Cluster(
            corpus,
            checked(settings.ClusterConfig, values, where="command line"),
            memory=None if memory is None else parse_size(memory),
            num_threads=workers,
        )
        outcome = make(
            stage, out, executor=executor, workers=workers, memory=memory, overwrite=overwrite, console=console
        )
        tell(outcome, out, console, f"pipeline verify {shlex.quote(str(out))}")
