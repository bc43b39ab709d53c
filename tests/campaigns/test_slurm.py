"""Slurm for minutes: a million records with jobs cancelled on the way, and walltime that ends before the work does.

Run with PIPELINE_TEST_SERVICES=1, as root of a Debian system without a Slurm of its own.
"""

import os
import sys
import time
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from pipeline.config import IngestConfig
from pipeline.engines.execution import ProcessExecutor, make_executor
from pipeline.engines.job_queue import JobQueue
from pipeline.engines.stage import SilentWatcher
from pipeline.formats.manifest import read_manifest
from pipeline.recipe import Recipe
from pipeline.workflow import run_recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.services,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.environ.get("PIPELINE_TEST_SERVICES") != "1", reason="PIPELINE_TEST_SERVICES=1 starts a real Slurm"
    ),
]


def load(path):
    spec = spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


slurm_module = load(Path(__file__).parents[1] / "services" / "slurm.py")
MEMORY = "1500MB"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    try:
        with slurm_module.Slurm(tmp_path_factory.mktemp("slurm")) as server:
            yield server
    except slurm_module.NotAvailableError as reason:
        pytest.skip(str(reason))


def site_for(folder, **settings):
    return JobQueue(
        cores=1, memory=MEMORY, minimum_jobs=2, maximum_jobs=2, interface="lo", death_timeout=30,
        log_directory=str(folder / "logs"), **settings,
    )  # fmt: skip


class Canceller(SilentWatcher):
    """Cancels the oldest job after every so many tasks."""

    def __init__(self, slurm, every):
        self.slurm, self.every, self.done, self.cancelled = slurm, every, 0, []

    def task_finished(self, name, result):
        self.done += 1
        if self.done % self.every == 0 and (jobs := self.slurm.jobs()):
            self.slurm.cancel(jobs[0])
            self.cancelled.append(jobs[0])


def files_of(folder):
    return {kind: read_manifest(folder / kind).files for kind in ("corpus", "plan", "shards")}


def test_a_million_records_with_jobs_cancelled(slurm, generate, tmp_path):
    fasta = tmp_path / "proteins.fasta"
    generate.write_fasta(fasta, 1_000_000)
    recipe = Recipe(name="million", ingest=IngestConfig(files=(str(fasta),), records_per_part=70_000), verify=False)
    watcher = Canceller(slurm, every=15)
    with make_executor("dask", scheduler="slurm", site=site_for(tmp_path, walltime="00:30:00")) as executor:
        run_recipe(recipe, tmp_path / "slurm", executor=executor, watcher=watcher)
    assert len(watcher.cancelled) >= 2
    with ProcessExecutor(2) as executor:
        run_recipe(recipe, tmp_path / "processes", executor=executor, watcher=SilentWatcher())
    assert files_of(tmp_path / "slurm") == files_of(tmp_path / "processes")


def work(number):
    time.sleep(4)
    return number


def test_walltime_that_ends_before_the_work_does(slurm, tmp_path):
    """A minute is the least that Slurm knows: every job ends in the middle of some call."""
    with make_executor("dask", scheduler="slurm", site=site_for(tmp_path, walltime="00:01:00")) as executor:
        results, jobs = {}, []
        for index, result in executor.map([partial(work, number) for number in range(40)]):
            results[index] = result
            jobs.append(set(slurm.jobs()))
    assert results == {number: number for number in range(40)}
    assert not jobs[0] & jobs[-1], "no job reached its walltime"
