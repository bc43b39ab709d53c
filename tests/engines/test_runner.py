"""What is there is kept, what is missing is done, what differs is refused, what is a stranger's is never touched."""

import os
from functools import partial

import pytest

from pipeline.engines.execution import SerialExecutor
from pipeline.engines.lock import only_run_in
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import Round, Task, TaskResult, files_of, total
from pipeline.errors import ArtefactConflictError, ConfigurationError, InputFormatError
from pipeline.formats.manifest import File, Input, Run, make_manifest
from pipeline.formats.storage import atomic_path, file_digest


class Letters:
    """A stage for the tests: round one writes scratch files, round two one data file for each."""

    kind = "corpus"

    def __init__(self, letters="abc", *, fingerprint="f0", fail_on=None):
        self.letters = letters
        self.fingerprint = fingerprint
        self.fail_on = fail_on

    def forthcoming(self):
        return ()

    def describe(self, folder):
        inputs = (Input(kind="file", fingerprint=self.fingerprint, path="../x"),)
        return Run(kind=self.kind, configuration={"letters": self.letters}, inputs=inputs)

    def rounds(self, folder, worker_bytes):
        drafts = yield Round(
            label="draft",
            tasks=[Task(name=f"draft-{x}", function=draft, arguments={"letter": x}) for x in self.letters],
        )
        written = yield Round(label="write", tasks=[
            Task(name=f"write-{x}", function=write, arguments={"letter": x, "fail": x == self.fail_on})
            for x in self.letters
        ])  # fmt: skip
        counts = total(drafts, "counts") | total(written, "counts")
        return make_manifest(
            self.kind, configuration={"letters": self.letters}, inputs=self.describe(folder).inputs,
            files=files_of(written), counts=counts, reasons=total(written, "reasons"), provenance=(),
        )  # fmt: skip


calls: list[str] = []


@pytest.fixture(autouse=True)
def _fresh_calls():
    calls.clear()


def draft(folder, *, letter):
    calls.append(f"draft-{letter}")
    with atomic_path(folder / ".scratch" / letter) as temporary:
        temporary.write_text(letter)
    return TaskResult(scratch={f".scratch/{letter}": 1}, counts={"drafts": 1}, warnings=(f"drafted {letter}",))


def write(folder, *, letter, fail):
    calls.append(f"write-{letter}")
    if fail:
        raise InputFormatError(f"{letter}: cannot be written")
    name = f"part-{letter}.parquet"
    with atomic_path(folder / name) as temporary:
        temporary.write_text((folder / ".scratch" / letter).read_text() * 3)
        num_bytes, digest = file_digest(temporary)
    file = File(path=name, rows=1, bytes=num_bytes, xxh3_64=digest, content=digest)
    return TaskResult(files=(file,), counts={"files": 1}, reasons={"none": 0})


class Recorder:
    def __init__(self):
        self.rounds, self.warnings, self.tasks = [], [], []

    def round_started(self, kind, label, total, done):
        self.rounds.append((kind, label, total, done))

    def task_finished(self, name, result):
        self.tasks.append(name)

    def warning(self, text):
        self.warnings.append(text)


def make(stage, folder, **options):
    return run_stage(stage, folder, executor=SerialExecutor(), **options)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_finished_folder_holds_data_two_documents_and_the_log(tmp_path):
    watcher = Recorder()
    outcome = make(Letters(), tmp_path / "out", watcher=watcher)
    assert not outcome.was_finished
    assert names(tmp_path / "out") == [
        "log.jsonl", "manifest.json", "part-a.parquet", "part-b.parquet", "part-c.parquet", "run.json",
    ]  # fmt: skip
    assert outcome.manifest.counts == {"drafts": 3, "files": 3}
    assert watcher.rounds == [("corpus", "draft", 3, 0), ("corpus", "write", 3, 0)]
    assert watcher.warnings == ["drafted a", "drafted b", "drafted c"]
    assert len(watcher.tasks) == 6


def test_a_second_run_does_nothing(tmp_path):
    first = make(Letters(), tmp_path / "out")
    calls.clear()
    second = make(Letters(), tmp_path / "out")
    assert second.was_finished
    assert second.manifest == first.manifest
    assert calls == []


def test_after_an_interruption_only_the_missing_is_done(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputFormatError):
        make(Letters(fail_on="b"), out)
    assert calls == ["draft-a", "draft-b", "draft-c", "write-a", "write-b"]
    assert not (out / "manifest.json").exists()
    calls.clear()
    make(Letters(), out)
    assert calls == ["write-b", "write-c"]


@pytest.mark.parametrize("lost", ["part-a.parquet", ".scratch/a"])
def test_a_file_that_was_lost_or_cut_is_made_again(tmp_path, lost):
    out = tmp_path / "out"
    with pytest.raises(InputFormatError):
        make(Letters(fail_on="b"), out)
    (out / lost).write_text("")
    calls.clear()
    make(Letters(), out)
    assert ("write-a" in calls) == (lost == "part-a.parquet")
    assert ("draft-a" in calls) == (lost == ".scratch/a")


