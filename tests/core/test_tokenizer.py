"""Tokenizers: golden vectors, one id a residue, documents that define everything, and errors for people."""

import json
import pickle
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import tokenizer as tokenizer_module
from pipeline.core.tokenizer import BUILT_IN, Tokenizer, load_tokenizer
from pipeline.core.tokenizer_file import check_document
from pipeline.errors import ConfigurationError, IntegrityError

NAMES = sorted(set(BUILT_IN.values()))
FILES = Path(tokenizer_module.__file__).with_name("tokenizers")
TOKENIZERS = {name: load_tokenizer(name) for name in NAMES}
every_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=NAMES)

GOLDEN = [
    ("esm2", "MKTVRQG", [0, 20, 15, 11, 7, 10, 16, 6, 2]),
    ("esm2", "MKJJA", [0, 20, 15, 3, 3, 5, 2]),
    ("esm2", "mkt", [0, 3, 3, 3, 2]),
    ("esm2", "MK**A", [0, 20, 15, 3, 3, 5, 2]),
    ("esm2", "MK-A.", [0, 20, 15, 30, 5, 29, 2]),
    ("esm2", "", [0, 2]),
    ("esm2", "XBUZO", [0, 24, 25, 26, 27, 28, 2]),
    ("esm2", "|", [0, 3, 2]),
    ("esm1b", "MKTVRQG", [0, 20, 15, 11, 7, 10, 16, 6, 2]),
    ("esm3", "ACDEFGHIKLMNPQRSTVWY", [0, 5, 23, 13, 9, 18, 6, 21, 12, 15, 4, 20, 17, 14, 16, 10, 8, 11, 7, 22, 19, 2]),
    ("esm3", "A|A", [0, 5, 31, 5, 2]),
    ("esm3", "_", [0, 3, 2]),
    ("msa-transformer", "MK-A.", [0, 20, 15, 30, 5, 29]),
    ("protbert", "LAGVESIKRDTPNQFYMHCW", [2, *range(5, 25), 3]),
    ("protbert", "XUBZOJ", [2, 25, 25, 25, 25, 25, 1, 3]),
    ("prott5", "ALGVSREDTIPKFQNYMHWC", [*range(3, 23), 1]),
    ("prott5", "XBOUZJ", [23, 23, 23, 23, 23, 2, 1]),
    ("evo2", "A", [65, 0]),
    ("evo2", "ACGTacgt", [65, 67, 71, 84, 97, 99, 103, 116, 0]),
    ("progen2", "MKTV", [3, 16, 14, 23, 25, 4]),
    ("progen2", "XBZUOJ", [3, 27, 6, 29, 24, 18, 27, 4]),
    ("progen3", "MKTV", [1, 6, 20, 18, 27, 29, 7, 2]),
    ("progen3", ascii_uppercase, [1, 6, *range(8, 34), 7, 2]),
    ("amplify", "LAGVSERTIDPKQNFYMHWCB", [3, *range(6, 27), 4]),
    ("amplify", "XUOZJ|", [3, 1, 1, 1, 1, 1, 5, 4]),
    ("evodiff", "ACDEFGHIKLMNPQRSTVWYBZXJOU-*#@!", [*range(31)]),
]

# name: size, bytes an id, pad, mask, unknown, separator, position of the first token
PROPERTIES = {
    "esm2": (33, 1, 1, 32, 3, 2, 0),
    "esm1b": (33, 1, 1, 32, 3, 2, 2),
    "esm3": (33, 1, 1, 32, 3, 2, 0),
    "msa-transformer": (33, 1, 1, 32, 3, None, 2),
    "protbert": (30, 1, 0, 4, 1, 3, 0),
    "prott5": (128, 1, 0, None, 2, 1, 0),
    "evo2": (512, 2, 1, None, None, 0, 0),
    "progen2": (30, 1, 0, None, None, 2, 0),
    "progen3": (134, 1, 0, 5, None, 2, 0),
    "amplify": (27, 1, 0, 2, 1, 4, 0),
    "evodiff": (31, 1, 30, 28, None, 27, 0),
}


@pytest.mark.parametrize(("name", "sequence", "ids"), GOLDEN)
def test_golden_vectors(name: str, sequence: str, ids: list[int]) -> None:
    encoded = load_tokenizer(name).encode(sequence)
    assert encoded.tolist() == ids
    assert encoded.dtype == load_tokenizer(name).dtype


@every_tokenizer
def test_properties(tokenizer: Tokenizer) -> None:
    assert PROPERTIES[tokenizer.name] == (
        tokenizer.vocabulary_size,
        tokenizer.dtype.itemsize,
        tokenizer.pad_id,
        tokenizer.mask_id,
        tokenizer.unknown_id,
        tokenizer.separator_id,
        tokenizer.position_offset,
    )


