"""The tokenizer.json beside the shards gives the ids that are in the shards."""

import gzip
import json
from pathlib import Path
from string import ascii_uppercase, printable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.core.tokenizer import BUILT_IN, Tokenizer, load_tokenizer
from pipeline.formats.huggingface import fast_tokenizer_document

tokenizers = pytest.importorskip("tokenizers", reason="reads the tokenizer.json that this module writes")

PROTEOME = Path(__file__).parents[2] / "workflows" / "data" / "UP000000625_83333.fasta.gz"
NAMES = sorted(set(BUILT_IN.values()))


def document(tokenizer: Tokenizer) -> dict[str, Any]:
    return fast_tokenizer_document(
        tokens=tokenizer.tokens,
        prefix=tokenizer.prefix,
        suffix=tokenizer.suffix,
        pad_id=tokenizer.pad_id,
        mask_id=tokenizer.mask_id,
        unknown_id=tokenizer.unknown_id,
        separator_id=tokenizer.separator_id,
        normalisation=tokenizer.normalisation,
        byte_level=tokenizer.byte_level,
    )


OURS = {name: load_tokenizer(name) for name in NAMES}
FAST = {name: tokenizers.Tokenizer.from_str(json.dumps(document(tokenizer))) for name, tokenizer in OURS.items()}


@pytest.fixture(scope="module")
def proteome() -> list[str]:
    records = gzip.decompress(PROTEOME.read_bytes()).decode().split(">")[1:]
    return ["".join(record.split("\n")[1:]) for record in records]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"esm1b", "msa-transformer"}])
def test_same_ids_on_a_proteome(name: str, proteome: list[str]) -> None:
    encode, fast = OURS[name].encode, FAST[name]
    for sequence in proteome:
        assert np.array_equal(fast.encode(sequence).ids, encode(sequence)), sequence


def test_esm1b_and_msa_transformer_are_esm2_but_for_what_stands_around_a_sequence() -> None:
    # Positions are no part of the format; this is why the proteome above leaves the two out.
    esm2 = document(OURS["esm2"])
    assert document(OURS["esm1b"]) == esm2
    msa = document(OURS["msa-transformer"])
    assert {key for key in msa if msa[key] != esm2[key]} == {"post_processor"}


# Brackets are left out: they would spell special tokens, which are read as such (below).
plain_text = st.text(st.sampled_from(sorted(set(printable) - set("<>[]"))), max_size=60)


@example("esm2", "A\n\n\nA  A")
@settings(max_examples=300)
@given(st.sampled_from(NAMES), st.one_of(st.text(ascii_uppercase, max_size=60), plain_text))
def test_same_ids_on_any_plain_text(name: str, sequence: str) -> None:
    assert FAST[name].encode(sequence).ids == OURS[name].encode(sequence).tolist()


@given(st.text(st.characters(min_codepoint=2, exclude_categories=["Cs"]), max_size=60))
def test_evo2_keeps_the_bytes_of_any_text(sequence: str) -> None:
    special = {OURS["evo2"].tokens[i] for i in (0, 1)}
    if not any(token in sequence for token in special):
        ids = OURS["evo2"].encode(sequence).tolist()
        assert FAST["evo2"].encode(sequence).ids == ids
        assert FAST["evo2"].decode(ids) == sequence


@pytest.mark.parametrize("name", NAMES)
def test_vocabulary_and_decoding(name: str) -> None:
    ours, fast = OURS[name], FAST[name]
    assert fast.get_vocab_size() == ours.vocabulary_size
    assert all(fast.id_to_token(i) == token for i, token in enumerate(ours.tokens))
    ids = ours.encode(ascii_uppercase).tolist()
    assert fast.decode(ids, skip_special_tokens=False) == ours.decode(ids)
    residues = (ours.normalisation.get(letter, letter) for letter in ascii_uppercase)
    assert fast.decode(ids) == "".join(token for token in residues if len(token) == 1)


def test_special_tokens_in_text_are_read_as_such() -> None:
    assert FAST["esm2"].encode("MK<mask>A").ids == [0, 20, 15, 32, 5, 2]
    assert FAST["protbert"].encode("M[MASK]U").ids == [2, 21, 4, 25, 3]
    assert FAST["progen3"].encode("M<span_7>").ids == [1, 6, 20, 41, 7, 2]
    assert FAST["prott5"].encode("M<extra_id_0>").ids == [19, 127, 1]


def test_pairs_share_one_prefix_and_end_twice() -> None:
    pair = FAST["esm2"].encode("MK", "A")
    assert pair.ids == [0, 20, 15, 2, 5, 2]
    assert pair.type_ids == [0, 0, 0, 0, 1, 1]


def test_batches_are_padded() -> None:
    short, long = FAST["esm2"].encode_batch(["M", "MKTV"])
    assert short.ids == [0, 20, 2, 1, 1, 1]
    assert long.ids == [0, 20, 15, 11, 7, 2]


def test_no_specials_at_all() -> None:
    own = {"name": "own", "tokens": ["<pad>", {"letters": ascii_uppercase}], "pad": "<pad>"}
    fast = tokenizers.Tokenizer.from_str(json.dumps(document(Tokenizer.from_document(own))))
    assert fast.encode("AZ*").ids == [1, 26, 24]
    assert fast.post_processor is None


def test_only_tokens_with_a_role_are_special_among_bytes() -> None:
    assert [token["content"] for token in document(OURS["evo2"])["added_tokens"]] == ["<eod>", "<pad>"]


def test_a_residue_can_stand_for_unknown() -> None:
    ours = Tokenizer.from_document({**OURS["esm2"].document(), "unknown": "X", "normalisation": {"J": "X", "O": "X"}})
    fast = tokenizers.Tokenizer.from_str(json.dumps(document(ours)))
    assert fast.encode("MOJ*").ids == ours.encode("MOJ*").tolist() == [0, 20, 24, 24, 24, 2]


def test_a_letter_with_an_id_can_be_sent_to_unknown() -> None:
    own = {**OURS["esm2"].document(), "normalisation": {"J": "<unk>", "O": "<unk>", "U": "C"}}
    ours = Tokenizer.from_document(own)
    fast = tokenizers.Tokenizer.from_str(json.dumps(document(ours)))
    assert fast.encode("MOUJ").ids == ours.encode("MOUJ").tolist() == [0, 20, 3, 23, 3, 2]


@pytest.mark.parametrize("name", NAMES)
def test_transformers_loads_it(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="loads the tokenizer.json with PreTrainedTokenizerFast")
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document(OURS[name])), encoding="utf-8")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    assert fast("MKJUX")["input_ids"] == OURS[name].encode("MKJUX").tolist()
    assert fast.pad_token_id == OURS[name].pad_id
    assert len(fast) == OURS[name].vocabulary_size
    batch = fast(["M", "MKTV"], padding=True)["input_ids"]
    assert batch[0] == OURS[name].encode("M").tolist() + [OURS[name].pad_id] * 3
