"""DPLM and EvoDiff: timesteps, masks and weights as published, and a falling loss."""

import itertools

import numpy as np
import pytest

EVODIFF = [10, 8, 14, 7, 15, 16, 16, 7, 16, 16, 16, 7, 16, 7, 16, 16, 5, 11, 5, 0, 5]
DPLM = [0, 20, 15, 10, 12, 8, 11, 11, 12, 11, 11, 11, 12, 11, 12, 11, 11, 6, 17, 6, 5, 6, 2]


@pytest.mark.parametrize(("name", "ids", "size"), [("dplm", DPLM, 33), ("evodiff", EVODIFF, 31)])
def test_ids(made, name, ids, size):
    assert made(name).ids() == ids
    assert made(name).tokenizer.vocabulary_size == size
    assert list(made(name).outcome.phases) == [1024]


def test_dplm_masks_with_probability_t_of_500_and_weighs_by_501_minus_t_of_500(made, segments):
    rates, times = [], []
    for batch in itertools.islice(made("dplm").dataset(batch_size=16), 10):
        for row, begin, end in segments(batch):
            here = (row, slice(begin, end))
            time = int(batch["timestep"][here][0])
            asked = batch["labels"][here] != -100
            assert bool((batch["timestep"][here] == time).all())
            assert bool((batch["input_ids"][here][asked] == 32).all())
            expected = np.where(asked, (501 - time) / 500, 0)
            assert batch["loss_weight"][here].numpy() == pytest.approx(expected, abs=1e-6)
            assert not asked[0]
            assert not asked[-1]
            rates.append(asked[1:-1].float().mean().item())
            times.append(time)
    assert 1 <= min(times) < 10
    assert 490 < max(times) <= 500
    assert np.mean(times) == pytest.approx(250.5, abs=20)
    assert np.mean(np.array(rates) - np.array(times) / 500) == pytest.approx(0, abs=0.006)


def test_evodiff_masks_a_number_of_residues_and_weighs_by_their_share(made):
    shares = []
    for batch in itertools.islice(made("evodiff").dataset(batch_size=32), 20):
        for row, size in enumerate(batch["num_tokens"].tolist()):
            asked = batch["labels"][row, :size] != -100
            masks = int(asked.sum())
            assert 2 <= masks <= size  # D - t + 1 with t from 1 to D - 1
            assert batch["timestep"][row, :size].tolist() == [masks] * size
            assert bool((batch["input_ids"][row, :size][asked] == 28).all())
            weights = batch["loss_weight"][row, :size].numpy()
            assert weights == pytest.approx(np.where(asked, size / masks, 0), abs=1e-4)
            shares.append(masks / size)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)


def test_evodiff_has_one_protein_in_each_row_for_its_convolutions(made):
    for batch in itertools.islice(made("evodiff").dataset(batch_size=32), 20):
        assert set(batch["num_sequences"].tolist()) == {1}
        assert batch["input_ids"].shape[1] - 8 < int(batch["num_tokens"].max()) <= batch["input_ids"].shape[1]
        assert bool((batch["input_ids"][batch["sequence_id"] < 0] == 30).all())


def relative(small, model, batch):
    """The published loss, over the mean weight, which differs from batch to batch."""
    asked = batch["labels"] != -100
    return small.token_loss(model, batch) / (batch["loss_weight"].sum() / asked.sum())


def test_the_loss_of_dplm_falls(made, small):
    losses = small.train(
        lambda: small.Transformer(33),
        made("dplm").dataset(),
        loss_of=lambda model, batch: relative(small, model, batch),
    )
    assert small.falls(losses, by=0.25), losses


def test_the_loss_of_evodiff_falls(made, small):
    losses = small.train(
        lambda: small.Convolutions(31, is_causal=False),
        made("evodiff").dataset(batch_size=16),
        loss_of=lambda model, batch: relative(small, model, batch),
    )
    assert small.falls(losses, by=0.15), losses
