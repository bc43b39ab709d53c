"""Laws of the steps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.steps import PADDING, TAILS, Steps

rows = st.integers(1, 300)
batch_sizes = st.integers(1, 20)
world_sizes = st.integers(1, 8)
tails = st.sampled_from(sorted(TAILS))


def _world(num_rows: int, batch_size: int, world_size: int, tail: str) -> list[Steps]:
    return [
        Steps(num_rows=num_rows, batch_size=batch_size, tail=tail, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]


def _epoch(steps: Steps) -> np.ndarray:
    return steps.positions(np.arange(len(steps)))


@given(num_rows=rows, batch_size=batch_sizes, world_size=world_sizes, tail=tails)
def test_every_rank_has_the_same_steps_and_the_tail_is_as_named(
    num_rows: int, batch_size: int, world_size: int, tail: str
) -> None:
    ranks = _world(num_rows, batch_size, world_size, tail)
    assert len({len(steps) for steps in ranks}) == 1
    taken = np.concatenate([_epoch(steps).ravel() for steps in ranks])
    counts = np.bincount(taken[taken != PADDING], minlength=num_rows)
    global_batch = batch_size * world_size
    missing = -num_rows % global_batch
    if tail == "pad":
        assert np.all(counts == 1)
        assert np.count_nonzero(taken == PADDING) == missing
    elif tail == "drop":
        assert counts.sum() == num_rows // global_batch * global_batch
        assert np.array_equal(np.sort(taken), np.arange(len(taken)))
    else:
        assert counts.sum() == num_rows + missing
        assert np.array_equal(counts, np.bincount(np.arange(num_rows + missing) % num_rows))


@given(num_rows=rows, per_rank=batch_sizes, world_size=world_sizes, tail=tails)
def test_a_global_batch_is_the_same_for_every_world_that_shares_it(
    num_rows: int, per_rank: int, world_size: int, tail: str
) -> None:
    alone = _world(num_rows, per_rank * world_size, 1, tail)[0]
    together = np.stack([_epoch(steps) for steps in _world(num_rows, per_rank, world_size, tail)], axis=-1)
    assert np.array_equal(together.reshape(len(alone), per_rank * world_size), _epoch(alone))


def test_rows_that_repeat_are_the_first_ones_even_if_they_are_few() -> None:
    steps = Steps(num_rows=3, batch_size=4, tail="repeat", rank=1, world_size=2)
    assert len(steps) == 1
    assert _epoch(steps).tolist() == [[1, 0, 2, 1]]


def test_any_steps_can_be_asked_for() -> None:
    steps = Steps(num_rows=100, batch_size=3, tail="pad", rank=2, world_size=4)
    assert np.array_equal(steps.positions(np.array([5, 2])), _epoch(steps)[[5, 2]])
