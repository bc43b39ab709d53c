"""What a person can ask of the cluster stage: levels for mmseqs, or clusters that exist already.

Presets are the parameters that published data sets were clustered with, as far as they are known.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.engines.mmseqs import CASCADED, LINCLUST, Clustering
from pipeline.engines.mmseqs_search import Search
from pipeline.errors import ConfigurationError
from pipeline.formats.clusters import TEST, VALID, is_weight


class Method(StrEnum):
    """How sequences are compared."""

    LINCLUST = LINCLUST
    """In time that grows with the number of sequences: only those that share a k-mer with the longest of its group."""
    CASCADED = CASCADED
    """Several rounds of all against all, each more sensitive: finds more below 50 % identity, and takes far longer."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ClusterLevel(_Model):
    """One level of clusters, by mmseqs."""

    min_seq_id: float = Field(ge=0, le=1)
    """Least identity of a member and its representative."""
    coverage: float = Field(default=0.8, ge=0, le=1)
    """Least fraction of residues that must be aligned; of what, the coverage mode says."""
    cov_mode: int = Field(default=0, ge=0, le=5)
    """Coverage 0: of both, 1: of the member, 2: of the representative; 3 to 5 compare lengths only."""
    cluster_mode: int | None = Field(default=None, ge=0, le=3)
    """0: set cover, 1: connected components, 2: by length, 3: by length in less memory; by default 0, or 3 where the
    coverage mode is 1 or 2, as mmseqs itself chooses."""
    kmer_per_seq: int = Field(default=21, ge=1, le=10_000)
    """k-mers of each sequence that linclust compares."""


class SplitConfig(_Model):
    """Which clusters are held out."""

    valid_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the clusters of the coarsest level that are valid."""
    test_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of them that are test."""
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    """Draws which: the same for every corpus in which a cluster has the same representative."""
    pinned: str | None = None
    """File of an earlier split, which holds for the clusters of the records in it."""

    @model_validator(mode="after")
    def _leaves_train(self) -> "SplitConfig":
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError(f"valid {self.valid_fraction:g} and test {self.test_fraction:g} leave nothing to train on")
        return self

    @property
    def holds_out(self) -> bool:
        """Whether anything can be valid or test."""
        return self.valid_fraction > 0 or self.test_fraction > 0 or self.pinned is not None


class PurgeConfig(_Model):
    """Which records are excluded, because they are similar to what a model will be tested on. As ESM-2's."""

    held_out: bool = True
    """Whether train is searched against valid and test, and valid against test."""
    benchmarks: dict[str, str] = {}
    """FASTA files by name: nothing that is similar to one of their proteins is in any split."""
    min_seq_id: float = Field(default=0.5, ge=0, le=1)
    """Least identity of similar sequences."""
    coverage: float = Field(default=0.8, ge=0, le=1)
    """Least fraction of both that is aligned."""
    sensitivity: float = Field(default=7.0, ge=1, le=7.5)
    """Of the search for candidates."""

    @model_validator(mode="after")
    def _names(self) -> "PurgeConfig":
        for name in self.benchmarks:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name in {VALID, TEST}:
                raise ValueError(
                    f"benchmarks: {name!r}: expected a name of letters, digits, dots, underscores and hyphens, and not "
                    f"{VALID} or {TEST}"
                )
        return self


class ClusterConfig(_Model):
    """Corpus to clusters."""

    levels: tuple[ClusterLevel, ...] = ()
    """What mmseqs is to do, coarsest first; each level is made of the representatives of the next finer one."""
    method: Method = Method.LINCLUST
    """How sequences are compared."""
    sensitivity: float | None = Field(default=None, ge=1, le=7.5)
    """Of cascaded clustering; by default 4."""
    split_memory_limit: int | None = Field(default=None, ge=1_000_000)
    """Bytes above which mmseqs works in pieces; by default never. It changes some clusters, and nothing of a search."""
    existing: tuple[str, ...] = ()
    """Instead: files that say which clusters there are. Of several tables each is a level, coarsest first."""
    split: SplitConfig = SplitConfig()
    """Which clusters are held out."""
    purge: PurgeConfig = PurgeConfig()
    """Which records are excluded for being similar to others."""
    weight: str = "1"
    """Probability with which an epoch keeps a record of train, by the size of its cluster at the coarsest level: 1,
    1/size, 1/sqrt(size), or cap:N, which keeps N of a cluster on average."""

    @model_validator(mode="after")
    def _one_way(self) -> "ClusterConfig":
        if bool(self.levels) == bool(self.existing):
            raise ValueError("expected levels for mmseqs, or existing clusters, and not both")
        identities = [level.min_seq_id for level in self.levels]
        if any(finer <= coarser for coarser, finer in pairwise(identities)):
            raise ValueError(f"levels: expected identities that differ, coarsest first, found {identities}")
        if self.sensitivity is not None and self.method is not Method.CASCADED:
            raise ValueError(f"sensitivity {self.sensitivity:g}: only cascaded clustering has one")
        if not is_weight(self.weight):
            raise ValueError(f"weight: expected 1, 1/size, 1/sqrt(size) or cap:N, found {self.weight!r}")
        return self

    @property
    def searched(self) -> tuple[str, ...]:
        """What records are searched against, in this order: benchmarks, then test, then valid."""
        held_out = (TEST, VALID) if self.purge.held_out and self.split.holds_out else ()
        return (*sorted(self.purge.benchmarks), *held_out)

    @property
    def search(self) -> Search:
        """What mmseqs is told when it searches."""
        purge = self.purge
        return Search(
            min_seq_id=purge.min_seq_id,
            coverage=purge.coverage,
            sensitivity=purge.sensitivity,
            split_memory_limit=self.split_memory_limit,
        )

    def clustering(self, level: int) -> Clustering:
        """What mmseqs is told for a level, 0 being the coarsest."""
        wanted = self.levels[level]
        cluster_mode = wanted.cluster_mode
        if cluster_mode is None:
            cluster_mode = 3 if wanted.cov_mode in {1, 2} else 0
        return Clustering(
            module=self.method.value,
            min_seq_id=wanted.min_seq_id,
            coverage=wanted.coverage,
            cov_mode=wanted.cov_mode,
            cluster_mode=cluster_mode,
            kmer_per_seq=wanted.kmer_per_seq,
            sensitivity=self.sensitivity,
            split_memory_limit=self.split_memory_limit,
        )


