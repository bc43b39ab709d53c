"""The settings of a site: what is refused, and what becomes of them in the job scripts of four batch systems."""

import json
import subprocess
import sys

import pytest

from pipeline.cli import main
from pipeline.engines.dask_cluster import JobWorkers
from pipeline.engines.job_queue import BATCH_SYSTEMS, DASK_BYTES, JobQueue
from pipeline.errors import ConfigurationError
from pipeline.options import Workforce
from pipeline.session import largest_task
from pipeline.site_config import read_site

SITE = """\
queue = "long"
account = "proteins"
walltime = "02:00:00"
cores = 4
memory = "16GB"
processes = 2
maximum_jobs = 8
job_script_prologue = ["module load python"]
"""


def site_of(tmp_path, text=SITE):
    (tmp_path / "site.toml").write_text(text)
    return read_site(tmp_path / "site.toml")


def test_what_a_worker_gets(tmp_path):
    site = site_of(tmp_path)
    assert (site.num_processes, site.num_threads) == (2, 2)
    assert site.worker_bytes == 8_000_000_000 - DASK_BYTES
    assert site.jobs_for(None) == (1, 8)
    assert site.jobs_for(5) == (3, 3)
    assert largest_task(Workforce(site=tmp_path / "site.toml")) == (site.worker_bytes, 2)
    assert largest_task(Workforce(memory="4GB", workers=3)) == (4_000_000_000, 3)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("partition = 'main'", "partition: unknown key"),
        ("walltime = 'tomorrow'", "walltime: string should match pattern"),
        ("memory = 'much'", "memory: expected a number and a unit"),
        ("memory = '600MB'", "memory 600MB for 2 workers: expected at least 400MB for each"),
        ("processes = 5", "processes 5 is more than cores 4"),
        ("minimum_jobs = 9", "maximum_jobs 8 is less than minimum_jobs 9"),
        ("cores = 'all'", "cores: input should be a valid integer"),
    ],
)
def test_what_a_site_cannot_say(tmp_path, line, expected):
    key = line.partition(" ")[0]
    others = [kept for kept in SITE.splitlines() if not kept.startswith(key)]
    with pytest.raises(ConfigurationError, match=expected) as caught:
        site_of(tmp_path, "\n".join([*others, line]))
    assert "site.toml" in caught.value.message


def test_a_missing_key_and_files_that_are_no_site(tmp_path):
    with pytest.raises(ConfigurationError, match=r"site\.toml: cores: missing"):
        site_of(tmp_path, 'memory = "1GB"')
    with pytest.raises(ConfigurationError, match="expected TOML"):
        site_of(tmp_path, "memory = ")
    with pytest.raises(ConfigurationError, match=r"none\.toml: cannot be read"):
        read_site(tmp_path / "none.toml")


# Of each batch system: how its job script says queue, account, time, and one line of the site's own.
LINES = {
    "slurm": ("#SBATCH -p long", "#SBATCH -A proteins", "#SBATCH -t 02:00:00", "#SBATCH --mem=15259M"),
    "pbs": ("#PBS -q long", "#PBS -A proteins", "#PBS -l walltime=02:00:00", "#PBS -l select=1:ncpus=4:mem=15GB"),
    "sge": ("#$ -q long", "#$ -P proteins", "#$ -l h_rt=02:00:00", "#$ -x"),
    "lsf": ("#BSUB -q long", '#BSUB -P "proteins"', "#BSUB -W 02:00:00", "#BSUB -n 4"),
}

SCRIPT = """\
import json, sys
from pathlib import Path
import dask_jobqueue
from pipeline.engines.job_queue import BATCH_SYSTEMS
from pipeline.site_config import read_site
site, scripts = read_site(Path(sys.argv[1])), {}
for system, name in BATCH_SYSTEMS.items():
    options = site.keywords(system) | {"scheduler_options": {"dashboard_address": None}}
    with getattr(dask_jobqueue, name)(**options) as cluster:
        scripts[system] = cluster.job_script()
print(json.dumps(scripts))
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """What dask-jobqueue makes of a site, in a process that its event loops end with."""
    folder = tmp_path_factory.mktemp("scripts")
    site_of(folder, SITE + 'interface = "lo"\njob_extra_directives = ["-x"]\nlog_directory = "logs"\n')
    command = [sys.executable, "-c", SCRIPT, str(folder / "site.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("system", BATCH_SYSTEMS)
def test_the_job_script(scripts, system):
    script = scripts[system]
    for line in LINES[system]:
        assert line in script.splitlines()
    last = script.strip().splitlines()[-1]
    assert "--nworkers 2" in last
    assert "--nthreads 1 --no-dashboard" in last
    assert "--death-timeout 60" in last
    assert "--memory-limit 7.45GiB" in last
    assert "module load python" in script
    assert "export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False" in script
    assert "export MALLOC_TRIM_THRESHOLD_=67108864" in script


def test_only_pbs_and_sge_have_a_resource_spec():
    site = JobQueue(cores=1, memory="1GB", resource_spec="mem=1gb")
    assert site.keywords("pbs")["resource_spec"] == "mem=1gb"
    with pytest.raises(ConfigurationError, match="resource_spec: slurm has no such thing"):
        JobWorkers("slurm", site, None)


def test_the_shipped_example_is_a_site(root):
    site = read_site(root / "workflows" / "slurm.toml")
    assert site.worker_bytes > 3_000_000_000
    properties = json.loads((root / "schemas" / "site.schema.json").read_text())["properties"]
    assert set(properties) == set(JobQueue.model_fields)


def test_mmseqs_that_needs_more_than_a_worker_has_is_refused(quickstart, tmp_path, capsys):
    (tmp_path / "site.toml").write_text('cores = 1\nmemory = "410MB"\n')
    command = ["cluster", str(quickstart / "corpus"), "--out", str(tmp_path / "clusters"), "--method", "cluster"]
    command += ["--preset", "uniref50", "--preset", "uniref90"]
    assert main([*command, "--scheduler", "slurm", "--site", str(tmp_path / "site.toml")]) == 2
    assert "memory" in capsys.readouterr().err
