"""Whether a run holds a folder can be asked, and asking keeps nobody from starting."""

import errno
import fcntl
import os
import subprocess
import sys
import threading

import pytest

from pipeline.engines import lock
from pipeline.engines.lock import LOCK_NAME, is_locked, only_run_in
from pipeline.errors import ArtefactConflictError


def test_a_folder_is_locked_while_a_run_holds_it(tmp_path):
    assert is_locked(tmp_path) is False
    with only_run_in(tmp_path):
        assert is_locked(tmp_path) is True
        assert is_locked(tmp_path) is True
    assert is_locked(tmp_path) is False
    assert list(tmp_path.iterdir()) == []  # asking writes nothing


def test_a_killed_run_leaves_its_file_and_no_lock(tmp_path):
    code = "import os, sys; from pathlib import Path; from pipeline.engines.lock import only_run_in\n"
    code += "with only_run_in(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert (tmp_path / LOCK_NAME).exists()
    assert is_locked(tmp_path) is False


def test_asking_keeps_no_run_from_starting(tmp_path):
    """Whoever asks holds the lock for a moment; here the moment is long."""
    with (tmp_path / LOCK_NAME).open("w+b") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        end = threading.Timer(0.02, fcntl.flock, (asking, fcntl.LOCK_UN))
        end.start()
        with only_run_in(tmp_path):
            assert is_locked(tmp_path)
        end.join()


def test_a_file_system_without_locks_leaves_it_open(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    (tmp_path / LOCK_NAME).touch()
    monkeypatch.setattr(lock.fcntl, "flock", refused)
    assert is_locked(tmp_path) is None
    with only_run_in(tmp_path):
        assert is_locked(tmp_path) is None


def test_a_second_run_is_refused_though_it_asks_more_than_once(tmp_path):
    with only_run_in(tmp_path), pytest.raises(ArtefactConflictError, match="another run"), only_run_in(tmp_path):
        pass
