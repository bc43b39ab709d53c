"""One command from its first word to its exit code: who is spoken to, who works, and how errors are told."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.console import Console, Mode
from pipeline.errors import ConfigurationError, PipelineError
from pipeline.options import Workforce
from pipeline.progress import ProgressWatcher

if TYPE_CHECKING:
    from pipeline.engines.execution import Executor
    from pipeline.engines.job_queue import JobQueue
    from pipeline.engines.runner import StageOutcome
    from pipeline.engines.stage import Stage

INTERNAL_ERROR = 2
INTERRUPTED = 130
DEBUG_VARIABLE = "PIPELINE_DEBUG"


@contextmanager
def speaking(*, as_json: bool, quiet: bool) -> Iterator[Console]:
    """A console; errors of ours become one sentence and an exit code."""
    if as_json and quiet:
        raise typer.BadParameter("--json and --quiet exclude each other")
    console = Console(Mode.JSON if as_json else Mode.QUIET if quiet else Mode.HUMAN)
    try:
        yield console
    except PipelineError as error:
        console.error(error)
        console.document({"error": type(error).__name__, "message": error.message, "hint": error.hint})
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError:
        raise  # the reader of stdout went away; that is no mistake of anybody's
    except OSError as error:
        told = ConfigurationError(
            f"{error.filename or 'a file'}: {error.strerror or error}", hint="check the path and its permissions"
        )
        console.error(told)
        raise typer.Exit(told.exit_code) from error
    except KeyboardInterrupt as interrupt:
        console.warning("interrupted: run the same command again to go on, finished work is kept")
        raise typer.Exit(INTERRUPTED) from interrupt


@contextmanager
def working(workforce: Workforce, console: Console) -> Iterator[tuple["Executor", ProgressWatcher]]:
    """The executor and the watcher that were asked for."""
    from pipeline.engines.execution import make_executor

    asked = workforce.workers
    chosen = make_executor(
        workforce.executor,
        asked,
        _memory(workforce),
        scheduler=workforce.scheduler,
        site=_site(workforce),
        notify=console.note,
    )
    if asked is not None and chosen.num_workers < asked and workforce.executor != "serial":
        console.warning(f"--memory {workforce.memory} is enough for {chosen.num_workers} of {asked} workers")
    with chosen, ProgressWatcher(console) as watcher:
        yield chosen, watcher


def largest_task(workforce: Workforce) -> tuple[int | None, int | None]:
    """Memory in bytes, and threads, of a task that takes all that it can get; None: what this machine grants."""
    if site := _site(workforce):
        return site.worker_bytes, site.num_threads
    return _memory(workforce), workforce.workers


def _memory(workforce: Workforce) -> int | None:
    from pipeline.engines.resources import parse_size

    return None if workforce.memory is None else parse_size(workforce.memory)


def _site(workforce: Workforce) -> "JobQueue | None":
    from pipeline.site_config import read_site

    return None if workforce.site is None else read_site(workforce.site)


def make(stage: "Stage", out: Path, *, workforce: Workforce, overwrite: bool, console: Console) -> "StageOutcome":
    """Run a stage with the executor and the watcher that were asked for."""
    from pipeline.engines.runner import run_stage

    with working(workforce, console) as (chosen, watcher):
        return run_stage(stage, out, executor=chosen, watcher=watcher, overwrite=overwrite)


def tell(outcome: "StageOutcome", out: Path, console: Console, next_command: str) -> None:
    """What a stage made, and what to run next."""
    from pipeline.reports import stage_document, stage_sentence

    console.document(stage_document(outcome, out))
    console.note(f"{stage_sentence(outcome, out)}; next: {next_command}")


def internal_error(error: Exception) -> int:
    """Say that a bug was met, and where; the exit code."""
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        sys.stderr.write(
            f"internal error: {type(error).__name__}: {error} ({place})\n\n"
            f"hint: this is a bug in pipeline; {DEBUG_VARIABLE}=1 shows the traceback to report\n"
        )
    return INTERNAL_ERROR
