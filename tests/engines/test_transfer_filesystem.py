"""Files that fsspec opens come whole, and one that changes is fetched anew."""

import hashlib
import random

import fsspec
import pytest

from pipeline.engines.patience import TransferOptions
from pipeline.engines.transfer import ORIGINS, Wanted, transfer
from pipeline.engines.transfer_filesystem import FilesystemOrigin
from pipeline.errors import MissingExtraError, TransferError
from pipeline.formats.checksums import Checksum

DATA = random.Random(7).randbytes(120_345)
OTHER = random.Random(8).randbytes(120_345)
MD5 = Checksum("md5", hashlib.md5(DATA).hexdigest())


class NoClock:
    def now(self):
        return 0.0

    def wait(self, seconds, stop):
        pass


@pytest.fixture(autouse=True)
def files(monkeypatch):
    monkeypatch.setitem(ORIGINS, "memory", FilesystemOrigin)
    store = fsspec.filesystem("memory")
    store.pipe_file("/bucket/f", DATA)
    yield store
    store.store.clear()


@pytest.fixture
def told():
    return []


@pytest.fixture
def fetch(tmp_path, told):
    def run(url, checksum=None):
        options = TransferOptions(piece_bytes=10_000, attempts=6)
        wanted = Wanted(url=url, path=tmp_path / "f", checksum=checksum)
        return transfer(wanted, options=options, notify=told.append, clock=NoClock())

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("address", ["{path}", "file://{path}", "memory://bucket/f"])
def test_a_path_an_url_and_a_store(fetch, tmp_path, address):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    fetch(address.format(path=source), checksum=MD5)
    assert (tmp_path / "f").read_bytes() == DATA
    assert names(tmp_path) == ["f", "source"]


def test_an_object_that_changes_is_fetched_anew(fetch, tmp_path, monkeypatch, told, files):
    real = FilesystemOrigin._ask
    asked = []

    def ask(origin, function, *arguments, **options):
        asked.append(options.get("start"))
        if len([start for start in asked if start is not None]) == 4 and files.cat_file("/bucket/f") == DATA:
            files.pipe_file("/bucket/f", OTHER)
        return real(origin, function, *arguments, **options)

    monkeypatch.setattr(FilesystemOrigin, "_ask", ask)
    fetch("memory://bucket/f")
    assert (tmp_path / "f").read_bytes() == OTHER
    assert "the file changed while it was read: starting over" in told[-1]


def test_a_store_that_fails_for_a_while(fetch, tmp_path, monkeypatch, told, files):
    real, failures = type(files).cat_file, [RuntimeError("slow down")] * 3

    def cat_file(*arguments, **options):
        if failures:
            raise failures.pop()
        return real(*arguments, **options)

    monkeypatch.setattr(type(files), "cat_file", cat_file)
    fetch("memory://bucket/f", checksum=MD5)
    assert (tmp_path / "f").read_bytes() == DATA
    assert "RuntimeError: slow down: trying again" in told[0]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(PermissionError("no"), "may not be read"), (type("NoCredentialsError", (Exception,), {})("none"), "none")],
)
def test_a_store_that_refuses(fetch, monkeypatch, error, sentence, told):
    def refuse(*arguments, **options):
        raise error

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", refuse)
    with pytest.raises(TransferError, match=sentence):
        fetch("memory://bucket/f")
    assert told == []  # such a fault does not pass: it is not waited for


def test_an_object_that_ends_early(fetch, monkeypatch, files):
    monkeypatch.setattr(type(files), "cat_file", lambda self, path, start=None, end=None: DATA[start:end][:-1])
    with pytest.raises(TransferError, match="the file ended 1 bytes early"):
        fetch("memory://bucket/f")


def test_a_missing_package_of_an_object_store(fetch, monkeypatch):
    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingExtraError, match="Install s3fs") as caught:
        fetch("s3://bucket/f")
    assert "protein-pipeline[cloud]" in caught.value.hint
