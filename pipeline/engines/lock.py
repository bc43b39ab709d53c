"""One run at a time in a folder.

An advisory lock on ``.lock``: the second run is told, instead of the two taking each other's scratch files away. The
system frees it when a process ends, however it ends. A file system without locks (some network ones) goes without.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pipeline.errors import ArtefactConflictError

try:
    import fcntl
except ImportError:  # not on Windows, where runs go without a lock
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"

_TRIES = 3
_SECONDS_BETWEEN_TRIES = 0.05


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made if missing.

    Raises:
        ArtefactConflictError: Another run holds it, or there is a file in the folder's place.
    """
    if folder.exists() and not folder.is_dir():
        raise ArtefactConflictError(f"{folder}: expected a folder, found a file", hint="choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    with path.open("a+", encoding="utf-8") as file:
        try:
            if fcntl is not None:
                _lock(file)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ArtefactConflictError(
                f"{folder}: another run is working in this folder ({holder})",
                hint="wait for it, or choose another --out",
            ) from error
        except OSError:
            pass  # no locks on this file system
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _lock(file: IO[str]) -> None:
    # More than once, for whoever asks whether a run holds the lock holds it for a moment (is_locked).
    for _ in range(_TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_SECONDS_BETWEEN_TRIES)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(folder: Path) -> bool | None:
    """Whether a run holds the lock of a folder; None where a file system without locks leaves it open.

    It is held by a run on this machine, or on another where the file system passes locks on. Nothing is written, and no
    run is kept from starting.
    """
    try:
        with (folder / LOCK_NAME).open("rb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        pass  # no locks on this file system
    return None
