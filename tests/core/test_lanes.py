"""Laws of the lanes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.lanes import NUM_LANES, Lanes

lane_counts = st.sampled_from([1, NUM_LANES])


@given(num_rows=st.integers(1, 5000), num_lanes=lane_counts)
def test_every_row_has_one_position_and_back(num_rows: int, num_lanes: int) -> None:
    lanes = Lanes(num_rows, num_lanes)
    positions = np.arange(num_rows)
    stream = lanes.stream(positions)
    assert np.array_equal(np.sort(stream), positions)
    assert np.array_equal(lanes.positions(stream), positions)


@given(num_rows=st.integers(1, 5000))
def test_one_lane_is_the_stream_as_it_is(num_rows: int) -> None:
    assert np.array_equal(Lanes(num_rows, 1).stream(np.arange(num_rows)), np.arange(num_rows))


@given(num_rows=st.integers(NUM_LANES, 5000))
def test_each_lane_walks_through_one_stretch_of_the_stream(num_rows: int) -> None:
    stream = Lanes(num_rows).stream(np.arange(num_rows))
    for lane in range(NUM_LANES):
        steps = np.diff(stream[lane::NUM_LANES])
        assert np.all(steps == 1) or np.all(steps == -1)


@given(num_rows=st.integers(NUM_LANES, 5000))
def test_neighbours_in_the_stream_are_read_at_the_same_time_across_a_cut_too(num_rows: int) -> None:
    turn = Lanes(num_rows).positions(np.arange(num_rows)) // NUM_LANES
    assert np.abs(np.diff(turn)).max() <= 1


@pytest.mark.parametrize("world_size", [1, 2, 4, 8, 16, 32, 64])
def test_the_lanes_of_a_rank_are_neighbours_in_the_stream(world_size: int) -> None:
    num_rows = 40 * NUM_LANES
    rank_of_row = Lanes(num_rows).positions(np.arange(num_rows)) % world_size
    assert np.count_nonzero(np.diff(rank_of_row)) == world_size - 1


@given(data=st.data(), num_rows=st.integers(1, 3000), num_lanes=lane_counts)
def test_last_position_is_the_last_one(data: st.DataObject, num_rows: int, num_lanes: int) -> None:
    lanes = Lanes(num_rows, num_lanes)
    start = data.draw(st.integers(0, num_rows - 1))
    end = data.draw(st.integers(start + 1, num_rows))
    chosen = np.array([data.draw(st.booleans()) for _ in range(6)] * 32)[:num_lanes]
    positions = lanes.positions(np.arange(start, end))
    of_chosen = positions[chosen[positions % num_lanes]]
    assert lanes.last_position(start, end, chosen) == (of_chosen.max() if of_chosen.size else -1)
