"""Tasks on a Dask cluster.

::

    calls ── a window of them ──▶ scheduler ──▶ worker ──▶ (index, result), in order of completion
                                     ▲            │ an error of ours is a result: it would be the same elsewhere
                                     └─ again ◀───┘ any other error is tried again, and so is the call of a lost worker

A call that failed for good does not stop the others: they are finished first, then it is named. What would fail every
call, such as a full disk, stops the run at once. Bytes do not depend on any of it: tasks write by rename, and one that
was run twice wrote the same twice.
"""

import os
import pickle
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import Future as Start
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self

from distributed import Client, Future, KilledWorker

import pipeline
from pipeline.engines.dask_cluster import JobWorkers, LocalWorkers, RunningWorkers, Workers, prepare_dask
from pipeline.engines.execution import Call, describe_call
from pipeline.engines.job_queue import BATCH_SYSTEMS, JobQueue
from pipeline.engines.process import prepare_process
from pipeline.engines.resources import granted_cpus, limit_threads, share_memory, too_little_memory
from pipeline.errors import ConfigurationError, DataError, ExecutionError, PipelineError

NUM_RETRIES = 2
"""How often a call is tried again that raised an error which is none of ours."""

_CALLS_AHEAD = 1_000
"""Calls that the scheduler knows of at a time, and more where there are more workers than half of that."""

_SECONDS_BETWEEN_LOOKS = 1.0


