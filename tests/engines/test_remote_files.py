"""Laws of remote reading: right bytes or a clear error in time, whatever the line does, and no secrets in messages."""

import json
import logging
import os
import pickle
import random
import sys
import threading
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import fsspec
import pytest

from pipeline.engines import remote_files
from pipeline.engines.range_cache import StoppedError
from pipeline.engines.remote_files import RemoteFiles
from pipeline.errors import ConfigurationError, IntegrityError, MissingExtraError, TransferError


def load(name: str) -> ModuleType:
    path = Path(__file__).with_name(name + ".py")
    spec = spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


range_server, faulty_proxy = load("range_server"), load("faulty_proxy")
Fault, Kind = faulty_proxy.Fault, faulty_proxy.Kind

DATA = random.Random(3).randbytes(200_000)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class Clock:
    """Twenty times as fast as time."""

    def now(self):
        return time.monotonic() * 20

    def wait(self, seconds, stop):
        stop.wait(seconds / 20)


@pytest.fixture
def server():
    with range_server.RangeServer({"/a/b/f": DATA, "/a/b/empty": b""}) as server:
        yield server


@pytest.fixture
def memory():
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/remote/f", DATA)
    yield filesystem
    filesystem.rm("/remote", recursive=True)


def over(url, **options):
    return RemoteFiles(url, **{"storage_options": {}, "patience": 400.0, "clock": Clock(), **options})


def test_http_and_fsspec_give_the_same(server, memory):
    for files in (over(f"{server.url}/a/b/"), over("memory:///remote")):
        assert files.size("f") == len(DATA)
        assert files.read("f", 0, None) == DATA
        assert files.read("f", 1000, 1010) == DATA[1000:1010]
        with pytest.raises(FileNotFoundError):
            files.read("g", 0, 10)
        with pytest.raises(FileNotFoundError):
            files.size("g")
        with pytest.raises(IntegrityError, match=r"/f: "):
            files.read("f", len(DATA) - 5, len(DATA) + 5)


def test_a_query_stays_behind_the_name_and_out_of_messages(server):
    server.files["/a/b/f?token=hush"] = DATA
    files = over(f"{server.url}/a/b?token=hush")
    assert files.read("f", 5, 9) == DATA[5:9]
    assert files.place("f") == f"{server.url}/a/b/f"
    assert "hush" not in files.where


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in {Kind.CORRUPT, Kind.NONE}])
def test_faults_that_pass(server, kind, monkeypatch):
    monkeypatch.setattr(remote_files, "LONGEST_REQUEST", 1.0)
    with faulty_proxy.FaultyProxy(server.url, [Fault(), Fault(kind, 50_000), Fault(kind, 900)]) as proxy:
        assert over(f"{proxy.url}/a/b").read("f", 10, 180_000) == DATA[10:180_000]
        assert proxy.num_connections == 4


def test_a_server_that_is_gone_is_one_clear_error_in_time(server, caplog):
    with faulty_proxy.FaultyProxy(server.url, [Fault(Kind.REFUSE)] * 10_000) as proxy:
        files = RemoteFiles(f"{proxy.url}/a/b", storage_options={}, patience=1.5)
        started = time.monotonic()
        with pytest.raises(TransferError) as error:
            files.read("f", 0, 10)
        assert time.monotonic() - started < 4
    assert str(error.value) == (
        f"{proxy.url}/a/b/f: connection reset by peer: gave up after 2 s "
        "(check that the server runs and can be reached; a larger `patience` waits longer)"
    )
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 1
    assert "trying again in 1 s" in messages[0]


def test_a_server_that_hangs_is_an_error_in_time(server):
    with faulty_proxy.FaultyProxy(server.url, [Fault(Kind.STALL)] * 100) as proxy:
        started = time.monotonic()
        with pytest.raises(TransferError, match="no answer in time: gave up after 1 s"):
            RemoteFiles(f"{proxy.url}/a/b", storage_options={}, patience=1.0).read("f", 0, 10)
        assert time.monotonic() - started < 5


def test_what_nobody_wants_any_more_is_not_tried_again(server):
    stop = threading.Event()
    with faulty_proxy.FaultyProxy(server.url, [Fault(Kind.REFUSE)] * 100) as proxy:
        threading.Timer(0.3, stop.set).start()
        started = time.monotonic()
        with pytest.raises(StoppedError):
            RemoteFiles(f"{proxy.url}/a/b", storage_options={}, patience=60.0).read("f", 0, 10, stop=stop)
        assert time.monotonic() - started < 5


def test_refusals_that_will_not_pass(server):
    server.rules.append(lambda number, path, range_: range_server.Answer(status=403))
    with pytest.raises(TransferError, match="/f: the server answers 403"):
        over(f"{server.url}/a/b").read("f", 0, 10)
    assert len(server.requests) == 1


def test_a_server_without_ranges(server):
    server.rules.append(lambda number, path, range_: range_server.Answer(ignores_range=True))
    files = over(f"{server.url}/a/b")
    assert files.read("f", 0, None) == DATA
    with pytest.raises(TransferError, match=r"gives no parts of files \(download the folder"):
        files.read("f", 0, 10)


@pytest.mark.parametrize("sends_etag", [True, False])
def test_a_file_that_changed(server, sends_etag):
    server.sends_etag = sends_etag
    files = over(f"{server.url}/a/b")
    assert files.read("f", 0, 10) == DATA[:10]
    server.files["/a/b/f"] = DATA[::-1]
    server.modified = "Thu, 19 Jun 2025 08:00:00 GMT"
    with pytest.raises(IntegrityError, match=r"/f: the file changed on the server"):
        files.read("f", 0, 10)


def test_options_do_not_appear_in_messages(memory, monkeypatch):
    def refuse(*args, **options):
        raise OSError("bad key hush-hush of user\nsomebody")

    monkeypatch.setattr(type(memory), "cat_file", refuse)
    options = {"nested": {"secret": "hush-hush"}, "name": "somebody", "endpoint_url": "http://where"}
    with pytest.raises(TransferError) as error:
        over("memory:///remote", storage_options=options, patience=20.0).read("f", 0, 10)
    assert str(error.value).startswith("memory:///remote/f: OSError: bad key … of user …: gave up after 20 s")


@pytest.mark.parametrize(
    ("url", "options", "kind"),
    [
        ("nonsense://x/y", {}, ConfigurationError),
        ("memory://x", {"patience": 0}, ConfigurationError),
        ("dropbox://x/y", {}, MissingExtraError),
    ],
)
def test_addresses_that_cannot_be_used(url, options, kind):
    with pytest.raises(kind) as error:
        over(url, **options).read("f", 0, 1)
    assert type(error.value) is kind


def test_they_can_be_pickled_and_forked(server, memory):
    for files in (over(f"{server.url}/a/b"), over("memory:///remote")):
        assert files.read("f", 0, 10) == DATA[:10]
        assert pickle.loads(pickle.dumps(files)).read("f", 3, 10) == DATA[3:10]
        read, write = os.pipe()
        if not (child := os.fork()):
            os.write(write, files.read("f", 5, 25))
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 100) == DATA[5:25]
        os.close(read)
        os.close(write)
    assert json.dumps(over("memory://a", storage_options={"key": "k"}).where) == '"memory://a"'
