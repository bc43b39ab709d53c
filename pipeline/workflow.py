"""A recipe from end to end: what ``pipeline run`` does.

::

    OUT/corpus/  ──▶  OUT/clusters/  ──▶  OUT/plan/  ──▶  OUT/shards/  ──▶  verify  ──▶  one epoch of batches
     ingest           cluster              pack            shard
                      (if asked for)       plan-0/ …           shards-0/ … where there are several epochs
                                           plan-512/ …         shards-512/ … where there are several lengths

Each stage does only what is missing, so a recipe may be run again after an interruption or a change of its last stages.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import PackConfig
from pipeline.core.tokenizer import load_tokenizer
from pipeline.engines.execution import Executor
from pipeline.engines.runner import StageOutcome, run_stage
from pipeline.engines.stage import Stage, Watcher
from pipeline.formats.manifest import Manifest
from pipeline.recipe import Recipe, StreamConfig
from pipeline.stages.cluster.stage import Cluster
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.pack.choice import check_sampling
from pipeline.stages.pack.stage import Pack
from pipeline.stages.shard import Shard
from pipeline.stages.verify.stage import Report, verify
from pipeline.streaming.batches import DEFAULT_COLUMNS, check_columns
from pipeline.streaming.objectives import as_objective, check_objective
from pipeline.streaming.orders import check_order
from pipeline.streaming.reader import PackedReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One epoch read back."""

    batches: int
    rows: int
    tokens: int
    """Tokens that are not padding."""
    places: int
    """Tokens with padding: what a model is given."""
    whole_places: int
    """The same if no batch were cut to its longest row."""
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens that are not padding, per second."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def padding(self) -> float:
        """The fraction of what a model is given that is padding."""
        return 1 - self.tokens / self.places if self.places else 0.0

    @property
    def places_per_token(self) -> float:
        """What a model is given for each token that is not padding: 1 where nothing is wasted."""
        return self.places / self.tokens if self.tokens else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochOutcome:
    """Plan and shards: all there are, or those of one epoch of one phase of several."""

    length: int
    """Tokens in a row."""
    plan: StageOutcome
    plan_folder: Path
    shards: StageOutcome
    shards_folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOutcome:
    """What a run came to."""

    folder: Path
    corpus: StageOutcome
    clusters: StageOutcome | None
    epochs: tuple[EpochOutcome, ...]
    """Phase by phase, one epoch after another; one only, unless the recipe asks for several."""
    reports: tuple[Report, ...]
    """Verification of corpus, clusters, plans and shards; empty when the recipe asks for none."""
    reading: Reading | None
    reader: dict[str, Any]
    """What a reader is given for this: ``PackedDataset(shards, **reader)``."""

    @property
    def plan(self) -> StageOutcome:
        """The plan, of the first epoch."""
        return self.epochs[0].plan

    @property
    def shards(self) -> StageOutcome:
        """The shards, of the first epoch."""
        return self.epochs[0].shards

    @property
    def phases(self) -> dict[int, tuple[Path, ...]]:
        """What a trainer opens in each phase, by the length of its rows: the shards of successive epochs."""
        return {
            length: tuple(epoch.shards_folder for epoch in self.epochs if epoch.length == length)
            for length in dict.fromkeys(epoch.length for epoch in self.epochs)
        }

    @property
    def shards_folders(self) -> tuple[Path, ...]:
        """What a trainer opens first: successive epochs."""
        return self.phases[self.epochs[0].length]

    @property
    def manifest(self) -> Manifest:
        """Manifest of the shards, of the first epoch."""
        return self.shards.manifest


