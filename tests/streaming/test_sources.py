"""Several datasets: as successive epochs, and mixed by weight, with the laws of order and resume."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from pipeline.core.tokenizer import load_tokenizer
from pipeline.errors import ConfigurationError, StateError
from pipeline.streaming.reader import PackedReader

COLUMNS = ("input_ids", "record_keys", "row_offsets", "num_sequences")
SECOND = 500_000
"""Rows of the second dataset are numbered from here on."""


@pytest.fixture(scope="module")
def folders(write_shards, tmp_path_factory):
    """Two datasets, of 101 and of 330 rows."""
    folder = tmp_path_factory.mktemp("several")
    first = write_shards(folder / "first", {"train": [29, 8, 0, 21, 3, 40]})
    return first, write_shards(folder / "second", {"train": [300, 30]}, first_key=SECOND, layout="binary")


def reader(path, **options):
    return PackedReader(path, **{"batch_size": 8, "columns": COLUMNS, **options})


@pytest.fixture
def batches(row_ids):
    def batches(made, number=None):
        return [row_ids(batch) for batch in (made if number is None else islice(made, number))]

    return batches


def flat(lists):
    return [one for part in lists for one in part]


def test_a_list_of_folders_is_successive_epochs(folders, batches):
    made = reader(list(folders), tail="pad")
    alone = [reader(folder, tail="pad", epoch=epoch) for epoch, folder in enumerate([*folders, *folders])]
    for epoch in range(4):
        assert made.epoch == epoch
        assert len(made) == len(alone[epoch])
        assert made.num_rows == alone[epoch].num_rows
        assert batches(made) == batches(alone[epoch])


def test_successive_epochs_are_resumed_also_when_the_list_has_grown(folders, batches, write_shards, tmp_path):
    first, second = folders
    third = write_shards(tmp_path / "third", {"train": [64]}, first_key=2 * SECOND)
    made = reader([first, second])
    batches(made)
    taken = batches(made, 5)
    state = made.state_dict()
    grown = reader([first, second, third])
    grown.load_state_dict(state)
    rest = batches(grown)
    assert taken + rest == batches(reader(second, epoch=1))
    assert sorted(set(flat(batches(grown)))) == list(range(2 * SECOND, 2 * SECOND + 64))
    with pytest.raises(StateError, match="fingerprint"):
        reader([second, first]).load_state_dict(state)


@pytest.mark.parametrize("weights", [(1, 1), (0.2, 0.8), (3, 1)])
def test_a_mixture_has_so_much_of_each(folders, batches, weights):
    made = reader(dict(zip(folders, weights, strict=True)), batch_size=1)
    rows = flat(flat(batches(made)) for _ in range(6))
    share = np.mean([row < SECOND for row in rows])
    assert share == pytest.approx(weights[0] / sum(weights), abs=0.08)  # row groups here are short, and few
    # Every dataset is gone through before any of its rows comes again.
    for counts in (Counter(row for row in rows if row < SECOND), Counter(row for row in rows if row >= SECOND)):
        assert max(counts.values()) - min(counts.values()) <= 1
    assert rows[:80] != sorted(rows[:80])


def test_datasets_are_mixed_within_an_epoch_not_one_after_the_other(folders, batches):
    made = batches(reader(dict.fromkeys(folders, 1), batch_size=16, tail="drop"))
    assert all({row < SECOND for row in batch} == {True, False} for batch in made)


def test_a_mixture_is_the_same_for_every_world_and_goes_on_in_another(folders, batches, row_ids):
    mixture = dict(zip(folders, (1, 2), strict=True))
    whole = batches(reader(mixture, batch_size=12))
    for world_size in (2, 3, 4):
        ranks = [
            batches(reader(mixture, batch_size=12 // world_size, rank=rank, world_size=world_size))
            for rank in range(world_size)
        ]
        assert [sorted(flat(step)) for step in zip(*ranks, strict=True)] == [sorted(step) for step in whole]
    stopped = reader(mixture, batch_size=6, rank=0, world_size=2)
    batches(stopped, 5)
    going_on = reader(mixture, batch_size=12)
    going_on.load_state_dict(stopped.state_dict())
    assert batches(going_on) == whole[5:]


def test_the_state_of_another_mixture_is_refused(folders):
    state = reader(dict(zip(folders, (1, 2), strict=True))).state_dict()
    reader(dict(zip(folders, (2, 4), strict=True))).load_state_dict(state)  # the same proportions
    with pytest.raises(StateError, match="fingerprint"):
        reader(dict(zip(folders, (1, 1), strict=True))).load_state_dict(state)


def test_accessions_and_keys_come_from_the_right_files(folders):
    for batch in reader(dict.fromkeys(folders, 1), columns=("accessions", "record_keys", "row_offsets")):
        assert batch["accessions"] == [f"P{key}" for key in batch["record_keys"].tolist()]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"length": 32}, "length: expected 24 as in .*first, found 32"),
        ({"rows_per_group": 4}, "rows per group: expected 8 as in .*first, found 4"),
        ({"alignment": 4}, "alignment: expected 1 as in .*first, found 4"),
        ({"tokenizer": "esm3"}, "tokenizer: expected esm2 with 33 tokens as in .*first, found esm3 with"),
    ],
)
def test_rows_that_are_not_alike_cannot_share_a_stream(folders, write_shards, tmp_path, options, told):
    if "tokenizer" in options:
        options = {"tokenizer": load_tokenizer(options["tokenizer"]).document()}
    other = write_shards(tmp_path / "other", {"train": [20]}, **options)
    for paths in ([folders[0], other], {folders[0]: 1, other: 1}):
        with pytest.raises(ConfigurationError, match=told):
            reader(paths)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda first, second: [], "expected a shards folder, a list of them, or weights by folder"),
        (lambda first, second: {first: 1, second: 0}, "expected positive numbers, found 1.0, 0.0"),
        (lambda first, second: {first: 1, second: float("nan")}, "expected positive numbers"),
    ],
)
def test_what_is_no_source_is_refused(folders, make, told):
    with pytest.raises(ConfigurationError, match=told):
        reader(make(*folders))


def test_a_mixture_is_shuffled(folders):
    with pytest.raises(ConfigurationError, match="shuffle: expected True with a mixture"):
        reader(dict.fromkeys(folders, 1), shuffle=False)
