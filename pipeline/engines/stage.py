"""What a stage is made of: rounds of tasks, what a task reports, and who is told.

A stage says what it will make (``describe``) and cuts the work into rounds of tasks (``rounds``); ``engines.runner``
makes the folder. Tasks of one round do not depend on each other; a round may depend on the results of those before it.
"""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from pipeline.engines.measurement import Measurement
from pipeline.formats.manifest import File, Input, Kind, Manifest, Run, add_counts

SCRATCH_NAME = ".scratch"
"""Folder of intermediate files inside an artefact; it goes when the artefact is finished."""


class TaskResult(BaseModel):
    """What a task reports: JSON-able, mergeable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[File, ...] = ()
    """Data files of the artefact that the task wrote."""
    scratch: dict[str, int] = {}
    """Intermediate files, relative to the artefact, with their size in bytes."""
    counts: dict[str, int] = {}
    """Sums of everything counted."""
    reasons: dict[str, int] = {}
    """Records dropped, by reason."""
    warnings: tuple[str, ...] = ()
    """What a person should know, though nothing failed."""
    values: dict[str, Any] = {}
    """Anything else that later rounds need."""
    measured: Measurement | None = None
    """What it used, for the log: set by the runner, and nothing is made from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One call: ``function(folder, **arguments)`` returns a :class:`TaskResult`."""

    name: str
    """Unique within the stage; names the record of completion."""
    function: Callable[..., TaskResult]
    """Module-level, so that it can be sent to another process."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Picklable keyword arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Tasks that do not depend on each other; the next round may depend on their results."""

    label: str
    """What is being done, for the progress line: «parse», «merge»."""
    tasks: Sequence[Task]
    warnings: Sequence[str] = ()
    """What earlier rounds showed that a person should know."""
    task_bytes: int = 0
    """Memory that one task needs, its process included; 0: it keeps to what it is told."""


Rounds = Generator[Round, list[TaskResult], Manifest]
"""Yields rounds, is sent their results in the order of the tasks, returns the manifest."""


class Stage(Protocol):
    """A verb: from inputs and a configuration to a folder."""

    kind: Kind

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        """Functions that workers may load while the inputs are being identified; none where that is quick."""
        ...

    def describe(self, folder: Path) -> Run:
        """Configuration and inputs, as ``run.json`` holds them."""
        ...

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """The work, cut into tasks, each of which keeps to ``worker_bytes`` of memory."""
        ...


class Watcher(Protocol):
    """Who is told how far the work is."""

    def round_started(self, kind: str, label: str, total: int, done: int) -> None:
        """A round of ``total`` tasks begins; ``done`` of them were finished earlier."""
        ...

    def task_finished(self, name: str, result: TaskResult) -> None:
        """A task is done."""
        ...

    def warning(self, text: str) -> None:
        """Something a person should know."""
        ...


class SilentWatcher:
    """Says nothing."""

    def round_started(self, kind: str, label: str, total: int, done: int) -> None:
        """Say nothing."""

    def task_finished(self, name: str, result: TaskResult) -> None:
        """Say nothing."""

    def warning(self, text: str) -> None:
        """Say nothing."""


def total(results: Sequence[TaskResult], attribute: str) -> dict[str, int]:
    """``counts`` or ``reasons`` of all results, added."""
    return add_counts(getattr(result, attribute) for result in results)


def files_of(results: Sequence[TaskResult]) -> tuple[File, ...]:
    """All data files of the results, in the order of the tasks."""
    return tuple(file for result in results for file in result.files)


def artefact_input(source: Path, manifest: Manifest, folder: Path) -> Input:
    """The entry of an artefact among the inputs of another in ``folder``."""
    return Input(kind=manifest.kind, fingerprint=manifest.fingerprint, path=relative_path(source, folder))


def relative_path(target: Path, folder: Path) -> str:
    """How to get from ``folder`` to ``target``, with forward slashes."""
    return Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix()
