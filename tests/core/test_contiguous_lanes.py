"""Lanes that read on: every row once, place j at rows jS + k, and when a row group is needed last."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.contiguous_lanes import ContiguousLanes

SIZES = st.tuples(st.integers(1, 200), st.integers(1, 40))


@given(SIZES)
def test_every_row_comes_once(sizes):
    num_rows, global_batch = sizes
    lanes = ContiguousLanes(num_rows, global_batch)
    positions = np.arange(num_rows)
    rows = lanes.stream(positions)
    assert sorted(rows.tolist()) == list(range(num_rows))
    assert np.array_equal(lanes.positions(rows), positions)


@given(SIZES)
def test_place_j_of_the_global_batch_reads_rows_js_plus_k(sizes):
    num_rows, global_batch = sizes
    steps = num_rows // global_batch
    lanes = ContiguousLanes(num_rows, global_batch)
    for k in range(steps):
        rows = lanes.stream(np.arange(k * global_batch, (k + 1) * global_batch))
        assert rows.tolist() == [j * steps + k for j in range(global_batch)]
    assert lanes.stream(np.arange(steps * global_batch, num_rows)).tolist() == list(
        range(steps * global_batch, num_rows)
    )


@given(SIZES, st.data())
def test_the_last_position_is_that_of_the_rows_one_by_one(sizes, data):
    num_rows, global_batch = sizes
    lanes = ContiguousLanes(num_rows, global_batch)
    start = data.draw(st.integers(0, num_rows - 1))
    end = data.draw(st.integers(start + 1, num_rows))
    mine = np.array(data.draw(st.lists(st.booleans(), min_size=global_batch, max_size=global_batch)))
    taken = [p for p in lanes.positions(np.arange(start, end)).tolist() if mine[p % global_batch]]
    assert lanes.last_position(start, end, mine) == max(taken, default=-1)
