"""A program and all that it starts end with this process, however it ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.engines.supervised import run_supervised
from pipeline.errors import ExecutionError


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def is_running(pid):
    """Whether a process runs; a zombie, whose parent has not asked for it yet, does not."""
    try:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError:
        return False
    return not state.stdout.strip().startswith("Z")


def test_arguments_arrive_as_they_are_and_output_is_kept(tmp_path):
    log = tmp_path / "log"
    log.write_text("earlier\n")
    words = ["a b", "$HOME", "'", "*", ""]
    code = "import sys; print(sys.argv[1:]); print('beside', file=sys.stderr); print(sys.stdin.read() == '')"
    run_supervised([sys.executable, "-u", "-c", code, *words], folder=tmp_path, log=log)
    assert log.read_text().splitlines() == ["earlier", str(words), "beside", "True"]


def test_it_runs_in_the_folder(tmp_path):
    run_supervised([sys.executable, "-c", "open('made', 'w').close()"], folder=tmp_path, log=tmp_path / "log")
    assert (tmp_path / "made").exists()


def test_a_failure_is_told_with_its_last_words(tmp_path):
    (tmp_path / "log").write_text("of another run\n")
    code = "import sys; print('one'); print('no such table'); sys.exit(3)"
    with pytest.raises(ExecutionError, match="failed with exit code 3; its last words: one; no such table") as caught:
        run_supervised([sys.executable, "-c", code], folder=tmp_path, log=tmp_path / "log")
    assert "another run" not in caught.value.message
    assert str(tmp_path / "log") in caught.value.hint


def test_a_kill_is_told_as_one(tmp_path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(ExecutionError, match="was killed, most likely because memory ran out"):
        run_supervised([sys.executable, "-c", code], folder=tmp_path, log=tmp_path / "log")


def test_nothing_is_left_when_this_process_is_killed(tmp_path):
    # The program starts another one in the background, as the scripts inside mmseqs do.
    inner = "import os, time; open('inner', 'w').write(str(os.getpid())); time.sleep(60)"
    script = f'"{sys.executable}" -c "{inner}" & echo $$ > outer; wait; touch went-on'
    code = (
        "from pathlib import Path\nfrom pipeline.engines.supervised import run_supervised\n"
        f"run_supervised(['/bin/sh', '-c', {script!r}], "
        f"folder=Path({str(tmp_path)!r}), log=Path({str(tmp_path / 'log')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    files = [tmp_path / "inner", tmp_path / "outer"]
    assert until(lambda: all(file.exists() and file.read_text().strip() for file in files))
    pids = [int(file.read_text()) for file in files]
    assert all(map(is_running, pids))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert until(lambda: not any(map(is_running, pids)))
    assert not (tmp_path / "went-on").exists()


def test_nothing_is_left_when_it_is_interrupted(tmp_path):
    code = (
        "from pathlib import Path\nfrom pipeline.engines.supervised import run_supervised\n"
        "try: run_supervised(['/bin/sh', '-c', 'echo $$ > outer; sleep 60'], "
        f"folder=Path({str(tmp_path)!r}), log=Path({str(tmp_path / 'log')!r}))\n"
        "except KeyboardInterrupt: raise SystemExit(7)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    file = tmp_path / "outer"
    assert until(lambda: file.exists() and file.read_text().strip())
    process.send_signal(signal.SIGINT)
    assert process.wait() == 7
    assert until(lambda: not is_running(int(file.read_text())))
