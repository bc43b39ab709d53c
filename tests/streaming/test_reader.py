"""Laws of the reader: every row as often as declared, the same for every world, and exact resume."""

import gc
import json
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import Tail
from pipeline.core.ordering import ORDER_VERSION
from pipeline.core.steps import TAILS
from pipeline.core.tokenizer import load_tokenizer
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError, StateError
from pipeline.formats.shards import ShardFile
from pipeline.streaming.batches import BatchMaker
from pipeline.streaming.reader import PackedReader
from pipeline.streaming.row_groups import RowGroupTable, Rows
from pipeline.streaming.shard_set import ShardSet

IDENTITY = ("record_keys", "row_offsets", "num_sequences")
NUM_TRAIN, NUM_VALID = 101, 19

RowIds = Callable[[dict[str, Any]], list[int]]
WriteShards = Callable[..., Path]


def world(path: Path, world_size: int, **options: Any) -> list[PackedReader]:
    options = {"columns": IDENTITY, "threads": 1, "seed": 5, **options}
    return [PackedReader(path, rank=rank, world_size=world_size, **options) for rank in range(world_size)]


def epoch_of(readers: list[PackedReader], row_ids: RowIds) -> list[list[int]]:
    """The global batches of one epoch, in the order of their positions."""
    steps = zip(*([row_ids(batch) for batch in reader] for reader in readers), strict=True)
    return [np.array(ranks).T.ravel().tolist() for ranks in steps]


def rest_of(reader: PackedReader, row_ids: RowIds) -> list[int]:
    return [row for batch in reader for row in row_ids(batch)]


@pytest.fixture(scope="session")
def whole(shards: Path, row_ids: RowIds) -> list[list[int]]:
    """All rows of three epochs of train, in the order of a single rank with batches of 1."""
    reader = world(shards, 1, batch_size=1)[0]
    return [rest_of(reader, row_ids) for _ in range(3)]


# Order, ranks and tail.


@pytest.mark.parametrize("world_size", range(1, 9))
@pytest.mark.parametrize("tail", ["repeat", "pad", "drop"])
def test_every_row_comes_once_but_for_the_tail(
    shards: Path, whole: list[list[int]], row_ids: RowIds, world_size: int, tail: str
) -> None:
    readers = world(shards, world_size, batch_size=3, tail=tail)
    assert len({len(reader) for reader in readers}) == 1
    rows = list(chain.from_iterable(epoch_of(readers, row_ids)))
    global_batch = 3 * world_size
    missing = -NUM_TRAIN % global_batch
    end = {"repeat": whole[0][:missing], "pad": [-1] * missing, "drop": []}[tail]
    kept = NUM_TRAIN - NUM_TRAIN % global_batch if tail == "drop" else NUM_TRAIN
    assert rows == whole[0][:kept] + end
    assert len(rows) == len(readers[0]) * global_batch


