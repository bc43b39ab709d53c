"""Recipes as a user runs them, on a third of the E. coli proteome, and what a trainer reads of the shards."""

import gzip
import sys
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.tokenizer import Tokenizer
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.stage import SilentWatcher
from pipeline.recipe import Recipe, read_recipe
from pipeline.streaming.reader import PackedReader
from pipeline.workflow import RecipeOutcome, run_recipe

torch = pytest.importorskip("torch", reason="models need torch: pip install 'protein-pipeline[torch]'")

THR_LEADER = "P0AD86"
"""A protein of 21 residues: MKRISTTITTTITITTGNGAG."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a recipe made."""

    recipe: Recipe
    outcome: RecipeOutcome

    def dataset(self, *, length: int | None = None, **changes: Any) -> Any:
        """As the recipe has it read, in smaller batches for a CPU."""
        from pipeline.streaming.dataset import PackedDataset

        chosen = length or self.outcome.epochs[0].length
        arguments = self.outcome.reader | {"batch_size": max(1, 2048 // chosen)} | changes
        return PackedDataset(list(self.outcome.phases[chosen]), rank=0, world_size=1, **arguments)

    def reader(self, **arguments: Any) -> PackedReader:
        """Plain rows, as they are stored."""
        return PackedReader(
            list(self.outcome.shards_folders), **{"shuffle": False, "batch_size": 16, "tail": "pad"} | arguments
        )

    @property
    def tokenizer(self) -> Tokenizer:
        return self.reader().tokenizer

    def ids(self, accession: str = THR_LEADER) -> list[int]:
        """The tokens of a protein, from the shards."""
        columns = ("input_ids", "accessions", "lengths", "row_offsets")
        for batch in self.reader(columns=columns):
            for row, (begin, end) in enumerate(zip(batch["row_offsets"][:-1], batch["row_offsets"][1:], strict=True)):
                names, lengths = batch["accessions"][begin:end], batch["lengths"][begin:end]
                if accession in names:
                    slot = names.index(accession)
                    place = int(lengths[:slot].sum())
                    return batch["input_ids"][row, place : place + int(lengths[slot])].tolist()
        raise AssertionError(f"{accession} is not in train")


@pytest.fixture(scope="session")
def sample(ecoli, tmp_path_factory) -> str:
    """Every third protein, and those with rare residues."""
    records = gzip.decompress(ecoli.read_bytes()).decode().split(">")[1:]
    bodies = ["".join(record.split("\n")[1:]) for record in records]
    offset = next(index for index, record in enumerate(records) if THR_LEADER in record) % 3
    path = tmp_path_factory.mktemp("sample") / "ecoli.fasta"
    kept = [
        f">{record}"
        for index, (record, body) in enumerate(zip(records, bodies, strict=True))
        if index % 3 == offset or set(body) & set("UX")
    ]
    path.write_text("".join(kept))
    return str(path)


@pytest.fixture(scope="session")
def made(root, sample, tmp_path_factory):
    """``made(name)``: the recipe of this name, run once."""
    known: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in known:
            recipe = read_recipe(root / "workflows" / "recipes" / f"{name}.toml", files=[sample])
            with SerialExecutor() as executor:
                outcome = run_recipe(recipe, tmp_path_factory.mktemp(name), executor=executor, watcher=SilentWatcher())
            assert [finding for report in outcome.reports for finding in report.findings] == []
            known[name] = Made(recipe=recipe, outcome=outcome)
        return known[name]

    return make


@pytest.fixture(scope="session")
def small():
    """The module with the small models: tests are imported by path, so that a neighbour is too."""
    spec = spec_from_file_location("small_models", Path(__file__).with_name("small_models.py"))
    module = module_from_spec(spec)
    sys.modules["small_models"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Other tests run beside these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _asked(batch: dict[str, Any]) -> Any:
    return batch["labels"] != -100


@pytest.fixture(scope="session")
def shares():
    """``shares(plain, masked, mask_id)``: of residues selected; of these masked, replaced, left."""

    def count(plain: Any, masked: Any, mask_id: int, num_special: int = 2) -> tuple[float, float, float, float]:
        residues = selected = hidden = replaced = 0
        for before, after in zip(plain, masked, strict=True):
            asked = _asked(after)
            residues += int(before["num_tokens"].sum() - num_special * before["num_sequences"].sum())
            selected += int(asked.sum())
            hidden += int((asked & (after["input_ids"] == mask_id)).sum())
            others = asked & (after["input_ids"] != mask_id)
            replaced += int((others & (after["input_ids"] != before["input_ids"])).sum())
            assert bool((after["labels"][asked] == before["input_ids"][asked]).all())
            assert bool((after["input_ids"][~asked] == before["input_ids"][~asked]).all())
        left = selected - hidden - replaced
        return selected / residues, hidden / selected, replaced / selected, left / selected

    return count


def _segments(batch: dict[str, Any]) -> list[tuple[int, int, int]]:
    """Row, first token, and token behind the last one, of each segment of a batch with sequence_id."""
    found = []
    for row, ids in enumerate(np.asarray(batch["sequence_id"])):
        bounds = np.flatnonzero(np.diff(ids, prepend=-2, append=-2))
        found += [(row, int(a), int(b)) for a, b in pairwise(bounds) if ids[a] >= 0]
    return found


@pytest.fixture(scope="session")
def segments():
    return _segments
