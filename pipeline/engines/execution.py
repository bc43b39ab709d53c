"""Who runs the tasks: one at a time in this process, or side by side in several.

A task is one call of a module-level function with picklable arguments. It writes its files by rename and returns a
JSON-able result, so that it can be repeated, skipped, or run anywhere, and the bytes do not depend on where.

::

    stage ── rounds of tasks ──▶ run_stage (engines.runner) ──▶ Executor.map ──▶ results, in order of completion
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing.connection import wait as wait_for_sentinels
from queue import SimpleQueue
from typing import Any, Protocol, Self

from pipeline.engines.job_queue import JobQueue
from pipeline.engines.process import prepare_process
from pipeline.engines.resources import DEFAULT_SHARE, granted_cpus, limit_threads, share_memory, tasks_at_once
from pipeline.errors import ConfigurationError, ExecutionError

Call = Callable[[], Any]
"""A picklable call without arguments, such as ``functools.partial`` of a module-level function."""

_CALLS_AHEAD = 8
"""Calls in the pool for each worker, not all at once: measured with 8,000 that do nothing, the process that asks needed
2.1 ms for each where it waited for all of them, and 0.7 ms where it waits for a few."""


class Executor(Protocol):
    """Runs calls; a context manager, so that workers end with it."""

    num_workers: int
    worker_bytes: int
    """Memory that a task may use."""

    def warm_up(self, functions: Sequence[Callable[..., Any]]) -> None:
        """Let workers start and load what they will need, beside what the caller does next; no functions: do not."""
        ...

    def map(self, calls: Sequence[Call], *, task_bytes: int = 0) -> Iterator[tuple[int, Any]]:
        """Index and result of each call, in order of completion.

        No more of them run at a time than the memory holds that was asked to be kept to. An exception of a call is
        raised here: the first one at once, after which no further call is started, or, where machines are many and
        nobody waits beside them, when the others are done.

        Args:
            calls: To run.
            task_bytes: Memory that each needs, its process included; 0: it keeps to ``worker_bytes``.

        Raises:
            ConfigurationError: There is not enough memory for one.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *details: object) -> None: ...


class SerialExecutor:
    """One call after another, in this process."""

    def __init__(self, num_workers: int = 1, worker_bytes: int = DEFAULT_SHARE, memory: int | None = None) -> None:
        self.num_workers = 1
        self.worker_bytes = worker_bytes
        self._memory = memory
        del num_workers  # the same signature as every executor; one is all there is

    def warm_up(self, functions: Sequence[Callable[..., Any]]) -> None:
        """Nothing to start."""

    def map(self, calls: Sequence[Call], *, task_bytes: int = 0) -> Iterator[tuple[int, Any]]:
        """Run the calls in order."""
        tasks_at_once(task_bytes, 1, self._memory)
        for index, call in enumerate(calls):
            yield index, call()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        pass


