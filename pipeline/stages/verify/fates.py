"""The laws of splits: what each record is told to be, by the columns behind the levels and by the published split.

- A record is in a split or excluded for a reason, and the reason is one that the configuration can give.
- Records of train are weighted as the configuration says, by the size of their cluster; all others have weight 1.
- Members of one cluster that are not excluded are in one split; ``clusters`` checks that, for it lies across parts.
- ``splits.parquet`` says the same of every record, in the order of the corpus.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import IntegrityError
from pipeline.formats.clusters import CLUSTER_SPLITS, SIMILAR_TO, TEST, TRAIN, VALID
from pipeline.formats.manifest import MANIFEST_NAME
from pipeline.formats.parquet import read_columns
from pipeline.formats.splits import SPLITS_NAME, SPLITS_SCHEMA
from pipeline.stages.verify.checks import Checked, Finding, check_schema, first_broken, guarded

EXCLUDED = len(CLUSTER_SPLITS)
"""In place of a split."""

_TOLERANCE = 1e-5
"""Of a weight, which is stored as float32."""

Float64Array = npt.NDArray[np.float64]


def split_places(splits: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """int64 [records]: place of each split in ``CLUSTER_SPLITS``, ``EXCLUDED`` where there is none."""
    places = pc.index_in(splits.cast(pa.string()), value_set=pa.array(CLUSTER_SPLITS, pa.string()))
    return np.asarray(places.fill_null(EXCLUDED).to_numpy()).astype(np.int64)


def check_fates(name: str, table: pa.Table, configuration: dict[str, Any]) -> list[Finding]:
    """Split, reason and weight of the records of a part."""
    split, excluded = (table.column(column).cast(pa.string()).combine_chunks() for column in ("split", "excluded"))
    reasons = [f"{SIMILAR_TO}{name}" for name in (*configuration["purge"]["benchmarks"], TEST, VALID)]
    known = (("split", split, list(CLUSTER_SPLITS)), ("excluded", excluded, reasons))
    findings = []
    for column, values, words in known:
        is_odd = pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=pa.array(words, pa.string()))))
        findings += first_broken(
            name, _mask(is_odd), partial(_told, "record {}: {} {!r}, which cannot be", column, values)
        )
    both = _mask(pc.equal(split.is_valid(), excluded.is_valid()))
    findings += first_broken(
        name,
        both,
        lambda at: (
            f"record {at}: expected a split or a reason, found {split[at].as_py()!r} and {excluded[at].as_py()!r}"
        ),
    )
    return findings + _check_weights(name, table, configuration["weight"])


def _told(sentence: str, column: str, values: pa.Array, at: int) -> str:
    return sentence.format(at, column, values[at].as_py())


def _mask(flags: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(flags.to_numpy(zero_copy_only=False))


def _check_weights(name: str, table: pa.Table, rule: str) -> list[Finding]:
    weights = table.column("weight").to_numpy().astype(np.float64)
    sizes = table.column("cluster_size").to_numpy().astype(np.float64)
    is_train = split_places(table.column("split")) == CLUSTER_SPLITS.index(TRAIN)
    expected = np.where(is_train, _expected_weights(sizes, rule), 1.0)
    return first_broken(
        name,
        ~(np.abs(weights - expected) <= _TOLERANCE * expected),
        lambda at: f"record {at}: weight {weights[at]:g}, where {expected[at]:g} follows from --weight {rule}",
    )


def _expected_weights(sizes: Float64Array, rule: str) -> Float64Array:
    kind, _, number = rule.partition(":")
    return _MEMBERS_KEPT[kind](sizes, float(number or 0)) / sizes


_MEMBERS_KEPT: dict[str, Callable[[Float64Array, float], Float64Array]] = {
    "1": lambda sizes, _: sizes,
    "1/size": lambda sizes, _: np.ones_like(sizes),
    "1/sqrt(size)": lambda sizes, _: np.sqrt(sizes),
    "cap": np.minimum,
}
"""Members of a cluster that an epoch keeps on average."""


def count_fates(table: pa.Table, lengths: npt.NDArray[np.integer]) -> dict[str, int]:
    """Records and residues of each split, and of what is excluded."""
    places = split_places(table.column("split"))
    records = np.bincount(places, minlength=EXCLUDED + 1).tolist()
    residues = [int(lengths[places == place].sum(dtype=np.int64)) for place in range(EXCLUDED + 1)]
    names = (*CLUSTER_SPLITS, "excluded")
    counts = {f"{name}_records": number for name, number in zip(names, records, strict=True)}
    return counts | {f"{name}_residues": number for name, number in zip(names, residues, strict=True)}


def verify_published(
    folder: Path, names: Sequence[str], corpus_paths: Sequence[str], reasons: dict[str, int]
) -> Checked:
    """The published split against the parts, and the reasons of the manifest against both; memory of one part.

    Args:
        folder: The clusters.
        names: Of their parts, in order.
        corpus_paths: All parts of the corpus, in order.
        reasons: Excluded records, as the manifest says.
    """

    def check() -> Checked:
        try:
            return _checked_published(folder, names, corpus_paths, reasons)
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(f"cannot be read: {error}") from error

    return guarded(SPLITS_NAME, check)


def _checked_published(
    folder: Path, names: Sequence[str], corpus_paths: Sequence[str], reasons: dict[str, int]
) -> Checked:
    found: Counter[str] = Counter()
    findings = []
    with pq.ParquetFile(folder / SPLITS_NAME, page_checksum_verification=True) as published:
        if odd := check_schema(SPLITS_NAME, published.schema_arrow, SPLITS_SCHEMA):
            return Checked(counts={}, findings=tuple(odd))
        rows = _Rows(published)
        for name, corpus_path in zip(names, corpus_paths, strict=True):
            fates = read_columns(folder / name, ["split", "excluded"])
            expected = [read_columns(Path(corpus_path), ["accession"]).column("accession"), *fates.columns]
            if broken := _differing(name, rows.take(fates.num_rows), expected):
                findings.append(broken)
            excluded = fates.column("excluded").cast(pa.string()).drop_null()
            found.update({pair["values"]: pair["counts"] for pair in pc.value_counts(excluded).to_pylist()})
        if more := rows.num_left:
            findings.append(Finding(path=SPLITS_NAME, message=f"expected as many rows as records, found {more:,} more"))
    stated = {reason: number for reason, number in reasons.items() if number}
    if stated != dict(found):
        message = f"reasons: expected {stated} from the manifest, found {dict(found)}"
        findings.append(Finding(path=MANIFEST_NAME, message=message))
    return Checked(counts={}, findings=tuple(findings))


def _differing(name: str, rows: pa.Table, expected: Sequence[pa.ChunkedArray]) -> Finding | None:
    for column, values in zip(rows.column_names, expected, strict=True):
        if not rows.column(column).cast(pa.string()).equals(values.cast(pa.string())):
            return Finding(path=SPLITS_NAME, message=f"{column}: differs from what {name} and its corpus part say")
    return None


class _Rows:
    """Rows of a Parquet file, so many at a time."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self.num_left = file.metadata.num_rows
        self._batches = file.iter_batches()
        self._pending = file.schema_arrow.empty_table()

    def take(self, num_rows: int) -> pa.Table:
        """The next rows, fewer at the end."""
        while self._pending.num_rows < min(num_rows, self.num_left):
            self._pending = pa.concat_tables([self._pending, pa.Table.from_batches([next(self._batches)])])
        taken, self._pending = self._pending.slice(0, num_rows), self._pending.slice(num_rows)
        self.num_left -= taken.num_rows
        return taken
