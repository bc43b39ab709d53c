"""How far the work is, for the person who waits: on a terminal a bar, elsewhere a line a minute.

::

    corpus: read, 64 tasks
    corpus: read, 12 of 64 tasks, 12.0 tasks/min, 204,118 records/s, 61.2 MB/s written, 4 min left
    corpus: read, done: 64 tasks in 5 min, 12.8 tasks/min, 215,310 records/s, 63.9 MB/s written

Nothing of it is said in JSON and quiet output; NO_COLOR holds.
"""

import threading
import time
from collections.abc import Callable

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from pipeline.console import Console, bytes_text, count, duration_text, percent, rate_text
from pipeline.engines.pace import Pace, RoundPace
from pipeline.engines.stage import TaskResult

SECONDS_BETWEEN_LINES = 60.0
"""Where there is no terminal."""


class ProgressWatcher:
    """Tells how far a stage is, how fast it goes and how long it will take. A context manager.

    A bar on a terminal; elsewhere a line when a round begins and ends, and one a minute in between, also while no task
    ends.

    Args:
        console: Who is spoken to.
        clock: Seconds, from any beginning.
        seconds_between_lines: Where there is no terminal.
    """

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        seconds_between_lines: float = SECONDS_BETWEEN_LINES,
    ) -> None:
        self._console = console
        self._clock = clock
        self._is_terminal = console.is_human and console.people.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _PaceColumn(),
            console=console.people,
            transient=True,
            disable=not self._is_terminal,
        )
        self._title = ""
        self._pace = RoundPace(0, 0, clock)
        self._ended = threading.Event()
        self._teller = threading.Thread(target=self._tell_regularly, args=(seconds_between_lines,), daemon=True)

    def round_started(self, kind: str, label: str, total: int, done: int) -> None:
        """A round of tasks begins."""
        self._title, self._pace = f"{kind}: {label}", RoundPace(total, done, self._clock)
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        self._progress.add_task(self._title, total=total, completed=done, pace=self._pace)
        if not self._is_terminal:
            kept = f", {done} of them done earlier" if done else ""
            self._console.note(f"{self._title}, {count(total, 'tasks')}{kept}")

    def task_finished(self, name: str, result: TaskResult) -> None:
        """A task is done."""
        del name
        self._pace.add(result)
        for task in self._progress.task_ids:
            self._progress.advance(task)
        if not self._is_terminal and self._pace.done == self._pace.total:
            pace = self._pace.now
            told = [count(pace.num_done, "tasks"), f"in {duration_text(pace.seconds)}", *_rates(pace)]
            self._console.note(f"{self._title}, done: {' '.join(told[:2])}{''.join(f', {rate}' for rate in told[2:])}")

    def warning(self, text: str) -> None:
        """Something a person should know."""
        self._console.warning(text)

    def tell(self) -> None:
        """A line on how far the round is, if one is under way."""
        pace = self._pace.now
        if pace.num_left:
            far = f"{self._pace.done:,} of {count(self._pace.total, 'tasks')}"
            self._console.note(", ".join((f"{self._title}, {far}", *_rates(pace), *_left(pace))))

    def _tell_regularly(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            self.tell()

    def __enter__(self) -> "ProgressWatcher":
        self._progress.start()
        if self._console.is_human and not self._is_terminal:
            self._teller.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._ended.set()
        if self._teller.is_alive():
            self._teller.join()
        self._progress.stop()


class _PaceColumn(ProgressColumn):
    """Rates and time left, behind the bar."""

    def render(self, task: Task) -> Text:
        pace: Pace = task.fields["pace"].now
        return Text(", ".join((*_rates(pace), *_left(pace))), style="dim")


def _rates(pace: Pace) -> list[str]:
    told = [] if pace.tasks_per_second is None else [rate_text(pace.tasks_per_second, "tasks")]
    if pace.records_per_second is not None:
        told.append(rate_text(pace.records_per_second, "records"))
    if pace.bytes_per_second is not None:
        told.append(f"{bytes_text(round(pace.bytes_per_second))}/s written")
    return told


def _left(pace: Pace) -> list[str]:
    left = pace.seconds_left
    return [f"{duration_text(left)} left"] if left else []


class TransferWatcher:
    """Tells how far a download is: a bar of bytes on a terminal, at most a line a minute elsewhere.

    A context manager. Besides being a watcher it is told the bytes of the file under way (``progress``) and every fault
    that was survived (``notify``).

    Args:
        console: Who is spoken to.
        clock: Seconds, from any beginning.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._is_terminal = console.is_human and console.people.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console.people,
            transient=True,
            disable=not self._is_terminal,
        )
        self._bar = self._progress.add_task("fetch", total=None)
        self._files = (0, 0)
        self._told: tuple[float, int] | None = None

    def round_started(self, kind: str, label: str, total: int, done: int) -> None:
        """A round of tasks begins, one for each file."""
        self._files = (done, total)
        kept = f", {done} of them there already" if done else ""
        self._console.note(f"{kind}: {label}, {count(total, 'files')}{kept}")

    def task_finished(self, name: str, result: TaskResult) -> None:
        """A file is there."""
        del name, result
        self._files = (self._files[0] + 1, self._files[1])
        self._told = None

    def warning(self, text: str) -> None:
        """Something a person should know."""
        self._console.warning(text)

    def notify(self, sentence: str) -> None:
        """A fault that was survived."""
        self._console.note(sentence)

    def progress(self, done: int, total: int | None) -> None:
        """Bytes there are, and bytes there will be, of the file under way."""
        description = f"file {min(self._files[0] + 1, self._files[1])} of {self._files[1]}"
        self._progress.update(self._bar, completed=done, total=total, description=description)
        now = self._clock()
        then, before = self._told or (now, done)
        if self._told is None or now - then >= SECONDS_BETWEEN_LINES:
            self._told = (now, done)
        if not self._is_terminal and now - then >= SECONDS_BETWEEN_LINES:
            rate = max(0, done - before) / (now - then)
            far = bytes_text(done) if total is None else f"{percent(done, total)} of {bytes_text(total)}"
            left = f", {duration_text((total - done) / rate)} left" if total is not None and rate > 0 else ""
            self._console.note(f"{description}: {far}, {bytes_text(round(rate))}/s{left}")

    def __enter__(self) -> "TransferWatcher":
        self._progress.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._progress.stop()
