"""The rounds that let mmseqs make clusters, one level within the other."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from pipeline.cluster_config import ClusterConfig
from pipeline.engines.mmseqs import MemoryNeed
from pipeline.engines.stage import Round, Task, TaskResult
from pipeline.stages.cluster.layout import CorpusLayout
from pipeline.stages.cluster.rounds import Ranked, Ranking, for_each, rank, scratch_of
from pipeline.stages.cluster.search import compose_part, name_part, search_level, split_pairs
from pipeline.stages.cluster.splits import Splitting


def make_levels(
    config: ClusterConfig,
    corpus: CorpusLayout,
    splitting: Splitting,
    *,
    program: Path,
    num_threads: int,
    needed: Callable[[int], MemoryNeed],
) -> Ranking:
    """Cluster a corpus and rank the members.

    Args:
        config: Which levels.
        corpus: Where the records are.
        splitting: What decides the splits of the coarsest clusters.
        program: mmseqs.
        num_threads: Threads of mmseqs.
        needed: Memory that a level needs.
    """
    levels: list[list[TaskResult]] = []
    finer: list[str] = []
    for level in reversed(range(len(config.levels))):
        search = {
            "corpus": corpus,
            "clustering": config.clustering(level),
            "name": f"level-{level}",
            "program": str(program),
            "num_threads": num_threads,
            "finer": finer,
        }
        # Only the finest level sees all records; how many the others see is not known before.
        about = "at most" if finer else "about"
        label = f"mmseqs {config.method.value}, {about} {needed(level).total / 1e6:,.0f} MB of memory"
        yield Round(label=label, tasks=[Task(name=f"search-{level}", function=search_level, arguments=search)])
        pairs = yield from _pairs(level, corpus, finer)
        named = yield for_each(f"name-{level}", name_part, corpus, "part", {"level": level, "pairs": pairs})
        levels.append((yield rank(level, corpus, scratch_of(named), splitting)))
        finer = pairs
    return Ranked(levels=levels[::-1])


def _pairs(level: int, corpus: CorpusLayout, finer: Sequence[str]) -> Generator[Round, list[TaskResult], list[str]]:
    """Pairs of representative and member of a level, for all records."""
    split = {"corpus": corpus, "name": f"level-{level}", "by": "member" if finer else "representative"}
    task = Task(name=f"split-{level}", function=split_pairs, arguments=split)
    pairs = scratch_of((yield Round(label="split", tasks=[task])))
    if not finer:
        return pairs
    arguments = {"level": level, "finer": finer, "coarser": pairs}
    return scratch_of((yield for_each(f"compose-{level}", compose_part, corpus, "part", arguments)))
