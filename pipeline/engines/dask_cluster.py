"""Where Dask's workers come from: this machine, a scheduler that runs already, or jobs of a batch system.

dask and its relatives are loaded here and in ``dask_executor``, and nowhere else.
"""

import asyncio
import logging
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.engines.job_queue import BATCH_SYSTEMS, DASK_BYTES, JobQueue
from pipeline.engines.resources import DEFAULT_SHARE, SMALLEST_SHARE
from pipeline.errors import ConfigurationError, ExecutionError, MissingExtraError

try:
    import dask
    from distributed import Client, LocalCluster, Status
except ModuleNotFoundError as error:
    raise MissingExtraError(
        f"--executor dask: {error.name} is not installed", hint="pip install 'protein-pipeline[hpc]'"
    ) from error

_SECONDS_TO_CONNECT = 10
_SECONDS_FOR_A_WORKER = 60

# A batch system that is started anew refuses what it takes a moment later.
_SUBMISSIONS = 3
_SECONDS_BETWEEN_SUBMISSIONS = 3

_CONFIGURATION: dict[str, Any] = {
    # Workers whose job was cancelled or ran out of time are replaced after this; Dask waits 15 s.
    "distributed.deploy.lost-worker-timeout": "5s",
    # Dask lets malloc give memory back at once: measured, tasks take half as long again, in page faults.
    "distributed.nanny.pre-spawn-environ": {},
}


class Workers(Protocol):
    """Where calls run."""

    name: str
    """For messages."""
    num_workers: int
    """At most, as far as it is known."""
    worker_bytes: int
    """Memory of a call."""
    memory: int | None
    """Bytes of a worker, its process included, that it cannot go beyond; None: nobody asked to keep to any."""
    num_threads: int
    """Threads of a call."""

    def connect(self, stack: ExitStack) -> "Client":
        """Start, or find them; the stack ends what was started."""
        ...

    def check(self) -> str | None:
        """Asked every second while nothing happens: whether anything will, and what a person should know meanwhile.

        Raises:
            ExecutionError: Nothing will.
        """
        ...


@dataclass(slots=True, kw_only=True)
class LocalWorkers:
    """Processes on this machine, which end with this one and leave Ctrl-C to it."""

    num_workers: int
    worker_bytes: int
    num_threads: int
    memory: int | None = None
    name: str = "--executor dask"

    def connect(self, stack: ExitStack) -> "Client":
        """Start scheduler and workers; nobody from another machine can reach them."""
        cluster = LocalCluster(
            n_workers=self.num_workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            # Tasks keep to their share by themselves, as they do in processes without Dask.
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            preload=[__name__],
        )
        stack.callback(cluster.close)
        return _client(stack, cluster)

    def check(self) -> str | None:
        """Workers that end are started again."""
        return None


class JobWorkers:
    """Workers in jobs of a batch system; the scheduler is in this process.

    Args:
        system: A key of ``BATCH_SYSTEMS``.
        site: What a job asks for.
        num_workers: How many are wanted; None: from the least to the most that the site's settings say.
    """

    def __init__(self, system: str, site: JobQueue, num_workers: int | None) -> None:
        self._cluster_class = _cluster_class(system)
        self._jobs = site.jobs_for(num_workers)
        self._keywords = site.keywords(system)
        self._submissions = _Submissions()
        self._cluster: Any = None
        self._quiet_since = time.monotonic()
        self.name = f"--scheduler {system}"
        self.num_workers = self._jobs[1] * site.num_processes
        self.worker_bytes = site.worker_bytes
        self.memory: int | None = site.worker_bytes + DASK_BYTES
        self.num_threads = site.num_threads

    def connect(self, stack: ExitStack) -> "Client":
        """Start the scheduler, and ask for jobs as there is work for them; jobs go when the stack does."""
        self._keywords["log_directory"] = str(Path(self._keywords["log_directory"]).absolute())
        cluster_class = self._submissions.watched(self._cluster_class)
        cluster = cluster_class(
            **self._keywords, silence_logs=logging.CRITICAL, scheduler_options={"dashboard_address": ":0"}
        )
        stack.callback(cluster.close)
        minimum, maximum = self._jobs
        # One that is scaled, not adapted, would not replace what was cancelled.
        cluster.adapt(minimum_jobs=minimum, maximum_jobs=maximum)
        self._cluster = cluster
        return _client(stack, cluster)

    def check(self) -> str | None:
        """Jobs may wait in the queue for days; one that the batch system does not take will not come."""
        if self._cluster.scheduler.workers:
            self._quiet_since = time.monotonic()
            return None
        if self._submissions.refusal is not None:
            self._submissions.is_over = True
            raise ExecutionError(
                f"{self.name}: no job could be submitted: {self._submissions.refusal}",
                hint="check the settings in --site",
            )
        if time.monotonic() - self._quiet_since < _SECONDS_FOR_A_WORKER:
            return None
        return (
            f"{self.name}: no worker for {_SECONDS_FOR_A_WORKER} s: jobs wait in the queue, or have failed, which "
            f"{self._keywords['log_directory']} would tell"
        )


