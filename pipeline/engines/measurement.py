"""What a task used, where it ran: seconds, processor seconds, memory.

The peak of memory is the most that the process held at any time up to the end of the task; a process runs many tasks,
one after another. Where the peak rose while the task ran, it is the task's own; where it did not, the task needed at
most as much. The largest of all tasks is exact either way. Linux can be told to begin the peak anew
(``/proc/self/clear_refs``), but then everybody else who asks, such as ``/usr/bin/time``, is told too little.
"""

import os
import socket
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

if sys.platform != "win32":  # where memory is not known
    import resource

_STATUS = Path("/proc/self/status")
_UNIT = 1 if sys.platform == "darwin" else 1024
_NOISE = 4 << 20
"""Bytes: Linux counts pages on each processor apart, and what it tells differs a little from one time to the next."""


class Measurement(BaseModel):
    """What a task used, and where."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    started: AwareDatetime
    """By the clock of the machine that it ran on."""
    seconds: float
    """From start to end."""
    processor_seconds: float
    """Of all threads of the process meanwhile, and of the programs that it started and that have ended."""
    peak_memory: int
    """Bytes: the most that the process, or a program that it started, has held so far; 0 where that is not known."""
    is_peak_of_task: bool
    """Whether the peak was reached while the task ran: else the task needed at most as much."""
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class _Usage:
    """Of the process and of the programs that it started, since they began."""

    processor_seconds: float
    seconds_of_programs: float
    peak: int
    peak_of_programs: int


class Stopwatch:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._started = datetime.now(UTC)
        self._begin = time.perf_counter()
        self._before = _usage()

    def read(self) -> Measurement:
        """What was used up to now."""
        before, after = self._before, _usage()
        peak, is_of_task = after.peak, after.peak > before.peak + _NOISE
        # The peak of programs is that of all there ever were: it says something of this task only if it ran one.
        if after.seconds_of_programs > before.seconds_of_programs and after.peak_of_programs > peak:
            peak, is_of_task = after.peak_of_programs, after.peak_of_programs > before.peak_of_programs + _NOISE
        return Measurement(
            started=self._started,
            seconds=round(time.perf_counter() - self._begin, 6),
            processor_seconds=round(after.processor_seconds - before.processor_seconds, 6),
            peak_memory=peak,
            is_peak_of_task=is_of_task,
            host=socket.gethostname(),
            pid=os.getpid(),
        )


def _usage() -> _Usage:
    if sys.platform == "win32":
        return _Usage(time.process_time(), 0.0, 0, 0)
    own, programs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    of_programs = programs.ru_utime + programs.ru_stime
    return _Usage(
        processor_seconds=own.ru_utime + own.ru_stime + of_programs,
        seconds_of_programs=of_programs,
        peak=_resident_peak() or own.ru_maxrss * _UNIT,
        peak_of_programs=programs.ru_maxrss * _UNIT,
    )


def _resident_peak() -> int | None:
    """Bytes, as Linux tells it; ru_maxrss of a started process begins with what its parent had (man 2 getrusage)."""
    try:
        status = _STATUS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else None
