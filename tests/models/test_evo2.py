"""Evo 2: bytes, records that run on, a loss on nucleotides alone; and fine-tuning on padded rows."""

import gzip
import itertools

import pytest

from pipeline.config import checked
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.stage import SilentWatcher
from pipeline.recipe import read_recipe
from pipeline.workflow import reader_arguments, run_recipe

THR_BYTES = list(b"MKRISTTITTTITITTGNGAG")
CODONS = {
    "A": "GCG", "C": "TGC", "D": "GAT", "E": "GAA", "F": "TTT", "G": "GGC", "H": "CAT", "I": "ATT", "K": "AAA",
    "L": "CTG", "M": "ATG", "N": "AAC", "P": "CCG", "Q": "CAG", "R": "CGT", "S": "AGC", "T": "ACC", "V": "GTG",
    "W": "TGG", "Y": "TAT", "U": "TGA", "X": "NNN",
}  # fmt: skip
"""The commonest codon of each residue in E. coli; TGA is read as selenocysteine."""


@pytest.fixture(scope="session")
def genes(root, ecoli, tmp_path_factory):
    """Evo 2's recipe on DNA: a twentieth of the proteome, translated back."""
    records = gzip.decompress(ecoli.read_bytes()).decode().split(">")[1::20]
    lines = [
        f">{text.split('|')[1]}\n{''.join(CODONS[one] for one in ''.join(text.split(chr(10))[1:]))}\n"
        for text in records
    ]
    folder = tmp_path_factory.mktemp("genes")
    (folder / "genes.fna").write_text("".join(lines))
    recipe = read_recipe(root / "workflows" / "recipes" / "evo2.toml", files=[str(folder / "genes.fna")])
    with SerialExecutor() as executor:
        return run_recipe(recipe, folder / "out", executor=executor, watcher=SilentWatcher())


@pytest.fixture
def dataset(genes):
    from pipeline.streaming.dataset import PackedDataset

    return PackedDataset(genes.shards_folders[0], rank=0, world_size=1, **genes.reader | {"batch_size": 1})


def test_ids_are_bytes_with_eod_0_behind_each_record(made):
    assert made("evo2").ids() == [*THR_BYTES, 0]
    assert made("evo2").tokenizer.vocabulary_size == 512
    assert made("evo2-finetune").ids() == [*THR_BYTES, 0]


def test_records_run_on_in_rows_of_8192_and_only_the_last_is_padded_with_1(genes, made):
    assert list(genes.phases) == [8192]
    whole = made("evo2").reader(columns=("input_ids", "num_tokens"), batch_size=1)
    padding = [int((batch["input_ids"] == 1).sum()) for batch in whole]
    counts = made("evo2").outcome.corpus.manifest.counts
    assert len(padding) == -(-(counts["residues"] + counts["records"]) // 8192)
    assert padding[:-1] == [0] * (len(padding) - 1)


def test_the_loss_asks_for_nucleotides_alone_across_records(dataset):
    for batch in itertools.islice(dataset, 3):
        ahead, labels = batch["input_ids"][:, 1:], batch["labels"][:, :-1]
        is_nucleotide = sum((ahead == byte for byte in b"ACGT"), start=ahead < 0)
        assert bool((labels[is_nucleotide] == ahead[is_nucleotide]).all())
        assert bool((labels[~is_nucleotide] == -100).all())
        behind_eod = batch["input_ids"][:, :-1] == 0
        assert int(behind_eod.sum()) > 3
        assert bool((labels[behind_eod] != -100).all())
        assert bool((labels[ahead == 0] == -100).all())  # EOD is none


def test_the_loss_of_a_causal_convolution_falls(dataset, small):
    losses = small.train(lambda: small.Convolutions(512, is_causal=True), dataset)
    assert losses[0] == pytest.approx(6.24, abs=0.5)  # the logarithm of 512
    assert small.falls(losses, by=1.0), losses


def test_fine_tuning_pads_to_the_longest_row_with_1_and_ignores_it(made):
    widths = set()
    for batch in made("evo2-finetune").dataset(batch_size=8):
        ids, width = batch["input_ids"], batch["input_ids"].shape[1]
        widths.add(width)
        assert width % 8 == 0
        assert width - 8 < int(batch["num_tokens"].max()) <= width
        is_token = batch["sequence_id"] >= 0
        assert bool((ids[~is_token] == 1).all())
        assert bool((batch["labels"][~is_token] == -100).all())
        has_next = is_token[:, 1:]
        assert bool((batch["labels"][:, :-1][has_next] == ids[:, 1:][has_next]).all())  # EOD included
    assert len(widths) > 30


def test_the_loss_of_fine_tuning_falls(made, small):
    dataset = made("evo2-finetune").dataset(batch_size=4)
    losses = small.train(lambda: small.Convolutions(512, is_causal=True), dataset)
    assert small.falls(losses, by=1.0), losses


def test_what_does_not_go_with_rows_that_run_on_is_told_first(root):
    recipe = read_recipe(root / "workflows" / "recipes" / "evo2.toml")
    assert reader_arguments(recipe.stream) == {"batch_size": 4, "objective": "nucleotide-lm"}
    assert checked(type(recipe), recipe.model_dump(mode="json"), where="again") == recipe
