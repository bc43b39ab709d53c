"""Laws of the range cache: what it gives is what was fetched, once, and it never takes more than it may."""

import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline.engines.range_cache import RangeCache, StoppedError
from pipeline.errors import ConfigurationError

CONTEXT = multiprocessing.get_context("spawn")
DIGEST = 16


def taken(folder: Path) -> int:
    """Bytes of everything that is not a lock or the count."""
    total = 0
    for entry in os.scandir(folder):
        if entry.name not in {"locks", "total"}:
            try:
                total += entry.stat().st_size
            except FileNotFoundError:
                continue
    return total


def never() -> bytes:
    raise AssertionError("this range is here already")


def test_a_range_is_fetched_once(tmp_path):
    cache = RangeCache(tmp_path / "cache", 1000)
    assert cache.get("a", lambda: b"first") == b"first"
    assert cache.get("a", never) == b"first"
    assert RangeCache(tmp_path / "cache", 1000).get("a", never) == b"first"
    assert cache.get("b", lambda: b"second") == b"second"
    assert cache.get("a", lambda: b"again", fresh=True) == b"again"
    assert cache.get("a", never) == b"again"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_file_is_not_used(tmp_path, damage):
    cache = RangeCache(tmp_path, 10_000)
    data = bytes(range(200))
    cache.get("a", lambda: data)
    cache.get("b", lambda: data[::-1])
    path = tmp_path / "a.range"
    content = bytearray(path.read_bytes())
    content[17] ^= 1
    path.write_bytes(
        {"flip": bytes(content), "cut": content[:100], "empty": b"", "other": (tmp_path / "b.range").read_bytes()}[
            damage
        ]
    )
    assert cache.get("a", lambda: data) == data
    assert cache.get("a", never) == data


def test_the_least_recently_used_go(tmp_path):
    cache = RangeCache(tmp_path, 10 * 116)
    for name in "abcdefghij":
        cache.get(name, lambda: b"x" * 100)
        time.sleep(0.002)
    cache.get("a", never)
    cache.get("k", lambda: b"y" * 100)
    assert taken(tmp_path) <= 10 * 116
    assert cache.get("a", never) == b"x" * 100
    assert cache.get("k", never) == b"y" * 100
    fetched = []
    cache.get("b", lambda: fetched.append(1) or b"z" * 100)
    assert fetched == [1]


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path):
    cache = RangeCache(tmp_path, 100)
    assert cache.get("a", lambda: b"x" * 200) == b"x" * 200
    assert taken(tmp_path) == 0


def test_what_killed_processes_left_goes(tmp_path):
    cache = RangeCache(tmp_path, 300)
    (tmp_path / ".abc.tmp").write_bytes(b"x" * 1000)
    for name in "abc":
        cache.get(name, lambda: b"x" * 100)
    assert taken(tmp_path) <= 300
    assert not (tmp_path / ".abc.tmp").exists()


def test_a_full_disk_is_no_error(tmp_path, monkeypatch, caplog):
    cache = RangeCache(tmp_path, 1000)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert [cache.get(name, lambda: b"x") for name in "aab"] == [b"x"] * 3
    assert taken(tmp_path) == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"cache: {tmp_path}: No space left on device: ranges are fetched and not kept"
    ]


def test_a_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cache: .*file/cache: .*local disk"):
        RangeCache(tmp_path / "file" / "cache", 100)
    with pytest.raises(ConfigurationError, match="cache_bytes: expected at least 1, found 0"):
        RangeCache(tmp_path, 0)


def test_threads_fetch_a_range_once(tmp_path):
    cache = RangeCache(tmp_path, 10_000)
    fetched = []

    def fetch() -> bytes:
        fetched.append(1)
        time.sleep(0.1)
        return b"x" * 50

    threads = [threading.Thread(target=cache.get, args=("a", fetch)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == [1]


def test_whoever_waits_can_be_stopped(tmp_path):
    cache = RangeCache(tmp_path, 10_000)
    fetching, stop = threading.Event(), threading.Event()

    def slow() -> bytes:
        fetching.set()
        time.sleep(0.5)
        return b"x"

    thread = threading.Thread(target=cache.get, args=("a", slow))
    thread.start()
    fetching.wait()
    stop.set()
    with pytest.raises(StoppedError):
        cache.get("a", never, stop=stop)
    thread.join()


def _fetch_and_hang(folder: Path, ready: "multiprocessing.synchronize.Event") -> None:
    def fetch() -> bytes:
        ready.set()
        time.sleep(60)
        return b""

    RangeCache(folder, 10_000).get("a", fetch)


def test_a_process_that_dies_while_it_fetches_frees_the_range(tmp_path):
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=_fetch_and_hang, args=(tmp_path, ready))
    process.start()
    assert ready.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert RangeCache(tmp_path, 10_000).get("a", lambda: b"x") == b"x"


def _use(folder: Path, max_bytes: int, seed: int, log: Path) -> None:
    cache = RangeCache(folder, max_bytes)
    rng = random.Random(seed)
    for _ in range(300):
        number = rng.randrange(60)
        content = bytes([number]) * (100 + 10 * number)

        def fetch(content: bytes = content) -> bytes:
            with log.open("ab") as stream:
                stream.write(b"x")
            return content

        assert cache.get(str(number), fetch) == content


def test_the_bound_holds_for_several_processes(tmp_path):
    bound = 8_000  # of 24,000 bytes
    logs = [tmp_path / f"log{number}" for number in range(3)]
    processes = [
        CONTEXT.Process(target=_use, args=(tmp_path / "cache", bound, seed, log)) for seed, log in enumerate(logs)
    ]
    for process in processes:
        process.start()
    most = 0
    cache = RangeCache(tmp_path / "cache", bound)
    while any(process.is_alive() for process in processes):
        with cache._total():  # files that come and go while they are counted would be counted wrongly
            most = max(most, taken(tmp_path / "cache"))
        time.sleep(0.001)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert 0.5 * bound < most <= bound
    assert sum(log.stat().st_size for log in logs) < 900


def test_processes_that_are_killed_leave_the_bound(tmp_path):
    for seed in range(4):
        process = CONTEXT.Process(target=_use, args=(tmp_path / "cache", 6_000, seed, tmp_path / "log"))
        process.start()
        while process.is_alive() and not (tmp_path / "log").exists():
            time.sleep(0.005)
        time.sleep(0.02 * seed)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        (tmp_path / "log").unlink(missing_ok=True)
    _use(tmp_path / "cache", 6_000, 9, tmp_path / "log")
    assert taken(tmp_path / "cache") <= 6_000
