"""What a batch holds, by name: conventions, positions, attention arguments, accessions, ESM-2's scale."""

import numpy as np
import pytest

from pipeline.core.tokenizer import load_tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.columns import SequenceIds
from pipeline.streaming.objectives import MaskedLM
from pipeline.streaming.reader import PackedReader

LENGTH = 24


def batches(folder, **options):
    return list(PackedReader(folder, **{"batch_size": 4, "tail": "pad"} | options))


def zero_based(folder):
    return np.concatenate([batch["sequence_id"] for batch in batches(folder)])


@pytest.mark.parametrize(
    ("name", "first", "padding"), [("zero-based", 0, -1), ("one-based", 1, 0), ("one-based-negative", 1, -1)]
)
def test_sequence_ids_in_every_convention(shards, name, first, padding):
    expected = zero_based(shards)
    found = np.concatenate([batch["sequence_id"] for batch in batches(shards, sequence_ids=name)])
    assert np.array_equal(found, np.where(expected < 0, padding, expected + first))
    assert found.dtype == np.int16


@pytest.mark.parametrize(
    ("name", "options"),
    [("sequence_id", {"sequence_ids": "boolean"}), ("attention_mask", {"columns": ("attention_mask",)})],
)
def test_true_on_tokens_and_false_on_padding(shards, name, options):
    found = np.concatenate([batch[name] for batch in batches(shards, **options)])
    assert found.dtype == np.bool_
    assert np.array_equal(found, zero_based(shards) >= 0)


def test_an_unknown_convention_is_refused(shards):
    with pytest.raises(ConfigurationError, match=f"expected one of {', '.join(SequenceIds)}, found 'minus'"):
        PackedReader(shards, sequence_ids="minus")


def test_chain_id_is_another_one_for_each_segment_whatever_sequence_id_says(shards):
    made = batches(shards, columns=("chain_id",), sequence_ids="boolean")
    assert np.array_equal(np.concatenate([batch["chain_id"] for batch in made]), zero_based(shards))


def test_positions_that_go_on_over_the_row(write_shards, tmp_path):
    folder = write_shards(tmp_path / "shards", tokenizer=load_tokenizer("esm1b").document())
    for batch in batches(folder, reset_positions=False):
        assert (batch["position_ids"] == np.arange(LENGTH) + 2).all()
    for batch in batches(folder):
        starts = np.diff(batch["sequence_id"], axis=1, prepend=-2) != 0
        assert (batch["position_ids"][starts] == 2).all()


@pytest.mark.parametrize("alignment", [1, 4])
def test_cu_seqlens_have_one_size_and_cut_between_segments(write_shards, tmp_path, alignment):
    folder = write_shards(tmp_path / "shards", alignment=alignment)
    columns = ("sequence_id", "cu_seqlens", "cu_seqlens_unpadded", "cu_seqlens_padded", "max_seqlen", "lengths")
    made = batches(folder, columns=columns)
    assert len({batch["cu_seqlens"].shape for batch in made}) == 1
    assert {batch["max_seqlen"] for batch in made} == {LENGTH}
    for batch in made:
        flat, bounds = batch["sequence_id"].reshape(-1), batch["cu_seqlens"]
        assert bounds.dtype == np.int32
        assert (bounds[0], bounds[-1]) == (0, 4 * LENGTH)
        inside = np.ones(len(flat), dtype=bool)
        inside[bounds[:-1][bounds[:-1] < len(flat)]] = False
        assert (flat[1:] == flat[:-1])[inside[1:]].all()
        sizes = np.diff(bounds)
        tokens = sizes[(sizes > 0) & (flat[np.minimum(bounds[:-1], len(flat) - 1)] >= 0)]
        assert tokens.tolist() == batch["lengths"].tolist()
        assert np.diff(batch["cu_seqlens_unpadded"])[: len(tokens)].tolist() == tokens.tolist()
        places = batch["cu_seqlens_padded"][: len(tokens)]
        assert (flat[places] >= 0).all()
        assert (places % alignment == 0).all()


def test_accessions_are_those_of_the_segments(shards):
    for threads in (1, 2):
        made = batches(shards, columns=("accessions", "record_keys", "row_offsets"), threads=threads)
        assert sum(len(batch["accessions"]) for batch in made) > 100
        for batch in made:
            assert batch["accessions"] == [f"P{key}" for key in batch["record_keys"].tolist()]


def test_token_dropout_scale_is_by_segment(shards):
    """As ESM-2's formula says of each segment alone."""
    mask_id = PackedReader(shards).tokenizer.mask_id
    columns = ("input_ids", "sequence_id", "token_dropout_scale")
    several = 0
    for batch in batches(shards, columns=columns, objective=MaskedLM(0.5)):
        scale = batch["token_dropout_scale"]
        assert scale.dtype == np.float32
        assert (scale[batch["sequence_id"] < 0] == 1).all()
        for ids, segment, row in zip(batch["input_ids"], batch["sequence_id"], scale, strict=True):
            for one in range(segment.max() + 1):
                is_in = segment == one
                observed = (ids[is_in] == mask_id).mean()
                assert row[is_in] == pytest.approx((1 - 0.12) / (1 - observed) if observed < 1 else 0.88, rel=1e-6)
                several += observed > 0
    assert several > 50


def test_masks_are_asked_of_the_dataset(shards):
    with pytest.raises(ConfigurationError, match="block_mask is made in torch"):
        PackedReader(shards, columns=("input_ids", "block_mask"))
