"""What every test shares: Hypothesis without deadlines (machines are noisy), and the shipped proteome."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "pipeline", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True, max_examples=30
)
settings.register_profile("thorough", settings.get_profile("pipeline"), max_examples=300)
settings.load_profile("pipeline")

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    """No test depends on what the person who runs it has set."""
    for name in ("SLURM_CPUS_PER_TASK", "PIPELINE_DEBUG", "FORCE_COLOR", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def ecoli() -> Path:
    """The E. coli proteome that the recipes ship: 4,391 proteins."""
    return ROOT / "workflows" / "data" / "UP000000625_83333.fasta.gz"


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> Path:
    """Artefacts of the shipped quickstart recipe, made once; read only."""
    from pipeline.cli import main

    folder = tmp_path_factory.mktemp("quickstart") / "out"
    arguments = [
        "run",
        str(ROOT / "workflows" / "quickstart.toml"),
        "--out",
        str(folder),
        "--executor",
        "serial",
        "--quiet",
    ]
    assert main(arguments) == 0
    return folder
