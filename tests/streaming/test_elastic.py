"""Laws 4 to 6 with real processes: gloo groups that stop, shrink, grow, and take the batch that was due."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from pipeline.core.group_index import StoredGroups
from pipeline.core.lanes import NUM_LANES
from pipeline.core.ordering import EpochOrder
from pipeline.core.steps import Steps
from pipeline.streaming.reader import PackedReader
from pipeline.streaming.schedule import Schedule

SCRIPT = Path(__file__).with_name("gloo_ranks.py")
IDENTITY = ("record_keys", "row_offsets", "num_sequences")
NUM_TRAIN = 101

RowIds = Callable[[dict[str, Any]], list[int]]
Run = Callable[..., list[list[dict[str, Any]]]]


@pytest.fixture
def run(tmp_path: Path, shards: Path) -> Run:
    """Runs phases one after another; the steps of each as its first rank wrote them."""

    def job(*phases: dict[str, Any], afresh: bool = False) -> list[list[dict[str, Any]]]:
        folder = tmp_path / "job"
        folder.mkdir()
        document = {"shards": str(shards), "folder": str(folder), "phases": phases, "afresh": afresh}
        (folder / "job.json").write_text(json.dumps(document))
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(SCRIPT), str(folder / "job.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=one_thread)
        assert done.returncode == 0, done.stderr[-2000:]
        for number in range(len(phases)):  # law 6, whatever else is tested
            assert len({path.read_text() for path in folder.glob(f"steps-{number}-*")}) == 1
        logs = [(folder / f"phase-{number}.jsonl").read_text() for number in range(len(phases))]
        return [[json.loads(line) for line in log.splitlines()] for log in logs]

    return job


def rows_of(steps: list[dict[str, Any]]) -> list[int]:
    return list(chain.from_iterable(step["rows"] for step in steps))


@pytest.fixture(scope="session")
def order(shards: Path, row_ids: RowIds) -> list[list[int]]:
    """All rows of three epochs, in the order of a single reader with batches of 1."""
    reader = PackedReader(shards, batch_size=1, columns=IDENTITY, threads=1)
    return [[row for batch in reader for row in row_ids(batch)] for _ in range(3)]


def test_a_global_batch_does_not_depend_on_who_shares_it(run: Run, order: list[list[int]]) -> None:
    """Law 4: 12 rows a step, from 1, 2, 3, 4 and 6 ranks, with and without loader workers."""
    worlds = [(4, 0), (1, 0), (2, 2), (3, 0), (4, 2), (6, 0)]
    phases = [{"world_size": size, "batch_size": 12 // size, "num_workers": workers} for size, workers in worlds]
    found = run(*phases, afresh=True)
    assert rows_of(found[0]) == order[0] + [-1] * 7
    assert all(steps == found[0] for steps in found)


def test_a_run_goes_on_with_the_batch_that_was_due(run: Run, order: list[list[int]]) -> None:
    """Law 5: half the ranks, other batch sizes, workers and accumulation; every row of two epochs once."""
    phases = [
        {"world_size": 4, "batch_size": 3, "num_workers": 2, "steps": 3},  # 36 rows
        {"world_size": 2, "batch_size": 3, "accumulation": 2, "steps": 4},  # 24: half the ranks, twice the accumulation
        {"world_size": 1, "batch_size": 5, "num_workers": 2, "steps": 2},  # 10
        {"world_size": 7, "batch_size": 2, "steps": 1},  # 14: 84 so far
        {"world_size": 3, "batch_size": 4, "num_workers": 2, "epochs": 2},  # to the end of the next epoch
    ]
    found = run(*phases)
    rows = list(chain.from_iterable(rows_of(steps) for steps in found))
    assert [len(rows_of(steps)) for steps in found] == [36, 24, 10, 14, 24 + 108]
    assert rows == [*order[0], *[-1] * 7, *order[1], *[-1] * 7]


def test_accumulated_batches_are_never_torn_apart(run: Run, order: list[list[int]]) -> None:
    """A run that stops between two updates goes on behind the last update, and gives the rest again."""
    first, second = run(
        {"world_size": 2, "batch_size": 4, "accumulation": 3, "steps": 5},
        {"world_size": 4, "batch_size": 2, "accumulation": 3, "num_workers": 1},
    )
    assert rows_of(first) == order[0][:40]
    assert rows_of(first[:3]) + rows_of(second) == order[0] + [-1] * 3


def test_all_ranks_take_the_same_steps_to_the_end_of_every_epoch(run: Run, order: list[list[int]]) -> None:
    """Law 6: a rank with a step more or less would leave the others waiting in all_gather."""
    tails: dict[str, list[list[int]]] = {
        "repeat": [epoch[:7] for epoch in order],
        "pad": [[-1] * 7] * 3,
        "drop": [[]] * 3,
    }
    found = run(
        *({"world_size": 4, "batch_size": 3, "tail": tail, "epochs": 3} for tail in ("repeat", "pad")),
        {"world_size": 4, "batch_size": 3, "tail": "drop", "epochs": 3, "num_workers": 2},
        afresh=True,
    )
    for (tail, ends), steps in zip(tails.items(), found, strict=True):
        kept = 96 if tail == "drop" else NUM_TRAIN
        assert len(steps) == 3 * (8 if tail == "drop" else 9)
        for epoch, end in enumerate(ends):
            rows = rows_of([step for step in steps if step["epoch"] == epoch])
            assert rows == order[epoch][:kept] + end


def test_a_tail_fills_steps_that_have_rows_for_some_ranks_only(run: Run) -> None:
    """19 rows of valid for 6 ranks: in the last step some ranks have padding alone."""
    found = run({"world_size": 6, "batch_size": 3, "split": "valid"})[0]
    assert Counter(rows_of(found)) == Counter([*range(19), *[-1] * 17])


@pytest.mark.parametrize("world_size", [size for size in range(1, 65) if NUM_LANES % size == 0])
def test_ranks_open_little_more_than_they_use(world_size: int) -> None:
    """What all ranks read is at most 1.1 times the row groups there are, if those are some thousands."""
    rows = [10_000, 10_011, 20_000]
    order = EpochOrder(StoredGroups(rows, 16), fingerprint="f", seed=0, epoch=0)
    opened = 0
    for rank in range(world_size):
        steps = Steps(num_rows=sum(rows), batch_size=8, tail="pad", rank=rank, world_size=world_size)
        schedule = Schedule(order, steps, range(len(steps)), rows_per_block=512)
        opened += sum(len(block.opens) for block in schedule)
    assert order.num_groups <= opened <= 1.1 * order.num_groups
