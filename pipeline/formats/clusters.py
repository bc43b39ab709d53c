"""Clusters: which cluster each record of a corpus belongs to, row for row beside its parts.

::

    corpus/part-00003.parquet        clusters/part-00003.parquet
      record 0                         record 0    representative  cluster_size  member_index   ← coarsest level
      record 1                         record 1    representative_2 cluster_size_2 …            ← finer, within it
      …                                …           weight  split  excluded

``member_index`` is the rank of a record in its cluster, in the order of record keys, then sequences: the corpus's.
The representative is an accession, or the name that existing clusters give. Where two records that share an accession
both represent clusters, ``/seq-`` and the record key in hexadecimal tell them apart.

A record is in one ``split``, or ``excluded`` for a reason: ``similar-to-valid``, ``similar-to-test``, or
``similar-to-`` and the name of a benchmark. All members of a cluster that are not excluded are in one split. ``weight``
is the probability with which an epoch keeps a record of train; whatever is held out, or excluded, has weight 1.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.formats.corpus import ROWS_PER_GROUP
from pipeline.formats.manifest import File
from pipeline.formats.parquet import RowGroupWriter
from pipeline.formats.storage import atomic_path, file_digest

TRAIN, VALID, TEST = "train", "valid", "test"
CLUSTER_SPLITS = (TRAIN, VALID, TEST)
"""In order of precedence: a cluster with a member that must be in a later one is in it."""
SIMILAR_TO = "similar-to-"
NAME_MARK = "/seq-"
LEVEL_COLUMNS = ("representative", "cluster_size", "member_index")

_WORDS = pa.dictionary(pa.int32(), pa.string())
_LEVEL = (pa.string(), pa.uint32(), pa.uint32())


def level_columns(level: int) -> tuple[str, str, str]:
    """Names of the columns of a level, 0 being the coarsest."""
    suffix = f"_{level + 1}" if level else ""
    representative, size, index = (f"{name}{suffix}" for name in LEVEL_COLUMNS)
    return representative, size, index


def clusters_schema(num_levels: int) -> pa.Schema:
    """Columns of a file, in order."""
    levels = [
        pa.field(name, kind, nullable=False)
        for level in range(num_levels)
        for name, kind in zip(level_columns(level), _LEVEL, strict=True)
    ]
    weight = pa.field("weight", pa.float32(), nullable=False)
    return pa.schema([*levels, weight, pa.field("split", _WORDS), pa.field("excluded", _WORDS)])


def distinct_name(accession: str, record_key: int) -> str:
    """The name of a representative whose accession another representative has, too."""
    return f"{accession}{NAME_MARK}{record_key:016x}"


def write_clusters(folder: Path, name: str, columns: Mapping[str, Any], *, num_levels: int) -> File:
    """Write the clusters of one corpus part atomically.

    Args:
        folder: The clusters.
        name: Path of the file in it, that of the corpus part.
        columns: Those of ``clusters_schema``, in the order of the corpus part.
        num_levels: Levels of clusters.
    """
    schema = clusters_schema(num_levels)
    table = pa.table({field.name: _array(columns[field.name], field.type) for field in schema}, schema)
    with atomic_path(folder / name) as temporary:
        dictionaries = [column for column in schema.names if column.startswith("representative")]
        writer = RowGroupWriter(
            temporary,
            schema,
            rows_per_group=ROWS_PER_GROUP,
            dictionaries=[*dictionaries, "weight", "split", "excluded"],
        )
        with writer:
            writer.write(table)
        num_bytes, digest = file_digest(temporary)
    return File(path=name, rows=writer.num_rows, bytes=num_bytes, xxh3_64=digest, content=writer.content)


def _array(values: Any, kind: pa.DataType) -> Any:
    return values.cast(kind) if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)


def fate_columns(
    splits: npt.NDArray[np.integer],
    excluded: npt.NDArray[np.integer],
    reasons: Sequence[str],
    sizes: npt.NDArray[np.integer],
    weight: str,
) -> dict[str, Any]:
    """The columns behind the levels: weight, split and reason.

    Args:
        splits: Place of each record's split in ``CLUSTER_SPLITS``.
        excluded: Place of the reason in ``reasons``, −1 where there is none.
        reasons: Why records are excluded.
        sizes: Members of each record's cluster, at the coarsest level.
        weight: How records of train are weighted, one that ``is_weight``; all others have weight 1.
    """
    is_excluded = excluded >= 0
    names = pa.array(CLUSTER_SPLITS, pa.string())
    weights = np.where((splits == CLUSTER_SPLITS.index(TRAIN)) & ~is_excluded, sampling_weights(sizes, weight), 1.0)
    return {
        "weight": weights.astype(np.float32),
        "split": names.take(pa.array(splits, pa.int32(), mask=is_excluded)).dictionary_encode(),
        "excluded": pa.array(reasons, pa.string()).take(pa.array(excluded, pa.int32(), mask=~is_excluded)),
    }


def is_weight(text: str) -> bool:
    """Whether a text says how records are weighted: ``1``, ``1/size``, ``1/sqrt(size)`` or ``cap:N``."""
    return text in _WEIGHTS or re.fullmatch(_CAP, text) is not None


def sampling_weights(sizes: npt.NDArray[np.integer], weight: str) -> npt.NDArray[np.float64]:
    """The probability with which an epoch keeps a record, in (0, 1].

    Args:
        sizes: Members of each record's cluster.
        weight: One that ``is_weight``: how many members of a cluster an epoch keeps on average is their number, 1, its
            square root, or N at most.
    """
    members = np.maximum(sizes, 1).astype(np.float64)
    if found := re.fullmatch(_CAP, weight):
        return np.asarray(np.minimum(1.0, int(found[1]) / members))
    return _WEIGHTS[weight](members)


_CAP = r"cap:([1-9][0-9]{0,8})"
_WEIGHTS: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "1": np.ones_like,
    "1/size": lambda members: 1.0 / members,
    "1/sqrt(size)": lambda members: 1.0 / np.sqrt(members),
}
