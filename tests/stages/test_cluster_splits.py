"""Splits of clusters: whole, drawn by the representative, held by an earlier split, weighted, published."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.cluster_config import ClusterConfig
from pipeline.config import IngestConfig
from pipeline.core.randomness import PURPOSE_SPLIT, derive_key, draw, uniform
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.formats.corpus import record_keys
from pipeline.formats.manifest import read_manifest
from pipeline.stages.cluster.splits import Splitting, cluster_splits, drawn_splits
from pipeline.stages.cluster.stage import Cluster
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.verify.stage import verify

NUM_CLUSTERS = 60
HELD_OUT = {"valid_fraction": 0.2, "test_fraction": 0.1}


class Listener(SilentWatcher):
    """Keeps what a person is told."""

    def __init__(self):
        self.said = []

    def warning(self, text):
        self.said.append(text)


def residues(name):
    return "".join(random.Random(name).choices("ACDEFGHIKLMNPQRSTVWY", k=40))


def members(cluster):
    """Names of a cluster: 1 to 5 of them; every third cluster is called as no record is."""
    return [f"M{cluster}.{index}" for index in range(1 + cluster % 5)]


def representative(cluster):
    return f"absent{cluster}" if cluster % 3 == 0 else members(cluster)[-1]


def make_corpus(folder, clusters):
    folder.mkdir()
    records = [(name, residues(name)) for cluster in clusters for name in members(cluster)]
    records.append(("alias", residues("M7.0")))
    (folder / "in.fasta").write_text("".join(f">{name}\n{text}\n" for name, text in records))
    (folder / "clusters.tsv").write_text(
        "".join(f"{representative(cluster)}\t{name}\n" for cluster in clusters for name in members(cluster))
    )
    config = IngestConfig(files=(str(folder / "in.fasta"),), records_per_part=30)
    with SerialExecutor() as executor:
        run_stage(Ingest(config), folder / "corpus", executor=executor)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus of some of the clusters, and of all."""
    folder = tmp_path_factory.mktemp("splits")
    make_corpus(folder / "some", range(NUM_CLUSTERS // 2))
    make_corpus(folder / "all", range(NUM_CLUSTERS))
    return folder


def cluster(folder, out, split=HELD_OUT, executor=None, **config):
    listener = Listener()
    values = {"existing": (str(folder / "clusters.tsv"),), "split": split, "purge": {"held_out": False}} | config
    stage = Cluster(folder / "corpus", ClusterConfig(**values))
    manifest = run_stage(stage, out, executor=executor or SerialExecutor(), watcher=listener).manifest
    return manifest, listener.said


def fates(folder, out):
    """Columns of every record by its accession."""
    found = {}
    for file in read_manifest(folder / "corpus").tables:
        names = pq.read_table(folder / "corpus" / file.path).column("accession").to_pylist()
        found |= dict(zip(names, pq.read_table(out / file.path).to_pylist(), strict=True))
    return found


def splits_of(folder, out):
    return {name: row["split"] for name, row in fates(folder, out).items()}


def expected_split(cluster, seed=0):
    """By the book: a hash of the representative's record key, or of its name where it is no record."""
    name = representative(cluster)
    text = name if name.startswith("absent") else residues(name)
    (key,) = record_keys(pa.array([text]))
    place = float(uniform(draw(derive_key(PURPOSE_SPLIT, seed, key), 0)))
    return "valid" if place < 0.2 else "test" if place < 0.3 else "train"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_cluster_is_in_one_split_by_the_hash_of_its_representative(made, tmp_path, seed):
    manifest, said = cluster(made / "all", tmp_path / "out", HELD_OUT | {"seed": seed})
    expected = {name: expected_split(each, seed) for each in range(NUM_CLUSTERS) for name in members(each)}
    assert splits_of(made / "all", tmp_path / "out") == expected
    assert said == []
    clusters = [expected_split(each, seed) for each in range(NUM_CLUSTERS)]
    for split in ("train", "valid", "test"):
        names = [name for name, found in expected.items() if found == split]
        assert manifest.counts[f"{split}_clusters"] == clusters.count(split) > 0
        assert manifest.counts[f"{split}_records"] == len(names)
        assert manifest.counts[f"{split}_residues"] == 40 * len(names)
    with SerialExecutor() as executor:
        assert verify(tmp_path / "out", executor=executor, watcher=SilentWatcher()).findings == ()


def test_the_published_split_says_the_same_in_the_order_of_the_corpus(made, tmp_path):
    manifest, _ = cluster(made / "all", tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "splits.parquet").to_pylist()
    assert [(row["accession"], row["split"]) for row in rows] == list(splits_of(made / "all", tmp_path / "out").items())
    assert {row["reason"] for row in rows} == {None}
    assert manifest.files[-1].path == "splits.parquet"
    assert "splits.parquet" not in {file.path for file in manifest.tables}


def test_an_earlier_split_holds_when_the_corpus_grows(made, tmp_path):
    cluster(made / "some", tmp_path / "before", HELD_OUT | {"seed": 5})
    before = splits_of(made / "some", tmp_path / "before")
    pinned = tmp_path / "before" / "splits.parquet"
    manifest, said = cluster(made / "all", tmp_path / "after", HELD_OUT | {"pinned": str(pinned)})
    after = splits_of(made / "all", tmp_path / "after")
    assert {name: after[name] for name in before} == before
    drawn = {name: expected_split(each) for each in range(NUM_CLUSTERS) for name in members(each)}
    assert {name: after[name] for name in after.keys() - before} == {
        name: drawn[name] for name in after.keys() - before
    }
    assert any(drawn[name] != split for name, split in before.items())
    counts = manifest.counts
    assert (counts["pins_read"], counts["records_pinned"]) == (len(before), len(before))
    assert counts["clusters_pinned"] == NUM_CLUSTERS // 2
    assert (counts["pins_unknown"], counts["pins_contradictory"], counts["clusters_pinned_apart"]) == (0, 0, 0)
    assert said == []


def test_what_was_held_out_is_never_trained_on_and_what_does_not_fit_is_told(made, tmp_path):
    rows = ["M4.0\ttrain", "M4.1\tvalid", "M4.2\ttrain", "M9.0\tvalid", "M9.1\ttest", "alias\ttest", "M12.1\t\tsimilar"]
    rows += ["M8.0\ttrain", "M8.0\tvalid", "gone\tvalid", "M14.3\ttrain"]
    (tmp_path / "pins.tsv").write_text("".join(f"{row}\n" if row.count("\t") == 2 else f"{row}\t\n" for row in rows))
    manifest, said = cluster(made / "all", tmp_path / "out", {"pinned": str(tmp_path / "pins.tsv")})
    found = splits_of(made / "all", tmp_path / "out")
    expected = {4: "valid", 7: "test", 8: "valid", 9: "test"}
    assert found == {name: expected.get(each, "train") for each in range(NUM_CLUSTERS) for name in members(each)}
    counts = manifest.counts
    assert (counts["pins_read"], counts["pins_unknown"], counts["pins_contradictory"]) == (10, 1, 1)
    assert (counts["records_pinned"], counts["clusters_pinned"], counts["clusters_pinned_apart"]) == (8, 5, 2)
    precedence = "(test counts before valid, valid before train)"
    assert said == [
        "accessions of the earlier split that no record of the corpus has: 1, such as gone",
        f"accessions that the earlier split has in two splits {precedence}: 1, such as M8.0",
        f"clusters whose members were in two splits {precedence}: 2, such as M4.4, absent9",
    ]


@given(
    sizes=st.lists(st.integers(1, 4), max_size=30),
    pins=st.lists(st.integers(-1, 2), min_size=120, max_size=120),
    seed=st.integers(0, 100),
)
def test_the_strongest_pin_of_a_cluster_counts_and_else_its_draw(sizes, pins, seed):
    keys = np.arange(len(sizes), dtype=np.uint64)
    firsts = np.cumsum([0, *sizes])[:-1]
    marks = np.array(pins[: sum(sizes)], dtype=np.int8)
    splitting = Splitting(valid_fraction=0.3, test_fraction=0.3, seed=seed, is_pinned=True)
    splits, is_pinned, differs = cluster_splits(keys, marks, firsts, splitting)
    for at, drawn in enumerate(drawn_splits(keys, splitting).tolist()):
        of_cluster = [mark for mark in marks[firsts[at] : firsts[at] + sizes[at]].tolist() if mark >= 0]
        assert splits[at] == (max(of_cluster) if of_cluster else drawn)
        assert is_pinned[at] == bool(of_cluster)
        assert differs[at] == (len(set(of_cluster)) > 1)


def test_draws_are_uniform_and_never_change():
    keys = np.arange(200_000, dtype=np.uint64)
    drawn = drawn_splits(keys, Splitting(valid_fraction=0.1, test_fraction=0.05))
    assert np.bincount(drawn) / len(keys) == pytest.approx([0.85, 0.1, 0.05], abs=0.003)
    golden = drawn_splits(keys[:24], Splitting(valid_fraction=0.3, test_fraction=0.3, seed=3))
    assert "".join("tve"[split] for split in golden) == "tttvvetttvvevvvtevttvtve"
    more = drawn_splits(keys, Splitting(valid_fraction=0.2, test_fraction=0.05))
    assert set(np.flatnonzero(drawn == 1)) < set(np.flatnonzero(more == 1))
    assert set(drawn_splits(keys, Splitting())) == {0}


@pytest.mark.parametrize("weight", ["1/size", "1/sqrt(size)", "cap:2"])
def test_members_of_train_are_weighted_by_the_size_of_their_cluster(made, tmp_path, weight):
    cluster(made / "all", tmp_path / "out", weight=weight)
    kept = {"1/size": lambda size: 1, "1/sqrt(size)": lambda size: size**0.5, "cap:2": lambda size: min(size, 2)}
    for row in fates(made / "all", tmp_path / "out").values():
        size = row["cluster_size"]
        expected = kept[weight](size) / size if row["split"] == "train" else 1
        assert row["weight"] == pytest.approx(expected, rel=1e-6)
        assert 0 < row["weight"] <= 1
    with SerialExecutor() as executor:
        assert verify(tmp_path / "out", executor=executor, watcher=SilentWatcher()).findings == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--valid-fraction", "1.5"], "less than 1"),
        (["--valid-fraction", "0.6", "--test-fraction", "0.4"], "leave nothing to train on"),
        (["--weight", "1/n"], "weight: expected 1, 1/size, 1/sqrt(size) or cap:N, found '1/n'"),
        (["--decontaminate", "casp.fasta"], "--decontaminate casp.fasta: expected NAME=FASTA"),
        (["--decontaminate", "a=x", "--decontaminate", "a=y"], "expected NAME=FASTA, each name once"),
        (["--decontaminate", "valid=x"], "'valid': expected a name of letters"),
        (["--decontaminate", "a/b=x"], "'a/b': expected a name of letters"),
        (["--splits", "absent.tsv"], "absent.tsv"),
    ],
)
def test_what_cannot_be_asked_is_told(made, tmp_path, capsys, arguments, message):
    command = ["cluster", str(made / "some" / "corpus"), "--out", str(tmp_path / "out")]
    assert main([*command, "--existing", str(made / "some" / "clusters.tsv"), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.rglob("*.parquet"))
