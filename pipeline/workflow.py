"""A recipe from end to end: what ``pipeline run`` does.

::

    OUT/corpus/  ──▶  OUT/plan/  ──▶  OUT/shards/  ──▶  verify  ──▶  one epoch of batches
     ingest           pack             shard

Each stage does only what is missing, so a recipe may be run again after an interruption or a change of its last stages.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Recipe, StreamConfig
from pipeline.core.tokenizer import load_tokenizer
from pipeline.engines.execution import Executor
from pipeline.engines.runner import StageOutcome, run_stage
from pipeline.engines.stage import Stage, Watcher
from pipeline.formats.manifest import Manifest
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.pack.stage import Pack
from pipeline.stages.shard import Shard
from pipeline.stages.verify.stage import Report, verify
from pipeline.streaming.objectives import as_objective, check_objective
from pipeline.streaming.reader import PackedReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One epoch read back."""

    batches: int
    rows: int
    tokens: int
    """Tokens that are not padding."""
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens that are not padding, per second."""
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOutcome:
    """What a run came to."""

    folder: Path
    corpus: StageOutcome
    plan: StageOutcome
    shards: StageOutcome
    reports: tuple[Report, ...]
    """Verification of corpus, plan and shards; empty when the recipe asks for none."""
    reading: Reading | None

    @property
    def shards_folder(self) -> Path:
        """What a trainer opens."""
        return self.folder / "shards"

    @property
    def manifest(self) -> Manifest:
        """Manifest of the shards."""
        return self.shards.manifest


def run_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    executor: Executor,
    watcher: Watcher,
    overwrite: bool = False,
) -> RecipeOutcome:
    """Run every stage of a recipe, in order.

    Args:
        recipe: What to do.
        folder: Where the artefacts go.
        executor: Who does it.
        watcher: Who is told how far it is.
        overwrite: Throw away artefacts of another configuration that are in the way.

    Raises:
        PipelineError: Whatever a stage raises; what was finished is kept.
    """
    check_recipe(recipe)
    corpus, plan, shards = folder / "corpus", folder / "plan", folder / "shards"

    def make(stage: Stage, place: Path) -> StageOutcome:
        return run_stage(stage, place, executor=executor, watcher=watcher, overwrite=overwrite)

    corpus_made = make(Ingest(recipe.ingest), corpus)
    plan_made = make(Pack(corpus, recipe.pack), plan)
    shards_made = make(Shard(plan, recipe.shard), shards)
    places = (corpus, plan, shards) if recipe.verify else ()
    reports = tuple(verify(place, executor=executor, watcher=watcher) for place in places)
    is_sound = all(report.is_sound for report in reports)
    reading = read_epoch(shards, recipe.stream) if recipe.stream is not None and is_sound else None
    return RecipeOutcome(
        folder=folder,
        corpus=corpus_made,
        plan=plan_made,
        shards=shards_made,
        reports=reports,
        reading=reading,
    )


def check_recipe(recipe: Recipe) -> None:
    """What can be wrong in the last stage is told before the first one takes hours.

    Raises:
        ConfigurationError: An unknown tokenizer, schedule or rate, or an objective that the tokenizer has no token for.
    """
    tokenizer = load_tokenizer(recipe.pack.tokenizer)
    tokenizer.max_residues(recipe.pack.length)
    objective = as_objective(recipe.stream.objective) if recipe.stream is not None else None
    if objective is not None:
        check_objective(objective, tokenizer)


def read_epoch(shards: Path, config: StreamConfig, clock: Callable[[], float] = time.perf_counter) -> Reading:
    """Read one epoch as a trainer on one rank would, and count what came.

    Args:
        shards: The shards.
        config: What to read, and the objective.
        clock: Seconds; the first batch is inside the measurement.
    """
    started = clock()
    reader = PackedReader(
        shards,
        split=config.split,
        batch_size=config.batch_size,
        seed=config.seed,
        shuffle=config.shuffle,
        objective=config.objective,
        tail=config.tail,
    )
    batches = rows = tokens = 0
    for batch in reader:
        batches += 1
        rows += len(batch["input_ids"])
        tokens += int(batch["num_tokens"].sum())
    return Reading(batches=batches, rows=rows, tokens=tokens, seconds=clock() - started)
