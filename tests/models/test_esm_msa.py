"""ESM-MSA-1b from shipped alignments to optimiser steps, with the model that workflows/train_esm_msa.py trains."""

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest

from pipeline.cli import main

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

ROOT = Path(__file__).parents[2]
FILES = [*(ROOT / "tests" / "data" / "msa").glob("[1U]*.a3m*"), ROOT / "tests" / "data" / "stockholm" / "Pkinase.sto"]


@pytest.fixture(scope="module")
def recipe():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("train_esm_msa", ROOT / "workflows" / "train_esm_msa.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def alignments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("msa") / "alignments"
    arguments = [*map(str, FILES), "--as", "alignments", "--out", str(folder), "--executor", "serial", "--quiet"]
    assert main(["ingest", *arguments]) == 0
    return folder


def options(alignments, **others):
    standard = {
        "alignments": str(alignments),
        "steps": 40,
        "batch_size": 1,
        "max_tokens": 1024,
        "width": 32,
        "layers": 2,
    }
    standard |= {"heads": 4, "learning_rate": 4e-3, "seed": 0, "device": "cpu", "checkpoint": None}
    return argparse.Namespace(**(standard | others))


def test_the_batch_is_as_published(recipe, alignments):
    dataset = recipe.Trainer(options(alignments, max_tokens=1 << 14)).dataset
    tokenizer = dataset.reader.tokenizer
    assert len(tokenizer.tokens) == 33
    assert [tokenizer.tokens[at] for at in (0, 1, 2, 3, 29, 30, 31, 32)] == [
        *("<cls>", "<pad>", "<eos>", "<unk>"),
        *(".", "-", "<null_1>", "<mask>"),
    ]
    largest = 0
    for batch in dataset:
        tokens, labels = batch["input_ids"], batch["labels"]
        assert (tokens[..., 0] == 0).all()  # <cls> in each row
        assert not (tokens == 2).any()  # no <eos>
        assert (batch["row_indices"][:, 0] == 0).all()  # the query first
        assert tokens[0].numel() <= 1 << 14
        assert tokens.shape[1] <= 1024
        largest = max(largest, tokens[0].numel())
        asked = labels != -100
        assert not asked[..., 0].any()
        if tokens.numel() > 10_000:
            assert asked[..., 1:].float().mean().item() == pytest.approx(0.15, abs=0.02)
            assert (tokens[asked] == 32).float().mean().item() == pytest.approx(0.8, abs=0.04)
    assert largest > 16_000


def test_the_loss_falls(recipe, alignments, capsys):
    torch.manual_seed(0)
    trainer = recipe.Trainer(options(alignments))
    trainer.train()
    losses = trainer.losses
    assert losses[0] == pytest.approx(3.5, abs=0.2)  # the logarithm of 33 tokens
    assert sum(losses[-8:]) / 8 < sum(losses[:4]) / 4 - 0.5
    assert "step     40" in capsys.readouterr().out


def test_a_run_that_stops_goes_on_with_the_same_losses(recipe, alignments, tmp_path):
    whole = recipe.Trainer(options(alignments, steps=6))
    whole.train()
    checkpoint = tmp_path / "model.pt"
    recipe.Trainer(options(alignments, steps=3, checkpoint=checkpoint)).train()
    rest = recipe.Trainer(options(alignments, steps=6))
    rest.load(checkpoint)
    rest.train()
    assert rest.losses == pytest.approx(whole.losses[3:], abs=1e-4)


def test_padding_changes_nothing(recipe, alignments):
    """What a model says of an alignment alone it says of it beside a larger one."""
    torch.manual_seed(0)
    trainer = recipe.Trainer(options(alignments, batch_size=4, max_tokens=400))
    model = trainer.model.eval()
    batch = next(iter(trainer.dataset))
    batch = {name: value.long() if value.dtype == torch.uint8 else value for name, value in batch.items()}
    with torch.no_grad():
        together = model(batch)
        for at in range(4):
            rows, columns = int(batch["row_mask"][at].sum()), int(batch["column_mask"][at].sum())
            alone = model(
                {
                    "input_ids": batch["input_ids"][at : at + 1, :rows, :columns],
                    "row_mask": batch["row_mask"][at : at + 1, :rows],
                    "column_mask": batch["column_mask"][at : at + 1, :columns],
                }
            )
            torch.testing.assert_close(together[at, :rows, :columns], alone[0], atol=1e-4, rtol=1e-4)
