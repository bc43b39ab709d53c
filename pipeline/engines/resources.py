"""What a run was granted: processors, threads and memory, and the share of each worker.

::

    --memory 1GB --workers 2        ┌ parent  333 MB ┐
                                    ├ worker  333 MB ┤  a share for each process; the parent runs single tasks itself
                                    └ worker  333 MB ┘
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigurationError

_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")
_THREAD_VARIABLES = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?) ?(?P<unit>[KMGT]?i?)B?", re.IGNORECASE)
_UNITS = {"": 1, "i": 1} | {
    letter + binary: (1024 if binary else 1000) ** power
    for power, letter in enumerate("kmgt", start=1)
    for binary in ("", "i")
}
SMALLEST_SHARE = 250_000_000
"""Bytes: a Python process with Arrow loaded, and the least that a stage can work with."""

DEFAULT_SHARE = 512_000_000
"""Bytes of a worker where nothing was asked for."""

_WAITING_BYTES = 120_000_000
"""Of a process that only waits for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What the workers of a run may use."""

    num_workers: int
    worker_bytes: int
    """Memory of each."""


def parse_size(text: str, option: str = "--memory") -> int:
    """Bytes from ``4GB`` (10^9), ``4GiB`` (2^30), ``500M`` or a plain number.

    Args:
        text: What was given.
        option: For the message.

    Raises:
        ConfigurationError: It is none of these.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(f"{option} {text}: expected a number and a unit", hint="such as 4GB, 500MB or 16GiB")
    return int(float(found["number"]) * _UNITS[found["unit"].lower()])


def share_memory(num_workers: int, memory: int | None) -> Share:
    """Divide memory among processes; fewer workers where it is not enough for all.

    Args:
        num_workers: Processes that are wanted.
        memory: Bytes for the whole tree of processes; None: ``DEFAULT_SHARE`` for each worker.

    Raises:
        ConfigurationError: Not enough for one.
    """
    if memory is None:
        return Share(num_workers=num_workers, worker_bytes=DEFAULT_SHARE)
    if memory < SMALLEST_SHARE:
        raise ConfigurationError(
            f"--memory {memory / 1e6:.0f}MB: expected at least {SMALLEST_SHARE / 1e6:.0f}MB",
            hint="that is what one process needs",
        )
    # One worker is the process itself; several have a parent beside them.
    affordable = memory // SMALLEST_SHARE
    num_workers = min(num_workers, max(1, affordable - 1))
    num_processes = num_workers + 1 if num_workers > 1 else 1
    return Share(num_workers=num_workers, worker_bytes=memory // num_processes)


def tasks_at_once(task_bytes: int, num_workers: int, memory: int | None) -> int:
    """How many tasks may run side by side.

    Args:
        task_bytes: Memory that one needs, the process that runs it included; 0: it keeps to any share.
        num_workers: Processes.
        memory: Bytes for the whole tree of processes; None: nobody asked to keep to any.

    Raises:
        ConfigurationError: There is not enough for one.
    """
    if memory is None or not task_bytes:
        return num_workers
    if task_bytes > memory:
        raise too_little_memory(task_bytes, memory, "--memory allows")
    return max(1, min(num_workers, (memory - _WAITING_BYTES) // task_bytes))


def too_little_memory(task_bytes: int, memory: int, said: str) -> ConfigurationError:
    """The error that a task of a stage does not fit.

    Args:
        task_bytes: What it needs.
        memory: What there is.
        said: Who says so.
    """
    return ConfigurationError(
        f"a task of this stage needs about {task_bytes / 1e6:,.0f} MB of memory, {said} {memory / 1e6:,.0f} MB",
        hint="allow more, or ingest again into smaller parts (records_per_part under [ingest] of a recipe)",
    )


def granted_cpus() -> int:
    """Processors this process may use: the least of affinity, cgroup quota and SLURM_CPUS_PER_TASK, at least 1."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdigit():
        limits.append(int(slurm))
    if (quota := _cgroup_quota()) is not None:
        limits.append(quota)
    return max(1, min(limits))


def _cgroup_quota() -> int | None:
    try:
        quota, period = _CGROUP_CPU_MAX.read_text().split()
    except (OSError, ValueError):
        return None  # no cgroup v2 here: no limit from it
    return None if quota == "max" else max(1, int(quota) // int(period))


def limit_threads(num_threads: int) -> None:
    """Cap the thread pools of Arrow, polars and BLAS in this process; call before polars is first imported.

    Args:
        num_threads: Threads each pool may start, at least 1.
    """
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(num_threads)
    import pyarrow as pa  # noqa: PLC0415  (a worker that never touches Arrow need not load it earlier)

    pa.set_cpu_count(num_threads)
    pa.set_io_thread_count(max(2, num_threads))


def granted_memory() -> int:
    """Bytes this process may use: the least of the machine's memory, the cgroup's and SLURM_MEM_PER_NODE."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    slurm = os.environ.get("SLURM_MEM_PER_NODE", "")  # in megabytes (sbatch, --mem)
    if slurm.isdigit():
        limits.append(int(slurm) << 20)
    if _CGROUP_MEMORY_MAX.exists() and (text := _CGROUP_MEMORY_MAX.read_text().strip()).isdigit():
        limits.append(int(text))
    return min(limits)
