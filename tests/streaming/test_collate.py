"""Numpy batches to tensors: types, masks, and what narrow batches become on a device."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from torch.utils.data import DataLoader  # noqa: E402

from pipeline.errors import ConfigurationError  # noqa: E402
from pipeline.streaming.collate import block_mask, dense_mask, tensors, to_device  # noqa: E402
from pipeline.streaming.dataset import PackedDataset  # noqa: E402

COLUMNS = ("input_ids", "sequence_id", "attention_mask", "cu_seqlens", "max_seqlen", "accessions", "num_tokens")

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


def dataset(folder, **options):
    return PackedDataset(folder, **{"rank": 0, "world_size": 1, "batch_size": 4, "columns": COLUMNS, **options})


def test_integers_become_int64_but_for_cu_seqlens(shards):
    batch = next(iter(dataset(shards)))
    found = {name: getattr(value, "dtype", type(value)) for name, value in batch.items()}
    assert found == {
        "input_ids": torch.int64,
        "sequence_id": torch.int64,
        "attention_mask": torch.bool,
        "cu_seqlens": torch.int32,
        "max_seqlen": int,
        "accessions": list,
        "num_tokens": torch.int64,
    }


@pytest.mark.parametrize("num_workers", [0, 1])
def test_compact_batches_are_the_same_once_they_are_on_the_device(shards, num_workers):
    wide = list(dataset(shards))
    narrow = list(DataLoader(dataset(shards, compact=True), batch_size=None, num_workers=num_workers))
    assert narrow[0]["input_ids"].dtype == torch.uint8
    assert narrow[0]["sequence_id"].dtype == torch.int16
    for expected, batch in zip(wide, narrow, strict=True):
        moved = to_device(batch, "cpu")
        assert list(moved) == list(expected)
        for name, value in moved.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == expected[name].dtype
                assert torch.equal(value, expected[name])
            else:
                assert value == expected[name]


def allowed(sequence_id, causal):
    """Token by token."""
    rows, length = sequence_id.shape
    made = np.zeros((rows, 1, length, length), dtype=bool)
    for row in range(rows):
        for query in range(length):
            for key in range(length):
                same = sequence_id[row, query] == sequence_id[row, key]
                made[row, 0, query, key] = same and (key <= query or not causal)
    return made


@pytest.mark.parametrize("causal", [False, True])
def test_masks_let_tokens_see_their_own_segment_only(shards, causal):
    batch = next(iter(dataset(shards, columns=("sequence_id",))))
    expected = allowed(batch["sequence_id"].numpy(), causal)
    assert np.array_equal(dense_mask(batch["sequence_id"], causal=causal).numpy(), expected)
    blocks = block_mask(batch["sequence_id"], causal=causal)
    rows, length = batch["sequence_id"].shape
    places = [torch.tensor(place) for place in (range(rows), range(length), range(length))]
    found = [
        [[bool(blocks.mask_mod(row, torch.tensor(0), query, key)) for key in places[2]] for query in places[1]]
        for row in places[0]
    ]
    assert np.array_equal(np.array(found)[:, None], expected)
    assert expected.any(axis=-1).all()  # no token sees nothing: that would be NaN


def test_masks_are_asked_for_by_name(shards):
    batch = next(iter(dataset(shards, columns=("input_ids", "dense_mask", "block_mask"))))
    assert torch.equal(batch["dense_mask"], dense_mask(batch["sequence_id"]))
    assert type(batch["block_mask"]).__name__ == "BlockMask"


def test_masks_are_made_in_the_trainer_where_workers_read(shards):
    made = dataset(shards, columns=("input_ids", "dense_mask", "block_mask"))
    for batch in DataLoader(made, batch_size=None, num_workers=1, multiprocessing_context="fork"):
        assert list(batch) == ["input_ids", "sequence_id", "dense_mask", "block_mask"]
        assert torch.equal(batch["dense_mask"], dense_mask(batch["sequence_id"]))
        assert type(batch["block_mask"]).__name__ == "BlockMask"


def test_masks_need_segments_that_can_be_told_apart(shards):
    with pytest.raises(ConfigurationError, match="dense_mask: expected a sequence_id that tells segments apart"):
        dataset(shards, columns=("dense_mask",), sequence_ids="boolean")


def test_what_needs_no_other_type_shares_memory():
    array = np.arange(6).reshape(2, 3)
    assert tensors({"labels": array})["labels"].data_ptr() == array.ctypes.data
