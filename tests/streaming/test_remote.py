"""Shards behind an address: the same stream as from disk, few bytes, a cache, and a line that fails."""

import logging
import multiprocessing
import pickle
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec
import pytest

from pipeline.engines import remote_files
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError, TransferError
from pipeline.formats.manifest import read_manifest, write_manifest
from pipeline.formats.shard_footers import read_footer, write_footer
from pipeline.formats.shards import ShardFile
from pipeline.streaming.reader import PackedReader

COLUMNS = ("input_ids", "record_keys", "row_offsets", "num_sequences")
ALL = ("input_ids", "sequence_id", "lengths", "starts", "accessions", *COLUMNS[1:])

RowIds = Callable[[dict[str, Any]], list[int]]
WriteShards = Callable[..., Path]


def load(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "engines" / (name + ".py")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[path.stem] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


range_server, faulty_proxy = load("range_server"), load("faulty_proxy")
Fault, Kind = faulty_proxy.Fault, faulty_proxy.Kind


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def files_of(folder: Path, below: str) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {f"{below}/{path.relative_to(folder)}": path.read_bytes() for path in paths}


@pytest.fixture
def server(shards: Path) -> Iterator[Any]:
    with range_server.RangeServer(files_of(shards, "/x/shards")) as server:
        server.place = f"{server.url}/x/shards"
        yield server


@pytest.fixture
def memory(shards: Path) -> Iterator[str]:
    filesystem = fsspec.filesystem("memory")
    for path, data in files_of(shards, "/bucket/shards").items():
        filesystem.pipe(path, data)
    yield "memory://bucket/shards"
    filesystem.rm("/bucket", recursive=True)


def whole(path: str | Path, **options: Any) -> list[list[Any]]:
    reader = PackedReader(path, **{"batch_size": 8, "seed": 3, "columns": ALL, **options})
    return [[batch[name] if name == "accessions" else batch[name].tolist() for name in ALL] for batch in reader]


@pytest.fixture(scope="session")
def local(shards: Path) -> list[list[Any]]:
    """An epoch from disk, every column of it."""
    return whole(shards)


@pytest.mark.usefixtures("no_reader_threads")
def test_every_address_gives_the_stream_of_the_folder(
    server: Any, memory: str, shards: Path, local: list[list[Any]], tmp_path: Path
) -> None:
    assert whole(shards.as_uri()) == local
    assert whole(memory) == local
    assert whole(server.place) == local
    assert whole(server.place, cache=tmp_path / "cache") == local
    assert whole(server.place + "/", threads=3, prefetch=0, objective=None) == local


def test_masks_are_the_same(server: Any, shards: Path) -> None:
    def labels(path: str | Path) -> list[Any]:
        return [batch["labels"].tolist() for batch in PackedReader(path, objective="betalinear30")]

    assert labels(server.place) == labels(shards)


def test_what_is_cached_is_not_fetched_again(server: Any, local: list[list[Any]], tmp_path: Path) -> None:
    options = {"cache": tmp_path / "cache", "cache_bytes": 10_000_000}
    assert whole(server.place, **options) == local
    fetched = len(server.requests)
    assert whole(server.place, **options) == local
    again = [path for path, _, _ in server.requests[fetched:]]
    assert len([path for path in again if path.endswith(".parquet")]) == 5  # one that asks each shard for its size
    assert fetched > 20


def test_a_cache_too_small_is_only_slower(server: Any, local: list[list[Any]], tmp_path: Path) -> None:
    for _ in range(2):
        assert whole(server.place, cache=tmp_path / "cache", cache_bytes=5_000) == local
    held = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.range"))
    assert 1_000 < held <= 5_000


def test_a_cache_that_was_tampered_with_changes_nothing(server: Any, local: list[list[Any]], tmp_path: Path) -> None:
    assert whole(server.place, cache=tmp_path / "cache") == local
    for number, path in enumerate(sorted((tmp_path / "cache").glob("*.range"))):
        content = bytearray(path.read_bytes())
        content[number % len(content)] ^= 4
        path.write_bytes(content)
    assert whole(server.place, cache=tmp_path / "cache") == local


def _read(path: str, cache: str, results: Any) -> None:
    results.put(whole(path, cache=cache))


def test_processes_share_a_cache_and_fetch_a_range_once(server: Any, local: list[list[Any]], tmp_path: Path) -> None:
    server.rules.append(lambda number, path, range_: range_server.Answer(pause=0.02))
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (server.place, str(tmp_path / "cache"), results)
    processes = [context.Process(target=_read, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60), results.get(timeout=60)] == [local, local]
    for process in processes:
        process.join()
    asked = [(path, range_) for path, range_, _ in server.requests if range_ not in {"bytes=0-0", None}]
    asked = [one for one in asked if one[0].endswith(".parquet")]
    assert len(asked) == len(set(asked))


# The storage layer, counted.


class Counted:
    """Bytes that fsspec's memory file system gives, by file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data = self.footers = self.apart = self.requests = 0
        kind = fsspec.get_filesystem_class("memory")
        cat_file = kind.cat_file

        def counting(filesystem: Any, path: str, start: Any = None, end: Any = None, **options: Any) -> bytes:
            data: bytes = cat_file(filesystem, path, start=start, end=end, **options)
            if data[-4:] == b"PAR1":
                self.footers += len(data)
            elif path.endswith(".zst"):
                self.apart += len(data)
            elif path.endswith(".parquet"):
                self.data += len(data)
                self.requests += 1
            return data

        monkeypatch.setattr(kind, "cat_file", counting)


@pytest.fixture(scope="session")
def many_groups(tmp_path_factory: pytest.TempPathFactory, write_shards: WriteShards) -> Path:
    """1,920 row groups: ten for each lane."""
    return write_shards(tmp_path_factory.mktemp("many") / "shards", {"train": [1280] * 6}, rows_per_group=4, length=256)


@pytest.mark.parametrize("world_size", [1, 3, 8, 64])
@pytest.mark.timeout(300)
def test_bytes_read_over_bytes_used(many_groups: Path, monkeypatch: pytest.MonkeyPatch, world_size: int) -> None:
    filesystem = fsspec.filesystem("memory")
    for path, data in files_of(many_groups, "/bytes").items():
        filesystem.pipe(path, data)
    used = num_groups = 0
    for file in read_manifest(many_groups).files:
        footer = ShardFile(many_groups / file.path)._footer
        num_groups += footer.num_row_groups
        for group in map(footer.row_group, range(footer.num_row_groups)):
            used += sum(group.column(column).total_compressed_size for column in (0, 2))  # input_ids and lengths
    counted = Counted(monkeypatch)
    for rank in range(world_size):
        reader = PackedReader(
            "memory://bytes", batch_size=2, rank=rank, world_size=world_size, columns=("num_tokens",), tail="pad"
        )
        for _ in reader:
            pass
    filesystem.rm("/bytes", recursive=True)
    assert counted.requests <= 2 * (num_groups + world_size)  # so small ones take two each
    assert 1 <= counted.data / used <= 1.1
    assert counted.footers <= world_size * (6 * 4096 + 768 * num_groups)


@pytest.fixture(scope="session")
def footers_apart(tmp_path_factory: pytest.TempPathFactory, many_groups: Path) -> Path:
    """The same shards, their footers in files of their own."""
    folder = tmp_path_factory.mktemp("apart") / "shards"
    shutil.copytree(many_groups, folder)
    manifest = read_manifest(folder)
    apart = tuple(write_footer(folder, file.path) for file in manifest.files)
    write_manifest(folder, manifest.model_copy(update={"files": (*manifest.files, *apart)}))
    return folder


def one_epoch(place: str, **options: Any) -> list[list[int]]:
    reader = PackedReader(place, batch_size=8, rank=1, world_size=4, columns=("record_keys",), **options)
    return [batch["record_keys"].tolist() for batch in reader]


@pytest.fixture
def bucket(footers_apart: Path) -> Iterator[Any]:
    filesystem = fsspec.filesystem("memory")
    for path, data in files_of(footers_apart, "/apart").items():
        filesystem.pipe(path, data)
    yield filesystem
    filesystem.rm("/apart", recursive=True)


def test_footers_apart_take_a_fifth_of_the_bytes(
    many_groups: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    assert one_epoch("memory://apart") == one_epoch(str(many_groups))
    assert counted.footers == 0
    assert 0 < counted.apart < 0.2 * sum(len(read_footer(path)) for path in (many_groups / "data").iterdir())


@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_footer_apart_costs_bytes_and_no_more(
    many_groups: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    for path in bucket.glob("/apart/footers/*"):
        data = bucket.cat_file(path)
        bucket.rm(path)
        if damage != "missing":
            bucket.pipe(path, data[:-7] if damage == "cut" else data[:20] + b"?" + data[21:])
    counted = Counted(monkeypatch)
    assert one_epoch("memory://apart") == one_epoch(str(many_groups))
    assert counted.footers > 0


def test_a_cache_keeps_footers_apart(bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = one_epoch("memory://apart", cache=tmp_path)
    counted = Counted(monkeypatch)
    assert one_epoch("memory://apart", cache=tmp_path) == first
    assert (counted.apart, counted.footers, counted.data) == (0, 0, 0)


# Faults and damage.


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.RESET, Kind.STALL, Kind.REFUSE, Kind.CORRUPT])
@pytest.mark.usefixtures("no_reader_threads")
def test_a_line_that_fails_now_and_then(
    server: Any, local: list[list[Any]], monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr(remote_files, "LONGEST_REQUEST", 1.0)
    monkeypatch.setattr("pipeline.engines.patience.FIRST_WAIT", 0.05)
    faults = [Fault()] * 4 + [Fault(kind, 500), Fault(), Fault(), Fault(kind, 350)] * 4
    with faulty_proxy.FaultyProxy(server.url, faults) as proxy:
        assert whole(f"{proxy.url}/x/shards") == local


@pytest.mark.usefixtures("no_reader_threads")
def test_a_server_that_goes_for_good_is_one_error_in_time(server: Any, row_ids: RowIds, shards: Path) -> None:
    expected = [row_ids(batch) for batch in PackedReader(shards, batch_size=1, columns=COLUMNS, shuffle=False)]
    reader = PackedReader(server.place, batch_size=1, columns=COLUMNS, shuffle=False, prefetch=0, patience=2.0)
    batches = iter(reader)
    rows = [row_ids(next(batches)) for _ in range(3)]
    server.rules.append(lambda number, path, range_: range_server.Answer(status=503))
    started = time.monotonic()
    with pytest.raises(TransferError, match=r"data/train-.*parquet: the server answers 503 .*: gave up after 2 s"):
        rows.extend(row_ids(batch) for batch in batches)
    assert time.monotonic() - started < 8
    assert rows == expected[: len(rows)]
    assert reader.state_dict()["rows_delivered"] == len(rows)
    server.rules.clear()
    reader.load_state_dict(reader.state_dict())
    assert rows + [row_ids(batch) for batch in reader] == expected


@pytest.mark.usefixtures("no_reader_threads")
def test_dropping_an_iterator_while_the_server_refuses_does_not_wait(server: Any) -> None:
    batches = iter(PackedReader(server.place, batch_size=1, columns=COLUMNS, shuffle=False, prefetch=3))
    next(batches)
    server.rules.append(lambda number, path, range_: range_server.Answer(status=503))
    next(batches)  # hands in a block beyond the two row groups that are fetched
    time.sleep(0.2)
    assert any(thread.name.startswith("pipeline-reader-fetch") for thread in threading.enumerate())
    started = time.monotonic()
    del batches
    assert time.monotonic() - started < 3


@pytest.mark.usefixtures("no_reader_threads")
def test_dropping_an_iterator_while_a_shard_cannot_be_opened_does_not_wait(server: Any) -> None:
    def refuse(number: int, path: str, range_: str) -> Any:
        return range_server.Answer(status=503) if re.search("train-0000[1-9]", path) else None

    server.rules.append(refuse)
    batches = iter(PackedReader(server.place, batch_size=1, columns=COLUMNS, shuffle=False, prefetch=15))
    next(batches)
    for _ in range(100):
        if any("train-00001" in path for path, _, _ in server.requests):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the second shard was never asked for")
    started = time.monotonic()
    del batches
    assert time.monotonic() - started < 3


def test_shards_that_are_not_those_of_the_manifest(server: Any) -> None:
    name = next(path for path in server.files if "train-00000" in path)
    good = server.files[name]
    server.files[name] = good + b"x"
    with pytest.raises(IntegrityError, match=f"expected {len(good):,} bytes, as manifest.json says, found"):
        whole(server.place)
    server.files[name] = good[:-9] + b"x" * 9
    with pytest.raises(IntegrityError, match=rf"{name}: expected a Parquet file of"):
        whole(server.place)
    del server.files[name]
    with pytest.raises(IntegrityError, match=rf"{name}: expected a shard, as manifest.json says, found none"):
        whole(server.place)


def test_a_shard_that_changes_in_mid_epoch_is_an_error(server: Any) -> None:
    batches = iter(PackedReader(server.place, batch_size=1, shuffle=False, prefetch=0, threads=1))
    next(batches)
    name = next(path for path in server.files if "train-00000" in path)
    server.files[name] = server.files[name][::-1]
    with pytest.raises(IntegrityError, match=rf"{name}: the file changed on the server"):
        list(islice(batches, 30))


@pytest.mark.parametrize("place", ["http://127.0.0.1:1/x", "nothing"])
def test_no_manifest(server: Any, place: str) -> None:
    if place == "nothing":
        with pytest.raises(ArtefactError, match=r"/y: expected finished shards, found no manifest.json"):
            PackedReader(f"{server.url}/y")
    else:
        with pytest.raises(TransferError, match=r"/x/manifest.json: connection refused: gave up after 0 s"):
            PackedReader(place, patience=0.1)


def test_a_manifest_that_is_none_of_ours(server: Any) -> None:
    server.files["/x/shards/manifest.json"] = b"{}"
    with pytest.raises(ArtefactError, match=rf"^{re.escape(server.place)}/manifest.json: "):
        PackedReader(server.place)


def test_arguments_that_do_not_go_together(shards: Path, memory: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="storage_options: expected none"):
        PackedReader(shards, storage_options={"key": "x"})
    with pytest.raises(ConfigurationError, match="cache_bytes: expected at least 1"):
        PackedReader(memory, cache=tmp_path, cache_bytes=0)
    with pytest.raises(ConfigurationError, match="patience: expected more than 0"):
        PackedReader(memory, patience=-1)


def test_a_remote_reader_can_be_pickled(server: Any, local: list[list[Any]], tmp_path: Path) -> None:
    reader = PackedReader(server.place, batch_size=8, seed=3, columns=ALL, cache=tmp_path / "cache")
    next(iter(reader))
    copied = pickle.loads(pickle.dumps(reader))
    batches = [[batch[name] if name == "accessions" else batch[name].tolist() for name in ALL] for batch in copied]
    assert batches == local


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_loader_workers_read_from_an_address(server: Any, shards: Path, row_ids: RowIds, start: str) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    from pipeline.streaming.dataset import PackedDataset

    options = {"rank": 0, "world_size": 1, "batch_size": 8, "columns": COLUMNS}
    expected = [row_ids(batch) for batch in PackedDataset(shards, **options)]
    dataset = PackedDataset(server.place, **options)
    assert row_ids(next(iter(dataset))) == expected[0]
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=start)
    assert [row_ids(batch) for batch in loader] == expected


def test_people_are_told_of_faults(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    server.rules.append(lambda number, path, range_: range_server.Answer(status=503) if number == 5 else None)
    whole(server.place)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("pipeline.streaming", logging.WARNING)
    assert re.search(r"the server answers 503 .*: trying again in 1 s", record.getMessage())
