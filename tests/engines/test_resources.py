"""Sizes are read as people write them, and shares add up to no more than was granted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.execution import ProcessExecutor, SerialExecutor, make_executor
from pipeline.engines.resources import DEFAULT_SHARE, SMALLEST_SHARE, parse_size, share_memory, tasks_at_once
from pipeline.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1GB", 10**9),
        ("1gb", 10**9),
        ("1.5 GB", 1_500_000_000),
        ("4GiB", 4 << 30),
        ("500M", 500_000_000),
        ("16Gi", 16 << 30),
        ("64k", 64_000),
        ("2TB", 2 * 10**12),
        ("300000000", 300_000_000),
        ("300000000B", 300_000_000),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "much", "-1GB", "1 G B", "1,5GB", "1e9", "4GBit", "nan"])
def test_what_is_no_size_is_told(text):
    with pytest.raises(ConfigurationError, match="expected a number and a unit"):
        parse_size(text)


@given(workers=st.integers(1, 200), memory=st.integers(SMALLEST_SHARE, 1 << 44))
def test_shares_of_all_processes_fit(workers, memory):
    share = share_memory(workers, memory)
    assert 1 <= share.num_workers <= workers
    assert share.worker_bytes >= SMALLEST_SHARE
    num_processes = share.num_workers + (share.num_workers > 1)
    assert num_processes * share.worker_bytes <= memory
    if share.num_workers < workers:
        assert (share.num_workers + 2) * SMALLEST_SHARE > memory or share.num_workers == 1


def test_without_a_figure_each_worker_has_its_default():
    assert share_memory(7, None).worker_bytes == DEFAULT_SHARE


def test_too_little_is_told():
    with pytest.raises(ConfigurationError, match="--memory 100MB: expected at least 250MB"):
        share_memory(1, 100_000_000)


def test_executors_know_their_share():
    serial = make_executor("serial", 8, 10**9)
    assert (type(serial), serial.num_workers, serial.worker_bytes) == (SerialExecutor, 1, 10**9)
    several = make_executor("processes", 8, 10**9)
    assert (type(several), several.num_workers, several.worker_bytes) == (ProcessExecutor, 3, 250_000_000)


@pytest.mark.parametrize(
    ("task", "workers", "memory", "expected"),
    [
        (500, 8, None, 8),
        (0, 8, 300, 8),
        (500, 8, 5000, 8),
        (500, 8, 2200, 4),
        (500, 8, 700, 1),
        (500, 8, 500, 1),
        (500, 1, 10_000, 1),
    ],
)
def test_no_more_tasks_at_once_than_memory_holds(task, workers, memory, expected):
    memory_bytes = None if memory is None else memory * 10**6
    assert tasks_at_once(task * 10**6, workers, memory_bytes) == expected


def test_a_task_that_does_not_fit_is_refused_with_both_numbers():
    with pytest.raises(ConfigurationError, match="needs about 500 MB of memory, --memory allows 499 MB") as caught:
        tasks_at_once(500_000_000, 4, 499_000_000)
    assert "records_per_part" in caught.value.hint
