"""A command in a fresh process, and what it and its children used: seconds, processor seconds, memory.

    python tests/benchmarks/process_tree.py [--every 0.03] COMMAND ARGUMENT...

The tree is every process of the session that the command begins, so that workers count however they were started, also
when their parent is gone. Memory is what /proc/PID/smaps_rollup says, summed over the tree, and the peak is the largest
sum seen, files mapped into memory included:

- proportional (Pss): a page that k processes share counts 1/k in each. What the tree occupies, less what it shares with
  others, such as another Python that runs at the time: the figure changes with its neighbours.
- resident (Rss): shared pages count in each process. An upper bound that no neighbour changes.
- anonymous (Pss_Anon): what no file holds.

What rises and falls between two samples is missed; a sample costs 2 ms and some more for each gigabyte, so whoever
measures seconds does without.

Linux only.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO

SAMPLE_SECONDS = 0.03
POLL_SECONDS = 0.001
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, summed over the processes of a tree."""

    proportional: int = 0
    resident: int = 0
    anonymous: int = 0

    def peak(self, other: "Memory") -> "Memory":
        """The larger of each."""
        return Memory(
            max(self.proportional, other.proportional),
            max(self.resident, other.resident),
            max(self.anonymous, other.anonymous),
        )

    def megabytes(self) -> str:
        """In words."""
        proportional, resident, anonymous = (f"{size / 1e6:,.0f} MB" for size in astuple(self))
        return f"{proportional} proportional, {resident} resident, {anonymous} anonymous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a command used until it ended."""

    seconds: float
    """On the clock, starting the process included."""
    processor_seconds: float
    """User and system, of the command and of every child that was waited for."""
    memory: Memory | None
    """Peak of the whole tree, where it was sampled."""
    output: str
    """What the command wrote to stdout."""


def measure(
    command: Sequence[str],
    *,
    cpus: Sequence[int] | None = None,
    sample_seconds: float | None = None,
) -> Usage:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        cpus: Processors that it and its children may use; None: those of this process.
        sample_seconds: Pause between two looks at its memory; None: look at none.

    Raises:
        RuntimeError: It failed; with what it wrote to stderr.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        process = start(command, cpus=cpus, output=output, errors=errors)
        try:
            status, processor_seconds, memory = wait(process.pid, sample_seconds)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                kill(process)
        seconds = time.perf_counter() - begin
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}: {text_of(errors)}")
        return Usage(seconds=seconds, processor_seconds=processor_seconds, memory=memory, output=text_of(output))


def start(
    command: Sequence[str],
    *,
    cpus: Sequence[int] | None = None,
    output: IO[bytes] | None = None,
    errors: IO[bytes] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a command in a session of its own."""
    with pinned(cpus):
        return subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True)


@contextmanager
def pinned(cpus: Sequence[int] | None) -> Iterator[None]:
    """Keep this thread to some processors: a process started meanwhile stays on them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if cpus is None else cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def wait(pid: int, sample_seconds: float | None) -> tuple[int, float, Memory | None]:
    """Status, processor seconds and peak memory of a process that leads its session, when it has ended."""
    memory = None if sample_seconds is None else Memory()
    ended = 0
    while not ended:
        ended, status, used = os.wait4(pid, 0 if sample_seconds is None else os.WNOHANG)
        if memory is not None and sample_seconds is not None and not ended:
            memory = memory.peak(memory_of(session_members(pid)))
            time.sleep(sample_seconds)
    return status, used.ru_utime + used.ru_stime, memory


def kill_when(command: Sequence[str], is_time: Callable[[], bool]) -> bool:
    """Start a command and kill it, and all that it started, as soon as it is time; False if it ended before.

    Raises:
        RuntimeError: It failed before.
    """
    with tempfile.TemporaryFile() as errors:
        process = start(command, errors=errors)
        while process.poll() is None:
            if is_time():
                kill(process)
                return True
            time.sleep(POLL_SECONDS)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}: {text_of(errors)}")
        return False


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill −9 the group of a started command that was not waited for, and wait until nothing of it runs."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while session_members(process.pid):
        time.sleep(POLL_SECONDS)


def session_members(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    members = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and (fields := stat_fields(entry)):
            state, session_of_process = fields[0], int(fields[3])
            if session_of_process == session and state not in "ZX":
                members.append(int(entry.name))
    return members


def stat_fields(entry: Path) -> list[str]:
    """What /proc/PID/stat holds behind the name: state, parent, group, session, …; nothing if the process is gone."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def memory_of(pids: Sequence[int]) -> Memory:
    totals = [memory_of_one(pid) for pid in pids]
    return Memory(
        sum(one.proportional for one in totals),
        sum(one.resident for one in totals),
        sum(one.anonymous for one in totals),
    )


def memory_of_one(pid: int) -> Memory:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return Memory()  # ended since it was listed
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    if not kilobytes:
        return Memory()
    return Memory(*(1024 * kilobytes[name] for name in ("Pss", "Rss", "Pss_Anon")))


def text_of(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=float, default=SAMPLE_SECONDS)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    usage = measure(options.command, sample_seconds=options.every)
    sys.stdout.write(usage.output)
    assert usage.memory is not None
    spent = f"{usage.seconds:.2f} s, {usage.processor_seconds:.2f} s of processors"
    print(f"{spent}, peak {usage.memory.megabytes()}", file=sys.stderr)


if __name__ == "__main__":
    main()
