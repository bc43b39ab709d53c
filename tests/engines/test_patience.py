"""Waits grow, are never all alike, begin again after progress, and end."""

import threading

import pytest

from pipeline.engines import patience
from pipeline.engines.patience import ConnectionLostError, Patience, SystemClock, TransferOptions, persist
from pipeline.errors import ConfigurationError, TransferError


class Recorder:
    """A clock that stands still and remembers what was waited for."""

    def __init__(self):
        self.waits = []

    def now(self):
        return 0.0

    def wait(self, seconds, stop):
        self.waits.append(seconds)


def test_waits_double_with_jitter_and_begin_again_after_progress(monkeypatch):
    monkeypatch.setattr(patience.random, "uniform", lambda low, high: high)
    clock = Recorder()
    options = TransferOptions(attempts=9, progress_bytes=100)
    waiting = Patience("there", options, clock, notify=lambda _: None)
    for gained in (0, 99, 0, 100, 0):
        waiting.endure(ConnectionLostError("gone"), gained=gained)
    assert clock.waits == [1, 2, 4, 1, 2]
    for _ in range(6):
        waiting.endure(ConnectionLostError("gone"))
    assert clock.waits[5:] == [4, 8, 16, 32, 60, 60]
    with pytest.raises(TransferError, match="there: gone: gave up after 9 attempts without progress") as caught:
        waiting.endure(ConnectionLostError("gone"))
    assert "kept" in caught.value.hint


def test_jitter_stays_between_half_and_all():
    clock = Recorder()
    for _ in range(200):
        Patience("there", TransferOptions(), clock, notify=lambda _: None).endure(ConnectionLostError("gone"))
    assert 0.5 <= min(clock.waits) < 0.6
    assert 0.9 < max(clock.waits) <= 1


def test_what_the_server_asks_for_is_the_least_that_is_waited():
    clock = Recorder()
    waiting = Patience("there", TransferOptions(), clock, notify=lambda _: None)
    waiting.endure(ConnectionLostError("busy", retry_after=100))
    waiting.endure(ConnectionLostError("busy", retry_after=0))
    assert clock.waits[0] == 100
    assert 1 <= clock.waits[1] <= 2
    with pytest.raises(TransferError, match=r"there: busy, and asks to come back in 2\.0 hours"):
        waiting.endure(ConnectionLostError("busy", retry_after=7200))


def test_persisting_ends_with_the_first_answer():
    told, faults = [], [ConnectionLostError("gone"), ConnectionLostError("busy")]

    def attempt():
        if faults:
            raise faults.pop()
        return "answer"

    assert persist(attempt, Patience("there", TransferOptions(), Recorder(), notify=told.append)) == "answer"
    assert [sentence.partition(":")[0] for sentence in told] == ["there", "there"]


def test_the_clock_of_the_machine_goes_on_and_stops_waiting_when_told():
    clock, stop = SystemClock(), threading.Event()
    before = clock.now()
    clock.wait(0.01, stop)
    assert clock.now() - before >= 0.01
    stop.set()
    clock.wait(60, stop)
    assert clock.now() - before < 30


@pytest.mark.parametrize("option", ["connections", "read_timeout", "attempts"])
def test_options_that_make_no_sense(option):
    with pytest.raises(ConfigurationError, match="expected more than 0"):
        TransferOptions(**{option: 0})
