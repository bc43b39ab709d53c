"""The search across splits finds homologues wherever they are, and nothing where there is none."""

import json
import random
import shutil
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.cluster_config import ClusterConfig, PurgeConfig, SplitConfig
from pipeline.config import IngestConfig
from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ConfigurationError, MissingExtraError
from pipeline.formats.clusters import TEST, TRAIN, VALID, write_clusters
from pipeline.formats.manifest import read_manifest
from pipeline.formats.parquet import read_columns
from pipeline.stages.cluster.stage import Cluster
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.verify import splits as splits_module
from pipeline.stages.verify.split_search import MIN_COVERAGE, MIN_IDENTITY, windows_of
from pipeline.stages.verify.splits import search_splits
from pipeline.stages.verify.stage import verify

STANDARD = "ACDEFGHIKLMNPQRSTVWY"
METHODS = {"every": (2**60, 2**60, 2**60), "four": (-1, 2**60, 2**60), "five": (-1, -1, 2**60), "six": (-1, -1, -1)}
"""Limits that choose a method."""
rng = random.Random(7)


def text(length):
    return "".join(rng.choices(STANDARD, k=length))


def mutant(protein, num_changed):
    """A homologue: the first and last residues, and all but ``num_changed`` others, stay."""
    residues = list(protein)
    for place in rng.sample(range(3, len(protein) - 3), num_changed):
        residues[place] = rng.choice(STANDARD.replace(residues[place], ""))
    return "".join(residues)


UNRELATED = {
    f"P{index}": (text(rng.randint(60, 400)), (TRAIN, TRAIN, VALID, TEST, None)[index % 5]) for index in range(60)
}
PROTEIN = text(200)
DISTANT = mutant(PROTEIN, 84)
"""58 % identical."""


@pytest.fixture(params=METHODS)
def method(request, monkeypatch):
    monkeypatch.setattr(splits_module, "MOST_CELLS", METHODS[request.param])
    return request.param


def corpus_of(folder, proteins, *, records_per_part=20):
    folder.mkdir(exist_ok=True)
    (folder / "input.fasta").write_text("".join(f">{name}\n{residues}\n" for name, (residues, _) in proteins.items()))
    config = IngestConfig(files=(str(folder / "input.fasta"),), records_per_part=records_per_part)
    with SerialExecutor() as executor:
        return run_stage(Ingest(config), folder / "corpus", executor=executor).manifest


def split_columns(corpus_part, proteins):
    names = read_columns(corpus_part, ["accession"]).column("accession").to_pylist()
    splits = [proteins[name][1] for name in names]
    return {
        "split": pa.array(splits, pa.string()).dictionary_encode(),
        "excluded": pa.array([None if split else "similar" for split in splits], pa.string()).dictionary_encode(),
    }


def parts_of(folder, proteins, **options):
    """Corpus and clusters of proteins and their splits."""
    corpus = corpus_of(folder, proteins, **options)
    (folder / "clusters").mkdir()
    for file in corpus.tables:
        columns = split_columns(folder / "corpus" / file.path, proteins)
        ones = np.ones(file.rows)
        columns |= {
            "representative": pa.array(["P0"] * file.rows),
            "cluster_size": ones,
            "member_index": ones,
            "weight": ones,
        }
        write_clusters(folder / "clusters", file.path, columns, num_levels=1)
    return [(folder / "clusters" / file.path, folder / "corpus" / file.path) for file in corpus.tables]


def search(parts, executor=None):
    chosen = executor or SerialExecutor()
    return search_splits(parts, executor=chosen, watcher=SilentWatcher(), folder=parts[0][0].parent)


def test_unrelated_proteins_are_no_hits(tmp_path, method):
    report = search(parts_of(tmp_path, UNRELATED))
    assert report.findings == ()
    assert report.records == {TRAIN: 24, VALID: 12, TEST: 12}
    assert [pair.splits for pair in report.pairs] == [(TRAIN, VALID), (TRAIN, TEST), (VALID, TEST)]
    assert all(pair.hits == 0 for pair in report.pairs)
    aligned = sum(pair.pairs_aligned for pair in report.pairs)
    assert (aligned == sum(pair.pairs for pair in report.pairs)) == (method == "every")
    assert report.sentence.startswith("0 hits across splits (24 held-out records; aligned")


