"""The files of clusters: a part for each of the corpus, and the published split of all.

Memory: the columns of one part.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.engines.stage import TaskResult
from pipeline.errors import IntegrityError
from pipeline.formats.clusters import CLUSTER_SPLITS, LEVEL_COLUMNS, fate_columns, level_columns, write_clusters
from pipeline.formats.exchange import read_bucket, scratch_paths
from pipeline.formats.manifest import document_entry
from pipeline.formats.parquet import read_columns
from pipeline.formats.splits import SPLITS_NAME, SPLITS_SCHEMA, write_splits
from pipeline.stages.cluster.layout import CorpusLayout
from pipeline.stages.cluster.purge import EXCLUDED, Standing
from pipeline.stages.cluster.ranking import RANKED_SCHEMA


def write_part(
    folder: Path,
    *,
    corpus: CorpusLayout,
    part: int,
    ranked: Sequence[Sequence[str]],
    hits: Sequence[tuple[str, Sequence[str]]],
    weight: str,
) -> TaskResult:
    """The clusters of one corpus part, row for row.

    Args:
        folder: The clusters.
        corpus: Where the records are.
        part: Which part.
        ranked: Exchange files of each level, coarsest first, by the part of the record.
        hits: Reasons, and exchange files of the records that are excluded for each.
        weight: How records of train are weighted.

    Raises:
        IntegrityError: A record has no cluster, or two.
    """
    numbers = corpus.numbers(part)
    columns: dict[str, Any] = {}
    splits = np.empty(0, dtype=np.int8)
    for level, names in enumerate(ranked):
        rows = read_bucket(scratch_paths(folder, names), part, RANKED_SCHEMA).sort_by("number")
        if not np.array_equal(rows.column("number").to_numpy(), numbers):
            raise IntegrityError(
                f"{corpus.names[part]}: expected a cluster for each of {len(numbers):,} records, "
                f"found {rows.num_rows:,}",
                hint="the corpus changed, or mmseqs left records out: run again with --overwrite",
            )
        columns |= dict(zip(level_columns(level), (rows.column(name) for name in LEVEL_COLUMNS), strict=True))
        splits = splits if level else rows.column("split").to_numpy()
    excluded = Standing(ranked=ranked[0], hits=[files for _, files in hits]).excluded(folder, corpus, part)
    reasons, sizes = [reason for reason, _ in hits], columns["cluster_size"].to_numpy()
    columns |= fate_columns(splits, excluded, reasons, sizes, weight)
    file = write_clusters(folder, corpus.names[part], columns, num_levels=len(ranked))
    lengths = read_columns(corpus.path(part), ["length"]).column("length").to_numpy()
    counts = {"records": len(numbers)} | _fate_counts(np.where(excluded == EXCLUDED, splits, EXCLUDED), lengths)
    found = np.bincount(excluded[excluded != EXCLUDED], minlength=len(reasons)).tolist()
    return TaskResult(files=(file,), counts=counts, reasons=dict(zip(reasons, found, strict=True)))


def _fate_counts(splits: npt.NDArray[np.integer], lengths: npt.NDArray[np.uint32]) -> dict[str, int]:
    """Records and residues of each split, and of what is excluded."""
    counts = {}
    for place, name in enumerate((*CLUSTER_SPLITS, "excluded")):
        is_in = splits == (EXCLUDED if name == "excluded" else place)
        counts[f"{name}_records"] = int(np.count_nonzero(is_in))
        counts[f"{name}_residues"] = int(lengths[is_in].sum(dtype=np.int64))
    return counts


def publish_splits(folder: Path, *, corpus: CorpusLayout) -> TaskResult:
    """The published split, from the parts that were written."""
    write_splits(folder, _published(folder, corpus))
    return TaskResult(files=(document_entry(folder, SPLITS_NAME),))


def _published(folder: Path, corpus: CorpusLayout) -> Iterator[pa.Table]:
    for part in range(corpus.num_parts):
        accessions = read_columns(corpus.path(part), ["accession"]).column("accession")
        fates = read_columns(folder / corpus.names[part], ["split", "excluded"])
        yield pa.table([accessions, *fates.columns], SPLITS_SCHEMA)
