"""Rates and time left, with the clock in hand."""

import pytest

from pipeline.engines.pace import RoundPace, bytes_written
from pipeline.engines.stage import TaskResult
from pipeline.formats.manifest import File


@pytest.fixture
def clock():
    return Clock()


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


FILE = File(path="a", rows=3, bytes=500, xxh3_64="0", content="0")
RESULT = TaskResult(files=(FILE,), scratch={".scratch/b": 250}, counts={"records_read": 30})


def test_nothing_is_known_before_the_first_task_is_done(clock):
    pace = RoundPace(4, 1, clock)
    clock.now += 10
    assert pace.now.tasks_per_second is pace.now.seconds_left is pace.now.bytes_per_second is None


def test_rates_and_time_left_come_from_what_was_done_since(clock):
    pace = RoundPace(10, 2, clock)
    for _ in range(2):
        clock.now += 5
        pace.add(RESULT)
    now = pace.now
    assert now.tasks_per_second == pytest.approx(2 / 10)  # without the two that were kept
    assert now.records_per_second == pytest.approx(6)
    assert now.bytes_per_second == pytest.approx(150)
    assert now.seconds_left == pytest.approx(6 * 5)


def test_time_left_runs_down_between_tasks_and_is_not_told_when_it_is_over(clock):
    pace = RoundPace(3, 0, clock)
    clock.now += 10
    pace.add(RESULT)
    clock.now += 5
    assert pace.now.seconds_left == pytest.approx(15)
    assert pace.now.tasks_per_second == pytest.approx(1 / 10)  # two workers end together: waiting is not slowness
    clock.now += 15
    assert pace.now.seconds_left is None


def test_nothing_left_is_no_time_left(clock):
    pace = RoundPace(1, 0, clock)
    clock.now += 1
    pace.add(TaskResult())
    assert pace.now.seconds_left == 0
    assert pace.now.records_per_second is pace.now.bytes_per_second is None


def test_bytes_of_a_task_are_those_of_its_files():
    assert bytes_written(RESULT) == 750
