"""A program of others, run so that nothing of it is left behind.

::

    this process ── pipe ──▶ watcher ─┐
                    sh ──────────────┼── one process group: the program and all that it starts
                                     └─ when this process is gone the pipe ends, and the watcher ends the group

Programs that are shell scripts inside, as mmseqs workflows are, go on with their next step when only the process that
started them is killed; two of them in one folder would overwrite each other's files.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ExecutionError

# «kill 0» ends every process of the group, this shell included; 3 is the pipe.
_SUPERVISOR = """
"$@" 3<&- &
command=$!
{ read -r _ <&3; kill -KILL 0; } &
watcher=$!
wait "$command"
status=$?
kill "$watcher"
exit "$status"
"""
_LINES_SHOWN = 4
_BYTES_SHOWN = 4_000


def run_supervised(command: Sequence[str], *, folder: Path, log: Path) -> None:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        folder: Where it runs.
        log: File that what it prints is appended to.

    Raises:
        ExecutionError: It failed or was killed; the message has its last words.
    """
    reading, writing = os.pipe()
    try:
        with log.open("ab") as output:
            start = output.tell()
            # The shell finds the pipe as its standard input, and moves it out of the way of the program.
            process = subprocess.Popen(  # noqa: S603  (no shell reads the arguments)
                ["/bin/sh", "-c", f"exec 3<&0 </dev/null\n{_SUPERVISOR}", "sh", *command],
                cwd=folder,
                stdin=reading,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        os.close(reading)
        reading = -1
        try:
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    finally:
        os.close(writing)
        if reading >= 0:
            os.close(reading)
    if status:
        raise _failed(command, status, log, start)


def _failed(command: Sequence[str], status: int, log: Path, start: int) -> ExecutionError:
    name = " ".join([Path(command[0]).name, *command[1:2]])
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _BYTES_SHOWN))
        words = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    last = "; ".join(words[-_LINES_SHOWN:]) or "nothing"
    # A shell reports a signal as 128 + its number.
    killed = status in {-signal.SIGKILL, 128 + signal.SIGKILL} or "Killed" in last
    reason = "was killed, most likely because memory ran out" if killed else f"failed with exit code {status}"
    return ExecutionError(
        f"{name} {reason}; its last words: {last}",
        hint=f"run the same command again: finished steps are kept; all that it said is in {log}",
    )
