"""Diffusion: uniform timesteps, rates that follow them, weights as published, law 7."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from pipeline.core.tokenizer import load_tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives import AbsorbingDiffusion, Objective, ObjectiveContext, OrderAgnosticDiffusion

ESM2 = load_tokenizer("esm2")
CONTEXT = ObjectiveContext.of(ESM2, seed=5, epoch=2)
OBJECTIVES = [AbsorbingDiffusion(), AbsorbingDiffusion(10, weighting="elbo"), OrderAgnosticDiffusion()]
ADDED = ("labels", "timestep", "loss_weight")


def one_protein_a_row(num_rows, num_residues):
    rng = np.random.default_rng(0)
    tokens = [np.zeros((num_rows, 1)), rng.integers(4, 24, (num_rows, num_residues)), np.full((num_rows, 1), 2)]
    return {
        "input_ids": np.concatenate(tokens, axis=1).astype(np.uint8),
        "lengths": np.full(num_rows, num_residues + 2, dtype=np.uint32),
        "row_offsets": np.arange(num_rows + 1),
        "record_keys": rng.integers(0, 1 << 64, num_rows, dtype=np.uint64),
        "starts": np.zeros(num_rows, dtype=np.uint32),
    }


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
def test_what_a_batch_gains(make_batch, objective):
    batch = make_batch(40, alignment=4, empty_rows=(0, 7))
    before = {name: array.copy() for name, array in batch.items()}
    context = ObjectiveContext.of(ESM2, seed=5, epoch=2, alignment=4)
    result = objective(batch, context)
    assert result.keys() == {*batch, *ADDED}
    labels, timestep, weight = (result[name] for name in ADDED)
    assert (labels.dtype, timestep.dtype, weight.dtype) == (np.int16, np.int32, np.float32)
    masked = labels != -100
    assert_array_equal(result["input_ids"], np.where(masked, ESM2.mask_id, batch["input_ids"]))
    assert_array_equal(labels[masked], batch["input_ids"][masked])
    assert np.all(batch["input_ids"][masked] > 3)
    assert_array_equal(weight > 0, masked)
    assert_array_equal(timestep > 0, batch["sequence_id"] >= 0)
    same = batch["sequence_id"][:, 1:] == batch["sequence_id"][:, :-1]
    assert_array_equal(timestep[:, 1:][same], timestep[:, :-1][same])
    for name, array in before.items():
        assert_array_equal(batch[name], array)


@given(layout=st.tuples(st.permutations(range(12)), st.integers(1, 5)), objective=st.sampled_from(OBJECTIVES))
def test_a_segment_is_corrupted_alike_wherever_it_lies(make_batch, relay, by_segment, layout, objective):
    """Law 7."""
    batch, (order, num_rows) = make_batch(6), layout
    order = [segment % len(batch["lengths"]) for segment in order]
    order = list(dict.fromkeys(order))
    whole = objective(batch, CONTEXT)
    other = objective(relay(batch, order, num_rows, pad_id=1), CONTEXT)
    for name in ("input_ids", *ADDED):
        there, here = by_segment(whole, name), by_segment(other, name)
        assert len(here) == len(order)
        assert here == {identity: there[identity] for identity in here}


def test_timesteps_are_uniform_and_rates_follow_them():
    num_rows, num_residues, num_timesteps = 4000, 200, 500
    result = AbsorbingDiffusion(num_timesteps)(one_protein_a_row(num_rows, num_residues), CONTEXT)
    timesteps = np.sort(result["timestep"][:, 0])
    assert timesteps[0] >= 1
    assert timesteps[-1] <= num_timesteps
    # Kolmogorov and Smirnov's distance from uniform on 1 … 500.
    cdf = timesteps / num_timesteps
    distance = np.max(np.abs(cdf - np.arange(1, num_rows + 1) / num_rows))
    assert distance < sqrt(-log(1e-4 / 2) / 2 / num_rows) + 1 / num_timesteps
    rates = result["timestep"][:, 0] / num_timesteps
    masks = (result["labels"] != -100).sum(axis=1)
    deviations = (masks - num_residues * rates) / np.sqrt(num_residues * rates * (1 - rates) + 1e-9)
    assert np.all(np.abs(deviations[rates < 1]) < 5.5)
    assert np.all(masks[rates == 1] == num_residues)
    assert deviations[rates < 1].std() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        ("linear", lambda t: (10 - t + 1) / 10),
        ("elbo", lambda t: 10 / t),
        ("constant", lambda t: np.ones_like(t, dtype=float)),
    ],
)
def test_weights_are_those_of_the_timestep(make_batch, weighting, expected):
    result = AbsorbingDiffusion(10, weighting=weighting)(make_batch(60), CONTEXT)
    masked = result["labels"] != -100
    assert_allclose(result["loss_weight"][masked], expected(result["timestep"][masked]), rtol=1e-6)
    assert len(np.unique(result["timestep"][masked])) == 10


def test_order_agnostic_masks_two_to_all_residues_equally_often():
    num_rows, num_residues = 9000, 10
    result = OrderAgnosticDiffusion()(one_protein_a_row(num_rows, num_residues), CONTEXT)
    masked = result["labels"] != -100
    num_masks = masked.sum(axis=1)
    assert_array_equal(result["timestep"][:, 0], num_masks)
    # D − t + 1 with t from 1 to D − 1.
    times = np.bincount(num_masks, minlength=num_residues + 1)
    assert times[:2].tolist() == [0, 0]
    expected = num_rows / (num_residues - 1)
    assert np.all(np.abs(times[2:] - expected) < 4.5 * sqrt(expected))
    # Each position is masked as often as any other.
    share = masked[:, 1:-1].sum(axis=0) / num_masks.sum()
    assert_allclose(share, 1 / num_residues, atol=4.5 * sqrt(0.1 * 0.9 / num_masks.sum()))
    rows, columns = np.nonzero(masked)
    assert_allclose(result["loss_weight"][rows, columns], num_residues / num_masks[rows], rtol=1e-6)


def test_order_agnostic_masks_a_lone_residue():
    result = OrderAgnosticDiffusion()(one_protein_a_row(5, 1), CONTEXT)
    assert np.all(result["input_ids"][:, 1] == ESM2.mask_id)
    assert result["timestep"].tolist() == [[1, 1, 1]] * 5
    assert result["loss_weight"].tolist() == [[0, 1, 0]] * 5


def test_a_segment_without_residues_has_nothing_to_mask():
    for objective in OBJECTIVES:
        result = objective(one_protein_a_row(5, 0), CONTEXT)
        assert np.all(result["labels"] == -100)
        assert not result["loss_weight"].any()


def test_special_tokens_of_concatenated_rows_are_no_residues(make_batch):
    batch = make_batch(50, prefix=(), suffix=(ESM2.separator_id,))
    context = ObjectiveContext.of_concatenated(ESM2, seed=0, epoch=0)
    for objective in OBJECTIVES:
        labels = objective(batch, context)["labels"]
        assert not np.any(labels == ESM2.separator_id)
        assert np.any(labels != -100)
    single = {**batch, **one_protein_a_row(5, 0)}
    single["input_ids"][:] = ESM2.separator_id
    single["lengths"][:] = 1
    assert np.all(OrderAgnosticDiffusion()(single, context)["labels"] == -100)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
def test_a_mask_token_is_needed(make_batch, objective):
    tokenizer = load_tokenizer("progen2")
    with pytest.raises(ConfigurationError, match="diffusion needs a mask token"):
        objective(make_batch(2, tokenizer), ObjectiveContext.of(tokenizer, seed=0, epoch=0))


def test_names_and_arguments():
    assert all(isinstance(objective, Objective) for objective in OBJECTIVES)
    assert OBJECTIVES[1].name == "absorbing-diffusion(10, elbo)"
    with pytest.raises(ConfigurationError, match="num_timesteps: expected 1 to"):
        AbsorbingDiffusion(0)
    with pytest.raises(ConfigurationError, match="weighting: expected one of linear, elbo, constant, found 'none'"):
        AbsorbingDiffusion(weighting="none")
