"""What the rounds of the cluster stage have in common."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.engines.stage import Round, Task, TaskResult
from pipeline.stages.cluster.layout import CorpusLayout
from pipeline.stages.cluster.names import EXAMPLES
from pipeline.stages.cluster.ranking import rank_bucket
from pipeline.stages.cluster.splits import Splitting

Ranking = Generator[Round, list[TaskResult], "Ranked"]
"""Rounds that end with all records ranked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """What is known when every record has its place in its clusters."""

    levels: Sequence[Sequence[TaskResult]]
    """Of ranking, coarsest first."""
    counts: dict[str, int] = field(default_factory=dict)
    """Of rows and records of existing clusters."""
    warnings: Sequence[str] = ()


def for_each(
    label: str,
    function: Callable[..., TaskResult],
    corpus: CorpusLayout,
    key: str,
    arguments: dict[str, Any],
    *,
    warnings: Sequence[str] = (),
) -> Round:
    """One task for each part, or for each of as many buckets."""
    tasks = [
        Task(name=f"{label}-{index:05d}", function=function, arguments={"corpus": corpus, key: index, **arguments})
        for index in range(corpus.num_parts)
    ]
    return Round(label=label.partition("-")[0], tasks=tasks, warnings=warnings)


def rank(level: int, corpus: CorpusLayout, assigned: Sequence[str], splitting: Splitting) -> Round:
    """Rank the members of all clusters of a level, and at the coarsest one decide their splits."""
    arguments = {"level": level, "assigned": assigned, "splitting": None if level else splitting}
    return for_each(f"rank-{level}", rank_bucket, corpus, "bucket", arguments)


def scratch_of(results: Sequence[TaskResult]) -> list[str]:
    """Intermediate files of some tasks."""
    return sorted(name for result in results for name in result.scratch)


def complaint(count: int, sentence: str, key: str, results: Sequence[TaskResult]) -> list[str]:
    """A sentence about something that does not fit, with names; none where there is nothing.

    Args:
        count: How often.
        sentence: What.
        key: Of the names among the values of ``results``.
        results: Tasks that found it.
    """
    names = {name for result in results for name in result.values.get(key, ())}
    return [f"{sentence}: {count:,}, such as {', '.join(sorted(names)[:EXAMPLES])}"] if count else []
