"""One corpus, whatever happened on the way: workers, the cut and the order of the input, compression, kill −9.

Every run is the command line in a process of its own. Twenty thousand records in every test run, a million in the slow
campaign, where a corpus has several parts and a file several chunks.
"""

import gzip
import random
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import zstandard
from Bio.bgzf import BgzfWriter

from pipeline.engines.stage import TaskResult
from pipeline.errors import ArtefactError
from pipeline.formats.manifest import is_finished, read_manifest
from pipeline.formats.storage import file_digest

NUM_FILES = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    records: int
    kills: int
    phases: frozenset[str]
    """Each is hit at last, if no random moment did."""


SMALL = Scale(records=20_000, kills=2, phases=frozenset({"reading", "merging"}))
MILLION = Scale(records=1_000_000, kills=20, phases=frozenset({"starting", "reading", "merging"}))
SLOW = (pytest.mark.slow, pytest.mark.timeout(3600))


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """All that must not differ."""

    fingerprint: str
    counts: dict[str, int]
    reasons: dict[str, int]
    digests: dict[str, str]
    """xxh3_64 of every part and of the report, read from the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """The records in every form, and the corpus that one worker makes of the plain file."""

    scale: Scale
    inputs: dict[str, list[Path]]
    corpus: Corpus


@pytest.fixture(scope="module", params=[SMALL, pytest.param(MILLION, marks=SLOW)], ids=lambda scale: str(scale.records))
def undisturbed(request, tmp_path_factory, generate, process_tree):
    scale, folder = request.param, tmp_path_factory.mktemp("laws")
    plain = folder / "all.fasta"
    generate.write_fasta(plain, scale.records)
    inputs = {"plain": [plain], "seven files": cut(plain)}
    inputs |= {kind: [compressed(plain, kind)] for kind in COMPRESSORS}
    process_tree.measure(ingest_command(folder / "corpus", inputs["plain"], workers=1))
    corpus = corpus_in(folder / "corpus")
    assert corpus.counts["records_read"] == scale.records
    assert len(list((folder / "corpus").glob("part-*.parquet"))) == -(-scale.records // 250_000)
    yield Undisturbed(scale=scale, inputs=inputs, corpus=corpus)
    shutil.rmtree(folder)


def cut(plain):
    """The file cut between records at places drawn at random."""
    text, rng = plain.read_bytes(), random.Random(7)
    borders = sorted(text.index(b"\n>", rng.randrange(len(text) - 100_000)) + 1 for _ in range(NUM_FILES - 1))
    paths = [plain.with_name(f"piece-{number}.fasta") for number in range(NUM_FILES)]
    for path, begin, end in zip(paths, [0, *borders], [*borders, len(text)], strict=True):
        path.write_bytes(text[begin:end])
    return paths


def compressed(plain, kind):
    path = plain.with_name(f"all.fasta.{kind}")
    with plain.open("rb") as text, COMPRESSORS[kind](path) as stream:
        shutil.copyfileobj(text, stream, 1 << 20)
    assert path.stat().st_size < plain.stat().st_size / 1.5
    return path


COMPRESSORS = {
    "gzip": partial(gzip.open, mode="wb", compresslevel=6),
    "bgzip": BgzfWriter,
    "zstd": partial(zstandard.open, mode="wb"),
}


def ingest_command(out, files, *, workers):
    arguments = ["ingest", *map(str, files), "--out", str(out), "--workers", str(workers), "--quiet"]
    return [sys.executable, "-m", "pipeline", *arguments]


def corpus_in(folder):
    manifest = read_manifest(folder, kind="corpus")
    parts = sorted(path.name for path in folder.glob("part-*.parquet"))
    assert parts == sorted(file.path for file in manifest.files if file.path.endswith(".parquet"))
    return Corpus(
        fingerprint=manifest.fingerprint,
        counts=manifest.counts,
        reasons=manifest.reasons,
        digests={name: file_digest(folder / name)[1] for name in [*parts, "report.json"]},
    )


@pytest.mark.parametrize(
    ("kind", "workers"),
    [("plain", 2), ("seven files", 1), ("seven files", 2), ("gzip", 2), ("bgzip", 2), ("zstd", 2)],
)
def test_the_same_corpus_from_every_input(undisturbed, tmp_path, process_tree, kind, workers):
    files = random.Random(workers).sample(undisturbed.inputs[kind], len(undisturbed.inputs[kind]))
    print(f"{workers} workers:", *(path.name for path in files))
    process_tree.measure(ingest_command(tmp_path / "corpus", files, workers=workers))
    assert corpus_in(tmp_path / "corpus") == undisturbed.corpus
    shutil.rmtree(tmp_path / "corpus")


@pytest.mark.parametrize(
    "kind",
    [pytest.param("plain", marks=pytest.mark.slow), "seven files", pytest.param("gzip", marks=pytest.mark.slow)],
)
def test_killed_runs_go_on_and_end_with_the_same_corpus(undisturbed, tmp_path, process_tree, kind):
    """Law 9. A folder is made by a run that is killed, one that is killed again, and one that may end."""
    out, scale = tmp_path / "corpus", undisturbed.scale
    command = ingest_command(out, undisturbed.inputs[kind], workers=2)
    seconds = process_tree.measure(command).seconds
    shutil.rmtree(out)
    delays = draw_delays(random.Random(kind), scale.kills, seconds)
    kills: Counter[str] = Counter()
    while kills.total() < scale.kills or (missing := scale.phases - set(kills)):
        begin = time.monotonic()
        moment = after(next(delays)) if kills.total() < scale.kills else reached(out, missing)
        if process_tree.kill_when(command, moment):
            kills[phase_of(out)] += 1
            print(f"kill {kills.total()} after {time.monotonic() - begin:.3f} s, {phase_of(out)}")
            check_nothing_is_half_written(out, undisturbed.corpus)
        if kills.total() % 2 == 0 or is_finished(out):
            process_tree.measure(command)
            check_is_whole(out, undisturbed.corpus)
            shutil.rmtree(out)
    process_tree.measure(command)
    check_is_whole(out, undisturbed.corpus)
    print(f"{dict(kills)} in {kind}, where an undisturbed run takes {seconds:.2f} s")


def draw_delays(rng, number, seconds):
    """Moments within the time that a run takes, each from another stretch of it, in random order, over and over."""
    while True:
        yield from ((stretch + rng.random()) / number * seconds for stretch in rng.sample(range(number), number))


def after(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def reached(folder, phases):
    return lambda: phase_of(folder) in phases


def phase_of(folder):
    if not (folder / "run.json").exists():
        return "starting"
    if is_finished(folder):
        return "tidying"
    return "merging" if list(folder.glob("part-*.parquet")) else "reading"


def check_is_whole(folder, whole):
    assert corpus_in(folder) == whole
    assert not [path.name for path in folder.rglob(".*")]


def check_nothing_is_half_written(folder, whole):
    """What has its name holds what an undisturbed run writes there; without a manifest, nobody takes it as whole."""
    if is_finished(folder):
        assert corpus_in(folder) == whole
        return
    with pytest.raises(ArtefactError):
        read_manifest(folder)
    for path in folder.glob("part-*.parquet"):
        assert file_digest(path)[1] == whole.digests[path.name], path
    for path in folder.glob(".tasks/*.json"):
        result = TaskResult.model_validate_json(path.read_text())
        sizes = {file.path: file.bytes for file in result.files}
        # Scratch files may go when nobody needs them any more.
        sizes |= {name: size for name, size in result.scratch.items() if (folder / name).exists()}
        assert {name: (folder / name).stat().st_size for name in sizes} == sizes
