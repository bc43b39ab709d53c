"""What campaigns and benchmarks rest on: the whole tree of processes is measured, and killed."""

import os
import sys
import time

import pytest

PARENT = """
import subprocess, sys
block = bytearray(b"x") * 100_000_000
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
child.wait()
"""
CHILD = 'import time; block = bytearray(b"x") * 50_000_000; time.sleep(0.5)'
BUSY_CHILD = "import time\nwhile time.process_time() < 0.3: pass"
LASTING_CHILD = "import sys, time; open({!r}, 'w').write('there'); time.sleep(60)"


def command(child):
    return [sys.executable, "-c", PARENT, child]


def test_memory_of_children_counts(process_tree):
    memory = process_tree.measure(command(CHILD), sample_seconds=0.01).memory
    assert 150e6 < memory.anonymous < 200e6
    assert memory.anonymous < memory.proportional < memory.resident < 300e6


def test_processor_seconds_of_children_count(process_tree):
    usage = process_tree.measure(command(BUSY_CHILD))
    assert usage.processor_seconds > 0.3
    assert usage.memory is None


def test_a_command_is_pinned_with_its_children(process_tree):
    cpu = max(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    usage = process_tree.measure(command("import os; print(os.sched_getaffinity(0))"), cpus=[cpu])
    assert usage.output.strip() == f"{{{cpu}}}"
    assert os.sched_getaffinity(0) == before


def test_a_kill_reaches_the_children(process_tree, tmp_path):
    mark = tmp_path / "mark"
    process = process_tree.start(command(LASTING_CHILD.format(str(mark))))
    while not mark.exists():
        time.sleep(0.01)
    assert len(process_tree.session_members(process.pid)) == 2
    process_tree.kill(process)
    assert process_tree.session_members(process.pid) == []
    assert process.returncode == -9


def test_killed_when_it_is_time_or_ended_before(process_tree):
    begin = time.monotonic()
    assert process_tree.kill_when([sys.executable, "-c", "import time; time.sleep(60)"], lambda: True)
    assert time.monotonic() - begin < 10
    assert not process_tree.kill_when([sys.executable, "-c", "print()"], lambda: False)


@pytest.mark.parametrize("way", ["measure", "kill_when"])
def test_a_command_that_fails_is_told(process_tree, way):
    command = [sys.executable, "-c", "import sys; print('told', file=sys.stderr); sys.exit(3)"]
    options = {"is_time": lambda: False} if way == "kill_when" else {}
    with pytest.raises(RuntimeError, match="exit 3: told"):
        getattr(process_tree, way)(command, **options)
