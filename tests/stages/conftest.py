"""Small artefacts for the tests of the stages."""

import random
from collections import Counter
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config import IngestConfig, PackConfig, ShardConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import artefact_input
from pipeline.formats.clusters import write_clusters
from pipeline.formats.manifest import make_manifest, read_manifest, write_manifest
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.pack.stage import Pack
from pipeline.stages.shard import Shard


def sequences(count, *, seed=0, longest=60):
    rng = random.Random(seed)
    return ["".join(rng.choices("ACDEFGHIKLMNPQRSTVWYXBZUOJ", k=rng.randint(1, longest))) for _ in range(count)]


@pytest.fixture(scope="session")
def build():
    """Makes corpus, plan and shards of some sequences in a folder."""

    def make(folder, *, records=None, pack=None, shard=None, records_per_part=40):
        folder.mkdir(exist_ok=True)
        records = records if records is not None else sequences(150)
        fasta = folder / "input.fasta"
        fasta.write_text("".join(f">sp|P{index:05d}|NAME some {index}\n{text}\n" for index, text in enumerate(records)))
        config = IngestConfig(files=(str(fasta),), records_per_part=records_per_part)
        with SerialExecutor() as executor:
            corpus = run_stage(Ingest(config), folder / "corpus", executor=executor).manifest
            packed = Pack(folder / "corpus", PackConfig(**({"length": 64} | (pack or {}))))
            plan = run_stage(packed, folder / "plan", executor=executor).manifest
            sharded = Shard(folder / "plan", ShardConfig(**({"rows_per_group": 4} | (shard or {}))))
            shards = run_stage(sharded, folder / "shards", executor=executor).manifest
        return SimpleNamespace(folder=folder, corpus=corpus, plan=plan, shards=shards, records=records)

    return make


@pytest.fixture(scope="session")
def small(build, tmp_path_factory):
    """Four parts, four shards; read only."""
    return build(tmp_path_factory.mktemp("small"))


def write_clusters_folder(folder, corpus, rows_of_parts):
    """Finished clusters of a corpus, as the cluster stage would leave them.

    Args:
        folder: Where.
        corpus: The corpus.
        rows_of_parts: For each part a dict of columns: ``representative``, maybe ``representative_2``, ``weight``,
            ``split``, ``excluded``; sizes and ranks follow from the representatives.
    """
    manifest = read_manifest(corpus)
    names = [name for name in ("representative", "representative_2") if name in rows_of_parts[0]]
    columns_of_parts = [dict(rows) for rows in rows_of_parts]
    for name in names:
        suffix = name.removeprefix("representative")
        sizes, seen = Counter(chain.from_iterable(rows[name] for rows in rows_of_parts)), Counter()
        for columns in columns_of_parts:
            columns[f"cluster_size{suffix}"] = [sizes[one] for one in columns[name]]
            columns[f"member_index{suffix}"] = []
            for one in columns[name]:
                columns[f"member_index{suffix}"].append(seen[one])
                seen[one] += 1
    files = tuple(
        write_clusters(folder, file.path, columns, num_levels=len(names))
        for file, columns in zip(manifest.tables, columns_of_parts, strict=True)
    )
    made = make_manifest(
        "clusters",
        configuration={"levels": [], "existing": ["table"] * len(names)},
        inputs=(artefact_input(corpus, manifest, folder),),
        files=files,
        counts={"records": manifest.counts["records"]},
        reasons={},
        provenance=manifest.provenance,
    )
    write_manifest(folder, made)
    return made


@pytest.fixture(scope="session")
def make_clusters():
    """Writes clusters of a corpus: ``make_clusters(folder, corpus, rows_of_parts)``."""
    return write_clusters_folder


@pytest.fixture(scope="session")
def random_clusters():
    """Writes clusters at two levels, with splits by whole cluster, weights and reasons, all at random."""

    def make(folder, corpus, *, seed=0, clusters=40, held_out=0.2, excluded=0.1):
        rng = random.Random(seed)
        split_of = {}
        rows_of_parts = []
        for file in read_manifest(corpus).tables:
            fine = [rng.randrange(3 * clusters) for _ in range(file.rows)]
            coarse = [one // 3 for one in fine]
            for one in coarse:
                held = rng.random()
                split_of.setdefault(one, "valid" if held < held_out / 2 else "test" if held < held_out else "train")
            reasons = [rng.choice(["similar-to-valid", "listed"]) if rng.random() < excluded else None for _ in fine]
            rows_of_parts.append(
                {
                    "representative": [f"UniRef50_{one}" for one in coarse],
                    "representative_2": [f"UniRef90_{one}" for one in fine],
                    "weight": np.array([rng.choice([1.0, 0.5, 0.1]) for _ in fine], dtype=np.float32),
                    "split": [None if why else split_of[one] for one, why in zip(coarse, reasons, strict=True)],
                    "excluded": reasons,
                }
            )
        return write_clusters_folder(folder, corpus, rows_of_parts)

    return make
