"""Our ids against each family's own implementation, on a whole proteome and on the letters where they differ.

The vocabularies below are written out again from each family's repository, not read from our files. Where an
implementation drops, merges or rewrites letters, the test that says so is named after it. Any other FASTA file is
compared, too, where it is named::

    PIPELINE_TEST_PROTEINS=uniref90.fasta.gz python -m pytest tests/core/test_tokenizer_families.py

EvolutionaryScale's ``esm`` (which wants an old transformers), ``evodiff`` and Evo 2's ``vtx`` cannot be installed
beside the others. Their tokenizers, of the releases 3.2.1.post1, 1.1.2 and 1.1.0, were compared once with ``esm3``,
``evodiff`` and ``evo2`` on 10,000 members of UniRef90: no id differs.
"""

import gzip
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from string import ascii_uppercase

import numpy as np
import pytest

from pipeline.core.tokenizer import load_tokenizer

TESTS = Path(__file__).parents[1]
PROTEOME = TESTS.parent / "workflows" / "data" / "UP000000625_83333.fasta.gz"
UNIREF90 = TESTS / "data" / "uniref" / "uniref90_sample.fasta"

ESM = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>"
PROTBERT = "[PAD] [UNK] [CLS] [SEP] [MASK] L A G V E S I K R D T P N Q F Y M H C W X U B Z O"
PROTT5 = "<pad> </s> <unk> ▁A ▁L ▁G ▁V ▁S ▁R ▁E ▁D ▁T ▁I ▁P ▁K ▁F ▁Q ▁N ▁Y ▁M ▁H ▁W ▁C ▁X ▁B ▁O ▁U ▁Z"
PROGEN2 = "<|pad|> <|bos|> <|eos|> 1 2 A B C D E F G H I K L M N O P Q R S T U V W X Y Z"
AMPLIFY = "<pad> <unk> <mask> <bos> <eos> | L A G V S E R T I D P K Q N F Y M H W C B"


@pytest.fixture(scope="module")
def proteome() -> list[str]:
    """Each E. coli protein (4,391, with 8 X and 3 U), 79 of UniRef90 with X, B and U, and those of a file one names."""
    named = os.environ.get("PIPELINE_TEST_PROTEINS")
    return [text for path in (PROTEOME, UNIREF90, *([Path(named)] if named else [])) for text in sequences_in(path)]


def sequences_in(path: Path) -> list[str]:
    text = path.read_bytes()
    records = (gzip.decompress(text) if text.startswith(b"\x1f\x8b") else text).decode().split(">")[1:]
    return ["".join(record.split("\n")[1:]) for record in records]


def odd_sequences(alphabet: str, seed: int) -> Iterator[str]:
    """200 short sequences over an alphabet in which odd letters are as common as residues."""
    random = Random(seed)
    for _ in range(200):
        yield "".join(random.choices(alphabet, k=random.randrange(40)))


def assert_same_ids(name: str, sequences: list[str], family: Callable[[str], list[int]]) -> None:
    tokenizer = load_tokenizer(name)
    for sequence in sequences:
        assert np.array_equal(tokenizer.encode(sequence), family(sequence)), sequence


@pytest.fixture
def fair_esm() -> Callable[[str], list[int]]:
    esm = pytest.importorskip("esm.data", reason="compares with the Alphabet of fair-esm")
    alphabet = esm.Alphabet.from_architecture("ESM-1b")
    assert (len(alphabet), alphabet.padding_idx, alphabet.mask_idx) == (33, 1, 32)
    convert = alphabet.get_batch_converter()
    return lambda sequence: convert([("", sequence)])[2][0].tolist()  # type: ignore[no-any-return]


def test_esm2_and_esm1b_are_the_alphabet_of_fair_esm(proteome: list[str], fair_esm: Callable[[str], list[int]]) -> None:
    # It takes 4 microseconds a residue: all of a named file, an eighth of the proteome.
    assert_same_ids("esm2", proteome[:4391:8] + proteome[4391:], fair_esm)
    assert_same_ids("esm1b", list(odd_sequences("LAGVSERTIDPKQNFYMHWCXBUZO.-", seed=7)), fair_esm)
    assert np.array_equal(load_tokenizer("esm1b").table, load_tokenizer("esm2").table)


def test_fair_esm_has_no_j(fair_esm: Callable[[str], list[int]]) -> None:
    with pytest.raises(KeyError, match="J"):
        fair_esm("MKJA")
    assert load_tokenizer("esm2").encode("MKJA").tolist() == [0, 20, 15, 3, 5, 2]


@pytest.fixture
def slow_esm(tmp_path: Path) -> Callable[[str], list[int]]:
    transformers = pytest.importorskip("transformers", reason="compares with the EsmTokenizer of transformers")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(ESM.split()), encoding="utf-8")
    tokenizer = transformers.EsmTokenizer(str(vocabulary))
    return lambda sequence: tokenizer(sequence)["input_ids"]  # type: ignore[no-any-return]


def test_esm2_is_the_slow_tokenizer_on_a_proteome(proteome: list[str], slow_esm: Callable[[str], list[int]]) -> None:
    assert_same_ids("esm2", proteome, slow_esm)


def test_the_slow_esm_tokenizer_merges_a_run_of_unknown_letters_into_one(slow_esm: Callable[[str], list[int]]) -> None:
    assert slow_esm("MKJJA") == [0, 20, 15, 3, 5, 2]
    tokenizer = load_tokenizer("esm2")
    for sequence in odd_sequences(ascii_uppercase + ".-*acd", seed=1):
        ids = tokenizer.encode(sequence).tolist()
        merged = [token for i, token in enumerate(ids) if token != 3 or ids[i - 1] != 3]
        assert slow_esm(sequence) == merged, sequence


