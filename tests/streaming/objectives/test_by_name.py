"""Short forms, what recipes can say, and what is refused before anything is made."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline.core.tokenizer import load_tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives import (
    OBJECTIVES,
    AbsorbingDiffusion,
    BidirectionalLM,
    CausalLM,
    ConcatenatedLM,
    MaskedLM,
    NucleotideLM,
    Objective,
    ObjectiveContext,
    OrderAgnosticDiffusion,
    PermutationLM,
    ReplacedTokenDetection,
    ResidueDenoising,
    SpanCorruption,
    as_objective,
    check_objective,
)

EVERY_OBJECTIVE = [
    *(MaskedLM(schedule) for schedule in (0.15, "betalinear30", "0.8*beta(3,9)+0.2*uniform")),
    *(make(labels) for make in (CausalLM, ConcatenatedLM) for labels in ("shifted", "hugging-face")),
    NucleotideLM(),
    BidirectionalLM(),
    SpanCorruption(),
    ResidueDenoising(),
    AbsorbingDiffusion(),
    OrderAgnosticDiffusion(),
    PermutationLM(),
    ReplacedTokenDetection(),
]
TOKENIZER_FOR = {SpanCorruption: "prott5", BidirectionalLM: "progen2"}


@pytest.mark.parametrize("short", ["betalinear30", 0.15, "0.15", "0.5*cosine+0.5*0.15"])
def test_short_forms_build_masked_lm(short):
    objective = as_objective(short)
    assert isinstance(objective, MaskedLM)
    assert objective.schedule == MaskedLM(short).schedule


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_go_by_name(name):
    objective = as_objective(f" {name} ")
    assert isinstance(objective, Objective)
    assert type(objective) is OBJECTIVES[name]
    assert objective.name.startswith(name)


def test_every_class_has_a_name():
    assert {type(objective) for objective in EVERY_OBJECTIVE} == {MaskedLM, *OBJECTIVES.values()}


def test_objectives_and_none_pass_through():
    objective = MaskedLM(0.15)
    assert as_objective(objective) is objective
    assert as_objective(None) is None


@pytest.mark.parametrize("nonsense", ["betalinaer30", "1.5", "0.5*cosine"])
def test_an_unknown_short_form_lists_the_choices(nonsense):
    with pytest.raises(ConfigurationError) as caught:
        as_objective(nonsense)
    assert nonsense in caught.value.message
    assert "span-corruption" in caught.value.hint


@pytest.mark.parametrize("objective", EVERY_OBJECTIVE, ids=lambda objective: objective.name)
@pytest.mark.parametrize("num_rows", [0, 3])
def test_rows_of_padding_ask_nothing(make_batch, objective, num_rows):
    tokenizer = load_tokenizer(TOKENIZER_FOR.get(type(objective), "esm2"))
    batch = make_batch(num_rows, tokenizer, empty_rows=range(num_rows))
    result = objective(batch, ObjectiveContext.of(tokenizer, seed=0, epoch=0))
    assert len(result["labels"]) == num_rows
    assert np.all(result["labels"] == -100)
    assert np.array_equal(result["input_ids"], batch["input_ids"])
    assert not result.get("loss_weight", np.zeros(1)).any()
    assert not result.get("timestep", np.zeros(1)).any()
    assert np.all(result.get("decoder_sequence_id", -1) == -1)
    assert np.all(result.get("permutation_rank", -1) == -1)


@pytest.mark.parametrize("objective", EVERY_OBJECTIVE, ids=lambda objective: objective.name)
def test_objectives_say_what_they_need(make_batch, objective):
    tokenizer = load_tokenizer(TOKENIZER_FOR.get(type(objective), "esm2"))
    context = ObjectiveContext.of(tokenizer, seed=0, epoch=0)
    batch = make_batch(5, tokenizer)
    needed = {name: batch[name] for name in objective.columns}
    result = objective(needed, context)
    assert np.array_equal(result["labels"], objective(batch, context)["labels"])
    for name in objective.columns:
        with pytest.raises(KeyError):
            objective({column: batch[column] for column in objective.columns if column != name}, context)


@pytest.mark.parametrize("objective", EVERY_OBJECTIVE, ids=lambda objective: objective.name)
def test_an_unfit_tokenizer_is_noticed_without_rows(objective):
    check_objective(objective, load_tokenizer(TOKENIZER_FOR.get(type(objective), "esm2")))
    if isinstance(objective, BidirectionalLM):
        with pytest.raises(ConfigurationError, match="tokenizer 'evo2' of this dataset does not put them round"):
            check_objective(objective, load_tokenizer("evo2"))
        return
    if isinstance(objective, CausalLM | PermutationLM):  # they hide nothing
        check_objective(objective, load_tokenizer("evo2"))
        return
    with pytest.raises(ConfigurationError, match="'evo2' of this dataset has none"):
        check_objective(objective, load_tokenizer("evo2"))


def test_objectives_do_not_load_torch():
    check = "import sys, pipeline.streaming.objectives; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
