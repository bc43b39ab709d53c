"""What can be asked of the cluster stage, and what mmseqs is told."""

import pytest
from pydantic import ValidationError

from pipeline.cluster_config import PRESETS, ClusterConfig, ClusterLevel, chosen_levels
from pipeline.errors import ConfigurationError


def told(level, **config):
    return " ".join(ClusterConfig(levels=(level,), **config).clustering(0).arguments)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("uniref90", "--min-seq-id 0.9 -c 0.8 --cov-mode 1 --cluster-mode 2 --kmer-per-seq 21"),
        ("uniref50", "--min-seq-id 0.5 -c 0.8 --cov-mode 1 --cluster-mode 2 --kmer-per-seq 21"),
        ("esm3", "--min-seq-id 0.7 -c 0.8 --cov-mode 1 --cluster-mode 2 --kmer-per-seq 100"),
        ("bfd", "--min-seq-id 0.3 -c 0.9 --cov-mode 1 --cluster-mode 3 --kmer-per-seq 21"),
    ],
)
def test_presets(name, flags):
    (level,) = chosen_levels([name], [], {"coverage": None})
    assert told(level).startswith(flags)
    assert name in PRESETS


def test_levels_are_sorted_and_options_hold_for_all():
    levels = chosen_levels(["uniref90", "uniref50"], [], {"coverage": 0.6, "cov_mode": None})
    assert [level["min_seq_id"] for level in levels] == [0.5, 0.9]
    assert {level["coverage"] for level in levels} == {0.6}
    assert {level["cov_mode"] for level in levels} == {1}
    assert [level["min_seq_id"] for level in chosen_levels([], [0.9, 0.3, 0.5], {})] == [0.3, 0.5, 0.9]


@pytest.mark.parametrize(("cov_mode", "cluster_mode"), [(0, 0), (1, 3), (2, 3), (5, 0)])
def test_the_cluster_mode_is_always_told(cov_mode, cluster_mode):
    level = ClusterLevel(min_seq_id=0.5, cov_mode=cov_mode)
    assert f"--cluster-mode {cluster_mode} " in told(level)
    assert "--cluster-mode 1 " in told(level.model_copy(update={"cluster_mode": 1}))


def test_cascaded_clustering_and_splitting_are_told():
    level = ClusterLevel(min_seq_id=0.3)
    config = ClusterConfig(levels=(level,), method="cluster", sensitivity=7.5, split_memory_limit=10**9)
    assert config.clustering(0).module == "cluster"
    assert config.clustering(0).arguments[-4:] == ["--split-memory-limit", "1000000000B", "-s", "7.5"]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"levels": [{"min_seq_id": 0.5}], "existing": ["x"]},
        {"levels": [{"min_seq_id": 0.9}, {"min_seq_id": 0.5}]},
        {"levels": [{"min_seq_id": 0.5}, {"min_seq_id": 0.5}]},
        {"levels": [{"min_seq_id": 0.5}], "sensitivity": 5},
        {"levels": [{"min_seq_id": 0.5}], "split_memory_limit": 5},
        {"levels": [{"min_seq_id": 0.5, "cov_mode": 6}]},
        {"levels": [{}]},
    ],
)
def test_what_makes_no_sense_is_refused(values):
    with pytest.raises(ValidationError):
        ClusterConfig(**values)


def test_one_way_of_saying_it():
    for presets, identities in (([], []), (["uniref50"], [0.5])):
        with pytest.raises(ConfigurationError, match="one of them only"):
            chosen_levels(presets, identities, {})
    with pytest.raises(ConfigurationError, match="--preset uniref: expected one of"):
        chosen_levels(["uniref"], [], {})


def test_benchmarks_come_first_then_test_then_valid():
    def searched(split, **purge):
        return ClusterConfig(levels=({"min_seq_id": 0.5},), split=split, purge=purge).searched

    benchmarks = {"b": "b.fasta", "a": "a.fasta"}
    assert searched({"valid_fraction": 0.1}, benchmarks=benchmarks) == ("a", "b", "test", "valid")
    assert searched({"pinned": "splits.parquet"}) == ("test", "valid")
    assert searched({"test_fraction": 0.1}, benchmarks=benchmarks, held_out=False) == ("a", "b")
    assert searched({}) == ()


def test_a_search_is_told_what_was_asked():
    purge = {"min_seq_id": 0.7, "coverage": 0.5, "sensitivity": 5.7}
    search = ClusterConfig(levels=({"min_seq_id": 0.5},), purge=purge, split_memory_limit=2 * 10**9).search
    assert " ".join(search.arguments).startswith("--min-seq-id 0.7 -c 0.35 --cov-mode 0 --alignment-mode 3")
    assert "-s 5.7 -k 6 --mask 0" in " ".join(search.prefilter_arguments)
    assert search.prefilter_arguments[-2:] == ["--split-memory-limit", "2000000000B"]
