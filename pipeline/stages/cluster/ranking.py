"""From «record belongs to representative» to the files: size of each cluster, rank of each member, part by part.

::

    assigned, by hash of the representative ─▶ rank_bucket ─▶ ranked, by part of the record ─▶ write_part
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.errors import IntegrityError
from pipeline.formats.clusters import LEVEL_COLUMNS, all_train, distinct_name, level_columns, write_clusters
from pipeline.formats.exchange import exchange_writer, read_bucket, scratch_paths
from pipeline.stages.cluster.layout import CorpusLayout, Int64Array

ASSIGNED_SCHEMA = pa.schema(
    [
        ("representative", pa.string()),
        ("representative_key", pa.uint64()),
        ("number", pa.int64()),
        ("parent", pa.string()),
    ]
)
"""A record and its cluster: two clusters of one name differ in the key; ``parent`` is the coarser cluster where levels
need not nest, else null."""

RANKED_SCHEMA = pa.schema(
    [("number", pa.int64()), *zip(LEVEL_COLUMNS, (pa.string(), pa.uint32(), pa.uint32()), strict=True)]
)
"""A record and its place in its cluster."""


def assigned_name(level: int, part: int) -> str:
    """Path of a file of rows of ``ASSIGNED_SCHEMA`` that one part gave."""
    return f"{SCRATCH_NAME}/assigned-{level}-{part:05d}.arrow"


def rank_bucket(folder: Path, *, corpus: CorpusLayout, bucket: int, level: int, assigned: Sequence[str]) -> TaskResult:
    """Size and ranks of all clusters whose representative hashes to a bucket.

    Args:
        folder: The clusters.
        corpus: Where the records are.
        bucket: Of representatives.
        level: 0 being the coarsest; names the counts.
        assigned: Exchange files, by the hash of the representative.

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
    columns = {
        "number": numbers,
        "representative": _told_apart(names.dictionary, codes[firsts], keys[firsts], ambiguous).take(
            pa.array(np.repeat(np.arange(len(firsts)), sizes))
        ),
        "cluster_size": np.repeat(sizes, sizes),
        "member_index": np.arange(len(codes)) - np.repeat(firsts, sizes),
    }
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
        counts={f"{name}{suffix}": number for name, number in counts.items()},
    )


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


def write_part(folder: Path, *, corpus: CorpusLayout, part: int, ranked: Sequence[Sequence[str]]) -> TaskResult:
    """The clusters of one corpus part, row for row.

    Args:
        folder: The clusters.
        corpus: Where the records are.
        part: Which part.
        ranked: Exchange files of each level, coarsest first, by the part of the record.

    Raises:
        IntegrityError: A record has no cluster, or two.
    """
    numbers = corpus.numbers(part)
    columns = all_train(len(numbers))
    for level, names in enumerate(ranked):
        rows = read_bucket(scratch_paths(folder, names), part, RANKED_SCHEMA).sort_by("number")
        if not np.array_equal(rows.column("number").to_numpy(), numbers):
            raise IntegrityError(
                f"{corpus.names[part]}: expected a cluster for each of {len(numbers):,} records, "
                f"found {rows.num_rows:,}",
                hint="the corpus changed, or mmseqs left records out: run again with --overwrite",
            )
        columns |= dict(zip(level_columns(level), (rows.column(name) for name in LEVEL_COLUMNS), strict=True))
    file = write_clusters(folder, corpus.names[part], columns, num_levels=len(ranked))
    return TaskResult(files=(file,), counts={"records": len(numbers)})
