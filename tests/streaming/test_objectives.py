"""Objectives on batches as the reader hands them over."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core.masking import Corruption
from pipeline.core.tokenizer import BUILT_IN, load_tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives import MaskedLM, Objective, ObjectiveContext, as_objective

ESM2 = load_tokenizer("esm2")
LENGTH = 64
SEGMENT_COLUMNS = ("lengths", "record_keys", "starts")


def make_batch(num_rows, tokenizer=ESM2, *, prefix=None, suffix=None, alignment=1):
    """Rows of two to four random proteins each, with everything that a batch may hold."""
    rng = np.random.default_rng(7)
    prefix = tokenizer.prefix if prefix is None else prefix
    suffix = tokenizer.suffix if suffix is None else suffix
    residues = tokenizer.table[np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)]
    input_ids = np.full((num_rows, LENGTH), tokenizer.pad_id, dtype=tokenizer.dtype)
    sequence_id = np.full((num_rows, LENGTH), -1, dtype=np.int16)
    position_ids = np.zeros((num_rows, LENGTH), dtype=np.int32)
    lengths, row_offsets = [], [0]
    for row in range(num_rows):
        first = 0
        for number in range(rng.integers(2, 5)):
            tokens = [*prefix, *rng.choice(residues, rng.integers(1, 14)), *suffix]
            here = slice(first, first + len(tokens))
            input_ids[row, here], sequence_id[row, here] = tokens, number
            position_ids[row, here] = np.arange(len(tokens))
            lengths.append(len(tokens))
            first += -(-len(tokens) // alignment) * alignment
        row_offsets.append(len(lengths))
    return {
        "input_ids": input_ids,
        "sequence_id": sequence_id,
        "position_ids": position_ids,
        "lengths": np.array(lengths, dtype=np.uint32),
        "row_offsets": np.array(row_offsets, dtype=np.int64),
        "record_keys": rng.integers(0, 1 << 64, len(lengths), dtype=np.uint64),
        "starts": rng.integers(0, 3, len(lengths)).astype(np.uint32) * 512,
    }


def take_rows(batch, rows):
    """The batch of these rows, in this order."""
    offsets = batch["row_offsets"]
    segments = np.concatenate([np.arange(offsets[row], offsets[row + 1]) for row in rows])
    return {
        **{name: batch[name][rows] for name in ("input_ids", "sequence_id", "position_ids")},
        **{name: batch[name][segments] for name in SEGMENT_COLUMNS},
        "row_offsets": np.cumsum([0, *np.diff(offsets)[rows]]),
    }


def context(tokenizer=ESM2, *, seed=5, epoch=2):
    return ObjectiveContext.of(tokenizer, seed=seed, epoch=epoch)


@pytest.mark.parametrize("schedule", ["betalinear30", 0.15])
def test_a_batch_gains_labels_and_keeps_the_rest(schedule):
    batch = make_batch(8)
    before = {name: array.copy() for name, array in batch.items()}
    result = MaskedLM(schedule)(batch, context())
    assert result.keys() == {*batch, "labels"}
    assert all(result[name] is batch[name] for name in batch if name != "input_ids")
    assert result["input_ids"].dtype == batch["input_ids"].dtype
    assert result["labels"].dtype == np.int64
    selected = result["labels"] != -100
    assert 0 < selected.sum() < selected.size
    assert_array_equal(result["labels"][selected], before["input_ids"][selected])
    assert_array_equal(result["input_ids"][~selected], before["input_ids"][~selected])
    assert not np.any(selected & np.isin(before["input_ids"], [0, 1, 2]))
    for name, array in before.items():
        assert_array_equal(batch[name], array)


@given(st.permutations(range(6)), st.integers(1, 6), st.sampled_from(["betalinear30", "0.15", "cubic"]))
def test_rows_are_masked_alike_in_every_batch(order, batch_size, schedule):
    """Law 7, at the level of whole batches: their size and the order of their rows do not matter."""
    objective = MaskedLM(schedule)
    batch = make_batch(6)
    whole = objective(batch, context())
    for first in range(0, 6, batch_size):
        rows = order[first : first + batch_size]
        part = objective(take_rows(batch, rows), context())
        assert_array_equal(part["input_ids"], whole["input_ids"][rows])
        assert_array_equal(part["labels"], whole["labels"][rows])


def test_seed_and_epoch_mask_anew():
    objective, batch = MaskedLM("linear"), make_batch(8)
    labels = {
        objective(batch, context(seed=seed, epoch=epoch))["labels"].tobytes()
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (0, 0)]
    }
    assert len(labels) == 3


def test_a_schedule_masks_and_a_rate_corrupts():
    batch = make_batch(300)
    by_schedule, by_rate = (MaskedLM(schedule)(batch, context()) for schedule in ("linear", 0.5))
    assert set(by_schedule["input_ids"][by_schedule["labels"] != -100].tolist()) == {ESM2.mask_id}
    became = by_rate["input_ids"][by_rate["labels"] != -100]
    assert set(became.tolist()) == {ESM2.mask_id, *context().residue_ids}
    assert np.mean(became == ESM2.mask_id) == pytest.approx(0.8, abs=0.03)


def test_the_rule_of_corruption_can_be_chosen():
    batch = make_batch(50)
    result = MaskedLM(0.5, corruption=Corruption(mask=1.0, random=0.0))(batch, context())
    assert set(result["input_ids"][result["labels"] != -100].tolist()) == {ESM2.mask_id}


@pytest.mark.parametrize("name", [name for name in BUILT_IN if load_tokenizer(name).mask_id is not None])
def test_every_tokenizer_with_a_mask_token(name):
    tokenizer = load_tokenizer(name)
    batch = make_batch(20, tokenizer)
    result = MaskedLM("betalinear30")(batch, context(tokenizer))
    selected = result["labels"] != -100
    assert selected.any()
    assert np.all(result["input_ids"][selected] == tokenizer.mask_id)
    assert np.all(np.isin(batch["input_ids"][selected], context(tokenizer).residue_ids))


@pytest.mark.parametrize("name", ["evo2", "prott5", "progen2"])
def test_a_tokenizer_without_a_mask_token_is_refused(name):
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
    )


def test_the_separator_of_concatenated_rows_is_never_selected():
    batch = make_batch(50, prefix=(), suffix=(ESM2.separator_id,))
    result = MaskedLM(0.9)(batch, ObjectiveContext.of_concatenated(ESM2, seed=0, epoch=0))
    selected = result["labels"] != -100
    residues = ~np.isin(batch["input_ids"], [ESM2.separator_id, ESM2.pad_id])
    assert not np.any(selected & ~residues)
    assert selected.sum() / residues.sum() == pytest.approx(0.9, abs=0.03)


def test_the_last_residue_of_a_cut_piece_is_selected_as_often_as_others():
    batch = make_batch(200, prefix=(), suffix=())
    labels = MaskedLM(0.9)(batch, ObjectiveContext.of_concatenated(ESM2, seed=0, epoch=0))["labels"]
    last = np.append(batch["position_ids"][:, 1:] == 0, np.ones((200, 1), dtype=bool), axis=1)
    last &= batch["sequence_id"] >= 0
    assert np.mean(labels[last] != -100) == pytest.approx(0.9, abs=0.05)


def test_alignment_is_followed():
    batch = make_batch(50, alignment=8)
    known = ObjectiveContext.of(ESM2, seed=5, epoch=2, alignment=8)
    labels = MaskedLM(0.9)(batch, known)["labels"]
    assert np.all(batch["input_ids"][labels != -100] > 3)
    assert np.mean(labels[batch["input_ids"] > 3] != -100) == pytest.approx(0.9, abs=0.03)


def test_objectives_have_a_name_and_say_what_they_need():
    objective = MaskedLM("sqrt")
    assert isinstance(objective, Objective)
    assert objective.name == "masked-lm(square_root_schedule)"
    batch = make_batch(2)
    needed = {name: batch[name] for name in objective.columns}
    assert_array_equal(objective(needed, context())["labels"], objective(batch, context())["labels"])
    for name in objective.columns:
        with pytest.raises(KeyError):
            objective({column: batch[column] for column in objective.columns if column != name}, context())


@pytest.mark.parametrize("short", ["betalinear30", 0.15, "0.15"])
def test_short_forms_build_masked_lm(short):
    objective = as_objective(short)
    assert isinstance(objective, MaskedLM)
    assert objective.schedule == MaskedLM(short).schedule


def test_objectives_and_none_pass_through():
    objective = MaskedLM(0.15)
    assert as_objective(objective) is objective
    assert as_objective(None) is None


def test_an_unknown_short_form_lists_the_choices():
    with pytest.raises(ConfigurationError, match="betalinaer30") as caught:
        as_objective("betalinaer30")
    assert "betalinear30" in caught.value.hint


def test_objectives_do_not_load_torch():
    check = "import sys, pipeline.streaming.objectives; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
