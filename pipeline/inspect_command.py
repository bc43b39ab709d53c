"""The `inspect` command: what an artefact holds, one packed row, what became of a protein, or a noise schedule."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import options
from pipeline.console import Console
from pipeline.errors import ConfigurationError
from pipeline.session import speaking


def inspect(
    path: Annotated[Path | None, typer.Argument(help="A corpus, clusters, a plan or shards.")] = None,
    row: Annotated[int | None, typer.Option(help="Show this packed row of shards, coloured by segment.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the row.")] = None,
    accession: Annotated[str | None, typer.Option(help="Say what became of this protein.")] = None,
    corpus: options.Corpus = None,
    schedule: Annotated[
        str | None, typer.Option(help="Instead: a noise schedule, such as betalinear30 or 0.8*beta(3,9)+0.2*uniform.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the schedule into this .png, .svg or .pdf.")] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what an artefact holds, one packed row, what became of a protein, or a noise schedule.

    Example: pipeline inspect shards/ --row 0
    """
    with speaking(as_json=as_json, quiet=quiet) as console:
        if plot is not None and schedule is None:
            raise ConfigurationError("--plot: expected --schedule beside it, which says what to draw")
        if (path is None) == (schedule is None):
            found = "neither" if path is None else "both"
            raise ConfigurationError(f"inspect: expected the path of an artefact or --schedule, found {found}")
        if schedule is not None:
            _schedule(schedule, plot, console)
        elif path is not None:
            _artefact(path, row, split, accession, corpus, console)


def _artefact(
    path: Path, row: int | None, split: str | None, accession: str | None, corpus: Path | None, console: Console
) -> None:
    from pipeline import reports
    from pipeline.stages import inspection

    if row is not None:
        reports.show_row(inspection.packed_row(path, row, split=split), console)
    elif accession is not None:
        found = inspection.find_accession(path, accession, corpus=corpus)
        reports.show_whereabouts(path, accession, found, console)
        raise typer.Exit(0 if found else 1)
    else:
        reports.show_summary(path, *inspection.summarise(path), console)


def _schedule(text: str, plot: Path | None, console: Console) -> None:
    from pipeline.core.noise import parse_schedule
    from pipeline.core.noise_statistics import describe
    from pipeline.engines.plots import plot_schedule
    from pipeline.schedule_report import schedule_document, show_schedule

    statistics = describe(parse_schedule(text))
    if plot is not None:
        plot_schedule(statistics, plot)
        console.note(f"{plot}: {statistics.name}")
    console.document(schedule_document(statistics))
    show_schedule(statistics, console)
