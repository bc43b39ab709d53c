"""ESM-1b, ESM-1v, ESM-2, ESM3 and ESM C: from the recipe to steps of training, everything as published."""

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

#          cls  M   K   R   I  S  T   T   I   T   T   T   I   T   I   T   T   G  N   G  A  G eos
THR_IDS = [0, 20, 15, 10, 12, 8, 11, 11, 12, 11, 11, 11, 12, 11, 12, 11, 11, 6, 17, 6, 5, 6, 2]


@pytest.mark.parametrize("name", ["esm1b", "esm1v", "esm2", "esm3", "esmc"])
def test_ids_are_those_of_the_family(made, name):
    tokenizer = made(name).tokenizer
    assert made(name).ids() == THR_IDS
    assert tokenizer.vocabulary_size == 33
    assert (tokenizer.tokens.index("<pad>"), tokenizer.tokens.index("<mask>")) == (1, 32)
    assert tokenizer.tokens[31] == ("|" if name in {"esm3", "esmc"} else "<null_1>")


@pytest.mark.parametrize(("name", "lengths"), [("esm1b", [1024]), ("esm1v", [1024]), ("esm2", [1024]),
                                               ("esm3", [512, 2048]), ("esmc", [512, 2048])])  # fmt: skip
def test_rows_are_as_long_as_published_and_crops_leave_room_for_cls_and_eos(made, name, lengths):
    outcome = made(name).outcome
    assert list(outcome.phases) == lengths
    for length in lengths:
        reader = made(name).reader
        batches = list(reader(columns=("input_ids", "lengths"), batch_size=64))
        assert {batch["input_ids"].shape[1] for batch in batches} == {lengths[0]}
        assert max(int(batch["lengths"].max()) for batch in batches) == lengths[0]
        manifest = next(epoch.shards.manifest for epoch in outcome.epochs if epoch.length == length)
        assert manifest.configuration["length"] == length


def test_esm_1b_holds_out_a_tenth_of_the_clusters_and_keeps_every_other_representative(made):
    outcome = made("esm1b").outcome
    clusters, shards = outcome.clusters.manifest.counts, outcome.manifest.counts
    assert clusters["valid_clusters"] / clusters["clusters"] == pytest.approx(0.1, abs=0.02)
    assert shards["records_train"] == clusters["train_records"]
    assert clusters["train_records"] + clusters["valid_records"] == clusters["records"]


def test_esm_1v_takes_every_representative(made):
    outcome = made("esm1v").outcome
    assert outcome.clusters is None
    assert outcome.manifest.counts["records"] == outcome.corpus.manifest.counts["records"]


def test_esm_2_draws_one_member_of_each_cluster_anew_each_epoch(made):
    outcome = made("esm2").outcome
    accessions = pq.read_table(outcome.folder / "corpus" / "part-00000.parquet")["accession"].to_pylist()
    clusters = pq.read_table(outcome.folder / "clusters" / "part-00000.parquet")
    cluster_of = dict(zip(accessions, clusters["representative"].to_pylist(), strict=True))
    train = {name for name, split in zip(accessions, clusters["split"].to_pylist(), strict=True) if split == "train"}
    drawn = []
    for epoch in range(2):
        reader = made("esm2").reader(epoch=epoch, columns=("accessions", "lengths", "row_offsets", "input_ids"))
        drawn.append({name for batch in reader for name in batch["accessions"]})
        of_clusters = [cluster_of[name] for name in drawn[-1]]
        assert len(of_clusters) == len(set(of_clusters))  # one of each
        assert set(of_clusters) <= {cluster_of[name] for name in train}
    assert drawn[0] != drawn[1]
    sizes = Counter(cluster_of.values())
    assert {name for name in train if sizes[cluster_of[name]] == 1} <= drawn[0] & drawn[1]


