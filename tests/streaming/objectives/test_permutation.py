"""Permutation LM: a mask by rank lets no prediction see its own token, through any number of layers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core.tokenizer import load_tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives import Objective, ObjectiveContext, PermutationLM

ESM2 = load_tokenizer("esm2")
CONTEXT = ObjectiveContext.of(ESM2, seed=5, epoch=2)


@pytest.mark.parametrize("predicted", [1 / 6, 0.5, 1.0])
def test_what_a_batch_gains(make_batch, predicted):
    batch = make_batch(30, empty_rows=(2,))
    result = PermutationLM(predicted)(batch, CONTEXT)
    assert result.keys() == {*batch, "labels", "permutation_rank"}
    labels, rank = result["labels"], result["permutation_rank"]
    assert (labels.dtype, rank.dtype) == (np.int16, np.int16)
    assert result["input_ids"] is batch["input_ids"]
    assert_array_equal(labels != -100, rank >= 0)
    assert_array_equal(labels[rank >= 0], batch["input_ids"][rank >= 0])
    assert np.all(batch["input_ids"][rank >= 0] > 3)
    for row in range(30):
        for slot in range(int(np.diff(batch["row_offsets"])[row])):
            here = batch["sequence_id"][row] == slot
            ranks = rank[row, here]
            num_targets = max(1, round((here.sum() - 2) * predicted))
            assert sorted(ranks[ranks >= 0].tolist()) == list(range(num_targets))


def attend(queries, keys, values, mask):
    scores = np.where(mask, queries @ keys.T, -np.inf)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True, initial=-1e9))
    weights = np.where(mask, weights, 0)
    return weights @ values / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-9)


def two_stream(tokens, same, rank, num_layers=3):
    """The query stream of a small XLNet, as its paper has it, in numpy."""
    rng = np.random.default_rng(0)
    embedding, position = rng.normal(size=(33, 8)), rng.normal(size=(len(tokens), 8))
    content, query = embedding[tokens] + position, np.repeat(rng.normal(size=(1, 8)), len(tokens), axis=0) + position
    sees = same & (rank[None, :] < rank[:, None])
    sees_itself = same & (rank[None, :] <= rank[:, None])
    for _ in range(num_layers):
        weights = rng.normal(size=(8, 8)) / 3
        query = np.tanh((query + attend(query, content, content, sees)) @ weights)
        content = np.tanh((content + attend(content, content, content, sees_itself)) @ weights)
    return query


def test_a_prediction_does_not_see_its_token_nor_later_ones(make_batch):
    batch = make_batch(1, longest=13)
    result = PermutationLM(0.5)(batch, CONTEXT)
    tokens, ids, rank = (result[name][0] for name in ("input_ids", "sequence_id", "permutation_rank"))
    same = ids[:, None] == ids[None, :]
    before = two_stream(tokens, same, rank)
    targets = np.flatnonzero(rank >= 0)
    assert len(targets) > 8
    earlier_matter = 0
    for target in targets:
        changed = tokens.copy()
        changed[target] = 4 + (changed[target] - 3) % 20
        difference = np.abs(two_stream(changed, same, rank) - before).max(axis=1)
        may_notice = same[target] & (rank > rank[target])
        assert np.all(difference[targets][~may_notice[targets]] == 0)
        earlier_matter += np.any(difference[targets] > 1e-6)
    assert earlier_matter > 4


@given(order=st.permutations(range(10)), num_rows=st.integers(1, 5))
def test_a_segment_has_its_order_wherever_it_lies(make_batch, relay, by_segment, order, num_rows):
    """Law 7."""
    batch = make_batch(5)
    whole = PermutationLM()(batch, CONTEXT)
    other = PermutationLM()(relay(batch, order, num_rows, pad_id=1), CONTEXT)
    for name in ("labels", "permutation_rank"):
        there, here = by_segment(whole, name), by_segment(other, name)
        assert len(here) == 10
        assert here == {identity: there[identity] for identity in here}


def test_name_and_argument():
    assert isinstance(PermutationLM(), Objective)
    assert PermutationLM().name == "permutation-lm(0.167)"
    for predicted in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigurationError, match="predicted: expected a share above 0 and up to 1"):
            PermutationLM(predicted)
