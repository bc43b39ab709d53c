"""The laws of clusters: row for row beside the corpus, and what only all parts together can be asked.

Parts are checked alone for digest, schema, rows, splits and weights. Clusters lie across parts, so slices of them are
checked: a slice holds the clusters whose representative hashes to it, and reads the columns of one level from every
part. Memory is that of a slice, about 100 bytes a record. Names are compared by their hash of 64 bits: among 10^8
clusters two share one, and would be told as a broken law, with probability 3·10^-4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import IntegrityError
from pipeline.formats.clusters import NAME_MARK, clusters_schema, distinct_name, level_columns
from pipeline.formats.content import ContentHasher
from pipeline.formats.corpus import record_keys
from pipeline.formats.manifest import File
from pipeline.formats.memberships import HIERARCHY, TABLE
from pipeline.formats.parquet import read_columns
from pipeline.stages.verify.checks import (
    Checked,
    Finding,
    check_content,
    check_file,
    check_schema,
    first_broken,
    guarded,
)
from pipeline.stages.verify.fates import EXCLUDED, check_fates, count_fates, split_places

RECORDS_PER_SLICE = 5_000_000

_EVERYWHERE = "part-*.parquet"


def num_levels_of(configuration: dict[str, Any]) -> int:
    """Levels that clusters of a configuration have."""
    existing = configuration["existing"]
    if not existing:
        return len(configuration["levels"])
    return len(existing) if set(existing) == {TABLE} else len(HIERARCHY)


def verify_clusters_part(folder: Path, file: File, corpus_part: Path, configuration: dict[str, Any]) -> Checked:
    """Digest, schema, and a row for each record of the corpus part, with a split and a weight that can be."""
    if findings := check_file(folder, file):
        return Checked(counts={"files": 1}, findings=tuple(findings))
    return guarded(file.path, partial(_checked_part, folder, file, corpus_part, configuration))


def _checked_part(folder: Path, file: File, corpus_part: Path, configuration: dict[str, Any]) -> Checked:
    table = read_columns(folder / file.path)
    if findings := check_schema(file.path, table.schema, clusters_schema(num_levels_of(configuration))):
        return Checked(counts={"files": 1}, findings=tuple(findings))
    hasher = ContentHasher()
    hasher.update(table)
    findings = check_content(file, table.num_rows, hasher.hexdigest())
    lengths = read_columns(corpus_part, ["length"]).column("length").to_numpy()
    findings += check_fates(file.path, table, configuration)
    counts = {"files": 1, "records": table.num_rows}
    if len(lengths) != table.num_rows:
        message = f"expected a row for each of {len(lengths):,} records of the corpus part, found {table.num_rows:,}"
        findings.append(Finding(path=file.path, message=message))
    else:
        counts |= count_fates(table, lengths)
    return Checked(counts=counts, findings=tuple(findings))


def verify_slice(
    paths: Sequence[str],
    corpus_paths: Sequence[str],
    level: int,
    index: int,
    num_slices: int,
    *,
    has_representatives: bool,
) -> Checked:
    """Sizes, ranks, representatives and nesting of the clusters of a slice at one level.

    Args:
        paths: All files of the clusters, in order.
        corpus_paths: All parts of the corpus, in order.
        level: 0 being the coarsest.
        index: Of the slice.
        num_slices: Of slices.
        has_representatives: Whether the representative of each cluster must be one of its members.
    """

    def check() -> Checked:
        members = [
            _members(Path(path), Path(corpus), level, (index, num_slices))
            for path, corpus in zip(paths, corpus_paths, strict=True)
        ]
        return _checked_members(_joined(members), level, has_representatives=has_representatives)

    return guarded(_EVERYWHERE, check)


@dataclass(frozen=True, slots=True)
class _Members:
    """Records of a slice, arrays of the same length, in the order of the corpus."""

    cluster: npt.NDArray[np.uint64]
    """Hash of the representative."""
    parent: npt.NDArray[np.uint64]
    """Hash of the representative of the coarser level; 0 at the coarsest."""
    size: npt.NDArray[np.uint32]
    index: npt.NDArray[np.uint32]
    is_representative: npt.NDArray[np.bool_]
    split: npt.NDArray[np.int64]
    """As ``split_places`` has it."""


_NAMES = ("cluster", "parent", "size", "index", "is_representative", "split")


def _joined(parts: Sequence[_Members]) -> _Members:
    return _Members(*(np.concatenate([getattr(part, name) for part in parts]) for name in _NAMES))


def _members(path: Path, corpus_path: Path, level: int, chosen: tuple[int, int]) -> _Members:
    representative, size, member = level_columns(level)
    coarser = level_columns(level - 1)[0] if level else representative
    wanted = dict.fromkeys([representative, size, member, coarser, "split"])
    table = read_columns(path, list(wanted))
    if missing := wanted.keys() - set(table.column_names):
        raise IntegrityError(f"expected columns {', '.join(sorted(missing))}, found none of them")
    cluster = _hashes(table.column(representative))
    rows = np.flatnonzero(cluster % np.uint64(chosen[1]) == np.uint64(chosen[0]))
    taken = pa.array(rows)
    records = read_columns(corpus_path, ["accession", "record_key"]).take(taken)
    return _Members(
        cluster[rows],
        _hashes(table.column(coarser))[rows] if level else np.zeros(len(rows), dtype=np.uint64),
        table.column(size).to_numpy()[rows],
        table.column(member).to_numpy()[rows],
        _is_representative(table.column(representative).take(taken), records),
        split_places(table.column("split"))[rows],
    )


def _hashes(names: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    encoded = names.combine_chunks().dictionary_encode()
    hashes: npt.NDArray[np.uint64] = record_keys(encoded.dictionary)[encoded.indices.to_numpy()]
    return hashes


def _is_representative(names: pa.ChunkedArray, records: pa.Table) -> npt.NDArray[np.bool_]:
    """Which records represent their clusters, also under a name that tells them from others of the same accession."""
    accessions = records.column("accession")
    same = np.array(pc.equal(names, accessions).to_numpy(zero_copy_only=False))
    for at in np.flatnonzero(pc.match_substring(names, NAME_MARK).to_numpy(zero_copy_only=False)).tolist():
        key = records.column("record_key")[at].as_py()
        same[at] |= names[at].as_py() == distinct_name(accessions[at].as_py(), key)
    return same


def _checked_members(members: _Members, level: int, *, has_representatives: bool) -> Checked:
    order = np.argsort(members.cluster, kind="stable")
    cluster, size, index = members.cluster[order], members.size[order], members.index[order]
    starts = np.ones(len(cluster), dtype=np.bool_)
    starts[1:] = cluster[1:] != cluster[:-1]
    firsts = np.flatnonzero(starts)
    sizes = np.diff(firsts, append=len(cluster))
    found, rank = np.repeat(sizes, sizes), np.arange(len(cluster)) - np.repeat(firsts, sizes)
    parent = members.parent[order]
    astray = _any_of(parent != parent[np.repeat(firsts, sizes)], firsts)
    headless = ~_any_of(members.is_representative[order], firsts) & has_representatives
    where = f"level {level + 1}: a cluster of {{}} members"
    findings = [
        *first_broken(
            _EVERYWHERE, size != found, lambda at: f"{where.format(found[at])}: a member says {size[at]} (cluster_size)"
        ),
        *first_broken(
            _EVERYWHERE,
            index != rank,
            lambda at: f"{where.format(found[at])}: member_index {index[at]} where {rank[at]} is its rank",
        ),
        *first_broken(
            _EVERYWHERE, headless, lambda at: f"{where.format(sizes[at])}: its representative is none of them"
        ),
    ]
    if not level:
        findings += first_broken(
            _EVERYWHERE,
            _is_torn(members.split[order], firsts),
            lambda at: f"{where.format(sizes[at])}: its members are in two splits",
        )
    counts = {
        "clusters": len(firsts),
        "singletons": int(np.count_nonzero(sizes == 1)),
        "most_members": int(sizes.max(initial=0)),
    }
    counts |= {"clusters_not_nested": int(np.count_nonzero(astray))} if level else {}
    suffix = f"_{level + 1}" if level else ""
    return Checked(counts={f"{name}{suffix}": number for name, number in counts.items()}, findings=tuple(findings))


def _any_of(flags: npt.NDArray[np.bool_], firsts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether any member of each cluster has a flag."""
    if not len(firsts):
        return np.empty(0, dtype=np.bool_)
    return np.asarray(np.logical_or.reduceat(flags, firsts))


def _is_torn(split: npt.NDArray[np.int64], firsts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which clusters have members in two splits, excluded ones apart."""
    if not len(firsts):
        return np.empty(0, dtype=np.bool_)
    highest = np.maximum.reduceat(np.where(split == EXCLUDED, -1, split), firsts)
    lowest = np.minimum.reduceat(split, firsts)
    return np.asarray((highest >= 0) & (lowest != highest))
