"""The same rows give the same file, whatever pieces they come in."""

import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import IntegrityError
from pipeline.formats.parquet import RowGroupWriter, read_columns

SCHEMA = pa.schema([pa.field("x", pa.uint32(), nullable=False), pa.field("name", pa.string())])


def rows(count):
    return pa.Table.from_pylist([{"x": number, "name": f"n{number % 7}"} for number in range(count)], SCHEMA)


def write(path, tables, per_group=5, heaviest=None):
    options = {"rows_per_group": per_group, "heaviest_group": heaviest}
    with RowGroupWriter(path, SCHEMA, **options, dictionaries=["name"], statistics=["x"]) as writer:
        for table in tables:
            writer.write(table)
    return writer


@given(pieces=st.lists(st.integers(0, 12), max_size=6))
def test_pieces_do_not_matter(pieces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parquet")
    table = rows(sum(pieces))
    cuts = [sum(pieces[:index]) for index in range(len(pieces))]
    one = write(folder / "a", [table])
    two = write(folder / "b", [table.slice(start, size) for start, size in zip(cuts, pieces, strict=True)])
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    assert (one.content, one.num_rows) == (two.content, two.num_rows) == (one.content, sum(pieces))
    assert read_columns(folder / "a").to_pylist() == table.to_pylist()
    footer = pq.read_metadata(folder / "a")
    groups = [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]
    assert all(size == 5 for size in groups[:-1])
    assert sum(groups) == sum(pieces)


@given(weights=st.lists(st.integers(0, 9), max_size=40), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_heavy_rows_end_a_group_early(weights, cuts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parquet")
    table = pa.Table.from_pylist([{"x": weight, "name": "n"} for weight in weights], SCHEMA)
    write(folder / "a", [table], heaviest=("x", 12))
    borders = [0, *sorted(min(cut, len(weights)) for cut in cuts), len(weights)]
    write(folder / "b", [table.slice(a, b - a) for a, b in itertools.pairwise(borders)], heaviest=("x", 12))
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    groups, weight, size = [], 0, 0
    for each in weights:
        weight, size = weight + each, size + 1
        if weight >= 12 or size == 5:
            groups.append(size)
            weight = size = 0
    footer = pq.read_metadata(folder / "a")
    assert [footer.row_group(index).num_rows for index in range(footer.num_row_groups)] == groups + [size] * (size > 0)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_bad_file_is_told(tmp_path, damage):
    write(tmp_path / "x", [rows(9)])
    data = (tmp_path / "x").read_bytes()
    if damage == "missing":
        (tmp_path / "x").unlink()
    else:
        (tmp_path / "x").write_bytes(data[:-5] if damage == "cut" else b"hello")
    with pytest.raises(IntegrityError, match="expected a Parquet file of this artefact"):
        read_columns(tmp_path / "x")
