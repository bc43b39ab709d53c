"""The pack stage: a corpus to a plan that says which record goes where, and how good it is.

One task for each corpus part: cut what is longer than a row and pack the lengths, or run the records on from row to
row; write (row, slot, record, start, length). Only lengths and record keys are read: a part of 250,000 records takes a
few megabytes and a fraction of a second.

Optimal packing goes through the parts twice: patterns are found once, for the lengths of all parts together.

Concatenation loses no residue, so that no over-length policy applies, and at most one row a part: its last row alone
has padding.
"""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import PackConfig
from pipeline.core.concatenation import CONCATENATE, RUN_ON
from pipeline.core.tokenizer import load_tokenizer
from pipeline.engines.optimal_packing import check_installed
from pipeline.engines.stage import Round, Rounds, Task, TaskResult, artefact_input, files_of, total
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError
from pipeline.formats.manifest import File, Kind, Manifest, Run, document_entry, make_manifest, read_manifest
from pipeline.formats.plan_page import plan_page
from pipeline.formats.plan_statistics import PlanStatistics, merge
from pipeline.formats.plan_summary import report_document
from pipeline.formats.report_file import REPORT_NAME
from pipeline.formats.report_page import PAGE_NAME
from pipeline.formats.storage import write_json, write_text
from pipeline.stages.pack.items import CorpusPart
from pipeline.stages.pack.part import (
    HISTOGRAM,
    OPTIMAL,
    STATISTICS_SUFFIX,
    TRAIN,
    count_part,
    pack_part,
    pool_patterns,
)


class Pack:
    """Stage: ``corpus/`` to ``plan/``."""

    kind: Kind = "plan"

    def __init__(self, corpus: Path, config: PackConfig) -> None:
        self.corpus = corpus
        self.config = config
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
        """Configuration with the whole tokenizer, and the corpus."""
        corpus = artefact_input(self.corpus, read_manifest(self.corpus, kind="corpus"), folder)
        return Run(kind=self.kind, configuration=self._configuration(), inputs=(corpus,))

    def _configuration(self) -> dict[str, Any]:
        # The tokenizer goes in whole: a file of the same name may hold something else tomorrow.
        configuration = self.config.model_dump(mode="json") | {"tokenizer": self.tokenizer.document()}
        return configuration | ({"overlong": RUN_ON} if self.config.algorithm == CONCATENATE else {})

    def _warnings(self) -> list[str]:
        config = self.config
        if config.algorithm != CONCATENATE or config.overlong is PackConfig.model_fields["overlong"].default:
            return []
        given = f"--overlong {config.overlong.value}"
        return [f"{given} does not apply: concatenated records run on from row to row, and no residue is lost"]

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """Find patterns if packing is to be optimal, then pack every part."""
        del worker_bytes  # a task holds one part, and the corpus decides how large that is
        corpus = read_manifest(self.corpus, kind="corpus")
        parts = [self._part(index, self.corpus / file.path) for index, file in enumerate(corpus.tables)]
        if self.config.algorithm == OPTIMAL:
            yield from self._find_patterns(parts)
        packed = yield Round(label="pack", tasks=_tasks(TRAIN, pack_part, parts), warnings=self._warnings())
        counts, reasons = total(packed, "counts"), total(packed, "reasons")
        self._check(counts, reasons, corpus)
        manifest = make_manifest(
            self.kind,
            configuration=self._configuration(),
            inputs=(artefact_input(self.corpus, corpus, folder),),
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

    def _find_patterns(self, parts: Sequence[CorpusPart]) -> Generator[Round, list[TaskResult], None]:
        counted = yield Round(label="count lengths", tasks=_tasks("lengths", count_part, parts))
        histogram = [sum(numbers) for numbers in zip(*(result.values[HISTOGRAM] for result in counted), strict=True)]
        arguments = {"histogram": histogram, "config": self.config}
        yield Round(label="find patterns", tasks=[Task(name="patterns", function=pool_patterns, arguments=arguments)])

    def _check(self, counts: dict[str, int], reasons: dict[str, int], corpus: Manifest) -> None:
        if counts["records"] != corpus.counts["records"]:
            raise IntegrityError(
                f"{self.corpus}: expected {corpus.counts['records']} records, found {counts['records']}",
                hint="run `pipeline verify` on the corpus",
            )
        if not counts["rows"]:
            raise ArtefactError(
                f"{self.corpus}: no record is left to pack: {reasons}",
                hint="choose a larger --length or another --overlong policy",
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


def _tasks(label: str, function: Callable[..., TaskResult], parts: Sequence[CorpusPart]) -> list[Task]:
    return [Task(name=f"{label}-{part.index:05d}", function=function, arguments={"part": part}) for part in parts]


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