def run_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    executor: Executor,
    watcher: Watcher,
    overwrite: bool = False,
    largest_task: tuple[int | None, int | None] = (None, None),
) -> RecipeOutcome:
    """Run every stage of a recipe, in order.

    Args:
        recipe: What to do.
        folder: Where the artefacts go.
        executor: Who does it.
        watcher: Who is told how far it is.
        overwrite: Throw away artefacts of another configuration that are in the way.
        largest_task: Bytes and threads that mmseqs may use; None: what the machine grants.

    Raises:
        PipelineError: Whatever a stage raises; what was finished is kept.
    """
    check_recipe(recipe)
    corpus = folder / "corpus"
    clusters = folder / "clusters" if recipe.cluster is not None else None
    memory, num_threads = largest_task
    # Made first, because it says at once where mmseqs is needed and not installed.
    grouping = Cluster(corpus, recipe.cluster, memory=memory, num_threads=num_threads) if recipe.cluster else None

    def make(stage: Stage, place: Path) -> StageOutcome:
        return run_stage(stage, place, executor=executor, watcher=watcher, overwrite=overwrite)

    corpus_made = make(Ingest(recipe.ingest), corpus)
    clusters_made = make(grouping, clusters) if grouping is not None and clusters is not None else None

    def make_epoch(config: PackConfig, suffix: str) -> EpochOutcome:
        plan, shards = folder / f"plan{suffix}", folder / f"shards{suffix}"
        return EpochOutcome(
            length=config.length,
            plan=make(Pack(corpus, config, clusters=clusters), plan),
            plan_folder=plan,
            shards=make(Shard(plan, recipe.shard), shards),
            shards_folder=shards,
        )

    epochs = tuple(make_epoch(config, suffix) for config, suffix in _epochs(recipe))
    packed = [place for epoch in epochs for place in (epoch.plan_folder, epoch.shards_folder)]
    places = [corpus, *([clusters] if clusters is not None else []), *packed] if recipe.verify else []
    reports = tuple(verify(place, executor=executor, watcher=watcher) for place in places)
    is_sound = all(report.is_sound for report in reports)
    first_phase = [epoch.shards_folder for epoch in epochs if epoch.length == epochs[0].length]
    return RecipeOutcome(
        folder=folder,
        corpus=corpus_made,
        clusters=clusters_made,
        epochs=epochs,
        reports=reports,
        reader=reader_arguments(recipe.stream or StreamConfig()),
        reading=read_epoch(first_phase, recipe.stream) if recipe.stream is not None and is_sound else None,
    )


def _epochs(recipe: Recipe) -> list[tuple[PackConfig, str]]:
    """Each epoch of each phase as it is packed, and what its folders have behind their names."""
    first = recipe.pack.epoch
    return [
        (
            phase.model_copy(update={"epoch": epoch}),
            (f"-{phase.length}" if recipe.lengths else "") + (f"-{epoch}" if recipe.epochs > 1 else ""),
        )
        for phase in recipe.phases
        for epoch in range(first, first + recipe.epochs)
    ]


def check_recipe(recipe: Recipe) -> None:
    """What can be wrong in the last stage is told before the first one takes hours.

    Raises:
        ConfigurationError: An unknown tokenizer, schedule, rate or column, an objective that the tokenizer has no token
            for, columns that do not go with the order, or a draw from clusters that there are none of.
    """
    check_sampling(recipe.pack, has_clusters=recipe.cluster is not None)
    tokenizer = load_tokenizer(recipe.pack.tokenizer)
    for phase in recipe.phases:
        tokenizer.max_residues(phase.length)
    if recipe.stream is None:
        return
    check_columns(recipe.stream.columns, check_order(recipe.stream.order, shuffle=recipe.stream.shuffle))
    objective = as_objective(recipe.stream.objective)
    if objective is not None:
        is_concatenated = recipe.pack.algorithm == "concatenate"
        check_objective(objective, tokenizer.for_concatenation() if is_concatenated else tokenizer)


def reader_arguments(config: StreamConfig) -> dict[str, Any]:
    """What ``PackedReader`` and ``PackedDataset`` are given to read as a recipe says; its defaults are left out."""
    arguments = config.model_dump(mode="json", exclude_defaults=True)
    if config.columns:
        arguments["columns"] = tuple(dict.fromkeys((*DEFAULT_COLUMNS, *config.columns)))
    return {"batch_size": config.batch_size, **arguments}


def read_epoch(
    shards: Path | Sequence[Path], config: StreamConfig, clock: Callable[[], float] = time.perf_counter
) -> Reading:
    """Read one epoch as a trainer on one rank would, and count what came.

    Args:
        shards: The shards, or those of successive epochs, of which the first is read.
        config: What to read, and the objective.
        clock: Seconds; the first batch is inside the measurement.
    """
    started = clock()
    reader = PackedReader(shards, **reader_arguments(config))
    batches = rows = tokens = places = 0
    for batch in reader:
        batches += 1
        rows += len(batch["input_ids"])
        tokens += int(batch["num_tokens"].sum())
        places += batch["input_ids"].size
    return Reading(
        batches=batches,
        rows=rows,
        tokens=tokens,
        places=places,
        whole_places=rows * reader.length,
        seconds=clock() - started,
    )
