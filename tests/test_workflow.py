"""A recipe from end to end: all of it, only what is missing, the same bytes after any interruption."""

import gzip
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from pipeline.engines.execution import make_executor
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ConfigurationError
from pipeline.formats.storage import file_digest
from pipeline.recipe import read_recipe
from pipeline.workflow import run_recipe


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory, ecoli):
    """The proteome in five files, cut into eight parts: many tasks of each kind."""
    folder = tmp_path_factory.mktemp("recipe")
    records = gzip.decompress(ecoli.read_bytes()).decode().split("\n>")
    records = [records[0].removeprefix(">"), *records[1:]]
    for index in range(5):
        (folder / f"{index}.fasta").write_text("".join(f">{record}\n" for record in records[index::5]))
    path = folder / "recipe.toml"
    path.write_text(
        'name = "many"\n[ingest]\nrecords_per_part = 600\n'
        'files = ["0.fasta", "1.fasta", "2.fasta", "3.fasta", "4.fasta"]\n'
        '[pack]\nlength = 512\noverlong = "windows"\n[stream]\nobjective = 0.15\n'
    )
    return path


def run(path, folder, executor="serial", workers=None, **options):
    with make_executor(executor, workers) as chosen:
        return run_recipe(read_recipe(path), folder, executor=chosen, watcher=SilentWatcher(), **options)


def digests(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix == ".parquet"]
    return {path.relative_to(folder).as_posix(): file_digest(path)[1] for path in files}


@pytest.fixture(scope="module")
def finished(recipe_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "out"
    return folder, run(recipe_path, folder)


def test_a_run_reads_back_what_it_wrote(finished):
    _, outcome = finished
    assert all(report.is_sound for report in outcome.reports)
    assert len(outcome.reports) == 3
    counts = outcome.manifest.counts
    assert counts["rows"] <= outcome.reading.rows < counts["rows"] + 32
    assert outcome.reading.tokens >= counts["tokens"]
    assert outcome.reading.seconds > 0


def test_a_second_run_does_nothing_but_read(finished, recipe_path):
    folder, first = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    second = run(recipe_path, folder)
    assert all(outcome.was_finished for outcome in (second.corpus, second.plan, second.shards))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    assert second.manifest == first.manifest


def test_processes_write_the_same_bytes(finished, recipe_path, tmp_path):
    folder, first = finished
    other = run(recipe_path, tmp_path / "out", "processes", 2)
    assert digests(tmp_path / "out") == digests(folder)
    assert other.manifest.fingerprint == first.manifest.fingerprint


def test_the_hash_seed_of_python_does_not_matter(finished, recipe_path, tmp_path):
    folder, _ = finished
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    command = [sys.executable, "-m", "pipeline", "run", str(recipe_path), "--out", str(tmp_path / "out"), "--quiet"]
    subprocess.run(command, env=environment, check=True)
    assert digests(tmp_path / "out") == digests(folder)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(finished, recipe_path, tmp_path):
    """Law 9: kill −9 at any moment; nothing half-written is ever read as whole."""
    folder, _ = finished
    rng = random.Random(0)
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        str(recipe_path),
        "--out",
        str(out),
        "--quiet",
        "--workers",
        "2",
    ]
    kills = 0
    # From «hardly begun» on, so that a fast machine is killed too, and a slow one gets further each time.
    for delay in (0.4, 0.8, 1.2, 1.6, 2.2, 3.0):
        with subprocess.Popen(command, start_new_session=True) as process:
            time.sleep(delay * rng.uniform(0.9, 1.1))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
        for artefact in ("corpus", "plan", "shards"):
            if (out / artefact / "manifest.json").exists():
                wanted = {name: digest for name, digest in digests(folder).items() if name.startswith(f"{artefact}/")}
                found = {name: digest for name, digest in digests(out).items() if name.startswith(f"{artefact}/")}
                assert found == wanted
    subprocess.run(command, check=True)
    assert kills > 0
    assert digests(out) == digests(folder)
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob(".scratch"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("length = 512", 'length = 512\ntokenizer = "nope"'), "nope"),
        (("objective = 0.15", 'objective = "betalinear99"'), "betalinear99"),
        (
            ("length = 512", 'length = 512\ntokenizer = "evo2"'),
            "needs a mask token; tokenizer 'evo2' of this dataset has none",
        ),
    ],
)
def test_a_mistake_in_the_last_stage_is_told_before_the_first(recipe_path, tmp_path, change, told):
    wrong = recipe_path.with_name("wrong.toml")
    wrong.write_text(recipe_path.read_text().replace(*change))
    with pytest.raises(ConfigurationError, match=told):
        run(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_changed_recipe_is_refused_and_overwritten_when_asked(finished, recipe_path, tmp_path):
    from pipeline.errors import ArtefactConflictError

    out = tmp_path / "out"
    run(recipe_path, out)
    changed = recipe_path.with_name("changed.toml")
    changed.write_text(recipe_path.read_text().replace("length = 512", "length = 256"))
    with pytest.raises(ArtefactConflictError, match="length is 512 there, 256 was asked for"):
        run(changed, out)
    outcome = run(changed, out, overwrite=True)
    assert outcome.corpus.was_finished
    assert not outcome.plan.was_finished
    assert outcome.manifest.configuration["length"] == 256