@pytest.mark.parametrize("world_size", [2, 3, 4, 6])
def test_a_global_batch_is_the_same_for_every_world_size(shards: Path, row_ids: RowIds, world_size: int) -> None:
    alone = epoch_of(world(shards, 1, batch_size=12), row_ids)
    assert epoch_of(world(shards, world_size, batch_size=12 // world_size), row_ids) == alone


def test_epochs_differ_and_follow_one_another(whole: list[list[int]], shards: Path, row_ids: RowIds) -> None:
    assert [sorted(rows) for rows in whole] == [list(range(NUM_TRAIN))] * 3
    assert whole[0] != whole[1] != whole[2]
    reader = world(shards, 1, batch_size=1, epoch=1)[0]
    assert (reader.epoch, rest_of(reader, row_ids), reader.epoch) == (1, whole[1], 2)
    reader.set_epoch(0)
    assert rest_of(reader, row_ids) == whole[0]


def test_seeds_differ(shards: Path, whole: list[list[int]], row_ids: RowIds) -> None:
    assert rest_of(world(shards, 1, batch_size=1, seed=6)[0], row_ids) != whole[0]


def test_without_shuffling_rows_come_as_they_are_stored(shards: Path, row_ids: RowIds) -> None:
    reader = world(shards, 1, batch_size=4, shuffle=False, tail="pad")[0]
    assert rest_of(reader, row_ids) == [*range(NUM_TRAIN), -1, -1, -1]
    by_rank = [rest_of(reader, row_ids) for reader in world(shards, 3, batch_size=2, shuffle=False, tail="drop")]
    assert by_rank == [list(range(rank, 96, 3)) for rank in range(3)]


def test_the_tail_repeats_in_train_and_is_padded_elsewhere(shards: Path, row_ids: RowIds) -> None:
    train, valid = (world(shards, 1, batch_size=8, split=split)[0] for split in ("train", "valid"))
    assert Counter(rest_of(train, row_ids))[-1] == 0
    assert Counter(rest_of(valid, row_ids))[-1] == 5


def test_tails_are_those_of_the_configuration() -> None:
    assert {*Tail} == {*TAILS}


def test_fewer_rows_than_a_global_batch(shards: Path, row_ids: RowIds) -> None:
    repeated = epoch_of(world(shards, 4, batch_size=12, split="valid", tail="repeat"), row_ids)
    assert len(repeated) == 1
    assert sorted(Counter(repeated[0]).values()) == [2] * (3 * 19 - 48) + [3] * (48 - 2 * 19)
    padded = epoch_of(world(shards, 4, batch_size=12, split="valid", tail="pad"), row_ids)
    assert sorted(padded[0]) == [-1] * 29 + list(range(19))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("prefetch", [0, 1, 7])
def test_threads_and_prefetch_change_nothing(
    shards: Path, whole: list[list[int]], row_ids: RowIds, threads: int, prefetch: int
) -> None:
    reader = world(shards, 1, batch_size=1, threads=threads, prefetch=prefetch)[0]
    assert rest_of(reader, row_ids) == whole[0]


# What a batch holds.


def test_arrays_and_types(shards: Path) -> None:
    batch = next(iter(PackedReader(shards, batch_size=4)))
    found = {name: (array.dtype, array.shape) for name, array in batch.items()}
    assert found == {
        "input_ids": (np.uint8, (4, 24)),
        "sequence_id": (np.int16, (4, 24)),
        "position_ids": (np.int32, (4, 24)),
        "num_tokens": (np.int32, (4,)),
        "num_sequences": (np.int32, (4,)),
    }


ALL = ("input_ids", "sequence_id", "position_ids", "num_tokens", "lengths", "starts", *IDENTITY)


@pytest.mark.parametrize("alignment", [1, 3])
@pytest.mark.parametrize("layout", ["list", "binary"])
def test_batches_hold_what_the_shards_hold(
    tmp_path: Path, write_shards: WriteShards, row_ids: RowIds, layout: str, alignment: int
) -> None:
    folder = write_shards(tmp_path / "shards", {"train": [13, 9]}, layout=layout, alignment=alignment)
    stored: dict[int, dict[str, Any]] = {}
    for path in sorted((folder / "data").iterdir()):
        file = ShardFile(path)
        for index in range(len(file.rows_of_groups)):
            group = file.read_row_group(index, sequence_id=True)
            for row in range(group.num_rows):
                own = slice(group.row_offsets[row], group.row_offsets[row + 1])
                columns = {name: getattr(group, name)[own] for name in ("lengths", "record_keys", "starts")}
                tokens = {"input_ids": group.input_ids[row], "sequence_id": group.sequence_id[row]}
                stored[int(group.record_keys[own][0])] = columns | tokens
    seen = 0
    for batch in PackedReader(folder, batch_size=5, columns=ALL, tail="pad"):
        offsets = batch["row_offsets"]
        for row, number in enumerate(row_ids(batch)):
            if number < 0:
                continue
            seen += 1
            for name in ("lengths", "record_keys", "starts"):
                assert np.array_equal(batch[name][offsets[row] : offsets[row + 1]], stored[number][name])
            for name in ("input_ids", "sequence_id"):
                assert np.array_equal(batch[name][row], stored[number][name])
            assert batch["num_tokens"][row] == stored[number]["lengths"].sum()
            starts = np.flatnonzero(np.diff(batch["sequence_id"][row], prepend=-1) > 0)
            assert np.all(batch["position_ids"][row, starts] == 0)
    assert seen == 22


def test_rows_of_padding_are_empty(shards: Path) -> None:
    *_, last = PackedReader(shards, split="valid", batch_size=16, columns=ALL, objective=0.5)
    padding = last["num_sequences"] == 0
    assert padding.sum() == 13
    assert np.all(last["input_ids"][padding] == 1)
    assert np.all(last["sequence_id"][padding] == -1)
    assert np.all(last["position_ids"][padding] == 0)
    assert np.all(last["num_tokens"][padding] == 0)
    assert np.all(last["labels"][padding] == -100)
    assert len(last["lengths"]) == last["row_offsets"][-1] == last["num_sequences"].sum()


def test_both_layouts_are_one_dataset(shards: Path, binary_shards: Path) -> None:
    readers = [PackedReader(path, batch_size=7, columns=ALL) for path in (shards, binary_shards)]
    assert readers[0].fingerprint == readers[1].fingerprint
    for listed, binary in zip(*readers, strict=True):
        for name in ALL:
            assert np.array_equal(listed[name], binary[name])


def test_wide_vocabularies_and_position_offsets(tmp_path: Path, write_shards: WriteShards) -> None:
    evo2 = load_tokenizer("evo2").document()
    wide = write_shards(tmp_path / "wide", {"train": [9]}, tokenizer=evo2, layout="binary")
    assert next(iter(PackedReader(wide, batch_size=2)))["input_ids"].dtype == np.uint16
    esm1b = load_tokenizer("esm1b")
    shifted = write_shards(tmp_path / "shifted", {"train": [9]}, tokenizer=esm1b.document())
    batch = next(iter(PackedReader(shifted, batch_size=2)))
    assert esm1b.position_offset == 2
    assert batch["position_ids"].min() == 2


@pytest.mark.parametrize("objective", ["betalinear30", 0.15])
def test_masks_do_not_depend_on_batch_rank_or_threads(shards: Path, row_ids: RowIds, objective: str | float) -> None:
    def masked(world_size: int, batch_size: int) -> dict[int, tuple[Any, Any]]:
        readers = world(
            shards, world_size, batch_size=batch_size, objective=objective, tail="pad", columns=("input_ids", *IDENTITY)
        )
        rows = {}
        for reader in readers:
            for batch in reader:
                for row, number in enumerate(row_ids(batch)):
                    rows[number] = (batch["input_ids"][row].tolist(), batch["labels"][row].tolist())
        return rows

    alone = masked(1, 8)
    assert alone == masked(3, 5)
    plain = PackedReader(shards, batch_size=8, seed=5, columns=("input_ids", *IDENTITY), tail="pad")
    for batch in plain:
        for row, number in enumerate(row_ids(batch)):
            tokens, labels = (np.array(part) for part in alone[number])
            asked = labels != -100
            assert np.array_equal(labels[asked], batch["input_ids"][row][asked])
            assert np.array_equal(tokens[~asked], batch["input_ids"][row][~asked])
    assert sum(label != -100 for _, labels in alone.values() for label in labels) > 50


def test_columns_are_only_those_asked_for(shards: Path) -> None:
    batch = next(iter(PackedReader(shards, columns=("num_tokens",), objective="betalinear30")))
    assert set(batch) == {"num_tokens", "labels"}


def test_batches_may_be_changed_by_their_owner(shards: Path, whole: list[list[int]], row_ids: RowIds) -> None:
    rows = []
    for batch in world(shards, 1, batch_size=1, columns=("input_ids", *IDENTITY))[0]:
        rows += row_ids(batch)
        for array in batch.values():
            array[...] = 0
    assert rows == whole[0]


# Resume.


def test_resume_at_every_step_gives_exactly_the_next_rows(shards: Path, row_ids: RowIds) -> None:
    reader = world(shards, 1, batch_size=8)[0]
    batches = [row_ids(batch) for _ in range(2) for batch in reader]
    for done in range(len(reader) + 1):
        before = world(shards, 1, batch_size=8)[0]
        taken = [row_ids(batch) for batch in islice(before, done)]
        state = json.loads(json.dumps(before.state_dict()))
        assert state == reader.state_at(done, epoch=0)
        after = world(shards, 1, batch_size=8)[0]
        after.load_state_dict(state)
        taken += [row_ids(batch) for batch in after]
        rest = len(reader) if done < len(reader) else 2 * len(reader)  # at its end an epoch gives way to the next one
        assert taken == batches[:rest]


@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 24), (2, 12), (3, 4), (6, 1), (8, 3), (1, 1)])
def test_resume_on_another_world(
    shards: Path, whole: list[list[int]], row_ids: RowIds, world_size: int, batch_size: int
) -> None:
    before = world(shards, 2, batch_size=6)
    for reader in before:
        assert len(list(islice(reader, 4))) == 4
    assert before[0].state_dict() == before[1].state_dict()
    after = world(shards, world_size, batch_size=batch_size, tail="pad")
    for reader in after:
        reader.load_state_dict(before[0].state_dict())
        assert reader.step * world_size * batch_size == 48
    rows = list(chain.from_iterable(epoch_of(after, row_ids)))
    assert [row for row in rows if row >= 0] == whole[0][48:]
    assert [reader.epoch for reader in after] == [1] * world_size