@pytest.mark.parametrize("pair", [(TRAIN, VALID), (TRAIN, TEST), (VALID, TEST)])
def test_an_injected_homologue_is_caught(tmp_path, method, pair):
    injected = {"ONE": (PROTEIN, pair[0]), "OTHER": (DISTANT, pair[1])}
    report = search(parts_of(tmp_path, UNRELATED | injected))
    assert {each.splits: each.hits for each in report.pairs if each.hits} == {pair: 1}
    assert report.highest.accessions == ("ONE", "OTHER")
    assert report.highest.identity == pytest.approx(0.58, abs=0.02)
    assert report.highest.coverages == pytest.approx((1, 1))
    head, example = (finding.message for finding in report.findings)
    assert head == f"1 hit between {pair[0]} and {pair[1]}: expected none of at least 50% identity over 80% of both"
    assert f"ONE ({pair[0]}) and OTHER ({pair[1]}), " in example


def test_homologues_within_a_split_or_excluded_are_no_hits(tmp_path):
    others = {"ONE": (PROTEIN, VALID), "TWIN": (DISTANT, VALID), "OUT": (mutant(PROTEIN, 20), None)}
    others |= {"A": (DISTANT[::-1], TRAIN), "B": (mutant(DISTANT[::-1], 20), TRAIN)}
    assert search(parts_of(tmp_path, UNRELATED | others)).findings == ()


def test_a_domain_with_an_insertion_is_caught(tmp_path, method):
    longer = PROTEIN[:100] + text(150) + PROTEIN[100:]
    report = search(parts_of(tmp_path, UNRELATED | {"ONE": (PROTEIN, VALID), "LONGER": (longer, TRAIN)}))
    assert report.highest.accessions == ("LONGER", "ONE")
    assert report.highest.identity == pytest.approx(200 / 350, abs=0.02)


def test_a_pair_below_half_is_told_but_no_hit(tmp_path):
    report = search(parts_of(tmp_path, UNRELATED | {"ONE": (PROTEIN, TEST), "FAR": (mutant(PROTEIN, 110), TRAIN)}))
    assert report.findings == ()
    assert report.highest.accessions == ("FAR", "ONE")
    assert 0.4 < report.highest.identity < MIN_IDENTITY
    assert "the highest is FAR (train) and ONE (test), 4" in report.sentence


def test_of_many_hits_the_closest_are_told(tmp_path):
    family = {f"M{changed:03d}": (mutant(PROTEIN, changed), TRAIN) for changed in range(5, 65, 5)}
    report = search(parts_of(tmp_path, UNRELATED | family | {"ONE": (PROTEIN, VALID)}))
    told = report.pairs[0]
    assert told.hits == len(family) == 12
    assert [neighbour.accessions[0] for neighbour in told.closest] == sorted(family)[:10]
    assert len(report.findings) == 11


def test_neither_workers_nor_parts_change_the_outcome(tmp_path):
    proteins = UNRELATED | {"ONE": (PROTEIN, VALID), "OTHER": (DISTANT, TRAIN), "THIRD": (mutant(PROTEIN, 40), TEST)}
    alone = search(parts_of(tmp_path / "one", proteins, records_per_part=100))
    parts = parts_of(tmp_path / "many", proteins, records_per_part=10)
    assert len(parts) > 4
    with ProcessExecutor(2) as executor:
        assert search(parts, executor) == search(parts) == alone


