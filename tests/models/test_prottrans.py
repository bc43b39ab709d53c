"""The models of ProtTrans: ids, letters, rows and objectives as far as they are known, and a falling loss."""

import itertools

import numpy as np
import pytest

#           CLS  M   K   R   I   S   T   T   I   T   T   T   I   T   I   T   T   G  N   G  A  G SEP
BERT_IDS = [2, 21, 12, 13, 11, 10, 15, 15, 11, 15, 15, 15, 11, 15, 11, 15, 15, 7, 17, 7, 6, 7, 3]
T5_IDS = [19, 14, 8, 12, 7, 11, 11, 12, 11, 11, 11, 12, 11, 12, 11, 11, 5, 17, 5, 3, 5, 1]

BERTS = ["protbert", "protalbert", "protelectra"]


@pytest.mark.parametrize("name", BERTS)
def test_berts_have_30_ids_and_two_phases(made, name):
    assert made(name).ids() == BERT_IDS
    assert made(name).tokenizer.vocabulary_size == 30
    assert list(made(name).outcome.phases) == [512, 2048]
    assert made(name).outcome.manifest.counts["tokens"] > 0


@pytest.mark.parametrize("name", [*BERTS, "prott5", "prott5-spans", "prottransformerxl", "protxlnet"])
def test_u_z_o_and_b_are_x(made, name):
    """Q46881 and two others have selenocysteine; the corpus has none, so that neither keys nor masks know it."""
    outcome = made(name).outcome
    assert outcome.corpus.manifest.configuration["replace"] == ["UZOB=X"]
    assert outcome.corpus.manifest.counts["letters_replaced"] == 3
    rare = {made(name).tokenizer.tokens.index(letter) for letter in "UZOB"}
    x = made(name).tokenizer.tokens.index("X")
    seen = np.concatenate([np.unique(batch["input_ids"]) for batch in made(name).reader(columns=("input_ids",))])
    assert x in seen
    assert not rare & set(seen.tolist())


@pytest.mark.parametrize(("name", "expected"), [("protbert", (0.8, 0.1, 0.1)), ("protelectra", (0.85, 0.0, 0.15))])
def test_what_becomes_of_15_percent_of_the_residues(made, shares, name, expected):
    options = {"batch_size": 32, "shuffle": False}
    plain = made(name).dataset(**options, objective=None)
    selected, *fates = shares(plain, made(name).dataset(**options), mask_id=4)
    assert selected == pytest.approx(0.15, abs=0.005)
    assert tuple(fates) == pytest.approx(expected, abs=0.015)  # another residue: never itself


@pytest.mark.parametrize("name", ["protbert", "protalbert"])
def test_the_loss_of_a_bert_falls(made, small, name):
    # BERT's learned positions begin at 0 with each protein.
    losses = small.train(lambda: small.Transformer(30, num_positions=512), made(name).dataset())
    assert small.falls(losses, by=0.3), losses


def test_the_losses_of_electra_fall(made, small):
    dataset = made("protelectra").dataset()
    losses = small.train(lambda: small.Electra(30), dataset, loss_of=small.electra_loss)
    assert small.falls(losses, by=4.0), losses
    batch = next(iter(dataset))
    _, scores, replaced = small.Electra(30)(batch)
    asked = batch["labels"] != -100
    assert scores.shape == batch["input_ids"].shape
    assert bool((replaced[(batch["sequence_id"] >= 0) & ~asked] == 0).all())
    assert 0.5 < replaced[asked].float().mean().item() <= 1.0  # a generator that knows nothing is mostly wrong
    assert bool((replaced[batch["sequence_id"] < 0] == -100).all())


@pytest.mark.parametrize("name", ["prott5", "prott5-spans"])
def test_t5_has_128_ids_and_ends_each_protein(made, name):
    tokenizer = made(name).tokenizer
    assert made(name).ids() == T5_IDS
    assert tokenizer.vocabulary_size == 128
    assert [tokenizer.tokens[i] for i in (0, 1, 2, 28, 127)] == [
        "<pad>", "</s>", "<unk>", "<extra_id_99>", "<extra_id_0>",
    ]  # fmt: skip
    assert list(made(name).outcome.phases) == [512]


def test_prott5_hides_single_residues_and_spells_out_the_protein(made):
    options = {"batch_size": 32, "shuffle": False}
    tokens = hidden = replaced = 0
    plain = made("prott5").dataset(**options, objective=None)
    for before, batch in zip(plain, made("prott5").dataset(**options), strict=True):
        is_token = before["sequence_id"] >= 0
        assert bool((batch["labels"][is_token] == before["input_ids"][is_token]).all())
        assert bool((batch["labels"][~is_token] == -100).all())
        is_mask = batch["input_ids"] == 127
        tokens += int(is_token.sum() - before["num_sequences"].sum())
        hidden += int(is_mask.sum())
        replaced += int(((batch["input_ids"] != before["input_ids"]) & ~is_mask).sum())
    assert (hidden + replaced) / tokens == pytest.approx(0.15, abs=0.005)
    assert hidden / (hidden + replaced) == pytest.approx(0.9, abs=0.015)


