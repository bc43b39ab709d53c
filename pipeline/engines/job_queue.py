"""The settings of a site whose batch system gives out the workers: Slurm, PBS, SGE or LSF.

::

    cores = 8, memory = "32GB"        what one job asks for
    ├── worker   4 GB, 1 thread  ┐
    ├── …                        ├    processes = 8 of them
    └── worker   4 GB, 1 thread  ┘    from minimum_jobs to maximum_jobs such jobs, as there is work

Written in TOML, with queue, account, walltime and whatever else the site wants to see in a job script. What becomes of
them in the script is dask-jobqueue's to know.
"""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.engines.resources import SMALLEST_SHARE, parse_size
from pipeline.errors import ConfigurationError

BATCH_SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}
"""Name on the command line, and class of dask-jobqueue."""

DASK_BYTES = 150_000_000
"""Of a worker's memory, for Dask itself: 80 MB of its supervisor, and 70 MB that it adds to the worker."""

_CALLED_PROJECT = {"sge", "lsf"}
_WITH_RESOURCE_SPEC = {"pbs", "sge"}

_ENVIRONMENT = {
    # A worker whose memory is filled by a task is not to wait for it to become empty: Arrow keeps what it has had.
    "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
    # Dask lets malloc give memory back at once, which costs a task half of its time again in page faults. These are
    # what glibc comes to by itself where nobody sets them.
    "MALLOC_MMAP_THRESHOLD_": f"{32 << 20}",
    "MALLOC_TRIM_THRESHOLD_": f"{64 << 20}",
}


class JobQueue(BaseModel):
    """What a job asks for, and how many there may be."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    queue: str | None = None
    """Queue, or partition; by default the batch system's."""
    account: str | None = None
    """Who pays: account, or project."""
    walltime: str | None = Field(default=None, pattern=r"^([0-9]+-)?[0-9]+(:[0-9]{2}){0,2}$")
    """Time limit of a job, as the batch system writes it: 02:00:00. A task has to fit into it."""
    cores: int = Field(ge=1)
    """Processors of a job."""
    memory: str
    """Memory of a job, such as 32GB."""
    processes: int | None = Field(default=None, ge=1)
    """Workers in a job; by default one for each processor. 1 for mmseqs, which uses all that its worker has."""
    minimum_jobs: int = Field(default=1, ge=0)
    """Jobs that are kept though there is nothing to do."""
    maximum_jobs: int = Field(default=1, ge=1)
    """Jobs at most."""
    job_extra_directives: tuple[str, ...] = ()
    """More lines of the job script, without the batch system's prefix: --requeue, --constraint=…"""
    job_directives_skip: tuple[str, ...] = ()
    """Lines of the job script that the site does not want: those that hold one of these texts are left out."""
    job_script_prologue: tuple[str, ...] = ()
    """Shell commands before the worker starts: module load …"""
    resource_spec: str | None = None
    """PBS and SGE: the -l line, where cores and memory do not say it."""
    interface: str | None = None
    """Network interface of scheduler and workers, such as ib0."""
    python: str | None = None
    """Python of the workers; by default the one that runs the command, which has to be on shared storage."""
    local_directory: str | None = None
    """Folder on the node's own disk for what Dask puts aside; by default the node's temporary one."""
    log_directory: str = "job-logs"
    """Folder for what jobs print."""
    death_timeout: int = Field(default=60, ge=1)
    """Seconds after which a worker without a scheduler ends, and its job with it."""

    @field_validator("memory")
    @classmethod
    def _is_size(cls, text: str) -> str:
        try:
            parse_size(text, "memory")
        except ConfigurationError as error:
            raise ValueError(f"expected a number and a unit, {error.hint}") from error
        return text

    @model_validator(mode="after")
    def _fits(self) -> "JobQueue":
        if self.maximum_jobs < self.minimum_jobs:
            raise ValueError(f"maximum_jobs {self.maximum_jobs} is less than minimum_jobs {self.minimum_jobs}")
        if self.num_processes > self.cores:
            raise ValueError(f"processes {self.num_processes} is more than cores {self.cores}")
        if self.worker_bytes < SMALLEST_SHARE:
            raise ValueError(
                f"memory {self.memory} for {self.num_processes} workers: expected at least "
                f"{(SMALLEST_SHARE + DASK_BYTES) / 1e6:.0f}MB for each"
            )
        return self

    @property
    def num_processes(self) -> int:
        """Workers in a job."""
        return self.processes or self.cores

    @property
    def worker_bytes(self) -> int:
        """Memory that a task may use."""
        return parse_size(self.memory) // self.num_processes - DASK_BYTES

    @property
    def num_threads(self) -> int:
        """Threads that a task may use."""
        return self.cores // self.num_processes

    def jobs_for(self, num_workers: int | None) -> tuple[int, int]:
        """Fewest and most jobs; a number of workers, where one is asked for, is kept to."""
        if num_workers is None:
            return self.minimum_jobs, self.maximum_jobs
        wanted = math.ceil(num_workers / self.num_processes)
        return wanted, wanted

    def keywords(self, system: str) -> dict[str, Any]:
        """Arguments of dask-jobqueue's class for a batch system.

        Args:
            system: A key of ``BATCH_SYSTEMS``.

        Raises:
            ConfigurationError: A setting that this batch system has no place for.
        """
        keywords: dict[str, Any] = {
            "queue": self.queue,
            "project" if system in _CALLED_PROJECT else "account": self.account,
            "walltime": self.walltime,
            "cores": self.cores,
            "memory": f"{parse_size(self.memory)}B",
            "processes": self.num_processes,
            "job_extra_directives": list(self.job_extra_directives),
            "job_directives_skip": list(self.job_directives_skip),
            "job_script_prologue": [
                *(f"export {name}={value}" for name, value in _ENVIRONMENT.items()),
                *self.job_script_prologue,
            ],
            "interface": self.interface,
            "python": self.python,
            "local_directory": self.local_directory,
            "log_directory": self.log_directory,
            "death_timeout": self.death_timeout,
            # A worker runs one task at a time, however many threads the task may have.
            "worker_extra_args": ["--nthreads", "1", "--no-dashboard"],
        }
        if system == "slurm":
            keywords["job_mem"] = f"{math.ceil(parse_size(self.memory) / 2**20)}M"
        if system in _WITH_RESOURCE_SPEC:
            keywords["resource_spec"] = self.resource_spec
        elif self.resource_spec is not None:
            raise ConfigurationError(f"resource_spec: {system} has no such thing", hint="use job_extra_directives")
        return {name: value for name, value in keywords.items() if value is not None}
