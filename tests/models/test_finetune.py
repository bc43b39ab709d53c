"""Fine-tuning and evaluation: one protein a row, alike in length, cut to the longest; what padding is left to pay."""

import pytest
import torch
from torch import nn

from pipeline.workflow import read_epoch


def test_rows_hold_one_protein_and_sequence_id_is_the_mask_of_padding(made):
    for batch in made("finetune").dataset(batch_size=32):
        assert batch["sequence_id"].dtype == torch.bool
        assert bool((batch["sequence_id"] == batch["attention_mask"]).all())
        assert bool((batch["sequence_id"] == (batch["input_ids"] != 1)).all())
        assert bool((batch["sequence_id"].sum(dim=1) == batch["num_tokens"]).all())
        assert batch["input_ids"].shape[1] % 8 == 0
        assert batch["input_ids"].shape[1] - 8 < int(batch["num_tokens"].max())


def test_every_protein_is_read_once_and_the_last_batch_is_filled_with_padding(made):
    columns = ("input_ids", "num_tokens", "num_sequences", "record_keys", "row_offsets")
    batches = list(made("finetune").dataset(batch_size=32, columns=columns))
    keys = torch.cat([batch["record_keys"] for batch in batches]).tolist()
    assert len(keys) == len(set(keys)) == made("finetune").outcome.corpus.manifest.counts["records"]
    assert len(batches) == -(-len(keys) // 32)


def test_the_report_says_what_padding_is_left_and_what_it_would_be(made):
    recipe, outcome = made("finetune").recipe, made("finetune").outcome
    reading = outcome.reading
    batches = list(made("finetune").dataset(batch_size=32))
    places = sum(batch["input_ids"].numel() for batch in batches)
    tokens = sum(int(batch["num_tokens"].sum()) for batch in batches)
    assert (reading.places, reading.tokens) == (places, tokens)
    assert reading.padding == pytest.approx(1 - tokens / places)
    assert reading.places_per_token == pytest.approx(places / tokens)
    assert reading.padding < 0.2
    assert reading.whole_places == sum(len(batch["input_ids"]) for batch in batches) * 1024

    def without(**changes):
        stream = recipe.stream.model_copy(update=changes)
        return read_epoch(outcome.shards_folders, stream).places_per_token

    # In order of cost: rows of 1,024; batches at random; batches of similar length.
    whole, at_random = without(trim=None), without(order="shuffled")
    assert whole == pytest.approx(3.3, abs=0.1)
    assert whole > 1.05 * at_random > 2 * reading.places_per_token


class Regression(nn.Module):
    """What share of a protein is leucine, in tenths: a task that can be learnt in a few steps."""

    def __init__(self, small):
        super().__init__()
        self.encoder = small.Transformer(33)
        self.head = nn.Linear(32, 1)

    def forward(self, batch):
        mask = batch["attention_mask"][..., None]
        return self.head((self.encoder.encode(batch) * mask).sum(dim=1) / mask.sum(dim=1)).squeeze(-1)


def test_the_loss_of_a_regression_falls(made, small):
    def loss_of(model, batch):
        is_leucine = (batch["input_ids"] == 4).sum(dim=1)
        return nn.functional.mse_loss(model(batch), 10 * is_leucine / batch["num_tokens"])

    losses = small.train(lambda: Regression(small), made("finetune").dataset(batch_size=4), loss_of=loss_of)
    assert small.falls(losses, by=0.2), losses
