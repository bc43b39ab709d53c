"""The walls: import contracts, what a quick start may load, documentation of every command and public name."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import pytest

import pipeline
from pipeline.cli import main

HEAVY = ("torch", "dask", "distributed", "polars", "transformers", "datasets", "Bio")
MODULES = sorted(module.name for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."))
MAX_LINES = 350


def loaded_by(statement):
    code = f"import sys\n{statement}\nprint(' '.join(name for name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_imports_run_downwards(root):
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    result = subprocess.run([*command, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import pipeline",
        "from pipeline.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "import pipeline.core.packing",
    ],
)
def test_a_quick_start_loads_nothing_heavy(statement):
    assert not loaded_by(statement) & set(HEAVY)


def test_the_core_needs_only_numpy():
    modules = [name for name in MODULES if name.startswith("pipeline.core")]
    loaded = loaded_by("; ".join(f"import {name}" for name in modules))
    assert not loaded & {"pyarrow", "pydantic", "xxhash", "fsspec", "typer", *HEAVY}


def test_the_reader_needs_no_torch():
    assert "torch" not in loaded_by("import pipeline.streaming.reader, pipeline.streaming.objectives")


@pytest.mark.parametrize("columns", [("input_ids", "sequence_id"), ("input_ids", "accessions", "record_keys")])
def test_reading_loads_no_pandas(quickstart, columns):
    """Half a second before the first batch, and 70 MB: Arrow looks for it wherever it is given a list."""
    read = f"next(iter(PackedReader({str(quickstart / 'shards')!r}, columns={columns}, objective=0.15)))"
    assert "pandas" not in loaded_by(f"from pipeline.streaming.reader import PackedReader; {read}")


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_documented_and_small(name):
    if name == "pipeline.__main__":
        return  # importing it runs the command line
    module = importlib.import_module(name)
    assert module.__doc__
    source = inspect.getsource(module)
    assert source.count("\n") <= MAX_LINES
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name}.{node.name}"


EXPORTING = {"pipeline.streaming.objectives"}
"""Packages whose names are public, one class a module."""


def test_packages_export_nothing():
    for path in pipeline.__path__:
        for module in pkgutil.walk_packages([path], "pipeline."):
            if module.ispkg and module.name not in EXPORTING:
                source = inspect.getsource(importlib.import_module(module.name))
                assert not re.search(r"^(from|import) ", source, flags=re.MULTILINE), module.name


@pytest.mark.parametrize(
    "command", ["sources", "download", "ingest", "cluster", "pack", "shard", "verify", "inspect", "run", "status"]
)
def test_every_command_explains_itself(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example: pipeline " + command in text.replace("\n", " ")
    assert "--json" in text
    assert "--quiet" in text


def test_the_readme_mentions_every_command(root):
    text = (root / "README.md").read_text()
    for command in ("sources", "download", "ingest", "pack", "shard", "verify", "inspect", "run"):
        assert f"pipeline {command}" in text


def test_the_top_of_the_tree_is_as_agreed(root):
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout, so the files of the project cannot be told from others")
    folders = {path.split("/")[0] for path in listed.stdout.split("\0") if "/" in path and not path.startswith(".")}
    assert folders == {"pipeline", "tests", "workflows", "schemas"}
