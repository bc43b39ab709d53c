"""The cluster stage: a corpus to the clusters of its records, by mmseqs or as others made them, row for row.

::

    pinned      earlier split ─▶ a mark for each record
    mmseqs      for each level, finest first:  search ─▶ split ─▶ (compose) ─▶ name ─▶ rank ─┐
    existing    names, rows ─▶ join ─▶ decide ─▶ for each level:                       rank ─┤
                                                                                             └─▶ purge ─▶ write

The coarsest level decides the splits when it is ranked. Every round but those of mmseqs is one task for each part or
bucket, in memory that follows from one of them. mmseqs is one task, uses all processors, and goes on from its last
finished step when it was interrupted.
"""

from collections.abc import Callable, Sequence
from functools import partial
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
from pipeline.formats.manifest import Input, Kind, Manifest, Run, make_manifest, read_manifest
from pipeline.formats.memberships import detect_memberships
from pipeline.formats.storage import file_digest
from pipeline.stages.cluster.adopting import adopt, num_existing_levels
from pipeline.stages.cluster.layout import CorpusLayout, corpus_layout
from pipeline.stages.cluster.levels import make_levels
from pipeline.stages.cluster.names import name_records
from pipeline.stages.cluster.pinning import pin, pin_complaints
from pipeline.stages.cluster.purging import RECORDS_PER_SEARCH, Machine, purge
from pipeline.stages.cluster.rounds import Ranking, for_each, scratch_of
from pipeline.stages.cluster.splits import Splitting
from pipeline.stages.cluster.writing import publish_splits, write_part

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
        self._machine = _machine(config, memory, num_threads or granted_cpus())
        # Asked before there is any work: one that was built for another processor says nothing at all.
        self._version = None if self._machine is None else mmseqs_version(self._machine.program)

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        """None: the inputs are identified by their manifests, or mmseqs comes first."""
        return ()

    def describe(self, folder: Path) -> Run:
        """Configuration, the corpus, and the digests of files with existing clusters, earlier splits and benchmarks."""
        manifest = read_manifest(self.corpus, kind="corpus")
        if self.config.existing:
            num_existing_levels(self.config.existing)
        if self._machine is not None:
            self._check_memory(manifest, self._machine)
        return Run(kind=self.kind, configuration=self._configuration(), inputs=self._inputs(folder, manifest))

    def _check_memory(self, manifest: Manifest, machine: Machine) -> None:
        for level in range(len(self.config.levels)):
            need = self._memory_needed(manifest, machine.num_threads, level)
            check_memory(need, machine.memory, beside=machine.beside)
        if self.config.searched:
            split = self.config.split
            held_out = split.valid_fraction + split.test_fraction
            records, residues = manifest.counts["records"], manifest.counts["residues"]
            # What a benchmark or an earlier split holds is checked when it was read.
            machine.checked(
                self.config,
                num_queries=min(records, RECORDS_PER_SEARCH),
                num_targets=round(records * held_out),
                target_residues=round(residues * held_out),
            )

    def _configuration(self) -> dict[str, Any]:
        # What files hold counts, and is among the inputs; where they are does not.
        config = self.config.model_dump(mode="json", exclude={"existing"})
        return config | {
            "existing": [detect_memberships(Path(name)) for name in self.config.existing],
            "split": config["split"] | {"pinned": self.config.split.pinned is not None},
            "purge": config["purge"] | {"benchmarks": sorted(self.config.purge.benchmarks)},
            "parameters": [
                " ".join([self.config.method.value, *self.config.clustering(level).arguments])
                for level in range(len(self.config.levels))
            ],
        }

    def _inputs(self, folder: Path, manifest: Manifest) -> tuple[Input, ...]:
        benchmarks = self.config.purge.benchmarks
        pinned = [] if self.config.split.pinned is None else [self.config.split.pinned]
        files = [
            Input(
                kind="file",
                fingerprint=file_digest(Path(name), bits=128)[1],
                path=relative_path(Path(name), folder),
            )
            for name in [*self.config.existing, *pinned, *(benchmarks[name] for name in sorted(benchmarks))]
        ]
        return (artefact_input(self.corpus, manifest, folder), *files)

    def _memory_needed(self, manifest: Manifest, num_threads: int, level: int) -> MemoryNeed:
        return memory_needed(
            self.config.clustering(level),
            num_records=manifest.counts["records"],
            num_residues=manifest.counts["residues"],
            num_threads=num_threads,
        )

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """Assign every record to clusters and these to splits, exclude what is similar, then write parts."""
        del worker_bytes  # a task holds one part, and the corpus decides how large that is
        manifest = read_manifest(self.corpus, kind="corpus")
        corpus = corpus_layout(self.corpus, manifest.tables)
        split, names, pinned = self.config.split, list[TaskResult](), list[TaskResult]()
        if self.config.existing or split.pinned is not None:
            names = yield for_each("names", name_records, corpus, "part", {})
        if split.pinned is not None:
            pinned = yield from pin(split.pinned, corpus, names)
        ranked = yield from self._assign(corpus, manifest, names)
        levels = [scratch_of(results) for results in ranked.levels]
        hits = yield from purge(self.config, corpus, levels[0], self._machine)
        writing = {"ranked": levels, "hits": hits, "weight": self.config.weight}
        warnings = [*ranked.warnings, *pin_complaints(pinned, ranked)]
        written = yield for_each("write", write_part, corpus, "part", writing, warnings=warnings)
        published = yield Round(
            label="publish", tasks=[Task(name="publish", function=publish_splits, arguments={"corpus": corpus})]
        )
        of_levels = [result for level in ranked.levels for result in level]
        counts = ranked.counts | total([*pinned, *of_levels, *written], "counts")
        made = make_manifest(
            self.kind,
            configuration=self._configuration(),
            inputs=self._inputs(folder, manifest),
            files=files_of([*written, *published]),
            counts=dict(sorted(counts.items())),
            reasons=total(written, "reasons"),
            provenance=manifest.provenance,
        )
        if self._version is None:
            return made
        return made.model_copy(update={"software": made.software | {"mmseqs": self._version}})

    def _assign(self, corpus: CorpusLayout, manifest: Manifest, names: Sequence[TaskResult]) -> Ranking:
        split = self.config.split
        splitting = Splitting(
            valid_fraction=split.valid_fraction,
            test_fraction=split.test_fraction,
            seed=split.seed,
            is_pinned=split.pinned is not None,
        )
        if not self.config.levels or self._machine is None:
            return adopt(self.config.existing, corpus, splitting, names)
        return make_levels(
            self.config,
            corpus,
            splitting,
            program=self._machine.program,
            num_threads=self._machine.num_threads,
            needed=partial(self._memory_needed, manifest, self._machine.num_threads),
        )


def _machine(config: ClusterConfig, memory: int | None, num_threads: int) -> Machine | None:
    """Who searches; None where mmseqs has nothing to do."""
    if not config.levels and not config.searched:
        return None
    # Workers wait for what comes after the first round of ours.
    num_waiting = 1 if len(config.levels) == 1 and not config.searched else 1 + num_threads
    beside = num_waiting * _PROCESS_BYTES
    return Machine(program=find_mmseqs(), num_threads=num_threads, memory=memory, beside=beside)
