"""The laws of the shards that hold one corpus part.

Shards never cross parts, so a task takes one corpus part and the shards with its records, one row group at a time, and
at the end knows that every record of the part was seen as declared. Memory: the residues of one part and one row group.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.pieces import Overlong
from pipeline.core.tokenizer import Tokenizer
from pipeline.errors import IntegrityError, PipelineError
from pipeline.formats.content import ContentHasher
from pipeline.formats.corpus import CorpusPart, num_parts_for, read_part
from pipeline.formats.manifest import MANIFEST_NAME, File
from pipeline.formats.shards import ShardFile, shard_schema
from pipeline.stages.verify.checks import (
    Checked,
    Finding,
    check_content,
    check_file,
    check_schema,
    first_broken,
    guarded,
    merged,
)
from pipeline.stages.verify.coverage import Pieces, check_coverage, coverage_counts
from pipeline.stages.verify.rows import Segments, check_rows, resolve


def part_of_shard(path: Path, num_parts: int) -> int | None:
    """Which corpus part the first record of a shard belongs to; None when the shard cannot be read."""
    try:
        keys = ShardFile(path).read_row_group(0).record_keys
    except PipelineError:
        return None  # told by the check of the file itself
    assert num_parts == num_parts_for(num_parts, 1), "a power of two"
    return int(keys[0]) * num_parts >> 64 if len(keys) else None


def verify_shards_of_part(
    folder: Path,
    files: Sequence[File],
    corpus_part: Path,
    configuration: dict[str, Any],
    *,
    plan_fingerprint: str,
    all_readable: bool,
) -> Checked:
    """Every shard of one corpus part, and that together they hold the part.

    Args:
        folder: The shards.
        files: Those with records of the part.
        corpus_part: The part's Parquet file.
        configuration: Of the manifest.
        plan_fingerprint: Fingerprint that each shard's metadata must name.
        all_readable: False when a shard of the dataset cannot be read: it may be the one that holds what is missing
            here, so that only what is there is judged.
    """

    def check() -> Checked:
        checker = _PartChecker(folder, read_part(corpus_part), configuration, plan_fingerprint)
        result = merged([guarded(file.path, partial(checker.shard, file)) for file in files])
        if result.findings or not all_readable:
            return result
        counts, findings = checker.coverage(corpus_part.name)
        return Checked(counts=result.counts | counts, findings=tuple(findings))

    return guarded(MANIFEST_NAME, check)


class _PartChecker:
    def __init__(self, folder: Path, part: CorpusPart, configuration: dict[str, Any], plan_fingerprint: str) -> None:
        self.folder = folder
        self.part = part
        self.configuration = configuration
        self.plan_fingerprint = plan_fingerprint
        self.tokenizer = Tokenizer.from_document(configuration["tokenizer"])
        self.seen: list[Segments] = []

    def shard(self, file: File) -> Checked:
        """Digest, metadata and every row group of one shard."""
        if findings := check_file(self.folder, file):
            return Checked(counts={"files": 1}, findings=tuple(findings))
        shard = ShardFile(self.folder / file.path)
        hasher = ContentHasher()
        results = [self._metadata(file, shard)]
        for index in range(len(shard.rows_of_groups)):
            table = shard.read_table(index)
            hasher.update(table)
            results.append(self._group(f"{file.path}, row group {index}", shard, index, table))
        content = check_content(file, shard.num_rows, hasher.hexdigest())
        return merged([*results, Checked(counts={"files": 1}, findings=tuple(content))])

    def _metadata(self, file: File, shard: ShardFile) -> Checked:
        found = shard.metadata
        expected = {
            "fingerprint": self.plan_fingerprint,
            "dtype": str(self.tokenizer.dtype),
            "length": self.configuration["length"],
            "alignment": self.configuration["alignment"],
            "pad_id": self.tokenizer.pad_id,
            "num_prefix": len(self.tokenizer.prefix),
            "num_suffix": len(self.tokenizer.suffix),
        }
        findings = [
            Finding(path=file.path, message=f"metadata {key}: expected {value}, found {getattr(found, key)}")
            for key, value in expected.items()
            if getattr(found, key) != value
        ]
        if findings:
            raise IntegrityError(findings[0].message)
        rows = self.configuration["rows_per_group"]
        if any(count != rows for count in shard.rows_of_groups[:-1]) or any(n > rows for n in shard.rows_of_groups):
            findings.append(Finding(path=file.path, message=f"expected row groups of {rows} rows, found others"))
        return Checked(counts={}, findings=tuple(findings))

    def _group(self, name: str, shard: ShardFile, index: int, table: pa.Table) -> Checked:
        if findings := check_schema(name, table.schema, shard_schema(shard.metadata)):
            return Checked(counts={}, findings=tuple(findings))
        group = shard.row_group_of(table, index)  # the columns are decoded once, for digest and laws
        segments, findings = resolve(name, group, self.part, shard.metadata)
        if not findings:
            findings = check_rows(
                name, group, segments, part=self.part, tokenizer=self.tokenizer, metadata=shard.metadata
            )
            self.seen.append(segments)
        num_tokens = table.column("num_tokens").to_numpy()
        ends = np.r_[0, np.cumsum(group.lengths.astype(np.int64))]
        sums = np.diff(ends[group.row_offsets])
        sequences = np.diff(group.row_offsets)
        findings += first_broken(name, num_tokens != sums, lambda at: f"row {at}: num_tokens is not the sum of lengths")
        wrong = table.column("num_sequences").to_numpy() != sequences
        findings += first_broken(name, wrong, lambda at: f"row {at}: num_sequences is not the number of lengths")
        counts = {"rows": group.num_rows, "tokens": int(num_tokens.sum())}
        return Checked(counts=counts, findings=tuple(findings))

    def coverage(self, name: str) -> tuple[dict[str, int], list[Finding]]:
        """Every record of the part, in the shards together; and what the manifest must count."""
        empty = np.empty(0, dtype=np.int64)
        pieces = Pieces(
            record=np.concatenate([empty, *(segments.record for segments in self.seen)]),
            start=np.concatenate([empty, *(segments.start for segments in self.seen)]),
            length=np.concatenate([empty, *(segments.residues for segments in self.seen)]),
        )
        lengths = np.diff(self.part.offsets)
        max_residues = self.tokenizer.max_residues(self.configuration["length"])
        policy = Overlong(self.configuration["overlong"])
        findings = check_coverage(f"shards of {name}", pieces, lengths, max_residues=max_residues, policy=policy)
        return coverage_counts(pieces, lengths, max_residues=max_residues, policy=policy), findings
