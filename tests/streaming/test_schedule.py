"""Laws of the schedule: the right rows in order, and row groups open just while they are needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.group_index import StoredGroups
from pipeline.core.ordering import EpochOrder
from pipeline.core.steps import PADDING, TAILS, Steps
from pipeline.streaming.schedule import Schedule

file_rows = st.lists(st.one_of(st.integers(0, 40), st.integers(0, 900)), min_size=1, max_size=5).filter(any)


@given(
    rows=file_rows,
    rows_per_group=st.integers(1, 40),
    shuffle=st.booleans(),
    tail=st.sampled_from(sorted(TAILS)),
    batch_size=st.integers(1, 20),
    rows_per_block=st.integers(1, 200),
    data=st.data(),
)
def test_blocks_are_the_wanted_steps_with_their_row_groups_open(  # noqa: PLR0917
    rows: list[int],
    rows_per_group: int,
    shuffle: bool,
    tail: str,
    batch_size: int,
    rows_per_block: int,
    data: st.DataObject,
) -> None:
    order = EpochOrder(StoredGroups(rows, rows_per_group), fingerprint="f", seed=0, epoch=0, shuffle=shuffle)
    world_size = data.draw(st.integers(1, 8))
    steps = Steps(num_rows=sum(rows), batch_size=batch_size, tail=tail, rank=world_size - 1, world_size=world_size)
    wanted = range(data.draw(st.integers(0, len(steps))), len(steps), data.draw(st.integers(1, 4)))
    schedule = Schedule(order, steps, wanted, rows_per_block=rows_per_block)
    open_groups: set[int] = set()
    opened, done = [], []
    for block in schedule:
        done += block.steps.tolist()
        for group in block.opens:
            assert group.place not in open_groups
            assert group[1:] == tuple(int(value) for value in order.groups_at(group.place))
        opened += [group.place for group in block.opens]
        open_groups |= {group.place for group in block.opens}
        assert len(open_groups) <= schedule.max_open
        assert {*block.places.tolist()} - {PADDING} <= open_groups
        positions = steps.positions(block.steps).reshape(-1)
        is_row = positions != PADDING
        place, offset = order.places(positions[is_row])
        assert np.array_equal(block.places[block.which][is_row], place)
        assert np.array_equal(block.offset[is_row], offset)
        assert np.all(block.places[block.which][~is_row] == PADDING)
        assert len(block.steps) == 1 or len(block.which) <= rows_per_block
        open_groups -= set(block.closes)
    assert done == list(wanted)
    assert not open_groups
    if tail != "repeat":
        assert len(opened) == len(set(opened))


@pytest.mark.parametrize(("world_size", "num_lanes"), [(1, 192), (3, 64), (8, 24), (64, 3), (5, 192)])
def test_a_rank_holds_one_row_group_a_lane(world_size: int, num_lanes: int) -> None:
    order = EpochOrder(StoredGroups([20_000, 10_011], 16), fingerprint="f", seed=0, epoch=0)
    steps = Steps(num_rows=order.num_rows, batch_size=4, tail="drop", world_size=world_size)
    schedule = Schedule(order, steps, range(len(steps)), rows_per_block=16)
    assert schedule.max_open == num_lanes + 4
    open_groups, most = 0, 0
    for block in schedule:
        open_groups += len(block.opens)
        most = max(most, open_groups)
        open_groups -= len(block.closes)
    assert most > 0.8 * num_lanes


@pytest.mark.parametrize(("num_workers", "lanes"), [(2, 96), (3, 64), (5, 192)])
def test_workers_share_the_lanes_where_batches_leave_them_apart(num_workers: int, lanes: int) -> None:
    order = EpochOrder(StoredGroups([20_000], 16), fingerprint="f", seed=0, epoch=0)
    steps = Steps(num_rows=20_000, batch_size=32, tail="drop")
    schedule = Schedule(order, steps, range(1, len(steps), num_workers), rows_per_block=512)
    assert schedule.max_open == lanes + 32


def test_the_first_blocks_are_small() -> None:
    order = EpochOrder(StoredGroups([20_000], 16), fingerprint="f", seed=0, epoch=0)
    steps = Steps(num_rows=20_000, batch_size=32, tail="drop")
    sizes = [len(block.steps) for block in Schedule(order, steps, range(len(steps)), rows_per_block=512)]
    assert sizes[:6] == [1, 2, 4, 8, 16, 16]
