"""A download is a folder like every other: made once, finished after an interruption, refused when it differs."""

import hashlib
import json
import pickle
import random
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.config import DownloadConfig, checked
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.patience import TransferOptions
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import (
    ArtefactConflictError,
    ConfigurationError,
    InputFormatError,
    IntegrityError,
    PipelineError,
    TransferError,
)
from pipeline.formats.manifest import fingerprint_of, read_manifest, read_run
from pipeline.stages.download.stage import Download
from pipeline.stages.verify.stage import verify


def load(name):
    """A module of the tests of the engines: tests are no packages."""
    spec = spec_from_file_location(name, Path(__file__).parents[1] / "engines" / f"{name}.py")
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


range_server = load("range_server")
Answer, RangeServer = range_server.Answer, range_server.RangeServer

DATA = random.Random(5).randbytes(40_000)
OTHER = random.Random(6).randbytes(40_000)
MD5 = f"md5:{hashlib.md5(DATA).hexdigest()}"
UNIREF = "/current_release/uniref/uniref50"
UNIPARC = "/current_release/uniparc/fasta/active"


class Clock:
    def now(self):
        return 0.0

    def wait(self, seconds, stop):
        stop.wait(seconds / 1000)


def metalink(version, files, *, hashed=True):
    entries = "".join(
        f'<file name="{name}"><size>{len(data)}</size><verification>'
        + (f'<hash type="md5">{hashlib.md5(data).hexdigest()}</hash>' if hashed else "")
        + "</verification></file>"
        for name, data in files.items()
    )
    text = f'<metalink version="3.0" xmlns="http://www.metalinker.org/"><version>{version}</version>'
    return f"{text}<files>{entries}</files></metalink>".encode()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def publisher():
    files = {"uniref50.fasta.gz": DATA, "README": b"read me"}
    served = {f"{UNIREF}/{name}": data for name, data in files.items()}
    with RangeServer(served | {f"{UNIREF}/RELEASE.metalink": metalink("2025_03", files)}) as server:
        yield server


@pytest.fixture
def make(tmp_path, publisher):
    def run(source="uniref50", *, out=tmp_path, watcher=None, overwrite=False, notify=None, **values):
        if "/" not in source:
            values = {"mirror": publisher.url} | values
        config = checked(DownloadConfig, {"source": source} | values, where="test")
        options = TransferOptions(attempts=3, piece_bytes=10_000, checkpoint_seconds=0)
        stage = Download(config, options=options, clock=Clock(), notify=notify)
        folder = out / stage.folder_name
        outcome = run_stage(
            stage, folder, executor=SerialExecutor(), watcher=watcher or SilentWatcher(), overwrite=overwrite
        )
        return folder, outcome

    return run


