"""What a person can ask of the cluster stage: levels for mmseqs, or clusters that exist already.

Presets are the parameters that published data sets were clustered with, as far as they are known.
"""

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.engines.mmseqs import CASCADED, LINCLUST, Clustering
from pipeline.errors import ConfigurationError


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


class ClusterConfig(_Model):
    """Corpus to clusters."""

    levels: tuple[ClusterLevel, ...] = ()
    """What mmseqs is to do, coarsest first; each level is made of the representatives of the next finer one."""
    method: Method = Method.LINCLUST
    """How sequences are compared."""
    sensitivity: float | None = Field(default=None, ge=1, le=7.5)
    """Of cascaded clustering; by default 4."""
    split_memory_limit: int | None = Field(default=None, ge=1_000_000)
    """Bytes above which mmseqs works in pieces; by default never. It changes some clusters."""
    existing: tuple[str, ...] = ()
    """Instead: files that say which clusters there are. Of several tables each is a level, coarsest first."""

    @model_validator(mode="after")
    def _one_way(self) -> "ClusterConfig":
        if bool(self.levels) == bool(self.existing):
            raise ValueError("expected levels for mmseqs, or existing clusters, and not both")
        identities = [level.min_seq_id for level in self.levels]
        if any(finer <= coarser for coarser, finer in pairwise(identities)):
            raise ValueError(f"levels: expected identities that differ, coarsest first, found {identities}")
        if self.sensitivity is not None and self.method is not Method.CASCADED:
            raise ValueError(f"sensitivity {self.sensitivity:g}: only cascaded clustering has one")
        return self

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
"""Fields of ``ClusterConfig`` that only mmseqs heeds."""

PRESETS: dict[str, dict[str, Any]] = {
    "uniref90": {"min_seq_id": 0.9, "coverage": 0.8, "cov_mode": 1, "cluster_mode": 2},
    "uniref50": {"min_seq_id": 0.5, "coverage": 0.8, "cov_mode": 1, "cluster_mode": 2},
    "esm3": {"min_seq_id": 0.7, "coverage": 0.8, "cov_mode": 1, "cluster_mode": 2, "kmer_per_seq": 100},
    "bfd": {"min_seq_id": 0.3, "coverage": 0.9, "cov_mode": 1},
}
"""UniRef's README (80 % overlap with the longest sequence of the cluster; UniRef50 is made of UniRef90's seeds); the
ESM3 paper (70 %, 100 k-mers a sequence); BFD's 30 % and 90 % of the shorter one, where the flags are our choice."""
