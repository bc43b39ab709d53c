"""Span corruption on batches: a layout that follows, ids that align, targets that fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core.tokenizer import load_tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives import Objective, ObjectiveContext, SpanCorruption

PROTT5 = load_tokenizer("prott5")
CONTEXT = ObjectiveContext.of(PROTT5, seed=5, epoch=2)
LENGTH = 64


def without_padding(row, pad_id=0):
    return row[row != pad_id].tolist()


def test_what_a_batch_gains(make_batch):
    batch = make_batch(40, PROTT5, longest=20, empty_rows=(0, 9))
    before = {name: array.copy() for name, array in batch.items()}
    result = SpanCorruption()(batch, CONTEXT)
    shapes = {name: (str(array.dtype), array.shape) for name, array in result.items() if name not in batch}
    target_length = SpanCorruption().longest_targets(LENGTH)
    assert shapes == {
        "num_tokens": ("int32", (40,)),
        "labels": ("int16", (40, target_length)),
        "decoder_input_ids": ("uint8", (40, target_length)),
        "decoder_sequence_id": ("int16", (40, target_length)),
        "decoder_position_ids": ("int32", (40, target_length)),
        "num_targets_left_out": ("int32", (40,)),
    }
    assert result["lengths"].dtype == np.uint32
    assert result["input_ids"].shape == batch["input_ids"].shape
    assert not result["num_targets_left_out"].any()
    for name, array in before.items():
        assert_array_equal(batch[name], array)


def test_the_layout_follows_the_corrupted_segments(make_batch):
    batch = make_batch(40, PROTT5, longest=20, empty_rows=(0, 9))
    result = SpanCorruption()(batch, CONTEXT)
    for row in range(40):
        first, last = batch["row_offsets"][row : row + 2]
        lengths = result["lengths"][first:last].tolist()
        ids = [slot for slot, length in enumerate(lengths) for _ in range(length)]
        positions = [place for length in lengths for place in range(length)]
        padding = LENGTH - len(ids)
        assert result["sequence_id"][row].tolist() == ids + [-1] * padding
        assert result["position_ids"][row].tolist() == positions + [0] * padding
        assert result["num_tokens"][row] == len(ids)
        assert np.all(result["input_ids"][row, len(ids) :] == PROTT5.pad_id)
        assert np.all(result["input_ids"][row, : len(ids)] != PROTT5.pad_id)


def test_equal_ids_let_a_decoder_see_its_own_segment(make_batch):
    """What the decoder of a segment sees across is that segment's corrupted tokens, as if it were alone."""
    batch = make_batch(40, PROTT5, longest=20)
    result = SpanCorruption()(batch, CONTEXT)
    number = 0
    for row in range(40):
        for slot in range(int(np.diff(batch["row_offsets"])[row])):
            alone = {name: batch[name][number : number + 1] for name in ("lengths", "record_keys", "starts")}
            here = batch["sequence_id"][row] == slot
            tokens = np.zeros((1, LENGTH), dtype=np.uint8)
            tokens[0, : here.sum()] = batch["input_ids"][row, here]
            single = SpanCorruption()({"input_ids": tokens, "row_offsets": np.array([0, 1]), **alone}, CONTEXT)
            asked = result["decoder_sequence_id"][row] == slot
            seen = result["input_ids"][row][result["sequence_id"][row] == slot]
            assert seen.tolist() == without_padding(single["input_ids"][0])
            assert result["labels"][row][asked].tolist() == without_padding(single["labels"][0], -100)
            number += 1
    assert number == len(batch["lengths"])


@given(st.data())
def test_targets_always_fit(data):
    """Rows packed by whoever likes dipeptides: the default target length never leaves anything out."""
    lengths, used = [], 0
    while (residues := data.draw(st.one_of(st.integers(0, 6), st.integers(0, 60)))) + 1 + used <= LENGTH:
        lengths.append(residues + 1)
        used += residues + 1
    tokens = np.zeros((1, LENGTH), dtype=np.uint8)
    tokens[0, :used] = [token for length in lengths for token in [5] * (length - 1) + [1]]
    batch = {
        "input_ids": tokens,
        "lengths": np.array(lengths, dtype=np.uint32),
        "row_offsets": np.array([0, len(lengths)]),
        "record_keys": np.arange(len(lengths), dtype=np.uint64),
        "starts": np.zeros(len(lengths), dtype=np.uint32),
    }
    density, mean = data.draw(st.floats(0.05, 0.95)), data.draw(st.floats(1, 10))
    result = SpanCorruption(density, mean)(batch, CONTEXT)
    assert result["num_targets_left_out"].tolist() == [0]
    hidden = sum(length > 2 for length in lengths)
    assert len(set(result["decoder_sequence_id"][0].tolist()) - {-1}) == hidden


def test_a_shorter_target_length_is_kept_to_and_what_it_costs_is_counted(make_batch):
    batch = make_batch(40, PROTT5, longest=20)
    whole, short = (SpanCorruption(target_length=length)(batch, CONTEXT) for length in (64, 10))
    assert short["labels"].shape == (40, 10)
    assert short["num_targets_left_out"].sum() > 0
    asked = [{*row.tolist()} - {-1} for row in short["decoder_sequence_id"]]
    for row in range(40):
        everything = {*whole["decoder_sequence_id"][row].tolist()} - {-1}
        num_without = int(np.diff(batch["row_offsets"])[row]) - len(everything)
        assert len(asked[row]) + short["num_targets_left_out"][row] <= len(everything) + num_without
        number = int((short["labels"][row] != -100).sum())
        assert_array_equal(short["labels"][row, :number], whole["labels"][row, :number])
    assert_array_equal(short["input_ids"], whole["input_ids"])


def test_concatenated_pieces_keep_their_separator(make_batch):
    context = ObjectiveContext.of_concatenated(PROTT5, seed=0, epoch=0)
    batch = make_batch(20, PROTT5, prefix=(), suffix=(), longest=20)
    firsts = batch["row_offsets"][:-1]
    batch["input_ids"][np.arange(20), batch["lengths"][firsts] - 1] = PROTT5.separator_id
    result = SpanCorruption()(batch, context)
    number = (result["input_ids"] == PROTT5.separator_id).sum()
    assert number == (batch["input_ids"] == PROTT5.separator_id).sum()
    assert not result["num_targets_left_out"].any()


def test_sentinels_are_needed(make_batch):
    tokenizer = load_tokenizer("esm2")
    with pytest.raises(ConfigurationError, match="needs the sentinel tokens") as caught:
        SpanCorruption()(make_batch(2, tokenizer), ObjectiveContext.of(tokenizer, seed=0, epoch=0))
    assert "prott5" in str(caught.value.hint)


def test_sentinels_are_in_the_order_of_their_numbers():
    names = [PROTT5.tokens[i] for i in CONTEXT.sentinel_ids]
    assert names == [f"<extra_id_{number}>" for number in range(100)]


def test_names_and_arguments():
    assert isinstance(SpanCorruption(), Objective)
    assert SpanCorruption().name == "span-corruption(0.15, 3.0)"
    for arguments, message in [
        ({"density": 0.0}, "density: expected a number between 0 and 1"),
        ({"mean_span_length": 0.5}, "mean_span_length: expected at least 1, found 0.5"),
        ({"mean_span_length": float("nan")}, "mean_span_length: expected at least 1, found nan"),
        ({"target_length": 0}, "target_length: expected at least 1, found 0"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            SpanCorruption(**arguments)