def test_resume_reads_nothing_again(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[int, int]] = []
    read = ShardSet.read
    monkeypatch.setattr(
        ShardSet,
        "read",
        lambda self, file, group, **asked: reads.append((file, group)) or read(self, file, group, **asked),
    )
    reader = PackedReader(shards, batch_size=1, shuffle=False, threads=1)
    reader.load_state_dict(reader.state_at(90))
    assert len(list(reader)) == 11
    assert reads == [(4, 3), (4, 4)]


def test_an_iteration_that_is_left_early_begins_again(shards: Path, row_ids: RowIds) -> None:
    reader = world(shards, 1, batch_size=8)[0]
    first = [row_ids(batch) for batch in islice(reader, 3)]
    assert reader.state_dict()["rows_delivered"] == 24
    assert [row_ids(batch) for batch in islice(reader, 3)] == first
    assert reader.epoch == 0


def test_a_state_in_the_middle_of_an_epoch_survives_set_epoch(shards: Path, row_ids: RowIds) -> None:
    reader = world(shards, 1, batch_size=8)[0]
    reader.load_state_dict(reader.state_at(5, epoch=2))
    reader.set_epoch(2)
    assert (reader.epoch, reader.step) == (2, 5)
    assert sum(1 for _ in reader) == len(reader) - 5
    reader.load_state_dict(reader.state_at(5, epoch=2))
    reader.set_epoch(3)
    assert (reader.epoch, reader.step) == (3, 0)


