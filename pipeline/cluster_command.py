"""The `cluster` command, which has more ways to be asked than ``cli`` has room for."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import cluster_config as settings
from pipeline import options
from pipeline.config import checked
from pipeline.session import largest_task, make, speaking, tell

_PRESETS = ", ".join(settings.PRESETS)


@options.with_workforce
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
    valid_fraction: Annotated[float, typer.Option(help="Fraction of the coarsest clusters held out as valid.")] = 0.0,
    test_fraction: Annotated[float, typer.Option(help="Fraction of them held out as test.")] = 0.0,
    split_seed: Annotated[int, typer.Option(help="Draws which clusters are held out.")] = 0,
    splits: Annotated[
        str | None,
        typer.Option(help="Earlier split that holds: splits.parquet, or a TSV of accession and split."),
    ] = None,
    purge: Annotated[
        bool, typer.Option(help="Exclude what is similar to held-out records, as ESM-2 does: by default.")
    ] = True,
    decontaminate: Annotated[
        list[str] | None, typer.Option(help="NAME=FASTA: exclude what is similar to a benchmark's proteins.")
    ] = None,
    purge_min_seq_id: Annotated[float, typer.Option(help="Least identity of similar sequences.")] = 0.5,
    purge_coverage: Annotated[float, typer.Option(help="Least fraction of both that is aligned.")] = 0.8,
    purge_sensitivity: Annotated[float, typer.Option(help="Of the search, 1 to 7.5.")] = 7.0,
    weight: Annotated[
        str, typer.Option(help="Keep probability of train per epoch, by cluster: 1, 1/size, 1/sqrt(size) or cap:N.")
    ] = "1",
    workforce: options.Workforce = options.NO_WISHES,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Group records into clusters of similar sequences, by MMseqs2 or as others did, and hold some clusters out.

    Example: pipeline cluster corpus/ --out clusters/ --preset uniref50 --preset uniref90 --valid-fraction 0.005
    """
    with speaking(as_json=as_json, quiet=quiet) as console:
        from pipeline.engines.resources import parse_size
        from pipeline.stages.cluster.stage import Cluster

        given = {"coverage": coverage, "cov_mode": cov_mode, "cluster_mode": cluster_mode, "kmer_per_seq": kmer_per_seq}
        values: dict[str, Any] = {"existing": existing or [], "method": method, "sensitivity": sensitivity}
        values["split"] = {
            "valid_fraction": valid_fraction,
            "test_fraction": test_fraction,
            "seed": split_seed,
            "pinned": splits,
        }
        values["purge"] = {
            "held_out": purge,
            "benchmarks": settings.named_benchmarks(decontaminate or []),
            "min_seq_id": purge_min_seq_id,
            "coverage": purge_coverage,
            "sensitivity": purge_sensitivity,
        }
        values["weight"] = weight
        if split_memory_limit is not None:
            values["split_memory_limit"] = parse_size(split_memory_limit, "--split-memory-limit")
        if preset or min_seq_id or not existing:
            values["levels"] = settings.chosen_levels(preset or [], min_seq_id or [], given)
        else:
            idle = given | {key: values.get(key) for key in settings.OPTIONS_OF_ALL_LEVELS}
            if decontaminate or valid_fraction or test_fraction or splits:
                del idle["split_memory_limit"]  # a search is mmseqs' work, too
            settings.refuse_options_of_mmseqs(idle)
        largest, num_threads = largest_task(workforce)
        config = checked(settings.ClusterConfig, values, where="command line")
        stage = Cluster(corpus, config, memory=largest, num_threads=num_threads)
        outcome = make(stage, out, workforce=workforce, overwrite=overwrite, console=console)
        tell(outcome, out, console, f"pipeline verify {shlex.quote(str(out))}")