class DaskExecutor:
    """Runs calls on workers of a Dask cluster, which starts with the first of them.

    Args:
        workers: Where.
        notify: Is told the address of the dashboard, and what a person should know while nothing happens; each once.
    """

    def __init__(self, workers: Workers, notify: Callable[[str], None]) -> None:
        self.num_workers = workers.num_workers
        self.worker_bytes = workers.worker_bytes
        self._workers = workers
        self._notify = notify
        self._stack = ExitStack()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="dask-start")
        self._starting: Start[Client] | None = None
        self._told: set[str] = set()

    def warm_up(self, functions: Sequence[Callable[..., Any]]) -> None:
        """Start the cluster beside what the caller does next."""
        if functions:
            self._start()

    def map(self, calls: Sequence[Call], *, task_bytes: int = 0) -> Iterator[tuple[int, Any]]:
        """Run the calls side by side; those that failed for good are told when the others are done.

        Raises:
            PipelineError: The failure of the first of them.
            ConfigurationError: A worker has not the memory for one.
        """
        if not calls:
            return
        if self._workers.memory is not None and task_bytes > self._workers.memory:
            raise too_little_memory(task_bytes, self._workers.memory, "a Dask worker has")
        client = self._connected()
        failures: dict[int, PipelineError] = {}
        suspects: list[int] = []
        for index, outcome in self._run(client, calls, range(len(calls)), max(_CALLS_AHEAD, 2 * self.num_workers)):
            if not isinstance(outcome, _Failure):
                yield index, outcome
            elif outcome.is_killed:
                suspects.append(index)
            else:
                failures[index] = outcome.error
        # Dask suspects every call that a dead worker had before it; alone, they show which one it was.
        for index, outcome in self._run(client, calls, sorted(suspects), 1):
            if not isinstance(outcome, _Failure):
                yield index, outcome
            else:
                failures[index] = outcome.error
        if failures:
            raise _first_of(failures)

    def _run(
        self, client: "Client", calls: Sequence[Call], indices: Sequence[int], ahead: int
    ) -> Iterator[tuple[int, Any]]:
        """Index of each call with what it returned, or its failure; at most ``ahead`` calls are with the scheduler."""
        finished: SimpleQueue[Future] = SimpleQueue()
        pending: dict[Future, int] = {}
        remaining = iter(indices)

        def submit(count: int) -> None:
            wanted = list(islice(remaining, count))
            if not wanted:
                return
            for index, future in zip(wanted, self._submit(client, [calls[at] for at in wanted]), strict=True):
                pending[future] = index
                future.add_done_callback(finished.put)

        submit(ahead)
        try:
            while pending:
                done = self._next(finished)
                outcomes = self._outcomes(client, done, [calls[pending[future]] for future in done])
                numbers = [pending.pop(future) for future in done]
                del done  # the scheduler forgets what nobody holds
                if len(pending) <= ahead // 2:
                    submit(ahead - len(pending))
                for index, outcome in zip(numbers, outcomes, strict=True):
                    if isinstance(outcome, _Failure) and outcome.concerns_every_call:
                        raise outcome.error
                    yield index, outcome
        finally:
            if pending and client.status == "running":
                client.cancel(list(pending))

    def _submit(self, client: "Client", calls: Sequence[Call]) -> "list[Future]":
        # Many at a time: each submission is a graph of its own, and costs as much as several calls in it.
        return client.map(  # type: ignore[no-any-return]
            work,
            [pickle.dumps(call) for call in calls],
            folder=str(Path.cwd()),
            num_threads=self._workers.num_threads,
            version=pipeline.__version__,
            key=[f"{_function_name(call)}-{uuid.uuid4().hex}" for call in calls],
            retries=NUM_RETRIES,
            pure=False,
        )

    def _next(self, finished: "SimpleQueue[Future]") -> "list[Future]":
        """Whatever is done, when something is."""
        while True:
            try:
                done = [finished.get(timeout=_SECONDS_BETWEEN_LOOKS)]
            except Empty:
                sentence = self._workers.check()
                if sentence is not None:
                    self._tell(sentence)
                continue
            with suppress(Empty):
                while True:
                    done.append(finished.get_nowait())
            return done

    def _outcomes(self, client: "Client", done: "list[Future]", calls: Sequence[Call]) -> list[Any]:
        """What calls returned, or failures."""
        returned = [future for future in done if future.status == "finished"]
        try:
            results = dict(zip(returned, client.gather(returned), strict=True))
        except (CancelledError, OSError):
            results = {}  # the scheduler went away in between
        return [
            results[future] if future in results else self._failure(future, call)
            for future, call in zip(done, calls, strict=True)
        ]

    def _failure(self, future: "Future", call: Call) -> "_Failure":
        if future.status != "error":
            lost = ExecutionError(
                f"{self._workers.name}: the connection to the Dask scheduler was lost",
                hint="run the same command again: finished tasks are kept",
            )
            return _Failure(lost, concerns_every_call=True)
        error = future.exception()
        if isinstance(error, KilledWorker):
            why = (
                f"{error.allowed_failures + 1} workers died, one after the other, while they ran it, most likely "
                "killed because memory or time ran out"
            )
            hint = "give each worker more of it, and run the same command again: finished tasks are kept"
        else:
            why = f"failed {NUM_RETRIES + 1} times, at last with {type(error).__name__}: {error}"
            hint = "look at what it reads, and run the same command again: finished tasks are kept"
        told = ExecutionError(f"{describe_call(call)}: {why}", hint=hint)
        return _Failure(told, is_killed=isinstance(error, KilledWorker))

    def _start(self) -> "Start[Client]":
        if self._starting is None:
            prepare_dask()
            self._starting = self._background.submit(self._workers.connect, self._stack)
        return self._starting

    def _connected(self) -> "Client":
        client = self._start().result()
        self._tell(f"Dask dashboard: {client.dashboard_link}")
        return client

    def _tell(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._notify(sentence)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._background.shutdown()  # what has begun to start has to be there to be ended
        self._stack.close()


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a call did not return."""

    error: PipelineError
    concerns_every_call: bool = False
    """Whether there is no use in going on with the others."""
    is_killed: bool = False
    """Whether workers died that had the call; it, or a neighbour, may be why."""


def work(payload: bytes, folder: str, num_threads: int, version: str) -> Any:
    """Run a call where the worker is.

    Args:
        payload: The call, pickled: it is unpickled here, so that what it imports finds threads and allocator set.
        folder: Where the command was given: relative paths begin there.
        num_threads: Threads that the call may use.
        version: Of this package, where the command was given.

    Returns:
        What the call returns, or the failure that an error of ours is: it would be the same elsewhere, and is not
        tried again.
    """
    if version != pipeline.__version__:
        found = f"a worker on {socket.gethostname()} has version {pipeline.__version__} of protein-pipeline"
        error = ExecutionError(f"{found}, expected {version}", hint="give workers the same Python as the command")
        return _Failure(error, concerns_every_call=True)
    prepare_process()
    limit_threads(num_threads)
    try:
        os.chdir(folder)
    except OSError as error:
        unseen = ExecutionError(
            f"{folder}: not to be seen by a worker on {socket.gethostname()}: {error.strerror}",
            hint="run the command from a folder on shared storage",
        )
        return _Failure(unseen, concerns_every_call=True)
    try:
        return pickle.loads(payload)()  # noqa: S301  (what the client of this scheduler sends is run, whatever it is)
    except PipelineError as error:
        # One file may be broken; what is no fault of the data is met by every call.
        return _Failure(error, concerns_every_call=not isinstance(error, DataError))


def _first_of(failures: dict[int, PipelineError]) -> PipelineError:
    """The error of the first call, whichever failed first."""
    first = failures[min(failures)]
    others = len(failures) - 1
    if not others:
        return first
    return type(first)(f"{first.message}; {others} more failed, the rest is done", hint=first.hint)


def _function_name(call: Call) -> str:
    """What Dask calls the call: its dashboard, and its estimates of time, go by it."""
    return describe_call(call).partition("(")[0].replace("-", "_")


def make_dask_executor(
    scheduler: str | None,
    site: JobQueue | None,
    num_workers: int | None,
    memory: int | None,
    notify: Callable[[str], None],
) -> DaskExecutor:
    """The executor for what ``--scheduler`` says.

    Args:
        scheduler: None: workers on this machine; a key of ``BATCH_SYSTEMS``; or the address or file of a scheduler.
        site: What a job asks for, where a batch system gives them out.
        num_workers: Workers that are wanted; None: the processors granted, or as many as the site's settings say.
        memory: Bytes that all processes together may use, on this machine.
        notify: Is told the address of the dashboard.

    Raises:
        ConfigurationError: Options that do not fit together.
        ExecutionError: No scheduler answers, or it has no worker.
    """
    is_batch = scheduler in BATCH_SYSTEMS
    if site is not None and not is_batch:
        raise ConfigurationError(f"--site: expected --scheduler {', '.join(BATCH_SYSTEMS)} beside it")
    if scheduler is None:
        wanted = num_workers or granted_cpus()
        share = share_memory(wanted, memory)
        threads = max(1, granted_cpus() // share.num_workers)
        local = LocalWorkers(num_workers=share.num_workers, worker_bytes=share.worker_bytes, num_threads=threads)
        local.memory = None if memory is None else share.worker_bytes
        return DaskExecutor(local, notify)
    if memory is not None:
        raise ConfigurationError(
            f"--memory: the workers of --scheduler {scheduler} have the memory that they have",
            hint="say it in --site" if is_batch else "say it where the workers are started",
        )
    if scheduler in BATCH_SYSTEMS:
        if site is None:
            raise ConfigurationError(
                f"--scheduler {scheduler}: expected --site FILE.toml beside it, which says what a job asks for",
                hint="workflows/slurm.toml is an example",
            )
        return DaskExecutor(JobWorkers(scheduler, site, num_workers), notify)
    if num_workers is not None:
        raise ConfigurationError(f"--workers: the scheduler {scheduler} has the workers that it has")
    return DaskExecutor(RunningWorkers(scheduler), notify)
