"""Masked LM on batches as the reader hands them over."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core.masking import Corruption
from pipeline.core.tokenizer import BUILT_IN, load_tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives import MaskedLM, Objective, ObjectiveContext

ESM2 = load_tokenizer("esm2")


def context(tokenizer=ESM2, *, seed=5, epoch=2):
    return ObjectiveContext.of(tokenizer, seed=seed, epoch=epoch)


@pytest.mark.parametrize("schedule", ["betalinear30", 0.15])
def test_a_batch_gains_labels_and_keeps_the_rest(make_batch, schedule):
    batch = make_batch(8)
    before = {name: array.copy() for name, array in batch.items()}
    result = MaskedLM(schedule)(batch, context())
    assert result.keys() == {*batch, "labels"}
    assert all(result[name] is batch[name] for name in batch if name != "input_ids")
    assert result["input_ids"].dtype == batch["input_ids"].dtype
    assert result["labels"].dtype == np.int16
    selected = result["labels"] != -100
    assert 0 < selected.sum() < selected.size
    assert_array_equal(result["labels"][selected], before["input_ids"][selected])
    assert_array_equal(result["input_ids"][~selected], before["input_ids"][~selected])
    assert not np.any(selected & np.isin(before["input_ids"], [0, 1, 2]))
    for name, array in before.items():
        assert_array_equal(batch[name], array)


@given(st.permutations(range(6)), st.integers(1, 6), st.sampled_from(["betalinear30", "0.15", "cubic"]))
def test_rows_are_masked_alike_in_every_batch(make_batch, take_rows, order, batch_size, schedule):
    """Law 7, at the level of whole batches: their size and the order of their rows do not matter."""
    objective = MaskedLM(schedule)
    batch = make_batch(6)
    whole = objective(batch, context())
    for first in range(0, 6, batch_size):
        rows = order[first : first + batch_size]
        part = objective(take_rows(batch, rows), context())
        assert_array_equal(part["input_ids"], whole["input_ids"][rows])
        assert_array_equal(part["labels"], whole["labels"][rows])


def test_seed_and_epoch_mask_anew(make_batch):
    objective, batch = MaskedLM("linear"), make_batch(8)
    labels = {
        objective(batch, context(seed=seed, epoch=epoch))["labels"].tobytes()
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (0, 0)]
    }
    assert len(labels) == 3


def test_a_schedule_masks_and_a_rate_corrupts(make_batch):
    batch = make_batch(300)
    by_schedule, by_rate = (MaskedLM(schedule)(batch, context()) for schedule in ("linear", 0.5))
    assert set(by_schedule["input_ids"][by_schedule["labels"] != -100].tolist()) == {ESM2.mask_id}
    became = by_rate["input_ids"][by_rate["labels"] != -100]
    assert set(became.tolist()) == {ESM2.mask_id, *context().residue_ids}
    assert np.mean(became == ESM2.mask_id) == pytest.approx(0.8, abs=0.03)


def test_the_rule_of_corruption_can_be_chosen(make_batch):
    batch = make_batch(50)
    result = MaskedLM(0.5, corruption=Corruption(mask=1.0, random=0.0))(batch, context())
    assert set(result["input_ids"][result["labels"] != -100].tolist()) == {ESM2.mask_id}


@pytest.mark.parametrize("name", [name for name in BUILT_IN if load_tokenizer(name).mask_id is not None])
def test_every_tokenizer_with_a_mask_token(make_batch, name):
    tokenizer = load_tokenizer(name)
    batch = make_batch(20, tokenizer)
    result = MaskedLM("betalinear30")(batch, context(tokenizer))
    selected = result["labels"] != -100
    assert selected.any()
    assert np.all(result["input_ids"][selected] == tokenizer.mask_id)
    assert np.all(np.isin(batch["input_ids"][selected], context(tokenizer).residue_ids))


@pytest.mark.parametrize("name", ["evo2", "prott5", "progen2"])
def test_a_tokenizer_without_a_mask_token_is_refused(make_batch, name):
    tokenizer = load_tokenizer(name)
    with pytest.raises(ConfigurationError, match="has none") as caught:
        MaskedLM(0.15)(make_batch(2, tokenizer), context(tokenizer))
    assert repr(tokenizer.name) in caught.value.message
    listed = caught.value.hint.split(": ")[1].split(", ")
    assert {"esm2", "esm3", "protbert", "progen3", "amplify"} <= set(listed)
    assert not {"evo2", "prott5", "progen2"} & set(listed)


def test_the_context_of_a_tokenizer():
    known = ObjectiveContext.of(ESM2, seed=1, epoch=2, alignment=8)
    assert known == ObjectiveContext(
        seed=1,
        epoch=2,
        tokenizer="esm2",
        mask_id=32,
        residue_ids=(5, 23, 13, 9, 18, 6, 21, 12, 15, 4, 20, 17, 14, 16, 10, 8, 11, 7, 22, 19),
        num_prefix=1,
        num_suffix=1,
        alignment=8,
        pad_id=1,
        end_id=2,
        letter_ids=tuple(range(4, 29)),
        vocabulary_size=33,
    )


def test_the_separator_of_concatenated_rows_is_never_selected(make_batch):
    batch = make_batch(50, prefix=(), suffix=(ESM2.separator_id,))
    result = MaskedLM(0.9)(batch, ObjectiveContext.of_concatenated(ESM2, seed=0, epoch=0))
    selected = result["labels"] != -100
    residues = ~np.isin(batch["input_ids"], [ESM2.separator_id, ESM2.pad_id])
    assert not np.any(selected & ~residues)
    assert selected.sum() / residues.sum() == pytest.approx(0.9, abs=0.03)


def test_the_last_residue_of_a_cut_piece_is_selected_as_often_as_others(make_batch):
    batch = make_batch(200, prefix=(), suffix=())
    labels = MaskedLM(0.9)(batch, ObjectiveContext.of_concatenated(ESM2, seed=0, epoch=0))["labels"]
    last = np.append(batch["position_ids"][:, 1:] == 0, np.ones((200, 1), dtype=bool), axis=1)
    last &= batch["sequence_id"] >= 0
    assert np.mean(labels[last] != -100) == pytest.approx(0.9, abs=0.05)


def test_alignment_is_followed(make_batch):
    batch = make_batch(50, alignment=8)
    known = ObjectiveContext.of(ESM2, seed=5, epoch=2, alignment=8)
    labels = MaskedLM(0.9)(batch, known)["labels"]
    assert np.all(batch["input_ids"][labels != -100] > 3)
    assert np.mean(labels[batch["input_ids"] > 3] != -100) == pytest.approx(0.9, abs=0.03)


def test_objectives_have_a_name_and_say_what_they_need(make_batch):
    objective = MaskedLM("sqrt")
    assert isinstance(objective, Objective)
    assert objective.name == "masked-lm(square_root_schedule)"
    batch = make_batch(2)
    needed = {name: batch[name] for name in objective.columns}
    assert_array_equal(objective(needed, context())["labels"], objective(batch, context())["labels"])
    for name in objective.columns:
        with pytest.raises(KeyError):
            objective({column: batch[column] for column in objective.columns if column != name}, context())


RANDOM = Corruption(mask=0.0, random=1.0)


@pytest.mark.parametrize(
    ("name", "pool", "num_tokens"),
    [
        ("esm2", None, 20),
        ("protbert", None, 20),
        ("amplify", None, 21),
        ("esm2", "letters", 25),
        ("esm2", "vocabulary", 33),
    ],
)
def test_what_random_residues_are_drawn_from_is_the_familys_affair(make_batch, name, pool, num_tokens):
    tokenizer = load_tokenizer(name)
    batch = make_batch(200, tokenizer)
    result = MaskedLM(0.9, corruption=RANDOM, pool=pool)(batch, context(tokenizer))
    selected = result["labels"] != -100
    became = result["input_ids"][selected]
    assert len(set(became.tolist())) == num_tokens
    assert np.any(became == result["labels"][selected]) == (name != "protbert")
    assert np.any(became == tokenizer.pad_id) == (pool == "vocabulary")


def test_a_pool_by_another_name_is_refused():
    with pytest.raises(ConfigurationError, match=r"pool: expected one of residues, other-residues, .* found 'all'"):
        MaskedLM(0.15, pool="all")


def test_labels_are_wider_where_tokens_are(make_batch):
    wide = replace(context(), vocabulary_size=40_000)
    assert MaskedLM(0.15)(make_batch(2), wide)["labels"].dtype == np.int32
