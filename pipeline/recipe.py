"""A recipe: a whole run in one TOML file, from the input to batches, as ``pipeline run`` does it.

::

    name, out, epochs, lengths
    [ingest] [cluster] [pack] [shard] [stream]      one table for each stage; all but ingest may be left out

``epochs`` and ``lengths`` multiply plan and shards: one each for every epoch of every phase of training.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.cluster_config import ClusterConfig
from pipeline.config import IngestConfig, PackConfig, ShardConfig, Tail, checked, split_source
from pipeline.errors import ConfigurationError


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class StreamConfig(_Model):
    """One epoch of batches, read as a trainer would."""

    split: Literal["train", "valid", "test"] = "train"
    """Which rows."""
    batch_size: int = Field(default=32, ge=1)
    """Rows in a batch of one rank."""
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    """Seed of order and masks."""
    shuffle: bool = True
    """Whether rows come in a seeded order or as they are stored."""
    order: Literal["shuffled", "stored", "contiguous", "bucketed"] | None = None
    """Instead of `shuffle`: contiguous for models with a memory, bucketed for rows that are stored by length."""
    trim: Literal["batch"] | None = None
    """Whether the rows of a batch are cut to the longest, rounded up to a multiple of 8."""
    objective: str | float | None = None
    """An objective by name, or mask rate, or name of a noise schedule, of masked LM; none: plain batches."""
    columns: tuple[str, ...] = ()
    """What batches hold besides the usual columns: position_ids, token_dropout_scale, chain_id, …"""
    sequence_ids: Literal["zero-based", "one-based", "one-based-negative", "boolean"] = "zero-based"
    """How sequence_id numbers segments and marks padding; boolean for models that take one protein a row."""
    tail: Tail | None = None
    """What becomes of the last rows; by default repeat for train, pad otherwise."""


class Recipe(_Model):
    """A whole run: ``pipeline run recipe.toml``."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the run, and its folder when ``out`` is not given."""
    out: str | None = None
    """Folder of the artefacts, relative to where the command runs; by default build/NAME."""
    epochs: int = Field(default=1, ge=1)
    """How many plans and shards to make: of several, each has an epoch, plan-EPOCH/ and shards-EPOCH/, from that of
    `pack` on."""
    lengths: tuple[int, ...] = ()
    """Tokens in a row in successive phases of training, instead of `pack.length`: each has plan-LENGTH/ and
    shards-LENGTH/, with the epoch behind it where there are several."""
    ingest: IngestConfig
    """FASTA to corpus."""
    cluster: ClusterConfig | None = None
    """Corpus to clusters, which split and weight it; none: everything is train."""
    pack: PackConfig = PackConfig()
    """Corpus to plan."""
    shard: ShardConfig = ShardConfig()
    """Plan to shards."""
    verify: bool = True
    """Prove, from the files alone, that nothing was lost."""
    stream: StreamConfig | None = None
    """Read one epoch back and measure it."""

    @model_validator(mode="after")
    def _has_level(self) -> "Recipe":
        num_levels = len(self.cluster.levels) if self.cluster is not None else 0
        if num_levels and self.pack.level > num_levels:
            raise ValueError(f"pack.level {self.pack.level}: expected 1 to {num_levels}, the levels of cluster")
        return self

    @model_validator(mode="after")
    def _has_phases(self) -> "Recipe":
        if self.lengths and "length" in self.pack.model_fields_set:
            raise ValueError(f"lengths {list(self.lengths)}: expected no pack.length beside it")
        if len(set(self.lengths)) < len(self.lengths):
            raise ValueError(f"lengths: expected each length once, found {list(self.lengths)}")
        for length in self.lengths:
            PackConfig.model_validate({**self.pack.model_dump(), "length": length})
        return self

    @property
    def phases(self) -> tuple[PackConfig, ...]:
        """How each phase of training is packed: one, unless there are several lengths."""
        return tuple(self.pack.model_copy(update={"length": length}) for length in self.lengths) or (self.pack,)


def read_recipe(path: Path, *, files: Sequence[str] = ()) -> Recipe:
    """A recipe from a TOML file; input files in it become relative to where the command runs.

    Args:
        path: The file.
        files: Input files instead of those in the recipe, relative to where the command runs. What the recipe says of
            the licence, release and address of its own is left out.

    Raises:
        ConfigurationError: The file is missing, is no TOML, or is no recipe.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}", hint="check the path") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: expected TOML, found {error}") from error
    recipe: Recipe = checked(Recipe, document, where=str(path))
    tokenizer = recipe.pack.tokenizer
    if tokenizer.endswith(".json"):
        tokenizer = str(path.parent / tokenizer)
    return recipe.model_copy(
        update={
            "cluster": None if recipe.cluster is None else _clusters_beside(path, recipe.cluster),
            "ingest": _ingest_beside(path, recipe.ingest, files),
            "pack": recipe.pack.model_copy(update={"tokenizer": tokenizer}),
        }
    )


def _ingest_beside(recipe: Path, config: IngestConfig, files: Sequence[str]) -> IngestConfig:
    exclude = tuple(str(recipe.parent / name) for name in config.filters.exclude)
    update: dict[str, Any] = {"filters": config.filters.model_copy(update={"exclude": exclude})}
    if files:
        update |= {"files": tuple(files), "licence": None, "release": None, "url": None}
    else:
        update["files"] = tuple(_beside(recipe, entry) for entry in config.files)
    return config.model_copy(update=update)


def _clusters_beside(recipe: Path, config: ClusterConfig) -> ClusterConfig:
    pinned, benchmarks = config.split.pinned, config.purge.benchmarks
    split = {} if pinned is None else {"pinned": str(recipe.parent / pinned)}
    purge = {"benchmarks": {name: str(recipe.parent / file) for name, file in benchmarks.items()}}
    return config.model_copy(
        update={
            "existing": tuple(str(recipe.parent / name) for name in config.existing),
            "split": config.split.model_copy(update=split),
            "purge": config.purge.model_copy(update=purge),
        }
    )


def _beside(recipe: Path, entry: str) -> str:
    source, file = split_source(entry)
    resolved = str(recipe.parent / file)
    return resolved if source is None else f"{source}={resolved}"
