"""Clusters: which cluster each record of a corpus belongs to, row for row beside its parts.

::

    corpus/part-00003.parquet        clusters/part-00003.parquet
      record 0                         record 0    representative  cluster_size  member_index   ← coarsest level
      record 1                         record 1    representative_2 cluster_size_2 …            ← finer, within it
      …                                …           weight  split  excluded

``member_index`` is the rank of a record in its cluster, in the order of record keys, then sequences: the corpus's.
The representative is an accession, or the name that existing clusters give. Where two records that share an accession
both represent clusters, ``/seq-`` and the record key in hexadecimal tell them apart.
"""

from collections.abc import Mapping
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


def all_train(num_records: int) -> dict[str, Any]:
    """The columns behind the levels where nothing is weighted, split or excluded."""
    weight: npt.NDArray[np.float32] = np.ones(num_records, dtype=np.float32)
    return {
        "weight": weight,
        "split": pa.array([TRAIN] * num_records, pa.string()).dictionary_encode(),
        "excluded": pa.nulls(num_records, _WORDS),
    }
