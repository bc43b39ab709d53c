"""How a stage becomes a folder: what is there is kept, what is missing is done, what differs is refused.

::

    corpus/
      run.json                   first: configuration and input fingerprints
      .tasks/part-00003.json     one record for each finished task: a rerun skips it
      .scratch/                  intermediate files of the stage
      log.jsonl                  what happened, for people: it stays, and is no part of the artefact
      part-00003.parquet         data, each by one rename
      manifest.json              last; .tasks and .scratch go when it is there
"""

import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.engines.execution import EXECUTORS, Executor, describe_call
from pipeline.engines.lock import LOCK_NAME, only_run_in
from pipeline.engines.measurement import Stopwatch
from pipeline.engines.stage import SCRATCH_NAME, Round, SilentWatcher, Stage, Task, TaskResult, Watcher
from pipeline.engines.task_log import LOG_NAME, TASKS_NAME, TaskLog, note_failure
from pipeline.errors import ArtefactConflictError, ConfigurationError, ExecutionError
from pipeline.formats.manifest import (
    MANIFEST_NAME,
    RUN_NAME,
    Manifest,
    Run,
    digest_of,
    is_finished,
    read_manifest,
    read_run,
    write_manifest,
    write_run,
)
from pipeline.formats.storage import read_json, remove_folder, remove_temporaries, write_json

_DROPPED_PATTERN = "dropped/chunk-*.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What running a stage came to."""

    manifest: Manifest
    was_finished: bool
    """True when the folder already held this artefact and nothing was done."""


def run_stage(
    stage: Stage, folder: Path, *, executor: Executor, watcher: Watcher | None = None, overwrite: bool = False
) -> StageOutcome:
    """Make the artefact of a stage, or as much of it as is missing.

    Args:
        stage: What to make.
        folder: Where; made if missing.
        executor: Who does it.
        watcher: Who is told how far it is.
        overwrite: Throw away an artefact of another configuration that is in the way.

    Raises:
        ArtefactConflictError: The folder holds something else, and ``overwrite`` was not given.
        PipelineError: Whatever the tasks raise; finished tasks are kept.
    """
    watcher = watcher or SilentWatcher()
    executor.warm_up(stage.forthcoming())
    run = stage.describe(folder)
    _keep_inputs_safe(folder, run)
    with only_run_in(folder):
        was_finished = not _claim(folder, run, overwrite=overwrite)
        if not was_finished:
            with TaskLog(folder, stage.kind, executor=_name_of(executor), num_workers=executor.num_workers) as log:
                write_manifest(folder, _drive(stage, folder, executor, watcher, log))
        for name in (TASKS_NAME, SCRATCH_NAME):
            remove_folder(folder / name)
        remove_temporaries(folder)
    return StageOutcome(manifest=read_manifest(folder, kind=stage.kind), was_finished=was_finished)


def _name_of(executor: Executor) -> str:
    """As --executor calls it."""
    named = (name for name, kind in EXECUTORS.items() if kind is type(executor))
    return next(named, type(executor).__name__.removesuffix("Executor").lower())


def _keep_inputs_safe(folder: Path, run: Run) -> None:
    """Refuse an output folder that is, holds, or lies inside something the stage reads."""
    out = folder.resolve()
    for source in run.inputs:
        place = (folder / source.path).resolve()
        inside = source.kind != "file" and out.is_relative_to(place)
        if inside or place.is_relative_to(out):
            raise ConfigurationError(
                f"--out {folder}: expected a folder apart from the input, found the {source.kind} {place} in its way",
                hint="choose another --out",
            )


def _claim(folder: Path, run: Run, *, overwrite: bool) -> bool:
    """Make ``folder`` hold ``run``; False when it already holds the finished artefact."""
    present = read_run(folder)
    if present is None:
        _refuse_strangers(folder)
    elif present.kind != run.kind:
        raise ArtefactConflictError(f"{folder}: holds a {present.kind}, not a {run.kind}", hint="choose another --out")
    elif differences := _differences(present, run):
        if not overwrite and _holds_work(folder):
            raise ArtefactConflictError(
                f"{folder}: holds a run that differs: {'; '.join(differences)}",
                hint="choose another --out, or throw the old one away with --overwrite",
            )
        _discard(folder)
    elif is_finished(folder) and _is_whole(folder):
        return False
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    write_run(folder, run)
    return True


def _holds_work(folder: Path) -> bool:
    """Whether anything was finished: an attempt that failed at its first task may be replaced by a better one."""
    return is_finished(folder) or any((folder / TASKS_NAME).glob("*.json")) or any(folder.rglob("*.parquet"))


