"""One run at a time in a folder.

An advisory lock on ``.lock``: the second run is told, instead of the two taking each other's scratch files away. The
system frees it when a process ends, however it ends. A file system without locks (some network ones) goes without.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import ArtefactConflictError

try:
    import fcntl
except ImportError:  # not on Windows, where runs go without a lock
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"


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
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
