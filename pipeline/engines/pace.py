"""How fast a round goes, and when it will be done.

Tasks of a round are cut to be alike, so each of those left is taken to need what the ones before needed::

    start ──●────●──●─────●····○····○    two left, at the pace up to the last that is done
            └── seconds ──┘

Seconds count up to the last task that was done, not up to now: side by side, tasks end in waves.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.engines.stage import TaskResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What was done since a round began, or went on."""

    num_done: int
    """Tasks."""
    num_left: int
    seconds: float
    """From the start to the last task that was done."""
    seconds_since: float
    """From then to now."""
    num_records: int = 0
    num_bytes: int = 0
    """Written."""

    @property
    def tasks_per_second(self) -> float | None:
        """None before the first task is done."""
        return self._rate(self.num_done)

    @property
    def records_per_second(self) -> float | None:
        """None where no records were counted."""
        return self._rate(self.num_records)

    @property
    def bytes_per_second(self) -> float | None:
        """None where nothing was written."""
        return self._rate(self.num_bytes)

    @property
    def seconds_left(self) -> float | None:
        """None before the first task is done, and where the ones left take longer than those before."""
        if not self.num_left:
            return 0.0
        rate = self.tasks_per_second
        left = self.num_left / rate - self.seconds_since if rate else 0.0
        return left if left > 0 else None

    def _rate(self, number: int) -> float | None:
        return number / self.seconds if number and self.seconds > 0 else None


class RoundPace:
    """Follows a round while it runs.

    Args:
        total: Tasks of the round.
        done: Of these, finished earlier.
        clock: Seconds, from any beginning.
    """

    def __init__(self, total: int, done: int, clock: Callable[[], float]) -> None:
        self.total = total
        self.done = done
        self._kept = done
        self._clock = clock
        self._started = self._last = clock()
        self._num_records = self._num_bytes = 0

    def add(self, result: TaskResult) -> None:
        """Another task is done."""
        self.done += 1
        self._last = self._clock()
        self._num_records += result.counts.get("records_read", 0)
        self._num_bytes += bytes_written(result)

    @property
    def now(self) -> Pace:
        """How fast it goes."""
        return Pace(
            num_done=self.done - self._kept,
            num_left=self.total - self.done,
            seconds=self._last - self._started,
            seconds_since=self._clock() - self._last,
            num_records=self._num_records,
            num_bytes=self._num_bytes,
        )


def bytes_written(result: TaskResult) -> int:
    """Bytes of the files of a task, of those that stay and those that go."""
    return sum(file.bytes for file in result.files) + sum(result.scratch.values())
