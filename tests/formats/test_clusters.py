"""The columns of clusters, and the bytes of their files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.formats.clusters import (
    clusters_schema,
    distinct_name,
    fate_columns,
    is_weight,
    level_columns,
    sampling_weights,
    write_clusters,
)


def columns(num_records, num_levels):
    splits, excluded = np.zeros(num_records, np.int8), np.full(num_records, -1)
    values = fate_columns(splits, excluded, [], np.full(num_records, num_records), "1")
    for level in range(num_levels):
        representative, size, index = level_columns(level)
        values |= {representative: pa.array([f"R{level}"] * num_records), size: np.full(num_records, num_records)}
        values |= {index: np.arange(num_records)}
    return values


def test_the_schema_is_the_agreed_one():
    fields = [f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in clusters_schema(2)]
    assert fields == [
        "representative: string not null",
        "cluster_size: uint32 not null",
        "member_index: uint32 not null",
        "representative_2: string not null",
        "cluster_size_2: uint32 not null",
        "member_index_2: uint32 not null",
        "weight: float not null",
        "split: dictionary<values=string, indices=int32, ordered=0>",
        "excluded: dictionary<values=string, indices=int32, ordered=0>",
    ]
    assert level_columns(2) == ("representative_3", "cluster_size_3", "member_index_3")


@pytest.mark.parametrize("num_records", [0, 1, 40_000])
def test_what_is_written_is_read(tmp_path, num_records):
    file = write_clusters(tmp_path, "part-00000.parquet", columns(num_records, 2), num_levels=2)
    table = pq.read_table(tmp_path / file.path)
    assert table.schema.equals(clusters_schema(2))
    assert file.rows == table.num_rows == num_records
    assert table.column("member_index_2").to_pylist() == list(range(num_records))
    assert set(table.column("split").to_pylist()) <= {"train"}
    assert table.column("excluded").null_count == num_records
    again = write_clusters(tmp_path / "again", "part-00000.parquet", columns(num_records, 2), num_levels=2)
    assert again == file


def test_names_are_told_apart_by_the_key():
    assert distinct_name("sp|P1|X", 255) == "sp|P1|X/seq-00000000000000ff"


def test_what_becomes_of_records_is_told_by_weight_split_and_reason():
    splits, excluded, sizes = (
        np.array(values) for values in ([0, 0, 1, 2, 0, 1], [-1, -1, -1, -1, 1, 0], [4, 1, 4, 4, 4, 4])
    )
    told = fate_columns(splits, excluded, ["similar-to-a", "similar-to-b"], sizes, "1/size")
    assert told["split"].to_pylist() == ["train", "train", "valid", "test", None, None]
    assert told["excluded"].to_pylist() == [None, None, None, None, "similar-to-b", "similar-to-a"]
    assert told["weight"].tolist() == [0.25, 1, 1, 1, 1, 1]
    assert told["weight"].dtype == np.float32


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ("1", [1, 1, 1, 1]),
        ("1/size", [1, 1 / 2, 1 / 9, 1 / 100]),
        ("1/sqrt(size)", [1, 0.5**0.5, 1 / 3, 1 / 10]),
        ("cap:9", [1, 1, 1, 9 / 100]),
        ("cap:1", [1, 1 / 2, 1 / 9, 1 / 100]),
    ],
)
def test_weights_keep_as_many_of_a_cluster_as_they_say(weight, expected):
    assert is_weight(weight)
    assert sampling_weights(np.array([1, 2, 9, 100], np.uint32), weight) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("text", ["", "2", "1/n", "cap", "cap:", "cap:0", "cap:-1", "cap:1.5", "cap: 3", "1/size "])
def test_other_words_are_no_weight(text):
    assert not is_weight(text)
