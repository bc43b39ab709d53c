"""The file form of a tokenizer: JSON that people write, checked and expanded.

One file says everything that decides ids. Specials are named by their token, never by number, and runs of tokens have a
short form, so that a file stays readable::

    {"name": "esm2",
     "tokens": ["<cls>", "<pad>", "<eos>", "<unk>", {"letters": "LAGVSERTIDPKQNFYMHWCXBUZO.-"}, "<null_1>", "<mask>"],
     "prefix": ["<cls>"], "suffix": ["<eos>"],          before and after each record
     "pad": "<pad>", "mask": "<mask>", "unknown": "<unk>", "separator": "<eos>",
     "position_offset": 0,                              position of the first token of a record
     "normalisation": {"J": "<unk>"}}                   letters that do not become their own token

``tokens`` is in the order of the ids. An entry is a token, or one of

    {"letters": "ABC"}                                  one token a character
    {"numbered": "<span_{}>", "first": 0, "last": 99}   counting up, or down where last < first
    {"bytes": [2, 255]}                                 one token a byte: the character, from 128 on <0x80> …

``byte_level`` (Evo 2) means that each byte is its own id. ``description``, ``source`` and ``notes`` are for people and
decide nothing. ``check_document`` returns the canonical form, with every key present and every run written out, or
raises; what it returns has an id for each of the letters A to Z. Well under a millisecond a file.
"""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from string import ascii_uppercase
from typing import TypedDict, cast

from pipeline.errors import ConfigurationError

FORMAT_VERSION = 1
MAX_TOKENS = 1 << 16
RESIDUE_LETTERS = ascii_uppercase
"""The letters a corpus may hold; each must have exactly one id."""

EXAMPLE = Path(__file__).with_name("tokenizers") / "esm2.json"
"""A file to copy; hints name it."""

_NOTES = ("description", "source", "notes")


class TokenizerDocument(TypedDict):
    """The canonical form: plain values, everything that decides ids and nothing else."""

    format_version: int
    name: str
    tokens: list[str]
    prefix: list[str]
    suffix: list[str]
    pad: str
    mask: str | None
    unknown: str | None
    separator: str | None
    position_offset: int
    normalisation: dict[str, str]
    byte_level: bool


