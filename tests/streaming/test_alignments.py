"""Batches of alignments: the query first, limits kept, order and resume by the laws, masks by the cell."""

import pickle
import shutil
from itertools import islice

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.core.masking import IGNORED
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError, StateError
from pipeline.stages.ingest.alignment_config import AlignmentsConfig
from pipeline.stages.ingest.alignment_stage import IngestAlignments
from pipeline.streaming.alignment_reader import AlignmentReader
from pipeline.streaming.objectives.alignment_masked_lm import AlignmentMaskedLM

NUMBER = 53
LIMITS = {"max_rows": 9, "max_columns": 20, "max_tokens": 100}
GAP, MASK, PAD, CLS = 30, 32, 1, 0


@pytest.fixture(scope="module")
def alignments(tmp_path_factory):
    """53 alignments of 1 to 40 rows and 3 to 45 columns, in several parts with short last row groups."""
    folder, rng = tmp_path_factory.mktemp("alignments"), np.random.default_rng(0)
    letters, data = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY-", dtype=np.uint8), b""
    for at in range(NUMBER):
        rows = letters[rng.integers(0, 21, (rng.integers(1, 41), rng.integers(3, 46)))]
        rows[0] = letters[rng.integers(0, 20, rows.shape[1])]
        data += b"".join(b">r%d_%d\n%s\n" % (at, row, text.tobytes()) for row, text in enumerate(rows)) + b"\0"
    (folder / "x_a3m.ffdata").write_bytes(data)
    config = AlignmentsConfig(
        files=(str(folder / "x_a3m.ffdata"),), file_format="ffindex", alignments_per_part=8, alignments_per_group=3
    )
    run_stage(IngestAlignments(config), folder / "out", executor=SerialExecutor())
    return folder / "out"


@pytest.fixture(scope="module")
def stored(alignments):
    """Rows of every alignment, by key."""
    parts = [pq.read_table(path).to_pylist() for path in sorted(alignments.glob("*.parquet"))]
    return {row["alignment_key"]: row["rows"] for rows in parts for row in rows}


def reader(alignments, **options):
    return AlignmentReader(alignments, **({**LIMITS, "seed": 3} | options))


def keys_of(batches):
    return [batch["alignment_keys"].tolist() for batch in batches]


def flat(lists):
    return [value for values in lists for value in values]


def test_an_epoch_has_every_alignment_once_with_its_query_first(alignments, stored):
    batches = list(reader(alignments, batch_size=4, tail="pad"))
    keys = flat(keys_of(batches))
    assert sorted(key for key in keys if key) == sorted(stored)
    table = load_table()
    for batch in batches:
        for at, key in enumerate(batch["alignment_keys"].tolist()):
            depth, width = batch["row_mask"][at].sum(), batch["column_mask"][at].sum()
            tokens = batch["input_ids"][at]
            assert (tokens[depth:] == PAD).all()
            assert (tokens[:, width:] == PAD).all()
            if not key:
                assert depth == width == 0
                continue
            rows, first = batch["row_indices"][at][:depth], batch["first_columns"][at]
            assert rows[0] == 0
            assert (tokens[:depth, 0] == CLS).all()
            expected = [[table[letter] for letter in stored[key][row][first : first + width - 1]] for row in rows]
            assert tokens[:depth, 1:width].tolist() == expected
            assert (batch["row_indices"][at][depth:] == -1).all()
            assert width == batch["num_columns"][at] + 1 == min(len(stored[key][0]) + 1, 20)
            assert depth == min(len(stored[key]), 9, 100 // width)


def load_table():
    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]
    assert (tokens[GAP], tokens[MASK], tokens[PAD], tokens[CLS]) == ("-", "<mask>", "<pad>", "<cls>")
    return {token: number for number, token in enumerate(tokens)}


