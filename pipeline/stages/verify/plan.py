"""The laws of the plan of one corpus part."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.pieces import Overlong
from pipeline.core.tokenizer import Tokenizer
from pipeline.formats.content import ContentHasher
from pipeline.formats.manifest import File
from pipeline.formats.parquet import read_columns
from pipeline.formats.plan import PLAN_SCHEMA
from pipeline.stages.verify.checks import (
    Checked,
    Finding,
    check_content,
    check_file,
    check_schema,
    first_broken,
    guarded,
)
from pipeline.stages.verify.coverage import Pieces, check_coverage, coverage_counts


def verify_plan_part(folder: Path, file: File, corpus_part: Path, configuration: dict[str, Any]) -> Checked:
    """Digest, schema, order, room in each row, and that every record has its place."""
    if findings := check_file(folder, file):
        return Checked(counts={"files": 1}, findings=tuple(findings))
    return guarded(file.path, lambda: _checked_part(folder, file, corpus_part, configuration))


def _checked_part(folder: Path, file: File, corpus_part: Path, configuration: dict[str, Any]) -> Checked:
    table = read_columns(folder / file.path)
    findings = check_schema(file.path, table.schema, PLAN_SCHEMA)
    if findings:
        return Checked(counts={"files": 1}, findings=tuple(findings))
    hasher = ContentHasher()
    hasher.update(table)
    num_rows = int(table.column("row").to_numpy().max()) + 1 if table.num_rows else 0
    tokenizer = Tokenizer.from_document(configuration["tokenizer"])
    lengths = read_columns(corpus_part, ["length"]).column("length").to_numpy().astype(np.int64)
    findings = [
        *check_content(file, num_rows, hasher.hexdigest()),
        *_row_laws(file.path, table, configuration, tokenizer.num_special_tokens),
        *_record_laws(file.path, table, lengths, configuration, tokenizer.max_residues(configuration["length"])),
    ]
    counts = {"files": 1, "rows": num_rows}
    if not findings:
        max_residues, policy = tokenizer.max_residues(configuration["length"]), Overlong(configuration["overlong"])
        counts |= coverage_counts(_pieces(table), lengths, max_residues=max_residues, policy=policy)
        counts["tokens"] = counts["residues_packed"] + tokenizer.num_special_tokens * counts["segments"]
    return Checked(counts=counts, findings=tuple(findings))


def _row_laws(name: str, table: pa.Table, configuration: dict[str, Any], num_special_tokens: int) -> list[Finding]:
    row = table.column("row").to_numpy().astype(np.int64)
    slot = table.column("slot").to_numpy().astype(np.int64)
    alignment = configuration["alignment"]
    tokens = table.column("length").to_numpy().astype(np.int64) + num_special_tokens
    used = np.bincount(row, weights=-(-tokens // alignment) * alignment).astype(np.int64)
    new_row = np.diff(row) == 1
    follows = np.where(new_row, slot[1:] == 0, (np.diff(row) == 0) & (np.diff(slot) == 1))
    starts_well = not len(row) or (row[0] == 0 and slot[0] == 0)
    return [
        *([] if starts_well else [Finding(path=name, message="entry 0: expected row 0, slot 0")]),
        *first_broken(name, ~follows, lambda at: f"entry {at + 1}: rows and slots are not dense and sorted"),
        *first_broken(
            name,
            used > configuration["length"],
            lambda at: f"row {at}: {used[at]} tokens in a row of {configuration['length']}",
        ),
    ]


def _record_laws(
    name: str, table: pa.Table, lengths: Any, configuration: dict[str, Any], max_residues: int
) -> list[Finding]:
    record = table.column("record").to_numpy().astype(np.int64)
    if len(record) and record.max() >= len(lengths):
        return [Finding(path=name, message=f"record {record.max()}: the corpus part has {len(lengths)} records")]
    policy = Overlong(configuration["overlong"])
    return check_coverage(name, _pieces(table), lengths, max_residues=max_residues, policy=policy)


def _pieces(table: pa.Table) -> Pieces:
    names = ("record", "start", "length")
    record, start, length = (table.column(name).to_numpy().astype(np.int64) for name in names)
    return Pieces(record=record, start=start, length=length)
