"""What a task used is measured in its own process; a peak is a task's own only where it rose meanwhile."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from pipeline.engines.measurement import Measurement, Stopwatch

MEASURED = """
import json, subprocess, sys, time
from pipeline.engines.measurement import Stopwatch
def held(megabytes):
    stopwatch = Stopwatch()
    block = bytearray(megabytes * 1_000_000)
    return stopwatch.read()
def program(megabytes):
    stopwatch = Stopwatch()
    busy = f"block = bytearray({megabytes} * 1_000_000); sum(range(1_000_000))"
    subprocess.run([sys.executable, "-c", busy], check=True)
    return stopwatch.read()
runs = [held(200), held(100), held(300), program(600), program(400), held(100)]
print(json.dumps([run.model_dump(mode="json") for run in runs]))
"""


@pytest.fixture(scope="module")
def runs():
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    return [Measurement.model_validate(run) for run in json.loads(done.stdout)]


def test_a_peak_that_rose_is_the_tasks_own(runs):
    first, second, third = runs[:3]
    assert 200e6 <= first.peak_memory < 300e6
    assert first.is_peak_of_task
    assert second.peak_memory == pytest.approx(first.peak_memory, rel=0.02)
    assert not second.is_peak_of_task
    assert 300e6 <= third.peak_memory < 400e6
    assert third.is_peak_of_task


def test_programs_that_a_task_started_count(runs):
    first, second, after = runs[3:]
    assert 600e6 <= first.peak_memory < 700e6
    assert first.is_peak_of_task
    assert first.processor_seconds > 0.01
    assert second.peak_memory == first.peak_memory  # all that is known of the second: it needed at most as much
    assert not second.is_peak_of_task
    assert after.peak_memory == pytest.approx(runs[2].peak_memory, rel=0.02)  # it started none


def test_seconds_and_processor_seconds():
    stopwatch = Stopwatch()
    sum(range(3_000_000))
    measured = stopwatch.read()
    assert measured.seconds > 0
    assert measured.processor_seconds > 0
    assert measured.pid == os.getpid()
    assert abs((datetime.now(UTC) - measured.started).total_seconds()) < 60
    assert measured.model_dump(mode="json")["started"].endswith("Z")