@pytest.mark.parametrize("world_size", [2, 3, 4, 6])
def test_global_batches_are_the_same_for_every_world_size(alignments, world_size):
    alone = keys_of(reader(alignments, batch_size=12))
    ranks = [
        keys_of(reader(alignments, batch_size=12 // world_size, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert len({len(steps) for steps in ranks}) == 1
    for step, together in enumerate(alone):
        shared = [steps[step] for steps in ranks]
        assert [shared[at % world_size][at // world_size] for at in range(12)] == together


def test_orders_depend_on_seed_and_epoch(alignments):
    orders = [flat(keys_of(reader(alignments, **other))) for other in ({}, {"seed": 4}, {"epoch": 1})]
    assert len({tuple(order) for order in orders}) == 3
    stored_order = flat(keys_of(reader(alignments, shuffle=False)))
    assert stored_order == sorted(stored_order)
    again = reader(alignments)
    assert flat(keys_of(again)) == orders[0]
    assert flat(keys_of(again)) == orders[2]  # the next iteration is the next epoch


@pytest.mark.parametrize(("batch_size", "world_size"), [(4, 1), (2, 2), (1, 4), (8, 1), (2, 1)])
def test_a_state_goes_on_with_the_next_alignment(alignments, batch_size, world_size):
    """Law 5, with every array the same: what was drawn, the windows and the masks."""
    whole = reader(alignments, batch_size=1, objective=0.15)
    expected = [*whole][16:]
    before = reader(alignments, batch_size=4, objective=0.15)
    list(islice(before, 4))
    state = pickle.loads(pickle.dumps(before.state_dict()))
    assert state["rows_delivered"] == 16
    assert state == before.state_at(4)
    ranks = []
    for rank in range(world_size):
        one = reader(alignments, batch_size=batch_size, objective=0.15, rank=rank, world_size=world_size, tail="pad")
        one.load_state_dict(state)
        ranks.append(list(one))
    resumed = [
        (ranks[rank][step], at)
        for step in range(len(ranks[0]))
        for at in range(batch_size)
        for rank in range(world_size)
    ]
    assert len(resumed) >= len(expected)
    for single, (batch, at) in zip(expected, resumed, strict=False):
        depth, width = single["input_ids"].shape[1:]
        for name in ("input_ids", "labels"):
            assert np.array_equal(batch[name][at, :depth, :width], single[name][0])
        assert batch["alignment_keys"][at] == single["alignment_keys"][0]


def test_masks_do_not_depend_on_what_else_is_drawn(alignments):
    """Law 7: a cell that two readers with other limits and batches both show is masked alike in both."""
    small = {int(one["alignment_keys"][0]): one for one in reader(alignments, objective=0.3)}
    num_cells = 0
    for batch in reader(
        alignments, batch_size=5, tail="drop", objective=0.3, max_rows=40, max_columns=60, max_tokens=9999
    ):
        for at, key in enumerate(batch["alignment_keys"].tolist()):
            few, first = small[key], int(small[key]["first_columns"][0])
            rows, count = few["row_indices"][0], int(few["num_columns"][0])
            assert batch["first_columns"][at] == 0
            for name in ("input_ids", "labels"):
                cells = batch[name][at][rows][:, 1 + first : 1 + first + count]
                assert np.array_equal(cells, few[name][0, :, 1:])
            num_cells += few["labels"][0, :, 1:].size
    assert num_cells > 2000


def test_special_tokens_and_padding_are_never_asked_for(alignments):
    for batch in reader(alignments, batch_size=7, tail="pad", objective=AlignmentMaskedLM(0.9)):
        asked = batch["labels"] != IGNORED
        inside = batch["row_mask"][:, :, None] & batch["column_mask"][:, None, :]
        assert not (asked & ~inside).any()
        assert not asked[:, :, 0].any()
        assert batch["labels"].dtype == np.int16


def test_every_epoch_draws_other_rows_windows_and_masks(alignments, stored):
    both = reader(alignments, objective=0.15)
    one, two = ({int(batch["alignment_keys"][0]): batch for batch in both} for _ in range(2))
    deep = [key for key, rows in stored.items() if len(rows) > 12]
    wide = [key for key, rows in stored.items() if len(rows[0]) > 25]
    assert any(one[key]["row_indices"].tolist() != two[key]["row_indices"].tolist() for key in deep)
    assert any(one[key]["first_columns"][0] != two[key]["first_columns"][0] for key in wide)


def test_the_tail_is_what_was_asked_for(alignments):
    steps = {tail: len(reader(alignments, batch_size=8, tail=tail)) for tail in ("repeat", "pad", "drop")}
    assert steps == {"repeat": 7, "pad": 7, "drop": 6}
    repeated = flat(keys_of(reader(alignments, batch_size=8)))
    assert repeated[NUMBER:] == repeated[: 56 - NUMBER]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokenizer": "evo2", "objective": 0.15}, "mask token"),
        ({"tokenizer": "prott5"}, "token for the gap"),
        ({"max_columns": 1}, "max_columns: expected at least 2"),
        ({"max_rows": 0}, "max_rows: expected at least 1"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 99, "tail": "drop"}, "do not fill one global batch"),
        ({"objective": 1.5}, "rate: expected a number between 0 and 1"),
        ({"rank": 2, "world_size": 2}, "rank: expected 0 to 1"),
    ],
)
def test_what_cannot_be_is_said(alignments, options, said):
    with pytest.raises(ConfigurationError, match=said):
        reader(alignments, **options)


def test_states_and_folders_of_others_are_refused(alignments, tmp_path):
    with pytest.raises(StateError, match="seed"):
        reader(alignments).load_state_dict(reader(alignments, seed=4).state_dict())
    with pytest.raises(StateError, match="no multiple of the global batch"):
        reader(alignments, batch_size=3).load_state_dict(reader(alignments, batch_size=2).state_at(5))
    with pytest.raises(ArtefactError):
        reader(tmp_path)


def test_damage_is_an_error_and_leaves_no_threads(alignments, tmp_path, no_reader_threads):
    folder = shutil.copytree(alignments, tmp_path / "out")
    path = max(folder.glob("*.parquet"), key=lambda one: one.stat().st_size)
    group = pq.read_metadata(path).row_group(0)
    rows = next(
        group.column(at) for at in range(group.num_columns) if group.column(at).path_in_schema.startswith("rows")
    )
    data = bytearray(path.read_bytes())
    data[rows.data_page_offset + rows.total_compressed_size // 2] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="expected a part of alignments"):
        list(reader(folder))


def test_a_part_that_is_not_the_manifests_is_an_error(alignments, tmp_path, no_reader_threads):
    folder = shutil.copytree(alignments, tmp_path / "out")
    path = max(folder.glob("*.parquet"), key=lambda one: one.stat().st_size)
    pq.write_table(pq.read_table(path), path, row_group_size=2)
    with pytest.raises(IntegrityError, match="expected 3 alignments in row group"):
        list(reader(folder))


def test_leaving_early_leaves_no_threads(alignments, no_reader_threads):
    batches = iter(reader(alignments))
    next(batches)
    batches.close()


class TestDataset:
    """The same in torch."""

    @pytest.fixture(autouse=True)
    def _torch(self):
        pytest.importorskip("torch", reason="the extra 'torch' is not installed")

    def dataset(self, alignments, **options):
        from pipeline.streaming.alignment_dataset import AlignmentDataset

        return AlignmentDataset(alignments, **({**LIMITS, "seed": 3, "objective": 0.15} | options))

    def test_tensors_are_the_arrays(self, alignments):
        import torch

        for tensors, arrays in zip(
            self.dataset(alignments, batch_size=3), reader(alignments, batch_size=3, objective=0.15), strict=True
        ):
            assert tensors.keys() == arrays.keys()
            assert tensors["input_ids"].dtype == tensors["labels"].dtype == torch.int64
            assert tensors["row_mask"].dtype == torch.bool
            for name, array in arrays.items():
                wide = array.astype(np.int64) if array.dtype != np.bool_ else array
                assert np.array_equal(tensors[name].numpy(), wide)

    def test_the_dataset_resumes(self, alignments):
        whole = self.dataset(alignments, batch_size=2)
        assert len(whole) == 27
        expected = [batch["input_ids"] for batch in whole][10:]
        first = self.dataset(alignments, batch_size=2)
        list(islice(first, 10))
        second = self.dataset(alignments, batch_size=2)
        second.load_state_dict(first.state_dict())
        rest = [batch["input_ids"] for batch in second]
        assert len(rest) == len(expected)
        assert all((one == other).all() for one, other in zip(rest, expected, strict=True))

    @pytest.mark.timeout(300)  # processes that load torch, on a machine that may be busy
    def test_loader_workers_give_the_same_batches(self, alignments):
        import torch

        alone = [batch["input_ids"].tolist() for batch in self.dataset(alignments, batch_size=3)]
        loader = torch.utils.data.DataLoader(
            self.dataset(alignments, batch_size=3), batch_size=None, num_workers=2, multiprocessing_context="spawn"
        )
        assert [batch["input_ids"].tolist() for batch in loader] == alone