def _discard(folder: Path) -> None:
    """Remove what the earlier run wrote, by its own records, and nothing else: a person's files in the folder stay."""
    written = [file.path for file in read_manifest(folder).files] if is_finished(folder) else []
    for record in (folder / TASKS_NAME).glob("*.json"):
        written += [file.path for file in TaskResult.model_validate(read_json(record)).files]
    written += [path.relative_to(folder).as_posix() for path in folder.glob(_DROPPED_PATTERN)]
    for name in (TASKS_NAME, SCRATCH_NAME):
        remove_folder(folder / name)
    remove_temporaries(folder)
    for name in (*written, LOG_NAME, MANIFEST_NAME, RUN_NAME):
        path = folder / name
        if path.parent.resolve().is_relative_to(folder.resolve()):  # never through a link to somewhere else
            path.unlink(missing_ok=True)


def _refuse_strangers(folder: Path) -> None:
    # A killed attempt may have left temporaries before its run.json came to be.
    ours = (".tmp", LOCK_NAME)
    strangers = [entry.name for entry in folder.iterdir() if not entry.name.endswith(ours)]
    if strangers:
        raise ArtefactConflictError(
            f"{folder}: expected an empty folder or an earlier run, found {strangers[0]!r} and no {RUN_NAME}",
            hint="choose another --out: nothing that this program did not write is ever removed",
        )


def _differences(present: Run, asked: Run) -> list[str]:
    there, here = _flat(present), _flat(asked)
    return [
        f"{key} is {there.get(key, 'absent')} there, {here.get(key, 'absent')} was asked for"
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ]


def _flat(run: Run) -> dict[str, str]:
    flat = {"kind": run.kind, "format_version": str(run.format_version)}
    for key, value in run.configuration.items():
        flat[key] = _short(value)
    for index, source in enumerate(sorted(run.inputs, key=lambda item: (item.kind, item.fingerprint))):
        flat[f"input {index + 1}"] = f"{source.kind} {source.fingerprint}"
    return flat


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… [{digest_of(value)[:8]}]"


def _is_whole(folder: Path) -> bool:
    return all(_has_size(folder / file.path, file.bytes) for file in read_manifest(folder).files)


def _has_size(path: Path, num_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == num_bytes


def _drive(stage: Stage, folder: Path, executor: Executor, watcher: Watcher, log: TaskLog) -> Manifest:
    rounds = stage.rounds(folder, executor.worker_bytes)
    try:
        current = next(rounds)
        while True:
            results = _run_round(current, folder, executor, watcher, log)
            current = rounds.send(results)
    except StopIteration as stop:
        manifest: Manifest = stop.value
        return manifest


def _run_round(current: Round, folder: Path, executor: Executor, watcher: Watcher, log: TaskLog) -> list[TaskResult]:
    for warning in current.warnings:
        watcher.warning(warning)
    results = [_finished_result(folder, task) for task in current.tasks]
    missing = [index for index, result in enumerate(results) if result is None]
    kept = {task.name: result for task, result in zip(current.tasks, results, strict=True) if result is not None}
    log.round_started(current.label, len(results), kept)
    watcher.round_started(log.stage, current.label, len(results), len(kept))
    calls = [_TaskCall(current.tasks[index], folder) for index in missing]
    try:
        for position, result in executor.map(calls, task_bytes=current.task_bytes):
            results[missing[position]] = result
            name = current.tasks[missing[position]].name
            log.task_done(name, result)
            watcher.task_finished(name, result)
            for warning in result.warnings:
                watcher.warning(warning)
    finally:
        log.round_ended()
    return [result for result in results if result is not None]


def _record_path(folder: Path, task: Task) -> Path:
    return folder / TASKS_NAME / f"{task.name}.json"


def _finished_result(folder: Path, task: Task) -> TaskResult | None:
    path = _record_path(folder, task)
    if not path.exists():
        return None
    result = TaskResult.model_validate(read_json(path))
    sizes = {**{file.path: file.bytes for file in result.files}, **result.scratch}
    return result if all(_has_size(folder / name, size) for name, size in sizes.items()) else None


@dataclass(frozen=True, slots=True)
class _TaskCall:
    """What an executor is given: it goes to another process, and says what it is where it fails."""

    task: Task
    folder: Path

    def __call__(self) -> TaskResult:
        return _perform(self.task, self.folder)

    def __str__(self) -> str:
        called = describe_call(partial(self.task.function, **self.task.arguments))
        return f"{called}, task {self.task.name} of {self.folder}"


def _perform(task: Task, folder: Path) -> TaskResult:
    # What the task used, and the record, are taken where it ran, so that both outlive the process that asked for it.
    if not (folder / RUN_NAME).exists():
        raise ExecutionError(
            f"{folder}: not to be seen where a task runs, on {socket.gethostname()}",
            hint="choose an --out on storage that all machines share",
        )
    stopwatch = Stopwatch()
    try:
        made = task.function(folder, **task.arguments)
        result = made.model_copy(update={"measured": stopwatch.read()})
        write_json(_record_path(folder, task), result.model_dump(mode="json"), durable=False)
    except Exception as error:
        note_failure(folder, task.name, stopwatch.read(), error)
        raise
    return result
