"""The plan: where each segment goes.

::

    plan/train/part-00000.parquet     one file for each corpus part; sorted by (row, slot)

     row  slot  record  start  length        record: row within the corpus part of the same number
       0     0    1734      0     402        start, length: residues
       0     1      88      0     618        row: counts from 0 in each file
       1     0     …

Of records that are concatenated, a segment has the separator after its residues if it reaches the end of its record,
unless its row is full without it; then the separator is a segment of length 0 in the next row
(``core.concatenation``).

Of a corpus with clusters every split that has rows has a folder, with a file for each part. A record is in the plan of
its split, or it is left out under a name: the clusters' reason, or that this epoch's draw did not take it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.concatenation import CONCATENATE
from pipeline.formats.clusters import TEST, TRAIN, VALID
from pipeline.formats.content import ContentHasher
from pipeline.formats.manifest import File, Manifest
from pipeline.formats.storage import atomic_path, file_digest

PLAN_SCHEMA = pa.schema(
    [
        pa.field("row", pa.uint32(), nullable=False),
        pa.field("slot", pa.uint16(), nullable=False),
        pa.field("record", pa.uint32(), nullable=False),
        pa.field("start", pa.uint32(), nullable=False),
        pa.field("length", pa.uint32(), nullable=False),
    ]
)
"""Columns of a plan file, in order."""


SPLITS = (TRAIN, VALID, TEST)
"""In the order of the files."""

NOT_DRAWN = "not-drawn"
"""Reason of records of train that the epoch leaves to others."""

OVERLONG = "overlong"
"""Reason of records that are longer than a row, where those are dropped."""

_COUNTED = ("records", "segments", "rows", "tokens")


def of_split(counts: Mapping[str, int], split: str) -> dict[str, int]:
    """Counts with some of them once more under the name of the split, such as ``rows_valid``."""
    return dict(counts) | {f"{name}_{split}": counts[name] for name in _COUNTED if name in counts}


def is_concatenated(configuration: Mapping[str, Any]) -> bool:
    """Whether records run on from row to row in a plan, or in shards, of this configuration."""
    return configuration.get("algorithm") == CONCATENATE


def has_clusters(manifest: Manifest) -> bool:
    """Whether a plan, or shards, were made of a corpus with clusters."""
    return any(source.kind == "clusters" for source in manifest.inputs)


def merged_reasons(corpus: Mapping[str, int], plan: Mapping[str, int]) -> dict[str, int]:
    """Records left out of a corpus, then out of its plan: where both have a reason of one name, their sum."""
    return {reason: corpus.get(reason, 0) + plan.get(reason, 0) for reason in {**corpus, **plan}}


def plan_name(split: str, index: int) -> str:
    """Path of the plan of a corpus part inside the artefact."""
    return f"{split}/part-{index:05d}.parquet"


def write_plan(folder: Path, name: str, split: str, columns: dict[str, npt.NDArray[np.generic]], num_rows: int) -> File:
    """Write the plan of one corpus part atomically.

    Args:
        folder: The plan.
        name: Path of the file in it.
        split: train, valid or test.
        columns: The columns of ``PLAN_SCHEMA``, sorted by (row, slot).
        num_rows: Packed rows, which the manifest lists as the file's rows.
    """
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in PLAN_SCHEMA}, PLAN_SCHEMA)
    hasher = ContentHasher()
    hasher.update(table)
    with atomic_path(folder / name) as temporary:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=False, write_statistics=["row"])
        num_bytes, digest = file_digest(temporary)
    content = hasher.hexdigest()
    return File(path=name, split=split, rows=num_rows, bytes=num_bytes, xxh3_64=digest, content=content)
