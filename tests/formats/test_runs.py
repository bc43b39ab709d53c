"""Runs give back the records of any range of keys, once each, whatever the buckets."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import IntegrityError
from pipeline.formats.runs import RUN_SCHEMA, read_range, run_writer

KEY = st.sampled_from([0, 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)


def run_of(keys, tag):
    return pa.Table.from_pylist(
        [
            {"record_key": key, "sequence": "M" * (key % 5 + 1), "accession": f"{tag}-{at}"}
            for at, key in enumerate(keys)
        ],
        RUN_SCHEMA,
    )


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
        with run_writer(paths[-1], buckets) as writer:
            for index, keys in enumerate(runs):
                table = run_of(keys, f"{number}-{index}")
                writer.write(table)
                expected += [row for row in table.to_pylist() if first <= row["record_key"] < end]
    found = read_range(paths, first, end, buckets).to_pylist()
    assert sorted(row["accession"] for row in found) == sorted(row["accession"] for row in expected)
    assert sorted(map(str, found)) == sorted(map(str, expected))


def test_ranges_tile_the_key_space(tmp_path):
    keys = np.random.default_rng(0).integers(0, 2**64, size=1000, dtype=np.uint64).tolist()
    with run_writer(tmp_path / "x", 8) as writer:
        writer.write(run_of(keys, "a").slice(0, 400))
        writer.write(run_of(keys, "a").slice(400))
    width = 2**64 // 16
    found = [read_range([tmp_path / "x"], i * width, (i + 1) * width, 8) for i in range(16)]
    assert sorted(pa.concat_tables(found).column("record_key").to_pylist()) == sorted(keys)


def test_a_run_cut_short_is_told(tmp_path):
    with run_writer(tmp_path / "x", 2) as writer:
        writer.write(run_of([1, 2**63], "a"))
    data = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(data[: len(data) // 2])
    with pytest.raises(IntegrityError, match="a sorted run cannot be read"):
        read_range([tmp_path / "x"], 0, 2**64, 2)
