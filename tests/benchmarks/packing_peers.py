"""Packers of others, each called as a user would call it; see packing_contestants.py."""

from collections.abc import Callable, Generator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
from packing_published import Packed, deal_by_length, first_fit_scan, first_fit_sums, pack_histogram

from pipeline.core.packing import length_histogram

Lengths = npt.NDArray[np.uint32]
Run = Generator[None, None, Packed]
FEW = 1000
"""Items of the first run, which does not count."""
AXOLOTL_GROUP = 100_000
AXOLOTL_MOST_ITEMS = 200
"""Both by default."""
GRAIN_BINS = 64
TRL_BATCH = 1000
"""By default, of ``Dataset.map``."""


def graphcore(*, longest_first: bool) -> Callable[[Lengths, int, int], Run]:
    def run(lengths: Lengths, capacity: int, scale: int) -> Run:
        length_histogram(lengths[:FEW], capacity)
        yield
        packed = pack_histogram(length_histogram(lengths, capacity) * scale, capacity, longest_first=longest_first)
        yield
        return packed

    return run


def graphcore_dealt(lengths: Lengths, capacity: int, _: int) -> Run:
    length_histogram(lengths[:FEW], capacity)
    yield
    packed = pack_histogram(length_histogram(lengths, capacity), capacity, longest_first=True)
    packed = deal_by_length(packed, lengths)
    yield
    return packed


def trl(strategy: str, *, is_whole: bool) -> Callable[[Lengths, int, int], Run]:
    """All lengths as one batch, or a thousand at a time. It moves the tokens too: of one byte, to be kind."""

    def run(lengths: Lengths, capacity: int, _: int) -> Run:
        import pyarrow as pa
        from datasets import Dataset, disable_progress_bars
        from trl import pack_dataset

        disable_progress_bars()
        begin = np.cumsum(lengths, dtype=np.int64) - lengths
        tokens = np.zeros(int(lengths.sum()), dtype=np.uint8)
        marks = begin[:, None] + np.arange(4)  # the number of an item is its first four tokens
        tokens[marks] = np.arange(len(lengths), dtype="<u4").view(np.uint8).reshape(-1, 4)
        offsets = np.append(begin, len(tokens)).astype(np.int32)
        dataset = Dataset(pa.table({"input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(tokens))}))
        batch_size = len(lengths) if is_whole else TRL_BATCH
        yield
        packed = pack_dataset(dataset, capacity, strategy=strategy, map_kwargs={"batch_size": batch_size})
        yield
        rows = packed.data.column("seq_lengths").combine_chunks()
        sizes = rows.flatten().to_numpy().astype(np.int64)
        tokens = packed.data.column("input_ids").combine_chunks().flatten().to_numpy()
        marks = (np.cumsum(sizes) - sizes)[:, None] + np.arange(4)
        items = np.ascontiguousarray(tokens[marks]).view("<u4").ravel()
        return Packed(members=items, offsets=ends_to_offsets(rows.value_lengths().to_numpy()))

    return run


def seqpacker(strategy: str) -> Callable[[Lengths, int, int], Run]:
    def run(lengths: Lengths, capacity: int, _: int) -> Run:
        from seqpacker import Packer as RustPacker

        packer, wide = RustPacker(capacity=capacity, strategy=strategy), lengths.astype(np.int64)
        packer.pack_flat(wide[:FEW])
        yield
        items, borders = packer.pack_flat(wide)
        yield
        return Packed(members=items, offsets=np.unique(np.concatenate(([0], borders, [len(items)]))))

    return run


def axolotl(lengths: Lengths, capacity: int, _: int) -> Run:
    import numba

    first_fit: Any = numba.njit(first_fit_scan)
    wide = lengths.astype(np.int64)
    bin_of_item = np.empty(len(lengths), dtype=np.int64)
    first_fit(wide[:FEW], capacity, AXOLOTL_MOST_ITEMS, bin_of_item)
    yield
    num_bins = 0
    for begin in range(0, len(wide), AXOLOTL_GROUP):
        group = slice(begin, begin + AXOLOTL_GROUP)
        group_bins = first_fit(wide[group], capacity, AXOLOTL_MOST_ITEMS, bin_of_item[group])
        bin_of_item[group] += num_bins
        num_bins += group_bins
    yield
    return packed_bins(bin_of_item)


def axolotl_sorted(lengths: Lengths, capacity: int, _: int) -> Run:
    """All in one group, longest first, any number in a row: then it is first-fit decreasing."""
    import numba

    first_fit: Any = numba.njit(first_fit_scan)
    wide = lengths.astype(np.int64)
    bin_of_item, bin_of_sorted = np.empty((2, len(lengths)), dtype=np.int64)
    first_fit(wide[:FEW], capacity, len(wide), bin_of_item)
    yield
    order = np.argsort(wide)[::-1]
    first_fit(wide[order], capacity, len(wide), bin_of_sorted)
    bin_of_item[order] = bin_of_sorted
    yield
    return packed_bins(bin_of_item)


def nemo(lengths: Lengths, capacity: int, _: int) -> Run:
    yield
    order = np.argsort(lengths, kind="stable")[::-1]
    bins = first_fit_sums(lengths[order].tolist(), capacity)
    yield
    bin_of_item = np.empty(len(lengths), dtype=np.int64)
    bin_of_item[order] = bins
    return packed_bins(bin_of_item)


class TokenSource:
    """What grain reads from: every token of an item is its number."""

    def __init__(self, lengths: Lengths) -> None:
        self.lengths = lengths.tolist()

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, item: SupportsIndex) -> dict[str, Any]:
        return {"tokens": np.full(self.lengths[item], item, dtype=np.int32)}


def grain(lengths: Lengths, capacity: int, _: int) -> Run:
    """First fit into 64 open rows, in order; it makes and moves the tokens too."""
    from grain import MapDataset, ReadOptions, experimental

    source = MapDataset.source(TokenSource(lengths)).to_iter_dataset(ReadOptions(num_threads=0))
    packed = experimental.FirstFitPackIterDataset(
        source, length_struct={"tokens": capacity}, num_packing_bins=GRAIN_BINS
    )
    yield
    rows = [row["tokens"][(row["tokens_positions"] == 0) & (row["tokens_segment_ids"] > 0)] for row in packed]
    yield
    return Packed(members=np.concatenate(rows), offsets=ends_to_offsets(np.array([len(row) for row in rows])))


def packed_bins(bin_of_item: npt.NDArray[np.int64]) -> Packed:
    return Packed(members=np.argsort(bin_of_item, kind="stable"), offsets=offsets_of(bin_of_item))


def offsets_of(row: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    return ends_to_offsets(np.bincount(row))


def ends_to_offsets(sizes: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