def read_json(path: Path) -> object:
    """The parsed JSON of a tokenizer file.

    Raises:
        ConfigurationError: The file cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: the tokenizer file cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: a tokenizer file should be JSON in UTF-8, found {_shown(error.object[:16])}"
        ) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigurationError(
            f"{path}: a tokenizer file should be JSON, found an error at {where}: {error.msg}"
        ) from error


def check_document(document: object, *, where: str) -> TokenizerDocument:
    """The canonical form of a tokenizer document.

    Args:
        document: The parsed JSON, in the file form or already canonical.
        where: What errors name: the path of the file.

    Raises:
        ConfigurationError: Naming the key, what was expected and what was found.
    """
    keys = _check_keys(document, where)
    _check_types(keys, where)
    tokens = _expand_tokens(keys["tokens"], where)
    canonical = cast("TokenizerDocument", {**_defaults(), **keys, "tokens": tokens})
    canonical["normalisation"] = dict(sorted(canonical["normalisation"].items()))
    _check_specials(canonical, where)
    _check_normalisation(canonical, where)
    _check_residues(canonical, where)
    return canonical


def _check_keys(document: object, where: str) -> dict[str, object]:
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{where}: a tokenizer file should hold one JSON object, found {_shown(document)}")
    if isinstance(model := document.get("model"), Mapping):
        raise ConfigurationError(
            f"{where}: expected a tokenizer in this package's own form, found a Hugging Face tokenizer.json "
            f"(model {_shown(model.get('type'))})",
            hint=f"write a file like {EXAMPLE}: the tokens in the order of their ids (model.vocab), prefix and suffix "
            "(post_processor), pad, mask and unknown by name",
        )
    known = [*TokenizerDocument.__annotations__, *_NOTES]
    if unknown := [key for key in document if key not in known]:
        raise _refuse(
            where, unknown[0], f"one of the keys {', '.join(known)}", "an unknown key", _close(unknown[0], known)
        )
    for key in ("name", "tokens", "pad"):
        if key not in document:
            raise _refuse(where, key, _TYPES[key][1], "nothing")
    return {key: value for key, value in document.items() if key not in _NOTES}


def _check_types(keys: Mapping[str, object], where: str) -> None:
    for key, value in keys.items():
        is_right, expected = _TYPES[key]
        if not is_right(value):
            raise _refuse(where, key, expected, _shown(value))
    if keys.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise _refuse(where, "format_version", str(FORMAT_VERSION), _shown(keys["format_version"]))


def _expand_tokens(entries: object, where: str) -> list[str]:
    assert isinstance(entries, list)
    tokens: list[str] = []
    for entry in entries:
        tokens += _expand_entry(entry, where)
        if len(tokens) > MAX_TOKENS:
            raise _refuse(where, "tokens", f"at most {MAX_TOKENS:,} tokens (ids are 16 bits wide)", "more")
    seen: dict[str, int] = {}
    for i, token in enumerate(tokens):
        if token in seen:
            raise _refuse(where, "tokens", "each token once", f"{token!r} at ids {seen[token]} and {i}")
        if not token or (len(token) == 1 and not token.isascii()):
            raise _refuse(where, "tokens", "ASCII letters and names of more than one character", f"{token!r} at id {i}")
        seen[token] = i
    return tokens


def _expand_entry(entry: object, where: str) -> list[str]:
    match entry:
        case str():
            return [entry]
        case {"letters": str(letters), **rest} if not rest:
            return list(letters)
        case {"numbered": str(form), "first": int(first), "last": int(last), **rest} if (
            not rest and form.count("{}") == 1
        ):
            step = 1 if last >= first else -1
            numbers = range(first, last + step, step)[: MAX_TOKENS + 1]
            return [form.replace("{}", str(number)) for number in numbers]
        case {"bytes": [int(first), int(last)], **rest} if not rest and 0 <= first <= last <= 255:
            return [chr(byte) if byte < 128 else f"<0x{byte:02X}>" for byte in range(first, last + 1)]
    runs = '{"letters": "ABC"}, {"numbered": "<span_{}>", "first": 0, "last": 99} or {"bytes": [2, 255]}'
    raise _refuse(where, "tokens", f"each entry a token or a run like {runs}", _shown(entry))


def _check_specials(canonical: TokenizerDocument, where: str) -> None:
    tokens = canonical["tokens"]
    named: dict[str, list[str] | list[str | None]] = {
        "prefix": canonical["prefix"],
        "suffix": canonical["suffix"],
        "pad": [canonical["pad"]],
        "mask": [canonical["mask"]],
        "unknown": [canonical["unknown"]],
        "separator": [canonical["separator"]],
    }
    for key, names in named.items():
        for name in names:
            if name is not None and name not in tokens:
                raise _refuse(where, key, "one of the tokens", _shown(name), _close(name, tokens))


def _check_normalisation(canonical: TokenizerDocument, where: str) -> None:
    normalisation = canonical["normalisation"]
    if canonical["byte_level"] and normalisation:
        raise _refuse(
            where, "normalisation", "nothing, because byte_level gives each byte its own id", _shown(normalisation)
        )
    for letter, target in normalisation.items():
        if len(letter) != 1 or not letter.isascii():
            raise _refuse(where, "normalisation", "single ASCII letters", _shown(letter))
        is_token = target in canonical["tokens"] and target not in normalisation
        if not is_token or (len(target) > 1 and target != canonical["unknown"]):
            expected = "letters mapped to a letter that is its own token, or to the unknown token"
            raise _refuse(where, "normalisation", expected, f"{letter!r} mapped to {target!r}")


def _check_residues(canonical: TokenizerDocument, where: str) -> None:
    tokens, normalisation = canonical["tokens"], canonical["normalisation"]
    if canonical["pad"] in RESIDUE_LETTERS or canonical["pad"] in normalisation.values():
        raise _refuse(where, "pad", "a token that no residue becomes", _shown(canonical["pad"]))
    if canonical["byte_level"]:
        if len(tokens) < 256 or tokens[ord("A") : ord("Z") + 1] != list(RESIDUE_LETTERS):
            raise _refuse(where, "byte_level", "at least 256 tokens with A at id 65 to Z at id 90", "others")
        return
    missing = [letter for letter in RESIDUE_LETTERS if letter not in tokens and letter not in normalisation]
    if missing:
        hint = f'say in normalisation what becomes of each, such as {{"{missing[0]}": "X"}}'
        raise _refuse(where, "tokens", "an id for each of the letters A to Z", f"none for {', '.join(missing)}", hint)
    if canonical["unknown"] is None and "X" in normalisation:
        expected = "a token for characters that are no residue, or a token X to stand for them"
        raise _refuse(where, "unknown", expected, f"null, and X mapped to {normalisation['X']!r}")


def _defaults() -> dict[str, object]:
    return {
        "format_version": FORMAT_VERSION,
        "name": "",
        "tokens": [],
        "prefix": [],
        "suffix": [],
        "pad": "",
        "mask": None,
        "unknown": None,
        "separator": None,
        "position_offset": 0,
        "normalisation": {},
        "byte_level": False,
    }


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(part, str) for item in value.items() for part in item)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_optional_name(value: object) -> bool:
    return value is None or isinstance(value, str)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _close(name: str, candidates: list[str]) -> str | None:
    matches = get_close_matches(name, candidates, n=1)
    return f"did you mean {matches[0]!r}?" if matches else None


def _refuse(where: str, key: str, expected: str, found: str, hint: str | None = None) -> ConfigurationError:
    return ConfigurationError(f"{where}: key {key!r}: expected {expected}, found {found}", hint=hint)


_OPTIONAL_TOKEN = (_is_optional_name, "the name of a token, or null")
_TYPES = {
    "format_version": (_is_count, str(FORMAT_VERSION)),
    "name": (lambda value: isinstance(value, str) and value != "", "a name"),
    "tokens": (lambda value: isinstance(value, list) and value != [], "a list of tokens in the order of their ids"),
    "prefix": (_is_names, "a list of token names"),
    "suffix": (_is_names, "a list of token names"),
    "pad": (lambda value: isinstance(value, str), "the name of a token"),
    "mask": _OPTIONAL_TOKEN,
    "unknown": _OPTIONAL_TOKEN,
    "separator": _OPTIONAL_TOKEN,
    "position_offset": (_is_count, "a whole number, 0 or more"),
    "normalisation": (_is_mapping, "an object of letters and what they become"),
    "byte_level": (lambda value: isinstance(value, bool), "true or false"),
}
