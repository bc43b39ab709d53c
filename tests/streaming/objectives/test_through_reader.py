"""Every objective through the reader: law 7 over ranks and batch sizes, and through the dataset as tensors."""

import numpy as np
import pytest

from pipeline.core.tokenizer import load_tokenizer
from pipeline.streaming.objectives import OBJECTIVES, MaskedLM, SpanCorruption, as_objective
from pipeline.streaming.reader import PackedReader

COLUMNS = ("input_ids", "sequence_id", "position_ids", "num_tokens", "num_sequences", "record_keys", "row_offsets")


@pytest.fixture(scope="module")
def sentinel_shards(write_shards, tmp_path_factory):
    """Rows of esm2's tokens, in a family that has a mask, and sentinels, and tokens for the termini."""
    document = load_tokenizer("esm2").document()
    document["name"] = "esm2-with-everything"
    document["tokens"] = [*document["tokens"], *(f"<extra_id_{number}>" for number in range(20)), "1", "2"]
    document |= {"prefix": ["1"], "suffix": ["2"]}
    return write_shards(tmp_path_factory.mktemp("sentinels") / "shards", {"train": [29, 8, 40]}, tokenizer=document)


def rows_of(shards, objective, row_ids, *, world_size, batch_size):
    """{row: its arrays}, of all ranks."""
    rows = {}
    for rank in range(world_size):
        reader = PackedReader(
            shards,
            batch_size=batch_size,
            seed=3,
            rank=rank,
            world_size=world_size,
            objective=objective,
            tail="pad",
            columns=COLUMNS,
        )
        for batch in reader:
            names = [name for name in batch if name not in ("record_keys", "row_offsets")]
            for place, row in enumerate(row_ids(batch)):
                rows[row] = {name: batch[name][place].tolist() for name in names}
    return rows


@pytest.mark.parametrize("name", ["0.15", "betalinear30", *OBJECTIVES])
def test_a_row_does_not_depend_on_ranks_or_batches(sentinel_shards, row_ids, name):
    alone = rows_of(sentinel_shards, as_objective(name), row_ids, world_size=1, batch_size=5)
    shared = rows_of(sentinel_shards, as_objective(name), row_ids, world_size=2, batch_size=3)
    assert len(alone) == 77 + 1  # and padding
    assert shared == alone
    assert any(label != -100 for row in alone.values() for label in row["labels"])
    assert all(label == -100 for label in alone[-1]["labels"])


def test_the_layout_of_span_corruption_reaches_the_batch(sentinel_shards):
    for batch in PackedReader(sentinel_shards, batch_size=7, objective=SpanCorruption(), columns=COLUMNS):
        assert np.array_equal((batch["sequence_id"] >= 0).sum(axis=1), batch["num_tokens"])
        assert np.array_equal(batch["input_ids"] != 1, batch["sequence_id"] >= 0)


def test_tensors_are_wide_and_weights_are_not(sentinel_shards):
    torch = pytest.importorskip("torch", reason="the dataset needs torch: pip install 'protein-pipeline[torch]'")
    from pipeline.streaming.dataset import PackedDataset

    for objective, name, kind in [
        (MaskedLM(0.5), "labels", torch.int64),
        (as_objective("permutation-lm"), "permutation_rank", torch.int64),
        (as_objective("absorbing-diffusion"), "loss_weight", torch.float32),
    ]:
        batch = next(iter(PackedDataset(sentinel_shards, batch_size=2, rank=0, world_size=1, objective=objective)))
        assert batch[name].dtype == kind
