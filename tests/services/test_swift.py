"""Reading shards from a real S3 server: the same epoch as from disk, whatever becomes of the server meanwhile.

Run with PIPELINE_TEST_SERVICES=1; Swift is installed into a virtual environment of its own.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.layout import sequence_ids
from pipeline.core.tokenizer import load_tokenizer
from pipeline.engines import remote_files
from pipeline.errors import ArtefactError, TransferError
from pipeline.formats.manifest import File, make_manifest, write_manifest
from pipeline.formats.shards import ShardMetadata, ShardWriter, shard_name, shard_schema, token_array
from pipeline.formats.storage import file_digest
from pipeline.streaming.reader import PackedReader

pytest.importorskip("s3fs", reason="the extra 'cloud' is not installed")

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(300),  # the first test installs and starts the server
    pytest.mark.skipif(
        os.environ.get("PIPELINE_TEST_SERVICES") != "1", reason="PIPELINE_TEST_SERVICES=1 starts a real S3 server"
    ),
]

LENGTH, ROWS_PER_GROUP = 256, 16
ROWS_OF_FILES = [400, 320, 17, 480]
COLUMNS = ("input_ids", "record_keys", "starts", "lengths", "accessions", "num_sequences")


def load(path):
    spec = spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


swift_module = load(Path(__file__).with_name("swift.py"))


def write_shard(path, metadata, num_rows, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(20, LENGTH // 2, 2 * num_rows).astype(np.uint32)
    offsets = 2 * np.arange(num_rows + 1)
    ids = sequence_ids(lengths, offsets, LENGTH)
    tokens = rng.integers(4, 24, (num_rows, LENGTH)).astype(np.uint8)
    tokens[ids < 0] = 1

    def per_row(values):
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)

    table = pa.table(
        {
            "input_ids": token_array(tokens, "list"),
            "sequence_id": token_array(ids, "list"),
            "lengths": per_row(pa.array(lengths)),
            "accessions": per_row(pa.array([f"P{seed}{number}" for number in range(2 * num_rows)])),
            "record_keys": per_row(pa.array(rng.integers(0, 2**63, 2 * num_rows).astype(np.uint64))),
            "starts": per_row(pa.array(np.zeros(2 * num_rows, dtype=np.uint32))),
            "num_tokens": pa.array((ids >= 0).sum(axis=1).astype(np.uint32)),
            "num_sequences": pa.array(np.full(num_rows, 2, dtype=np.uint16)),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with ShardWriter(path, metadata, rows_per_group=ROWS_PER_GROUP) as writer:
        writer.write(table.cast(shard_schema(metadata)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """77 row groups in four files."""
    folder = tmp_path_factory.mktemp("shards")
    metadata = ShardMetadata(
        fingerprint="", dtype="uint8", length=LENGTH, alignment=1, pad_id=1, num_prefix=1, num_suffix=1, layout="list"
    )
    files = []
    for index, num_rows in enumerate(ROWS_OF_FILES):
        name = shard_name("train", index, len(ROWS_OF_FILES))
        write_shard(folder / name, metadata, num_rows, index)
        size, digest = file_digest(folder / name)
        files.append(File(path=name, split="train", rows=num_rows, bytes=size, xxh3_64=digest, content=digest))
    configuration = {"length": LENGTH, "alignment": 1, "rows_per_group": ROWS_PER_GROUP,
                     "tokenizer": load_tokenizer("esm2").document()}  # fmt: skip
    write_manifest(folder, make_manifest("shards", configuration=configuration, inputs=(), files=tuple(files),
                                         counts={}, reasons={}, provenance=()))  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def swift(tmp_path_factory, folder):
    try:
        with swift_module.Swift(tmp_path_factory.mktemp("swift") / "server") as server:
            filesystem = fsspec.filesystem("s3", **server.options)
            filesystem.mkdir("bucket")
            for path in folder.rglob("*.*"):
                filesystem.pipe(f"bucket/shards/{path.relative_to(folder)}", path.read_bytes())
            yield server
    except swift_module.NotAvailableError as error:
        pytest.skip(str(error))


def batches(path, **options):
    for batch in PackedReader(path, **{"batch_size": 8, "seed": 3, "columns": COLUMNS, **options}):
        yield [batch[name] if name == "accessions" else batch[name].tolist() for name in COLUMNS]


@pytest.fixture(scope="module")
def local(folder):
    return list(batches(folder))


URL = "s3://bucket/shards"


def test_an_epoch_is_that_of_the_folder(swift, local, tmp_path):
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        assert list(batches(URL, storage_options=swift.options, cache=cache)) == local


def _read(options, cache, results):
    results.put(list(batches(URL, storage_options=options, cache=cache)))


def test_processes_share_a_cache(swift, local, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    bound = 120_000
    arguments = (swift.options, str(tmp_path / "cache"), results)
    processes = [context.Process(target=_read, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=100) == local for _ in processes] == [True, True]
    for process in processes:
        process.join()
    assert list(batches(URL, storage_options=swift.options, cache=tmp_path / "cache", cache_bytes=bound)) == local
    assert list(batches(URL, storage_options=swift.options, cache=tmp_path / "small", cache_bytes=bound)) == local
    assert 0 < sum(path.stat().st_size for path in (tmp_path / "small").glob("*.range")) <= bound


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_loader_workers_that_are_forked(swift, folder):
    torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    from pipeline.streaming.dataset import PackedDataset

    def tokens(path, num_workers, **options):
        dataset = PackedDataset(path, rank=0, world_size=1, batch_size=64, **options)
        context = "fork" if num_workers else None
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=None, num_workers=num_workers, multiprocessing_context=context
        )
        return [batch["input_ids"].tolist() for batch in loader]

    assert tokens(URL, 2, storage_options=swift.options) == tokens(folder, 0)


def test_a_server_that_is_frozen_and_thawed_in_mid_epoch(swift, local, monkeypatch, caplog):
    monkeypatch.setattr(remote_files, "LONGEST_REQUEST", 1.0)
    found = []
    try:
        for number, batch in enumerate(batches(URL, storage_options=swift.options, prefetch=1, shuffle=True)):
            if number == 20:
                swift.freeze()
                threading.Timer(4.0, swift.thaw).start()
            found.append(batch)
    finally:
        swift.thaw()
    assert found == local
    assert any("no answer in time: trying again" in record.getMessage() for record in caplog.records)


def test_a_server_that_stays_frozen_is_one_clear_error_in_time(swift, local):
    stream = batches(URL, storage_options=swift.options, prefetch=1, shuffle=False, patience=3.0)
    next(stream)
    swift.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(
            TransferError, match=r"^s3://bucket/shards/data/train-.*: no answer in time: gave up after 3 s"
        ):
            list(stream)
        assert time.monotonic() - started < 15
    finally:
        swift.thaw()
    assert list(batches(URL, storage_options=swift.options)) == local


def test_wrong_credentials_are_one_clear_sentence(swift):
    wrong = swift.options | {"secret": "guessed-by-somebody"}
    with pytest.raises(TransferError) as error:
        PackedReader(URL, storage_options=wrong)
    assert str(error.value) == (
        "s3://bucket/shards/manifest.json: may not be read "
        "(check its permissions and the credentials in storage_options or in the environment)"
    )


def test_no_bucket_and_no_folder(swift):
    for url in ("s3://bucket/nothing", "s3://no-such-bucket/shards"):
        with pytest.raises(ArtefactError, match=f"{url}: expected finished shards, found no manifest.json"):
            PackedReader(url, storage_options=swift.options)


def test_a_shard_that_is_gone_is_quarantined(swift, folder, local):
    filesystem = fsspec.filesystem("s3", **swift.options)
    name = "data/train-00001-of-00004.parquet"
    filesystem.rm(f"bucket/shards/{name}")
    try:
        reader = PackedReader(URL, batch_size=8, seed=3, columns=COLUMNS, storage_options=swift.options,
                              on_corrupt="quarantine")  # fmt: skip
        counts = [batch["num_sequences"].tolist() for batch in reader]
        assert len(counts) == len(local)
        assert reader.quarantined.rows == 320
        assert {path for path, _ in reader.quarantined.row_groups} == {name}
    finally:
        filesystem.pipe(f"bucket/shards/{name}", (folder / name).read_bytes())


def test_a_process_ends_quietly_although_an_iterator_is_open(swift):
    code = (
        "import sys, json; from pipeline.streaming.reader import PackedReader\n"
        "reader = PackedReader(sys.argv[1], storage_options=json.loads(sys.argv[2]))\n"
        "sys.kept_to_the_end = iter(reader); next(sys.kept_to_the_end)"
    )
    command = [sys.executable, "-c", code, URL, json.dumps(swift.options)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_server_that_dies_for_good(swift):
    stream = batches(URL, storage_options=swift.options, prefetch=1, shuffle=False, patience=3.0)
    next(stream)
    swift.kill("proxy")
    started = time.monotonic()
    with pytest.raises(TransferError, match=r"gave up after 3 s \(check that the server runs"):
        list(stream)
    assert time.monotonic() - started < 20
