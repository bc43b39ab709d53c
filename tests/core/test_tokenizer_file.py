"""Tokenizer files: what people write is expanded, or refused by key with what was expected and found."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.tokenizer import Tokenizer, load_tokenizer
from pipeline.errors import ConfigurationError

VALID = load_tokenizer("esm2").document()
NO_SPECIALS: dict[str, Any] = {"prefix": [], "suffix": [], "mask": None, "unknown": None, "separator": None}
ESM_LETTERS = "LAGVSERTIDPKQNFYMHWCXBUZO"
BROKEN: list[tuple[dict[str, Any], str, str | None]] = [
    ({"sufix": []}, "key 'sufix': expected one of the keys format_version, .* found an unknown key", "'suffix'"),
    ({"format_version": 2}, "key 'format_version': expected 1, found 2", None),
    ({"name": ""}, "key 'name': expected a name, found ''", None),
    ({"tokens": []}, r"key 'tokens': expected a list of tokens .* found \[\]", None),
    ({"tokens": "LAGV"}, "key 'tokens': expected a list of tokens .* found 'LAGV'", None),
    ({"tokens": ["<pad>", 3]}, "key 'tokens': expected each entry a token or a run .* found 3", None),
    ({"tokens": [{"letters": "A", "first": 1}]}, "key 'tokens': expected each entry .* found {'letters'", None),
    ({"tokens": [{"numbered": "<t>", "first": 0, "last": 1}]}, "key 'tokens': expected each entry", None),
    ({"tokens": [{"bytes": [2, 256]}]}, "key 'tokens': expected each entry", None),
    ({"tokens": [*VALID["tokens"], "<cls>"]}, "expected each token once, found '<cls>' at ids 0 and 33", None),
    ({"tokens": [*VALID["tokens"], {"letters": "LA"}]}, "expected each token once, found 'L' at ids 4 and 33", None),
    ({"tokens": [*VALID["tokens"], ""]}, "expected ASCII letters and names .* found '' at id 33", None),
    ({"tokens": [*VALID["tokens"], "Ä"]}, "expected ASCII letters and names .* found 'Ä' at id 33", None),
    (
        {"tokens": [*VALID["tokens"], {"numbered": "<{}>", "first": 1, "last": 65_504}]},
        "key 'tokens': expected at most 65,536 tokens .* found more",
        None,
    ),
    ({"tokens": [{"numbered": "<{}>", "first": 0, "last": -(10**12)}]}, "key 'tokens': expected at most 65,536", None),
    ({"prefix": "<cls>"}, "key 'prefix': expected a list of token names, found '<cls>'", None),
    ({"prefix": ["<bos>"]}, "key 'prefix': expected one of the tokens, found '<bos>'", "'<eos>'"),
    ({"suffix": [2]}, r"key 'suffix': expected a list of token names, found \[2\]", None),
    ({"pad": "<padd>"}, "key 'pad': expected one of the tokens, found '<padd>'", "did you mean '<pad>'"),
    ({"pad": 1}, "key 'pad': expected the name of a token, found 1", None),
    ({"pad": "L"}, "key 'pad': expected a token that no residue becomes, found 'L'", None),
    ({"pad": "<unk>"}, "key 'pad': expected a token that no residue becomes, found '<unk>'", None),
    ({"mask": "[MASK]"}, r"key 'mask': expected one of the tokens, found '\[MASK\]'", None),
    ({"mask": 32}, "key 'mask': expected the name of a token, or null, found 32", None),
    ({"separator": "<sep>"}, "key 'separator': expected one of the tokens", None),
    ({"unknown": None, "normalisation": {"J": "<unk>"}}, "key 'normalisation': .* found 'J' mapped to '<unk>'", None),
    ({"position_offset": -1}, "key 'position_offset': expected a whole number, 0 or more, found -1", None),
    ({"position_offset": True}, "key 'position_offset': expected a whole number, 0 or more, found True", None),
    ({"normalisation": {}}, "expected an id for each of the letters A to Z, found none for J", "normalisation"),
    ({"normalisation": ["J"]}, "key 'normalisation': expected an object", None),
    ({"normalisation": {"J": "X", "X": "L"}}, "key 'normalisation': expected letters .* found 'J' mapped to 'X'", None),
    ({"normalisation": {"J": "<cls>"}}, "key 'normalisation': expected letters .* found 'J' mapped to '<cls>'", None),
    ({"normalisation": {"J": "?"}}, r"key 'normalisation': expected letters .* found 'J' mapped to '\?'", None),
    ({"normalisation": {"IL": "X"}}, "key 'normalisation': expected single ASCII letters, found 'IL'", None),
    ({"normalisation": {"J": "X", "Ä": "A"}}, "key 'normalisation': expected single ASCII letters, found 'Ä'", None),
    ({"byte_level": 1}, "key 'byte_level': expected true or false, found 1", None),
    ({"byte_level": True}, "key 'normalisation': expected nothing, because byte_level", None),
    ({"byte_level": True, "normalisation": {}}, "key 'byte_level': expected at least 256 tokens with A at id 65", None),
    (
        {**NO_SPECIALS, "byte_level": True, "normalisation": {}, "tokens": ["<pad>", {"bytes": [1, 254]}]},
        "key 'byte_level': expected at least 256 tokens",
        None,
    ),
    (
        {**NO_SPECIALS, "tokens": ["<pad>", {"letters": ESM_LETTERS}], "normalisation": {"J": "L", "X": "L"}},
        "key 'unknown': expected a token for characters that are no residue, or .* found null, and X mapped to 'L'",
        None,
    ),
]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    document = {
        "name": "reduced",
        "tokens": ["<pad>", {"letters": "ACDEFGHIKLMNPQRSTVWYX"}, {"numbered": "<t{}>", "first": 2, "last": 1}, "<?>"],
        "pad": "<pad>",
        "normalisation": {**dict.fromkeys("BJOUZ", "X"), "*": "X"},
    }
    path = tmp_path / "reduced.json"
    path.write_text("\N{ZERO WIDTH NO-BREAK SPACE}" + json.dumps(document), encoding="utf-8")
    tokenizer = load_tokenizer(str(path))
    assert tokenizer.tokens[-4:] == ("X", "<t2>", "<t1>", "<?>")
    assert tokenizer.encode("ACB*c").tolist() == [1, 2, 21, 21, 21]
    assert tokenizer.num_special_tokens == 0
    assert tokenizer.document()["separator"] is None


@pytest.mark.parametrize(("last", "bytes_an_id"), [(223, 1), (224, 2), (65_503, 2)])
def test_ids_are_as_narrow_as_the_vocabulary_allows(last: int, bytes_an_id: int) -> None:
    tokens = [{"numbered": "<gap_{}>", "first": 1, "last": last}, *VALID["tokens"]]
    tokenizer = Tokenizer.from_document({**VALID, "tokens": tokens})
    assert tokenizer.vocabulary_size == 33 + last
    assert tokenizer.dtype.itemsize == bytes_an_id
    assert tokenizer.encode("L").tolist() == [last, last + 4, last + 2]


@pytest.mark.parametrize(("change", "message", "hint"), BROKEN)
def test_a_broken_file_is_refused_by_key(
    tmp_path: Path, change: dict[str, Any], message: str, hint: str | None
) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({**VALID, **change}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_tokenizer(str(path))
    assert caught.value.message.startswith(f"{path}: ")
    if hint is not None:
        assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("key", ["name", "tokens", "pad"])
def test_a_missing_key_is_named(key: str) -> None:
    document = {other: value for other, value in VALID.items() if other != key}
    with pytest.raises(ConfigurationError, match=f"^mine: key '{key}': expected .*, found nothing"):
        Tokenizer.from_document(document, where="mine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"name": "x",\n "tokens": [,]}', "should be JSON, found an error at line 2, column 13"),
        (b"", "should be JSON, found an error at line 1, column 1"),
        (b'["L", "A"]', "should hold one JSON object, found \\['L', 'A'\\]"),
        (b'{"name": "\xff"}', "should be JSON in UTF-8"),
    ],
)
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "own.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_tokenizer(str(path))
    assert str(path) in caught.value.message


def test_a_folder_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_tokenizer(str(tmp_path))


def test_a_hugging_face_file_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}}}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"found a Hugging Face tokenizer.json \(model 'BPE'\)") as caught:
        load_tokenizer(str(path))
    assert "esm2.json" in (caught.value.hint or "")
