"""The columns of clusters, and the bytes of their files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.formats.clusters import all_train, clusters_schema, distinct_name, level_columns, write_clusters


def columns(num_records, num_levels):
    values = all_train(num_records)
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
