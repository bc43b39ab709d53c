"""Verification against everything that can happen to files: each is found, exit 1, and the place is named.

The artefacts are small: two parts, records packed or concatenated, both layouts. What is done with digests made to fit
is in tests/stages/test_verify.py; here files are changed as accidents and mix-ups change them.
"""

import json
import random
import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.config import IngestConfig, PackConfig, ShardConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.engines.task_log import LOG_NAME
from pipeline.errors import DataError
from pipeline.formats.manifest import fingerprint_of, read_manifest, write_manifest
from pipeline.formats.shard_footers import footer_name
from pipeline.formats.shards import shard_name
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.pack.stage import Pack
from pipeline.stages.shard import Shard
from pipeline.stages.verify.stage import verify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KINDS = ("corpus", "plan", "shards")
WAYS = {
    "packed": ({"length": 64}, {"layout": "list"}),
    "binary": ({"length": 48, "overlong": "windows", "alignment": 8}, {"layout": "binary", "rows_per_shard": 6}),
    "run on": ({"length": 48, "algorithm": "concatenate"}, {"layout": "list", "rows_per_shard": 6}),
    "run on, bytes": ({"length": 64, "algorithm": "concatenate", "tokenizer": "evo2"}, {"layout": "binary"}),
}
SAID_ONCE = {"corpus": ("software", "provenance", "reasons", "counts"), "plan": ("software",), "shards": ("software",)}
"""What of a manifest nothing else repeats. Of run.json it is what was asked for and did not come into the manifest."""
ATTEMPTS = settings(max_examples=150, suppress_health_check=list(HealthCheck))


def make(folder, way, seed=0):
    rng = random.Random(seed)
    texts = ["".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=rng.randint(1, 90))) for _ in range(40)]
    folder.mkdir(parents=True)
    (folder / "input.fasta").write_text("".join(f">P{index}\n{text}\n" for index, text in enumerate(texts)))
    pack, shard = WAYS[way]
    config = IngestConfig(files=(str(folder / "input.fasta"),), records_per_part=20)
    with SerialExecutor() as executor:
        run_stage(Ingest(config), folder / "corpus", executor=executor)
        run_stage(Pack(folder / "corpus", PackConfig(**pack)), folder / "plan", executor=executor)
        run_stage(Shard(folder / "plan", ShardConfig(rows_per_group=4, **shard)), folder / "shards", executor=executor)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Of each way: one run, another one of other records, and a place to break things."""

    @cache
    def of(way):
        folder = tmp_path_factory.mktemp("tampering")
        return make(folder / "one", way), make(folder / "other", way, seed=1), folder / "broken"

    return of


@pytest.fixture(params=WAYS)
def made(request, runs):
    return runs(request.param)


def fresh(whole, place):
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    return place


def findings_of(folder):
    """What verification says: findings, or the error that ends it with exit code 1."""
    try:
        with SerialExecutor() as executor:
            report = verify(folder, executor=executor, watcher=SilentWatcher())
    except DataError as error:
        return [("manifest.json", error.message)]
    return [(finding.path, finding.message) for finding in report.findings]


def files_of(folder):
    """All of them but the log, which is no part of an artefact."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOG_NAME)


def named(findings):
    return {path for path, _ in findings}


def test_what_is_whole_is_found_sound_and_exits_0(made):
    one, other, _ = made
    for kind in KINDS:
        assert findings_of(one / kind) == findings_of(other / kind) == []
        assert main(["verify", str(one / kind), "--executor", "serial", "--quiet"]) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["manifest.json", "run.json"])
@pytest.mark.parametrize("way", ["packed", "run on"])
def test_every_byte_of_the_json_files(runs, way, kind, name):
    one, _, broken = runs(way)
    path = fresh(one, broken) / kind / name
    original, rng = path.read_bytes(), random.Random(0)
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        if not findings_of(broken / kind):
            assert is_said_once(one / kind, name, json.loads(original), json.loads(changed)), (position, bytes(changed))


def is_said_once(folder, name, before, after):
    """Whether a file differs in what nothing else repeats."""
    if name == "manifest.json":
        return all(before[key] == after.get(key) for key in before if key not in SAID_ONCE[before["kind"]])
    repeated = read_manifest(folder).configuration.keys()
    asked, still_asked = before.pop("configuration"), after.pop("configuration")
    return before == after and all(asked[key] == still_asked.get(key, "nothing") for key in asked.keys() & repeated)


