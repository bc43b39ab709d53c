"""workflows/train_esm2.py as a user runs it: the loss falls, and a run that was stopped goes on with the next batch."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import IngestConfig, PackConfig, ShardConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.pack.stage import Pack
from pipeline.stages.shard import Shard

SCRIPT = Path(__file__).parents[1] / "workflows" / "train_esm2.py"
pytest.importorskip("torch", reason="the extra 'torch' is not installed")

pytestmark = pytest.mark.timeout(400)  # processes that load torch, on a machine that may be busy

STEP = re.compile(r"step +(\d+)  loss ([\d.]+)")


@pytest.fixture(scope="module")
def ecoli_shards(tmp_path_factory, ecoli):
    """Short rows, for a CPU."""
    folder = tmp_path_factory.mktemp("training")
    with SerialExecutor() as executor:
        run_stage(Ingest(IngestConfig(files=(str(ecoli),))), folder / "corpus", executor=executor)
        run_stage(Pack(folder / "corpus", PackConfig(length=256)), folder / "plan", executor=executor)
        run_stage(Shard(folder / "plan", ShardConfig()), folder / "shards", executor=executor)
    return folder / "shards"


def train(*arguments, launcher=(sys.executable,)):
    """Loss by step, as it is printed."""
    command = [*launcher, str(SCRIPT), *map(str, arguments), "--width", "32"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return {int(step): float(loss) for step, loss in STEP.findall(done.stdout)}


@pytest.fixture(scope="module")
def whole(ecoli_shards):
    """The losses of a run that nobody stopped."""
    return train(ecoli_shards, "--steps", 40, "--batch-size", 8)


def test_the_loss_falls(whole):
    assert whole[1] == pytest.approx(3.5, abs=0.15)  # the logarithm of 33 tokens
    assert whole[40] < 3.05


def test_two_ranks_stop_and_one_goes_on_with_the_next_batch(ecoli_shards, whole, tmp_path):
    """Law 5: another world size, the same global batch, the next rows, and almost the same losses."""
    checkpoint = tmp_path / "model.pt"
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two = train(ecoli_shards, "--steps", 20, "--batch-size", 4, "--checkpoint", checkpoint, launcher=launcher)
    rest = train(ecoli_shards, "--steps", 40, "--batch-size", 8, "--checkpoint", checkpoint)
    assert list(two) == [1, 10, 20]  # printed by the first rank, of its own rows
    assert list(rest) == [21, 30, 40]
    assert rest[30] == pytest.approx(whole[30], abs=0.01)
    assert rest[40] == pytest.approx(whole[40], abs=0.01)
