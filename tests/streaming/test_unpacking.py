"""Per-protein outputs: the part of each segment, in order, whatever the convention."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from pipeline.errors import ConfigurationError  # noqa: E402
from pipeline.streaming.reader import PackedReader  # noqa: E402
from pipeline.streaming.unpacking import unpack  # noqa: E402

COLUMNS = ("input_ids", "sequence_id", "lengths", "row_offsets")


@pytest.fixture(params=[1, 4])
def batch(request, write_shards, tmp_path):
    folder = write_shards(tmp_path / "shards", {"train": [37]}, alignment=request.param)
    batches = list(PackedReader(folder, batch_size=8, columns=COLUMNS, tail="pad"))
    assert any(np.diff(batch["row_offsets"]).min() == 0 for batch in batches)  # rows of padding
    return batches[-1]


def test_every_segment_has_its_part(batch):
    outputs = np.random.default_rng(0).random((*batch["input_ids"].shape, 3))
    parts = unpack(batch, outputs)
    assert [len(part) for part in parts] == batch["lengths"].tolist()
    rows = np.repeat(np.arange(8), np.diff(batch["row_offsets"]))
    for part, row, segment in zip(parts, rows, within(batch), strict=True):
        assert np.array_equal(part, outputs[row][batch["sequence_id"][row] == segment])
        assert np.shares_memory(part, outputs)


def within(batch):
    counts = np.diff(batch["row_offsets"])
    return np.arange(counts.sum()) - np.repeat(batch["row_offsets"][:-1], counts)


def test_special_tokens_can_be_left_out(batch):
    parts = unpack(batch, batch["input_ids"], num_prefix=1, num_suffix=1)
    assert [len(part) for part in parts] == np.maximum(batch["lengths"].astype(int) - 2, 0).tolist()


def test_tensors_and_other_conventions(batch):
    outputs = torch.from_numpy(batch["input_ids"])
    expected = [part.tolist() for part in unpack(batch, batch["input_ids"])]
    one_based = {"sequence_id": torch.from_numpy(batch["sequence_id"] + 1)}
    for found in (
        unpack({"sequence_id": torch.from_numpy(batch["sequence_id"])}, outputs),
        unpack(one_based, outputs, padding=0),
    ):
        assert all(isinstance(part, torch.Tensor) for part in found)
        assert [part.tolist() for part in found] == expected


def test_a_boolean_sequence_id_is_one_segment_a_row():
    mask = np.array([[True, True, False], [False, False, False], [True, True, True]])
    assert [part.tolist() for part in unpack({"sequence_id": mask}, np.arange(9).reshape(3, 3))] == [[0, 1], [6, 7, 8]]


def test_what_cannot_be_told_apart_or_does_not_fit_is_refused(batch):
    with pytest.raises(ConfigurationError, match="say padding=0"):
        unpack({"sequence_id": np.array([[1, 1, 2], [0, 0, 0]])}, np.zeros((2, 3)))
    with pytest.raises(ConfigurationError, match=r"expected outputs of shape \[8, 24\] …, found \[8, 12\]"):
        unpack(batch, np.zeros((8, 12)))
