"""The torch dataset: the same stream in the trainer's process and from loader workers, and where it stands."""

import copy
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from torch.utils.data import DataLoader  # noqa: E402

from pipeline.errors import ConfigurationError, IntegrityError, StateError  # noqa: E402
from pipeline.streaming.collate import tensors  # noqa: E402
from pipeline.streaming.dataset import PackedDataset  # noqa: E402
from pipeline.streaming.reader import PackedReader  # noqa: E402

COLUMNS = ("input_ids", "record_keys", "row_offsets", "num_sequences")

RowIds = Callable[[dict[str, Any]], list[int]]
Make = Callable[..., PackedDataset]

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more workers than processors
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


@pytest.fixture
def make(shards: Path) -> Make:
    def dataset(**options: Any) -> PackedDataset:
        return PackedDataset(shards, **{"rank": 0, "world_size": 1, "batch_size": 8, "columns": COLUMNS, **options})

    return dataset


@pytest.fixture(scope="session")
def epochs(shards: Path, row_ids: RowIds) -> list[list[list[int]]]:
    """Three epochs of batches of 8, from the reader without torch."""
    reader = PackedReader(shards, batch_size=8, columns=COLUMNS)
    return [[row_ids(batch) for batch in reader] for _ in range(3)]


def loader(dataset: PackedDataset, num_workers: int = 0, start: str | None = "fork", **options: Any) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        multiprocessing_context=start if num_workers else None,
        **options,
    )


def test_tensors_are_wide_and_equal_the_readers_arrays(shards: Path) -> None:
    options = {"batch_size": 4, "objective": "betalinear30"}
    dataset, reader = PackedDataset(shards, rank=0, world_size=1, **options), PackedReader(shards, **options)
    assert len(dataset) == len(reader) == 26
    for batch, arrays in zip(dataset, reader, strict=True):
        assert set(batch) == {"input_ids", "sequence_id", "position_ids", "num_tokens", "num_sequences", "labels"}
        for name, tensor in batch.items():
            assert tensor.dtype == torch.int64
            assert np.array_equal(tensor.numpy(), arrays[name])


def test_collate_keeps_what_is_no_integer_and_the_bits_of_keys() -> None:
    batch = tensors(
        {
            "input_ids": np.array([65535], dtype=np.uint16),
            "record_keys": np.array([2**64 - 1], dtype=np.uint64),
            "weight": np.array([0.5], dtype=np.float32),
            "mask": np.array([True]),
        }
    )
    assert {name: tensor.dtype for name, tensor in batch.items()} == {
        "input_ids": torch.int64,
        "record_keys": torch.int64,
        "weight": torch.float32,
        "mask": torch.bool,
    }
    assert (batch["input_ids"].item(), batch["record_keys"].item()) == (65535, -1)


@pytest.mark.parametrize(
    "workers",
    [
        (0, None, False),
        (1, "fork", False),
        (2, "fork", False),
        (3, "fork", True),
        (1, "spawn", False),
    ],
)
def test_a_loader_delivers_epoch_after_epoch_in_order(
    make: Make,
    epochs: list[list[list[int]]],
    row_ids: RowIds,
    workers: tuple[int, str | None, bool],
) -> None:
    num_workers, start, persistent = workers
    dataset = make()
    batches = loader(dataset, num_workers, start, persistent_workers=persistent)
    assert len(batches) == len(dataset) == 13
    num_epochs = 2 if start == "spawn" else 3
    found = [[row_ids(batch) for batch in batches] for _ in range(num_epochs)]
    assert found == epochs[:num_epochs]
    assert dataset.state_at(len(dataset))["epoch"] == num_epochs


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resume_from_state_at(make: Make, epochs: list[list[list[int]]], row_ids: RowIds, num_workers: int) -> None:
    before = make(epoch=1)
    batches = loader(before, num_workers)
    taken = []
    for step, batch in enumerate(batches, 1):
        taken.append(row_ids(batch))
        if step == 5:
            state = before.state_at(step)
            break
    after = make()
    after.load_state_dict(state)
    rest = loader(after, 2 - num_workers)
    taken += [row_ids(batch) for batch in rest]
    assert taken == epochs[1]
    assert [row_ids(batch) for batch in rest] == epochs[2]


def test_resume_with_workers_on_other_ranks(make: Make, epochs: list[list[list[int]]], row_ids: RowIds) -> None:
    state = make().state_at(6)
    ranks = [make(rank=rank, world_size=2, batch_size=3, tail="pad") for rank in range(2)]
    for dataset in ranks:
        dataset.load_state_dict(state)
    steps = zip(*([row_ids(batch) for batch in loader(dataset, 3)] for dataset in ranks), strict=True)
    rows = [row for step in steps for pair in zip(*step, strict=True) for row in pair]
    assert [row for row in rows if row >= 0] == [row for batch in epochs[0] for row in batch][48:101]


def test_in_the_trainers_process_the_state_follows(make: Make) -> None:
    dataset = make()
    for step, _ in enumerate(dataset, 1):
        assert dataset.state_dict() == dataset.state_at(step)
    assert dataset.state_dict() == make().state_at(13)


def test_with_workers_only_the_trainer_knows(make: Make) -> None:
    dataset = make()
    assert dataset.state_dict()["rows_delivered"] == 0
    for step, _ in enumerate(loader(dataset, 2), 1):
        assert dataset.state_at(step) == make().state_at(step)
        with pytest.raises(StateError, match="use state_at"):
            dataset.state_dict()
    dataset.set_epoch(1)
    assert dataset.state_dict() == make(epoch=1).state_dict()


