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
import pyarrow.compute as pc

from pipeline.errors import IntegrityError, PipelineError
from pipeline.formats.content import ContentHasher
from pipeline.formats.corpus import CorpusPart, num_parts_for, read_part
from pipeline.formats.manifest import MANIFEST_NAME, File
from pipeline.formats.plan import is_concatenated
from pipeline.formats.shard_footers import footer_name, read_footer, unpack_footer
from pipeline.formats.shards import RowGroup, ShardFile, shard_schema
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
from pipeline.stages.verify.choice import Choice, choices_of, everything
from pipeline.stages.verify.conservation import account_of, tokenizer_of
from pipeline.stages.verify.rows import Rows, check_rows, resolve

_TOKENS_AT_ONCE = 4 << 20


def part_of_shard(path: Path, num_parts: int) -> int | None:
    """Which corpus part the first record of a shard belongs to; None when the shard cannot be read."""
    try:
        keys = pc.list_flatten(ShardFile(path).read_table(0, ["record_keys"]).column("record_keys"))
    except PipelineError:
        return None  # told by the check of the file itself
    assert num_parts == num_parts_for(num_parts, 1), "a power of two"
    return keys[0].as_py() * num_parts >> 64 if len(keys) else None


def verify_shards_of_part(
    folder: Path,
    files: Sequence[File],
    corpus_part: Path,
    configuration: dict[str, Any],
    *,
    plan_fingerprint: str,
    all_readable: bool,
    clusters_part: Path | None = None,
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
        clusters_part: The clusters of the part, if the plan was made with any.
    """

    def check() -> Checked:
        part = read_part(corpus_part)
        keys = part.record_key
        choices = everything(len(keys)) if clusters_part is None else choices_of(clusters_part, keys, configuration)
        results = [Checked(counts=choices.counts, findings=())]
        for split, choice in choices.of_split.items():
            checker = _SplitChecker(folder, part, configuration, plan_fingerprint, choice)
            own = [file for file in files if file.split == split]
            checked = checker.shards(own, f"shards of {corpus_part.name}", all_readable=all_readable)
            results.append(checked.of_split(split) if choices.has_clusters else checked)
        return merged(results)

    return guarded(MANIFEST_NAME, check)


class _SplitChecker:
    """Checks the shards of one split of one corpus part."""

    def __init__(
        self, folder: Path, part: CorpusPart, configuration: dict[str, Any], plan_fingerprint: str, choice: Choice
    ) -> None:
        self.folder = folder
        self.part = part
        self.configuration = configuration
        self.plan_fingerprint = plan_fingerprint
        self.tokenizer = tokenizer_of(configuration)
        self.account = account_of(np.diff(part.offsets), configuration, self.tokenizer, choice)

    def shards(self, files: Sequence[File], name: str, *, all_readable: bool) -> Checked:
        """All of them, and that together they hold the split."""
        results = [
            Checked(counts=dict.fromkeys(("rows", "tokens", "tokens_aligned", "tokens_padding"), 0), findings=())
        ]
        for file in files:
            if not all_readable:
                self.account.skip()
            results.append(self.guarded_shard(file))
        result = merged(results)
        if not result.findings and all_readable:
            result = merged([result, self.account.close(name)])
        footers = [guarded(footer_name(file.path), partial(self._footer, file)) for file in files]
        return merged([result, *footers])

    def guarded_shard(self, file: File) -> Checked:
        """One shard; a broken one does not speak against the next."""
        result = guarded(file.path, partial(self.shard, file))
        if result.findings:
            self.account.skip()
        return result

    def shard(self, file: File) -> Checked:
        """Digest, metadata and every row group of one shard."""
        if findings := check_file(self.folder, file):
            return Checked(counts={"files": 1}, findings=tuple(findings))
        shard = ShardFile(self.folder / file.path)
        hasher = ContentHasher()
        results = [self._metadata(file, shard)]
        for first_row, table in shard.read_tables(max(1, _TOKENS_AT_ONCE // shard.metadata.length)):
            hasher.update(table)
            results.append(self._rows(file.path, shard, first_row, table))
        content = check_content(file, shard.num_rows, hasher.hexdigest())
        return merged([*results, Checked(counts={"files": 1}, findings=tuple(content))])

    def _metadata(self, file: File, shard: ShardFile) -> Checked:
        found, run_on = shard.metadata, is_concatenated(self.configuration)
        expected = {
            "fingerprint": self.plan_fingerprint,
            "dtype": str(self.tokenizer.dtype),
            "length": self.configuration["length"],
            "alignment": self.configuration["alignment"],
            "pad_id": self.tokenizer.pad_id,
            "num_prefix": len(self.tokenizer.prefix),
            "num_suffix": 0 if run_on else len(self.tokenizer.suffix),
            "separator_id": self.tokenizer.separator_id if run_on else None,
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

    def _footer(self, file: File) -> Checked:
        """Whether the footer in a file of its own, if there is one, is that of the shard."""
        apart = footer_name(file.path)
        if not (self.folder / apart).exists():
            return Checked(counts={}, findings=())  # were it one of the manifest's, its check would say so
        kept = unpack_footer((self.folder / apart).read_bytes(), where=apart)
        if kept == read_footer(self.folder / file.path):
            return Checked(counts={}, findings=())
        return Checked(counts={}, findings=(Finding(path=apart, message=f"expected the footer of {file.path}"),))

    def _rows(self, path: str, shard: ShardFile, first_row: int, table: pa.Table) -> Checked:
        findings = check_schema(path, table.schema, shard_schema(shard.metadata))
        findings = findings or _check_lists(path, first_row, table)
        if findings:
            return Checked(counts={}, findings=tuple(findings))
        # The columns are decoded once, for digest and laws.
        rows = Rows(path=path, first_row=first_row, group=shard.row_group_of(table), metadata=shard.metadata)
        segments, findings = resolve(rows, self.part)
        if findings:
            self.account.skip()
        else:
            findings = check_rows(rows, segments, part=self.part, tokenizer=self.tokenizer)
            findings += self.account.enter(path, segments)
        findings += _check_sums(rows, table)
        return Checked(counts=self._counts(rows.group), findings=tuple(findings))

    def _counts(self, group: RowGroup) -> dict[str, int]:
        alignment, lengths = self.configuration["alignment"], group.lengths.astype(np.int64)
        num_tokens = int(lengths.sum())
        return {
            "rows": group.num_rows,
            "tokens": num_tokens,
            "tokens_aligned": int((-(-lengths // alignment) * alignment).sum()),
            "tokens_padding": group.num_rows * self.configuration["length"] - num_tokens,
        }


def _check_lists(path: str, first_row: int, table: pa.Table) -> list[Finding]:
    """Whether each row has as many accessions, record keys and starts as lengths."""
    expected = pc.list_value_length(table.column("lengths"))
    findings = []
    for name in ("accessions", "record_keys", "starts"):
        differs = np.flatnonzero(pc.not_equal(pc.list_value_length(table.column(name)), expected).to_numpy())
        if differs.size:
            message = f"row {first_row + differs[0]}: expected as many {name} as lengths, found others"
            findings.append(Finding(path=path, message=message))
    return findings


def _check_sums(rows: Rows, table: pa.Table) -> list[Finding]:
    """``num_tokens`` and ``num_sequences`` against ``lengths``."""
    group, first_row = rows.group, rows.first_row
    sums = np.diff(np.r_[0, np.cumsum(group.lengths.astype(np.int64))][group.row_offsets])
    wrong_tokens = table.column("num_tokens").to_numpy() != sums
    wrong_sequences = table.column("num_sequences").to_numpy() != np.diff(group.row_offsets)
    return [
        *first_broken(
            rows.path, wrong_tokens, lambda at: f"row {first_row + at}: num_tokens is not the sum of lengths"
        ),
        *first_broken(
            rows.path, wrong_sequences, lambda at: f"row {first_row + at}: num_sequences is not the number of lengths"
        ),
    ]
