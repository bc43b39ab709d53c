"""The package's reader, a memory map and Arrow, as reading_contestants.py opens them; and what a reader gives."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from reading_rows import Shape, open_raw

BATCH_SIZE = 32
COLUMNS = ("input_ids", "sequence_id")
SEED = 0

Batch = dict[str, Any]


@dataclass(kw_only=True)
class Opening:
    """What a reader is opened with."""

    folder: Path
    store: str
    """Folder in ``folder`` with what it reads."""
    shape: Shape
    num_workers: int
    """0: in the trainer's process."""
    is_narrow: bool
    """Leave integers as narrow as they are stored."""
    state_path: Path
    state: Any = None
    """Go on from here."""

    @property
    def path(self) -> Path:
        return self.folder / self.store


@dataclass(kw_only=True)
class Reading:
    """What a reader gives."""

    batches: Iterable[Batch]
    state: Callable[[int], Any] | None = None
    """Where the trainer stands after so many batches; None if the reader cannot tell."""


def widened(batch: Batch) -> Batch:
    """Integers as int64; others stay."""
    import torch

    return {name: batch[name].to(torch.int64) for name in COLUMNS}


def as_batch(tokens: Any, ids: Any, *, is_narrow: bool) -> Batch:
    """Of two arrays [rows, length]."""
    import torch

    batch = {"input_ids": torch.from_numpy(tokens), "sequence_id": torch.from_numpy(ids)}
    return batch if is_narrow else widened(batch)


def loaded(batches: Iterable[Batch], opening: Opening) -> Iterable[Batch]:
    """By torch's loader if there are workers."""
    from torch.utils.data import DataLoader, IterableDataset

    if not opening.num_workers:
        return batches

    class Batches(IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Batch]:
            return iter(batches)

    loader: Iterable[Batch] = DataLoader(Batches(), batch_size=None, num_workers=opening.num_workers)
    return loader


def worker() -> tuple[int, int]:
    """Number of this loader worker, and of how many."""
    from torch.utils.data import get_worker_info

    info = get_worker_info()
    return (info.id, info.num_workers) if info else (0, 1)


class MemoryMap:
    """The limit: nothing to decode, an order held in memory."""

    def __init__(self, opening: Opening) -> None:
        self.tokens, self.ids = open_raw(opening.folder, opening.shape)
        self.first, self.is_narrow = opening.state or 0, opening.is_narrow

    def __iter__(self) -> Iterator[Batch]:
        number, num_workers = worker()
        order = np.random.default_rng(SEED).permutation(len(self.tokens))
        for first in range((self.first + number) * BATCH_SIZE, len(order), num_workers * BATCH_SIZE):
            rows = order[first : first + BATCH_SIZE]
            yield as_batch(self.tokens[rows], self.ids[rows], is_narrow=self.is_narrow)


def memory_map(opening: Opening) -> Reading:
    return Reading(batches=loaded(MemoryMap(opening), opening), state=lambda step: step)


def packed_dataset(opening: Opening) -> Reading:
    from torch.utils.data import DataLoader

    from pipeline.streaming.dataset import PackedDataset

    dataset = PackedDataset(
        opening.path,
        seed=SEED,
        rank=0,
        world_size=1,
        batch_size=BATCH_SIZE,
        columns=COLUMNS,
        compact=opening.is_narrow,
    )
    if opening.state:
        dataset.load_state_dict(opening.state)
    if not opening.num_workers:
        return Reading(batches=dataset, state=lambda _: dataset.state_dict())
    batches = DataLoader(dataset, batch_size=None, num_workers=opening.num_workers)
    return Reading(batches=batches, state=dataset.state_at)


def decode_only(opening: Opening) -> Reading:
    """Two threads decode what the reader decodes, one row group after another, and nothing is made of it."""
    import torch

    from pipeline.formats.shards import ShardFile

    files = [ShardFile(path) for path in sorted(opening.path.glob("data/*.parquet"))]
    groups = [(file, group) for file in files for group in range(len(file.rows_of_groups))]

    def decode(place: tuple[ShardFile, int]) -> Batch:
        return {"input_ids": torch.from_numpy(place[0].read_columns(place[1], ("input_ids", "lengths")).input_ids)}

    def batches() -> Iterator[Batch]:
        with ThreadPoolExecutor(2) as pool:
            rest = iter(groups)
            waiting = [pool.submit(decode, place) for place in islice(rest, 8)]
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(decode, place) for place in islice(rest, 1)]

    return Reading(batches=batches())


def parquet_batches(opening: Opening) -> Reading:
    """The same shards in the order in which they are stored; worker w takes every so many-th file."""
    import pyarrow.parquet as pq

    paths = sorted(opening.path.glob("data/*.parquet"))
    length = opening.shape[1]

    class Batches:
        def __iter__(self) -> Iterator[Batch]:
            number, num_workers = worker()
            for path in paths[number::num_workers]:
                for batch in pq.ParquetFile(path).iter_batches(BATCH_SIZE, columns=list(COLUMNS)):
                    tokens, ids = (batch.column(name).flatten().to_numpy().reshape(-1, length) for name in COLUMNS)
                    yield as_batch(tokens, ids, is_narrow=False)

    return Reading(batches=loaded(Batches(), opening))