class RunningWorkers:
    """Workers of a scheduler that somebody started; they are left as they are.

    Args:
        scheduler: Address, or path of a scheduler file.

    Raises:
        ConfigurationError: Neither an address nor a file.
        ExecutionError: Nobody answers there, or there is no worker.
    """

    def __init__(self, scheduler: str) -> None:
        is_address = "://" in scheduler
        if not is_address and not Path(scheduler).is_file():
            raise ConfigurationError(
                f"--scheduler {scheduler}: expected an address such as tcp://host:8786, a scheduler file, or one of "
                f"{', '.join(BATCH_SYSTEMS)}"
            )
        self.name = f"--scheduler {scheduler}"
        where = {"address": scheduler} if is_address else {"scheduler_file": scheduler}
        prepare_dask()
        try:
            self._client = Client(**where, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
        except OSError as error:
            raise ExecutionError(
                f"--scheduler {scheduler}: nobody answers there", hint="check that the scheduler runs"
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=_SECONDS_FOR_A_WORKER)
        except TimeoutError as error:
            self._client.close()
            raise ExecutionError(
                f"--scheduler {scheduler}: no worker came in {_SECONDS_FOR_A_WORKER} s", hint="start dask workers"
            ) from error
        # All of them, at the time: five are what the answer holds by default.
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        self.num_workers = sum(worker["nthreads"] for worker in workers)
        self.worker_bytes = min(_share_of(worker) for worker in workers)
        self.memory = self.worker_bytes if all(worker["memory_limit"] for worker in workers) else None
        self.num_threads = 1

    def connect(self, stack: ExitStack) -> "Client":
        """Connected already."""
        stack.callback(self._client.close)
        return self._client

    def check(self) -> str | None:
        """A scheduler that goes away ends every call, which is answer enough."""
        return None


def _share_of(worker: dict[str, Any]) -> int:
    if not worker["memory_limit"]:
        return DEFAULT_SHARE
    return max(SMALLEST_SHARE, int(worker["memory_limit"]) // int(worker["nthreads"]))


def _client(stack: ExitStack, cluster: Any) -> "Client":
    client = Client(cluster, set_as_default=False)
    stack.callback(client.close)
    return client


class _Submissions:
    """What the batch system said to the jobs that it was given last."""

    def __init__(self) -> None:
        self.refusal: str | None = None
        self.is_over = False
        """Nobody waits for a job any more."""

    def watched(self, cluster_class: Any) -> Any:
        """The class with jobs that are watched: dask-jobqueue asks once, logs a refusal, and counts on the job."""
        submissions = self

        class WatchedJob(cluster_class.job_cls):  # type: ignore[misc]
            async def _submit_job(self, script_filename: str) -> Any:
                for _ in range(_SUBMISSIONS - 1):
                    try:
                        return await self._submit_once(script_filename)
                    except (OSError, RuntimeError):
                        await asyncio.sleep(0 if submissions.is_over else _SECONDS_BETWEEN_SUBMISSIONS)
                return await self._submit_once(script_filename)

            async def _submit_once(self, script_filename: str) -> Any:
                try:
                    answer = await super()._submit_job(script_filename)
                except (OSError, RuntimeError) as error:
                    words = [line.strip() for line in str(error).splitlines() if line.strip()]
                    submissions.refusal = words[-1] if words else type(error).__name__
                    self.status = Status.failed
                    raise
                submissions.refusal = None
                return answer

        return type(cluster_class.__name__, (cluster_class,), {"job_cls": WatchedJob})


def _cluster_class(system: str) -> Any:
    try:
        import dask_jobqueue  # noqa: PLC0415  (only who has a batch system needs it)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"--scheduler {system}: dask-jobqueue is not installed", hint="pip install 'protein-pipeline[hpc]'"
        ) from error
    return getattr(dask_jobqueue, BATCH_SYSTEMS[system])


def prepare_dask() -> None:
    """Set Dask up in this process: what it would log is told here in one sentence, or is no matter."""
    dask.config.set(_CONFIGURATION)
    for name in ("distributed", "distributed.client", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def dask_setup(worker: object) -> None:
    """Called by a worker on this machine when it starts: Ctrl-C is its parent's to answer."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
