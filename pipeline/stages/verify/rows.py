"""The laws of packed rows: what stands at each token, against the residues of the corpus.

Everything is derived anew from ``lengths`` and the tokenizer, not with the code that laid the rows out::

    [prefix][residues from start …][suffix][padding up to the alignment] [prefix] …            [padding to the end]

Of concatenated records a segment has the suffix, which is the separator, if its tokens go one beyond the residues of
the record.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.tokenizer import Tokenizer
from pipeline.formats.corpus import CorpusPart
from pipeline.formats.shards import RowGroup, ShardMetadata
from pipeline.stages.verify.checks import Finding, first_broken
from pipeline.stages.verify.segments import Integers, Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of a shard, with accessions and sequence_id."""

    path: str
    """The file, which findings name."""
    first_row: int
    """Number of the first one in the file."""
    group: RowGroup
    metadata: ShardMetadata
    """The shard's."""


def resolve(rows: Rows, part: CorpusPart) -> tuple[Segments, list[Finding]]:
    """Find the record of each segment by its key, then check accession and bounds.

    Args:
        rows: The rows.
        part: The corpus part they must come from.
    """
    group, keys = rows.group, rows.group.record_keys
    record = np.searchsorted(part.record_key, keys)
    known = record < part.num_records
    known[known] = part.record_key[record[known]] == keys[known]
    if not known.all():
        segments = _segments(rows, np.zeros_like(record), np.zeros_like(record))
        return segments, first_broken(
            rows.path, ~known, lambda at: f"row {segments.row_of(at)}: no record with key {keys[at]}"
        )
    assert group.accessions is not None, "read with accessions"
    record = _settle_collisions(record, group, part)
    of = np.diff(part.offsets)[record]
    segments = _segments(rows, record, of)
    there, here = part.accession.take(pa.array(record)), group.accessions

    def tell_bounds(at: int) -> str:
        piece = f"{segments.length[at]} residues from {segments.start[at]} of {here[at]}, which has {of[at]}"
        return f"row {segments.row_of(at)}: {piece}"

    return segments, [
        *first_broken(
            rows.path,
            pc.not_equal(there, here).to_numpy(),
            lambda at: f"row {segments.row_of(at)}: expected accession {there[at]}, found {here[at]}",
        ),
        *first_broken(rows.path, (segments.length < 0) | (segments.start + segments.length > of), tell_bounds),
    ]


def _segments(rows: Rows, record: Integers, of: Integers) -> Segments:
    """The segments; ``of`` are the residues of their records."""
    group, metadata = rows.group, rows.metadata
    tokens, start = group.lengths.astype(np.int64), group.starts.astype(np.int64)
    is_concatenated = metadata.separator_id is not None
    has_suffix = start + tokens == of + 1 if is_concatenated else np.ones(len(tokens), dtype=bool)
    num_special = has_suffix if is_concatenated else metadata.num_prefix + metadata.num_suffix
    return Segments(
        first_row=rows.first_row,
        row_offsets=group.row_offsets,
        record=record,
        start=start,
        length=tokens - num_special,
        has_suffix=has_suffix,
    )


def _settle_collisions(record: Integers, group: RowGroup, part: CorpusPart) -> Integers:
    """Where several records share a key, take the one with the segment's accession."""
    shared = np.r_[part.record_key[1:] == part.record_key[:-1], False]
    settled = record.copy()
    assert group.accessions is not None, "read with accessions"
    for at in np.flatnonzero(shared[record]):  # collisions of a 64-bit hash: none in most corpora
        candidate = int(record[at])
        wanted = group.accessions[int(at)].as_py()
        while part.accession[candidate].as_py() != wanted and shared[candidate]:
            candidate += 1
        settled[at] = candidate
    return settled