def test_words_find_what_every_pair_finds_of_a_family(tmp_path, monkeypatch):
    family = {f"M{index:02d}": (mutant(PROTEIN[: 80 + index], 30 + index // 2), TRAIN) for index in range(0, 60, 2)}
    parts = parts_of(tmp_path, family | {"ONE": (PROTEIN[:110], VALID)})
    found = {}
    for name, limits in METHODS.items():
        monkeypatch.setattr(splits_module, "MOST_CELLS", limits)
        found[name] = search(parts).pairs[0]
    assert found["every"].hits > 20
    for words in ("four", "five", "six"):
        assert (found[words].hits, found[words].closest) == (found["every"].hits, found["every"].closest)


@given(lengths=st.lists(st.integers(0, 60), max_size=20), query=st.integers(0, 60))
def test_lengths_that_allow_a_hit(lengths, query):
    windows = windows_of(np.array([query]), np.array(sorted(lengths), dtype=np.int64))
    chosen = sorted(lengths)[windows.first[0] : windows.last[0]]
    # Exactly: two fifths, as rounding of the product of the two decimals would spoil the limit.
    assert round(MIN_IDENTITY * MIN_COVERAGE, 10) == 2 / 5
    assert chosen == [length for length in sorted(lengths) if 0 < 2 * max(length, query) <= 5 * min(length, query)]


@given(queries=st.lists(st.integers(1, 60), max_size=20), targets=st.lists(st.integers(1, 60), max_size=20))
def test_cells_are_those_of_all_pairs_whose_lengths_allow_a_hit(queries, targets):
    expected = sum(one * other for one in queries for other in targets if 2 * max(one, other) <= 5 * min(one, other))
    histograms = [
        np.bincount(lengths).astype(np.int64) if lengths else np.zeros(0, np.int64) for lengths in (queries, targets)
    ]
    assert splits_module._num_cells(*histograms) == expected


def test_where_nothing_is_held_out_there_is_nothing_to_search(tmp_path):
    parts = parts_of(tmp_path, {name: (residues, TRAIN) for name, (residues, _) in UNRELATED.items()})
    with pytest.raises(ConfigurationError, match="expected records in the splits valid or test, found none") as error:
        search(parts)
    assert "--valid-fraction" in error.value.hint


def test_without_the_aligner_nothing_is_searched(tmp_path, monkeypatch):
    parts = parts_of(tmp_path, UNRELATED)
    monkeypatch.setitem(sys.modules, "parasail", None)
    with pytest.raises(MissingExtraError, match="parasail"):
        search(parts)


def clusters_of(folder, *, is_purged):
    """Clusters made by the stage, with a homologue of a valid protein in train unless they are purged."""
    proteins = UNRELATED | {"ONE": (PROTEIN, VALID), "OTHER": (DISTANT, TRAIN)}
    corpus_of(folder, proteins)
    (folder / "table.tsv").write_text("".join(f"{name}\t{name}\n" for name in proteins))
    (folder / "pinned.tsv").write_text("".join(f"{name}\t{split or TRAIN}\n" for name, (_, split) in proteins.items()))
    config = ClusterConfig(
        existing=(str(folder / "table.tsv"),),
        split=SplitConfig(pinned=str(folder / "pinned.tsv")),
        purge=PurgeConfig(held_out=is_purged),
    )
    with SerialExecutor() as executor:
        run_stage(Cluster(folder / "corpus", config), folder / "clusters", executor=executor)
    return folder / "clusters"


@pytest.fixture(scope="module")
def clusters(tmp_path_factory):
    return clusters_of(tmp_path_factory.mktemp("clusters"), is_purged=False)


def test_after_the_purge_there_is_no_hit(tmp_path):
    clusters = clusters_of(tmp_path, is_purged=True)
    with SerialExecutor() as executor:
        report = verify(clusters, executor=executor, watcher=SilentWatcher(), splits=True)
    assert report.findings == ()
    assert report.splits.records == {TRAIN: 36, VALID: 13, TEST: 12}


def test_verification_of_clusters_tells_of_hits_where_it_is_asked(clusters):
    with SerialExecutor() as executor:
        assert verify(clusters, executor=executor, watcher=SilentWatcher()).findings == ()
        report = verify(clusters, executor=executor, watcher=SilentWatcher(), splits=True)
    assert [finding.path for finding in report.findings] == ["part-*.parquet"] * 2
    assert report.splits.pairs[0].hits == 1


def test_clusters_that_are_broken_are_not_searched(clusters, tmp_path):
    clusters = shutil.copytree(clusters.parent, tmp_path / "copy") / "clusters"
    file = read_manifest(clusters).tables[0]
    (clusters / file.path).write_bytes(b"")
    with SerialExecutor() as executor:
        report = verify(clusters, executor=executor, watcher=SilentWatcher(), splits=True)
    assert report.splits is None
    assert not report.is_sound


def test_the_command_ends_with_1_on_a_hit(clusters, capsys):
    assert main(["verify", str(clusters), "--splits", "--workers", "1"]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "1 hit between train and valid" in told
    assert "the highest is OTHER (train) and ONE (valid), 5" in told
    assert main(["verify", str(clusters), "--splits", "--workers", "1", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["splits"]["records"][VALID] == 13
    assert document["splits"]["pairs"][0]["closest"][0]["accessions"] == ["OTHER", "ONE"]


def test_splits_are_those_of_clusters(clusters, capsys):
    assert main(["verify", str(clusters.parent / "corpus"), "--splits"]) == 2
    assert "expected clusters, whose splits can be searched across, found" in " ".join(capsys.readouterr().err.split())