def test_state_at_counts_from_the_epoch_that_runs(shards: Path) -> None:
    reader = world(shards, 1, batch_size=8)[0]
    for step, _ in enumerate(reader, 1):
        assert reader.state_at(step) == reader.state_dict()
    assert reader.state_at(len(reader)) == reader.state_dict()
    assert reader.state_dict()["epoch"] == 1
    with pytest.raises(ConfigurationError, match=r"expected 0 to 13, .* found 14"):
        reader.state_at(14)


def test_the_state_is_small_and_says_what_it_is(shards: Path) -> None:
    reader = PackedReader(shards, seed=2**63 - 1, batch_size=2, epoch=123456789)
    state = reader.state_at(7)
    assert len(json.dumps(state)) < 1000
    assert state == {
        "fingerprint": reader.fingerprint,
        "seed": 2**63 - 1,
        "epoch": 123456789,
        "rows_delivered": 14,
        "order_version": ORDER_VERSION,
        "split": "train",
        "shuffle": True,
    }
    reader.load_state_dict({key: state[key] for key in list(state)[:5]})
    assert reader.step == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "f" * 32}, r"fingerprint: this reader has [0-9a-f]{32}, the state has f{32}"),
        ({"seed": 6}, "seed: this reader has 5, the state has 6"),
        ({"order_version": 99}, f"order_version: this reader has {ORDER_VERSION}, the state has 99"),
        ({"split": "valid"}, "split: this reader has train, the state has valid"),
        ({"shuffle": False}, "shuffle: this reader has True, the state has False"),
        ({"rows_delivered": 41}, r"41 rows delivered are no multiple of the global batch of 8 \(batch_size 8 times"),
        ({"rows_delivered": -8}, "rows_delivered -8"),
    ],
)
def test_a_state_of_something_else_is_refused(shards: Path, change: dict[str, Any], message: str) -> None:
    reader = world(shards, 1, batch_size=8)[0]
    with pytest.raises(StateError, match=message):
        reader.load_state_dict(reader.state_at(5) | change)
    assert reader.step == 0


