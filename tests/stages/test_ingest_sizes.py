"""Runs follow from the memory that a worker has, and from how many there would be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.resources import DEFAULT_SHARE, SMALLEST_SHARE
from pipeline.stages.ingest.inputs import InputFile
from pipeline.stages.ingest.sizes import (
    COPIES,
    FIXED_BYTES,
    MAX_BUCKETS,
    MAX_RUNS,
    MIN_RUN_BYTES,
    RUN_BYTES,
    num_buckets_for,
    run_bytes_for,
)


def file_of(num_bytes, compression="none"):
    return InputFile(path=Path("x"), source=None, num_bytes=num_bytes, digest="d", compression=compression)


@given(worker_bytes=st.integers(SMALLEST_SHARE, 1 << 40), num_bytes=st.integers(0, 1 << 42))
def test_a_run_fits_into_the_memory_of_a_worker(worker_bytes, num_bytes):
    run_bytes = run_bytes_for(worker_bytes, [file_of(num_bytes)])
    assert run_bytes >= MIN_RUN_BYTES
    assert FIXED_BYTES + COPIES * run_bytes <= max(worker_bytes, FIXED_BYTES + COPIES * MIN_RUN_BYTES)


@pytest.mark.parametrize("records", [1_000_000, 10_000_000])
def test_small_and_large_inputs_use_the_same_memory(records):
    assert run_bytes_for(DEFAULT_SHARE, [file_of(382 * records)]) == RUN_BYTES


def test_runs_grow_with_the_input_where_memory_allows_it():
    uniref100 = [file_of(180 * 10**9)]
    run_bytes = run_bytes_for(4 * 10**9, uniref100)
    assert run_bytes > 10 * RUN_BYTES
    assert 180e9 * 1.25 / run_bytes <= 1.01 * MAX_RUNS
    assert run_bytes_for(DEFAULT_SHARE, uniref100) == (DEFAULT_SHARE - FIXED_BYTES) // COPIES


def test_compressed_files_are_expected_to_grow():
    plain, compressed = ([file_of(10**9, kind)] for kind in ("none", "gzip"))
    assert num_buckets_for(compressed, RUN_BYTES) == 4 * num_buckets_for(plain, RUN_BYTES)
    assert num_buckets_for([file_of(1 << 50)], MIN_RUN_BYTES) == MAX_BUCKETS
