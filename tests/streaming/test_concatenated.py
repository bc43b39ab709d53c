"""Concatenated rows as the reader gives them: the stream of records, its separators, and masks that spare them."""

import random
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import IngestConfig, PackConfig, ShardConfig
from pipeline.core.tokenizer import load_tokenizer
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.errors import ConfigurationError, IntegrityError
from pipeline.formats.manifest import read_manifest, write_manifest
from pipeline.stages.ingest.stage import Ingest
from pipeline.stages.pack.stage import Pack
from pipeline.stages.shard import Shard
from pipeline.streaming.reader import PackedReader

LENGTH = 32
COLUMNS = ("input_ids", "sequence_id", "position_ids", "lengths", "row_offsets", "record_keys", "starts", "num_tokens")
SEPARATOR = {"esm2": 2, "esm1b": 2, "evo2": 0}


def make(folder: Path, tokenizer: str) -> tuple[Path, list[str]]:
    rng = random.Random(0)
    records = ["".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=rng.randint(1, 90))) for _ in range(120)]
    fasta = folder / "input.fasta"
    fasta.write_text("".join(f">P{index}\n{text}\n" for index, text in enumerate(records)))
    pack = PackConfig(length=LENGTH, tokenizer=tokenizer, algorithm="concatenate")
    with SerialExecutor() as executor:
        run_stage(Ingest(IngestConfig(files=(str(fasta),))), folder / "corpus", executor=executor)
        run_stage(Pack(folder / "corpus", pack), folder / "plan", executor=executor)
        run_stage(Shard(folder / "plan", ShardConfig(rows_per_group=8)), folder / "shards", executor=executor)
    return folder / "shards", records


@pytest.fixture(scope="module", params=["esm2", "esm1b", "evo2"])
def made(request, tmp_path_factory):
    """Shards, the records in them, and the name of the tokenizer."""
    return *make(tmp_path_factory.mktemp(request.param), request.param), request.param


def test_rows_in_stored_order_are_the_stream_of_records(made):
    shards, records, name = made
    tokenizer = load_tokenizer(name).for_concatenation()
    tokens = [
        token
        for batch in PackedReader(shards, batch_size=4, shuffle=False, columns=COLUMNS, tail="pad")
        for row, num_tokens in zip(batch["input_ids"], batch["num_tokens"], strict=True)
        for token in row[:num_tokens].tolist()
    ]
    ends = np.flatnonzero(np.array(tokens) == SEPARATOR[name]) + 1
    found = [tokens[first:last] for first, last in zip([0, *ends[:-1]], ends, strict=True)]
    assert sorted(found) == sorted(tokenizer.encode(record).tolist() for record in records)
    assert ends[-1] == len(tokens)


def test_positions_start_anew_in_each_segment(made):
    shards, _, name = made
    offset = load_tokenizer(name).position_offset
    for batch in PackedReader(shards, batch_size=4, columns=COLUMNS):
        for row in range(4):
            first, last = batch["row_offsets"][row : row + 2]
            lengths = batch["lengths"][first:last].tolist()
            padding = LENGTH - sum(lengths)
            positions = [offset + at for length in lengths for at in range(length)] + [offset] * padding
            ids = [slot for slot, length in enumerate(lengths) for _ in range(length)] + [-1] * padding
            assert batch["position_ids"][row].tolist() == positions
            assert batch["sequence_id"][row].tolist() == ids


@pytest.mark.parametrize("objective", [0.9, "cosine"])
def test_masks_take_residues_and_never_separators(made, objective):
    shards, _, name = made
    if name == "evo2":
        with pytest.raises(ConfigurationError, match="needs a mask token"):
            next(iter(PackedReader(shards, batch_size=4, objective=objective)))
        return
    plain = PackedReader(shards, batch_size=8, shuffle=False, tail="pad")
    masked = PackedReader(shards, batch_size=8, shuffle=False, tail="pad", objective=objective)
    selected = residues = last_of_segment = lasts = 0
    for before, after in zip(plain, masked, strict=True):
        tokens, labels = before["input_ids"], after["labels"]
        is_residue = (before["sequence_id"] >= 0) & (tokens != SEPARATOR[name])
        assert not np.any((labels != -100) & ~is_residue)
        assert np.array_equal(labels[labels != -100], tokens[labels != -100])
        # Residues at either end of a piece are residues like others: no special tokens are where others have them.
        ends = is_residue & np.diff(before["sequence_id"], axis=1, append=-2).astype(bool)
        selected, residues = selected + np.sum(labels != -100), residues + is_residue.sum()
        last_of_segment, lasts = last_of_segment + np.sum(labels[ends] != -100), lasts + ends.sum()
    assert lasts > 50
    assert last_of_segment / lasts == pytest.approx(selected / residues, abs=0.12)
    if objective == 0.9:
        assert selected / residues == pytest.approx(0.9, abs=0.02)


def test_the_reader_has_the_tokenizer_that_rows_were_made_with(made):
    shards, _, name = made
    reader = PackedReader(shards, batch_size=4)
    assert reader.tokenizer == load_tokenizer(name).for_concatenation()


def test_shards_that_are_not_what_their_manifest_says_are_refused(tmp_path):
    shards, _ = make(tmp_path, "esm2")
    manifest = read_manifest(shards)
    changed = manifest.configuration | {"algorithm": "first-fit-decreasing"}
    write_manifest(shards, manifest.model_copy(update={"configuration": changed}))
    with pytest.raises(IntegrityError, match=r"expected separator_id None, as manifest\.json says, found 2"):
        next(iter(PackedReader(shards, batch_size=4)))
