"""The `status` command: what is done, running or failed, told from the files alone."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from pipeline import options
from pipeline.console import Console, bytes_text, column_table, count, duration_text
from pipeline.formats.report_words import printable
from pipeline.session import speaking

if TYPE_CHECKING:
    from pipeline.stages.status import ArtefactStatus, Attempt, TaskUse


def status(
    path: Annotated[Path, typer.Argument(help="An artefact, finished or not, or the folder of a recipe's.")],
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Tell what is done, running, interrupted or failed, from the files alone: any machine that sees them may ask.

    Exit code 0, also while a run goes on; 1 if something failed; 2 if there is no artefact.

    Example: pipeline status build/quickstart
    """
    with speaking(as_json=as_json, quiet=quiet) as console:
        from pipeline.stages.status import status_of

        statuses = status_of(path)
        console.document(status_document(path, statuses))
        show_status(path, statuses, console, now=datetime.now(UTC))
        raise typer.Exit(1 if any(status.has_failed for status in statuses) else 0)


def status_document(path: Path, statuses: Sequence["ArtefactStatus"]) -> dict[str, Any]:
    """How far artefacts are, as JSON."""
    return {
        "path": str(path),
        "has_failed": any(status.has_failed for status in statuses),
        "artefacts": [status.model_dump(mode="json") for status in statuses],
    }


def show_status(path: Path, statuses: Sequence["ArtefactStatus"], console: Console, *, now: datetime) -> None:
    """How far artefacts are, for a person; the last line says what to do."""
    columns = ("artefact", "state", "round", "tasks", "time left", "last progress", "peak memory")
    console.show(column_table(str(path), columns, [_row(status, now) for status in statuses]))
    slowest = [
        (Path(status.path).name, use.round, use.task, *_use_cells(use)) for status in statuses for use in status.slowest
    ]
    if slowest:
        console.show("")
        heads = ("artefact", "round", "task", "time", "of processors", "written", "peak memory", "host")
        console.show(column_table("slowest tasks", heads, slowest))
    sentences = [sentence for status in statuses for sentence in _sentences(status, now)]
    for sentence in ["", *sentences] if sentences else []:
        console.show(Text(sentence))
    states = Counter(status.state.value for status in statuses)
    told = ", ".join(f"{number} {state}" for state, number in states.items())
    stopped = states["failed"] + states["interrupted"]
    console.note(f"{path}: {told}{'; next: run the same command again, finished tasks are kept' if stopped else ''}")


def _row(status: "ArtefactStatus", now: datetime) -> tuple[str, ...]:
    progress, attempt, largest = status.progress, status.attempt, status.largest
    left = progress.seconds_left if progress is not None else None
    return (
        Path(status.path).name or status.path,
        status.state.value,
        progress.round if progress is not None else "",
        f"{progress.num_done:,} of {progress.num_tasks:,}" if progress is not None else _all_tasks(status),
        duration_text(left) if left else "",
        _ago(attempt.last_progress, now) if attempt is not None else "",
        bytes_text(largest.peak_memory) if largest is not None else "",
    )


def _all_tasks(status: "ArtefactStatus") -> str:
    return f"{status.num_tasks_done:,}" if status.num_tasks_done else ""


def _who(attempt: "Attempt") -> str:
    workers = f"{attempt.executor}, {count(attempt.num_workers, 'workers')}"
    return f"process {attempt.pid} on {printable(attempt.host)} ({workers}), attempt {attempt.number}"


def _use_cells(use: "TaskUse") -> tuple[str, ...]:
    times = (duration_text(use.seconds), duration_text(use.processor_seconds))
    memory = f"{'' if use.is_peak_of_task else 'at most '}{bytes_text(use.peak_memory)}"
    return (*times, bytes_text(use.num_bytes), memory, printable(use.host))


def _ago(then: datetime, now: datetime) -> str:
    return f"{duration_text(max(0.0, (now - then).total_seconds()))} ago"


def _sentences(status: "ArtefactStatus", now: datetime) -> Iterator[str]:
    """What the table has no room for."""
    attempt = status.attempt
    if attempt is not None and status.state.value != "done":
        yield f"{status.path}: {_who(attempt)}, began {_ago(attempt.started, now)}"
        if status.evidence == "heartbeat":
            heard = _ago(attempt.last_sign_of_life, now)
            yield f"{status.path}: its lock is not seen here, but the run was heard of {heard}"
    if status.progress is not None and status.progress.num_failed:
        yield f"{status.path}: {count(status.progress.num_failed, 'tasks')} failed"
    if status.failure is not None:
        at, error = _ago(status.failure.at, now), printable(status.failure.error)
        yield f"{status.path}: task {printable(status.failure.task)} failed {at} on {status.failure.host}: {error}"
    elif status.error is not None:
        yield f"{status.path}: the last attempt failed: {printable(status.error)}"
