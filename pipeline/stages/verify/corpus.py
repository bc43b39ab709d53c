"""The laws of one corpus part."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core import alphabet
from pipeline.formats.content import ContentHasher
from pipeline.formats.corpus import CORPUS_SCHEMA, joined_strings, key_range, record_keys
from pipeline.formats.manifest import File
from pipeline.formats.parquet import read_columns
from pipeline.stages.verify.checks import (
    Checked,
    Finding,
    check_content,
    check_file,
    check_schema,
    first_broken,
    guarded,
)


def verify_corpus_part(folder: Path, file: File, index: int, num_parts: int, *, allowed: bytes = b"") -> Checked:
    """Digest, schema, keys, order and letters of one part; ``allowed`` are characters between residues."""
    if findings := check_file(folder, file):
        return Checked(counts={"files": 1}, findings=tuple(findings))
    return guarded(file.path, lambda: _checked_part(folder, file, index, num_parts, allowed))


def _checked_part(folder: Path, file: File, index: int, num_parts: int, allowed: bytes) -> Checked:
    table = read_columns(folder / file.path)
    if findings := check_schema(file.path, table.schema, CORPUS_SCHEMA):
        return Checked(counts={"files": 1}, findings=tuple(findings))
    hasher = ContentHasher()
    hasher.update(table)
    findings = check_content(file, table.num_rows, hasher.hexdigest())
    findings += _laws(file.path, table, index, num_parts, allowed)
    merged = int(table.column("num_merged").to_numpy().sum()) - table.num_rows
    counts = {"files": 1, "records": table.num_rows, "records_merged": merged}
    counts["residues"] = int(table.column("length").to_numpy().sum(dtype=np.int64))
    return Checked(counts=counts, findings=tuple(findings))


def _laws(name: str, table: pa.Table, index: int, num_parts: int, allowed: bytes) -> list[Finding]:
    residues, offsets = joined_strings(table.column("sequence"))
    keys = table.column("record_key").to_numpy()
    lengths = table.column("length").to_numpy()
    expected_keys = np.concatenate([np.empty(0, np.uint64), *map(record_keys, table.column("sequence").chunks)])
    first_key, end_key = key_range(index, num_parts)
    invalid = np.zeros(len(keys), dtype=bool)
    invalid[alphabet.find_invalid(residues, offsets, allowed=allowed).record] = True
    return [
        *first_broken(
            name, keys != expected_keys, lambda at: f"record {at}: record_key is not xxh3_64 of its sequence"
        ),
        *first_broken(name, lengths != np.diff(offsets), lambda at: f"record {at}: length is not that of its sequence"),
        *first_broken(
            name,
            (keys < np.uint64(first_key)) | (keys > np.uint64(end_key - 1)),
            lambda at: f"record {at}: record_key {keys[at]} is outside the range of part {index}",
        ),
        *first_broken(name, _disordered(table), lambda at: f"record {at + 1}: not sorted, or equal to the one before"),
        *first_broken(name, invalid, lambda at: f"record {at}: a character that is no residue"),
    ]


def _disordered(table: pa.Table) -> npt.NDArray[np.bool_]:
    keys = table.column("record_key").to_numpy()
    broken: npt.NDArray[np.bool_] = keys[1:] < keys[:-1]
    for at in np.flatnonzero(keys[1:] == keys[:-1]):  # collisions of a 64-bit hash: none in most corpora
        pair = table.column("sequence").slice(int(at), 2).to_pylist()
        broken[at] = pair[0] >= pair[1]
    return broken