def test_names_inside_vocabularies() -> None:
    assert TOKENIZERS["esm2"].tokens[31] == TOKENIZERS["msa-transformer"].tokens[31] == "<null_1>"
    assert TOKENIZERS["prott5"].tokens[28] == "<extra_id_99>"
    assert TOKENIZERS["prott5"].tokens[127] == "<extra_id_0>"
    assert TOKENIZERS["progen3"].tokens[34] == "<span_0>"
    assert TOKENIZERS["progen3"].tokens[83] == "<span_49>"


def test_aliases() -> None:
    assert load_tokenizer("dplm") == load_tokenizer("esm2")
    assert load_tokenizer("esm1v") == load_tokenizer("esm1b") != load_tokenizer("esm2")
    assert load_tokenizer("esmc") == load_tokenizer("esm3")


def test_the_esm_family_shares_one_alphabet() -> None:
    esm2 = TOKENIZERS["esm2"].tokens
    assert TOKENIZERS["esm1b"].tokens == TOKENIZERS["msa-transformer"].tokens == esm2
    assert TOKENIZERS["esm3"].tokens == (*esm2[:31], "|", *esm2[32:])


@every_tokenizer
def test_each_letter_has_one_id_and_only_normalised_letters_share_it(tokenizer: Tokenizer) -> None:
    assert tokenizer.table.shape == (256,)
    assert tokenizer.table.max() < tokenizer.vocabulary_size
    becomes = {letter: tokenizer.tokens[tokenizer.table[ord(letter)]] for letter in ascii_uppercase}
    assert becomes == {letter: tokenizer.normalisation.get(letter, letter) for letter in ascii_uppercase}


@every_tokenizer
def test_other_bytes_become_unknown_or_x(tokenizer: Tokenizer) -> None:
    known = {ord(token) for token in tokenizer.tokens if len(token) == 1} | {ord(letter) for letter in ascii_uppercase}
    others = [byte for byte in range(256) if byte not in known]
    fallback = tokenizer.unknown_id if tokenizer.unknown_id is not None else tokenizer.tokens.index("X")
    expected = others if tokenizer.name == "evo2" else [fallback] * len(others)
    assert tokenizer.table[others].tolist() == expected


def test_evo2_keeps_every_byte() -> None:
    assert TOKENIZERS["evo2"].table.tolist() == list(range(256))


@every_tokenizer
def test_the_table_is_read_only_and_as_narrow_as_it_can_be(tokenizer: Tokenizer) -> None:
    assert tokenizer.dtype == (np.uint16 if tokenizer.vocabulary_size > 256 else np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        tokenizer.table[65] = 0
    with pytest.raises(TypeError):
        tokenizer.normalisation["A"] = "X"  # type: ignore[index]


@given(st.sampled_from(NAMES), st.one_of(st.binary(max_size=300), st.text(ascii_uppercase).map(str.encode)))
def test_encoding_is_the_table_between_prefix_and_suffix(name: str, sequence: bytes) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(sequence)
    assert ids.tolist() == [*tokenizer.prefix, *(int(tokenizer.table[byte]) for byte in sequence), *tokenizer.suffix]
    assert ids.size == len(sequence) + tokenizer.num_special_tokens


@given(st.sampled_from(NAMES), st.text(max_size=100))
def test_text_is_its_utf8_bytes(name: str, sequence: str) -> None:
    assert np.array_equal(TOKENIZERS[name].encode(sequence), TOKENIZERS[name].encode(sequence.encode()))


@given(st.sampled_from(NAMES), st.text(ascii_uppercase, max_size=100))
def test_decoding_gives_residues_back_except_normalised_ones(name: str, sequence: str) -> None:
    tokenizer = TOKENIZERS[name]
    names = [tokenizer.tokens[i] for i in tokenizer.prefix]
    names += [tokenizer.normalisation.get(letter, letter) for letter in sequence]
    names += [tokenizer.tokens[i] for i in tokenizer.suffix]
    assert tokenizer.decode(tokenizer.encode(sequence)) == "".join(names)


@pytest.mark.parametrize("bad", [-1, 33, 255])
def test_decoding_refuses_ids_outside_the_vocabulary(bad: int) -> None:
    with pytest.raises(IntegrityError, match=rf"token id {bad} is not in tokenizer 'esm2', expected 0 to 32"):
        TOKENIZERS["esm2"].decode([0, bad, 2])


def test_max_residues() -> None:
    assert TOKENIZERS["esm2"].max_residues(1024) == 1022
    assert TOKENIZERS["msa-transformer"].max_residues(1024) == 1023
    assert TOKENIZERS["progen3"].max_residues(5) == 1
    with pytest.raises(ConfigurationError, match="row of 2 tokens holds no residue: expected at least 3"):
        TOKENIZERS["esm2"].max_residues(2)


# name: the token that stands once after each record when records are concatenated
SEPARATORS = {
    "esm2": "<eos>",
    "esm1b": "<eos>",
    "esm3": "<eos>",
    "protbert": "[SEP]",
    "prott5": "</s>",
    "evo2": "<eod>",
    "progen2": "<|eos|>",
    "progen3": "<eos>",
    "amplify": "<eos>",
    "evodiff": "*",
}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "msa-transformer"])
def test_concatenation_takes_the_prefix_away_and_puts_the_separator_after_a_record(name: str) -> None:
    run_on = TOKENIZERS[name].for_concatenation()
    separator = TOKENIZERS[name].tokens.index(SEPARATORS[name])
    assert (run_on.prefix, run_on.suffix, run_on.separator_id) == ((), (separator,), separator)
    assert run_on.encode("MKTV").tolist() == [*TOKENIZERS[name].table[[77, 75, 84, 86]].tolist(), separator]
    assert run_on.document() | {"prefix": [], "suffix": []} == TOKENIZERS[name].document() | {
        "prefix": [],
        "suffix": [],
    }
    assert run_on.for_concatenation() == run_on


