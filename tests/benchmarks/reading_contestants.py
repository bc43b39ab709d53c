"""The readers that reading.py runs, and what is measured of one of them, in this process:

    python tests/benchmarks/reading_contestants.py write STORE FOLDER ROWS LENGTH
    python tests/benchmarks/reading_contestants.py absent
    python tests/benchmarks/reading_contestants.py speed NAME WORKERS FOLDER ROWS LENGTH
    python tests/benchmarks/reading_contestants.py check NAME WORKERS FOLDER ROWS LENGTH
    python tests/benchmarks/reading_contestants.py resume NAME WORKERS FOLDER ROWS LENGTH [to-the-end]

``write`` makes what the reader reads, in FOLDER/STORE. ``absent`` says which modules this Python does not have.
``speed`` reads an epoch. ``check`` does, too, keeps the keys of the rows that came and, half-way, a state; and
``resume`` goes on from that state in a process of its own. Each prints a line of JSON. Clocks begin when everything is
imported, before the reader opens what it reads.
"""

import gc
import importlib
import itertools
import json
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from reading_ours import (
    BATCH_SIZE,
    Opening,
    Reading,
    decode_only,
    memory_map,
    packed_dataset,
    parquet_batches,
    widened,
)
from reading_peers import grain, hugging_face_map, hugging_face_streaming, litdata, mosaicml, web_dataset
from reading_rows import row_keys, write_rows
from reading_stores import write_arrays, write_arrow, write_litdata, write_mds, write_parquet, write_tar


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A reader, what it reads, and what is asked of it."""

    open: Callable[[Opening], Reading]
    store: str
    """What it reads: a key of ``STORES``."""
    needs: tuple[str, ...] = ()
    """Modules."""
    is_narrow: bool = False
    """Integers come as narrow as they are stored, and are widened in the trainer's process."""
    is_slow: bool = False
    """One repeat is enough."""
    is_limit: bool = False
    """Only decodes: there are no batches to check."""


STORES: dict[str, Callable[..., None]] = {
    "raw": lambda _, shape, folder: write_rows(folder, shape),  # and list and binary
    "mds": write_mds(None),
    "mds-zstd": write_mds("zstd"),
    "litdata": write_litdata,
    "tar": write_tar,
    "parquet": write_parquet,
    "arrow": write_arrow,
    "array-record": write_arrays,
}
OURS = "pipeline, {}"
NARROW = "{}, compact"
MEMORY_MAP = "memory map"
DECODED = "{}, only decoded, by two threads"
TORCH, DATASET = "torch.utils.data", "pipeline.streaming.dataset"
HUGGING_FACE = (TORCH, "datasets")
READERS: dict[str, Contestant] = {
    MEMORY_MAP: Contestant(open=memory_map, store="raw", needs=(TORCH,)),
    OURS.format("binary"): Contestant(open=packed_dataset, store="binary", needs=(DATASET,)),
    OURS.format("list"): Contestant(open=packed_dataset, store="list", needs=(DATASET,)),
    DECODED.format("binary"): Contestant(open=decode_only, store="binary", needs=(DATASET,), is_limit=True),
    DECODED.format("list"): Contestant(open=decode_only, store="list", needs=(DATASET,), is_limit=True),
    "LitData": Contestant(open=litdata, store="litdata", needs=("litdata",)),
    "pyarrow, not shuffled": Contestant(open=parquet_batches, store="list", needs=(TORCH, "pyarrow.parquet")),
    "Hugging Face datasets, map": Contestant(open=hugging_face_map, store="arrow", needs=HUGGING_FACE),
    "grain, ArrayRecord": Contestant(
        open=grain, store="array-record", needs=(TORCH, "grain", "array_record"), is_slow=True
    ),
    "MosaicML Streaming": Contestant(open=mosaicml, store="mds", needs=("streaming",), is_slow=True),
    "MosaicML Streaming, zstd": Contestant(open=mosaicml, store="mds-zstd", needs=("streaming",), is_slow=True),
    "WebDataset": Contestant(open=web_dataset, store="tar", needs=(TORCH, "webdataset"), is_slow=True),
    "Hugging Face datasets, streaming": Contestant(
        open=hugging_face_streaming, store="parquet", needs=HUGGING_FACE, is_slow=True
    ),
}
for fast in (MEMORY_MAP, OURS.format("binary"), OURS.format("list"), "LitData", "Hugging Face datasets, map"):
    READERS[NARROW.format(fast)] = replace(READERS[fast], is_narrow=True)


