"""How far runs are, from the files alone: of one artefact, or of all in a recipe's folder.

::

    manifest.json is there                      done
    the lock of the folder is held              running
    … is not, but the log was touched of late   running, on another machine whose locks are not seen here
    the last attempt says that it failed        failed
    anything else                               interrupted

Nothing is written, and no run is disturbed: any machine that sees the folder may ask at any time.
"""

import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.engines.lock import LOCK_NAME, is_locked
from pipeline.engines.pace import Pace
from pipeline.engines.task_log import (
    HEARTBEAT_SECONDS,
    LOG_NAME,
    Entry,
    RoundStarted,
    RunEnded,
    RunStarted,
    TaskEnded,
    read_failures,
    read_log,
)
from pipeline.errors import ConfigurationError
from pipeline.formats.manifest import MANIFEST_NAME, RUN_NAME, Kind, is_finished, read_manifest, read_run

SECONDS_OF_LIFE = 5 * HEARTBEAT_SECONDS
"""A run of another machine that was not heard of for so long is taken to be dead."""

SLOWEST_SHOWN = 5

_ORDER: tuple[Kind, ...] = ("download", "corpus", "clusters", "plan", "shards")
_OF_A_RECIPE: tuple[Kind, ...] = ("corpus", "plan", "shards")

Evidence = Literal["lock", "heartbeat"]