def chosen_levels(
    presets: Sequence[str], identities: Sequence[float], options: dict[str, Any]
) -> tuple[dict[str, Any], ...]:
    """Levels from presets or identities, coarsest first, as values of ``ClusterLevel``.

    Args:
        presets: Keys of ``PRESETS``.
        identities: Least identities instead.
        options: Fields of every level; None: as the preset or mmseqs has it.

    Raises:
        ConfigurationError: Both, neither, an unknown preset, or an identity twice.
    """
    if bool(presets) == bool(identities):
        raise ConfigurationError(
            "expected --preset, --min-seq-id or --existing, and one of them only",
            hint="such as --preset uniref50, or --min-seq-id 0.5, or both levels of UniRef: "
            "--preset uniref50 --preset uniref90",
        )
    if unknown := [name for name in presets if name not in PRESETS]:
        raise ConfigurationError(f"--preset {unknown[0]}: expected one of {', '.join(PRESETS)}")
    given = {key: value for key, value in options.items() if value is not None}
    levels = [{**PRESETS[name], **given} for name in presets] or [{"min_seq_id": each, **given} for each in identities]
    return tuple(sorted(levels, key=lambda level: level["min_seq_id"]))


def named_benchmarks(given: Sequence[str]) -> dict[str, str]:
    """FASTA files by name, from ``NAME=FASTA``.

    Raises:
        ConfigurationError: One is no such pair, or a name is there twice.
    """
    benchmarks: dict[str, str] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not name or not path or name in benchmarks:
            raise ConfigurationError(
                f"--decontaminate {text}: expected NAME=FASTA, each name once", hint="such as casp15=casp15.fasta.gz"
            )
        benchmarks[name] = path
    return benchmarks


def refuse_options_of_mmseqs(options: dict[str, Any]) -> None:
    """Refuse what says nothing about clusters that exist already.

    Args:
        options: By the name of the field; None, or the default: not given.

    Raises:
        ConfigurationError: One was given.
    """
    for name, value in options.items():
        if value not in {None, Method.LINCLUST}:
            option = f"--{name.replace('_', '-')}"
            raise ConfigurationError(
                f"{option} {value}: expected no option of mmseqs with --existing",
                hint=f"leave {option} out, or leave out --existing and let mmseqs make the clusters",
            )


OPTIONS_OF_ALL_LEVELS = ("method", "sensitivity", "split_memory_limit")
"""Fields of ``ClusterConfig`` that only mmseqs heeds; the last one also where it searches."""

PRESETS: dict[str, dict[str, Any]] = {
    "uniref90": {"min_seq_id": 0.9, "coverage": 0.8, "cov_mode": 1, "cluster_mode": 2},
    "uniref50": {"min_seq_id": 0.5, "coverage": 0.8, "cov_mode": 1, "cluster_mode": 2},
    "esm3": {"min_seq_id": 0.7, "coverage": 0.8, "cov_mode": 1, "cluster_mode": 2, "kmer_per_seq": 100},
    "bfd": {"min_seq_id": 0.3, "coverage": 0.9, "cov_mode": 1},
}
"""UniRef's README (80 % overlap with the longest sequence of the cluster; UniRef50 is made of UniRef90's seeds); the
ESM3 paper (70 %, 100 k-mers a sequence); BFD's 30 % and 90 % of the shorter one, where the flags are our choice."""
