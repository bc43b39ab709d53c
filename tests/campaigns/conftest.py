"""What the campaigns share: the generator and the measuring of processes, which are benchmarks' too."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load(name):
    spec = spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    sys.modules[spec.name] = module = module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def generate():
    return load("generate")


@pytest.fixture(scope="session")
def process_tree():
    return load("process_tree")
