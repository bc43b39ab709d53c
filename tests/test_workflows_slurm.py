"""What the Snakefile and the sbatch script call exists; the script runs where there is no Slurm.

On a real Slurm both are tried by tests/campaigns/test_workflows_slurm.py.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.cli import main
from pipeline.formats.manifest import read_manifest


@pytest.fixture(scope="module")
def snakefile(root):
    return (root / "workflows" / "Snakefile").read_text()


@pytest.fixture(scope="module")
def profile(root):
    return yaml.safe_load((root / "workflows" / "profiles" / "slurm" / "config.yaml").read_text())


@pytest.fixture(scope="module")
def script(root):
    return root / "workflows" / "pipeline.sbatch"


def test_the_commands_and_options_exist(snakefile, script, capsys):
    text = script.read_text().replace("\\\n", "")
    called = re.findall(r'^ *"?(?:exec )?pipeline ([a-z]+) (.*?)"?$', f"{snakefile}\n{text}", flags=re.MULTILINE)
    # What the configuration of the Snakefile passes on by default, or names in a comment.
    called += re.findall(r'^    "(ingest|cluster|pack|shard)": (.*)$', snakefile, flags=re.MULTILINE)
    assert sorted({command for command, _ in called}) == ["cluster", "ingest", "pack", "run", "shard", "verify"]
    for command, rest in called:
        assert main([command, "--help"]) == 0
        told = capsys.readouterr().out
        for option in re.findall(r"--[a-z][a-z-]+", rest):
            assert re.search(rf"{option}(?![a-z-])", told), f"{command} {rest}"


def test_rules_call_nothing_but_the_command_line(snakefile):
    shells = re.findall(r'shell:\n +"(.*)"$', snakefile, flags=re.MULTILINE)
    assert len(shells) == snakefile.count("shell:") == 5
    assert all(re.fullmatch(r"pipeline [^;&|]*", shell) for shell in shells)
    assert not re.search(r"^\s*run:", snakefile, flags=re.MULTILINE)


def test_the_profile_names_the_rules_that_there_are(snakefile, profile):
    rules = set(re.findall(r"^rule (\w+):$", snakefile, flags=re.MULTILINE)) - {"all"}
    assert set(profile["set-threads"]) == rules
    assert set(profile["set-resources"]) <= rules
    memory, threads = profile["default-resources"]["mem_mb"], max(profile["set-threads"].values())
    assert memory >= 1000 * threads


def test_the_script_is_bash(script):
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_script_on_one_node(script, root, quickstart, tmp_path):
    recipe = root / "workflows" / "quickstart.toml"
    environment = os.environ | {"SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(script), str(recipe), "--out", str(tmp_path / "out"), "--quiet"]
    subprocess.run(command, check=True, env=environment, timeout=100)
    assert read_manifest(tmp_path / "out" / "shards").files == read_manifest(quickstart / "shards").files