@pytest.fixture
def esmc() -> Callable[[str], list[int]]:
    transformers = pytest.importorskip("transformers", reason="compares with the EsmcTokenizer of transformers")
    if not hasattr(transformers, "EsmcTokenizer"):
        pytest.skip(f"transformers {transformers.__version__} has no EsmcTokenizer yet")
    tokenizer = transformers.EsmcTokenizer()
    return lambda sequence: tokenizer(sequence)["input_ids"]  # type: ignore[no-any-return]


def test_esm3_is_the_esmc_tokenizer_on_a_proteome_and_on_any_character(
    proteome: list[str], esmc: Callable[[str], list[int]]
) -> None:
    assert_same_ids("esm3", proteome, esmc)
    assert_same_ids("esm3", list(odd_sequences(ascii_uppercase + ".-*|_acd", seed=2)), esmc)


def replace_rare(sequence: str) -> str:
    """What the authors of ProtTrans do before they tokenize."""
    return re.sub("[UZOB]", "X", sequence)


@pytest.fixture
def bert(tmp_path: Path) -> Callable[[str], list[int]]:
    transformers = pytest.importorskip("transformers", reason="compares with the BertTokenizer of transformers")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(PROTBERT.split()), encoding="utf-8")
    tokenizer = transformers.BertTokenizer(str(vocabulary), do_lower_case=False)
    return lambda sequence: tokenizer(" ".join(sequence))["input_ids"]  # type: ignore[no-any-return]


def test_protbert_is_the_bert_tokenizer_after_the_authors_recipe(
    proteome: list[str], bert: Callable[[str], list[int]]
) -> None:
    assert_same_ids("protbert", proteome, lambda sequence: bert(replace_rare(sequence)))
    odd = list(odd_sequences(ascii_uppercase, seed=3))
    assert_same_ids("protbert", odd, lambda sequence: bert(replace_rare(sequence)))


def test_bert_gives_rare_letters_ids_that_the_recipe_avoids(bert: Callable[[str], list[int]]) -> None:
    assert bert("XUBZOJ") == [2, 25, 26, 27, 28, 29, 1, 3]
    assert load_tokenizer("protbert").encode("XUBZOJ").tolist() == [2, 25, 25, 25, 25, 25, 1, 3]


@pytest.fixture
def t5() -> Callable[[str], list[int]]:
    transformers = pytest.importorskip("transformers", reason="compares with the T5Tokenizer of transformers")
    if int(transformers.__version__.split(".")[0]) < 5:
        pytest.skip(f"T5Tokenizer of transformers {transformers.__version__} needs a SentencePiece file")
    tokenizer = transformers.T5Tokenizer(vocab=[(piece, 0.0) for piece in PROTT5.split()], extra_ids=100)
    return lambda sequence: tokenizer(" ".join(sequence))["input_ids"]  # type: ignore[no-any-return]


def test_prott5_is_the_t5_tokenizer_after_the_authors_recipe(
    proteome: list[str], t5: Callable[[str], list[int]]
) -> None:
    assert_same_ids("prott5", proteome, lambda sequence: t5(replace_rare(sequence)))
    odd = list(odd_sequences(ascii_uppercase, seed=4))
    assert_same_ids("prott5", odd, lambda sequence: t5(replace_rare(sequence)))


@pytest.fixture
def progen2() -> Callable[[str], list[int]]:
    tokenizers = pytest.importorskip("tokenizers", reason="rebuilds the tokenizer.json of salesforce/progen")
    vocabulary = {token: i for i, token in enumerate(PROGEN2.split())}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda sequence: tokenizer.encode(f"1{sequence}2").ids  # type: ignore[no-any-return]


def test_progen2_is_the_published_tokenizer_on_a_proteome(
    proteome: list[str], progen2: Callable[[str], list[int]]
) -> None:
    assert_same_ids("progen2", proteome, progen2)


def test_the_published_progen2_tokenizer_drops_what_we_make_x(progen2: Callable[[str], list[int]]) -> None:
    tokenizer = load_tokenizer("progen2")
    for sequence in odd_sequences(ascii_uppercase + "-*acd", seed=5):
        kept = re.sub("[^A-IK-Z]", "", sequence)
        assert progen2(sequence) == tokenizer.encode(kept).tolist(), sequence
        assert tokenizer.encode(sequence).size == len(sequence) + 2


def test_amplify_and_evo2_are_their_published_lines(proteome: list[str]) -> None:
    ids = {token: i for i, token in enumerate(AMPLIFY.split())}
    sequences = proteome[::10] + list(odd_sequences(ascii_uppercase + "|-*acd", seed=6))
    assert_same_ids("amplify", sequences, lambda sequence: [3, *(ids.get(token, 1) for token in sequence), 4])
    assert_same_ids("evo2", sequences, lambda sequence: [*sequence.encode(), 0])


def test_learned_positions_start_after_the_padding_index() -> None:
    # fairseq's and transformers' rule: a running count of the tokens that are not padding, plus the id of padding.
    for name in ("esm1b", "esm1v", "msa-transformer"):
        tokenizer = load_tokenizer(name)
        positions = np.cumsum(tokenizer.encode("MKTV") != tokenizer.pad_id) + tokenizer.pad_id
        assert positions[0] == tokenizer.position_offset
    assert load_tokenizer("esm2").position_offset == 0
