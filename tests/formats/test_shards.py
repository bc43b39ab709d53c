"""Shards give back what was written, in both layouts, and never silently something else."""

import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import IntegrityError
from pipeline.formats.shards import (
    LAYOUTS,
    RowGroup,
    ShardFile,
    ShardMetadata,
    ShardWriter,
    num_residues,
    token_array,
)

LENGTH = 16


def write(path, layout, *, dtype="uint8", rows=10):
    metadata = ShardMetadata(
        fingerprint="f", dtype=dtype, length=LENGTH, alignment=1, pad_id=1, num_prefix=1, num_suffix=1, layout=layout
    )
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 250, (rows, LENGTH)).astype(dtype)
    ids = rng.integers(-1, 3, (rows, LENGTH)).astype(np.int16)
    lengths = [[3 + row % 4] * (row % 3) for row in range(rows)]
    table = pa.table({
        "input_ids": token_array(tokens, layout),
        "sequence_id": token_array(ids, layout),
        "lengths": pa.array(lengths, pa.list_(pa.uint32())),
        "accessions": pa.array([[f"P{row}"] * (row % 3) for row in range(rows)], pa.list_(pa.string())),
        "record_keys": pa.array([[2**64 - 1 - row] * (row % 3) for row in range(rows)], pa.list_(pa.uint64())),
        "starts": pa.array([[row] * (row % 3) for row in range(rows)], pa.list_(pa.uint32())),
        "num_tokens": [sum(values) for values in lengths],
        "num_sequences": [len(values) for values in lengths],
    })  # fmt: skip
    with ShardWriter(path, metadata, rows_per_group=4) as writer:
        writer.write(table)
    return tokens, ids, table, metadata


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_round_trip(tmp_path, layout, dtype):
    tokens, ids, table, metadata = write(tmp_path / "x", layout, dtype=dtype)
    shard = ShardFile(tmp_path / "x")
    assert (shard.metadata, shard.num_rows, shard.rows_of_groups) == (metadata, 10, [4, 4, 2])
    first = 0
    for index, rows in enumerate(shard.rows_of_groups):
        group = shard.read_row_group(index, accessions=True, sequence_id=True)
        chosen = table.slice(first, rows)
        assert group.input_ids.dtype == dtype
        assert (group.input_ids == tokens[first : first + rows]).all()
        assert (group.sequence_id == ids[first : first + rows]).all()
        for name, flat in (("lengths", group.lengths), ("record_keys", group.record_keys), ("starts", group.starts)):
            assert np.split(flat, group.row_offsets[1:-1])[0].tolist() == chosen.column(name)[0].as_py()
            assert flat.tolist() == [value for values in chosen.column(name).to_pylist() for value in values]
        assert group.accessions.to_pylist() == [
            name for names in chosen.column("accessions").to_pylist() for name in names
        ]
        first += rows


def segments_of(rows, **metadata):
    """The residues that ``num_residues`` finds in rows of segments, which are lists of tokens."""
    input_ids = np.ones((len(rows), LENGTH), dtype=np.uint8)
    for row, segments in enumerate(rows):
        tokens = [token for segment in segments for token in segment]
        input_ids[row, : len(tokens)] = tokens
    group = RowGroup(
        input_ids=input_ids,
        lengths=np.array([len(segment) for row in rows for segment in row], dtype=np.uint32),
        row_offsets=np.cumsum([0, *(len(row) for row in rows)]),
        record_keys=np.empty(0, dtype=np.uint64),
        starts=np.empty(0, dtype=np.uint32),
        accessions=None,
        sequence_id=None,
    )
    defaults = {"fingerprint": "f", "dtype": "uint8", "length": LENGTH, "alignment": 1, "pad_id": 1, "layout": "list"}
    return num_residues(group, ShardMetadata(**(defaults | metadata))).tolist()


def test_the_residues_of_segments_are_their_tokens_without_special_ones():
    rows = [[[0, 5, 6, 2], [0, 7, 2]], [], [[0, 2]]]
    assert segments_of(rows, num_prefix=1, num_suffix=1) == [2, 1, 0]
    rows = [[[5, 6, 2], [7] * 13], [], [[2], [8, 9, 2], [2], [5]]]
    assert segments_of(rows, num_prefix=0, num_suffix=0, separator_id=2) == [2, 13, 0, 2, 0, 1]


def test_the_metadata_say_what_separates_records_only_where_they_are_concatenated(tmp_path):
    _, _, table, metadata = write(tmp_path / "x", "list")
    assert "separator_id" not in metadata.document()
    run_on = replace(metadata, num_prefix=0, num_suffix=0, separator_id=0)
    with ShardWriter(tmp_path / "y", run_on, rows_per_group=4) as writer:
        writer.write(table)
    assert ShardFile(tmp_path / "y").metadata == run_on
    assert ShardFile(tmp_path / "x").metadata == metadata


def outcome(path, broken):
    """What reading a damaged file gives: its columns, or the message of the error."""
    path.write_bytes(broken)
    try:
        return [read(path, index) for index in range(3)]
    except IntegrityError as error:
        return error.message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_flipped_bit_is_an_error_and_never_other_tokens(tmp_path, layout):
    path = tmp_path / "x"
    write(path, layout)
    good = path.read_bytes()
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    whole = outcome(path, good)
    rng = random.Random(0)
    errors = 0
    for position in rng.choices(range(footer), k=200) + rng.choices(range(footer, len(good)), k=100):
        broken = bytearray(good)
        broken[position] ^= 1 << rng.randrange(8)
        found = outcome(path, broken)
        if isinstance(found, str):
            errors += 1
            assert str(path) in found
        elif position < footer:  # pages have checksums; the footer has none, `pipeline verify` finds what hides there
            assert found == whole, position
    assert errors > 50


def read(path, index):
    group = ShardFile(path).read_row_group(index)
    columns = (group.input_ids, group.lengths, group.row_offsets, group.record_keys, group.starts)
    return tuple(column.tobytes() for column in columns)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello, this is no Parquet file"])
def test_what_is_no_shard_is_told(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(IntegrityError, match="expected a Parquet file"):
        ShardFile(tmp_path / "x")


def test_a_parquet_file_of_others_is_told(tmp_path):
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "x")
    with pytest.raises(IntegrityError, match="expected the metadata of a shard"):
        ShardFile(tmp_path / "x")
