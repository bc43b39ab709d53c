"""A recipe with clusters: splits, the draw of an epoch, a plan and shards for each epoch, and what reads them."""

import gzip
import json
import shutil

import pytest

from pipeline.cli import main
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ConfigurationError
from pipeline.formats.manifest import read_manifest
from pipeline.recipe import read_recipe
from pipeline.workflow import run_recipe

RECIPE = """
name = "epochs"
epochs = 2
[ingest]
files = ["ecoli.fasta.gz"]
records_per_part = 1200
[cluster]
existing = ["sub/clusters.tsv"]
split = {valid_fraction = 0.05, test_fraction = 0.02}
purge = {held_out = false}
[pack]
length = 512
sample = "one-per-cluster"
[stream]
objective = 0.15
"""


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory, ecoli):
    """The proteome, and clusters of its proteins by the first four letters of each accession."""
    folder = tmp_path_factory.mktemp("clusters-recipe")
    shutil.copy(ecoli, folder / "ecoli.fasta.gz")
    headers = [line for line in gzip.decompress(ecoli.read_bytes()).decode().splitlines() if line.startswith(">")]
    accessions = [header.split("|")[1] for header in headers]
    clusters = {}
    for accession in accessions:
        clusters.setdefault(accession[:4], []).append(accession)
    (folder / "sub").mkdir()
    rows = [f"{members[0]}\t{member}\n" for members in clusters.values() for member in members]
    (folder / "sub" / "clusters.tsv").write_text("".join(rows))
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


def run(path, folder, **options):
    return run_recipe(read_recipe(path), folder, executor=SerialExecutor(), watcher=SilentWatcher(), **options)


@pytest.fixture(scope="module")
def finished(recipe_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished-clusters") / "out"
    return folder, run(recipe_path, folder)


def test_every_epoch_has_a_plan_and_shards_of_its_own(finished):
    folder, outcome = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "clusters", "corpus", "plan-0", "plan-1", "shards-0", "shards-1",
    ]  # fmt: skip
    assert [report.findings for report in outcome.reports] == [()] * 6
    num_clusters = outcome.clusters.manifest.counts["clusters"]
    manifests = [epoch.shards.manifest for epoch in outcome.epochs]
    for epoch, manifest in enumerate(manifests):
        assert manifest.configuration["epoch"] == epoch
        counts = manifest.counts
        held_out = counts["records_valid"] + counts["records_test"]
        assert held_out > 0
        assert counts["records"] + manifest.reasons["not-drawn"] == outcome.corpus.manifest.counts["records"]
        assert 0 < counts["records_train"] < num_clusters
    assert manifests[0].counts["records_train"] == manifests[1].counts["records_train"]
    assert manifests[0].fingerprint != manifests[1].fingerprint
    valid = [[file.content for file in manifest.files_of("valid")] for manifest in manifests]
    assert valid[0] == valid[1] != []


def test_one_epoch_is_read_back(finished):
    _, outcome = finished
    counts = outcome.manifest.counts
    assert counts["rows_train"] <= outcome.reading.rows < counts["rows_train"] + 32
    assert outcome.reading.tokens >= counts["tokens_train"]