def test_t5_hides_spans_behind_sentinels(made):
    dataset = made("prott5-spans").dataset(shuffle=False)
    plain = next(iter(made("prott5-spans").dataset(shuffle=False, objective=None)))
    batch = next(iter(dataset))
    length = int((plain["sequence_id"][0] == 0).sum())
    original = plain["input_ids"][0, :length].tolist()
    source = batch["input_ids"][0][batch["sequence_id"][0] == 0].tolist()
    target = batch["labels"][0][batch["decoder_sequence_id"][0] == 0].tolist()
    sentinels = [token for token in source if token >= 28]
    assert sentinels == list(range(127, 127 - len(sentinels), -1))  # <extra_id_0>, <extra_id_1>, …
    spans = {
        sentinel: list(
            itertools.takewhile(lambda token: token < 28 and token != 1, target[target.index(sentinel) + 1 :])
        )
        for sentinel in sentinels
    }
    assert [token for part in source for token in spans.get(part, [part])] == original
    num_hidden = sum(map(len, spans.values()))
    assert num_hidden / (length - 1) == pytest.approx(0.15, abs=0.02)
    assert num_hidden / len(spans) == pytest.approx(3.0, abs=0.5)
    assert target[-1] == 1


@pytest.mark.parametrize(("name", "by"), [("prott5", 0.4), ("prott5-spans", 0.4)])
def test_the_loss_of_a_t5_falls(made, small, name, by):
    losses = small.train(lambda: small.EncoderDecoder(128), made(name).dataset(batch_size=4))
    assert small.falls(losses, by=by), losses


MEMORY_COLUMNS = ("input_ids", "record_keys", "starts", "row_offsets", "sequence_id", "is_continuation")


@pytest.mark.parametrize("name", ["prottransformerxl", "protxlnet"])
def test_rows_run_on_and_each_place_of_the_batch_goes_on_where_it_stopped(made, name):
    assert made(name).outcome.manifest.configuration["algorithm"] == "concatenate"
    batches = list(itertools.islice(made(name).dataset(objective=None, columns=MEMORY_COLUMNS), 4))
    assert not batches[0]["is_continuation"].any()
    continued = 0
    for before, batch in itertools.pairwise(batches):
        last_keys = before["record_keys"][before["row_offsets"][1:] - 1]
        first_keys = batch["record_keys"][batch["row_offsets"][:-1]]
        assert bool((last_keys == first_keys)[batch["is_continuation"]].all())
        ends = before["input_ids"][:, -1] == 3
        assert bool((batch["is_continuation"] | ends).all())  # a row that does not go on comes behind a separator
        continued += int(batch["is_continuation"].sum())
    assert continued > 10
    assert made(name).ids() == BERT_IDS[1:]


def test_transformer_xl_is_asked_for_the_next_token_across_separators(made):
    batch = next(iter(made("prottransformerxl").dataset()))
    assert bool((batch["labels"][:, :-1] == batch["input_ids"][:, 1:]).all())
    assert bool((batch["labels"][:, -1] == -100).all())


def test_the_loss_of_a_model_with_a_memory_falls(made, small):
    losses = small.train(lambda: small.WithMemory(30), made("prottransformerxl").dataset(batch_size=4))
    assert small.falls(losses, by=0.3), losses


def test_xlnet_predicts_a_sixth_in_a_random_order(made, small):
    dataset = made("protxlnet").dataset(batch_size=4)
    batch = next(iter(dataset))
    asked = batch["labels"] != -100
    assert asked.float().mean().item() == pytest.approx(1 / 6, abs=0.01)
    assert bool((batch["labels"][asked] == batch["input_ids"][asked]).all())
    ranks = batch["permutation_rank"][batch["sequence_id"] == batch["sequence_id"][0, 0]]
    assert bool(((batch["permutation_rank"] >= 0) == asked).all())
    assert sorted(batch["permutation_rank"][0][(batch["sequence_id"][0] == 0) & asked[0]].tolist()) == list(
        range(int(((batch["sequence_id"][0] == 0) & asked[0]).sum()))
    )
    assert len(ranks) > 0
    losses = small.train(lambda: small.TwoStreams(30), dataset)
    assert small.falls(losses, by=0.3), losses
