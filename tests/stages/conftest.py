"""Small artefacts for the tests of the stages."""

import random
from types import SimpleNamespace

import pytest

from pipeline.config import IngestConfig, PackConfig, ShardConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
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
