"""Laws of quarantine: padding in the place of what is damaged, everything else as ever, and the state says so."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ConfigurationError, IntegrityError, StateError, TransferError
from pipeline.streaming.quarantine import Quarantine, Quarantined
from pipeline.streaming.reader import PackedReader

IDENTITY = ("record_keys", "row_offsets", "num_sequences")
FILES = [30, 20, 9]
SECOND = "data/train-00001-of-00003.parquet"
RUNS = [[1, 1, 1]]
LOST = set(range(38, 46))
"""Rows of the second row group of the second file."""

RowIds = Callable[[dict[str, Any]], list[int]]
WriteShards = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, write_shards: WriteShards) -> Path:
    return write_shards(tmp_path / "shards", {"train": FILES})


def flip(path: Path, group: int = 1, column: int = 0) -> None:
    """Turn one bit of the last page of a column of a row group."""
    chunk = pq.read_metadata(path).row_group(group).column(column)
    with path.open("r+b") as stream:
        stream.seek((chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size - 2)
        byte = stream.read(1)
        stream.seek(-1, 1)
        stream.write(bytes([byte[0] ^ 0x10]))


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def world(path: Path | str, world_size: int, **options: Any) -> list[PackedReader]:
    options = {"columns": IDENTITY, "seed": 5, "on_corrupt": "quarantine", "tail": "pad", **options}
    return [PackedReader(path, rank=rank, world_size=world_size, **options) for rank in range(world_size)]


def steps_of(readers: list[PackedReader], row_ids: RowIds) -> list[list[int]]:
    steps = zip(*([row_ids(batch) for batch in reader] for reader in readers), strict=True)
    return [np.array(ranks).T.ravel().tolist() for ranks in steps]


def without(steps: list[list[int]], lost: set[int]) -> list[list[int]]:
    return [[-1 if row in lost else row for row in rows] for rows in steps]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("damage", "lost"), [(flip, LOST), (remove, set(range(30, 50))), (cut, set(range(30, 50)))]
)  # fmt: skip
def test_order_and_steps_stay(
    folder: Path, row_ids: RowIds, damage: Callable[[Path], None], lost: set[int], world_size: int
) -> None:
    expected = steps_of(world(folder, world_size, batch_size=12 // world_size), row_ids)
    damage(folder / SECOND)
    readers = world(folder, world_size, batch_size=12 // world_size)
    assert [len(reader) for reader in readers] == [5] * world_size
    assert steps_of(readers, row_ids) == without(expected, lost)
    known = {place for reader in readers for place in reader.quarantined.row_groups}
    groups = [1] if damage is flip else [0, 1, 2]
    assert known == {(SECOND, group) for group in groups}
    merged = world(folder, 1)[0]
    for reader in readers:
        merged.load_state_dict(reader.state_at(0))
    assert merged.quarantined == Quarantined(len(lost), tuple((SECOND, group) for group in groups))


@pytest.mark.parametrize("place", ["folder", "memory"])
@pytest.mark.parametrize("damage", [flip, remove, cut])
def test_by_default_damage_is_an_error(folder: Path, place: str, damage: Callable[[Path], None]) -> None:
    damage(folder / SECOND)
    where = in_memory(folder) if place == "memory" else nullcontext(folder)
    with where as path, pytest.raises(IntegrityError) as error:
        list(world(path, 1, on_corrupt="error")[0])
    assert SECOND in str(error.value)
    assert ("row group 1 cannot be decoded" in str(error.value)) == (damage is flip)


@contextmanager
def in_memory(folder: Path) -> Iterator[str]:
    """A copy of a folder in fsspec's memory file system."""
    for path in folder.rglob("*.*"):
        if path.is_file():
            fsspec.filesystem("memory").pipe(f"/quarantine/{path.relative_to(folder)}", path.read_bytes())
    try:
        yield "memory://quarantine"
    finally:
        fsspec.filesystem("memory").rm("/quarantine", recursive=True)


@pytest.mark.parametrize("with_cache", [False, True])
@pytest.mark.parametrize("damage", [flip, remove, cut])
def test_it_is_the_same_for_an_address(
    folder: Path, row_ids: RowIds, tmp_path: Path, damage: Callable[[Path], None], with_cache: bool
) -> None:
    damage(folder / SECOND)
    here = world(folder, 1, batch_size=4)[0]
    expected = [row_ids(batch) for batch in here]
    with in_memory(folder) as url:
        there = world(url, 1, batch_size=4, cache=tmp_path / "cache" if with_cache else None)[0]
        for _ in range(2):
            assert [row_ids(batch) for batch in there] == expected
            expected = [row_ids(batch) for batch in here]
    assert there.quarantined == here.quarantined
    assert there.quarantined.rows == (8 if damage is flip else 20)


def test_rows_of_padding_ask_for_nothing(folder: Path) -> None:
    flip(folder / SECOND)
    columns = ("input_ids", "sequence_id", "num_tokens", "accessions", *IDENTITY)
    found = 0
    for batch in world(folder, 1, objective="betalinear30", columns=columns, batch_size=4)[0]:
        padding = batch["num_sequences"] == 0
        found += int(padding.sum())
        assert (batch["labels"][padding] == -100).all()
        assert (batch["sequence_id"][padding] == -1).all()
        assert (batch["input_ids"][padding] == 1).all()
        assert (batch["num_tokens"][padding] == 0).all()
        assert len(batch["accessions"]) == batch["num_sequences"].sum()
    assert found == 8 + 1