def check_rows(rows: Rows, segments: Segments, *, part: CorpusPart, tokenizer: Tokenizer) -> list[Finding]:
    """Every token of every row, and sequence_id."""
    group = rows.group
    starts, room = _places(group, rows.metadata)
    overfull = room > rows.metadata.length
    if findings := first_broken(
        rows.path,
        overfull,
        lambda at: f"row {rows.first_row + at}: segments take {room[at]} of {rows.metadata.length} tokens",
    ):
        return findings
    residues_from = starts + len(tokenizer.prefix)
    residues_to = residues_from + segments.length
    expected = np.full(group.input_ids.size, tokenizer.pad_id, dtype=group.input_ids.dtype)
    for position, token in enumerate(tokenizer.prefix):
        expected[starts + position] = token
    for position, token in enumerate(tokenizer.suffix):
        expected[residues_to[segments.has_suffix] + position] = token
    is_residue = _painted(residues_from, residues_to, inside=True, outside=False, size=expected.size)
    expected[is_residue] = _tokens(_residues(part, segments), tokenizer)
    slots = np.arange(len(starts)) - np.repeat(group.row_offsets[:-1], np.diff(group.row_offsets))
    ends, ids = starts + group.lengths, slots.astype(np.int16)
    expected_id = _painted(starts, ends, inside=ids, outside=np.int16(-1), size=expected.size)
    assert group.sequence_id is not None, "read with sequence_id"
    return [
        *_compare(rows, "input_ids", group.input_ids, expected),
        *_compare(rows, "sequence_id", group.sequence_id, expected_id),
    ]


def _places(group: RowGroup, metadata: ShardMetadata) -> tuple[Integers, Integers]:
    """Where each segment starts in the flat tokens, and how many tokens each row's segments take."""
    occupied = -(-group.lengths.astype(np.int64) // metadata.alignment) * metadata.alignment
    ends = np.r_[0, np.cumsum(occupied)]
    row_of = np.repeat(np.arange(group.num_rows), np.diff(group.row_offsets))
    row_start = ends[group.row_offsets]
    return ends[:-1] - row_start[row_of] + row_of * metadata.length, np.diff(row_start)


def _painted(begin: Integers, end: Integers, *, inside: Any, outside: Any, size: int) -> npt.NDArray[Any]:
    """[size] values: those of ``inside`` from ``begin[i]`` to ``end[i]``, for each i, and ``outside`` elsewhere."""
    values = np.full(2 * len(begin) + 1, outside)
    values[1::2] = inside
    edges = np.zeros(2 * len(begin) + 2, dtype=np.int64)
    edges[1:-1:2], edges[2:-1:2], edges[-1] = begin, end, size
    return np.repeat(values, np.diff(edges))


def _residues(part: CorpusPart, segments: Segments) -> npt.NDArray[np.uint8]:
    """The letters of all segments, joined: cut out by Arrow, as strings of which every other one is wanted."""
    begin = part.offsets[segments.record] + segments.start
    if not len(begin):
        return np.empty(0, dtype=np.uint8)
    edges = np.empty(2 * len(begin) + 1, dtype=np.int64)
    edges[:-1:2], edges[1::2] = begin, begin + segments.length
    edges[-1] = edges[:-1].max()
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(part.residues)]
    strings = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(edges) - 1, buffers)
    wanted = strings.take(pa.array(np.arange(0, len(edges) - 1, 2)))
    return np.frombuffer(wanted.buffers()[2], dtype=np.uint8)[: int(segments.length.sum())]


def _tokens(residues: npt.NDArray[np.uint8], tokenizer: Tokenizer) -> npt.NDArray[Any]:
    if tokenizer.table.itemsize == 1:  # half the time of a look-up by numpy
        return np.frombuffer(residues.tobytes().translate(tokenizer.table.tobytes()), dtype=np.uint8)
    return tokenizer.table.take(residues)


def _compare(rows: Rows, column: str, found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> list[Finding]:
    flat, width = found.reshape(-1), found.shape[1]

    def tell(at: int) -> str:
        row, token = divmod(at, width)
        place = f"row {rows.first_row + row}, token {token}"
        return f"{place}: expected {column} {expected[at]}, found {flat[at]}"

    return first_broken(rows.path, flat != expected, tell)
