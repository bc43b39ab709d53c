"""Laws of the table of open row groups."""

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.ragged import ramps
from pipeline.formats.shards import RowGroup
from pipeline.streaming.recycled_memory import RecycledMemory
from pipeline.streaming.row_groups import SEGMENT_COLUMNS, RowGroupTable

LENGTH = 5


def make_group(seed: int, counts: list[int]) -> RowGroup:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return RowGroup(
        input_ids=rng.integers(0, 255, (len(counts), LENGTH)).astype(np.uint8),
        lengths=rng.integers(1, 9, offsets[-1]).astype(np.uint32),
        row_offsets=offsets,
        record_keys=rng.integers(0, 2**63, offsets[-1]).astype(np.uint64),
        starts=rng.integers(0, 99, offsets[-1]).astype(np.uint32),
        accessions=None,
        sequence_id=None,
    )


def make_table(num_slots: int, rows_per_group: int) -> RowGroupTable:
    return RowGroupTable(
        num_slots,
        rows_per_group=rows_per_group,
        length=LENGTH,
        dtype=np.uint8,
        columns=SEGMENT_COLUMNS,
        memory=RecycledMemory(),
    )


@given(runs=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 5)), max_size=8))
def test_ramps_are_the_ranges_one_after_another(runs: list[tuple[int, int]]) -> None:
    starts, counts = (np.array([run[i] for run in runs], dtype=np.int64) for i in (0, 1))
    assert ramps(counts, starts).tolist() == [i for start, count in runs for i in range(start, start + count)]


groups = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=7), min_size=1, max_size=5)


@given(groups=groups, data=st.data())
def test_rows_come_out_as_they_went_in(groups: list[list[int]], data: st.DataObject) -> None:
    table = make_table(len(groups), 7)
    made, orders = [], []
    for slot, counts in enumerate(groups):
        table.fill(slot, make_group(99, [6] * 7), np.arange(7))  # what was there before must not show
        made.append(make_group(slot, counts))
        orders.append(np.array(data.draw(st.permutations(range(len(counts))))))
        table.fill(slot, made[slot], orders[slot])
    wanted = data.draw(
        st.lists(
            st.integers(-1, len(groups) - 1).flatmap(
                lambda slot: st.tuples(st.just(slot), st.integers(0, max(0, len(groups[slot]) - 1) if slot >= 0 else 3))
            ),
            max_size=12,
        )
    )
    slots, offsets = (np.array([want[i] for want in wanted], dtype=np.int64) for i in (0, 1))
    rows = table.gather(slots, offsets, pad_id=77)
    assert rows.input_ids.shape == (len(wanted), LENGTH)
    for row, (slot, offset) in enumerate(wanted):
        own = slice(rows.row_offsets[row], rows.row_offsets[row + 1])
        if slot < 0:
            assert np.all(rows.input_ids[row] == 77)
            assert own.start == own.stop
            continue
        source, number = made[slot], orders[slot][offset]
        assert np.array_equal(rows.input_ids[row], source.input_ids[number])
        there = slice(source.row_offsets[number], source.row_offsets[number + 1])
        for name in SEGMENT_COLUMNS:
            assert np.array_equal(rows.segments[name][own], getattr(source, name)[there])


def test_threads_fill_slots_while_the_table_grows() -> None:
    num_slots = 64
    table = make_table(num_slots, 8)
    made = [make_group(slot, [1 + slot] * 8) for slot in range(num_slots)]
    barrier = threading.Barrier(4)

    def fill(first: int) -> None:
        barrier.wait()
        for slot in range(first, num_slots, 4):
            table.fill(slot, made[slot], np.arange(8))

    threads = [threading.Thread(target=fill, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = table.gather(np.arange(num_slots), np.zeros(num_slots, dtype=np.int64), pad_id=0)
    for slot in range(num_slots):
        own = slice(rows.row_offsets[slot], rows.row_offsets[slot + 1])
        assert np.array_equal(rows.segments["record_keys"][own], made[slot].record_keys[: slot + 1])