def test_the_damaged_one_can_come_after_others_in_its_slot(
    tmp_path: Path, write_shards: WriteShards, row_ids: RowIds
) -> None:
    folder = write_shards(tmp_path / "many", {"train": [400]}, rows_per_group=2)
    for group in (30, 31, 90):
        flip(folder / "data" / "train-00000-of-00001.parquet", group)
    reader = world(folder, 1, batch_size=1, shuffle=False)[0]
    lost = {60, 61, 62, 63, 180, 181}
    assert [row for batch in reader for row in row_ids(batch)] == [-1 if row in lost else row for row in range(400)]
    assert reader.state_dict()["quarantined"] == {"rows": 6, "runs": [[0, 30, 2], [0, 90, 1]]}


def test_people_are_told_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    flip(folder / SECOND)
    remove(folder / "data/train-00002-of-00003.parquet")
    reader = world(folder, 1)[0]
    for _ in range(2):
        list(reader)
    messages = sorted(record.getMessage() for record in caplog.records)
    assert len(messages) == 2
    assert "train-00001-of-00003.parquet: row group 1 cannot be decoded" in messages[0]
    assert messages[0].endswith("its rows are given as padding, because on_corrupt is quarantine")
    assert "train-00002-of-00003.parquet: expected a Parquet file" in messages[1]
    assert messages[1].endswith(": all its rows are given as padding, because on_corrupt is quarantine")
    assert {(record.name, record.levelno) for record in caplog.records} == {("pipeline.streaming", logging.WARNING)}


def test_the_state_says_so_and_goes_to_another_world(folder: Path, row_ids: RowIds) -> None:
    expected = [row for batch in world(folder, 1, batch_size=1)[0] for row in row_ids(batch)]
    flip(folder / SECOND)
    reader = world(folder, 1, batch_size=12)[0]
    rows = [row for batch in islice(reader, 2) for row in row_ids(batch)]
    list(reader)
    state = json.loads(json.dumps(reader.state_at(2, epoch=0)))
    assert state["quarantined"] == {"rows": 8, "runs": RUNS}
    after = world(folder, 3, batch_size=4)
    for one in after:
        one.load_state_dict(state)
        one.load_state_dict(state)
        assert one.quarantined == Quarantined(8, ((SECOND, 1),))
    rows += [row for step in steps_of(after, row_ids) for row in step]
    assert rows[:59] == [-1 if row in LOST else row for row in expected[:59]]
    assert {one.quarantined.rows for one in after} == {8}


def test_a_state_without_damage_says_nothing(folder: Path) -> None:
    reader = world(folder, 1)[0]
    list(reader)
    assert "quarantined" not in reader.state_dict()
    assert reader.quarantined == Quarantined(0, ())


@pytest.mark.parametrize(
    "document", [[], {"rows": 8}, {"rows": 8, "runs": [[9, 0, 1]]}, {"rows": 8, "runs": [[0, 3, 2]]}]
)
def test_a_state_that_says_nonsense_is_refused(folder: Path, document: Any) -> None:
    reader = world(folder, 1)[0]
    with pytest.raises(StateError, match="quarantined: expected rows and runs"):
        reader.load_state_dict(reader.state_dict() | {"quarantined": document})


def test_the_state_stays_small() -> None:
    def quarantine() -> Quarantine:
        return Quarantine(["f"] * 1000, np.full(1000, 10**6), 512)

    damaged, error = quarantine(), IntegrityError("x")
    for file in range(1000):
        for group in range(0, 1954, 100):
            damaged.add(file, group, error)
    document = damaged.document()
    assert document is not None
    assert len(json.dumps(document)) < 600
    assert document["rows"] == damaged.known.rows == 1000 * 20 * 512
    loaded = quarantine()
    loaded.load(document)
    loaded.load(document)
    assert loaded.known.rows == 1000 * 20 * 512
    assert loaded.document() == document


def test_a_server_that_fails_is_no_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_memory(folder) as url:
        reader = world(url, 1, patience=0.2)[0]

        def refuse(*args: Any, **options: Any) -> bytes:
            raise OSError("down")

        monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "cat_file", refuse)
        with pytest.raises(TransferError, match="down: gave up"):
            list(reader)
    assert reader.quarantined.rows == 0


def test_a_policy_that_does_not_exist(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="on_corrupt: expected one of error, quarantine, found 'skip'"):
        PackedReader(folder, on_corrupt="skip")


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_loader_workers_tell_the_trainer(folder: Path, row_ids: RowIds, start: str) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    from pipeline.streaming.dataset import PackedDataset

    flip(folder / SECOND)
    options = {"rank": 0, "world_size": 1, "batch_size": 8, "columns": IDENTITY, "on_corrupt": "quarantine"}
    expected = [row_ids(batch) for batch in PackedDataset(folder, **options)]
    dataset = PackedDataset(folder, **options)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=start)
    assert [row_ids(batch) for batch in loader] == expected
    assert dataset.state_at(3)["quarantined"] == {"rows": 8, "runs": RUNS}
    assert dataset.reader.quarantined == Quarantined(8, ((SECOND, 1),))
