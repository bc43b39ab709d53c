"""The stream inside other people's trainers: each row once, no second sharing out, and resume on another world."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from pipeline.streaming.dataset import PackedDataset
from pipeline.streaming.reader import PackedReader

SCRIPT = Path(__file__).with_name("framework_ranks.py")
IDENTITY = ("record_keys", "row_offsets", "num_sequences")

RowIds = Callable[[dict[str, Any]], list[int]]
Run = Callable[..., list[Any]]


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


@pytest.fixture(scope="session")
def epochs(shards: Path, row_ids: RowIds) -> list[list[list[int]]]:
    """Four epochs of global batches of 8."""
    reader = PackedReader(shards, batch_size=8, columns=IDENTITY, threads=1, tail="pad")
    return [[row_ids(batch) for batch in reader] for _ in range(4)]


@pytest.fixture
def run(tmp_path: Path, shards: Path) -> Run:
    """Runs a framework phase after phase; global batches of each, or what the ranks said when they were refused."""

    def job(framework: str, *phases: dict[str, Any]) -> list[Any]:
        document = {"framework": framework, "shards": str(shards), "folder": str(tmp_path), "phases": phases}
        (tmp_path / "job.json").write_text(json.dumps(document))
        command = [sys.executable, str(SCRIPT), str(tmp_path / "job.json")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return [_phase(tmp_path, number, phase.get("world_size", 1)) for number, phase in enumerate(phases)]

    return job


def _phase(folder: Path, number: int, world_size: int) -> Any:
    ranks = [json.loads((folder / f"rows-{number}-{rank}.json").read_text()) for rank in range(world_size)]
    if isinstance(ranks[0], str):
        return ranks
    return [list(chain.from_iterable(zip(*step, strict=True))) for step in zip(*ranks, strict=True)]


TWO_RANKS = {"world_size": 2, "batch_size": 4}
SECOND_TIME = "accelerate would share them out a second time (leave the loader out of accelerator.prepare"


@needs("accelerate")
def test_accelerate(run: Run, tmp_path: Path, epochs: list[list[list[int]]]) -> None:
    """The dataset is registered for checkpoints; the loader is not prepared."""
    before, after = run(
        "accelerate",
        {**TWO_RANKS, "steps": 5, "accumulation": 1},
        {"steps": 11, "accumulation": 2, "save_steps": -1, "resume": str(tmp_path / "checkpoint")},
    )
    stream = list(chain.from_iterable(epochs))
    assert before == stream[:5]
    assert after == stream[4:26]


@needs("accelerate")
def test_a_loader_that_accelerate_prepared_is_refused_on_every_rank(run: Run) -> None:
    found = run(
        "accelerate",
        {**TWO_RANKS, "steps": 5, "prepare_loader": True},  # accelerate would read on one rank, and deal its rows out
        {**TWO_RANKS, "steps": 5, "prepare_loader": True, "dispatch_batches": False},  # or skip every second batch
        {"steps": 5, "prepare_loader": True, "dispatch_batches": False},  # or begin again at epoch 0
    )
    assert [len(ranks) for ranks in found] == [2, 2, 1]
    assert all(SECOND_TIME in words for ranks in found for words in ranks)


@needs("transformers")
@needs("accelerate")
def test_the_hugging_face_trainer(run: Run, tmp_path: Path, epochs: list[list[list[int]]]) -> None:
    before, after, refused = run(
        "transformers",
        {**TWO_RANKS, "steps": 5},
        {"steps": 12, "accumulation": 2, "resume": str(tmp_path / "checkpoint-4")},
        {**TWO_RANKS, "steps": 5, "prepare_loader": True},
    )
    stream = list(chain.from_iterable(epochs))
    assert before == stream[:5]
    assert len(after) > 13
    assert after == stream[4 : 4 + len(after)]
    assert all("let get_train_dataloader return DataLoader(dataset, batch_size=None)" in words for words in refused)


@needs("pytorch_lightning")
def test_lightning(run: Run, tmp_path: Path, epochs: list[list[list[int]]]) -> None:
    before, after = run(
        "pytorch_lightning",
        {**TWO_RANKS, "steps": 5},
        {"steps": 14, "accumulation": 2, "resume": str(tmp_path / "step=4.ckpt")},
    )
    stream = list(chain.from_iterable(epochs))
    assert before == stream[:5]
    assert len(after) > 13
    assert after == stream[4 : 4 + len(after)]


# torchdata's StatefulDataLoader keeps a state of each worker.


@needs("torchdata")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more workers than processors
@pytest.mark.filterwarnings("ignore:.*set_vital:UserWarning")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (3, False), (2, True)])
@pytest.mark.parametrize("taken", [0, 1, 12, 13, "all"])
def test_a_stateful_loader_goes_on_where_it_was(  # noqa: PLR0917
    shards: Path,
    epochs: list[list[list[int]]],
    row_ids: RowIds,
    num_workers: int,
    persistent: bool,
    taken: int | str,
) -> None:
    """In the second epoch, where workers that were not asked yet must not speak of the first one."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> StatefulDataLoader:
        options: dict[str, Any] = {"batch_size": 8, "tail": "pad", "columns": IDENTITY, "threads": 1, "prefetch": 0}
        return StatefulDataLoader(
            PackedDataset(shards, rank=0, world_size=1, **options),
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=persistent,
            multiprocessing_context="fork" if num_workers else None,
        )

    before = loader()
    assert [row_ids(batch) for batch in before] == epochs[0]
    iterator = iter(before)
    found = [row_ids(next(iterator)) for _ in range(13 if taken == "all" else taken)]
    if taken == "all":
        assert next(iterator, None) is None
    state = json.loads(json.dumps(before.state_dict()))
    del iterator
    after = loader()
    after.load_state_dict(state)
    while len(found) < 26:  # at the end of an epoch some iterations are empty
        found += [row_ids(batch) for batch in after]
    assert found == [*epochs[1], *epochs[2]]


def test_a_worker_that_was_given_the_end_of_an_epoch_says_so_at_once(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loader whose state is the end of an epoch starts other workers, and does not wait for these."""
    dataset = PackedDataset(shards, rank=0, world_size=1, batch_size=8)
    state = dataset.state_at(0, epoch=1) | {"rows_delivered": len(dataset) * 8}
    with monkeypatch.context() as in_worker:
        worker = SimpleNamespace(id=1, num_workers=2, seed=8)
        in_worker.setattr("torch.utils.data.get_worker_info", lambda: worker)
        dataset.load_state_dict(state)
        assert dataset.state_dict() == state
    assert dataset._progress.next == (2, 0)