def test_without_a_separator_the_end_token_separates_and_without_both_none() -> None:
    document = TOKENIZERS["progen3"].document()
    undeclared = Tokenizer.from_document({**document, "separator": None})
    assert undeclared.for_concatenation().suffix == (TOKENIZERS["progen3"].tokens.index("<eos>"),)
    other = Tokenizer.from_document({**document, "separator": "<span_0>"})
    assert other.for_concatenation().suffix == (34,)
    with pytest.raises(ConfigurationError, match=r"'msa-transformer' has no token to stand between records") as caught:
        TOKENIZERS["msa-transformer"].for_concatenation()
    assert "--tokenizer" in (caught.value.hint or "")
    residue = Tokenizer.from_document({**document, "separator": "K"})
    with pytest.raises(ConfigurationError, match="a separator that no residue has, found 'K'"):
        residue.for_concatenation()


@every_tokenizer
def test_the_document_defines_the_tokenizer(tokenizer: Tokenizer) -> None:
    document = tokenizer.document()
    again = Tokenizer.from_document(json.loads(json.dumps(document)))
    assert again == tokenizer
    assert hash(again) == hash(tokenizer)
    assert again.document() == document
    assert list(again.document()) == list(check_document(document, where="document"))
    assert np.array_equal(again.table, tokenizer.table)


@every_tokenizer
def test_pickling_keeps_the_table_read_only(tokenizer: Tokenizer) -> None:
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again == tokenizer
    assert not again.table.flags.writeable


def test_notes_and_order_of_keys_mean_nothing_but_every_other_key_does() -> None:
    document = TOKENIZERS["protbert"].document()
    shuffled: dict[str, Any] = {**dict(reversed(document.items())), "notes": ["by hand"], "source": "memory"}
    shuffled["normalisation"] = dict(reversed(document["normalisation"].items()))
    assert json.dumps(Tokenizer.from_document(shuffled).document()) == json.dumps(document)
    changes: dict[str, Any] = {"name": "other", "prefix": [], "suffix": [], "mask": None, "separator": None}
    changes |= {"position_offset": 1, "normalisation": {**document["normalisation"], "O": "[UNK]"}}
    for key, value in changes.items():
        assert Tokenizer.from_document({**document, key: value}) != TOKENIZERS["protbert"], key
    assert TOKENIZERS["protbert"] != "protbert"


@pytest.mark.parametrize("name", NAMES)
def test_shipped_files(name: str) -> None:
    document = json.loads((FILES / f"{name}.json").read_text(encoding="utf-8"))
    assert document["name"] == name
    assert document["source"]
    assert TOKENIZERS[name] == load_tokenizer(str(FILES / f"{name}.json"))


def test_every_shipped_file_has_a_name() -> None:
    assert sorted(path.stem for path in FILES.iterdir()) == NAMES
    assert set(NAMES) <= set(BUILT_IN)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigurationError, match=r"tokenizer 'ESM-2': expected one of esm2, dplm, .* found neither"
    ) as caught:
        load_tokenizer("ESM-2")
    assert "did you mean 'esm2'?" in (caught.value.hint or "")
    with pytest.raises(ConfigurationError) as caught:
        load_tokenizer("/nowhere/at/all.json")
    assert "did you mean" not in (caught.value.hint or "")
