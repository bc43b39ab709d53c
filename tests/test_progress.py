"""What the person who waits sees: rate and time left, a line a minute without a terminal, nothing where none asked."""

import io
import os
import pty
import subprocess
import sys
import time

import pytest

from pipeline.console import Console, Mode, duration_text, rate_text
from pipeline.engines.stage import TaskResult
from pipeline.progress import SECONDS_BETWEEN_LINES, ProgressWatcher, TransferWatcher


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def finish(watcher, clock, seconds, result=TaskResult()):  # noqa: B008
    clock.now += seconds
    watcher.task_finished("a task", result)


def test_without_a_terminal_a_line_says_rate_and_time_left(clock, capsys):
    watcher = ProgressWatcher(Console(), clock=clock)
    watcher.tell()
    watcher.round_started("corpus", "read", 4, 1)
    watcher.tell()
    finish(watcher, clock, 100, TaskResult(counts={"records_read": 500_000}, scratch={"x": 2_000_000_000}))
    watcher.tell()
    finish(watcher, clock, 100)
    finish(watcher, clock, 100)
    watcher.tell()
    assert capsys.readouterr().err.splitlines() == [
        "corpus: read, 4 tasks, 1 of them done earlier",
        "corpus: read, 1 of 4 tasks",
        "corpus: read, 2 of 4 tasks, 36.0 tasks/h, 5,000 records/s, 20.0 MB/s written, 3 min left",
        "corpus: read, done: 3 tasks in 5 min, 36.0 tasks/h, 1,667 records/s, 6.7 MB/s written",
    ]


def test_tasks_that_end_say_nothing_of_their_own(clock, capsys):
    """A thousand tasks a minute are not a thousand lines."""
    watcher = ProgressWatcher(Console(), clock=clock)
    watcher.round_started("corpus", "read", 1000, 0)
    for _ in range(999):
        finish(watcher, clock, 0.01)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_lines_come_by_themselves_also_while_no_task_ends(capsys):
    assert SECONDS_BETWEEN_LINES == 60
    with ProgressWatcher(Console(), seconds_between_lines=0.05) as watcher:
        watcher.round_started("clusters", "search", 1, 0)
        told, deadline = "", time.monotonic() + 10
        while told.count("\n") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
            told += capsys.readouterr().err
    assert told.splitlines()[1:3] == ["clusters: search, 0 of 1 task"] * 2
    time.sleep(0.15)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", [Mode.JSON, Mode.QUIET])
def test_json_and_quiet_say_nothing(mode, clock, capsys):
    with ProgressWatcher(Console(mode), clock=clock, seconds_between_lines=0.01) as watcher:
        watcher.round_started("corpus", "read", 2, 0)
        finish(watcher, clock, 1)
        watcher.tell()
        time.sleep(0.05)
        finish(watcher, clock, 1)
    with TransferWatcher(Console(mode), clock=clock) as transfer:
        transfer.progress(0, 10)
        clock.now += 1000
        transfer.progress(5, 10)
    assert capsys.readouterr() == ("", "")


def test_a_download_says_at_most_a_line_a_minute(clock, capsys):
    watcher = TransferWatcher(Console(), clock=clock)
    watcher.round_started("download", "fetch", 2, 0)
    for second in range(181):
        clock.now = float(second)
        watcher.progress(1_000_000_000 + second * 10_000_000, 4_000_000_000)
    watcher.task_finished("a", TaskResult())
    watcher.progress(0, None)
    clock.now += 60
    watcher.progress(30_000_000, None)
    assert capsys.readouterr().err.splitlines() == [
        "download: fetch, 2 files",
        "file 1 of 2: 40.00 % of 4.0 GB, 10.0 MB/s, 4 min left",
        "file 1 of 2: 55.00 % of 4.0 GB, 10.0 MB/s, 3 min left",
        "file 1 of 2: 70.00 % of 4.0 GB, 10.0 MB/s, 2 min left",
        "file 2 of 2: 30.0 MB, 500 kB/s",
    ]


def test_a_terminal_has_a_bar_with_rate_and_time_left(tmp_path):
    """A real one; NO_COLOR holds."""
    code = (
        "import sys, time; from pipeline.console import Console; from pipeline.progress import ProgressWatcher\n"
        "from pipeline.engines.stage import TaskResult\n"
        "with ProgressWatcher(Console()) as watcher:\n"
        "    watcher.round_started('corpus', 'read', 100, 0)\n"
        "    for _ in range(2):\n"
        "        time.sleep(0.3)\n"
        "        watcher.task_finished('a', TaskResult(scratch={'x': 1_000_000}))\n"
        "    time.sleep(0.3)\n"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150", "NO_COLOR": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=theirs, env=environment) as process:
        os.close(theirs)
        told = _read_all(ours)
        assert process.wait() == 0
    assert "corpus: read" in told
    assert "2/100" in told
    assert "tasks/s, " in told
    assert "MB/s written, " in told
    assert " s left" in told
    assert "\x1b[3" not in told


def _read_all(descriptor):
    pieces = io.BytesIO()
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # how Linux says that the other side is gone
            piece = b""
        if not piece:
            os.close(descriptor)
            return pieces.getvalue().decode()
        pieces.write(piece)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (45, "45 s"), (90, "2 min"), (3569, "59 min"), (3590, "1 h 0 min"),
     (12_000, "3 h 20 min"), (187_200, "2 d 4 h")],
)  # fmt: skip
def test_durations(seconds, told):
    assert duration_text(seconds) == told


@pytest.mark.parametrize(
    ("per_second", "told"),
    [(123_456.7, "123,457 tasks/s"), (3.21, "3.2 tasks/s"), (0.5, "30.0 tasks/min"), (0.01, "36.0 tasks/h")],
)
def test_rates(per_second, told):
    assert rate_text(per_second, "tasks") == told