@pytest.mark.parametrize(("name", "first"), [("esm1b", 2), ("esm1v", 2), ("esm2", 0), ("esm3", 0)])
def test_positions_begin_anew_with_each_protein(made, segments, name, first):
    batch = next(iter(made(name).dataset(batch_size=2)))
    for row, begin, end in segments(batch):
        assert batch["position_ids"][row, begin:end].tolist() == list(range(first, first + end - begin))
    assert int(batch["position_ids"].max()) <= 1025  # LearnedPositionalEmbedding(1024, …, padding_idx=1) has 1,026


@pytest.mark.parametrize("name", ["esm1b", "esm2"])
def test_masks_are_80_10_10_of_15_percent(made, shares, name):
    options = {"objective": None, "batch_size": 32, "shuffle": False}
    selected, hidden, replaced, left = shares(
        made(name).dataset(**options), made(name).dataset(**options | {"objective": 0.15}), mask_id=32
    )
    assert made(name).recipe.stream.objective == 0.15
    assert selected == pytest.approx(0.15, abs=0.005)
    assert (hidden, replaced, left) == pytest.approx((0.8, 0.1 * 19 / 20, 0.1 + 0.1 / 20), abs=0.015)


@pytest.mark.parametrize("name", ["esm1b", "esm1v", "esm2"])
def test_token_dropout_scales_each_protein_by_its_own_masks(made, segments, name):
    """fair-esm: (1 − 0.15 · 0.8) / (1 − share of mask tokens), special tokens counted; there of a row, here of each."""
    batch = next(iter(made(name).dataset(batch_size=2)))
    scales = set()
    for row, begin, end in segments(batch):
        share = (batch["input_ids"][row, begin:end] == 32).double().mean().item()
        scale = batch["token_dropout_scale"][row, begin:end]
        assert torch.allclose(scale.double(), torch.full_like(scale, (1 - 0.15 * 0.8) / (1 - share)).double())
        scales.add(round(scale[0].item(), 5))
    assert len(scales) > 3


@pytest.mark.parametrize("name", ["esm3", "esmc"])
def test_rates_are_betalinear30_and_all_that_is_selected_is_masked(made, segments, name):
    rates = []
    for batch in made(name).dataset(batch_size=64):
        is_mask = np.asarray(batch["input_ids"] == 32)
        assert np.array_equal(is_mask, np.asarray(batch["labels"] != -100))
        rates += [is_mask[row, a + 1 : b - 1].mean() for row, a, b in segments(batch) if b - a > 302]
    # 0.8 Beta(3, 9) + 0.2 uniform: 5, 50 and 95 % at .0748, .2553 and .7505, mean .3
    assert np.quantile(rates, [0.05, 0.5]) == pytest.approx([0.0748, 0.2553], abs=0.04)
    assert np.quantile(rates, 0.95) == pytest.approx(0.7505, abs=0.12)  # one in twenty of a few hundred
    assert np.mean(rates) == pytest.approx(0.3, abs=0.03)


def test_esm3_has_a_chain_id_for_each_protein_and_minus_one_on_padding(made, segments):
    for batch in made("esm3").dataset(batch_size=8, length=2048):
        padding = batch["input_ids"] == 1
        assert bool((batch["sequence_id"][padding] == -1).all())
        assert bool((batch["chain_id"] == batch["sequence_id"]).all())
        ids = [int(batch["chain_id"][row, begin]) for row, begin, _ in segments(batch) if row == 0]
        assert ids == list(range(len(ids)))


@pytest.mark.parametrize(
    ("name", "options", "length"),
    [
        ("esm1b", {"num_positions": 1026, "mask_id": 32}, 1024),
        ("esm1v", {"num_positions": 1026, "mask_id": 32}, 1024),
        ("esm2", {"mask_id": 32}, 1024),
        ("esm3", {}, 512),
        ("esm3", {}, 2048),
        ("esmc", {}, 512),
    ],
)
def test_the_loss_falls(made, small, name, options, length):
    losses = small.train(lambda: small.Transformer(33, **options), made(name).dataset(length=length))
    assert losses[0] == pytest.approx(np.log(33), abs=0.4)
    assert small.falls(losses, by=0.3), losses
