"""Causal LM: the next token of the segment, never one of another segment, in both conventions."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pipeline.core.tokenizer import load_tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives import (
    CausalLM,
    ConcatenatedLM,
    LabelConvention,
    NucleotideLM,
    Objective,
    ObjectiveContext,
)


def by_loop(batch, alignment):
    """Labels, shifted, one token at a time."""
    labels = np.full(batch["input_ids"].shape, -100)
    for row in range(len(labels)):
        for column in range(labels.shape[1] - 1):
            ids = batch["sequence_id"][row, column : column + 2]
            if ids[0] >= 0 and ids[0] == ids[1]:
                labels[row, column] = batch["input_ids"][row, column + 1]
    return labels


@pytest.mark.parametrize(("name", "alignment"), [("esm2", 1), ("evo2", 1), ("progen2", 8), ("prott5", 4)])
def test_labels_are_the_next_tokens_of_the_segment(make_batch, name, alignment):
    tokenizer = load_tokenizer(name)
    batch = make_batch(30, tokenizer, alignment=alignment, empty_rows=(3, 29))
    context = ObjectiveContext.of(tokenizer, seed=0, epoch=0, alignment=alignment)
    result = CausalLM()(batch, context)
    assert_array_equal(result["labels"], by_loop(batch, alignment))
    assert result["labels"].dtype == np.int16
    assert result["input_ids"] is batch["input_ids"]
    assert result.keys() == {*batch, "labels"}


@pytest.mark.parametrize("alignment", [1, 8])
def test_the_hugging_face_convention_is_the_same_one_later(make_batch, alignment):
    tokenizer = load_tokenizer("progen2")
    batch = make_batch(30, tokenizer, alignment=alignment)
    context = ObjectiveContext.of(tokenizer, seed=0, epoch=0, alignment=alignment)
    shifted = CausalLM("shifted")(batch, context)["labels"]
    labels = CausalLM(LabelConvention.HUGGING_FACE)(batch, context)["labels"]
    assert_array_equal(labels[:, 1:], shifted[:, :-1])
    assert np.all(labels[:, 0] == -100)
    asked = labels != -100
    assert_array_equal(labels[asked], batch["input_ids"][asked])


def test_pieces_of_concatenated_records_keep_to_themselves(make_batch):
    tokenizer = load_tokenizer("evo2").for_concatenation()
    batch = make_batch(30, tokenizer, prefix=(), suffix=())
    context = ObjectiveContext.of_concatenated(tokenizer, seed=0, epoch=0)
    assert_array_equal(CausalLM()(batch, context)["labels"], by_loop(batch, 1))


def run_on(make_batch):
    tokenizer = load_tokenizer("evo2").for_concatenation()
    batch = make_batch(30, tokenizer, prefix=(), empty_rows=(4, 29))
    return batch, ObjectiveContext.of_concatenated(tokenizer, seed=0, epoch=0)


def test_concatenated_records_ask_for_whatever_comes_next_in_the_row(make_batch):
    batch, context = run_on(make_batch)
    labels = ConcatenatedLM()(batch, context)["labels"]
    is_token = batch["sequence_id"] >= 0
    assert_array_equal(labels[:, :-1], np.where(is_token[:, 1:], batch["input_ids"][:, 1:].astype(int), -100))
    assert np.all(labels[:, -1] == -100)
    across = is_token[:, 1:] & (batch["sequence_id"][:, 1:] != batch["sequence_id"][:, :-1]) & is_token[:, :-1]
    assert np.all(batch["input_ids"][:, :-1][across] == 0)  # each separator is asked for the record behind it
    assert np.sum(labels[:, :-1][across] != -100) == np.sum(across) > 30


def test_a_model_that_shifts_labels_itself_is_asked_for_the_same(make_batch):
    batch, context = run_on(make_batch)
    shifted = ConcatenatedLM()(batch, context)["labels"]
    own = ConcatenatedLM("hugging-face")(batch, context)["labels"]
    assert_array_equal(own[:, 1:], shifted[:, :-1])
    assert np.all(own[:, 0] == -100)


def test_evo_2_asks_for_nucleotides_alone():
    tokenizer = load_tokenizer("evo2").for_concatenation()
    #       A   C   N   G   T  eod  A   U  pad
    tokens = [65, 67, 78, 71, 84, 0, 65, 85, 1]
    batch = {
        "input_ids": np.array([tokens], dtype=np.uint16),
        "lengths": np.array([6, 2], dtype=np.uint32),
        "row_offsets": np.array([0, 2]),
    }
    context = ObjectiveContext.of_concatenated(tokenizer, seed=0, epoch=0)
    assert NucleotideLM()(batch, context)["labels"].tolist() == [[67, -100, 71, 84, -100, 65, -100, -100, -100]]


def test_it_has_a_name_and_checks_its_argument():
    assert isinstance(CausalLM(), Objective)
    assert CausalLM().name == "causal-lm(shifted)"
    assert NucleotideLM("hugging-face").name == "nucleotide-lm(hugging-face)"
    with pytest.raises(ConfigurationError, match="labels: expected one of shifted, hugging-face, found 'moved'"):
        CausalLM("moved")
