"""The cluster stage: a corpus to the clusters of its records, by mmseqs or as others made them, row for row.

::

    mmseqs      for each level, finest first:  search ─▶ split ─▶ (compose) ─▶ name ─▶ rank ─┐
    existing    names, rows ─▶ join ─▶ decide ─▶ for each level:                       rank ─┴─▶ write

Every round but ``search`` is one task for each part or bucket, in memory that follows from one of them. mmseqs is one
task, uses all processors, and goes on from its last finished step when it was interrupted.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.cluster_config import ClusterConfig
from pipeline.engines.mmseqs import MemoryNeed, check_memory, find_mmseqs, memory_needed, mmseqs_version
from pipeline.engines.resources import granted_cpus
from pipeline.engines.stage import (
    Round,
    Rounds,
    Task,
    TaskResult,
    artefact_input,
    files_of,
    relative_path,
    total,
)
from pipeline.errors import ConfigurationError
from pipeline.formats.manifest import Input, Kind, Manifest, Run, make_manifest, read_manifest
from pipeline.formats.memberships import HIERARCHY, TABLE, detect_memberships
from pipeline.formats.storage import file_digest
from pipeline.stages.cluster.existing import (
    EXAMPLES,
    decide_part,
    join_bucket,
    name_records,
    read_rows,
)
from pipeline.stages.cluster.layout import CorpusLayout, corpus_layout
from pipeline.stages.cluster.ranking import assigned_name, rank_bucket, write_part
from pipeline.stages.cluster.search import compose_part, name_part, search_level, split_pairs

_PROCESS_BYTES = 130_000_000
"""Of a process of ours with Arrow loaded, which waits for mmseqs."""


class Cluster:
    """Stage: ``corpus/`` to ``clusters/``.

    Args:
        corpus: The corpus.
        config: What is asked for.
        memory: Bytes that mmseqs may use; None: what the machine grants.
        num_threads: Threads of mmseqs; None: the processors granted.
    """

    kind: Kind = "clusters"

    def __init__(
        self, corpus: Path, config: ClusterConfig, *, memory: int | None = None, num_threads: int | None = None
    ) -> None:
        self.corpus = corpus
        self.config = config
        self._memory = memory
        self._num_threads = num_threads or granted_cpus()
        self._program = find_mmseqs() if config.levels else None
        # Asked before there is any work: one that was built for another processor says nothing at all.
        self._version = mmseqs_version(self._program) if self._program is not None else None

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        """None: the inputs are identified by their manifests, or mmseqs comes first."""
        return ()

    def describe(self, folder: Path) -> Run:
        """Configuration, the corpus, and the digests of files with existing clusters."""
        manifest = read_manifest(self.corpus, kind="corpus")
        if self._program is None:
            self._num_existing_levels()
        else:
            for level in range(len(self.config.levels)):
                # Workers wait for the second level, when they have ranked the first.
                num_waiting = 1 if len(self.config.levels) == 1 else 1 + self._num_threads
                need = self._memory_needed(level, manifest)
                check_memory(need, self._memory, beside=num_waiting * _PROCESS_BYTES)
        return Run(kind=self.kind, configuration=self._configuration(), inputs=self._inputs(folder, manifest))

    def _configuration(self) -> dict[str, Any]:
        # What existing files hold counts, and is among the inputs; where they are does not.
        return self.config.model_dump(mode="json", exclude={"existing"}) | {
            "existing": [detect_memberships(Path(name)) for name in self.config.existing],
            "parameters": [
                " ".join([self.config.method.value, *self.config.clustering(level).arguments])
                for level in range(len(self.config.levels))
            ],
        }

    def _inputs(self, folder: Path, manifest: Manifest) -> tuple[Input, ...]:
        files = [
            Input(
                kind="file",
                fingerprint=file_digest(Path(name), bits=128)[1],
                path=relative_path(Path(name), folder),
            )
            for name in self.config.existing
        ]
        return (artefact_input(self.corpus, manifest, folder), *files)

    def _memory_needed(self, level: int, manifest: Manifest) -> MemoryNeed:
        return memory_needed(
            self.config.clustering(level),
            num_records=manifest.counts["records"],
            num_residues=manifest.counts["residues"],
            num_threads=self._num_threads,
        )

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """Assign every record to clusters, then rank members and write parts."""
        del worker_bytes  # a task holds one part, and the corpus decides how large that is
        manifest = read_manifest(self.corpus, kind="corpus")
        corpus = corpus_layout(self.corpus, manifest.tables)
        assign = self._search if self._program is not None else self._adopt
        ranked = yield from assign(corpus, manifest)
        names = [_scratch(results) for results in ranked.levels]
        written = yield _round("write", write_part, corpus, "part", {"ranked": names}, warnings=ranked.warnings)
        counts = ranked.counts | total([result for level in ranked.levels for result in level], "counts")
        made = make_manifest(
            self.kind,
            configuration=self._configuration(),
            inputs=self._inputs(folder, manifest),
            files=files_of(written),
            counts=dict(sorted((counts | total(written, "counts")).items())),
            reasons={},
            provenance=manifest.provenance,
        )
        if self._version is None:
            return made
        return made.model_copy(update={"software": made.software | {"mmseqs": self._version}})

    def _search(self, corpus: CorpusLayout, manifest: Manifest) -> Generator[Round, list[TaskResult], "_Ranked"]:
        levels: list[list[TaskResult]] = []
        finer: list[str] = []
        for level in reversed(range(len(self.config.levels))):
            pairs = yield from self._search_level(level, finer, corpus, manifest)
            if finer:
                arguments = {"level": level, "finer": finer, "coarser": pairs}
                pairs = _scratch((yield _round(f"compose-{level}", compose_part, corpus, "part", arguments)))
            named = yield _round(f"name-{level}", name_part, corpus, "part", {"level": level, "pairs": pairs})
            levels.append((yield _rank(level, corpus, _scratch(named))))
            finer = pairs
        return _Ranked(levels=levels[::-1])

    def _search_level(
        self, level: int, finer: Sequence[str], corpus: CorpusLayout, manifest: Manifest
    ) -> Generator[Round, list[TaskResult], list[str]]:
        name = f"level-{level}"
        search = {
            "corpus": corpus,
            "clustering": self.config.clustering(level),
            "name": name,
            "program": str(self._program),
            "num_threads": self._num_threads,
            "finer": finer,
        }
        # Only the finest level sees all records; how many the others see is not known before.
        about = "at most" if finer else "about"
        needed = self._memory_needed(level, manifest).total / 1e6
        label = f"mmseqs {self.config.method.value}, {about} {needed:,.0f} MB of memory"
        yield Round(label=label, tasks=[Task(name=f"search-{level}", function=search_level, arguments=search)])
        split = {"corpus": corpus, "name": name, "by": "member" if finer else "representative"}
        return _scratch(
            (yield Round(label="split", tasks=[Task(name=f"split-{level}", function=split_pairs, arguments=split)]))
        )

    def _adopt(self, corpus: CorpusLayout, manifest: Manifest) -> Generator[Round, list[TaskResult], "_Ranked"]:
        del manifest
        names = yield _round("names", name_records, corpus, "part", {})
        kinds = sorted({kind for result in names for kind in result.values["kinds"]})
        tasks = [
            Task(
                name=f"rows-{index:05d}",
                function=read_rows,
                arguments={"corpus": corpus, "path": path, "index": index, "level": index, "kinds": kinds},
            )
            for index, path in enumerate(self.config.existing)
        ]
        rows = yield Round(label="read clusters", tasks=tasks)
        arguments = {"names": _scratch(names), "rows": _scratch(rows)}
        joined = yield _round("join", join_bucket, corpus, "bucket", arguments)
        num_levels = self._num_existing_levels()
        found = {"num_levels": num_levels, "found": _scratch(joined)}
        decided = yield _round("decide", decide_part, corpus, "part", found)
        counts = total([*rows, *joined, *decided], "counts")
        levels = []
        for level in range(num_levels):
            assigned = [assigned_name(level, part) for part in range(corpus.num_parts)]
            levels.append((yield _rank(level, corpus, assigned)))
        not_nested = sum(result.counts.get("clusters_not_nested_2", 0) for result in levels[-1])
        warnings = _complaints(counts, [*joined, *decided]) + _nesting_complaint(not_nested)
        return _Ranked(levels=levels, counts=counts, warnings=warnings)

    def _num_existing_levels(self) -> int:
        kinds = [detect_memberships(Path(name)) for name in self.config.existing]
        if set(kinds) == {TABLE}:
            return len(kinds)
        if TABLE in kinds:
            raise ConfigurationError(
                f"--existing: expected tables of two columns, or files of UniRef's hierarchy, found {', '.join(kinds)}"
            )
        return len(HIERARCHY)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranked:
    """What is known when every record has its place in its clusters."""

    levels: Sequence[Sequence[TaskResult]]
    """Of ranking, coarsest first."""
    counts: dict[str, int] = field(default_factory=dict)
    """Of rows and records of existing clusters."""
    warnings: Sequence[str] = ()


def _round(
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


def _rank(level: int, corpus: CorpusLayout, assigned: Sequence[str]) -> Round:
    return _round(f"rank-{level}", rank_bucket, corpus, "bucket", {"level": level, "assigned": assigned})


def _scratch(results: Sequence[TaskResult]) -> list[str]:
    return sorted(name for result in results for name in result.scratch)


def _complaints(counts: dict[str, int], results: Sequence[TaskResult]) -> list[str]:
    """What did not fit together, with names."""
    told = [
        ("rows_unknown", "unknown", "rows of existing clusters that name no record of the corpus"),
        (
            "rows_contradictory",
            "contradictory",
            "rows that contradict another about the same name (the smallest representative counts)",
        ),
        ("records_unlisted", "unlisted", "records in no row (each is a cluster of its own, unless one has its name)"),
    ]
    complaints = []
    for count, key, sentence in told:
        examples = sorted({name for result in results for name in result.values.get(key, ())})[:EXAMPLES]
        if counts[count]:
            complaints.append(f"{sentence}: {counts[count]:,}, such as {', '.join(examples)}")
    return complaints


def _nesting_complaint(num_clusters: int) -> list[str]:
    if not num_clusters:
        return []
    return [f"the levels do not nest: clusters of a finer one that are in several of the coarser: {num_clusters:,}"]