class Warnings(SilentWatcher):
    def __init__(self):
        self.texts = []

    def warning(self, text):
        self.texts.append(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def paths(publisher):
    return [path for path, _, _ in publisher.requests]


def test_a_public_corpus_with_its_provenance(make, publisher):
    watcher = Warnings()
    folder, outcome = make(watcher=watcher)
    assert folder.name == "uniref50-2025_03"
    assert names(folder) == ["log.jsonl", "manifest.json", "run.json", "uniref50.fasta.gz"]
    assert (folder / "uniref50.fasta.gz").read_bytes() == DATA
    manifest = outcome.manifest
    assert manifest.kind == "download"
    assert manifest.configuration == {"name": "uniref50", "release": "2025_03"}
    assert manifest.counts == {"bytes": len(DATA), "files": 1}
    (source,) = manifest.provenance
    assert (source.name, source.release, source.licence) == ("uniref50.fasta.gz", "2025_03", "CC-BY-4.0")
    assert source.url == f"{publisher.url}{UNIREF}/uniref50.fasta.gz"
    assert source.checksum == MD5
    assert source.bytes == len(DATA)
    assert watcher.texts == []
    assert not any("README" in path for path in paths(publisher))


def test_the_fingerprint_is_of_the_bytes_and_the_release_not_of_the_mirror(make, publisher, tmp_path):
    first = make()[1].manifest
    with RangeServer(publisher.files) as mirror:
        second = make(out=tmp_path / "b", mirror=mirror.url)[1].manifest
    assert first.fingerprint == second.fingerprint == fingerprint_of(first)
    publisher.files[f"{UNIREF}/uniref50.fasta.gz"] = OTHER
    publisher.files[f"{UNIREF}/RELEASE.metalink"] = metalink("2025_03", {"uniref50.fasta.gz": OTHER})
    assert make(out=tmp_path / "c")[1].manifest.fingerprint != first.fingerprint


def test_a_second_run_does_nothing(make, publisher):
    make()
    publisher.requests.clear()
    assert make()[1].was_finished
    assert paths(publisher) == [f"{UNIREF}/RELEASE.metalink"] * 2  # facts, and the file: which is the newest?
    publisher.requests.clear()
    assert make(release="2025_03")[1].was_finished
    assert paths(publisher) == []


def test_what_one_mirror_began_another_finishes(make, publisher):
    publisher.rules = [lambda _, path, span: Answer(status=404) if span == "bytes=20000-29999" else None]
    with pytest.raises(TransferError):
        make(connections=1)
    with RangeServer(publisher.files) as mirror:
        folder, _ = make(mirror=mirror.url)
        assert "bytes=0-9999" not in [span for _, span, _ in mirror.requests]
    assert (folder / "uniref50.fasta.gz").read_bytes() == DATA


def test_an_older_release_comes_from_where_older_ones_are(make, publisher):
    base = "/previous_releases/release-2021_02/uniref"
    publisher.files[f"{base}/uniref2021_02.tar.gz"] = OTHER
    publisher.files[f"{base}/RELEASE.metalink"] = metalink("2021_02", {"uniref2021_02.tar.gz": OTHER})
    told = []
    folder, outcome = make(release="2021_02", notify=told.append)
    assert folder.name == "uniref50-2021_02"
    assert (folder / "uniref2021_02.tar.gz").read_bytes() == OTHER
    assert outcome.manifest.provenance[0].url == f"{publisher.url}{base}/uniref2021_02.tar.gz"
    assert "one archive of all of UniRef (2025_03: 254 GB), of which ingest reads uniref50" in told[0]
    members = ["uniref50.xml.gz", "uniref50.fasta.gz"]
    assert outcome.manifest.configuration == {"name": "uniref50", "release": "2021_02", "members": members}
    publisher.requests.clear()
    assert make(release="2021_02")[1].was_finished
    assert paths(publisher) == []
    publisher.files[f"{base}/RELEASE.metalink"] = metalink("2021_03", {"uniref2021_02.tar.gz": OTHER})
    with pytest.raises(InputFormatError, match="expected <version> 2021_02, found 2021_03"):
        make(release="2021_02", overwrite=True, checksum=f"md5:{'0' * 32}")


def uniparc(publisher, count=3):
    files = {f"uniparc_active_p{number}.fasta.gz": DATA[number:] for number in range(1, count + 1)}
    publisher.files |= {f"{UNIPARC}/{name}": data for name, data in files.items()}
    publisher.files[f"{UNIPARC}/RELEASE.metalink"] = metalink("2025_03", files | {"README": b""})
    return files


def test_a_corpus_of_many_files_goes_on_with_what_is_missing(make, publisher):
    files = uniparc(publisher)
    publisher.rules = [lambda _, path, span: Answer(status=404) if "_p2" in path else None]
    with pytest.raises(TransferError, match=r"uniparc_active_p2.fasta.gz: the server answers 404"):
        make("uniparc")
    publisher.rules = []
    publisher.requests.clear()
    folder, outcome = make("uniparc")
    assert not any("_p1" in path for path in paths(publisher))
    assert [file.path for file in outcome.manifest.files] == list(files)
    assert {name: (folder / name).read_bytes() for name in files} == files
    assert [source.checksum for source in outcome.manifest.provenance] == [
        f"md5:{hashlib.md5(data).hexdigest()}" for data in files.values()
    ]


def test_a_list_without_the_files_is_told(make, publisher):
    publisher.files[f"{UNIPARC}/RELEASE.metalink"] = metalink("2025_03", {"README": b""})
    with pytest.raises(InputFormatError, match="uniparc: expected files named"):
        make("uniparc")


def test_a_proteome(make, publisher):
    folder = "/current_release/knowledgebase/reference_proteomes/Bacteria/UP000000625"
    publisher.files[f"{folder}/UP000000625_83333.fasta.gz"] = DATA
    publisher.files[f"{folder}/RELEASE.metalink"] = metalink("2025_03", {"UP000000625_83333.fasta.gz": DATA})
    made, _ = make("proteome:UP000000625")
    assert made.name == "UP000000625-2025_03"


def test_a_publisher_without_checksums_is_warned_of(make, publisher):
    publisher.files["/2019_05/mgy_clusters.fa.gz"] = DATA
    watcher = Warnings()
    folder, outcome = make("mgnify", release="2019_05", watcher=watcher)
    assert folder.name == "mgnify-2019_05"
    assert outcome.manifest.provenance[0].licence == "CC0-1.0"
    assert outcome.manifest.provenance[0].checksum is None
    assert "there is no checksum of it" in watcher.texts[0]
    with pytest.raises(ArtefactConflictError, match="files is"):
        make("mgnify", release="2019_05", checksum=MD5)
    make("mgnify", release="2019_05", checksum=MD5, overwrite=True)
    assert read_manifest(folder).provenance[0].checksum == MD5


class TestAddresses:
    def test_any_address_or_path(self, make, publisher, tmp_path):
        publisher.files["/data/my%20own.v2.fasta"] = DATA
        folder, outcome = make(
            f"{publisher.url}/data/my%20own.v2.fasta", name="mine", release="7", licence="CC0-1.0", checksum=MD5
        )
        assert folder.name == "mine-7"
        assert names(folder) == ["log.jsonl", "manifest.json", "my own.v2.fasta", "run.json"]
        (source,) = outcome.manifest.provenance
        assert (source.licence, source.checksum, source.release) == ("CC0-1.0", MD5, "7")
        (tmp_path / "x.fasta.gz").write_bytes(DATA)
        folder, _ = make(str(tmp_path / "x.fasta.gz"), out=tmp_path / "out")
        assert folder.name == "x"
        assert (folder / "x.fasta.gz").read_bytes() == DATA
        publisher.requests.clear()
        again = make(f"{publisher.url}/data/my%20own.v2.fasta", name="mine", release="7", licence="CC0-1.0")[1]
        assert again.was_finished
        assert paths(publisher) == []

    def test_a_signature_is_not_kept(self, make, publisher):
        publisher.rules = [lambda _, path, span: Answer(headers={}) if False else None]
        publisher.files["/f.fasta?X-Amz-Signature=secret"] = DATA
        folder, _ = make(f"{publisher.url}/f.fasta?X-Amz-Signature=secret")
        assert (folder / "f.fasta").read_bytes() == DATA
        for name in ("run.json", "manifest.json"):
            assert "secret" not in (folder / name).read_text()

    def test_another_file_of_the_name_is_refused(self, make, publisher):
        publisher.files |= {"/a/f.fasta": DATA, "/b/f.fasta": OTHER}
        folder, _ = make(f"{publisher.url}/a/f.fasta")
        with pytest.raises(ArtefactConflictError, match="address is"):
            make(f"{publisher.url}/b/f.fasta")
        make(f"{publisher.url}/b/f.fasta", overwrite=True)
        assert (folder / "f.fasta").read_bytes() == OTHER

    @pytest.mark.parametrize(
        ("source", "values", "sentence"),
        [
            ("http://127.0.0.1/", {}, "ends in the name of a file"),
            ("http://127.0.0.1/x/manifest.json", {}, "ends in the name of a file"),
            ("http://127.0.0.1/..%2f", {}, "ends in the name of a file"),
            ("http://127.0.0.1/-x.fasta", {}, "cannot name a folder"),
            ("http://127.0.0.1/x.fasta", {"release": "a/b"}, "another --release"),
            ("http://127.0.0.1/x.fasta", {"mirror": "http://m"}, "--mirror is for public corpora"),
            ("http://127.0.0.1/x.fasta", {"name": "../x"}, "name: string should match"),
            ("http://127.0.0.1/x.fasta", {"checksum": "md5:1"}, "expected 32 hexadecimal digits"),
            ("uniref50", {"licence": "CC0-1.0"}, "--name and --licence are for addresses"),
            ("uniref5", {}, "expected a public corpus, a URL or a path"),
            ("uniref50", {"release": "../.."}, "expected one like"),
            ("uniref50", {"connections": 0}, "connections: input should be greater"),
        ],
    )
    def test_what_cannot_be_asked_for(self, make, tmp_path, source, values, sentence):
        with pytest.raises(ConfigurationError, match=sentence):
            make(source, **values)
        assert names(tmp_path) == []


class TestWhatThePublisherGetsWrong:
    def test_a_file_that_is_not_what_its_list_says(self, make, publisher, tmp_path):
        publisher.files[f"{UNIREF}/uniref50.fasta.gz"] = OTHER
        with pytest.raises(IntegrityError, match=f"expected {MD5}, found md5:") as caught:
            make()
        assert caught.value.exit_code == 1
        folder = tmp_path / "uniref50-2025_03"
        assert not (folder / "uniref50.fasta.gz").exists()
        assert not (folder / "manifest.json").exists()
        publisher.files[f"{UNIREF}/uniref50.fasta.gz"] = DATA
        assert make()[1].manifest.provenance[0].checksum == MD5

    def test_a_wrong_file_never_stands_under_the_name_of_a_right_one(self, make, publisher, tmp_path):
        folder, _ = make()
        publisher.files[f"{UNIREF}/uniref50.fasta.gz"] = OTHER
        new = {"uniref50.fasta.gz": DATA[::-1]}
        publisher.files[f"{UNIREF}/RELEASE.metalink"] = metalink("2025_03", new)
        with pytest.raises(ArtefactConflictError, match="files is"):
            make()
        with pytest.raises(IntegrityError):
            make(overwrite=True)
        assert not (folder / "uniref50.fasta.gz").exists()

    @pytest.mark.parametrize(
        ("document", "error", "sentence"),
        [
            (b"<html/>", InputFormatError, "expected Metalink 3.0"),
            (metalink("2025_03", {"uniref50.fasta.gz": DATA}, hashed=False), InputFormatError, "expected a checksum"),
            (metalink("2025_03", {"uniref90.fasta.gz": DATA}), InputFormatError, "expected an entry for uniref50"),
            (metalink("../../x", {"uniref50.fasta.gz": DATA}), InputFormatError, r"to be a release like 2025_03"),
            (metalink("", {"uniref50.fasta.gz": DATA}), InputFormatError, "found None"),
            (None, TransferError, "uniref50: the list of its releases and checksums is needed: .* answers 404"),
        ],
    )
    def test_lists_that_cannot_be_used(self, make, publisher, document, error, sentence):
        publisher.files.pop(f"{UNIREF}/RELEASE.metalink")
        if document is not None:
            publisher.files[f"{UNIREF}/RELEASE.metalink"] = document
        with pytest.raises(error, match=sentence):
            make()
        assert f"{UNIREF}/uniref50.fasta.gz" not in paths(publisher)

    def test_own_checksum_beside_the_publishers(self, make, publisher):
        sha = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
        assert make(checksum=sha)[1].manifest.provenance[0].checksum == sha
        uniparc(publisher)
        with pytest.raises(ConfigurationError, match="--checksum is of one file, uniparc has 3"):
            make("uniparc", checksum=sha)


class TestAfterAnInterruption:
    def test_a_file_that_is_there_is_checked_and_kept(self, make, publisher, tmp_path):
        folder, _ = make()
        (folder / "manifest.json").unlink()
        (folder / "uniref50.fasta.gz.partial.json").write_text("left by a kill after the rename")
        publisher.num_body_bytes = 0
        make()
        assert publisher.num_body_bytes < len(DATA)
        assert names(folder) == ["log.jsonl", "manifest.json", "run.json", "uniref50.fasta.gz"]

    def test_a_file_that_was_damaged_is_fetched_anew(self, make, publisher):
        folder, _ = make()
        (folder / "uniref50.fasta.gz").write_bytes(DATA[:-1])
        assert not make()[1].was_finished
        assert (folder / "uniref50.fasta.gz").read_bytes() == DATA

    def test_a_file_that_cannot_be_checked_is_fetched_anew(self, make, publisher):
        publisher.files["/2022_05/mgy_clusters.fa.gz"] = DATA
        folder, _ = make("mgnify")
        (folder / "manifest.json").unlink()
        publisher.files["/2022_05/mgy_clusters.fa.gz"] = OTHER
        make("mgnify")
        assert (folder / "mgy_clusters.fa.gz").read_bytes() == OTHER

    def test_the_run_says_what_was_planned(self, make, publisher, tmp_path):
        publisher.rules = [lambda _, path, span: Answer(status=404) if path.endswith("gz") else None]
        with pytest.raises(TransferError):
            make()
        run = read_run(tmp_path / "uniref50-2025_03")
        assert run.configuration == {
            "name": "uniref50", "release": "2025_03", "licence": "CC-BY-4.0",
            "files": [{"name": "uniref50.fasta.gz", "bytes": len(DATA), "checksum": MD5}],
        }  # fmt: skip


def test_tasks_can_be_sent_to_another_process(publisher):
    config = DownloadConfig(source="uniref50", mirror=publisher.url)
    (task,) = next(Download(config).rounds(Path("out"), 0)).tasks
    assert pickle.loads(pickle.dumps(task)).arguments["file"].name == "uniref50.fasta.gz"


def test_verification(make):
    folder, _ = make()
    report = verify(folder, executor=SerialExecutor(), watcher=SilentWatcher())
    assert (report.is_sound, report.counts) == (True, {"files": 1})
    with (folder / "uniref50.fasta.gz").open("r+b") as stream:
        stream.write(b"changed")
    report = verify(folder, executor=SerialExecutor(), watcher=SilentWatcher())
    (finding,) = report.findings
    assert "the bytes changed" in finding.message


class TestCommandLine:
    @pytest.fixture
    def command(self, capsys):
        def run(*arguments):
            code = main([str(argument) for argument in arguments])
            captured = capsys.readouterr()
            return code, captured.out, captured.err

        return run

    def test_done(self, command, publisher, tmp_path):
        arguments = ("download", "uniref50", "--mirror", publisher.url, "--out", tmp_path)
        code, out, err = command(*arguments)
        folder = tmp_path / "uniref50-2025_03"
        assert (code, out) == (0, "")
        summary = f"{folder}: 1 file, 40.0 kB, 1 checked against a checksum, CC-BY-4.0"
        assert err.rstrip().splitlines()[-1] == f"{summary}; next: pipeline ingest {folder} --out corpus/"
        code, out, err = command(*arguments, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["was_finished"] is True
        code, out, err = command(*arguments, "--quiet")
        assert (code, out, err) == (0, "", "")

    def test_a_check_that_fails_is_1_and_all_else_is_2(self, command, publisher, tmp_path):
        publisher.files[f"{UNIREF}/uniref50.fasta.gz"] = OTHER
        code, _, err = command("download", "uniref50", "--mirror", publisher.url, "--out", tmp_path)
        assert code == 1
        assert "error: " in err
        assert "hint: what came was removed" in err
        for arguments in (["download", f"{publisher.url}/none.fasta"], ["download", "nr"], ["download"]):
            code, _, err = command(*arguments, "--out", tmp_path)
            assert code == 2
            assert "Traceback" not in err

    def test_sources(self, command):
        code, out, _ = command("sources")
        assert code == 0
        lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
        assert {"uniref50", "uniref90", "uniref100", "swissprot", "trembl", "uniparc", "bfd", "bfd-small", "mgnify",
                "colabfold-env", "proteome:ID"} <= set(lines)  # fmt: skip
        assert "CC-BY-SA-4.0" in lines["bfd"]
        assert "13.0 GB ?" in lines["uniref50"]
        code, out, _ = command("sources", "--json")
        documents = json.loads(out)["sources"]
        assert documents[0]["url"].endswith("uniref50.fasta.gz")
        assert documents[0]["size_status"] == "unverified"

    def test_errors_are_of_the_package(self, make):
        with pytest.raises(PipelineError):
            make("uniref49")
