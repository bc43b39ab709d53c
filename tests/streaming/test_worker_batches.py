"""Batches from loader workers: the same tensors, sent as narrow bytes, also where a wrapper changed them on the way."""

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from torch.utils.data import DataLoader, IterableDataset, default_convert  # noqa: E402

from pipeline.streaming.collate import tensors  # noqa: E402
from pipeline.streaming.dataset import PackedDataset  # noqa: E402
from pipeline.streaming.worker_batches import WorkerBatch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {
        "input_ids": rng.integers(0, 33, (4, 24)).astype(np.uint8),
        "sequence_id": rng.integers(-1, 3, (4, 24)).astype(np.int16),
        "attention_mask": rng.random((4, 24)) < 0.5,
        "record_keys": rng.integers(0, 2**63, 7).astype(np.uint64) * np.uint64(2),
        "cu_seqlens": np.arange(9, dtype=np.int32),
        "max_seqlen": 24,
        "accessions": ["P1", "P2"],
    }


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype, name
            assert torch.equal(found[name], value), name
        else:
            assert found[name] == value


@pytest.mark.parametrize("compact", [False, True])
def test_a_batch_arrives_as_it_would_have_been_made(batch, compact):
    made = WorkerBatch(batch, compact=compact)
    assert_equal(made, tensors(batch, compact=compact))
    sent = pickle.dumps(default_convert(made))
    assert len(sent) < 1.5 * sum(array.nbytes for array in batch.values() if isinstance(array, np.ndarray)) + 1000
    arrived = pickle.loads(sent)
    assert type(arrived) is dict
    assert_equal(arrived, tensors(batch, compact=compact))
    arrived["input_ids"] += 1  # what arrives can be changed


def test_what_was_changed_in_the_worker_arrives_changed(batch):
    made = copy.copy(WorkerBatch(batch))
    made["input_ids"] = made["input_ids"] + 100
    made["mine"] = torch.ones(2)
    del made["sequence_id"]
    arrived = pickle.loads(pickle.dumps(made))
    expected = tensors(batch)
    expected["input_ids"] += 100
    del expected["sequence_id"]
    assert_equal(arrived, expected | {"mine": torch.ones(2)})


class Wrapped(IterableDataset):
    """What a user might put around the dataset."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        for batch in self.dataset:
            yield {**batch, "input_ids": batch["input_ids"] * 2}


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_dataset_that_is_wrapped_gives_dicts_of_tensors_in_workers(shards, start):
    def dataset():
        return PackedDataset(shards, rank=0, world_size=1, batch_size=8)

    loader = DataLoader(Wrapped(dataset()), batch_size=None, num_workers=2, multiprocessing_context=start)
    for found, expected in zip(loader, dataset(), strict=True):
        assert_equal(found, expected | {"input_ids": expected["input_ids"] * 2})