def test_a_finished_artefact_that_lost_a_file_is_made_whole(tmp_path):
    make(Letters(), tmp_path / "out")
    (tmp_path / "out" / "part-b.parquet").unlink()
    assert not make(Letters(), tmp_path / "out").was_finished
    assert (tmp_path / "out" / "part-b.parquet").exists()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (Letters("abd"), "letters is 'abc' there, 'abd' was asked for"),
        (Letters(fingerprint="f1"), "input 1 is file f0 there, file f1 was asked for"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_run_is_refused_and_told(tmp_path, other, told, finished):
    out = tmp_path / "out"
    if finished:
        make(Letters(), out)
    else:
        with pytest.raises(InputFormatError):
            make(Letters(fail_on="b"), out)
    before = names(out)
    with pytest.raises(ArtefactConflictError, match="holds a run that differs") as caught:
        make(other, out)
    assert told in caught.value.message
    assert "--overwrite" in caught.value.hint
    assert names(out) == before


def test_an_attempt_that_finished_nothing_may_be_replaced(tmp_path):
    """A file that was cut short fails, is downloaded again under its name, and is another input then."""
    with pytest.raises(InputFormatError):
        make(Broken(fingerprint="cut short"), tmp_path / "out")
    assert make(Letters(fingerprint="whole"), tmp_path / "out").manifest.counts["files"] == 3


class Broken(Letters):
    def rounds(self, folder, worker_bytes):
        yield Round(label="draft", tasks=[Task(name="draft-a", function=refuse)])


def refuse(folder):
    raise InputFormatError("cut short")


@pytest.mark.parametrize("where", ["same", "inside", "around"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_in_the_way_of_its_output(tmp_path, where, overwrite):
    source = tmp_path / "a" / "input"
    make(Letters(), source)
    before = names(tmp_path)
    out = {"same": source, "inside": source / "out", "around": tmp_path / "a"}[where]
    stage = Letters("xyz")
    told = Run(
        kind="plan",
        configuration={},
        inputs=(Input(kind="corpus", fingerprint="f", path=os.path.relpath(source, out)),),
    )
    stage.describe = lambda folder: told
    with pytest.raises(ConfigurationError, match="expected a folder apart from the input"):
        make(stage, out, overwrite=overwrite)
    assert names(tmp_path) == before


def test_another_kind_is_never_overwritten(tmp_path):
    make(Letters(), tmp_path / "out")
    stage = Letters()
    stage.kind = "plan"
    for overwrite in (False, True):
        with pytest.raises(ArtefactConflictError, match="holds a corpus, not a plan"):
            make(stage, tmp_path / "out", overwrite=overwrite)


def test_two_runs_do_not_work_in_one_folder(tmp_path):
    out = tmp_path / "out"
    with only_run_in(out), pytest.raises(ArtefactConflictError, match=f"another run .*process {os.getpid()} on"):
        make(Letters(), out)
    assert make(Letters(), out).manifest.counts["files"] == 3


def test_what_was_left_beside_a_finished_artefact_is_cleared(tmp_path):
    out = tmp_path / "out"
    make(Letters(), out)
    before = names(out)
    for name in (".scratch/a", ".tasks/x.json", ".part-a.parquet.0123456789ab.tmp"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("left")
    assert make(Letters(), out).was_finished
    assert names(out) == before


def test_overwrite_replaces_what_is_ours_and_keeps_what_is_not(tmp_path):
    out = tmp_path / "out"
    make(Letters("ab"), out)
    make(Letters("z"), out / "train")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "part-a.parquet").write_text("mine")
    (out / "data").symlink_to(tmp_path / "elsewhere")
    (out / "README.md").write_text("mine")
    make(Letters("cd"), out, overwrite=True)
    nested = ["train/log.jsonl", "train/manifest.json", "train/part-z.parquet", "train/run.json"]
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == sorted(
        ["README.md", "log.jsonl", "manifest.json", "part-c.parquet", "part-d.parquet", "run.json", *nested]
    )
    assert (tmp_path / "elsewhere" / "part-a.parquet").read_text() == "mine"


def test_a_strangers_folder_is_never_touched(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ArtefactConflictError, match=r"thesis\.tex"):
            make(Letters(), out, overwrite=overwrite)
    assert names(out) == ["thesis.tex"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArtefactConflictError, match="found a file"):
        make(Letters(), tmp_path / "file")


def test_what_a_killed_attempt_left_is_cleared(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".run.json.0123456789ab.tmp").write_text("half")
    make(Letters("a"), out)
    assert names(out) == ["log.jsonl", "manifest.json", "part-a.parquet", "run.json"]


def test_run_json_comes_before_any_data(tmp_path):
    seen = []
    stage = Letters("a")
    real = stage.rounds
    stage.rounds = partial(watched, real, seen)
    make(stage, tmp_path / "out")
    assert seen == [[".lock", "log.jsonl", "run.json"]]


def watched(real, seen, folder, worker_bytes):
    seen.append(names(folder))
    return real(folder, worker_bytes)
