"""Replaced token detection: what the discriminator sees and is asked, in numpy and in torch."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pipeline.core.masking import ABSORBING
from pipeline.core.tokenizer import load_tokenizer
from pipeline.streaming.objectives import (
    MaskedLM,
    Objective,
    ObjectiveContext,
    ReplacedTokenDetection,
    discriminator_input_ids,
    replaced_token_labels,
)

ESM2 = load_tokenizer("esm2")
CONTEXT = ObjectiveContext.of(ESM2, seed=5, epoch=2)


def sampled_by_generator(batch, original):
    """Right in every other place, wrong elsewhere; nonsense where it was not asked."""
    rng = np.random.default_rng(0)
    wrong = 4 + (original - 3) % 20
    sampled = np.where(rng.random(original.shape) < 0.5, original, wrong)
    return np.where(batch["labels"] != -100, sampled, rng.integers(0, 33, original.shape)).astype(np.int64)


def test_the_generator_has_a_masked_lm(make_batch):
    batch = make_batch(100, empty_rows=(4,))
    result = ReplacedTokenDetection()(batch, CONTEXT)
    assert result.keys() == {*batch, "labels", "original_labels"}
    assert result["original_labels"].dtype == np.int8
    assert_array_equal(result["original_labels"], np.where(batch["sequence_id"] >= 0, 0, -100))
    selected = result["labels"] != -100
    became = result["input_ids"][selected]
    assert_array_equal(became[became != ESM2.mask_id], batch["input_ids"][selected][became != ESM2.mask_id])
    assert np.mean(became == ESM2.mask_id) == pytest.approx(0.85, abs=0.05)
    same = MaskedLM(0.3, corruption=ABSORBING)(batch, CONTEXT)
    other = ReplacedTokenDetection(0.3, corruption=ABSORBING)(batch, CONTEXT)
    assert_array_equal(other["input_ids"], same["input_ids"])


def test_a_right_guess_is_no_replacement(make_batch):
    batch = make_batch(100, empty_rows=(4,))
    result = ReplacedTokenDetection(0.4)(batch, CONTEXT)
    sampled = sampled_by_generator(result, batch["input_ids"].astype(int))
    seen, labels = discriminator_input_ids(sampled, result), replaced_token_labels(sampled, result)
    selected = result["labels"] != -100
    assert_array_equal(seen[selected], sampled[selected])
    assert_array_equal(seen[~selected], batch["input_ids"][~selected])
    assert_array_equal(labels, np.where(batch["sequence_id"] < 0, -100, seen != batch["input_ids"]))
    assert {-100, 0, 1} == set(labels.ravel().tolist())
    assert np.any(selected & (labels == 0))


def test_tensors_give_what_arrays_give(make_batch):
    torch = pytest.importorskip("torch", reason="tensors need torch: pip install 'protein-pipeline[torch]'")
    batch = make_batch(20)
    result = ReplacedTokenDetection(0.4)(batch, CONTEXT)
    sampled = sampled_by_generator(result, batch["input_ids"].astype(int))
    for kind in (torch.int64, torch.int16):
        tensors = {name: torch.from_numpy(result[name]).to(kind) for name in ("input_ids", "labels", "original_labels")}
        for function in (discriminator_input_ids, replaced_token_labels):
            found = function(torch.from_numpy(sampled), tensors)
            assert not found.is_floating_point()
            assert_array_equal(found.numpy(), function(sampled, result))


def test_name():
    assert isinstance(ReplacedTokenDetection(), Objective)
    assert ReplacedTokenDetection("cosine").name == "replaced-token-detection(cosine)"