def test_a_second_run_does_nothing_and_a_third_epoch_is_added(finished, recipe_path, tmp_path):
    folder, first = finished
    shutil.copytree(folder, tmp_path / "out")
    again = run(recipe_path, tmp_path / "out")
    assert all(epoch.plan.was_finished and epoch.shards.was_finished for epoch in again.epochs)
    assert again.clusters.was_finished
    more = recipe_path.with_name("more.toml")
    more.write_text(RECIPE.replace("epochs = 2", "epochs = 3").replace("[stream]", "[stream]\nbatch_size = 8"))
    third = run(more, tmp_path / "out")
    assert [epoch.plan.was_finished for epoch in third.epochs] == [True, True, False]
    assert third.epochs[2].plan.manifest.configuration["epoch"] == 2
    assert third.manifest == first.manifest


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            ('existing = ["sub/clusters.tsv"]', 'existing = ["sub/clusters.tsv"]\nlevels = [{min_seq_id = 0.5}]'),
            "cluster:",
        ),
        (
            ('existing = ["sub/clusters.tsv"]', "levels = [{min_seq_id = 0.5}]"),
            r"pack\.level 2: expected 1 to 1, the levels of cluster",
        ),
        (("epochs = 2", "epochs = 0"), "epochs: .*greater than or equal to 1"),
        (('sample = "one-per-cluster"', "level = 2"), "level 2: expected sample one-per-cluster"),
        (('sample = "one-per-cluster"', 'sample = "two"'), "'all', 'weight' or 'one-per-cluster'"),
        (
            (RECIPE[RECIPE.index("[cluster]") : RECIPE.index("[pack]")], ""),
            "expected clusters to draw from, found none",
        ),
    ],
)
def test_a_mistake_is_told_before_the_work_begins(recipe_path, tmp_path, change, told):
    wrong = recipe_path.with_name("wrong.toml")
    recipe = RECIPE.replace(*change)
    wrong.write_text(recipe.replace('per-cluster"', 'per-cluster"\nlevel = 2') if "min_seq_id" in recipe else recipe)
    with pytest.raises(ConfigurationError, match=told):
        run(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_paths_of_clusters_are_relative_to_the_recipe(recipe_path, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(
        RECIPE.replace("valid_fraction = 0.05", 'valid_fraction = 0.05, pinned = "earlier.parquet"').replace(
            "purge = {held_out = false}", 'purge = {benchmarks = {casp15 = "casp/15.fasta"}}'
        )
    )
    cluster = read_recipe(path).cluster
    assert cluster.existing == (f"{tmp_path}/sub/clusters.tsv",)
    assert cluster.split.pinned == f"{tmp_path}/earlier.parquet"
    assert cluster.split.valid_fraction == 0.05
    assert cluster.purge.benchmarks == {"casp15": f"{tmp_path}/casp/15.fasta"}


def test_step_by_step_on_the_command_line(recipe_path, tmp_path, capsys):
    """The same artefacts as by the recipe, and every command speaks of the splits."""
    folder = recipe_path.parent

    def command(*arguments):
        assert main([*map(str, arguments), "--executor", "serial"]) == 0
        return capsys.readouterr()

    corpus, clusters, plan, shards = (tmp_path / name for name in ("corpus", "clusters", "plan", "shards"))
    assert main(["ingest", str(folder / "ecoli.fasta.gz"), "--out", str(corpus), "--executor", "serial"]) == 0
    command("cluster", corpus, "--out", clusters, "--existing", folder / "sub" / "clusters.tsv")
    told = command("pack", corpus, "--clusters", clusters, "--out", plan, "--sample", "one-per-cluster", "--epoch", 1)
    counts = read_manifest(plan).counts
    assert counts["records_train"] == read_manifest(clusters).counts["clusters"]
    assert f"{counts['rows']:,} rows" in told.err
    command("shard", plan, "--out", shards)
    for path in (plan, shards):
        assert ": sound" in command("verify", path).err
    moved = clusters.rename(tmp_path / "elsewhere")
    assert main(["verify", str(plan), "--executor", "serial"]) == 1
    assert "--clusters" in capsys.readouterr().err
    assert ": sound" in command("verify", plan, "--clusters", moved).err
    assert main(["inspect", str(plan), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["rows_valid"] == 0
    assert main(["pack", str(corpus), "--out", str(tmp_path / "p"), "--sample", "one-per-cluster"]) == 2
    assert "expected clusters to draw from" in capsys.readouterr().err


def test_a_run_tells_epochs_splits_and_how_to_train(finished, recipe_path, capsys):
    folder, outcome = finished
    assert main(["run", str(recipe_path), "--out", str(folder), "--executor", "serial"]) == 0
    err = capsys.readouterr().err
    assert f'PackedDataset(["{folder}/shards-0", "{folder}/shards-1"], ' in err.replace("\n", " ")
    rows = outcome.manifest.counts
    assert f"(train {rows['rows_train']:,}, valid {rows['rows_valid']:,}, test {rows['rows_test']:,})" in err
    assert main(["run", str(recipe_path), "--out", str(folder), "--executor", "serial", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [epoch["shards"]["path"] for epoch in document["epochs"]] == [f"{folder}/shards-0", f"{folder}/shards-1"]
    assert document["clusters"]["kind"] == "clusters"
