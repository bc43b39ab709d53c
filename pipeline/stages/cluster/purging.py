"""The rounds that exclude what is similar to the held-out splits, and to benchmarks."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pipeline.cluster_config import ClusterConfig
from pipeline.engines.mmseqs import MemoryNeed, check_memory
from pipeline.engines.mmseqs_search import LEAST_SPLIT_BYTES, memory_needed_to_search
from pipeline.engines.stage import Round, Task, TaskResult, total
from pipeline.formats.clusters import CLUSTER_SPLITS, SIMILAR_TO, TEST, TRAIN, VALID
from pipeline.stages.cluster.layout import CorpusLayout
from pipeline.stages.cluster.purge import Standing, search_parts, write_benchmark, write_held_out
from pipeline.stages.cluster.rounds import for_each, scratch_of

RECORDS_PER_SEARCH = 4_000_000
"""Records that are searched at once, or as many as one part has: bounds what mmseqs keeps on disk."""

Hits = list[tuple[str, list[str]]]
"""Reasons, and the exchange files of the records that are excluded for each."""

_QUERIED = {VALID: (TRAIN,), TEST: (TRAIN, VALID)}
"""Which splits are searched against one that is held out; against benchmarks, all are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Who searches, and with what."""

    program: Path
    """mmseqs."""
    num_threads: int
    memory: int | None
    """Bytes that it may use; None: what the machine grants."""
    beside: int
    """Bytes of our processes that wait for it."""

    def checked(self, config: ClusterConfig, *, num_queries: int, num_targets: int, target_residues: int) -> MemoryNeed:
        """Memory that a search will need.

        Raises:
            ConfigurationError: It does not fit.
        """
        need = memory_needed_to_search(
            config.search,
            num_queries=num_queries,
            num_targets=num_targets,
            target_residues=target_residues,
            num_threads=self.num_threads,
        )
        check_memory(need, self.memory, beside=self.beside, what="the purge", least_piece=LEAST_SPLIT_BYTES)
        return need


def purge(
    config: ClusterConfig, corpus: CorpusLayout, ranked: Sequence[str], machine: Machine | None
) -> Generator[Round, list[TaskResult], Hits]:
    """Search records against benchmarks, test and valid.

    Args:
        config: What is asked for.
        corpus: Where the records are.
        ranked: Exchange files of the coarsest level, by the part of the record.
        machine: Who searches; None where there is nothing to search.
    """
    hits: Hits = []
    if machine is None:
        return hits
    for name in config.searched:
        standing = Standing(ranked=ranked, hits=[files for _, files in hits])
        targets = yield _targets(config, corpus, name, standing)
        found = total(targets, "counts")
        files: list[str] = []
        for parts in _chunks(corpus) if found["targets"] else ():
            need = machine.checked(
                config,
                num_queries=corpus.starts[parts[-1] + 1] - corpus.starts[parts[0]],
                num_targets=found["targets"],
                target_residues=found["residues"],
            )
            of_parts = f"similar-{name}-{parts[0]:05d}"
            arguments = {
                "corpus": corpus,
                "parts": parts,
                "name": of_parts,
                "search": config.search,
                "program": str(machine.program),
                "num_threads": machine.num_threads,
                "queried": [CLUSTER_SPLITS.index(split) for split in _QUERIED.get(name, CLUSTER_SPLITS)],
                "targets": scratch_of(targets),
                "standing": standing,
            }
            label = f"mmseqs search for {name}, about {need.total / 1e6:,.0f} MB of memory"
            task = Task(name=of_parts, function=search_parts, arguments=arguments)
            files += scratch_of((yield Round(label=label, tasks=[task])))
        hits.append((f"{SIMILAR_TO}{name}", files))
    return hits


def _targets(config: ClusterConfig, corpus: CorpusLayout, name: str, standing: Standing) -> Round:
    """The sequences that records are searched against."""
    if name in config.purge.benchmarks:
        arguments = {"name": name, "path": config.purge.benchmarks[name]}
        return Round(label=name, tasks=[Task(name=f"targets-{name}", function=write_benchmark, arguments=arguments)])
    held_out = {"name": name, "split": CLUSTER_SPLITS.index(name), "standing": standing}
    return for_each(f"{name}-held-out", write_held_out, corpus, "part", held_out)


def _chunks(corpus: CorpusLayout) -> Iterator[list[int]]:
    """Consecutive parts that are searched at once."""
    chunk: list[int] = []
    num_records = 0
    for part, (start, end) in enumerate(pairwise(corpus.starts)):
        if chunk and num_records + end - start > RECORDS_PER_SEARCH:
            yield chunk
            chunk, num_records = [], 0
        chunk.append(part)
        num_records += end - start
    yield chunk