class State(StrEnum):
    """How far an artefact is."""

    DONE = "done"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Nobody works on it: stopped by a person, or killed."""
    FAILED = "failed"
    NOT_STARTED = "not started"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class TaskUse(_Model):
    """What a finished task used."""

    task: str
    round: str
    seconds: float
    processor_seconds: float
    num_bytes: int
    """Written."""
    peak_memory: int
    """Bytes, of the process that it ran in."""
    is_peak_of_task: bool
    """Whether the task itself came to them: else it needed at most as much."""
    host: str


class TaskFailure(_Model):
    """A task that failed."""

    task: str
    error: str
    host: str
    at: datetime


class Progress(_Model):
    """The round that is, or was, under way."""

    round: str
    num_tasks: int
    num_done: int
    num_failed: int
    """In the last attempt, and not done since."""
    tasks_per_second: float | None = None
    seconds_left: float | None = None
    """Of this round: how many come after it is not known."""


class Attempt(_Model):
    """The last run in the folder."""

    number: int
    started: datetime
    host: str
    pid: int
    executor: str
    num_workers: int
    last_progress: datetime
    """When the last task ended, or the round began."""
    last_sign_of_life: datetime
    """Also while a task runs."""


class ArtefactStatus(_Model):
    """How far an artefact is."""

    path: str
    kind: Kind | None
    """None where the run has not come to say it yet."""
    state: State
    evidence: Evidence | None = None
    """What shows that it is running."""
    attempt: Attempt | None = None
    """None where there is no log."""
    progress: Progress | None = None
    """Of the last attempt, unless all is done."""
    num_tasks_done: int = 0
    """Of all rounds."""
    failure: TaskFailure | None = None
    """The last task that failed in the last attempt."""
    error: str | None = None
    """What the last attempt ended with."""
    slowest: tuple[TaskUse, ...] = ()
    """Tasks, the slowest first."""
    largest: TaskUse | None = None
    """The task that ended with the highest peak of memory."""

    @property
    def has_failed(self) -> bool:
        """Whether the last attempt, or a task of it, failed."""
        failed = self.progress is not None and self.progress.num_failed > 0
        return self.state is not State.DONE and (self.state is State.FAILED or failed)


def status_of(folder: Path, *, now: datetime | None = None) -> tuple[ArtefactStatus, ...]:
    """How far the artefacts are that are in a folder, or the one that it is.

    Args:
        folder: An artefact, finished or not, or the folder that a recipe makes its artefacts in.
        now: The time.

    Raises:
        ArtefactError: A ``run.json`` or ``manifest.json`` cannot be read.
        ConfigurationError: There is no artefact.
    """
    now = now or datetime.now(UTC)
    if _is_artefact(folder):
        return (_status(folder, now),)
    inside = sorted(path for path in folder.iterdir() if _is_artefact(path)) if folder.is_dir() else []
    if not inside:
        raise ConfigurationError(
            f"{folder}: expected an artefact or a folder of artefacts, found none",
            hint="a run that has just begun looks at its inputs before it makes its folder",
        )
    found = [_status(path, now) for path in inside]
    found += _not_started(folder, found)
    return tuple(sorted(found, key=lambda status: (_ORDER.index(status.kind) if status.kind else 0, status.path)))


def _is_artefact(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (MANIFEST_NAME, RUN_NAME, LOG_NAME, LOCK_NAME))


def _not_started(folder: Path, found: Sequence[ArtefactStatus]) -> list[ArtefactStatus]:
    """What a recipe makes after its corpus, whatever it says; of clusters nobody knows without it."""
    kinds = {status.kind for status in found}
    if (folder / "corpus") not in {Path(status.path) for status in found}:
        return []
    missing = [kind for kind in _OF_A_RECIPE if kind not in kinds]
    return [ArtefactStatus(path=str(folder / kind), kind=kind, state=State.NOT_STARTED) for kind in missing]


def _status(folder: Path, now: datetime) -> ArtefactStatus:
    entries = read_log(folder)
    number = max((entry.attempt for entry in entries), default=0)
    of_last = [entry for entry in entries if entry.attempt == number]
    done = {entry.task: entry for entry in entries if isinstance(entry, TaskEnded) and entry.outcome == "done"}
    failures = _failures(folder, of_last)
    ended = of_last[-1] if of_last and isinstance(of_last[-1], RunEnded) else None
    attempt = _attempt(folder, of_last)
    evidence = _evidence(folder, attempt, now)
    state = _state(folder, evidence, ended)
    by_time = sorted(done.values(), key=lambda entry: entry.seconds, reverse=True)
    by_memory = max(done.values(), key=lambda entry: (entry.peak_memory, entry.is_peak_of_task), default=None)
    return ArtefactStatus(
        path=str(folder),
        kind=_kind(folder, entries),
        state=state,
        evidence=evidence if state is State.RUNNING else None,
        attempt=attempt,
        progress=None if state is State.DONE else _progress(of_last, len(failures), now, state),
        num_tasks_done=len(done),
        failure=failures[-1] if failures and state is not State.DONE else None,
        error=ended.error if ended and state is not State.DONE else None,
        slowest=tuple(_use(entry) for entry in by_time[:SLOWEST_SHOWN]),
        largest=_use(by_memory) if by_memory and by_memory.peak_memory else None,
    )


def _kind(folder: Path, entries: Sequence[Entry]) -> Kind | None:
    run = read_run(folder)
    if run is not None:
        return run.kind
    return read_manifest(folder).kind if is_finished(folder) else entries[-1].stage if entries else None


def _state(folder: Path, evidence: Evidence | None, ended: RunEnded | None) -> State:
    if is_finished(folder):
        return State.DONE
    if evidence is not None:
        return State.RUNNING
    return State.FAILED if ended is not None and ended.outcome == "failed" else State.INTERRUPTED


def _evidence(folder: Path, attempt: Attempt | None, now: datetime) -> Evidence | None:
    """What shows that a run is at work."""
    held = is_locked(folder)
    if held:
        return "lock"
    # The lock's file goes when a run ends, other than by a kill.
    if attempt is None or not (folder / LOCK_NAME).exists():
        return None
    elsewhere = held is None or attempt.host != socket.gethostname()
    is_fresh = now - attempt.last_sign_of_life < timedelta(seconds=SECONDS_OF_LIFE)
    return "heartbeat" if elsewhere and is_fresh else None


def _attempt(folder: Path, of_last: Sequence[Entry]) -> Attempt | None:
    run = next((entry for entry in of_last if isinstance(entry, RunStarted)), None)
    if run is None:
        return None
    return Attempt(
        number=run.attempt,
        started=run.at,
        host=run.host,
        pid=run.pid,
        executor=run.executor,
        num_workers=run.num_workers,
        last_progress=max(_time_of(entry) for entry in of_last),
        last_sign_of_life=datetime.fromtimestamp((folder / LOG_NAME).stat().st_mtime, UTC),
    )


def _time_of(entry: Entry) -> datetime:
    return entry.started + timedelta(seconds=entry.seconds) if isinstance(entry, TaskEnded) else entry.at


def _failures(folder: Path, of_last: Sequence[Entry]) -> list[TaskFailure]:
    """Of the last attempt, the latest last; what was done later, or elsewhere at the same time, did not fail."""
    ended = [entry for entry in of_last if isinstance(entry, TaskEnded)]
    done = {entry.task for entry in ended if entry.outcome == "done"}
    failed = [
        (entry.started, entry.task, entry.error or "", entry.host) for entry in ended if entry.outcome == "failed"
    ]
    failed += [(failure.started, failure.task, failure.error, failure.host) for failure in read_failures(folder)]
    last = {task: TaskFailure(task=task, error=error, host=host, at=at) for at, task, error, host in sorted(failed)}
    return [failure for task, failure in last.items() if task not in done]


def _progress(of_last: Sequence[Entry], num_failed: int, now: datetime, state: State) -> Progress | None:
    rounds = [place for place, entry in enumerate(of_last) if isinstance(entry, RoundStarted)]
    if not rounds:
        return None
    started = of_last[rounds[-1]]
    assert isinstance(started, RoundStarted), "found as one"
    since = of_last[rounds[-1] + 1 :]
    done = {entry.task: entry for entry in since if isinstance(entry, TaskEnded) and entry.outcome == "done"}
    ends = [_time_of(entry) for entry in done.values()]
    last = max([started.at, *ends])
    pace = Pace(
        num_done=len(done),
        num_left=started.num_tasks - started.num_kept - len(done),
        seconds=(last - started.at).total_seconds(),
        seconds_since=(now - last).total_seconds(),
    )
    is_running = state is State.RUNNING
    return Progress(
        round=started.round,
        num_tasks=started.num_tasks,
        num_done=started.num_kept + len(done),
        num_failed=num_failed,
        tasks_per_second=pace.tasks_per_second if is_running else None,
        seconds_left=pace.seconds_left if is_running else None,
    )


def _use(entry: TaskEnded) -> TaskUse:
    return TaskUse(**{name: getattr(entry, name) for name in TaskUse.model_fields})