@pytest.mark.parametrize("persistent", [False, True])
def test_set_epoch_reaches_workers(
    make: Make, epochs: list[list[list[int]]], row_ids: RowIds, persistent: bool
) -> None:
    dataset = make()
    batches = loader(dataset, 2, persistent_workers=persistent)
    for epoch in (2, 0, 1):
        dataset.set_epoch(epoch)
        assert [row_ids(batch) for batch in batches] == epochs[epoch]


def test_after_workers_set_epoch_knows_where_they_stand(
    make: Make, epochs: list[list[list[int]]], row_ids: RowIds
) -> None:
    dataset = make()
    dataset.load_state_dict(dataset.state_at(9))
    assert [row_ids(batch) for batch in loader(dataset, 2)] == epochs[0][9:]
    dataset.set_epoch(0)
    assert [row_ids(batch) for batch in dataset] == epochs[0]


def test_a_worker_of_a_loader_that_was_replaced_is_not_heard(make: Make) -> None:
    progress = make()._progress
    progress.begin(loader=1, epoch=0, step=0)
    progress.begin(loader=2, epoch=0, step=0)
    progress.finish(loader=1, generation=progress.generation, epoch=0)
    assert progress.next == (0, 0)
    progress.finish(loader=2, generation=progress.generation - 1, epoch=0)
    assert progress.next == (0, 0)
    progress.finish(loader=2, generation=progress.generation, epoch=0)
    assert progress.next == (1, 0)


def test_an_iteration_that_is_left_early(make: Make, epochs: list[list[list[int]]], row_ids: RowIds) -> None:
    dataset = make()
    for num_workers in (0, 2):  # begins again where it began
        assert [row_ids(batch) for batch in islice(loader(dataset, num_workers), 3)] == epochs[0][:3]
    batches = loader(dataset, 2, persistent_workers=True)
    assert [row_ids(batch) for batch in islice(batches, 3)] == epochs[0][:3]
    assert [row_ids(batch) for batch in batches] == epochs[1]  # persistent workers count it


def test_a_worker_that_starts_late_begins_where_the_others_did(
    make: Make, epochs: list[list[list[int]]], row_ids: RowIds
) -> None:
    dataset = make()
    dataset.load_state_dict(dataset.state_at(8, epoch=1))  # so little is left that the others finish meanwhile
    batches = loader(dataset, 3, worker_init_fn=_late_by_a_second)
    assert [row_ids(batch) for batch in batches] == epochs[1][8:]


def _late_by_a_second(worker: int) -> None:
    time.sleep(1.0 if worker == 2 else 0)


def test_processes_can_take_turns(make: Make, epochs: list[list[list[int]]], row_ids: RowIds) -> None:
    dataset = make()
    assert [row_ids(batch) for batch in loader(dataset, 2)] == epochs[0]
    assert [row_ids(batch) for batch in dataset] == epochs[1]
    assert [row_ids(batch) for batch in loader(dataset, 1)] == epochs[2]


def test_copies_go_their_own_way(make: Make, epochs: list[list[list[int]]], row_ids: RowIds) -> None:
    dataset = make()
    for twin in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert [[row_ids(batch) for batch in loader(twin, 2)] for _ in range(2)] == epochs[:2]
    assert [row_ids(batch) for batch in loader(dataset, 2)] == epochs[0]


def test_rank_and_world_size_come_from_the_process_group_or_the_environment(
    shards: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert len(PackedDataset(shards, batch_size=8)) == 13
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert len(PackedDataset(shards, batch_size=8)) == 13  # no rank: not ours to guess
    monkeypatch.setenv("RANK", "3")
    shared = PackedDataset(shards, batch_size=8)
    assert len(shared) == 4
    assert len(PackedDataset(shards, batch_size=8, rank=0, world_size=1)) == 13
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    try:
        assert len(PackedDataset(shards, batch_size=8)) == 13
        with pytest.raises(ConfigurationError, match=r"made for rank 3 of 4, .* makes this rank 0 of 1"):
            next(iter(shared))
    finally:
        torch.distributed.destroy_process_group()
    with pytest.raises(ConfigurationError, match="both or neither"):
        PackedDataset(shards, world_size=2)


def test_a_damaged_shard_is_an_error_in_the_trainer(tmp_path: Path, write_shards: Callable[..., Path]) -> None:
    folder = write_shards(tmp_path / "shards", {"train": [30, 20]})
    path = folder / "data" / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    for num_workers in (0, 1):
        dataset = PackedDataset(folder, rank=0, world_size=1, batch_size=2)
        with pytest.raises(IntegrityError, match=r"train-00001-of-00002\.parquet: expected a Parquet file"):
            list(loader(dataset, num_workers))


@pytest.mark.usefixtures("no_reader_threads")
def test_dropping_an_iterator_ends_its_threads(make: Make) -> None:
    iterator: Iterator[Any] = iter(loader(make(batch_size=1)))
    next(iterator)
    assert any(thread.name.startswith("pipeline-reader") for thread in threading.enumerate())
    del iterator


def test_a_process_ends_although_loaders_are_open(shards: Path) -> None:
    code = (
        "import sys; from torch.utils.data import DataLoader; from pipeline.streaming.dataset import PackedDataset\n"
        "dataset = PackedDataset(sys.argv[1], rank=0, world_size=1, batch_size=1)\n"
        "opened = [iter(DataLoader(dataset, batch_size=None, num_workers=n)) for n in (0, 1)]\n"
        "assert all(len(next(iterator)['input_ids']) == 1 for iterator in opened)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(shards)], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_without_torch_the_message_says_what_to_install(shards: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pipeline.streaming.reader import PackedReader; next(iter(PackedReader(sys.argv[1])))\n"
        "from pipeline.errors import MissingExtraError\n"
        "try:\n    import pipeline.streaming.dataset\nexcept MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(shards)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ,
    )
    assert "pip install 'protein-pipeline[torch]'" in done.stdout
