"""What this process was granted: processors, and how many threads each worker may start."""

import os
from pathlib import Path

_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_THREAD_VARIABLES = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
