"""The pack stage: a corpus to a plan that says which record goes where, and how good it is.

One task for each corpus part: cut what is longer than a row and pack the lengths, or run the records on from row to
row; write (row, slot, record, start, length). Only lengths and record keys are read: a part of 250,000 records takes a
few megabytes and a fraction of a second.

Of a corpus with clusters there is a task for each split of each part, after a round that decides what becomes of each
record; the data files of train are those of a corpus that has no other records.

Optimal packing goes through the parts twice: patterns are found once, for the lengths of all parts together.

Concatenation loses no residue, so that no over-length policy applies, and at most one row a part: its last row alone
has padding.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.config import PackConfig
from pipeline.core.concatenation import CONCATENATE, RUN_ON
from pipeline.core.sampling import Sample
from pipeline.core.tokenizer import load_tokenizer
from pipeline.engines.optimal_packing import check_installed
from pipeline.engines.stage import Round, Rounds, Task, TaskResult, artefact_input, files_of, total
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError
from pipeline.formats.corpus import largest_part
from pipeline.formats.manifest import File, Input, Kind, Manifest, Run, document_entry, make_manifest, read_manifest
from pipeline.formats.plan import OVERLONG, SPLITS, of_split
from pipeline.formats.plan_page import plan_page
from pipeline.formats.plan_statistics import PlanStatistics, merge
from pipeline.formats.plan_summary import report_document
from pipeline.formats.report_file import REPORT_NAME
from pipeline.formats.report_page import PAGE_NAME
from pipeline.formats.storage import write_json, write_text
from pipeline.stages.pack.choice import WITH_RECORDS, WITH_SEGMENTS, check_sampling, choose_part, read_clusters
from pipeline.stages.pack.items import CorpusPart
from pipeline.stages.pack.part import (
    HISTOGRAM,
    OPTIMAL,
    STATISTICS_SUFFIX,
    count_part,
    pack_part,
    pool_patterns,
)

_TASK_BYTES, _TASK_BYTES_A_RECORD = 130_000_000, 150
"""Memory of a task: measured 138 MB for a part of 60,000 records, 150 to 165 for one of 240,000."""


class Pack:
    """Stage: ``corpus/``, and ``clusters/`` if there are any, to ``plan/``.

    Args:
        corpus: The corpus.
        config: How to pack it.
        clusters: Its clusters: splits, weights, what is excluded; None: everything is train.
    """

    kind: Kind = "plan"

    def __init__(self, corpus: Path, config: PackConfig, *, clusters: Path | None = None) -> None:
        self.corpus = corpus
        self.config = config
        self.clusters = clusters
        check_sampling(config, has_clusters=clusters is not None)
        self.tokenizer = load_tokenizer(config.tokenizer)
        self.max_residues = self.tokenizer.max_residues(config.length)
        if config.algorithm == CONCATENATE:
            self.tokenizer.for_concatenation()  # raises where nothing can stand between records
            _check_concatenation(config)
        if config.algorithm == OPTIMAL:
            check_installed()

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        """None: the inputs are identified by their manifests."""
        return ()

    def describe(self, folder: Path) -> Run:
        """Configuration with the whole tokenizer, the corpus, and its clusters."""
        inputs = self._inputs(folder, read_manifest(self.corpus, kind="corpus"))
        return Run(kind=self.kind, configuration=self._configuration(), inputs=inputs)

    def _inputs(self, folder: Path, corpus: Manifest) -> tuple[Input, ...]:
        inputs = (artefact_input(self.corpus, corpus, folder),)
        if self.clusters is None:
            return inputs
        clusters = read_clusters(self.clusters, self.corpus, corpus, self.config)
        return (*inputs, artefact_input(self.clusters, clusters, folder))

    def _configuration(self) -> dict[str, Any]:
        # The tokenizer goes in whole: a file of the same name may hold something else tomorrow.
        configuration = self.config.model_dump(mode="json") | {"tokenizer": self.tokenizer.document()}
        if self.clusters is None:
            configuration.pop("sample")
        if self.config.sample is not Sample.ONE_PER_CLUSTER:
            configuration.pop("level")
        return configuration | ({"overlong": RUN_ON} if self.config.algorithm == CONCATENATE else {})

    def _warnings(self) -> list[str]:
        config = self.config
        if config.algorithm != CONCATENATE or config.overlong is PackConfig.model_fields["overlong"].default:
            return []
        given = f"--overlong {config.overlong.value}"
        return [f"{given} does not apply: concatenated records run on from row to row, and no residue is lost"]

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """Choose records if there are clusters, find patterns if packing is to be optimal, then pack every part."""
        del worker_bytes  # a task holds one part, and the corpus decides how large that is
        corpus = read_manifest(self.corpus, kind="corpus")
        parts = [self._part(index, self.corpus / file.path) for index, file in enumerate(corpus.tables)]
        chosen: list[TaskResult] = []
        if self.clusters is not None:
            chosen = yield self._choose(parts, self.clusters)
            parts = _parts_of_splits(parts, chosen)
        if self.config.algorithm == OPTIMAL:
            yield from self._find_patterns(parts)
        task_bytes = _TASK_BYTES + _TASK_BYTES_A_RECORD * largest_part(corpus)[0]
        tasks = _tasks("pack", pack_part, parts)
        packed = yield Round(label="pack", tasks=tasks, warnings=self._warnings(), task_bytes=task_bytes)
        counts, reasons = total([*_zeros(chosen), *packed], "counts"), total([*chosen, *packed], "reasons")
        self._check(counts, reasons, corpus)
        manifest = make_manifest(
            self.kind,
            configuration=self._configuration(),
            inputs=self._inputs(folder, corpus),
            files=files_of(packed),
            counts=counts,
            reasons=reasons,
            provenance=corpus.provenance,
        )
        return manifest.model_copy(update={"files": (*manifest.files, *_reports(folder, manifest, packed))})

    def _part(self, index: int, path: Path) -> CorpusPart:
        return CorpusPart(
            index=index,
            path=str(path),
            config=self.config,
            num_special_tokens=self.tokenizer.num_special_tokens,
            max_residues=self.max_residues,
        )

    def _choose(self, parts: Sequence[CorpusPart], clusters: Path) -> Round:
        names = [str(clusters / file.path) for file in read_manifest(clusters, kind="clusters").tables]
        tasks = [
            Task(
                name=f"choose-{part.index:05d}",
                function=choose_part,
                arguments={"part": part, "clusters_part": name},
            )
            for part, name in zip(parts, names, strict=True)
        ]
        return Round(label="choose records", tasks=tasks)

    def _find_patterns(self, parts: Sequence[CorpusPart]) -> Generator[Round, list[TaskResult], None]:
        counted = yield Round(label="count lengths", tasks=_tasks("lengths", count_part, parts))
        histogram = [sum(numbers) for numbers in zip(*(result.values[HISTOGRAM] for result in counted), strict=True)]
        arguments = {"histogram": histogram, "config": self.config}
        yield Round(label="find patterns", tasks=[Task(name="patterns", function=pool_patterns, arguments=arguments)])

    def _check(self, counts: dict[str, int], reasons: dict[str, int], corpus: Manifest) -> None:
        found = counts.get("records", 0) + sum(number for reason, number in reasons.items() if reason != OVERLONG)
        if found != corpus.counts["records"]:
            raise IntegrityError(
                f"{self.corpus}: expected {corpus.counts['records']} records, found {found}",
                hint="run `pipeline verify` on the corpus",
            )
        if not counts.get("rows"):
            others = "" if self.clusters is None else f", or clusters that exclude less than {self.clusters}"
            raise ArtefactError(
                f"{self.corpus}: no record is left to pack: {reasons}",
                hint=f"choose a larger --length or another --overlong policy{others}",
            )


def _reports(folder: Path, manifest: Manifest, packed: Sequence[TaskResult]) -> tuple[File, File]:
    """Write report.json and report.html: how good the plan is, for programs and people."""
    names = [name for result in packed for name in result.scratch if name.endswith(STATISTICS_SUFFIX)]
    statistics = merge(
        PlanStatistics.model_validate_json((folder / name).read_text(encoding="utf-8")) for name in names
    )
    write_json(folder / REPORT_NAME, report_document(manifest, statistics))
    write_text(folder / PAGE_NAME, plan_page(manifest, statistics))
    return document_entry(folder, REPORT_NAME), document_entry(folder, PAGE_NAME)


def _parts_of_splits(parts: Sequence[CorpusPart], chosen: Sequence[TaskResult]) -> list[CorpusPart]:
    """Each part once for every split that any part has records of, splits in order."""
    with_records, with_segments = (
        {name for result in chosen for name in result.values[key]} for key in (WITH_RECORDS, WITH_SEGMENTS)
    )
    return [
        replace(part, split=split, is_chosen=True, has_file=split in with_segments)
        for split in SPLITS
        if split in with_records
        for part in parts
    ]


def _zeros(chosen: Sequence[TaskResult]) -> list[TaskResult]:
    """Zeros, so that the counts of every split are told where there are splits at all."""
    names: dict[str, int] = dict.fromkeys(("records", "segments", "rows", "tokens"), 0)
    return [TaskResult(counts=of_split(names, split)) for split in SPLITS] if chosen else []


def _tasks(label: str, function: Callable[..., TaskResult], parts: Sequence[CorpusPart]) -> list[Task]:
    return [
        Task(name=f"{label}-{part.split}-{part.index:05d}", function=function, arguments={"part": part})
        for part in parts
    ]


def _check_concatenation(config: PackConfig) -> None:
    """Whatever belongs to rows that are packed cannot be asked of rows that records run on over."""
    for name in ("alignment", "max_segments", "order"):
        expected, found = PackConfig.model_fields[name].default, getattr(config, name)
        if found != expected:
            option = f"--{name.replace('_', '-')}"
            raise ConfigurationError(
                f"{option} {found}: expected {expected} with --algorithm {CONCATENATE}, whose records follow each "
                "other without a gap",
                hint=f"leave {option} out, or choose another --algorithm",
            )
