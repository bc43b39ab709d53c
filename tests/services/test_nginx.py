"""Fetching from a real server: ranges, validators, limits, redirects, and one that is stopped and started again.

Run with PIPELINE_TEST_SERVICES=1; nginx-light is installed if it is missing and may be.
"""

import hashlib
import os
import random
import signal
import sys
import threading
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from pipeline.engines.patience import TransferOptions
from pipeline.engines.transfer import Wanted, transfer
from pipeline.errors import TransferError
from pipeline.formats.checksums import Checksum

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(600),  # the first run installs the package
    pytest.mark.skipif(
        os.environ.get("PIPELINE_TEST_SERVICES") != "1", reason="PIPELINE_TEST_SERVICES=1 starts a real nginx"
    ),
]

DATA = random.Random(11).randbytes(3_000_000)
OTHER = random.Random(12).randbytes(3_000_000)
MD5 = Checksum("md5", hashlib.md5(DATA).hexdigest())
QUICK = TransferOptions(piece_bytes=200_000, read_timeout=1.0, attempts=8, checkpoint_seconds=0.05)


def load(path):
    spec = spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


nginx_module = load(Path(__file__).with_name("nginx.py"))
faulty_proxy = load(Path(__file__).parents[1] / "engines" / "faulty_proxy.py")


class Clock:
    """Ten times as fast as time."""

    def __init__(self):
        self.waits = []

    def now(self):
        return time.monotonic()

    def wait(self, seconds, stop):
        self.waits.append(seconds)
        stop.wait(seconds / 10)


@pytest.fixture
def nginx(tmp_path):
    try:
        with nginx_module.Nginx(tmp_path / "nginx") as server:
            (server.html / "f").write_bytes(DATA)
            os.utime(server.html / "f", (1_750_000_000, 1_750_000_000))
            yield server
    except nginx_module.NotAvailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    told = []

    def run(url, *, checksum=MD5, options=QUICK, clock=None, progress=None):
        wanted = Wanted(url=url, path=tmp_path / "out" / "f", checksum=checksum)
        transfer(wanted, options=options, clock=clock or Clock(), notify=told.append, progress=progress)
        data = wanted.path.read_bytes()
        wanted.path.unlink()
        assert list((tmp_path / "out").iterdir()) == []
        return data

    run.told = told
    return run


@pytest.mark.parametrize("place", ["", "whole/", "slow/", "crowded/", "moved-", "no-etag/", "nothing/"])
def test_every_kind_of_server(nginx, fetch, place):
    for checksum in (MD5, None):
        assert fetch(f"{nginx.url}/{place}f", checksum=checksum) == DATA
    statuses = {line.split('"')[2].split()[0] for line in nginx.requests()}
    assert ("206" in statuses) == (place not in {"whole/"})


def test_ranges_are_used(nginx, fetch):
    assert fetch(f"{nginx.url}/f") == DATA
    assert sum(" 206 200000 " in line for line in nginx.requests()) == 15


def test_a_server_without_ranges_gives_the_whole_in_one_stream(nginx, fetch):
    assert fetch(f"{nginx.url}/whole/f") == DATA
    assert [line.split('"')[2].split()[0] for line in nginx.requests()] == ["200", "200"]


def test_one_that_limits_connections_is_served_by_fewer(nginx, fetch):
    assert fetch(f"{nginx.url}/crowded/f") == DATA
    statuses = [line.split('"')[2].split()[0] for line in nginx.requests()]
    assert 1 <= statuses.count("503") <= 8


def test_one_that_is_busy_is_waited_for_as_it_asks(nginx, fetch):
    clock = Clock()
    with pytest.raises(TransferError, match="the server answers 503 Service Temporarily Unavailable: gave up after 3"):
        fetch(f"{nginx.url}/busy/f", clock=clock, options=TransferOptions(attempts=3))
    assert all(seconds >= 3 for seconds in clock.waits)
    assert len(clock.waits) == 2


@pytest.mark.parametrize("place", ["", "no-etag/"])
def test_a_file_that_changes_on_the_way(nginx, fetch, place):
    def change(done, total):
        if 0 < done < total and (nginx.html / "f").read_bytes() == DATA:
            (nginx.html / "new").write_bytes(OTHER)
            os.utime(nginx.html / "new", (1_760_000_000, 1_760_000_000))
            (nginx.html / "new").replace(nginx.html / "f")

    with faulty_proxy.FaultyProxy(nginx.url, [faulty_proxy.Fault()] * 3 + [
        faulty_proxy.Fault(faulty_proxy.Kind.STALL, 50_000)] * 2) as proxy:  # fmt: skip
        assert fetch(f"{proxy.url}/{place}f", checksum=None, progress=change) == OTHER
    assert any("starting over" in sentence for sentence in fetch.told)


def test_a_server_that_is_frozen_and_thawed(nginx, fetch):
    def freeze_and_thaw():
        time.sleep(0.3)
        workers = nginx.workers()
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        time.sleep(1.5)
        for worker in workers:
            os.kill(worker, signal.SIGCONT)

    thread = threading.Thread(target=freeze_and_thaw)
    thread.start()
    assert fetch(f"{nginx.url}/slow/f") == DATA
    thread.join()
    assert any("no answer in time" in sentence for sentence in fetch.told)


def test_a_server_that_is_stopped_and_started(nginx, fetch):
    def restart():
        time.sleep(0.3)
        nginx.stop()
        time.sleep(0.5)
        nginx.run()

    thread = threading.Thread(target=restart)
    thread.start()
    assert fetch(f"{nginx.url}/slow/f") == DATA
    thread.join()
    assert fetch.told


@pytest.mark.parametrize("seed", range(4))
def test_behind_a_line_that_fails(nginx, fetch, seed):
    rng = random.Random(seed)
    kinds = [kind for kind in faulty_proxy.Kind if kind not in {"corrupt", "drip"}]
    schedule = faulty_proxy.random_faults(rng, 20, 200_000, kinds)
    with faulty_proxy.FaultyProxy(nginx.url, schedule) as proxy:
        assert fetch(f"{proxy.url}/f", options=TransferOptions(piece_bytes=150_000, read_timeout=0.5,
                                                               attempts=20, progress_bytes=1)) == DATA  # fmt: skip
