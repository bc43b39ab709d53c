"""How fast a plan becomes Parquet, how large that is, and how fast it is verified and read back, in one run.

    python tests/benchmarks/writing.py [--records 250000] [--length 1024] [--repeats 3] [--levels 1 2 3]
        [--rows-per-group 128 256 512 1024 2048] [--algorithm first-fit-decreasing] [--tokenizer esm2] [--corpus FOLDER]

The corpus is what generate.py makes, or one that is there. For both layouts, each level of zstd with row groups of the
default size, and each size of row groups with the level of the package. Figures are million tokens of rows, padding
included, for each second of processor time of this process on one core, the best of the repeats, which take turns:
*write* is the shard stage, reading the corpus and gathering included; *verify* is all that `pipeline verify` does;
*read* is one epoch of shuffled batches of 32 rows, input_ids and sequence_id, from the reader with one thread. *Bits*
are those of the shards for each token.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from generate import write_fasta

from pipeline.config import IngestConfig, PackConfig, ShardConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher, Stage
from pipeline.formats import parquet
from pipeline.formats.manifest import Manifest, read_manifest
from pipeline.formats.storage import remove_folder
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.pack.stage import Pack
from pipeline.stages.shard import Shard
from pipeline.stages.verify.stage import verify
from pipeline.streaming.reader import PackedReader

LAYOUTS = ("list", "binary")
BATCH_SIZE = 32
COLUMNS = ("input_ids", "sequence_id")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to write the shards, and what came of it."""

    layout: str
    level: int
    rows_per_group: int
    write: list[float] = field(default_factory=list)
    verify: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)


def processor_seconds(work: Callable[[], object]) -> float:
    """Of this process, all threads together."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def make(stage: Stage, folder: Path) -> Manifest:
    """The artefact of a stage, in this process."""
    with SerialExecutor() as executor:
        return run_stage(stage, folder, executor=executor).manifest


def make_plan(folder: Path, corpus: Path | None, records: int, config: PackConfig) -> Path:
    """Corpus and plan."""
    if corpus is None:
        corpus = folder / "corpus"
        write_fasta(folder / "proteins.fasta", records)
        make(Ingest(IngestConfig(files=(str(folder / "proteins.fasta"),))), corpus)
    make(Pack(corpus, config), folder / "plan")
    return folder / "plan"


def check(shards: Path) -> None:
    """Verify, and see that all is well."""
    with SerialExecutor() as executor:
        assert verify(shards, executor=executor, watcher=SilentWatcher()).is_sound


def read(shards: Path) -> None:
    """One epoch."""
    for _ in PackedReader(shards, batch_size=BATCH_SIZE, columns=COLUMNS, threads=1):
        pass


def measure(variant: Variant, plan: Path, folder: Path) -> None:
    """Write, verify, read, once."""
    shards = folder / "shards"
    remove_folder(shards)
    parquet.COMPRESSION_LEVEL = variant.level
    stage = Shard(plan, ShardConfig(layout=variant.layout, rows_per_group=variant.rows_per_group))
    seconds = processor_seconds(lambda: make(stage, shards))
    manifest = read_manifest(shards)
    tokens = manifest.counts["rows"] * manifest.configuration["length"]
    variant.write.append(tokens / seconds / 1e6)
    variant.verify.append(tokens / processor_seconds(lambda: check(shards)) / 1e6)
    variant.read.append(tokens / processor_seconds(lambda: read(shards)) / 1e6)
    variant.bits.append(8 * sum(file.bytes for file in manifest.tables) / tokens)


def main() -> None:
    """Measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=250_000)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--levels", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--rows-per-group", type=int, nargs="*", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--algorithm", default="first-fit-decreasing")
    parser.add_argument("--tokenizer", default="esm2")
    options = parser.parse_args()
    pa.set_cpu_count(1)
    config = PackConfig(length=options.length, algorithm=options.algorithm, tokenizer=options.tokenizer)
    default_rows, level = ShardConfig().group_rows(options.length), parquet.COMPRESSION_LEVEL
    ways = [(each, default_rows) for each in options.levels] + [(level, rows) for rows in options.rows_per_group]
    variants = [Variant(layout, *way) for layout in LAYOUTS for way in dict.fromkeys(ways)]
    with tempfile.TemporaryDirectory() as temporary:
        plan = make_plan(Path(temporary), options.corpus, options.records, config)
        for _ in range(options.repeats):
            for variant in variants:
                measure(variant, plan, Path(temporary))
    print(f"{'layout':<8}{'level':>6}{'rows a group':>14}{'write':>8}{'verify':>8}{'read':>8}{'bits':>8}")
    for variant in variants:
        speeds = "".join(f"{max(column):>8.0f}" for column in (variant.write, variant.verify, variant.read))
        print(f"{variant.layout:<8}{variant.level:>6}{variant.rows_per_group:>14}{speeds}{variant.bits[0]:>8.3f}")


if __name__ == "__main__":
    main()
