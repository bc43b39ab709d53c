"""Stages on a real Slurm: jobs cancelled, nodes down, the client killed; the bytes are those of one process.

Run with PIPELINE_TEST_SERVICES=1; slurm-wlm and munge are installed if they are missing and may be.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.engines import dask_cluster
from pipeline.engines.execution import make_executor
from pipeline.engines.stage import SilentWatcher
from pipeline.formats.manifest import read_manifest
from pipeline.recipe import read_recipe
from pipeline.site_config import read_site
from pipeline.workflow import run_recipe

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(600),  # the first run installs the packages
    pytest.mark.skipif(
        os.environ.get("PIPELINE_TEST_SERVICES") != "1", reason="PIPELINE_TEST_SERVICES=1 starts a real Slurm"
    ),
]


def load(path):
    spec = spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


slurm_module = load(Path(__file__).with_name("slurm.py"))
until = slurm_module.until

SITE = """\
queue = "main"
walltime = "00:10:00"
cores = 1
memory = "800MB"
minimum_jobs = 2
maximum_jobs = 2
interface = "lo"
death_timeout = 5
log_directory = "{folder}/logs"
local_directory = "{folder}/node"
"""

RECIPE = """\
name = "ecoli"
[ingest]
files = ["{ecoli}"]
records_per_part = 300
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    try:
        with slurm_module.Slurm(tmp_path_factory.mktemp("slurm")) as server:
            yield server
    except slurm_module.NotAvailableError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ecoli):
    """A recipe of many small tasks, a site, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "site.toml").write_text(SITE.format(folder=folder))
    (folder / "refused.toml").write_text(SITE.format(folder=folder).replace("main", "no-such-partition"))
    (folder / "recipe.toml").write_text(RECIPE.format(ecoli=ecoli))
    assert main(["run", str(folder / "recipe.toml"), "--out", str(folder / "serial"), "--executor", "serial"]) == 0
    return folder


def asked(folder, site="site.toml"):
    return ["--executor", "dask", "--scheduler", "slurm", "--site", str(folder / site)]


def files_of(folder):
    return {kind: read_manifest(folder / kind).files for kind in ("corpus", "plan", "shards")}


def test_the_command_line(slurm, folder, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["shard", str(folder / "serial" / "plan"), "--out", "shards", *asked(folder)]) == 0
    assert "Dask dashboard: http://" in capfd.readouterr().err
    assert read_manifest(tmp_path / "shards").files == read_manifest(folder / "serial" / "shards").files
    assert until(lambda: not slurm.jobs("PENDING,RUNNING"), seconds=10), "jobs go with the command"


def test_after_the_client_is_killed_only_what_is_missing_is_done(slurm, folder, tmp_path):
    corpus = tmp_path / "out" / "corpus"
    command = ["run", str(folder / "recipe.toml"), "--out", str(tmp_path / "out"), *asked(folder), "--quiet"]
    with subprocess.Popen([sys.executable, "-m", "pipeline", *command]) as client:
        assert until(lambda: len(list(corpus.glob(".tasks/part-*.json"))) >= 3, seconds=60)
        os.kill(client.pid, signal.SIGKILL)
    done = len(list(corpus.glob(".tasks/*.json")))
    assert done < 17, "there was nothing left to do"
    # Workers lose their scheduler and end by themselves; nobody cancels their jobs.
    assert until(lambda: not slurm.jobs(), seconds=40)
    assert main([*command[:4], "--executor", "serial"]) == 0
    assert files_of(tmp_path / "out") == files_of(folder / "serial")


def test_a_job_that_slurm_does_not_take_is_one_sentence(slurm, folder, tmp_path, capfd):
    command = ["shard", str(folder / "serial" / "plan"), "--out", str(tmp_path / "shards")]
    assert main([*command, *asked(folder, "refused.toml")]) == 2
    assert "no job could be submitted: sbatch: error: Batch job submission failed" in capfd.readouterr().err


@pytest.fixture(scope="module")
def executor(slurm, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dask_cluster._CONFIGURATION, "distributed.deploy.lost-worker-timeout", "1s")
        yield from opened(folder)


def opened(folder):
    with make_executor("dask", scheduler="slurm", site=read_site(folder / "site.toml")) as executor:
        yield executor


def work(folder, number):
    time.sleep(0.2)
    with (folder / f"{number}").open("a") as file:
        file.write("x")
    return number * number


def test_a_job_is_cancelled_and_a_node_goes_down(slurm, executor, tmp_path):
    results = {}
    for index, result in executor.map([partial(work, tmp_path, number) for number in range(24)]):
        results[index] = result
        if len(results) == 6:
            first, second = slurm.jobs()
            slurm.cancel(first)
        if len(results) == 10:
            node = slurm.node_of(second)
            slurm.set_state(node, "DOWN")
    with contextlib.suppress(RuntimeError):  # one that was busy has come back by itself
        slurm.set_state(node, "RESUME")
    assert results == {number: number * number for number in range(24)}
    # Others are asked for, so that a long run does not end with no worker at all.
    assert until(lambda: len(set(slurm.jobs("PENDING,RUNNING")) - {first, second}) == 2, seconds=30)


class Canceller(SilentWatcher):
    """Cancels the oldest job when so many tasks of the run are done."""

    def __init__(self, slurm, at):
        self.slurm, self.left, self.cancelled = slurm, at, []

    def task_finished(self, name, result):
        self.left -= 1
        if self.left == 0:
            self.cancelled = self.slurm.jobs()[:1]
            self.slurm.cancel(self.cancelled[0])


def test_the_demo_with_a_job_cancelled_comes_to_the_same_bytes(slurm, folder, executor, tmp_path):
    watcher = Canceller(slurm, at=20)
    outcome = run_recipe(read_recipe(folder / "recipe.toml"), tmp_path, executor=executor, watcher=watcher)
    assert watcher.cancelled
    assert all(report.is_sound for report in outcome.reports)
    assert files_of(tmp_path) == files_of(folder / "serial")