def test_a_state_that_lacks_something_is_refused(shards: Path) -> None:
    reader = world(shards, 1)[0]
    with pytest.raises(StateError, match="expected the key epoch"):
        reader.load_state_dict({key: value for key, value in reader.state_at(0).items() if key != "epoch"})


def test_a_refusal_names_what_would_fit(shards: Path) -> None:
    state = world(shards, 1, batch_size=8)[0].state_at(6)
    with pytest.raises(StateError, match="batch sizes that fit are 2, 3, 4, 6"):
        world(shards, 2, batch_size=5)[0].load_state_dict(state)
    with pytest.raises(StateError, match="has to divide 48: 6, 8, 12, 16 do"):
        world(shards, 5, batch_size=3)[0].load_state_dict(state)


# Arguments, damage, threads.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected at least 1, found 0"),
        ({"world_size": 0}, "world_size: expected at least 1, found 0"),
        ({"rank": 2, "world_size": 2}, "rank: expected 0 to 1 for world_size 2, found 2"),
        ({"rank": -1}, "rank: expected 0 to 0"),
        ({"epoch": -1}, "epoch: expected at least 0"),
        ({"threads": 0}, "threads: expected at least 1"),
        ({"prefetch": -1}, "prefetch: expected at least 0"),
        ({"tail": "wrap"}, "tail: expected one of repeat, pad, drop, found 'wrap'"),
        ({"split": "test"}, "split 'test': expected one with rows, found train, valid"),
        ({"columns": ("tokens",)}, "columns: expected names among input_ids, .* found 'tokens'"),
        ({"batch_size": 102, "tail": "drop"}, "101 rows do not fill one global batch of 102"),
        ({"objective": "no such schedule"}, "no such schedule"),
    ],
)
def test_arguments_that_cannot_be_used(shards: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PackedReader(shards, **options)


def test_a_folder_without_shards(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError):
        PackedReader(tmp_path)


def _damage(path: Path) -> str:
    """Overwrite the pages of the second row group."""
    import pyarrow.parquet as pq

    group = pq.read_metadata(path).row_group(1)
    start = min(group.column(i).dictionary_page_offset or group.column(i).data_page_offset for i in range(8))
    with path.open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\xff" * 300)
    return "row group 1 cannot be decoded"


def _cut(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-20])
    return "expected a Parquet file"


def _remove(path: Path) -> str:
    path.unlink()
    return "expected a Parquet file"


def _replace(path: Path) -> str:
    path.write_bytes(path.with_name("train-00000-of-00002.parquet").read_bytes())
    return "expected 20 rows in row groups of 8, as manifest.json says, found 30 rows in 4 row groups"


