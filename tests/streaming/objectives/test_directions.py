"""Both directions of ProGen: whole segments turned round, by a coin that only the segment decides (law 7)."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pipeline.core.tokenizer import load_tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives import BidirectionalLM, CausalLM, ObjectiveContext


def batch_of(texts, name):
    """One row a text, as the reader gives it."""
    tokenizer = load_tokenizer(name)
    encoded = [tokenizer.encode(text) for text in texts]
    input_ids = np.full((len(texts), 24), tokenizer.pad_id, dtype=tokenizer.dtype)
    for row, ids in zip(input_ids, encoded, strict=True):
        row[: len(ids)] = ids
    batch = {
        "input_ids": input_ids,
        "lengths": np.array([len(ids) for ids in encoded], dtype=np.uint32),
        "row_offsets": np.arange(len(texts) + 1),
        "record_keys": np.arange(len(texts), dtype=np.uint64),
        "starts": np.zeros(len(texts), dtype=np.uint32),
    }
    return batch, ObjectiveContext.of(tokenizer, seed=0, epoch=0)


@pytest.mark.parametrize(
    ("name", "forwards", "backwards"),
    [
        ("progen2", [3, 16, 14, 23, 25, 4], [4, 25, 23, 14, 16, 3]),
        ("progen3", [1, 6, 20, 18, 27, 29, 7, 2], [1, 7, 29, 27, 18, 20, 6, 2]),
    ],
)
def test_the_string_with_its_termini_is_turned_and_bos_and_eos_stay(name, forwards, backwards):
    batch, context = batch_of(["MKTV", "", "GAS"], name)
    for share, expected in ((0.0, forwards), (1.0, backwards)):
        result = BidirectionalLM(share)(batch, context)
        num_tokens = len(expected)
        assert result["input_ids"][0].tolist() == [*expected, *[context.pad_id] * (24 - num_tokens)]
        assert result["labels"][0, :num_tokens].tolist() == [*expected[1:], -100]
    assert batch["input_ids"][0, : len(forwards)].tolist() == forwards


@pytest.mark.parametrize(("name", "alignment"), [("progen2", 1), ("progen3", 8)])
def test_each_segment_is_as_it_was_or_turned_round(make_batch, by_segment, name, alignment):
    tokenizer = load_tokenizer(name)
    context = ObjectiveContext.of(tokenizer, seed=5, epoch=1, alignment=alignment)
    batch = make_batch(200, tokenizer, longest=6, alignment=alignment, empty_rows=(7, 199))
    result = BidirectionalLM()(batch, context)
    assert_array_equal(result["labels"], CausalLM()({**batch, "input_ids": result["input_ids"]}, context)["labels"])
    outer = len(tokenizer.prefix) - 1
    if alignment > 1:
        assert_array_equal(np.sort(result["input_ids"], axis=1), np.sort(batch["input_ids"], axis=1))
        return
    before, after = by_segment(batch, "input_ids"), by_segment(result, "input_ids")
    turned = 0
    for identity, tokens in before.items():
        inner = slice(outer, len(tokens) - outer)
        expected = tokens[:outer] + tokens[inner][::-1] + tokens[inner.stop :]
        assert after[identity] in (tokens, expected)
        turned += after[identity] == expected
    assert turned / len(before) == pytest.approx(0.5, abs=0.06)


def test_the_direction_depends_on_the_segment_alone(make_batch, by_segment, relay):
    """Law 7."""
    tokenizer = load_tokenizer("progen2")
    context = ObjectiveContext.of(tokenizer, seed=1, epoch=2)
    batch = make_batch(40, tokenizer)
    order = np.random.default_rng(0).permutation(len(batch["lengths"]))
    elsewhere = relay(batch, order, 13, pad_id=tokenizer.pad_id)
    found = by_segment(BidirectionalLM()(batch, context), "input_ids")
    assert by_segment(BidirectionalLM()(elsewhere, context), "input_ids") == found
    for seed, epoch in ((2, 2), (1, 3)):
        other = ObjectiveContext.of(tokenizer, seed=seed, epoch=epoch)
        assert by_segment(BidirectionalLM()(batch, other), "input_ids") != found


def test_directions_of_a_record_are_pinned():
    batch, context = batch_of(["MKTV"] * 16, "progen2")
    is_turned = BidirectionalLM()(batch, context)["input_ids"][:, 0] == 4
    assert "".join("NC"[turned] for turned in is_turned.tolist()) == "NNNCNCNNCNCCNCNN"


def test_it_has_a_name_and_checks_its_argument():
    assert BidirectionalLM().name == "bidirectional-lm(0.5, shifted)"
    with pytest.raises(ConfigurationError, match="backwards: expected a probability from 0 to 1, found"):
        BidirectionalLM(1.5)
    batch, context = batch_of(["MKTV"], "esm2")
    with pytest.raises(ConfigurationError, match="needs the tokens 1 and 2 of the termini; tokenizer 'esm2'"):
        BidirectionalLM()(batch, context)
