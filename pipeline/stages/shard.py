"""The shard stage: plan and corpus to Parquet rows of tokens.

One task for each shard. A part of the plan makes one shard, or several when it has more rows than ``rows_per_shard``;
shards never cross parts, so that a task reads one part of the corpus and one of the plan. Rows are laid out a few
row groups at a time; memory is the residues of one part plus a few dozen megabytes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import ShardConfig
from pipeline.core.concatenation import carries_separator
from pipeline.core.layout import RowBlock, lay_out
from pipeline.core.tokenizer import Tokenizer
from pipeline.engines.stage import Round, Rounds, Task, TaskResult, artefact_input, files_of, relative_path, total
from pipeline.formats.card import dataset_card
from pipeline.formats.corpus import CorpusPart, largest_part, read_part
from pipeline.formats.huggingface import fast_tokenizer_document
from pipeline.formats.manifest import (
    File,
    Input,
    Kind,
    Manifest,
    Run,
    document_entry,
    find_input,
    make_manifest,
    read_manifest,
)
from pipeline.formats.parquet import read_columns
from pipeline.formats.plan import is_concatenated, merged_reasons
from pipeline.formats.shard_footers import write_footer
from pipeline.formats.shards import ShardMetadata, ShardWriter, shard_name, token_array
from pipeline.formats.storage import atomic_path, file_digest, write_json, write_text

TOKENIZER_NAME = "tokenizer.json"
CARD_NAME = "README.md"
_TOKENS_AT_ONCE = 4 << 20
_TASK_BYTES, _TASK_BYTES_A_RESIDUE = 210_000_000, 5
"""Memory of a task: measured 255 MB for a part of 16 million residues, 400 to 500 for one of 62 million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shard:
    """Where one shard comes from."""

    name: str
    split: str
    corpus_part: str
    plan_part: str
    first_row: int
    num_rows: int


