"""Recipes: input of one's own, phases of several lengths, what goes together; and every recipe that is shipped."""

import json
import tomllib

import pytest

from pipeline.cli import main
from pipeline.config import IngestConfig, PackConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ConfigurationError
from pipeline.recipe import Recipe, StreamConfig, read_recipe
from pipeline.streaming.batches import DEFAULT_COLUMNS
from pipeline.streaming.columns import SequenceIds
from pipeline.streaming.orders import Order
from pipeline.workflow import check_recipe, reader_arguments, run_recipe

MINIMAL = 'name = "x"\n[ingest]\nfiles = ["a.fasta"]\nlicence = "CC0-1.0"\n'
RECIPES = {
    "amplify", "dplm", "esm1b", "esm1v", "esm2", "esm3", "esmc", "evo2", "evo2-finetune", "evodiff", "finetune",
    "progen2", "progen3", "protalbert", "protbert", "protelectra", "prott5", "prott5-spans", "prottransformerxl",
    "protxlnet",
}  # fmt: skip


@pytest.fixture
def recipe_of(tmp_path):
    def write(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return path

    return write


def test_ones_own_input_takes_the_place_of_the_recipes_and_of_its_licence(recipe_of):
    recipe = read_recipe(recipe_of(MINIMAL), files=["mine.fasta", "bfd=other.fasta"])
    assert recipe.ingest.files == ("mine.fasta", "bfd=other.fasta")
    assert recipe.ingest.licence is None
    assert read_recipe(recipe_of(MINIMAL)).ingest.licence == "CC0-1.0"


def test_phases_are_packed_alike_but_for_their_length(recipe_of):
    text = MINIMAL.replace("[ingest]", "lengths = [64, 128]\n[ingest]") + '[pack]\ntokenizer = "esmc"\nseed = 3\n'
    phases = read_recipe(recipe_of(text)).phases
    assert [(phase.length, phase.tokenizer, phase.seed) for phase in phases] == [(64, "esmc", 3), (128, "esmc", 3)]
    assert read_recipe(recipe_of(MINIMAL)).phases == (PackConfig(),)


@pytest.mark.parametrize(
    ("lengths", "pack", "told"),
    [
        ("[64, 64]", "", "lengths: expected each length once"),
        ("[64, 128]", "length = 64", r"lengths \[64, 128\]: expected no pack.length beside it"),
        ("[64, 100]", "alignment = 16", "length 100 is no multiple of alignment 16"),
        ("[4]", "", "greater than or equal to 8"),
    ],
)
def test_lengths_that_cannot_be_are_told(recipe_of, lengths, pack, told):
    text = MINIMAL.replace("[ingest]", f"lengths = {lengths}\n[ingest]") + f"[pack]\n{pack}\n"
    with pytest.raises(ConfigurationError, match=told):
        read_recipe(recipe_of(text))


def test_a_trainer_is_given_what_the_recipe_says_and_no_more():
    assert reader_arguments(StreamConfig()) == {"batch_size": 32}
    stream = StreamConfig(order="bucketed", trim="batch", objective=0.15, columns=("chain_id",), tail="pad")
    assert reader_arguments(stream) == {
        "batch_size": 32,
        "order": "bucketed",
        "trim": "batch",
        "objective": 0.15,
        "columns": (*DEFAULT_COLUMNS, "chain_id"),
        "tail": "pad",
    }


def test_a_recipe_knows_the_orders_and_conventions_of_the_reader():
    schema = StreamConfig.model_json_schema()["properties"]
    assert schema["order"]["anyOf"][0]["enum"] == list(Order)
    assert schema["sequence_ids"]["enum"] == list(SequenceIds)


@pytest.mark.parametrize(
    ("pack", "stream", "told"),
    [
        ({}, {"columns": ("is_continuation",)}, "is_continuation: expected the contiguous order"),
        ({}, {"columns": ("colour",)}, "columns: expected names among .*, found 'colour'"),
        ({}, {"objective": "bidirectional-lm"}, "needs the tokens 1 and 2 of the termini"),
        ({"tokenizer": "progen2", "algorithm": "concatenate"}, {"objective": "bidirectional-lm"}, "does not put them"),
    ],
)
def test_what_the_reader_would_refuse_is_told_before_anything_is_made(pack, stream, told):
    ingest = IngestConfig(files=("a.fasta",))
    recipe = Recipe(name="x", ingest=ingest, pack=PackConfig(**pack), stream=StreamConfig(**stream))
    with pytest.raises(ConfigurationError, match=told):
        check_recipe(recipe)


@pytest.fixture(scope="module")
def phased(tmp_path_factory):
    """Two phases of two epochs, from the command line, with input of one's own."""
    folder = tmp_path_factory.mktemp("phased")
    records = [f">P{number}\n{'MKTV' * number}\n" for number in range(1, 30)]
    (folder / "mine.fasta").write_text("".join(records))
    (folder / "recipe.toml").write_text(
        'name = "phased"\nepochs = 2\nlengths = [64, 128]\n[ingest]\nfiles = ["absent.fasta"]\n'
        '[pack]\nalgorithm = "pad"\norder = "length"\n[shard]\nrows_per_group = 8\n'
        '[stream]\nbatch_size = 4\norder = "bucketed"\ntrim = "batch"\nobjective = 0.15\n'
    )
    return folder


def run(folder, *options):
    arguments = ["run", str(folder / "recipe.toml"), "--input", str(folder / "mine.fasta"), "--executor", "serial"]
    return main([*arguments, "--out", str(folder / "out"), *options])


def test_each_epoch_of_each_phase_has_a_plan_and_shards(phased, capsys):
    assert run(phased, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    made = [f"{kind}-{length}-{epoch}" for kind in ("plan", "shards") for length in (64, 128) for epoch in (0, 1)]
    assert sorted(path.name for path in (phased / "out").iterdir()) == sorted(["corpus", *made])
    assert [epoch["shards"]["path"].split("/")[-1] for epoch in document["epochs"]] == made[4:]
    assert len(document["verification"]) == 9
    reading = document["reading"]
    assert reading["whole_places"] == reading["rows"] * 64 > reading["places"] > reading["tokens"] > 0
    assert reading["padding"] == pytest.approx(1 - reading["tokens"] / reading["places"])
    assert reading["places_per_token"] == pytest.approx(reading["places"] / reading["tokens"])


def test_a_person_is_told_of_phases_and_of_what_padding_costs(phased, capsys):
    assert run(phased) == 0
    told = capsys.readouterr()
    text = " ".join((told.out + told.err).split())
    assert "phases rows of 64 and of 128 tokens" in text
    assert "epochs 2, each drawn anew" in text
    assert "for each real token" in text
    assert "if batches were not trimmed" in text
    folders = f'"{phased / "out" / "shards-64-0"}", "{phased / "out" / "shards-64-1"}"'
    expected = f'PackedDataset([{folders}], batch_size=4, order="bucketed", trim="batch", objective=0.15)'
    assert expected in text
    assert "tensors of [4, up to 64]" in text


def test_what_is_shown_to_a_person_can_be_run(phased, root):
    """The three lines of Python, of a recipe with every kind of argument."""
    torch = pytest.importorskip("torch", reason="the dataset needs torch: pip install 'protein-pipeline[torch]'")
    from pipeline.recipe_report import training_lines

    recipe = read_recipe(root / "workflows" / "recipes" / "finetune.toml", files=[str(phased / "mine.fasta")])
    with SerialExecutor() as executor:
        outcome = run_recipe(recipe, phased / "finetune", executor=executor, watcher=SilentWatcher())
    names = {}
    exec("\n".join(training_lines(outcome)), names)
    assert names["batch"]["sequence_id"].dtype == torch.bool
    assert "attention_mask" in names["batch"]
    assert names["dataset"].reader.length == 1024


def test_the_recipes_are_those_of_the_table(root):
    folder = root / "workflows" / "recipes"
    assert {path.stem for path in folder.glob("*.toml")} == RECIPES
    page = (root / "workflows" / "README.md").read_text()
    for name in RECIPES:
        text = (folder / f"{name}.toml").read_text()
        assert tomllib.loads(text)["name"] == name
        assert f"pipeline run workflows/recipes/{name}.toml --input " in page
        assert f"# pipeline run workflows/recipes/{name}.toml --input " in text
        check_recipe(read_recipe(folder / f"{name}.toml"))
