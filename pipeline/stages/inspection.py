"""What an artefact holds, for people: a summary, one packed row, or what became of one protein."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.tokenizer import Tokenizer
from pipeline.errors import ArtefactError, ConfigurationError
from pipeline.formats.absence import DROPPED_NAME, explain_absence
from pipeline.formats.artefact_report import ArtefactReport, facts_of, report_of
from pipeline.formats.clusters import LEVEL_COLUMNS, level_columns
from pipeline.formats.manifest import File, Manifest, find_input, read_manifest
from pipeline.formats.parquet import read_columns
from pipeline.formats.plan import has_clusters
from pipeline.formats.shards import RowGroup, ShardFile

LEFT_OUT = "left out: longer than a row (overlong)"
LEFT_OUT_BY_CLUSTERS = (
    "left out: longer than a row, excluded, or not drawn in this epoch; `pipeline inspect` on the clusters tells which"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSegment:
    """One segment of a packed row."""

    accession: str
    start: int
    """First residue in its record, from 0."""
    num_residues: int
    num_tokens: int
    """Special tokens included."""
    first_token: int
    """Where it starts in the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRow:
    """One row, token by token."""

    split: str
    row: int
    file: str
    symbols: str
    """One character a token: residues as letters, ``[`` and ``]`` for special tokens, ``·`` for padding."""
    sequence_id: tuple[int, ...]
    segments: tuple[RowSegment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """One place where a protein was found."""

    place: str
    """File and row."""
    story: str
    """What became of it there."""
    survivor: str | None = None
    """Accession of the record it was merged into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Where a protein was found; true if it was."""

    found: tuple[Whereabouts, ...]
    """Every place."""
    explanation: tuple[str, ...] = ()
    """If there is none: what may have become of it, in sentences."""

    def __iter__(self) -> Iterator[Whereabouts]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def summarise(folder: Path) -> tuple[Manifest, list[tuple[str, str]], ArtefactReport | None]:
    """The manifest, what it says as names and values, and the report of a corpus or a plan that has one.

    Raises:
        ArtefactError: The folder is no finished artefact, or its report cannot be read.
    """
    manifest = read_manifest(folder)
    return manifest, facts_of(manifest), report_of(folder, manifest)


def packed_row(folder: Path, row: int, *, split: str | None = None) -> PackedRow:
    """One row of shards.

    Args:
        folder: The shards.
        row: Number of the row in its split, from 0, in the order of the files.
        split: Which split; None takes the first there is.

    Raises:
        ArtefactError: The folder holds no shards.
        ConfigurationError: There is no such split or row.
    """
    manifest = read_manifest(folder, kind="shards")
    splits = list(dict.fromkeys(file.split for file in manifest.files if file.split))
    chosen = split or splits[0]
    if chosen not in splits:
        raise ConfigurationError(f"{folder}: expected a split of {', '.join(splits)}, found {chosen}")
    file, row_in_file = _locate(folder, manifest.files_of(chosen), row)
    shard = ShardFile(folder / file.path)
    firsts = np.cumsum([0, *shard.rows_of_groups])
    group = int(np.searchsorted(firsts, row_in_file, side="right")) - 1
    rows = shard.read_row_group(group, accessions=True, sequence_id=True)
    tokenizer = Tokenizer.from_document(manifest.configuration["tokenizer"])
    at = row_in_file - int(firsts[group])
    assert rows.sequence_id is not None, "read with sequence_id"
    return PackedRow(
        split=chosen,
        row=row,
        file=file.path,
        symbols=_symbols(rows.input_ids[at], tokenizer),
        sequence_id=tuple(rows.sequence_id[at].tolist()),
        segments=tuple(_segments(rows, at, tokenizer, shard.metadata.alignment)),
    )


def _locate(folder: Path, files: tuple[File, ...], row: int) -> tuple[File, int]:
    total = sum(file.rows for file in files)
    if not 0 <= row < total:
        raise ConfigurationError(f"{folder}: expected a row from 0 to {total - 1:,}, found {row:,}")
    for file in files:
        if row < file.rows:
            return file, row
        row -= file.rows
    raise AssertionError("the rows of the files add up to the total")


def _symbols(tokens: Any, tokenizer: Tokenizer) -> str:
    shown = [token if len(token) == 1 else "#" for token in tokenizer.tokens]
    for token in tokenizer.prefix:
        shown[token] = "["
    for token in tokenizer.suffix:
        shown[token] = "]"
    shown[tokenizer.pad_id] = "·"
    return "".join(shown[token] for token in tokens.tolist())


def _segments(rows: RowGroup, at: int, tokenizer: Tokenizer, alignment: int) -> Iterator[RowSegment]:
    first_token = 0
    assert rows.accessions is not None, "read with accessions"
    for segment in range(int(rows.row_offsets[at]), int(rows.row_offsets[at + 1])):
        num_tokens = int(rows.lengths[segment])
        yield RowSegment(
            accession=rows.accessions[segment].as_py(),
            start=int(rows.starts[segment]),
            num_residues=num_tokens - tokenizer.num_special_tokens,
            num_tokens=num_tokens,
            first_token=first_token,
        )
        first_token += -(-num_tokens // alignment) * alignment


def find_accession(folder: Path, accession: str, *, corpus: Path | None = None) -> Search:
    """Every place of a protein in an artefact, also where it was merged into another, and why where it has none.

    Args:
        folder: Any artefact but a download.
        accession: Of the protein.
        corpus: Where the corpus of a plan or of shards is, if it was moved.

    Raises:
        ArtefactError: The folder is no finished artefact, or the corpus is needed and not there.
        ConfigurationError: The artefact has no proteins that can be found.
    """
    manifest = read_manifest(folder)
    if manifest.kind not in _FINDERS:
        raise ConfigurationError(
            f"{folder}: expected one of {', '.join(_FINDERS)} to find a protein in, found a {manifest.kind}",
            hint="make a corpus of it first: pipeline ingest" if manifest.kind == "download" else None,
        )
    found = tuple(_FINDERS[manifest.kind](folder, manifest, accession, corpus))
    place, corpus_manifest = folder, manifest
    if not found and manifest.kind != "corpus":
        place, corpus_manifest = find_input(folder, manifest, "corpus", override=corpus)
        found = tuple(
            told
            for origin in _in_corpus(place, corpus_manifest, accession)
            for told in _explained(origin, accession, folder, manifest, corpus)
        )
    return Search(found=found, explanation=() if found else tuple(explain_absence(place, corpus_manifest, accession)))


def _explained(
    origin: Whereabouts, accession: str, folder: Path, manifest: Manifest, corpus: Path | None
) -> Iterator[Whereabouts]:
    """Why a protein that the corpus knows has no place of its own, and where its survivor is."""
    yield Whereabouts(place=f"corpus {origin.place}", story=origin.story)
    if origin.survivor is not None:
        yield from _FINDERS[manifest.kind](folder, manifest, origin.survivor, corpus)
    elif origin.story.startswith("kept"):
        yield from _left_out(str(folder), folder, manifest, accession, corpus)


def _left_out(
    place: str, folder: Path, manifest: Manifest, accession: str, corpus: Path | None
) -> Iterator[Whereabouts]:
    """That a record of the corpus is not in a plan, and what its clusters say of it, if they are where they were."""
    if not has_clusters(manifest):
        yield Whereabouts(place=place, story=LEFT_OUT)
        return
    yield Whereabouts(place=place, story=LEFT_OUT_BY_CLUSTERS)
    try:
        clusters, clusters_manifest = find_input(folder, manifest, "clusters")
        told = list(_in_clusters(clusters, clusters_manifest, accession, corpus))
    except ArtefactError:
        return  # moved: the sentence before says where to look
    yield from (Whereabouts(place=f"clusters {one.place}", story=one.story) for one in told)


def _in_corpus(folder: Path, manifest: Manifest, accession: str, corpus: Path | None = None) -> Iterator[Whereabouts]:
    del corpus
    yield from _in_dropped(folder, accession)
    for file in manifest.tables:
        table = read_columns(folder / file.path, ["accession", "length", "aliases", "num_merged", "source"])
        for row in _rows_with(table.column("accession"), accession):
            merged, length = table.column("num_merged")[row].as_py(), table.column("length")[row].as_py()
            others = f", {merged - 1} equal records merged into it" if merged > 1 else ""
            source = table.column("source")[row].as_py()
            yield Whereabouts(place=f"{file.path} record {row}", story=f"kept: {source}, {length:,} residues{others}")
        aliases = table.column("aliases").combine_chunks()
        flat, parents = pc.list_flatten(aliases), pc.list_parent_indices(aliases)
        for at in _rows_with(flat, accession):
            row = parents[at].as_py()
            survivor = table.column("accession")[row].as_py()
            story = f"merged into {survivor}: equal residues"
            yield Whereabouts(place=f"{file.path} record {row}", story=story, survivor=survivor)


def _in_dropped(folder: Path, accession: str) -> Iterator[Whereabouts]:
    for path in sorted((folder / DROPPED_NAME).glob("*.parquet")):
        table = read_columns(path, ["reason", "accession"])
        for row in _rows_with(table.column("accession"), accession):
            reason = table.column("reason")[row].as_py()
            yield Whereabouts(place=f"dropped/{path.name} record {row}", story=f"dropped: {reason}")


def _rows_with(column: Any, value: str) -> list[int]:
    found: list[int] = np.flatnonzero(pc.equal(column, value).to_numpy(zero_copy_only=False)).tolist()
    return found


def _in_clusters(folder: Path, manifest: Manifest, accession: str, corpus: Path | None) -> Iterator[Whereabouts]:
    place, corpus_manifest = find_input(folder, manifest, "corpus", override=corpus)
    for part, file in zip(corpus_manifest.tables, manifest.tables, strict=True):
        records = _rows_with(read_columns(place / part.path, ["accession"]).column("accession"), accession)
        if not records:
            continue
        table = read_columns(folder / file.path)
        for record in records:
            entry = {name: table.column(name)[record].as_py() for name in table.column_names}
            levels = [level_columns(level) for level in range(len(entry) // len(LEVEL_COLUMNS))]
            told = [
                f"member {entry[index] + 1:,} of {entry[size]:,} in the cluster of {entry[representative]}"
                for representative, size, index in levels
                if representative in entry
            ]
            story = f"{', and within it '.join(told)}: {_fate(entry)}"
            yield Whereabouts(place=f"{file.path} record {record}", story=story)


def _fate(entry: dict[str, Any]) -> str:
    """Split of a record, or why it has none."""
    if entry["split"] is None:
        return f"excluded, {entry['excluded']}"
    weight = "" if entry["weight"] == 1 else f", kept for an epoch with probability {entry['weight']:.3g}"
    return f"{entry['split']}{weight}"


def _in_plan(folder: Path, manifest: Manifest, accession: str, corpus: Path | None) -> Iterator[Whereabouts]:
    place, corpus_manifest = find_input(folder, manifest, "corpus", override=corpus)
    of_splits = [manifest.files_of(split) for split in dict.fromkeys(file.split for file in manifest.tables)]
    for part, *files in zip(corpus_manifest.tables, *of_splits, strict=True):
        records = _rows_with(read_columns(place / part.path, ["accession"]).column("accession"), accession)
        found = [told for file in files if records for told in _segments_of(folder, file, records)]
        yield from found
        if records and not found:
            yield from _left_out(files[0].path, folder, manifest, accession, corpus)


def _segments_of(folder: Path, file: File, records: list[int]) -> Iterator[Whereabouts]:
    """Where a plan of one part has any of its records."""
    table = read_columns(folder / file.path)
    for entry in table.filter(pc.is_in(table.column("record"), pa.array(records, pa.uint32()))).to_pylist():
        piece = f"residues {entry['start'] + 1:,} to {entry['start'] + entry['length']:,}"
        yield Whereabouts(place=f"{file.path} row {entry['row']} slot {entry['slot']}", story=piece)


def _in_shards(folder: Path, manifest: Manifest, accession: str, corpus: Path | None) -> Iterator[Whereabouts]:
    del corpus
    special = Tokenizer.from_document(manifest.configuration["tokenizer"]).num_special_tokens
    for file in manifest.tables:
        table = read_columns(folder / file.path, ["accessions", "starts", "lengths"])
        offsets = np.cumsum(np.r_[0, pc.list_value_length(table.column("accessions")).to_numpy()])
        starts, lengths = (pc.list_flatten(table.column(name)) for name in ("starts", "lengths"))
        for at in _rows_with(pc.list_flatten(table.column("accessions")), accession):
            row = int(np.searchsorted(offsets, at, side="right")) - 1
            start, residues = starts[at].as_py(), lengths[at].as_py() - special
            yield Whereabouts(
                place=f"{file.path} row {row} slot {at - int(offsets[row])}",
                story=f"residues {start + 1:,} to {start + residues:,}",
            )


_Finder = Callable[[Path, Manifest, str, Path | None], Iterator[Whereabouts]]
_FINDERS: dict[str, _Finder] = {"corpus": _in_corpus, "clusters": _in_clusters, "plan": _in_plan, "shards": _in_shards}
