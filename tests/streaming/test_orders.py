"""Orders by name: lanes that read on for models with a memory, buckets of equal length; and trimmed batches."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config import IngestConfig, PackConfig, ShardConfig
from pipeline.core.row_order import RowOrder
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.errors import ConfigurationError, StateError
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.pack.stage import Pack
from pipeline.stages.shard import Shard
from pipeline.streaming.dataset import PackedDataset
from pipeline.streaming.objectives import SpanCorruption
from pipeline.streaming.reader import PackedReader

IDENTITY = ("record_keys", "row_offsets", "num_sequences")
NUM_TRAIN = 101

RowIds = Callable[[dict[str, Any]], list[int]]


def global_batches(path: Path, row_ids: RowIds, *, world_size: int, batch_size: int, **options: Any) -> list[list[int]]:
    options = {"columns": IDENTITY, "threads": 1, "order": "contiguous", **options}
    readers = [
        PackedReader(path, rank=rank, world_size=world_size, batch_size=batch_size, **options)
        for rank in range(world_size)
    ]
    steps = zip(*([row_ids(batch) for batch in reader] for reader in readers), strict=True)
    return [np.array(ranks).T.ravel().tolist() for ranks in steps]


@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 12), (2, 6), (3, 4), (12, 1)])
def test_place_j_of_the_global_batch_reads_row_js_plus_k(shards, row_ids, world_size, batch_size):
    batches = global_batches(shards, row_ids, world_size=world_size, batch_size=batch_size, tail="drop")
    steps = NUM_TRAIN // 12
    assert batches == [[place * steps + step for place in range(12)] for step in range(steps)]


@pytest.mark.parametrize("tail", ["pad", "repeat"])
def test_no_row_is_left_out_by_the_other_tails(shards, row_ids, tail):
    batches = global_batches(shards, row_ids, world_size=3, batch_size=4, tail=tail)
    rows = [row for batch in batches for row in batch if row >= 0]
    assert set(rows) == set(range(NUM_TRAIN))
    assert batches[-1][:5] == [96, 97, 98, 99, 100]


def test_a_contiguous_state_goes_on_exactly_and_in_no_other_global_batch(shards, row_ids):
    options = {"columns": IDENTITY, "order": "contiguous", "tail": "drop", "threads": 1}
    first = PackedReader(shards, batch_size=12, **options)
    whole = [row_ids(batch) for batch in first]
    state = first.state_at(3, epoch=0)
    ranks = [PackedReader(shards, batch_size=4, rank=rank, world_size=3, **options) for rank in range(3)]
    for reader in ranks:
        reader.load_state_dict(state)
    steps = zip(*([row_ids(batch) for batch in reader] for reader in ranks), strict=True)
    assert [np.array(step).T.ravel().tolist() for step in steps] == whole[3:]
    with pytest.raises(StateError, match="order: this reader has contiguous, 6 rows a step"):
        PackedReader(shards, batch_size=6, **options).load_state_dict(state)
    with pytest.raises(StateError, match="order"):
        PackedReader(shards, batch_size=12, shuffle=False).load_state_dict(state)
    stored = PackedReader(shards, batch_size=12, shuffle=False).state_dict()
    with pytest.raises(StateError, match="order"):
        PackedReader(shards, batch_size=12, **options).load_state_dict(stored)


RECORDS = [
    "MKTAYIAKQRQISFVKSHFSRQ" * 9,
    "ACDEF",
    "GHIKLMNPQRSTVWY" * 12,
    "MVL",
    "WWYYFF" * 20,
    "KLMN" * 17,
    "PQRST" * 31,
]


def make(folder: Path, records: list[str], shard: ShardConfig, **pack: Any) -> Path:
    (folder / "input.fasta").write_text("".join(f">P{number}\n{text}\n" for number, text in enumerate(records)))
    with SerialExecutor() as executor:
        run_stage(Ingest(IngestConfig(files=(str(folder / "input.fasta"),))), folder / "corpus", executor=executor)
        run_stage(Pack(folder / "corpus", PackConfig(**pack)), folder / "plan", executor=executor)
        run_stage(Shard(folder / "plan", shard), folder / "shards", executor=executor)
    return folder / "shards"


@pytest.fixture(scope="module")
def concatenated(tmp_path_factory):
    return make(
        tmp_path_factory.mktemp("run-on"), RECORDS, ShardConfig(rows_per_group=4), length=32, algorithm="concatenate"
    )


COLUMNS = ("input_ids", "starts", "record_keys", "row_offsets", "num_tokens", "is_continuation")


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_is_continuation_says_where_a_memory_belongs_to_the_same_record(concatenated, batch_size):
    reader = PackedReader(concatenated, batch_size=batch_size, order="contiguous", columns=COLUMNS, tail="pad")
    last_keys: list[int | None] = [None] * batch_size
    continued = reset = 0
    for step, batch in enumerate(reader):
        whole_steps = reader.num_rows // batch_size
        for place in range(batch_size):
            first, behind = batch["row_offsets"][place : place + 2].tolist()
            if first == behind:
                assert not batch["is_continuation"][place]
                continue
            goes_on = bool(batch["starts"][first]) and last_keys[place] == int(batch["record_keys"][first])
            assert batch["is_continuation"][place] == (goes_on and 0 < step < whole_steps)
            continued += int(batch["is_continuation"][place])
            reset += int(not batch["is_continuation"][place])
            last_keys[place] = int(batch["record_keys"][behind - 1])
    assert continued
    assert reset


def test_it_is_a_tensor_of_truths_and_begins_with_none(concatenated):
    batch = next(iter(PackedDataset(concatenated, batch_size=4, order="contiguous", columns=COLUMNS)))
    assert batch["is_continuation"].dtype == torch.bool
    assert not batch["is_continuation"].any()


@pytest.fixture(scope="module")
def one_a_row(tmp_path_factory):
    rng = np.random.default_rng(0)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    records = ["".join(rng.choice(letters, length)) for length in rng.integers(5, 120, 160)]
    pack = {"length": 128, "algorithm": "pad", "order": RowOrder.LENGTH}
    return make(tmp_path_factory.mktemp("pad"), records, ShardConfig(rows_per_group=16), **pack)


def test_rows_stored_by_length_grow(one_a_row):
    stored = [
        tokens
        for batch in PackedReader(one_a_row, batch_size=8, shuffle=False, columns=("num_tokens",), tail="pad")
        for tokens in batch["num_tokens"].tolist()
    ]
    assert stored == sorted(stored)
    assert len(set(stored)) > 50


def test_buckets_are_alike_in_length_and_in_another_order_each_epoch(one_a_row):
    reader = PackedReader(one_a_row, batch_size=8, order="bucketed", columns=("num_tokens", "record_keys"), seed=3)
    epochs = [list(reader) for _ in range(2)]
    spreads = [int(np.ptp(batch["num_tokens"])) for batch in epochs[0]]
    at_random = PackedReader(one_a_row, batch_size=8, columns=("num_tokens",), seed=3)
    assert np.mean(spreads) < 0.25 * np.mean([int(np.ptp(batch["num_tokens"])) for batch in at_random])
    orders = [[key for batch in epoch for key in batch["record_keys"].tolist()] for epoch in epochs]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    assert len(set(orders[0])) == 160


@pytest.mark.parametrize("world_size", [2, 4])
def test_buckets_are_the_same_for_every_world(one_a_row, world_size):
    def keys(rank: int, size: int) -> list[list[int]]:
        reader = PackedReader(
            one_a_row,
            batch_size=8 // size,
            order="bucketed",
            columns=("record_keys",),
            rank=rank,
            world_size=size,
        )
        return [batch["record_keys"].tolist() for batch in reader]

    together = zip(*(keys(rank, world_size) for rank in range(world_size)), strict=True)
    assert [sorted(chain.from_iterable(step)) for step in together] == [sorted(step) for step in keys(0, 1)]


def test_trimmed_batches_are_the_whole_ones_cut_behind_their_longest_row(one_a_row):
    options: dict[str, Any] = {"batch_size": 8, "order": "bucketed", "objective": 0.3}
    columns = ("input_ids", "sequence_id", "position_ids", "attention_mask", "num_tokens")
    whole = PackedDataset(one_a_row, columns=columns, **options)
    trimmed = PackedDataset(one_a_row, columns=columns, trim="batch", **options)
    widths = set()
    for expected, found in zip(whole, trimmed, strict=True):
        width = -(-int(expected["num_tokens"].max()) // 8) * 8
        widths.add(width)
        for name in ("input_ids", "sequence_id", "position_ids", "attention_mask", "labels"):
            assert torch.equal(found[name], expected[name][:, :width])
        assert not expected["attention_mask"][:, width:].any()
        assert torch.equal(found["num_tokens"], expected["num_tokens"])
    assert len(widths) > 4


def test_a_trimmed_batch_is_never_wider_than_a_row(shards):
    batch = next(iter(PackedReader(shards, batch_size=29, trim="batch")))
    assert batch["input_ids"].shape[1] <= 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "sorted"}, "order: expected one of shuffled, stored, contiguous, bucketed, found 'sorted'"),
        ({"columns": ("is_continuation",)}, "is_continuation: expected the contiguous order, found the shuffled one"),
        ({"trim": "row"}, "trim: expected batch or nothing, found 'row'"),
        ({"trim": "batch", "columns": ("input_ids", "cu_seqlens")}, "trim: cu_seqlens says where"),
        ({"trim": "batch", "objective": SpanCorruption()}, "gives a decoder targets of a fixed length"),
    ],
)
def test_what_does_not_go_together_is_told(shards, options, message):
    with pytest.raises(ConfigurationError, match=message):
        PackedReader(shards, **options)
