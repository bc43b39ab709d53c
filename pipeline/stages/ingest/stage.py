"""The ingest stage: raw files to a corpus.

Two rounds. ``read`` takes one task for each input file; ``merge`` one for each part, the number of parts following from
how many records the first round kept. Records read = records + merged + dropped (law 1), checked before the manifest is
written.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import IngestConfig
from pipeline.core import alphabet
from pipeline.core.replacement import replacement_table
from pipeline.engines.stage import Round, Rounds, Task, TaskResult, files_of, relative_path, total
from pipeline.errors import InputFormatError, IntegrityError
from pipeline.formats.block_compression import lacks_end_marker
from pipeline.formats.corpus import num_parts_for, part_name, power_of_two_above
from pipeline.formats.corpus_statistics import Statistics, merge
from pipeline.formats.corpus_summary import report_document
from pipeline.formats.detection import ReadOptions
from pipeline.formats.fasta_spans import WHOLE, Span, fasta_spans
from pipeline.formats.headers import DATABASE_NAMES
from pipeline.formats.manifest import (
    File,
    Input,
    Kind,
    Manifest,
    Run,
    document_entry,
    make_manifest,
)
from pipeline.formats.report_file import REPORT_NAME
from pipeline.formats.report_page import PAGE_NAME, report_page
from pipeline.formats.storage import file_digest, write_json, write_text
from pipeline.stages.ingest.filtering import Filtering
from pipeline.stages.ingest.inputs import InputFile, identify, total_bytes
from pipeline.stages.ingest.merge import merge_part
from pipeline.stages.ingest.read import file_format_of, read_chunk
from pipeline.stages.ingest.sieve import Reading
from pipeline.stages.ingest.sizes import CHUNK_BYTES, MIN_RUN_BYTES, chunk_bytes_for, num_buckets_for, run_bytes_for


class Ingest:
    """Stage: FASTA files to ``corpus/``."""

    kind: Kind = "corpus"

    def __init__(self, config: IngestConfig) -> None:
        self.config = config
        self._run_bytes = MIN_RUN_BYTES
        self._files: tuple[InputFile, ...] | None = None

    @property
    def files(self) -> tuple[InputFile, ...]:
        """The inputs, sorted by content, so that their order on the command line does not matter."""
        if self._files is None:
            self._files = identify(self.config.files)
        return self._files

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        """Reading and merging, if there is enough to read for more than one task."""
        return (read_chunk, merge_part) if total_bytes(self.config.files) > CHUNK_BYTES else ()

    def describe(self, folder: Path) -> Run:
        """Configuration and the digest of every input file."""
        # Wrong names are told before anything is read.
        self._filtering.predicates()
        replacement_table(*self.config.replace)
        named = sorted((raw.digest, raw.source) for raw in self.files if raw.source is not None)
        inputs = tuple(
            Input(kind="file", fingerprint=raw.digest, path=relative_path(raw.path, folder)) for raw in self.files
        )
        configuration = self._meaning() | {"sources": [f"{source}={digest}" for digest, source in named]}
        told = self.config.model_dump(mode="json", include={"keep_dropped", "licence", "release", "url"})
        configuration |= told
        return Run(kind=self.kind, configuration=configuration, inputs=inputs)

    def _meaning(self) -> dict[str, Any]:
        excluded = sorted(file_digest(Path(name), bits=128)[1] for name in self.config.filters.exclude)
        return self.config.meaning() | {"excluded": excluded}

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """Read every file, then merge every part."""
        self._run_bytes = run_bytes_for(worker_bytes, self.files)
        spans = [(raw, span) for raw in self.files for span in self._spans(raw)]
        tasks = [self._read_task(index, raw, span) for index, (raw, span) in enumerate(spans)]
        read = yield Round(label="read", tasks=tasks, warnings=_cut_off_warnings(self.files))
        counts, reasons = total(read, "counts"), total(read, "reasons")
        num_kept = counts["records_read"] - sum(reasons.values())
        if not num_kept:
            raise _nothing_kept(self.config.files, counts, reasons)
        num_parts = num_parts_for(num_kept, self.config.records_per_part)
        tasks = [self._merge_task(part, num_parts, read) for part in range(num_parts)]
        warnings = _nucleotide_warnings([raw.path for raw, _ in spans], read)
        merged = yield Round(label="merge", tasks=tasks, warnings=warnings)
        manifest = self._manifest(folder, counts | total(merged, "counts"), reasons, merged)
        return manifest.model_copy(update={"files": (*manifest.files, *_reports(folder, manifest, [*read, *merged]))})

    @property
    def _options(self) -> ReadOptions:
        config = self.config
        return ReadOptions(
            insertions=config.insertions,
            sequence_column=config.sequence_column,
            accession_column=config.accession_column,
        )

    def _spans(self, raw: InputFile) -> list[Span]:
        """Large FASTA is cut into chunks; other formats are read from their start."""
        chunk_bytes = chunk_bytes_for(self.files, raw)
        if raw.num_bytes <= chunk_bytes:
            return [WHOLE]
        is_fasta = (self.config.file_format or file_format_of(raw.path, self._options)) == "fasta"
        return fasta_spans(raw.path, chunk_bytes) if is_fasta else [WHOLE]

    def _read_task(self, index: int, raw: InputFile, span: Span) -> Task:
        name = f"chunk-{index:05d}"
        reading = Reading(
            path=raw.path,
            span=span,
            source=raw.source,
            file_format=self.config.file_format,
            on_error=self.config.on_error,
            options=self._options,
            on_invalid=self.config.on_invalid,
            allowed=alphabet.CHAIN_BREAK if self.config.chain_breaks else b"",
            replace=self.config.replace,
            filtering=self._filtering,
            keep_dropped=self.config.keep_dropped,
            name=name,
            num_buckets=num_buckets_for(self.files, self._run_bytes),
            run_bytes=self._run_bytes,
            source_priority=self.config.source_priority,
        )
        return Task(name=name, function=read_chunk, arguments={"reading": reading})

    @property
    def _filtering(self) -> Filtering:
        given = [raw.source for raw in self.files if raw.source is not None]
        names = tuple(dict.fromkeys([*DATABASE_NAMES, *sorted(given)]))
        return Filtering(config=self.config.filters, source_names=names)

    def _merge_task(self, part: int, num_parts: int, read: Sequence[TaskResult]) -> Task:
        runs = {name: size for result in read for name, size in result.scratch.items() if name.endswith(".arrow")}
        slices = power_of_two_above(sum(runs.values()) / num_parts / self._run_bytes)
        arguments: dict[str, Any] = {"name": part_name(part), "runs": sorted(runs)}
        arguments |= {"first_slice": part * slices, "end_slice": (part + 1) * slices, "num_slices": num_parts * slices}
        arguments["source_priority"] = self.config.source_priority
        return Task(name=f"part-{part:05d}", function=merge_part, arguments=arguments)

    def _manifest(
        self, folder: Path, counts: dict[str, int], reasons: dict[str, int], merged: Sequence[TaskResult]
    ) -> Manifest:
        _check_conservation(counts, reasons)
        return make_manifest(
            self.kind,
            configuration=self._meaning(),
            inputs=self.describe(folder).inputs,
            files=files_of(merged),
            counts=counts,
            reasons=reasons,
            provenance=tuple(raw.provenance(self.config) for raw in self.files),
        )


def _reports(folder: Path, manifest: Manifest, results: Sequence[TaskResult]) -> tuple[File, File]:
    """Write report.json and report.html: what the corpus holds, for programs and people."""
    names = [name for result in results for name in result.scratch if name.endswith(".statistics.json")]
    statistics = merge(Statistics.model_validate_json((folder / name).read_text(encoding="utf-8")) for name in names)
    write_json(folder / REPORT_NAME, report_document(manifest.fingerprint, statistics))
    write_text(folder / PAGE_NAME, report_page(manifest, statistics))
    return document_entry(folder, REPORT_NAME), document_entry(folder, PAGE_NAME)


def _cut_off_warnings(files: Sequence[InputFile]) -> list[str]:
    """A warning for each bgzip file that may have been cut off between two blocks, where it reads as a whole one."""
    return [
        f"{raw.path}: does not end with the empty block that bgzip puts last: it may have been cut off; compare its "
        "size with the publisher's"
        for raw in files
        if lacks_end_marker(raw.path)
    ]


def _nucleotide_warnings(paths: Sequence[Path], read: Sequence[TaskResult]) -> list[str]:
    """A warning for each file that is almost only A, C, G, T, U and N.

    Args:
        paths: File of each task, in order.
        read: What the tasks counted.
    """
    compositions: dict[Path, npt.NDArray[np.int64]] = {}
    for path, result in zip(paths, read, strict=True):
        compositions[path] = compositions.get(path, 0) + np.array(result.values["composition"])
    return [
        f"{path}: {100 * alphabet.nucleotide_fraction(composition):.1f} % of the letters are A, C, G, T, U or N: these "
        "look like nucleotides, not proteins; translate them first if proteins were meant"
        for path, composition in compositions.items()
        if alphabet.looks_like_nucleotides(composition)
    ]


def _check_conservation(counts: dict[str, int], reasons: dict[str, int]) -> None:
    accounted = counts["records"] + counts["records_merged"] + sum(reasons.values())
    if accounted != counts["records_read"]:
        raise IntegrityError(
            f"read {counts['records_read']} records but can account for {accounted}",
            hint="an input file changed while it was read, or this is a bug: run again with --overwrite",
        )


def _nothing_kept(files: Sequence[str], counts: dict[str, int], reasons: dict[str, int]) -> InputFormatError:
    named = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return InputFormatError(
        f"{', '.join(files)}: kept none of {counts['records_read']} records: {named}",
        hint="look at the input, or loosen the filters; --on-invalid replace keeps records with odd characters",
    )