class Shard:
    """Stage: ``plan/`` and ``corpus/`` to ``shards/``."""

    kind: Kind = "shards"

    def __init__(self, plan: Path, config: ShardConfig, *, corpus: Path | None = None) -> None:
        self.plan = plan
        self.config = config
        self.plan_manifest = read_manifest(plan, kind="plan")
        self.corpus, self.corpus_manifest = find_input(plan, self.plan_manifest, "corpus", override=corpus)
        self.tokenizer = Tokenizer.from_document(self.plan_manifest.configuration["tokenizer"])
        self.is_concatenated = is_concatenated(self.plan_manifest.configuration)
        if self.is_concatenated:
            self.tokenizer = self.tokenizer.for_concatenation()

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        """None: the inputs are identified by their manifests."""
        return ()

    def describe(self, folder: Path) -> Run:
        """Layout, and the plan and corpus, with the clusters that the plan was made with."""
        inputs = (
            artefact_input(self.plan, self.plan_manifest, folder),
            artefact_input(self.corpus, self.corpus_manifest, folder),
            *self._clusters(folder),
        )
        return Run(kind=self.kind, configuration=self.config.model_dump(mode="json"), inputs=inputs)

    def _clusters(self, folder: Path) -> list[Input]:
        """Those that the plan was made with: rows are made without them, and verified with them."""
        return [
            source.model_copy(update={"path": relative_path(self.plan / source.path, folder)})
            for source in self.plan_manifest.inputs
            if source.kind == "clusters"
        ]

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """Write every shard, then the tokenizer and the card."""
        del worker_bytes  # a task holds one part, and the corpus decides how large that is
        num_residues = largest_part(self.corpus_manifest)[1]
        task_bytes = _TASK_BYTES + _TASK_BYTES_A_RESIDUE * num_residues
        tasks = [self._task(shard) for shard in self._shards()]
        results = yield Round(label="write", tasks=tasks, task_bytes=task_bytes)
        manifest = make_manifest(
            self.kind,
            configuration=self._configuration(),
            inputs=self.describe(folder).inputs,
            files=files_of(results),
            counts={**_merged(self.corpus_manifest), **self.plan_manifest.counts, **total(results, "counts")},
            reasons=merged_reasons(self.corpus_manifest.reasons, self.plan_manifest.reasons),
            provenance=self.plan_manifest.provenance,
        )
        footers = [write_footer(folder, file.path) for file in manifest.files]
        companions = (*footers, *self._companions(folder, manifest))
        return manifest.model_copy(update={"files": (*manifest.files, *companions)})

    def _configuration(self) -> dict[str, Any]:
        layout = {"layout": self.config.layout.value, "rows_per_group": self.config.group_rows(self._length)}
        return self.plan_manifest.configuration | layout

    @property
    def _length(self) -> int:
        return int(self.plan_manifest.configuration["length"])

    def _shards(self) -> list[_Shard]:
        shards: list[_Shard] = []
        for split in dict.fromkeys(file.split for file in self.plan_manifest.tables):
            assert split is not None, "every file of a plan has a split"
            spans = list(self._spans(split))
            for index, (plan_part, part, first_row, num_rows) in enumerate(spans):
                shard = _Shard(
                    name=shard_name(split, index, len(spans)),
                    split=split,
                    corpus_part=part,
                    plan_part=plan_part,
                    first_row=first_row,
                    num_rows=num_rows,
                )
                shards.append(shard)
        return shards

    def _spans(self, split: str) -> Iterator[tuple[str, str, int, int]]:
        """(plan file, corpus file, first row, rows) of each shard."""
        parts = [file.path for file in self.corpus_manifest.tables]
        for plan_file, part in zip(self.plan_manifest.files_of(split), parts, strict=True):
            for first_row in range(0, plan_file.rows, self.config.rows_per_shard):
                num_rows = min(self.config.rows_per_shard, plan_file.rows - first_row)
                yield str(self.plan / plan_file.path), str(self.corpus / part), first_row, num_rows

    def _task(self, shard: _Shard) -> Task:
        metadata = ShardMetadata(
            fingerprint=self.plan_manifest.fingerprint,
            dtype=str(self.tokenizer.dtype),
            length=self._length,
            alignment=self.plan_manifest.configuration["alignment"],
            pad_id=self.tokenizer.pad_id,
            num_prefix=len(self.tokenizer.prefix),
            num_suffix=0 if self.is_concatenated else len(self.tokenizer.suffix),
            layout=self.config.layout.value,
            separator_id=self.tokenizer.separator_id if self.is_concatenated else None,
        )
        arguments: dict[str, Any] = {"shard": shard, "metadata": metadata, "tokenizer": self.tokenizer.document()}
        arguments["rows_per_group"] = self.config.group_rows(self._length)
        return Task(name=Path(shard.name).stem, function=write_shard, arguments=arguments)

    def _companions(self, folder: Path, manifest: Manifest) -> tuple[File, File]:
        """Write tokenizer.json and the dataset card."""
        tokenizer = self.tokenizer
        document = fast_tokenizer_document(
            tokens=tokenizer.tokens,
            prefix=tokenizer.prefix,
            suffix=tokenizer.suffix,
            pad_id=tokenizer.pad_id,
            mask_id=tokenizer.mask_id,
            unknown_id=tokenizer.unknown_id,
            separator_id=tokenizer.separator_id,
            normalisation=tokenizer.normalisation,
            byte_level=tokenizer.byte_level,
        )
        write_json(folder / TOKENIZER_NAME, document)
        write_text(folder / CARD_NAME, dataset_card(manifest))
        return document_entry(folder, TOKENIZER_NAME), document_entry(folder, CARD_NAME)


def _merged(corpus: Manifest) -> dict[str, int]:
    return {key: corpus.counts[key] for key in ("records_read", "records_merged")}


