"""From «record belongs to representative» to size and split of each cluster, and rank of each member.

::

    assigned, by hash of the representative ─▶ rank_bucket ─▶ ranked, by part of the record
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.randomness import UInt64Array
from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.formats.clusters import CLUSTER_SPLITS, LEVEL_COLUMNS, distinct_name
from pipeline.formats.corpus import record_keys
from pipeline.formats.exchange import exchange_writer, read_bucket, scratch_paths
from pipeline.stages.cluster.layout import CorpusLayout, Int64Array
from pipeline.stages.cluster.names import first_names
from pipeline.stages.cluster.splits import Splitting, cluster_splits, marks_of

ASSIGNED_SCHEMA = pa.schema(
    [
        ("representative", pa.string()),
        ("representative_key", pa.uint64()),
        ("split_key", pa.uint64()),
        ("number", pa.int64()),
        ("parent", pa.string()),
    ]
)
"""A record and its cluster: two clusters of one name differ in the key; ``split_key`` is the record key of the
representative where the row knows it; ``parent`` is the coarser cluster where levels need not nest, else null."""

RANKED_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        *zip(LEVEL_COLUMNS, (pa.string(), pa.uint32(), pa.uint32()), strict=True),
        ("split", pa.int8()),
    ]
)
"""A record, its place in its cluster and, at the coarsest level, that of its split in ``CLUSTER_SPLITS``."""


def assigned_name(level: int, part: int) -> str:
    """Path of a file of rows of ``ASSIGNED_SCHEMA`` that one part gave."""
    return f"{SCRATCH_NAME}/assigned-{level}-{part:05d}.arrow"


def rank_bucket(
    folder: Path, *, corpus: CorpusLayout, bucket: int, level: int, assigned: Sequence[str], splitting: Splitting | None
) -> TaskResult:
    """Size and ranks of all clusters whose representative hashes to a bucket.

    Args:
        folder: The clusters.
        corpus: Where the records are.
        bucket: Of representatives.
        level: 0 being the coarsest; names the counts.
        assigned: Exchange files, by the hash of the representative.
        splitting: What decides the splits of these clusters; None: another level does.

    Returns:
        A file of members with size and rank, by the part of the record.
    """
    rows = read_bucket(scratch_paths(folder, assigned), bucket, ASSIGNED_SCHEMA).combine_chunks()
    names = rows.column("representative").combine_chunks().dictionary_encode()
    codes, keys = names.indices.to_numpy(), rows.column("representative_key").to_numpy()
    numbers = rows.column("number").to_numpy()
    order = np.lexsort((numbers, keys, codes))
    codes, keys, numbers = codes[order], keys[order], numbers[order]
    firsts = np.flatnonzero(_changes(codes) | _changes(keys))
    sizes = np.diff(firsts, append=len(codes))
    ambiguous = _ambiguous(codes[firsts])
    told = _told_apart(names.dictionary, codes[firsts], keys[firsts], ambiguous)
    columns = {
        "number": numbers,
        "representative": told.take(pa.array(np.repeat(np.arange(len(firsts)), sizes))),
        "cluster_size": np.repeat(sizes, sizes),
        "member_index": np.arange(len(codes)) - np.repeat(firsts, sizes),
    }
    of_splits: dict[str, int] = {}
    values: dict[str, list[str]] = {}
    if splitting is None:
        columns["split"] = pa.nulls(len(numbers), pa.int8())
    else:
        split_keys = _split_keys(rows.column("split_key").take(pa.array(order)), told, firsts)
        marks = marks_of(folder, corpus, numbers) if splitting.is_pinned else np.empty(0, dtype=np.int8)
        splits, is_pinned, differs = cluster_splits(split_keys, marks, firsts, splitting)
        columns["split"] = np.repeat(splits, sizes)
        for place, split in enumerate(CLUSTER_SPLITS):
            of_splits[f"{split}_clusters"] = int(np.count_nonzero(splits == place))
        if splitting.is_pinned:
            of_splits["clusters_pinned"] = int(np.count_nonzero(is_pinned))
            of_splits["clusters_pinned_apart"] = int(np.count_nonzero(differs))
            values["pinned_apart"] = first_names(told.filter(pa.array(differs)))
    made = f"{SCRATCH_NAME}/ranked-{level}-{bucket:05d}.arrow"
    with exchange_writer(folder / made, RANKED_SCHEMA, corpus.num_parts) as exchange:
        exchange.add(columns, corpus.part_of(numbers))
    counts = {
        "clusters": len(firsts),
        "singletons": int(np.count_nonzero(sizes == 1)),
        "most_members": int(sizes.max(initial=0)),
        "representatives_renamed": int(np.count_nonzero(ambiguous)),
    }
    if level:
        counts["clusters_not_nested"] = _not_nested(rows.column("parent").take(pa.array(order)), firsts, sizes)
    suffix = f"_{level + 1}" if level else ""
    return TaskResult(
        scratch={made: (folder / made).stat().st_size},
        counts={f"{name}{suffix}": number for name, number in counts.items()} | of_splits,
        values=values,
    )


def _split_keys(keys: pa.ChunkedArray, names: pa.Array, firsts: Int64Array) -> UInt64Array:
    """uint64 [clusters]: record keys of the representatives; of those that are no records, the hash of the name."""
    if not len(firsts):
        return np.empty(0, dtype=np.uint64)
    is_known = np.logical_or.reduceat(keys.is_valid().to_numpy(), firsts)
    # Several records may share the accession of a representative.
    smallest = np.minimum.reduceat(keys.fill_null(np.iinfo(np.uint64).max).to_numpy(), firsts)
    return np.where(is_known, smallest, record_keys(names))


def _changes(values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Where a sorted array has another value than before: true for its first."""
    changes = np.ones(len(values), dtype=np.bool_)
    changes[1:] = values[1:] != values[:-1]
    return changes


def _ambiguous(codes: Int64Array) -> npt.NDArray[np.bool_]:
    """Which clusters have the name of another, by the sorted codes of their names."""
    changes = _changes(codes)
    ends = np.append(changes[1:], [True])[: len(changes)]
    return np.asarray(~(changes & ends))


def _told_apart(names: pa.Array, codes: Int64Array, keys: Int64Array, ambiguous: npt.NDArray[np.bool_]) -> pa.Array:
    told = names.take(pa.array(codes))
    if not ambiguous.any():
        return told
    places = np.flatnonzero(ambiguous)
    distinct = [distinct_name(told[at].as_py(), int(keys[at])) for at in places.tolist()]
    return pc.replace_with_mask(told, pa.array(ambiguous), pa.array(distinct, pa.string()))


def _not_nested(parents: pa.ChunkedArray, firsts: Int64Array, sizes: Int64Array) -> int:
    """Clusters whose members are in more than one coarser cluster."""
    codes = parents.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    differs = codes != codes[np.repeat(firsts, sizes)]
    return int(np.count_nonzero(np.add.reduceat(differs, firsts))) if len(firsts) else 0
