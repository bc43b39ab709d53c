"""The laws of packed rows: what stands at each token, against the residues of the corpus.

Everything is derived anew from ``lengths`` and the tokenizer, not with the code that laid the rows out::

    [prefix][residues from start …][suffix][padding up to the alignment] [prefix] …            [padding to the end]
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.tokenizer import Tokenizer
from pipeline.formats.corpus import CorpusPart
from pipeline.formats.shards import RowGroup, ShardMetadata
from pipeline.stages.verify.checks import Finding, first_broken

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """The segments of a row group, resolved against the corpus part."""

    record: Integers
    """[segments] row in the corpus part."""
    start: Integers
    """[segments] first residue."""
    residues: Integers
    """[segments] number of residues."""


def resolve(name: str, group: RowGroup, part: CorpusPart, metadata: ShardMetadata) -> tuple[Segments, list[Finding]]:
    """Find the record of each segment by its key, then check accession and bounds.

    Args:
        name: What the findings name: file and row group.
        group: The rows, with accessions.
        part: The corpus part they must come from.
        metadata: The shard's.
    """
    record = np.searchsorted(part.record_key, group.record_keys)
    known = record < part.num_records
    known[known] = part.record_key[record[known]] == group.record_keys[known]
    residues = group.lengths.astype(np.int64) - metadata.num_prefix - metadata.num_suffix
    segments = Segments(record=record, start=group.starts.astype(np.int64), residues=residues)
    if not known.all():
        keys = group.record_keys
        return segments, first_broken(name, ~known, lambda at: f"segment {at}: no record with key {keys[at]}")
    assert group.accessions is not None, "read with accessions"
    record = _settle_collisions(record, group, part)
    segments = Segments(record=record, start=segments.start, residues=residues)
    there = np.asarray(part.accession.take(record).to_pylist(), dtype=object)
    here = np.asarray(group.accessions.to_pylist(), dtype=object)
    lengths = np.diff(part.offsets)[record]
    return segments, [
        *first_broken(
            name, there != here, lambda at: f"segment {at}: expected accession {there[at]}, found {here[at]}"
        ),
        *first_broken(
            name,
            (residues < 0) | (segments.start + residues > lengths),
            lambda at: (
                f"segment {at}: {residues[at]} residues from {segments.start[at]} of {here[at]}, "
                f"which has {lengths[at]}"
            ),
        ),
    ]


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


def check_rows(
    name: str, group: RowGroup, segments: Segments, *, part: CorpusPart, tokenizer: Tokenizer, metadata: ShardMetadata
) -> list[Finding]:
    """Every token of every row, and sequence_id."""
    starts, room = _places(group, metadata)
    overfull = room > metadata.length
    if findings := first_broken(
        name, overfull, lambda at: f"row {at}: segments take {room[at]} of {metadata.length} tokens"
    ):
        return findings
    expected = np.full(group.input_ids.size, tokenizer.pad_id, dtype=group.input_ids.dtype)
    expected_id = np.full(group.input_ids.size, -1, dtype=np.int16)
    for position, token in enumerate(tokenizer.prefix):
        expected[starts + position] = token
    residues_from = starts + len(tokenizer.prefix)
    for position, token in enumerate(tokenizer.suffix):
        expected[residues_from + segments.residues + position] = token
    within = _within(segments.residues)
    source = np.repeat(part.offsets[segments.record] + segments.start, segments.residues) + within
    expected[np.repeat(residues_from, segments.residues) + within] = tokenizer.table[part.residues[source]]
    lengths = group.lengths.astype(np.int64)
    slots = np.arange(len(lengths)) - np.repeat(group.row_offsets[:-1], np.diff(group.row_offsets))
    expected_id[np.repeat(starts, lengths) + _within(lengths)] = np.repeat(slots, lengths)
    assert group.sequence_id is not None, "read with sequence_id"
    return [
        *_compare(name, "input_ids", group.input_ids, expected.reshape(group.input_ids.shape)),
        *_compare(name, "sequence_id", group.sequence_id, expected_id.reshape(group.input_ids.shape)),
    ]


def _places(group: RowGroup, metadata: ShardMetadata) -> tuple[Integers, Integers]:
    """Where each segment starts in the flat tokens, and how many tokens each row's segments take."""
    occupied = -(-group.lengths.astype(np.int64) // metadata.alignment) * metadata.alignment
    ends = np.r_[0, np.cumsum(occupied)]
    row_of = np.repeat(np.arange(group.num_rows), np.diff(group.row_offsets))
    row_start = ends[group.row_offsets]
    return ends[:-1] - row_start[row_of] + row_of * metadata.length, np.diff(row_start)


def _within(lengths: Integers) -> Integers:
    """0, 1, … restarting for each segment."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _compare(name: str, column: str, found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> list[Finding]:
    width = found.shape[1]

    def tell(at: int) -> str:
        row, token = divmod(at, width)
        return f"row {row}, token {token}: expected {column} {expected[row, token]}, found {found[row, token]}"

    return first_broken(name, (found != expected).reshape(-1), tell)