class ProcessExecutor:
    """Several processes, started by spawn and kept until the executor closes.

    A single call runs in this process: starting a worker costs more than most small jobs. Workers leave Ctrl-C to the
    parent and end by themselves when the parent is gone.

    Raises:
        ExecutionError: A worker died, for instance killed because memory ran out.
    """

    def __init__(self, num_workers: int, worker_bytes: int = DEFAULT_SHARE, memory: int | None = None) -> None:
        self.num_workers = num_workers
        self.worker_bytes = worker_bytes
        self._memory = memory
        self._pool: ProcessPoolExecutor | None = None

    def warm_up(self, functions: Sequence[Callable[..., Any]]) -> None:
        """Start the workers; each imports the modules of the functions."""
        if functions and self.num_workers > 1:
            pool = self._started()
            for _ in range(self.num_workers):
                pool.submit(_load, tuple(functions))

    def map(self, calls: Sequence[Call], *, task_bytes: int = 0) -> Iterator[tuple[int, Any]]:
        """Run the calls side by side."""
        at_once = tasks_at_once(task_bytes, self.num_workers, self._memory)
        if len(calls) <= 1 or at_once == 1:
            yield from SerialExecutor().map(calls)
            return
        pool = self._started()
        finished: SimpleQueue[Future[Any]] = SimpleQueue()
        pending: dict[Future[Any], int] = {}
        remaining = iter(enumerate(calls))

        def submit(number: int) -> None:
            for index, call in islice(remaining, number):
                future = pool.submit(call)
                pending[future] = index
                future.add_done_callback(finished.put)

        try:
            # Unless memory is short, calls wait in the pool, where a worker finds the next one at once.
            submit(at_once if at_once < self.num_workers else _CALLS_AHEAD * self.num_workers)
            while pending:
                future = finished.get()
                index, result = pending.pop(future), future.result()
                submit(1)
                yield index, result
        except BrokenProcessPool as error:
            self._stop()
            raise ExecutionError(
                "a worker process died before its task was done, most likely killed because memory ran out",
                hint="run the same command again with fewer --workers: finished tasks are kept",
            ) from error
        finally:
            for future in pending:
                future.cancel()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            threads = max(1, granted_cpus() // self.num_workers)
            self._pool = ProcessPoolExecutor(
                self.num_workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_prepare_worker,
                initargs=(threads,),
            )
        return self._pool

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._stop()


def _load(functions: Sequence[Callable[..., Any]]) -> None:
    """Unpickling the functions has imported their modules."""
    del functions


def _prepare_worker(num_threads: int) -> None:
    prepare_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads(num_threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_sentinels([parent.sentinel])
        os._exit(1)  # nobody is left to take the result; half-written files are temporaries


def describe_call(call: Call) -> str:
    """A call in words: the function, and what it is given, which is cut where it is long."""
    if not isinstance(call, partial):
        return str(getattr(call, "__name__", call))
    given = [*map(repr, call.args), *(f"{name}={value!r}" for name, value in call.keywords.items())]
    return f"{call.func.__name__}({', '.join(text if len(text) <= 200 else f'{text[:199]}…' for text in given)})"


def make_executor(
    name: str,
    num_workers: int | None = None,
    memory: int | None = None,
    *,
    scheduler: str | None = None,
    site: JobQueue | None = None,
    notify: Callable[[str], None] | None = None,
) -> Executor:
    """The executor of that name.

    Args:
        name: A key of ``EXECUTORS``, or dask; a scheduler means dask.
        num_workers: Processes; None takes the processors granted to this one. Fewer where memory is short.
        memory: Bytes that all processes together may use; None: half a gigabyte for each.
        scheduler: Of Dask: see :func:`pipeline.engines.dask_executor.make_dask_executor`.
        site: What the jobs of a batch system ask for.
        notify: Is told the address of Dask's dashboard.

    Raises:
        ConfigurationError: Unknown name, fewer than one worker, not enough memory for one, or options that do not fit
            together.
        ExecutionError: No Dask scheduler answers.
    """
    if name not in {*EXECUTORS, DASK}:
        raise ConfigurationError(f"--executor {name}: expected one of {', '.join((*EXECUTORS, DASK))}")
    if num_workers is not None and num_workers < 1:
        raise ConfigurationError(f"--workers {num_workers}: expected at least 1")
    if name == "serial" and (scheduler is not None or site is not None):
        raise ConfigurationError("--scheduler and --site: expected --executor dask, found serial")
    if name == DASK or scheduler is not None or site is not None:
        from pipeline.engines.dask_executor import make_dask_executor  # noqa: PLC0415  (loads Dask: half a second)

        return make_dask_executor(scheduler, site, num_workers, memory, notify or _say_nothing)
    # Small jobs run in this process: it keeps to what it was granted, too.
    limit_threads(granted_cpus())
    wanted = 1 if name == "serial" else num_workers or granted_cpus()
    share = share_memory(wanted, memory)
    return EXECUTORS[name](share.num_workers, share.worker_bytes, memory)


def _say_nothing(sentence: str) -> None:
    del sentence


DASK = "dask"
"""Name of the executor that is not made from a number of workers and their memory alone."""

EXECUTORS: dict[str, Callable[[int, int, int | None], Executor]] = {
    "serial": SerialExecutor,
    "processes": ProcessExecutor,
}
