"""Rows come out of the bucket they were put in, from any number of runs and files."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import IntegrityError
from pipeline.formats import exchange
from pipeline.formats.exchange import exchange_writer, hash_buckets, read_bucket

SCHEMA = pa.schema([("name", pa.string()), ("number", pa.int64())])


def write(path, pieces, num_buckets=4):
    with exchange_writer(path, SCHEMA, num_buckets) as writer:
        for numbers, buckets in pieces:
            names = [None if number == 5 else f"n{number}" for number in numbers]
            writer.add({"name": names, "number": np.array(numbers)}, np.array(buckets, dtype=np.int64))
    return path


@pytest.mark.parametrize("run_bytes", [1, 1 << 20])
def test_every_row_is_in_its_bucket_in_the_order_it_came(tmp_path, monkeypatch, run_bytes):
    monkeypatch.setattr(exchange, "RUN_BYTES", run_bytes)
    first = write(tmp_path / "a", [([1, 2, 3], [3, 0, 3]), ([4], [3]), ([5, 6], [0, 1])])
    second = write(tmp_path / "b", [([7], [0])])
    found = [read_bucket([first, second], bucket, SCHEMA).column("number").to_pylist() for bucket in range(4)]
    assert found == [[2, 5, 7], [6], [], [1, 3, 4]]
    assert read_bucket([first], 0, SCHEMA).column("name").to_pylist() == ["n2", None]
    assert read_bucket([first], 0, SCHEMA).schema.equals(SCHEMA)


def test_a_file_without_rows(tmp_path):
    path = write(tmp_path / "a", [])
    assert read_bucket([path], 2, SCHEMA).num_rows == 0


def test_hashes_fill_all_buckets():
    hashes = np.random.default_rng(0).integers(1 << 64, size=1_000, dtype=np.uint64)
    counts = np.bincount(hash_buckets(hashes, 8), minlength=8)
    assert counts.sum() == 1_000
    assert counts.min() > 80


def test_a_file_that_is_cut_short_is_told(tmp_path):
    path = write(tmp_path / "a", [([1, 2], [0, 1])])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(IntegrityError, match="intermediate rows cannot be read"):
        read_bucket([path], 0, SCHEMA)


def test_a_block_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), exchange_writer(tmp_path / "a", SCHEMA, 1):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
