"""What happened in a folder: ``log.jsonl``, one JSON object a line, written by the process that runs the stage.

::

    {"event": "run", "attempt": 1, "stage": "corpus", "at": "2026-11-21T20:40:00Z", "host": "node7", …}
    {"event": "round", …, "round": "read", "num_tasks": 64, "num_kept": 0}
    {"event": "task", …, "round": "read", "task": "chunk-00000", "outcome": "done", "seconds": 3.2, …}
    {"event": "task", …, "task": "chunk-00001", "outcome": "failed", "error": "…"}
    {"event": "end", …, "outcome": "failed", "error": "…"}

Each line is one write to the end of the file, and a later attempt adds its own. A kill may leave a last line that is
cut: readers leave it out, and the next attempt cuts it off; the task in it is written again, for what a task used is in
the record of its completion, too. While a run lives it sets the time of the file every ``HEARTBEAT_SECONDS``, so that
another machine can tell a long task from a dead run. The log is no part of the artefact: nothing is made from it, and
the manifest does not name it.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self, TypedDict

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.engines.measurement import Measurement
from pipeline.engines.pace import bytes_written
from pipeline.engines.stage import TaskResult
from pipeline.errors import ConfigurationError, PipelineError
from pipeline.formats.manifest import Kind
from pipeline.formats.storage import write_json

LOG_NAME = "log.jsonl"
TASKS_NAME = ".tasks"
"""Folder of the records of finished tasks, inside an unfinished artefact."""
HEARTBEAT_SECONDS = 30.0
_FAILED = f"{TASKS_NAME}/failed"

Outcome = Literal["done", "failed", "interrupted"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class _Common(TypedDict):
    attempt: int
    stage: Kind


class _OfStage(_Entry):
    event: str
    attempt: int
    """Which run in this folder, from 1."""
    stage: Kind


class RunStarted(_OfStage):
    """An attempt begins."""

    event: Literal["run"] = "run"
    at: AwareDatetime
    host: str
    pid: int
    executor: str
    num_workers: int


class RoundStarted(_OfStage):
    """A round begins."""

    event: Literal["round"] = "round"
    at: AwareDatetime
    round: str
    num_tasks: int
    num_kept: int
    """Tasks that were finished earlier."""


class TaskEnded(Measurement, _OfStage):
    """A task is done, or has failed."""

    event: Literal["task"] = "task"
    executor: str
    round: str
    task: str
    outcome: Literal["done", "failed"]
    num_bytes: int = 0
    """Written, intermediate files included."""
    error: str | None = None
    """Of a task that failed."""


class RunEnded(_OfStage):
    """An attempt ends, other than by a kill."""

    event: Literal["end"] = "end"
    at: AwareDatetime
    outcome: Outcome
    error: str | None = None


Entry = RunStarted | RoundStarted | TaskEnded | RunEnded
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="event")])


class Failure(Measurement):
    """What a task that failed leaves where it ran, for the process that writes the log."""

    task: str
    error: str


def read_log(folder: Path) -> list[Entry]:
    """Entries in the order they were written; none where there is no log.

    A last line that is cut, or not yet there in full, is left out, and so is what a later version may have added.

    Raises:
        OSError: The file is there but cannot be read.
    """
    try:
        text = (folder / LOG_NAME).read_bytes()
    except FileNotFoundError:
        return []
    return [entry for line in text.split(b"\n")[:-1] if (entry := _parsed(line)) is not None]


def _parsed(line: bytes) -> Entry | None:
    try:
        return _ENTRY.validate_json(line)
    except ValidationError:
        return None


def note_failure(folder: Path, task: str, measured: Measurement, error: Exception) -> None:
    """Leave word of a task that failed; if that cannot be written either, the error itself is what counts."""
    failure = Failure(**measured.model_dump(), task=task, error=error_text(error))
    with suppress(OSError, PipelineError):
        write_json(folder / _FAILED / f"{task}.json", failure.model_dump(mode="json"), durable=False)


def read_failures(folder: Path) -> list[Failure]:
    """What failed and is not in the log yet, the earliest first."""
    failures = []
    for path in (folder / _FAILED).glob("*.json"):
        with suppress(OSError, ValidationError):  # gone in between, or of another version
            failures.append(Failure.model_validate_json(path.read_bytes()))
    return sorted(failures, key=lambda failure: failure.started)


def error_text(error: BaseException) -> str:
    """What an error says; its class where that is none of ours, or says nothing."""
    return str(error) if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}".removesuffix(": ")


class TaskLog:
    """Writes the log of one attempt. A context manager; the folder's lock must be held.

    Args:
        folder: The artefact that is made.
        stage: Its kind.
        executor: Name of who does the work.
        num_workers: How many they are.
        clock: The time.
        heartbeat_seconds: How often the time of the file is set.
    """

    def __init__(
        self,
        folder: Path,
        stage: Kind,
        *,
        executor: str,
        num_workers: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._folder = folder
        self._path = folder / LOG_NAME
        self.stage: Kind = stage
        self._executor = executor
        self._num_workers = num_workers
        self._clock = clock
        self._round = ""
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, args=(heartbeat_seconds,), daemon=True)

    def __enter__(self) -> Self:
        earlier = read_log(self._folder)
        self._attempt = 1 + max((entry.attempt for entry in earlier), default=0)
        self._logged = {entry.task for entry in earlier if isinstance(entry, TaskEnded) and entry.outcome == "done"}
        self._round = next((entry.round for entry in reversed(earlier) if isinstance(entry, RoundStarted)), "")
        _cut_torn_line(self._path)
        self._collect_failures(self._attempt - 1)
        self._append(
            RunStarted(
                **self._common(),
                at=self._clock(),
                host=socket.gethostname(),
                pid=os.getpid(),
                executor=self._executor,
                num_workers=self._num_workers,
            )
        )
        self._heart.start()
        return self

    def round_started(self, label: str, num_tasks: int, kept: Mapping[str, TaskResult]) -> None:
        """A round begins.

        Args:
            label: Its name.
            num_tasks: How many tasks it has.
            kept: Those of them that were finished earlier, by name: what is not in the log comes into it now.
        """
        self._round = label
        lost = [
            self._entry(name, result.measured, self._attempt - 1, num_bytes=bytes_written(result))
            for name, result in kept.items()
            if result.measured is not None and name not in self._logged
        ]
        started = RoundStarted(**self._common(), at=self._clock(), round=label, num_tasks=num_tasks, num_kept=len(kept))
        self._append(*lost, started)

    def task_done(self, name: str, result: TaskResult) -> None:
        """A task is done."""
        if result.measured is not None:
            self._append(self._entry(name, result.measured, self._attempt, num_bytes=bytes_written(result)))

    def round_ended(self) -> None:
        """No more tasks of the round run, whether they are done or not."""
        with suppress(ConfigurationError):  # where an error is under way, it is the one to tell
            self._collect_failures(self._attempt)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        self._ended.set()
        self._heart.join()
        outcome: Outcome = "failed" if isinstance(error, Exception) else "done" if error is None else "interrupted"
        told = error_text(error) if isinstance(error, Exception) else None
        with suppress(ConfigurationError):  # likewise
            self._append(RunEnded(**self._common(), at=self._clock(), outcome=outcome, error=told))

    def _common(self) -> _Common:
        return {"attempt": self._attempt, "stage": self.stage}

    def _entry(self, task: str, measured: Measurement, attempt: int, **told: object) -> TaskEnded:
        return TaskEnded.model_validate(
            {
                "attempt": attempt,
                "stage": self.stage,
                "executor": self._executor,
                "round": self._round,
                "task": task,
                "outcome": "done",
                **{name: getattr(measured, name) for name in Measurement.model_fields},
                **told,
            }
        )

    def _collect_failures(self, attempt: int) -> None:
        failures = read_failures(self._folder)
        self._append(
            *(
                self._entry(failure.task, failure, attempt, outcome="failed", error=failure.error)
                for failure in failures
            )
        )
        for failure in failures:
            (self._folder / _FAILED / f"{failure.task}.json").unlink(missing_ok=True)

    def _append(self, *entries: Entry) -> None:
        try:
            _append_lines(self._path, [entry.model_dump_json(exclude_none=True) for entry in entries])
        except OSError as error:
            raise ConfigurationError(
                f"{self._path}: cannot be written: {error.strerror or error}",
                hint="make room, and run the same command again: finished tasks are kept",
            ) from error

    def _beat(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            with suppress(OSError):
                os.utime(self._path)


def _append_lines(path: Path, lines: Iterable[str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        for line in lines:
            os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _cut_torn_line(path: Path) -> None:
    """Take away what stands behind the last end of a line."""
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
