"""schemas/ says what the models say, and validates what the program writes."""

import json
import tomllib

import jsonschema
import pytest

from pipeline.schema_export import main, schema_documents


@pytest.fixture
def schema(root):
    return lambda name: json.loads((root / "schemas" / name).read_text())


def test_schemas_have_not_drifted(root, tmp_path):
    main(tmp_path)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    shipped = {path.name: path.read_text() for path in (root / "schemas").iterdir()}
    assert written == shipped, "a model changed: run `make schemas`"
    assert set(written) == set(schema_documents())


def test_the_shipped_recipes_obey_the_schema(root, schema):
    for path in (root / "workflows").rglob("*.toml"):
        name = "site.schema.json" if path.name == "slurm.toml" else "recipe.schema.json"
        jsonschema.validate(tomllib.loads(path.read_text()), schema(name))


def test_the_schema_refuses_what_the_model_refuses(schema):
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.validate({"name": "x", "ingest": {"files": ["a"], "surprise": 1}}, schema("recipe.schema.json"))


def test_written_manifests_obey_the_schema(quickstart, schema):
    for name in ("corpus", "plan", "shards"):
        for document in ("manifest", "run"):
            written = json.loads((quickstart / name / f"{document}.json").read_text())
            jsonschema.validate(written, schema(f"{document}.schema.json"))


def test_every_field_is_described(schema):
    for name in ("recipe.schema.json", "manifest.schema.json", "run.schema.json"):
        document = schema(name)
        for model in [document, *document["$defs"].values()]:
            for key, field in model.get("properties", {}).items():
                assert "description" in field or "$ref" in field, f"{name}: {key}"