@dataclass(slots=True)
class Measured:
    """Of one process."""

    first_seconds: float = 0
    """From opening to the first batch."""
    seconds: float = 0
    """From opening to the end of the epoch."""
    trainer_seconds: float = 0
    """Of processor time, of the thread that takes the batches."""
    processor_seconds: float = 0
    """Of all threads and processes."""
    tokens: int = 0
    """That came, padding included."""
    lost: int = 0
    """Rows that did not come; after a resume: neither before nor after it."""
    again: int = 0
    """Rows that came more than once."""
    is_same: bool = True
    """After a resume: the batches that would have come without it, in their order."""
    has_state: bool = True


def run_epoch(contestant: Contestant, opening: Opening, measured: Measured, take: Callable[..., bool]) -> None:
    """Read until there is no more, or ``take``, which gets the reading, steps and a batch, has enough."""
    begin, begin_thread, begin_all = time.perf_counter(), time.thread_time(), sum(os.times()[:4])
    reading = contestant.open(opening)
    measured.has_state = reading.state is not None
    batches = iter(reading.batches)
    for step in itertools.count(1):
        batch = next(batches, None)
        if batch is None:
            break
        batch = widened(batch) if contestant.is_narrow else batch
        if step == 1:
            measured.first_seconds = time.perf_counter() - begin
        measured.tokens += batch["input_ids"].numel()
        if take(reading, step, batch):
            break
    measured.seconds = time.perf_counter() - begin
    measured.trainer_seconds = time.thread_time() - begin_thread
    del reading, batches, batch
    gc.collect()  # ends the workers, whose processor time counts only then
    measured.processor_seconds = sum(os.times()[:4]) - begin_all


def speed(contestant: Contestant, opening: Opening, measured: Measured) -> None:
    run_epoch(contestant, opening, measured, lambda *_: False)


def check(contestant: Contestant, opening: Opening, measured: Measured) -> None:
    """Every row comes once."""
    half = opening.shape[0] // BATCH_SIZE // 2
    keys = []

    def take(reading: Reading, step: int, batch: dict[str, Any]) -> bool:
        keys.append(keys_of(batch))
        if step == half and reading.state is not None:
            opening.state_path.write_bytes(pickle.dumps((step, reading.state(step))))
        return False

    run_epoch(contestant, opening, measured, take)
    came = np.concatenate(keys)
    np.save(opening.state_path.with_suffix(".npy"), came)
    compare(came, opening, measured)


def resume(contestant: Contestant, opening: Opening, measured: Measured, *, to_the_end: bool) -> None:
    """Go on from the state that was kept half-way."""
    step, opening.state = pickle.loads(opening.state_path.read_bytes())
    keys = []

    def take(_: Reading, __: int, batch: dict[str, Any]) -> bool:
        keys.append(keys_of(batch) if to_the_end else [])
        return not to_the_end

    run_epoch(contestant, opening, measured, take)
    if to_the_end:
        before = np.load(opening.state_path.with_suffix(".npy"))
        first, came = step * BATCH_SIZE, np.concatenate(keys)
        measured.is_same = np.array_equal(came, before[first:])
        compare(np.concatenate([before[:first], came]), opening, measured)


def keys_of(batch: dict[str, Any]) -> Any:
    assert all(batch[name].dtype.itemsize == 8 for name in ("input_ids", "sequence_id")), "not int64"
    return row_keys(batch["input_ids"].numpy(), batch["sequence_id"].numpy())


def compare(came: Any, opening: Opening, measured: Measured) -> None:
    expected = np.load(opening.folder / "raw" / "keys.npy")
    distinct, counts = np.unique(came, return_counts=True)
    assert np.isin(distinct, expected).all(), "rows came that were not written"
    measured.lost, measured.again = len(expected) - len(distinct), int((counts - 1).sum())


def main() -> None:
    mode, *rest = sys.argv[1:]
    if mode == "absent":
        needed = {module for contestant in READERS.values() for module in contestant.needs}
        print(json.dumps(sorted(module for module in needed if find_spec(module.partition(".")[0]) is None)))
        return
    name, *rest = rest
    num_workers = 0 if mode == "write" else int(rest.pop(0))
    folder, num_rows, length, *more = rest
    shape = (int(num_rows), int(length))
    if mode == "write":
        STORES[name](Path(folder) / name, shape, Path(folder))
        return
    contestant = READERS[name]
    for module in contestant.needs:
        importlib.import_module(module)
    opening = Opening(
        folder=Path(folder),
        store=contestant.store,
        shape=shape,
        num_workers=num_workers,
        is_narrow=contestant.is_narrow,
        state_path=Path(folder) / f"state-{list(READERS).index(name)}-{num_workers}.bin",
    )
    measured = Measured()
    if mode == "resume":
        resume(contestant, opening, measured, to_the_end=bool(more))
    else:
        {"speed": speed, "check": check}[mode](contestant, opening, measured)
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main()
