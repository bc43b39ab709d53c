"""Readers of others, each called as a careful user would call it; see reading_contestants.py.

All give shuffled batches of torch tensors. Where a reader takes a function for collating, it makes the batch there, in
its worker if there is one.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from reading_ours import BATCH_SIZE, COLUMNS, SEED, Batch, Opening, Reading, as_batch, loaded, worker
from reading_stores import split_rows


def collate_joined(rows: Sequence[Any], *, is_narrow: bool) -> Batch:
    """Of uint8 rows that hold tokens and sequence ids."""
    tokens, ids = split_rows(np.stack(rows))
    return as_batch(np.ascontiguousarray(tokens), ids, is_narrow=is_narrow)


def collate_columns(rows: Sequence[Batch], *, is_narrow: bool) -> Batch:
    tokens, ids = (np.stack([row[name] for row in rows]) for name in COLUMNS)
    return as_batch(tokens, ids, is_narrow=is_narrow)


def litdata(opening: Opening) -> Reading:
    from litdata import StreamingDataLoader, StreamingDataset, TokensLoader

    dataset = StreamingDataset(
        str(opening.path),
        item_loader=TokensLoader(block_size=3 * opening.shape[1]),
        shuffle=True,
        seed=SEED,
        drop_last=False,
    )
    loader = StreamingDataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        num_workers=opening.num_workers,
        collate_fn=partial(collate_joined, is_narrow=opening.is_narrow),
    )
    if opening.state:
        loader.load_state_dict(opening.state)
    return Reading(batches=loader, state=lambda _: loader.state_dict())


def mosaicml(opening: Opening) -> Reading:
    from streaming import StreamingDataLoader, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()  # its documentation says so, where another process was killed
    dataset = StreamingDataset(local=str(opening.path), shuffle=True, shuffle_seed=SEED, batch_size=BATCH_SIZE)
    loader = StreamingDataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        num_workers=opening.num_workers,
        collate_fn=partial(collate_columns, is_narrow=opening.is_narrow),
    )
    if opening.state:
        loader.load_state_dict(opening.state)
    return Reading(batches=loader, state=lambda _: loader.state_dict())


def web_dataset(opening: Opening) -> Reading:
    from torch.utils.data import DataLoader
    from webdataset import WebDataset

    def decoded(sample: dict[str, Any]) -> Any:
        return np.frombuffer(sample["bin"], dtype=np.uint8)

    dataset = (
        WebDataset(
            [str(path) for path in sorted(opening.path.glob("*.tar"))], shardshuffle=100, seed=SEED, empty_check=False
        )
        .shuffle(1000)
        .map(decoded)
        .batched(BATCH_SIZE, collation_fn=partial(collate_joined, is_narrow=opening.is_narrow))
    )
    return Reading(batches=DataLoader(dataset, batch_size=None, num_workers=opening.num_workers))


def grain(opening: Opening) -> Reading:
    from array_record.python.array_record_data_source import ArrayRecordDataSource
    from grain import MapDataset, MultiprocessingOptions

    def decoded(record: bytes) -> Any:
        return np.frombuffer(record, dtype=np.uint8)

    paths = [str(path) for path in sorted(opening.path.glob("*.array_record"))]
    rows = MapDataset.source(ArrayRecordDataSource(paths)).shuffle(seed=SEED).map(decoded)
    dataset = rows.batch(BATCH_SIZE, batch_fn=partial(arrays_of_joined, is_narrow=opening.is_narrow)).to_iter_dataset()
    if opening.num_workers:
        dataset = dataset.mp_prefetch(MultiprocessingOptions(num_workers=opening.num_workers))
    arrays = iter(dataset)
    if opening.state:
        arrays.set_state(opening.state)
    return Reading(batches=tensors_of(arrays), state=lambda _: arrays.get_state())


def arrays_of_joined(rows: Sequence[Any], *, is_narrow: bool) -> Batch:
    """grain moves arrays between processes, no tensors."""
    return {name: value.numpy() for name, value in collate_joined(rows, is_narrow=is_narrow).items()}


def tensors_of(batches: Iterator[Batch]) -> Iterator[Batch]:
    import torch

    for batch in batches:
        yield {name: torch.from_numpy(np.asarray(value)) for name, value in batch.items()}


def hugging_face_map(opening: Opening) -> Reading:
    """Each batch in one access, its rows drawn here: several times faster than a row at a time."""
    from datasets import load_from_disk

    dataset = load_from_disk(str(opening.path)).with_format("numpy")
    is_narrow, first_step = opening.is_narrow, opening.state or 0

    class Batches:
        def __iter__(self) -> Iterator[Batch]:
            number, num_workers = worker()
            order = np.random.default_rng(SEED).permutation(len(dataset))
            for first in range((first_step + number) * BATCH_SIZE, len(order), num_workers * BATCH_SIZE):
                rows = dataset[order[first : first + BATCH_SIZE]]
                tokens, ids = (np.ascontiguousarray(rows[name]) for name in COLUMNS)
                yield as_batch(tokens, ids, is_narrow=is_narrow)

    return Reading(batches=loaded(Batches(), opening), state=lambda step: step)


def hugging_face_streaming(opening: Opening) -> Reading:
    from datasets import load_dataset
    from torch.utils.data import DataLoader

    paths = [str(path) for path in sorted(opening.path.glob("*.parquet"))]
    dataset = load_dataset("parquet", data_files=paths, split="train", streaming=True)
    dataset = dataset.shuffle(seed=SEED, buffer_size=1000).with_format("numpy")
    if opening.state:
        dataset.load_state_dict(opening.state)
    batches = DataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        num_workers=opening.num_workers,
        collate_fn=partial(collate_columns, is_narrow=opening.is_narrow),
    )
    # Copies in workers have states of their own, which a loader of torch does not hand back.
    return Reading(batches=batches, state=None if opening.num_workers else lambda _: dataset.state_dict())
