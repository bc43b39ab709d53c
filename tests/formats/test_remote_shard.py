"""Laws of a remote shard: the row groups of the file itself, from few requests and few bytes."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.layout import sequence_ids
from pipeline.errors import IntegrityError
from pipeline.formats import remote_shard
from pipeline.formats.remote_shard import RemoteShardFile, fetch_footer, with_gaps
from pipeline.formats.shards import ShardFile, ShardMetadata, ShardWriter, shard_schema, token_array

COLUMNS = ("input_ids", "lengths", "record_keys")
LENGTH, NUM_ROWS = 64, 50


@pytest.fixture(params=["list", "binary"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    rng = np.random.default_rng(0)
    metadata = ShardMetadata(
        fingerprint="", dtype="uint8", length=LENGTH, alignment=1, pad_id=1, num_prefix=1, num_suffix=1,
        layout=request.param,
    )  # fmt: skip
    lengths = rng.integers(2, LENGTH, NUM_ROWS).astype(np.uint32)
    offsets = np.arange(NUM_ROWS + 1)

    def per_row(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)

    table = pa.table(
        {
            "input_ids": token_array(rng.integers(4, 24, (NUM_ROWS, LENGTH)).astype(np.uint8), request.param),
            "sequence_id": token_array(sequence_ids(lengths, offsets, LENGTH), request.param),
            "lengths": per_row(pa.array(lengths)),
            "accessions": per_row(pa.array([f"P{key}" for key in range(NUM_ROWS)])),
            "record_keys": per_row(pa.array(rng.integers(0, 2**63, NUM_ROWS).astype(np.uint64))),
            "starts": per_row(pa.array(np.zeros(NUM_ROWS, dtype=np.uint32))),
            "num_tokens": pa.array(lengths),
            "num_sequences": pa.array(np.ones(NUM_ROWS, dtype=np.uint16)),
        }
    )
    with ShardWriter(tmp_path / "shard", metadata, rows_per_group=12) as writer:
        writer.write(table.cast(shard_schema(metadata)))
    return tmp_path / "shard"


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.requests: list[tuple[int, int, bool]] = []

    def __call__(self, start: int, end: int, fresh: bool) -> bytes:
        self.requests.append((start, end, fresh))
        return self.data[start:end]


def opened(reader: Reader, num_groups: int = 5) -> RemoteShardFile:
    size = len(reader.data)
    return RemoteShardFile(
        "there", fetch_footer("there", reader, num_bytes=size, num_groups=num_groups), num_bytes=size
    )


def test_row_groups_are_those_of_the_file(path: Path) -> None:
    reader = Reader(path.read_bytes())
    remote, local = opened(reader), ShardFile(path)
    assert remote.metadata == local.metadata
    assert remote.rows_of_groups == local.rows_of_groups == [12, 12, 12, 12, 2]
    assert len(reader.requests) == 1
    for index in range(5):
        expected = local.read_row_group(index)
        found = remote.read_columns(index, COLUMNS, source=remote.fetch(index, COLUMNS, reader))
        for name in ("input_ids", "lengths", "row_offsets", "record_keys"):
            assert np.array_equal(getattr(expected, name), getattr(found, name))
        assert len(found.starts) == 0
        assert found.accessions is None


def test_only_the_columns_wanted_are_fetched(path: Path) -> None:
    reader = Reader(path.read_bytes())
    remote = opened(reader)
    reader.requests.clear()
    remote.fetch(1, ("lengths",), reader)
    column = pq.read_metadata(path).row_group(1).column(2)
    assert column.path_in_schema.startswith("lengths")
    start = column.dictionary_page_offset or column.data_page_offset
    assert reader.requests == [(start, start + column.total_compressed_size, False)]


def test_a_footer_longer_than_guessed_takes_two_requests(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_shard, "_FOOTER_BYTES", 100)
    reader = Reader(path.read_bytes())
    assert opened(reader, num_groups=0).rows_of_groups == [12, 12, 12, 12, 2]
    assert len(reader.requests) == 2
    assert reader.requests[0][0] == reader.requests[1][1]


def test_what_is_damaged_on_the_way_is_fetched_once_more(path: Path) -> None:
    whole = path.read_bytes()
    remote = opened(Reader(whole))
    start, end = with_gaps(remote._column_ranges(2, COLUMNS))[0]
    damaged = bytearray(whole)
    damaged[(start + end) // 2] ^= 0x40

    class OnceDamaged(Reader):
        def __call__(self, start: int, end: int, fresh: bool) -> bytes:
            super().__call__(start, end, fresh)
            return whole[start:end] if fresh else bytes(damaged[start:end])

    reader = OnceDamaged(whole)
    found = remote.read_columns(2, COLUMNS, source=remote.fetch(2, COLUMNS, reader))
    assert np.array_equal(found.input_ids, ShardFile(path).read_row_group(2).input_ids)
    assert {fresh for _, _, fresh in reader.requests} == {False, True}
    for_good = Reader(bytes(damaged))
    with pytest.raises(IntegrityError, match="there: row group 2 cannot be decoded"):
        remote.read_columns(2, COLUMNS, source=remote.fetch(2, COLUMNS, for_good))


@pytest.mark.parametrize("cut", [1, 4, 8, 1000])
def test_a_file_that_does_not_end_as_one(path: Path, cut: int) -> None:
    with pytest.raises(IntegrityError, match=r"there: expected a Parquet file of .* bytes"):
        opened(Reader(path.read_bytes()[:-cut]))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 200)), min_size=1, max_size=8))
def test_gaps_cost_a_sixteenth_at_most(steps: list[tuple[int, int]]) -> None:
    ranges, at = [], 4
    for gap, size in steps:
        ranges.append((at + gap, at + gap + size))
        at += gap + size
    merged = with_gaps(ranges)
    wanted = sum(end - start for start, end in ranges)
    assert wanted <= sum(end - start for start, end in merged) <= wanted * 17 / 16
    assert all(any(start <= first and last <= end for start, end in merged) for first, last in ranges)
    assert all(before[1] <= after[0] for before, after in pairwise(merged))
    if sum(gap for gap, _ in steps[1:]) * 16 <= wanted:
        assert len(merged) == 1
