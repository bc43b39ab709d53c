"""run.json and manifest.json: what they hold, and that a fingerprint is about meaning alone."""

import json

import pytest

from pipeline.errors import ArtefactError
from pipeline.formats.manifest import (
    File,
    Input,
    Manifest,
    Source,
    canonical_json,
    digest_of,
    find_input,
    fingerprint_of,
    make_manifest,
    read_manifest,
    write_manifest,
)


def example(**changes):
    values = {
        "kind": "shards",
        "configuration": {"length": 1024, "layout": "list", "rows_per_group": 256},
        "inputs": (
            Input(kind="plan", fingerprint="aa", path="../plan"),
            Input(kind="file", fingerprint="ff", path="x"),
        ),
        "files": (File(path="data/a.parquet", split="train", rows=3, bytes=10, xxh3_64="01", content="02"),),
        "counts": {"rows": 3},
        "reasons": {"gap": 1},
        "provenance": (Source(name="x.fasta", bytes=5, xxh3_128="ab"),),
    } | changes
    kind = values.pop("kind")
    return make_manifest(kind, **values)


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    assert canonical_json({"b": 1, "a": "Å"}) == canonical_json({"a": "Å", "b": 1}) == '{"a":"Å","b":1}'.encode()


def test_golden_digest():
    # Changing this value would make every artefact ever written look like another one.
    assert digest_of({"kind": "corpus", "n": [1, 2, 3]}) == "f2cc5b8e018af10cb14b4f998395fc04"


def test_the_fingerprint_is_about_meaning_alone():
    base = example()
    same = [
        example(configuration=base.configuration | {"layout": "binary"}),
        example(inputs=(Input(kind="plan", fingerprint="aa", path="/elsewhere/plan"),)),
        example(files=(base.files[0].model_copy(update={"bytes": 99, "xxh3_64": "77"}),)),
        example(counts={}),
        example(provenance=()),
        base.model_copy(update={"software": {"pipeline": "99"}}),
    ]
    for other in same:
        assert fingerprint_of(other) == base.fingerprint
    different = [
        example(configuration=base.configuration | {"length": 2048}),
        example(configuration=base.configuration | {"rows_per_group": 128}),
        example(inputs=(Input(kind="plan", fingerprint="bb", path="../plan"),)),
        example(files=(base.files[0].model_copy(update={"content": "03"}),)),
        example(files=()),
        example(kind="plan"),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in different)}) == len(different) + 1


def test_companions_are_no_part_of_the_fingerprint():
    base = example()
    card = File(path="README.md", rows=0, bytes=1, xxh3_64="0", content="0")
    assert fingerprint_of(base.model_copy(update={"files": (*base.files, card)})) == base.fingerprint


def test_round_trip(tmp_path):
    write_manifest(tmp_path, example())
    assert read_manifest(tmp_path, kind="shards") == example()


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../b", "", "a\\b"])
def test_a_path_never_leaves_the_folder(tmp_path, path):
    write_manifest(tmp_path, example())
    document = json.loads((tmp_path / "manifest.json").read_text())
    document["files"][0]["path"] = path
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(ArtefactError, match="must be relative and stay inside"):
        read_manifest(tmp_path)


def test_a_missing_manifest_is_told_apart_from_an_unfinished_run(tmp_path):
    with pytest.raises(ArtefactError, match="expected a folder"):
        read_manifest(tmp_path / "absent", kind="corpus")
    with pytest.raises(ArtefactError, match=r"found no manifest\.json"):
        read_manifest(tmp_path, kind="corpus")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ArtefactError, match="unfinished") as caught:
        read_manifest(tmp_path, kind="corpus")
    assert "only what is missing" in caught.value.hint


def test_another_kind_is_refused(tmp_path):
    write_manifest(tmp_path, example())
    with pytest.raises(ArtefactError, match="expected an artefact of kind corpus, found shards"):
        read_manifest(tmp_path, kind="corpus")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format_version": 99}, "format_version 99, this package reads up to 1"),
        ({"counts": {"rows": "many"}}, r"counts\.rows"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_changed_manifest_is_refused_with_its_place(tmp_path, change, expected):
    write_manifest(tmp_path, example())
    document = json.loads((tmp_path / "manifest.json").read_text()) | change
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(ArtefactError, match=expected):
        read_manifest(tmp_path)


def test_an_input_is_found_by_relative_path_or_where_it_is_said_to_be(tmp_path):
    plan = example(kind="plan", inputs=())
    for place in ("plan", "moved"):
        (tmp_path / place).mkdir()
        write_manifest(tmp_path / place, plan)
    shards = example(inputs=(Input(kind="plan", fingerprint=plan.fingerprint, path="../plan"),))
    (tmp_path / "shards").mkdir()
    assert find_input(tmp_path / "shards", shards, "plan")[1] == plan
    assert find_input(tmp_path / "shards", shards, "plan", override=tmp_path / "moved")[0] == tmp_path / "moved"


def test_the_wrong_input_is_refused(tmp_path):
    (tmp_path / "plan").mkdir()
    write_manifest(tmp_path / "plan", example(kind="plan", inputs=()))
    shards = example(inputs=(Input(kind="plan", fingerprint="other", path="../plan"),))
    (tmp_path / "shards").mkdir()
    with pytest.raises(ArtefactError, match="expected the plan with fingerprint other") as caught:
        find_input(tmp_path / "shards", shards, "plan")
    assert "--plan" in caught.value.hint
    with pytest.raises(ArtefactError, match="the plan it was made from is needed"):
        find_input(tmp_path / "shards", shards, "plan", override=tmp_path / "nowhere")


def test_a_manifest_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        example().kind = "corpus"
    assert isinstance(example(), Manifest)
