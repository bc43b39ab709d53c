"""The other ingest stage: alignments as they are, for models that read them whole.

Two rounds. ``read`` takes one task for each input file; ``write`` one for each part, the number of parts following from
how many alignments there are. Alignments read = alignments + alignments left out, and rows likewise, checked before the
manifest is written. Neither rows nor alignments are merged, and rows keep their order.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import IngestConfig
from pipeline.engines.stage import Round, Rounds, Task, TaskResult, files_of, relative_path, total
from pipeline.errors import InputFormatError, IntegrityError
from pipeline.formats.corpus import num_parts_for, part_name
from pipeline.formats.manifest import Input, Kind, Manifest, Run, make_manifest
from pipeline.stages.ingest.alignment_config import AlignmentsConfig
from pipeline.stages.ingest.alignment_tasks import (
    LEFT_OUT_WHOLE,
    AlignmentReading,
    spool_alignments,
    write_alignments_part,
)
from pipeline.stages.ingest.inputs import InputFile, identify, total_bytes
from pipeline.stages.ingest.sizes import CHUNK_BYTES


class IngestAlignments:
    """Stage: files of alignments to ``alignments/``."""

    kind: Kind = "alignments"

    def __init__(self, config: AlignmentsConfig) -> None:
        self.config = config
        self._files: tuple[InputFile, ...] | None = None

    @property
    def files(self) -> tuple[InputFile, ...]:
        """The inputs, sorted by content, so that their order on the command line does not matter."""
        if self._files is None:
            self._files = identify(self.config.files)
        return self._files

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        """Reading and writing, if there is enough to read for more than one task."""
        return (spool_alignments, write_alignments_part) if total_bytes(self.config.files) > CHUNK_BYTES else ()

    def describe(self, folder: Path) -> Run:
        """Configuration and the digest of every input file."""
        named = sorted((raw.digest, raw.source) for raw in self.files if raw.source is not None)
        inputs = tuple(
            Input(kind="file", fingerprint=raw.digest, path=relative_path(raw.path, folder)) for raw in self.files
        )
        configuration: dict[str, Any] = self.config.meaning()
        configuration |= {"sources": [f"{source}={digest}" for digest, source in named]}
        configuration |= self.config.model_dump(mode="json", include={"licence", "release", "url"})
        return Run(kind=self.kind, configuration=configuration, inputs=inputs)

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """Read every file, then write every part."""
        del worker_bytes  # what a task holds follows from the largest alignment
        read = yield Round(label="read", tasks=[self._read_task(index, raw) for index, raw in enumerate(self.files)])
        counts, reasons = total(read, "counts"), total(read, "reasons")
        num_alignments = counts.pop("alignments_spooled", 0)
        if not num_alignments:
            raise _nothing_kept(self.config.files, reasons)
        spools = [
            name
            for result in read
            for name in sorted(result.scratch)
            if name.endswith(".spool") and result.counts.get("alignments_spooled")
        ]
        num_parts = num_parts_for(num_alignments, self.config.alignments_per_part)
        tasks = [self._write_task(part, num_parts, spools) for part in range(num_parts)]
        written = yield Round(label="write", tasks=tasks)
        counts |= total(written, "counts")
        left_out = sum(number for reason, number in reasons.items() if reason in LEFT_OUT_WHOLE)
        counts |= {"alignments_left_out": left_out, "aligned_rows_left_out": sum(reasons.values()) - left_out}
        return self._manifest(folder, dict(sorted(counts.items())), reasons, written)

    def _read_task(self, index: int, raw: InputFile) -> Task:
        reading = AlignmentReading(
            path=raw.path,
            source=raw.source,
            file_format=self.config.file_format,
            on_error=self.config.on_error,
            on_invalid=self.config.on_invalid,
            name=f"chunk-{index:05d}",
        )
        return Task(name=reading.name, function=spool_alignments, arguments={"reading": reading})

    def _write_task(self, part: int, num_parts: int, spools: Sequence[str]) -> Task:
        arguments: dict[str, Any] = {"name": part_name(part), "spools": list(spools)}
        arguments |= {"part": part, "num_parts": num_parts}
        arguments["alignments_per_group"] = self.config.alignments_per_group
        return Task(name=f"part-{part:05d}", function=write_alignments_part, arguments=arguments)

    def _manifest(
        self, folder: Path, counts: dict[str, int], reasons: dict[str, int], written: Sequence[TaskResult]
    ) -> Manifest:
        _check_conservation(counts)
        config = self.config
        told = IngestConfig(files=config.files, licence=config.licence, release=config.release, url=config.url)
        return make_manifest(
            self.kind,
            configuration=config.meaning(),
            inputs=self.describe(folder).inputs,
            files=files_of(written),
            counts=counts,
            reasons=reasons,
            provenance=tuple(raw.provenance(told) for raw in self.files),
        )


def _check_conservation(counts: dict[str, int]) -> None:
    for what in ("alignments", "aligned_rows"):
        accounted = counts[what] + counts[f"{what}_left_out"]
        if accounted != counts[f"{what}_read"]:
            raise IntegrityError(
                f"read {counts[f'{what}_read']} {what.replace('_', ' ')} but can account for {accounted}",
                hint="an input file changed while it was read, or this is a bug: run again with --overwrite",
            )


def _nothing_kept(files: Sequence[str], reasons: dict[str, int]) -> InputFormatError:
    named = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none was there"
    return InputFormatError(
        f"{', '.join(files)}: kept no alignment: {named}",
        hint="look at the input; --on-invalid replace keeps rows with odd characters",
    )
