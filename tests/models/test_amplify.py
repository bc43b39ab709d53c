"""AMPLIFY: 27 ids, no protein with other letters, replacements from the letters, and a falling loss."""

import numpy as np
import pytest

from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.recipe import read_recipe
from pipeline.stages.ingest.stage import Ingest
from pipeline.streaming.reader import PackedReader
from pipeline.workflow import run_recipe

#     bos  M   K   R   I   S   T   T   I   T   T   T   I   T   I   T   T  G   N   G  A  G eos
IDS = [3, 22, 17, 12, 14, 10, 13, 13, 14, 13, 13, 13, 14, 13, 14, 13, 13, 8, 19, 8, 7, 8, 4]


def test_ids_and_phases(made):
    tokenizer = made("amplify").tokenizer
    assert made("amplify").ids() == IDS
    assert tokenizer.vocabulary_size == 27
    assert tokenizer.encode("AC|DE").tolist() == [3, 7, 25, 5, 15, 11, 4]  # chains are joined by |
    assert list(made("amplify").outcome.phases) == [512, 2048]


def test_proteins_with_other_letters_are_left_out(made):
    corpus = made("amplify").outcome.corpus.manifest
    assert corpus.reasons == {
        "nonstandard-residues": corpus.counts["records_read"]
        - corpus.counts["records"]
        - corpus.counts["records_merged"]
    }
    seen = np.concatenate([np.unique(batch["input_ids"]) for batch in made("amplify").reader(columns=("input_ids",))])
    assert set(seen.tolist()) == {0, 3, 4, *range(6, 26)}


HEAVY = "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKG"
LIGHT = "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGS"


def test_chains_of_paired_antibodies_are_one_record_joined_by_5(root, tmp_path):
    """The variable domains of trastuzumab, and what | is where a recipe does not say that there are chains."""
    fasta = tmp_path / "oas.fasta"
    fasta.write_text(f">pair\n{HEAVY}|{LIGHT}\n>alone\n{HEAVY}\n>other\n{HEAVY}|{LIGHT}X\n>gap\n{HEAVY}-{LIGHT}\n")
    recipe = read_recipe(root / "workflows" / "recipes" / "amplify.toml", files=[str(fasta)])
    with SerialExecutor() as executor:
        outcome = run_recipe(recipe, tmp_path / "out", executor=executor, watcher=SilentWatcher())
        assert [finding for report in outcome.reports for finding in report.findings] == []
        assert outcome.corpus.manifest.reasons == {"nonstandard-residues": 1, "invalid-gap": 1}
        plain = Ingest(recipe.ingest.model_copy(update={"chain_breaks": False}))
        without = run_stage(plain, tmp_path / "plain", executor=executor)
    assert without.manifest.reasons == {"invalid-character": 2, "invalid-gap": 1}
    assert "chain_breaks" not in without.manifest.configuration
    batch = next(iter(PackedReader(outcome.shards_folders, batch_size=1, columns=("input_ids", "accessions"))))
    tokens = batch["input_ids"][0].tolist()
    assert sorted(batch["accessions"]) == ["alone", "pair"]
    assert tokens.count(5) == 1
    chains = tokens.index(5)
    assert tokens[chains - 3 : chains + 4] == [9, 17, 8, 5, 15, 14, 18]  # VKG|DIQ


def test_masks(made, shares):
    options = {"batch_size": 32, "shuffle": False}
    plain, masked = made("amplify").dataset(**options, objective=None), made("amplify").dataset(**options)
    selected, *fates = shares(plain, masked, mask_id=2)
    assert selected == pytest.approx(0.15, abs=0.005)
    assert tuple(fates) == pytest.approx((0.8, 0.1 * 20 / 21, 0.1 + 0.1 / 21), abs=0.015)


def test_the_loss_falls(made, small):
    losses = small.train(lambda: small.Transformer(27), made("amplify").dataset())
    assert small.falls(losses, by=0.25), losses
