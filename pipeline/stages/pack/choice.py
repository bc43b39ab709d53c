"""What clusters say of the records of a corpus part: which split each is in, and which of them the epoch takes.

::

    clusters/part-00003.parquet ──▶ .scratch/part-00003.choice      uint8 [records]: place of its split in ``SPLITS``,
                                                                    or LEFT_OUT
    corpus/part-00003.parquet   ──▶ does the split have segments?

A record is left out under the reason of the clusters or, if it is of train and the epoch's draw goes by it, as not
drawn. Valid and test are the same in every epoch. Memory: the columns of one part, some 100 bytes a record. Cost: 30 ms
for a part of 250,000 records, 150 ms where the names of representatives are hashed.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import PackConfig
from pipeline.core.sampling import Sample, keep_by_weight, one_per_cluster
from pipeline.engines.stage import TaskResult
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError
from pipeline.formats.clusters import TRAIN, level_columns
from pipeline.formats.corpus import record_keys
from pipeline.formats.manifest import Manifest, read_manifest
from pipeline.formats.parquet import read_columns
from pipeline.formats.plan import NOT_DRAWN, SPLITS
from pipeline.formats.storage import atomic_path
from pipeline.stages.pack.items import LEFT_OUT, CorpusPart, choice_name, num_packed

WITH_RECORDS = "with_records"
WITH_SEGMENTS = "with_segments"

Choice = npt.NDArray[np.uint8]


def check_sampling(config: PackConfig, *, has_clusters: bool) -> None:
    """Refuse a draw from clusters where there are none.

    Raises:
        ConfigurationError: There are none.
    """
    if config.sample is Sample.ONE_PER_CLUSTER and not has_clusters:
        raise ConfigurationError(
            f"--sample {config.sample.value}: expected clusters to draw from, found none",
            hint="make them with `pipeline cluster`, and name their folder: --clusters (in a recipe: [cluster])",
        )


def read_clusters(folder: Path, corpus_folder: Path, corpus: Manifest, config: PackConfig) -> Manifest:
    """The manifest of the clusters of a corpus.

    Args:
        folder: The clusters.
        corpus_folder: The corpus, for messages.
        corpus: Its manifest.
        config: What is to be drawn.

    Raises:
        ArtefactError: The folder holds no finished clusters, or those of another corpus.
        ConfigurationError: They have no level of that number.
    """
    manifest = read_manifest(folder, kind="clusters")
    found = next((source.fingerprint for source in manifest.inputs if source.kind == "corpus"), "none")
    if found != corpus.fingerprint:
        raise ArtefactError(
            f"{folder}: expected clusters of {corpus_folder}, whose fingerprint is {corpus.fingerprint}, found those "
            f"of the corpus {found}",
            hint="make clusters of this corpus with `pipeline cluster`, or pack the other one",
        )
    if [file.path for file in manifest.tables] != [file.path for file in corpus.tables]:
        raise ArtefactError(
            f"{folder}: expected a file for each part of {corpus_folder}, found {len(manifest.tables)} of "
            f"{len(corpus.tables)}",
            hint="run `pipeline verify` on the clusters",
        )
    if config.sample is Sample.ONE_PER_CLUSTER:
        _check_level(folder / manifest.tables[0].path, config.level)
    return manifest


def _check_level(path: Path, level: int) -> None:
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(
            f"{path}: expected a Parquet file of clusters, found {error}", hint="run `pipeline verify` on the clusters"
        ) from error
    if level_columns(level - 1)[0] not in names:
        num_levels = sum(name.startswith("representative") for name in names)
        raise ConfigurationError(f"--level {level}: expected 1 to {num_levels}, the levels of {path.parent}")


def choose_part(folder: Path, *, part: CorpusPart, clusters_part: str) -> TaskResult:
    """Decide what becomes of each record of a part.

    Args:
        folder: The plan.
        part: What to pack, and how.
        clusters_part: The clusters of the part.

    Returns:
        The file of the choice, records left out by reason, and in ``values`` which splits have records and segments.

    Raises:
        IntegrityError: The clusters do not fit the corpus part, or a record has neither a split nor a reason.
    """
    records = read_columns(Path(part.path), ["length", "record_key"])
    clusters = read_columns(Path(clusters_part), _columns(part.config))
    if clusters.num_rows != records.num_rows:
        raise IntegrityError(
            f"{clusters_part}: expected a row for each of {records.num_rows:,} records of {part.path}, found "
            f"{clusters.num_rows:,}",
            hint="run `pipeline verify` on the clusters",
        )
    split, reasons = _splits(clusters, clusters_part)
    drawn = (split != SPLITS.index(TRAIN)) | _drawn(part.config, clusters, records.column("record_key").to_numpy())
    chosen = np.where(drawn, split, LEFT_OUT).astype(np.uint8)
    made = choice_name(part.index)
    with atomic_path(folder / made, durable=False) as temporary:
        temporary.write_bytes(chosen.tobytes())
    lengths = records.column("length").to_numpy()
    of_splits = {name: lengths[chosen == number] for number, name in enumerate(SPLITS)}
    return TaskResult(
        scratch={made: len(chosen)},
        reasons=reasons | {NOT_DRAWN: int(np.count_nonzero(~drawn))},
        values={
            WITH_RECORDS: [name for name, own in of_splits.items() if len(own)],
            WITH_SEGMENTS: [name for name, own in of_splits.items() if num_packed(part, own)],
        },
    )


def _columns(config: PackConfig) -> list[str]:
    drawn_by = {Sample.ALL: (), Sample.WEIGHT: ("weight",), Sample.ONE_PER_CLUSTER: level_columns(config.level - 1)}
    return [*drawn_by[config.sample], "split", "excluded"]


def _splits(clusters: pa.Table, path: str) -> tuple[Choice, dict[str, int]]:
    """Place of each record's split in ``SPLITS``, LEFT_OUT where it is excluded, and how many are for which reason."""
    excluded = clusters.column("excluded").combine_chunks().dictionary_decode()
    split = clusters.column("split").combine_chunks().dictionary_decode()
    places = pc.index_in(split, pa.array(SPLITS)).fill_null(LEFT_OUT).to_numpy(zero_copy_only=False)
    is_excluded = pc.is_valid(excluded).to_numpy(zero_copy_only=False)
    astray = np.flatnonzero((places == LEFT_OUT) & ~is_excluded)
    if astray.size:
        found = split[int(astray[0])].as_py()
        raise IntegrityError(
            f"{path}: record {astray[0]}: expected a split of {', '.join(SPLITS)} or a reason to exclude it, found "
            f"{found or 'neither'}",
            hint="run `pipeline verify` on the clusters",
        )
    reasons = {item["values"]: item["counts"] for item in excluded.drop_null().value_counts().to_pylist()}
    return np.where(is_excluded, LEFT_OUT, places).astype(np.uint8), dict(sorted(reasons.items()))


def _drawn(config: PackConfig, clusters: pa.Table, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which records the epoch takes if they are of train: bool [records]."""
    if config.sample is Sample.ALL:
        return np.ones(len(keys), dtype=np.bool_)
    if config.sample is Sample.WEIGHT:
        return keep_by_weight(clusters.column("weight").to_numpy(), keys, seed=config.seed, epoch=config.epoch)
    representative, size, index = level_columns(config.level - 1)
    names = clusters.column(representative).combine_chunks().dictionary_encode()
    return one_per_cluster(
        record_keys(names.dictionary)[names.indices.to_numpy()],
        clusters.column(size).to_numpy(),
        clusters.column(index).to_numpy(),
        seed=config.seed,
        epoch=config.epoch,
    )
