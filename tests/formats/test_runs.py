"""Runs give back the records of any range of keys, once each, whatever the buckets."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import IntegrityError
from pipeline.formats.duplicates import RECORD_SCHEMA
from pipeline.formats.runs import read_range, run_writer

KEY = st.sampled_from([0, 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)


def run_of(keys, tag):
    return pa.Table.from_pylist(
        [
            {"record_key": key, "sequence": f"M{key}", "source": "other", "accession": f"{tag}-{at}"}
            for at, key in enumerate(keys)
        ],
        RECORD_SCHEMA,
    )


def write(writer, table):
    for batch in table.to_batches():
        writer.add(batch)
    writer.flush()


@given(
    files=st.lists(st.lists(st.lists(KEY, max_size=6), max_size=3), min_size=1, max_size=3),
    buckets=st.sampled_from([1, 2, 8, 64]),
    bounds=st.tuples(KEY, KEY),
)
def test_a_range_holds_the_records_of_its_keys(files, buckets, bounds, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    paths, expected = [], []
    first, end = min(bounds), max(bounds) + 1
    for number, runs in enumerate(files):
        paths.append(folder / f"{number}.arrow")
        with run_writer(paths[-1], num_buckets=buckets, run_bytes=1 << 20) as writer:
            for index, keys in enumerate(runs):
                table = run_of(keys, f"{number}-{index}")
                write(writer, table)
                expected += [row for row in table.to_pylist() if first <= row["record_key"] < end]
    found = read_range(paths, first, end).to_pylist()
    # What is doubled within a run was merged, and nothing else.
    assert sum(row["num_merged"] for row in found) == len(expected)
    names = [name for row in found for name in (row["accession"], *row["aliases"])]
    assert sorted(names) == sorted(row["accession"] for row in expected)
    assert {(row["record_key"], row["sequence"]) for row in found} == {
        (row["record_key"], row["sequence"]) for row in expected
    }


def test_ranges_tile_the_key_space(tmp_path):
    keys = np.random.default_rng(0).integers(0, 2**64, size=1000, dtype=np.uint64).tolist()
    with run_writer(tmp_path / "x", num_buckets=8, run_bytes=1 << 20) as writer:
        write(writer, run_of(keys, "a").slice(0, 400))
        write(writer, run_of(keys, "a").slice(400))
    width = 2**64 // 16
    found = [read_range([tmp_path / "x"], i * width, (i + 1) * width) for i in range(16)]
    assert sorted(pa.concat_tables(found).column("record_key").to_pylist()) == sorted(keys)


def test_a_run_cut_short_is_told(tmp_path):
    with run_writer(tmp_path / "x", num_buckets=2, run_bytes=1 << 20) as writer:
        write(writer, run_of([1, 2**63], "a"))
    data = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(data[: len(data) // 2])
    with pytest.raises(IntegrityError, match="a sorted run cannot be read"):
        read_range([tmp_path / "x"], 0, 2**64)


def test_runs_are_cut_by_their_size(tmp_path):
    keys = np.random.default_rng(0).integers(0, 2**64, size=1000, dtype=np.uint64).tolist()
    batches = run_of(keys, "a").to_batches(max_chunksize=10)
    with run_writer(tmp_path / "x", num_buckets=1, run_bytes=5 * batches[0].nbytes) as writer:
        for batch in batches:
            writer.add(batch)
    with pa.ipc.open_file(str(tmp_path / "x")) as file:
        assert 15 <= file.num_record_batches <= 25
    found = read_range([tmp_path / "x"], 0, 2**64)
    assert sorted(found.column("record_key").to_pylist()) == sorted(keys)
