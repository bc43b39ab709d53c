"""The laws of the plan of one corpus part: of each split's file, and that the splits have every record between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.tokenizer import Tokenizer
from pipeline.formats.content import ContentHasher
from pipeline.formats.manifest import MANIFEST_NAME, File
from pipeline.formats.parquet import read_columns
from pipeline.formats.plan import PLAN_SCHEMA, is_concatenated
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
from pipeline.stages.verify.segments import Integers, Segments


def verify_plan_part(
    folder: Path,
    files: Mapping[str, File],
    corpus_part: Path,
    configuration: dict[str, Any],
    *,
    clusters_part: Path | None = None,
) -> Checked:
    """Digest, schema, order, room in each row, and that every record has its place, or a reason to have none.

    Args:
        folder: The plan.
        files: The plan of the part, by split; a split without rows has none.
        corpus_part: The part's Parquet file.
        configuration: Of the manifest.
        clusters_part: The clusters of the part, if the plan was made with any.
    """

    def check() -> Checked:
        part = read_columns(corpus_part, ["length", "record_key"])
        lengths, keys = part.column("length").to_numpy().astype(np.int64), part.column("record_key").to_numpy()
        choices = everything(len(keys)) if clusters_part is None else choices_of(clusters_part, keys, configuration)
        checker = _PartChecker(folder, lengths, configuration)
        results = [Checked(counts=choices.counts, findings=())]
        for split, choice in choices.of_split.items():
            checked = checker.split(files.get(split), f"{split}/{corpus_part.name}", choice)
            results.append(checked.of_split(split) if choices.has_clusters else checked)
        return merged(results)

    if broken := [finding for file in files.values() for finding in check_file(folder, file)]:
        return Checked(counts={"files": len(files)}, findings=tuple(broken))
    return guarded(MANIFEST_NAME, check)


@dataclass(frozen=True, slots=True)
class _PartChecker:
    """Checks the plans of one corpus part."""

    folder: Path
    lengths: Integers
    """int64 [records] residues."""
    configuration: dict[str, Any]

    def split(self, file: File | None, name: str, choice: Choice) -> Checked:
        """One split; without a file, none of its records may have needed one."""
        if file is not None:
            return guarded(
                file.path, partial(_checked_part, self.folder, file, self.lengths, self.configuration, choice)
            )
        account = account_of(self.lengths, self.configuration, tokenizer_of(self.configuration), choice)
        closed = account.close(name)
        nothing = dict.fromkeys(("rows", "tokens", "tokens_aligned", "tokens_padding"), 0)
        return Checked(counts=closed.counts | nothing, findings=closed.findings)


def _checked_part(
    folder: Path, file: File, lengths: Integers, configuration: dict[str, Any], choice: Choice
) -> Checked:
    table = read_columns(folder / file.path)
    findings = check_schema(file.path, table.schema, PLAN_SCHEMA)
    if findings:
        return Checked(counts={"files": 1}, findings=tuple(findings))
    hasher = ContentHasher()
    hasher.update(table)
    columns = {name: table.column(name).to_numpy().astype(np.int64) for name in table.schema.names}
    num_rows = int(columns["row"].max()) + 1 if table.num_rows else 0
    content = check_content(file, num_rows, hasher.hexdigest())
    broken = [*_check_order(file.path, columns), *_check_records(file.path, columns, lengths)]
    checked = Checked(counts={"files": 1, "rows": num_rows}, findings=(*content, *broken))
    return (
        checked if broken else merged([checked, _checked_segments(file.path, columns, lengths, configuration, choice)])
    )


def _check_order(name: str, columns: dict[str, Integers]) -> list[Finding]:
    row, slot = columns["row"], columns["slot"]
    new_row = np.diff(row) == 1
    follows = np.where(new_row, slot[1:] == 0, (np.diff(row) == 0) & (np.diff(slot) == 1))
    starts_well = not len(row) or (row[0] == 0 and slot[0] == 0)
    return [
        *([] if starts_well else [Finding(path=name, message="entry 0: expected row 0, slot 0")]),
        *first_broken(name, ~follows, lambda at: f"entry {at + 1}: rows and slots are not dense and sorted"),
    ]


def _check_records(name: str, columns: dict[str, Integers], lengths: Integers) -> list[Finding]:
    record, end = columns["record"], columns["start"] + columns["length"]
    if len(record) and record.max() >= len(lengths):
        return [Finding(path=name, message=f"record {record.max()}: the corpus part has {len(lengths)} records")]
    of = lengths[record]
    return first_broken(
        name, end > of, lambda at: f"a segment ends at residue {end[at]} of record {record[at]}, which has {of[at]}"
    )


def _checked_segments(
    name: str, columns: dict[str, Integers], lengths: Integers, configuration: dict[str, Any], choice: Choice
) -> Checked:
    tokenizer = tokenizer_of(configuration)
    row = columns["row"]
    segments = Segments(
        first_row=0,
        row_offsets=np.searchsorted(row, np.arange(row[-1] + 2)) if len(row) else np.zeros(1, dtype=np.int64),
        record=columns["record"],
        start=columns["start"],
        length=columns["length"],
        has_suffix=_separated(columns, lengths) if is_concatenated(configuration) else np.ones(len(row), dtype=bool),
    )
    account = account_of(lengths, configuration, tokenizer, choice)
    entered = Checked(counts={}, findings=tuple(account.enter(name, segments)))
    return merged([_checked_rows(name, segments, tokenizer, configuration), entered, account.close(name)])


def _checked_rows(name: str, segments: Segments, tokenizer: Tokenizer, configuration: dict[str, Any]) -> Checked:
    """Room in each row; and what the manifest must count of tokens."""
    length, alignment = configuration["length"], configuration["alignment"]
    tokens = segments.length + len(tokenizer.prefix) + len(tokenizer.suffix) * segments.has_suffix
    occupied = -(-tokens // alignment) * alignment
    used = np.diff(np.r_[0, np.cumsum(occupied)][segments.row_offsets])
    counts = {"tokens": int(tokens.sum()), "tokens_aligned": int(occupied.sum())}
    counts["tokens_padding"] = len(used) * length - counts["tokens"]
    overfull = first_broken(name, used > length, lambda at: f"row {at}: {used[at]} tokens in a row of {length}")
    return Checked(counts=counts, findings=tuple(overfull))


def _separated(columns: dict[str, Integers], lengths: Integers) -> npt.NDArray[np.bool_]:
    """Which segments carry the separator: those that reach the end, unless the next one is the separator alone."""
    record, start, length = columns["record"], columns["start"], columns["length"]
    is_end = start + length == lengths[record]
    is_alone = is_end & (length == 0) & (start > 0)
    next_is_alone = np.append(is_alone[1:] & (record[1:] == record[:-1]), [False])[: len(record)]
    return np.asarray(is_end & ~next_is_alone)