@pytest.mark.parametrize("damage", [_damage, _cut, _remove, _replace])
@pytest.mark.usefixtures("no_reader_threads")
def test_a_damaged_shard_is_an_error_in_the_consumer(
    tmp_path: Path, write_shards: WriteShards, row_ids: RowIds, damage: Callable[[Path], str]
) -> None:
    folder = write_shards(tmp_path / "shards", {"train": [30, 20]})
    path = folder / "data" / "train-00001-of-00002.parquet"
    expected = damage(path)
    reader = PackedReader(folder, batch_size=2, shuffle=False, threads=2, columns=IDENTITY)
    rows: list[int] = []

    def read() -> None:
        for batch in reader:
            rows.extend(row_ids(batch))

    with pytest.raises(IntegrityError, match=expected) as error:
        read()
    assert path.name in str(error.value)
    assert rows == list(range(len(rows)))
    assert reader.state_dict()["rows_delivered"] == len(rows)


@pytest.mark.usefixtures("no_reader_threads")
def test_dropping_an_iterator_ends_its_threads(shards: Path) -> None:
    iterator = iter(PackedReader(shards, batch_size=1, threads=2))
    next(iterator)
    assert any(thread.name.startswith("pipeline-reader") for thread in threading.enumerate())
    del iterator
    gc.collect()


def test_a_process_ends_although_an_iterator_is_open(shards: Path) -> None:
    code = (
        "import sys; from pipeline.streaming.reader import PackedReader\n"
        "sys.kept_to_the_end = iter(PackedReader(sys.argv[1], batch_size=1)); next(sys.kept_to_the_end)\n"
        "assert 'torch' not in sys.modules and 'dask' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(shards)], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_can_be_pickled_and_has_no_threads_before_it_is_read(
    shards: Path, whole: list[list[int]], row_ids: RowIds
) -> None:
    before = threading.active_count()
    reader = world(shards, 1, batch_size=1, objective="betalinear30")[0]
    copied = pickle.loads(pickle.dumps(reader))
    assert threading.active_count() == before
    assert rest_of(copied, row_ids) == rest_of(reader, row_ids) == whole[0]