def write_shard(
    folder: Path, *, shard: _Shard, metadata: ShardMetadata, tokenizer: dict[str, Any], rows_per_group: int
) -> TaskResult:
    """Lay out and write the rows of one shard.

    Args:
        folder: The shards artefact.
        shard: Which rows.
        metadata: What goes into the Parquet metadata.
        tokenizer: Document of the tokenizer.
        rows_per_group: Rows in a row group.
    """
    part = read_part(Path(shard.corpus_part))
    segments = _Segments(read_columns(Path(shard.plan_part)), shard.first_row, shard.num_rows)
    counts = {"shard_rows": 0, "shard_tokens": 0, "shard_segments": 0}
    with atomic_path(folder / shard.name) as temporary:
        with ShardWriter(temporary, metadata, rows_per_group=rows_per_group) as writer:
            for table in _tables(part, segments, Tokenizer.from_document(tokenizer), metadata):
                writer.write(table)
                counts["shard_rows"] += table.num_rows
                counts["shard_tokens"] += pa.compute.sum(table.column("num_tokens")).as_py()
                counts["shard_segments"] += pa.compute.sum(table.column("num_sequences")).as_py()
        num_bytes, digest = file_digest(temporary)
    file = File(
        path=shard.name,
        split=shard.split,
        rows=shard.num_rows,
        bytes=num_bytes,
        xxh3_64=digest,
        content=writer.content,
    )
    return TaskResult(files=(file,), counts=counts)


class _Segments:
    """The plan of a range of rows, as arrays, and where each row's segments start."""

    def __init__(self, table: pa.Table, first_row: int, num_rows: int) -> None:
        rows = table.column("row").to_numpy()
        start, end = np.searchsorted(rows, [first_row, first_row + num_rows])
        self.row = rows[start:end].astype(np.int64) - first_row
        self.record = table.column("record").to_numpy()[start:end]
        self.start = table.column("start").to_numpy()[start:end]
        self.length = table.column("length").to_numpy()[start:end]
        self.row_offsets = np.searchsorted(self.row, np.arange(num_rows + 1))
        self.num_rows = num_rows


def _tables(part: CorpusPart, segments: _Segments, tokenizer: Tokenizer, metadata: ShardMetadata) -> Iterator[pa.Table]:
    rows_at_once = max(1, _TOKENS_AT_ONCE // metadata.length)
    for first_row in range(0, segments.num_rows, rows_at_once):
        end_row = min(first_row + rows_at_once, segments.num_rows)
        chosen = slice(int(segments.row_offsets[first_row]), int(segments.row_offsets[end_row]))
        block = lay_out(
            part.residues,
            part.offsets,
            row=segments.row[chosen] - first_row,
            record=segments.record[chosen],
            start=segments.start[chosen],
            length=segments.length[chosen],
            num_rows=end_row - first_row,
            row_length=metadata.length,
            table=tokenizer.table,
            prefix=tokenizer.prefix,
            suffix=tokenizer.suffix,
            has_suffix=None if metadata.separator_id is None else _separated(part, segments, chosen, metadata.length),
            pad_id=tokenizer.pad_id,
            alignment=metadata.alignment,
        )
        yield _table(block, part, segments.record[chosen], segments.start[chosen], metadata.layout)


def _separated(part: CorpusPart, segments: _Segments, chosen: slice, row_length: int) -> npt.NDArray[np.bool_]:
    """Which segments of some rows carry the separator: bool [segments]."""
    record = segments.record[chosen].astype(np.int64)
    first, after = (part.offsets[np.minimum(record + step, part.num_records)] for step in (0, 1))
    is_end = segments.start[chosen].astype(np.int64) + segments.length[chosen] == after - first
    row = segments.row[chosen]
    return carries_separator(row - row[:1], segments.length[chosen], is_end, row_length)


def _table(
    block: RowBlock,
    part: CorpusPart,
    record: npt.NDArray[np.uint32],
    start: npt.NDArray[np.uint32],
    layout: str,
) -> pa.Table:
    offsets = pa.array(block.row_offsets.astype(np.int32))

    def per_row(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, values)

    accessions = part.accession.take(pa.array(record)).combine_chunks()
    return pa.table(
        {
            "input_ids": token_array(block.input_ids, layout),
            "sequence_id": token_array(block.sequence_id, layout),
            "lengths": per_row(pa.array(block.lengths)),
            "accessions": per_row(accessions),
            "record_keys": per_row(pa.array(part.record_key[record])),
            "starts": per_row(pa.array(start)),
            "num_tokens": pa.array(block.num_tokens),
            "num_sequences": pa.array(block.num_sequences),
        }
    )