@ATTEMPTS
@given(data=st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_any_bit_of_any_data_file(made, kind, data):
    one, _, broken = made
    if not broken.exists():
        fresh(one, broken)
    path = data.draw(st.sampled_from([path for path in files_of(one / kind) if path.suffix != ".json"]))
    bit = data.draw(st.integers(0, 8 * path.stat().st_size - 1))
    place = broken / path.relative_to(one)
    changed = bytearray(path.read_bytes())
    changed[bit // 8] ^= 1 << bit % 8
    restore(one, broken)
    place.write_bytes(changed)
    findings = findings_of(broken / kind)
    name = place.relative_to(broken / kind).as_posix()
    # A bit in the footer of a shard also makes it another one than the footer beside it.
    assert {name} <= named(findings) <= {name, footer_name(name)}, findings
    place.write_bytes(path.read_bytes())


def restore(one, broken):
    for path in files_of(one):
        place = broken / path.relative_to(one)
        if not place.exists() or place.read_bytes() != path.read_bytes():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    for path in files_of(broken):
        if not (one / path.relative_to(broken)).exists():
            path.unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_of_the_corpus_is_found_by_what_was_made_of_it(made, kind):
    """Plan and shards are compared with the corpus: one that was changed since is told, never taken for granted."""
    one, _, broken = made
    fresh(one, broken)
    path = broken / "corpus" / "part-00000.parquet"
    original = path.read_bytes()
    path.write_bytes(original[:-9] + b"\xff" + original[-8:])
    assert findings_of(broken / kind)


@pytest.mark.parametrize("kind", KINDS)
def test_any_file_cut_anywhere_missing_or_longer(made, kind):
    one, _, broken = made
    fresh(one, broken)
    rng = random.Random(0)
    for path in files_of(broken / kind):
        original, name = path.read_bytes(), path.relative_to(broken / kind).as_posix()
        for size in {0, 1, len(original) - 1, *(rng.randrange(len(original)) for _ in range(8))}:
            path.write_bytes(original[:size])
            assert name in named(findings_of(broken / kind)), (name, size)
        path.write_bytes(original + b"\0")
        assert name in named(findings_of(broken / kind))
        path.unlink()
        findings = findings_of(broken / kind)
        assert name in named(findings) or name == "run.json", name  # whoever publishes data may leave that behind
        path.write_bytes(original)
    assert findings_of(broken / kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_any_two_data_files_swapped_and_any_copied_over_another(made, kind):
    one, _, broken = made
    fresh(one, broken)
    paths = [path for path in files_of(broken / kind) if path.suffix == ".parquet"]
    for first in paths:
        for second in paths:
            if first == second:
                continue
            contents = first.read_bytes(), second.read_bytes()
            second.write_bytes(contents[0])
            assert second.relative_to(broken / kind).as_posix() in named(findings_of(broken / kind))
            first.write_bytes(contents[1])
            findings = named(findings_of(broken / kind))
            assert {path.relative_to(broken / kind).as_posix() for path in (first, second)} <= findings
            first.write_bytes(contents[0]), second.write_bytes(contents[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_file_of_another_run_even_with_its_entry_in_the_manifest(made, kind):
    one, other, broken = made
    for source in [path for path in files_of(other / kind) if path.suffix == ".parquet"]:
        place = fresh(one, broken) / source.relative_to(other)
        if not place.exists():
            continue
        shutil.copy(source, place)
        name = place.relative_to(broken / kind).as_posix()
        assert named(findings_of(broken / kind)) == {name}
        entries = {file.path: file for file in read_manifest(other / kind).files}
        manifest = read_manifest(broken / kind)
        files = tuple(entries[file.path] if file.path == name else file for file in manifest.files)
        seal(broken / kind, manifest.model_copy(update={"files": files}))
        assert findings_of(broken / kind), name


def seal(folder, manifest):
    """Write a manifest whose fingerprint fits, as someone who hides a change would."""
    write_manifest(folder, manifest.model_copy(update={"fingerprint": fingerprint_of(manifest)}))


def renumbered(files):
    tables = [file for file in files if file.split]
    names = {file.path: shard_name("train", index, len(tables)) for index, file in enumerate(tables)}
    return names, tuple(file.model_copy(update={"path": names.get(file.path, file.path)}) for file in files)


def test_any_shard_removed_or_doubled_with_names_and_manifest_made_to_fit(made):
    one, _, broken = made
    num_shards = len(read_manifest(one / "shards").tables)
    for at in range(num_shards):
        for is_doubled in (False, True):
            folder = fresh(one, broken) / "shards"
            manifest = read_manifest(folder)
            files, extra = list(manifest.files), manifest.files[at]
            if is_doubled:
                twin = extra.model_copy(update={"path": "data/train-99999-of-00001.parquet"})
                shutil.copy(folder / extra.path, folder / twin.path)
                files.insert(at, twin)
            else:
                (folder / extra.path).unlink()
                del files[at]
            assert findings_of(folder)
            names, files = renumbered(files)
            held = {name: (folder / name).read_bytes() for name in names}
            for name in names:
                (folder / name).unlink()
            for name, content in held.items():
                (folder / names[name]).write_bytes(content)
            seal(folder, manifest.model_copy(update={"files": files}))
            findings = findings_of(folder)
            assert findings, (at, is_doubled)
            assert any("record" in message or "segment" in message or "not full" in message for _, message in findings)


@pytest.mark.parametrize("kind", KINDS)
def test_exit_code_and_place_on_the_command_line(made, kind, capsys):
    one, _, broken = made
    path = next(path for path in files_of(fresh(one, broken) / kind) if path.suffix == ".parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    capsys.readouterr()
    assert main(["verify", str(broken / kind), "--executor", "serial", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert {finding["path"] for finding in document["findings"]} == {path.relative_to(broken / kind).as_posix()}


def test_a_run_json_of_another_run(made):
    one, other, broken = made
    for kind in KINDS:
        shutil.copy(other / kind / "run.json", fresh(one, broken) / kind / "run.json")
        assert named(findings_of(broken / kind)) == {"run.json"}


def test_paths_of_the_campaign_are_all_files(made):
    """The campaign covers what there is: data, documents and the two JSON files of each artefact."""
    one, _, _ = made
    kinds = {path.suffix for kind in KINDS for path in files_of(one / kind)}
    assert kinds == {".parquet", ".json", ".md", ".html"}
    assert all(isinstance(path, Path) for path in files_of(one))