def test_a_row_group_is_decoded_once_an_epoch(
    tmp_path: Path, write_shards: WriteShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(tmp_path / "shards", {"train": [1200, 803]})
    reads: Counter[tuple[int, int]] = Counter()
    read = ShardSet.read

    def counting(self: ShardSet, file: int, group: int, **asked: bool) -> Any:
        reads[file, group] += 1
        return read(self, file, group, **asked)

    monkeypatch.setattr(ShardSet, "read", counting)
    for world_size in (1, 2, 4):
        reads.clear()
        for reader in world(folder, world_size, batch_size=4, tail="pad", threads=2):
            for _ in reader:
                pass
        assert len(reads) == 150 + 101
        assert reads.total() <= 251 + world_size - 1


def test_a_slot_is_not_filled_anew_while_it_is_read(
    tmp_path: Path, write_shards: WriteShards, row_ids: RowIds, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(tmp_path / "shards", {"train": [120]}, rows_per_group=2)
    gather = RowGroupTable.gather
    calls: list[int] = []

    def slow_at_first(self: RowGroupTable, *args: Any, **options: Any) -> Rows:
        calls.append(1)
        if len(calls) == 1:
            time.sleep(0.3)  # long enough for everything else to be decoded
        return gather(self, *args, **options)

    monkeypatch.setattr(RowGroupTable, "gather", slow_at_first)
    reader = world(folder, 1, batch_size=1, shuffle=False, threads=3, prefetch=100)[0]
    assert rest_of(reader, row_ids) == list(range(120))


def test_blocks_that_were_read_are_not_kept(
    tmp_path: Path, write_shards: WriteShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(tmp_path / "shards", {"train": [120]}, rows_per_group=2)
    made: list[weakref.ref[Any]] = []
    make = BatchMaker.__call__

    def counting(self: BatchMaker, rows: Rows) -> Any:
        batch = make(self, rows)
        made.append(weakref.ref(batch["input_ids"]))
        return batch

    monkeypatch.setattr(BatchMaker, "__call__", counting)
    reader = PackedReader(folder, batch_size=1, shuffle=False, threads=1, prefetch=2)
    alive = [sum(block() is not None for block in tuple(made)) for _ in reader]
    assert len(made) > 20
    assert max(alive) <= 2 + 2  # ahead, with the consumer, and the one before, whose last view it may still hold


def test_taking_all_batches_ends_the_epoch_whether_or_not_more_are_asked_for(shards: Path) -> None:
    reader = world(shards, 1, batch_size=8)[0]
    assert len(list(islice(reader, len(reader)))) == 13
    assert reader.epoch == 1


def test_a_state_at_the_very_end_is_the_start_of_the_next_epoch(shards: Path) -> None:
    reader = world(shards, 1, batch_size=8)[0]
    reader.load_state_dict(reader.state_at(0) | {"rows_delivered": 13 * 8})
    assert (reader.epoch, reader.step) == (1, 0)


@pytest.mark.parametrize("taken", [1, 5, 8])
def test_each_worker_can_go_on_from_a_state_of_its_own(shards: Path, row_ids: RowIds, taken: int) -> None:
    """What a stateful loader does: it keeps the state of each worker, and whose turn it is."""
    reader = world(shards, 1, batch_size=4)[0]
    expected = [row_ids(batch) for batch in reader]
    reader.set_epoch(0)
    workers = [pickle.loads(pickle.dumps(reader)) for _ in range(3)]
    streams = [worker.batches(worker=number, num_workers=3) for number, worker in enumerate(workers)]
    found = [row_ids(next(streams[step % 3])) for step in range(taken)]
    states = [worker.state_dict() for worker in workers]
    workers = [pickle.loads(pickle.dumps(reader)) for _ in range(3)]
    for worker, state in zip(workers, states, strict=True):
        worker.load_state_dict(state)
    streams = [worker.batches(worker=number, num_workers=3) for number, worker in enumerate(workers)]
    found += [row_ids(next(streams[step % 3])) for step in range(taken, len(reader))]
    assert found == expected


def test_what_comes_next_can_be_said_while_batches_are_read(
    shards: Path, whole: list[list[int]], row_ids: RowIds
) -> None:
    reader = world(shards, 1, batch_size=1)[0]
    for step, _ in enumerate(reader):
        if step == 50:
            reader.set_epoch(2)
    assert rest_of(reader, row_ids) == whole[2]


@pytest.mark.parametrize("setting", ["alignment", "length"])
def test_shards_that_are_not_those_of_the_manifest(tmp_path: Path, write_shards: WriteShards, setting: str) -> None:
    folder = write_shards(tmp_path / "shards", {"train": [30]}, alignment=1, length=24)
    manifest = folder / "manifest.json"
    document = json.loads(manifest.read_text())
    found = document["configuration"][setting]
    document["configuration"][setting] = found + 1
    manifest.write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match=f"expected {setting} {found + 1}, as manifest.json says, found {found}"):
        next(iter(PackedReader(folder)))
    del document["configuration"][setting]
    manifest.write_text(json.dumps(document))
    with pytest.raises(ArtefactError, match=f"configuration: expected the key {setting}, found none"):
        PackedReader(folder)


def _worker_steps(reader: PackedReader, row_ids: RowIds, num_workers: int) -> Iterator[list[int]]:
    """What a loader does: ask the workers in turns."""
    copies = [pickle.loads(pickle.dumps(reader)) for _ in range(num_workers)]
    streams = [copy.batches(worker=number, num_workers=num_workers) for number, copy in enumerate(copies)]
    for step in range(len(reader) - reader.step):
        yield row_ids(next(streams[step % num_workers]))
    for stream, copy in zip(streams, copies, strict=True):
        assert next(stream, None) is None
        assert copy.epoch == 1


@pytest.mark.parametrize("num_workers", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("done", [0, 4, 11])
def test_workers_take_the_steps_in_turns(shards: Path, row_ids: RowIds, num_workers: int, done: int) -> None:
    reader = world(shards, 2, batch_size=4)[1]
    expected = [row_ids(batch) for batch in world(shards, 2, batch_size=4)[1]][done:]
    reader.load_state_dict(reader.state_at(done))
    assert list(_worker_steps(reader, row_ids, num_workers)) == expected
