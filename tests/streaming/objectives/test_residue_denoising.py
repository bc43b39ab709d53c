"""ProtT5's denoising: single residues, 90 % masks and 10 % others, the whole protein as the target."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pipeline.core.tokenizer import load_tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives import Objective, ObjectiveContext, ResidueDenoising

PROTT5 = load_tokenizer("prott5")


@pytest.mark.parametrize("alignment", [1, 8])
def test_the_target_is_the_whole_protein_one_later(make_batch, alignment):
    batch = make_batch(30, PROTT5, alignment=alignment, empty_rows=(0, 5))
    result = ResidueDenoising()(batch, ObjectiveContext.of(PROTT5, seed=5, epoch=2, alignment=alignment))
    is_token = batch["sequence_id"] >= 0
    assert_array_equal(result["labels"], np.where(is_token, batch["input_ids"].astype(int), -100))
    assert_array_equal(result["decoder_sequence_id"], batch["sequence_id"])
    assert result["labels"].dtype == np.int16
    begins = is_token & (batch["position_ids"] == 0)
    expected = np.where(is_token & ~begins, np.roll(batch["input_ids"], 1), PROTT5.pad_id)
    assert_array_equal(result["decoder_input_ids"], expected)
    assert result["decoder_input_ids"].dtype == batch["input_ids"].dtype


def test_corrupted_residues_are_masks_or_others(make_batch):
    batch = make_batch(2000, PROTT5)
    context = ObjectiveContext.of(PROTT5, seed=5, epoch=2)
    result = ResidueDenoising()(batch, context)
    changed = result["input_ids"] != batch["input_ids"]
    residues = batch["input_ids"] > 2
    assert not np.any(changed & ~residues)
    # Another residue is always another one, so that every corrupted residue shows.
    assert changed.sum() / residues.sum() == pytest.approx(0.15, abs=0.01)
    became = result["input_ids"][changed]
    mask_id = PROTT5.tokens.index("<extra_id_0>")
    assert np.mean(became == mask_id) == pytest.approx(0.9, abs=0.02)
    assert set(became.tolist()) == {mask_id, *context.residue_ids}


def test_a_family_with_a_mask_token_uses_it_and_one_with_neither_is_refused(make_batch):
    tokenizer = load_tokenizer("protbert")
    batch = make_batch(20, tokenizer)
    result = ResidueDenoising(0.5)(batch, ObjectiveContext.of(tokenizer, seed=0, epoch=0))
    assert np.any(result["input_ids"] == tokenizer.mask_id)
    evo2 = load_tokenizer("evo2")
    with pytest.raises(ConfigurationError, match="residue denoising needs a mask token"):
        ResidueDenoising()(make_batch(2, evo2), ObjectiveContext.of(evo2, seed=0, epoch=0))


def test_name_and_argument():
    assert isinstance(ResidueDenoising(), Objective)
    assert ResidueDenoising().name == "residue-denoising(0.15)"
    with pytest.raises(ConfigurationError, match="rate: expected a number between 0 and 1, both excluded, found 1"):
        ResidueDenoising(1)
