"""The Snakefile and the sbatch script on a real Slurm: to the end, with the bytes of one process.

Run with PIPELINE_TEST_SERVICES=1, as root of a Debian system without a Slurm of its own. Snakemake is taken from the
PATH, or installed in a virtual environment of the test's own, which takes half a minute and 300 MB.
"""

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.formats.manifest import read_manifest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.services,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        os.environ.get("PIPELINE_TEST_SERVICES") != "1", reason="PIPELINE_TEST_SERVICES=1 starts a real Slurm"
    ),
]

RULES = ("ingest", "cluster", "pack", "shard", "verify")
RECIPE = """\
name = "ecoli"
[ingest]
files = ["{ecoli}"]
licence = "CC-BY-4.0"
records_per_part = 600
[pack]
length = 512
tokenizer = "esm2"
"""


def load(path):
    spec = spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


slurm_module = load(Path(__file__).parents[1] / "services" / "slurm.py")
until = slurm_module.until


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    try:
        with slurm_module.Slurm(tmp_path_factory.mktemp("slurm"), num_nodes=2, cpus=2) as server:
            yield server
    except slurm_module.NotAvailableError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def configured(slurm):
    """Snakemake's jobs find Slurm at the usual place only, where there is none (the fixture has seen to it)."""
    usual = slurm_module.CONFIGURED[0]
    usual.parent.mkdir(exist_ok=True)
    usual.symlink_to(slurm.folder / "slurm.conf")
    yield slurm
    usual.unlink()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, ecoli):
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(RECIPE.format(ecoli=ecoli))
    return path


def files_by_one_process(recipe):
    """What one process makes, in a folder beside the recipe."""
    out = recipe.parent / "serial"
    assert main(["run", str(recipe), "--out", str(out), "--executor", "serial", "--quiet"]) == 0
    return files_of(out)


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def files_of(folder):
    return {kind: read_manifest(folder / kind).files for kind in ("corpus", "plan", "shards")}


def submitted(root, folder, *arguments, options):
    """Id of a job that runs the script, in a folder of its own."""
    limits = ["--cpus-per-task=2", "--mem-per-cpu=900M", "--time=10", *options]
    script = str(root / "workflows" / "pipeline.sbatch")
    command = ["sbatch", "--parsable", f"--chdir={folder}", f"--output={folder}/job.log", *limits, script, *arguments]
    return int(slurm_module.run(*command))


def is_over(slurm, job):
    return job not in slurm.jobs("PENDING,RUNNING,COMPLETING,SUSPENDED")


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_sbatch_script(slurm, root, recipe, tmp_path, nodes):
    job = submitted(root, tmp_path, str(recipe), "--out", str(tmp_path / "out"), options=[f"--nodes={nodes}"])
    assert until(lambda: is_over(slurm, job), seconds=240), (tmp_path / "job.log").read_text()
    assert files_of(tmp_path / "out") == files_by_one_process(recipe)
    assert not list(tmp_path.glob(".dask-*"))
    told = "processes" if nodes == 1 else "dask"
    assert f'"executor":"{told}"' in (tmp_path / "out" / "shards" / "log.jsonl").read_text()


def test_a_job_that_was_cancelled_is_submitted_again(slurm, root, recipe, tmp_path):
    arguments = [str(recipe), "--out", str(tmp_path / "out"), "--quiet"]
    job = submitted(root, tmp_path, *arguments, options=[])
    assert until((tmp_path / "out" / "corpus" / "run.json").exists, seconds=120)
    slurm.cancel(job)
    assert until(lambda: is_over(slurm, job), seconds=60)
    assert not (tmp_path / "out" / "shards" / "manifest.json").exists(), "there was nothing left to do"
    job = submitted(root, tmp_path, *arguments, options=[])
    assert until(lambda: is_over(slurm, job), seconds=240), (tmp_path / "job.log").read_text()
    assert files_of(tmp_path / "out") == files_by_one_process(recipe)


@pytest.fixture(scope="module")
def snakemake(tmp_path_factory):
    found = shutil.which("snakemake")
    if found is not None:
        return found
    folder = tmp_path_factory.mktemp("snakemake")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wanted = ["snakemake>=9,<10", "snakemake-executor-plugin-slurm"]
    command = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    if (done := subprocess.run(command, check=False, capture_output=True, text=True)).returncode:
        pytest.skip(f"snakemake cannot be installed: {done.stderr[-300:]}")
    return str(folder / "bin" / "snakemake")


def snakemake_command(snakemake, root, ecoli, tmp_path):
    workflows = root / "workflows"
    return [
        snakemake, "--snakefile", str(workflows / "Snakefile"), "--directory", str(tmp_path),
        "--workflow-profile", str(workflows / "profiles" / "slurm"),
        "--slurm-no-account", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2",
        "--set-threads", *(f"{rule}=2" for rule in RULES), "--set-resources", "cluster:mem_mb=1800",
        "--default-resources", "slurm_partition=main", "mem_mb=1800", "runtime=10", "--latency-wait", "20",
        "--config", f"input={ecoli}", "out=out", "pack=--length 512 --tokenizer esm2",
    ]  # fmt: skip


@pytest.mark.usefixtures("configured")
def test_the_snakefile(snakemake, root, ecoli, tmp_path):
    command = snakemake_command(snakemake, root, ecoli, tmp_path)
    # Broken off in the middle, as a person would; what was finished is not done again.
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        assert until((tmp_path / "out" / "done" / "corpus").exists, seconds=240), (tmp_path / "log").read_text()
        process.send_signal(signal.SIGINT)
        process.wait(120)
    before = (tmp_path / "out" / "corpus" / "manifest.json").stat().st_mtime_ns
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=480)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "corpus" / "manifest.json").stat().st_mtime_ns == before
    assert {path.name for path in (tmp_path / "out" / "done").iterdir()} == {
        *("corpus", "plan", "shards"),
        *("corpus.verified", "plan.verified", "shards.verified"),
    }
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(ecoli=ecoli).replace("records_per_part = 600\n", ""))
    assert files_of(tmp_path / "out") == files_by_one_process(recipe)
    again = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert "Nothing to be done" in again.stderr
