"""Configuration models: frozen, strict, and told in one sentence when wrong."""

import tomllib

import pytest
from pydantic import ValidationError

from pipeline.config import IngestConfig, PackConfig, ShardConfig, checked, split_source
from pipeline.errors import ConfigurationError
from pipeline.formats.headers import DATABASE_NAMES
from pipeline.recipe import Recipe, read_recipe

MINIMAL = 'name = "x"\n[ingest]\nfiles = ["a.fasta"]\n'


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_a_minimal_recipe_has_the_documented_defaults(tmp_path):
    recipe = read_recipe(write(tmp_path, MINIMAL))
    assert recipe.ingest.on_invalid == "drop"
    assert (recipe.pack.length, recipe.pack.tokenizer, recipe.pack.algorithm) == (1024, "esm2", "first-fit-decreasing")
    assert recipe.pack.overlong == "crop-random"
    assert recipe.shard.layout == "list"
    assert recipe.verify
    assert recipe.stream is None


def test_input_files_are_relative_to_the_recipe(tmp_path):
    recipe = read_recipe(
        write(tmp_path, MINIMAL.replace('"a.fasta"', '"a.fasta", "mgnify=sub/b.fasta", "/abs/c.fasta"'))
    )
    assert recipe.ingest.files == (str(tmp_path / "a.fasta"), f"mgnify={tmp_path}/sub/b.fasta", "/abs/c.fasta")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = ", "expected TOML, found"),
        (MINIMAL + "surprise = 1\n", r"ingest\.surprise: unknown key"),
        ('name = "x"\n', "ingest: missing"),
        (MINIMAL + "[pack]\nlength = 4\n", r"pack\.length: .*greater than or equal to 8, found 4"),
        (MINIMAL + '[pack]\noverlong = "cut"\n', "pack.overlong: .*'crop-start', 'crop-random', 'windows' or 'drop'"),
        (MINIMAL + "[pack]\nlength = 100\nalignment = 16\n", "pack: length 100 is no multiple of alignment 16"),
        (MINIMAL.replace('["a.fasta"]', "[]"), r"ingest\.files"),
        (MINIMAL.replace('"x"', '"../x"'), "name: "),
    ],
)
def test_a_wrong_recipe_is_one_sentence(tmp_path, text, told):
    with pytest.raises(ConfigurationError, match=told) as caught:
        read_recipe(write(tmp_path, text))
    assert "recipe.toml" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_recipe_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_recipe(tmp_path / "absent.toml")


def test_models_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        PackConfig().length = 2048


def test_the_meaning_of_an_ingest_is_not_its_paths():
    one, two = IngestConfig(files=("a",)), IngestConfig(files=("b",), licence="CC0-1.0", url="x")
    assert one.meaning() == two.meaning()
    assert one.meaning() != IngestConfig(files=("a",), on_invalid="replace").meaning()


def test_the_default_priority_names_every_database():
    assert IngestConfig(files=("a",)).source_priority == DATABASE_NAMES


def test_row_groups_hold_about_half_a_million_tokens():
    assert [ShardConfig().group_rows(length) for length in (512, 1024, 2048, 8192, 1 << 20)] == [1024, 512, 256, 64, 16]
    assert ShardConfig(rows_per_group=7).group_rows(1024) == 7


@pytest.mark.parametrize(
    ("entry", "expected"),
    [("a.fasta", (None, "a.fasta")), ("bfd=a.fasta", ("bfd", "a.fasta")), ("dir/x=y.fasta", (None, "dir/x=y.fasta")),
     ("=a", (None, "=a")), ("bfd=/x/y=z.fa", ("bfd", "/x/y=z.fa"))],
)  # fmt: skip
def test_a_source_is_split_from_its_file(entry, expected):
    assert split_source(entry) == expected


def test_the_shipped_recipes_are_valid(root):
    recipes = sorted(path for path in (root / "workflows").rglob("*.toml") if path.name != "slurm.toml")
    assert len(recipes) > 20
    for path in recipes:
        assert isinstance(checked(Recipe, tomllib.loads(path.read_text()), where=str(path)), Recipe)
