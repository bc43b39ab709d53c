"""The ``tokenizer.json`` of Hugging Face ``tokenizers``, written from plain values.

Whoever trains from the shards gets, beside them, a fast tokenizer that gives the same ids::

    "MKJU"  ──▶ normalizer  ──▶  pre_tokenizer  ──▶  model            ──▶  post_processor
                U ▸ X             M│K│J│X            20 15 3 24            0 20 15 3 24 2
                normalisation     one a character    WordLevel, <unk>      prefix … suffix

Invariant: for any text of residues the ids are those of the byte table, one a character. A family without an unknown
token names X as WordLevel's, so that nothing is dropped. A byte-level vocabulary (Evo 2) is a BPE model without merges
that falls back to bytes. What differs is no protein: a special token written out (``<mask>``) is read as that token, as
users of Hugging Face expect; a character that is not ASCII is one unknown, where the byte table sees each of its bytes;
and for Evo 2 the control characters NUL and SOH, whose ids are special tokens, are dropped.

Source of the format: huggingface/tokenizers, the serialisation of its Rust components; accepted by 0.20 and later.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_UNKNOWN_CHARACTER = "\N{REPLACEMENT CHARACTER}"


def fast_tokenizer_document(
    *,
    tokens: Sequence[str],
    prefix: Sequence[int],
    suffix: Sequence[int],
    pad_id: int,
    mask_id: int | None = None,
    unknown_id: int | None = None,
    separator_id: int | None = None,
    normalisation: Mapping[str, str] | None = None,
    byte_level: bool = False,
) -> dict[str, Any]:
    """A fast tokenizer as the JSON value of a ``tokenizer.json``.

    Args:
        tokens: The token of each id. Those of one character are matched in text.
        prefix: Ids before each sequence.
        suffix: Ids after each sequence.
        pad_id: What batches are padded with, on the right.
        mask_id: The mask token, if there is one.
        unknown_id: What characters without a token become; without it they become X.
        separator_id: The separator, if there is one.
        normalisation: Characters that do not become their own token, and the token they become: one of a single
            character, or the unknown token.
        byte_level: Ids are bytes; tokens from 128 to 255 are called ``<0x80>`` to ``<0xFF>``.

    Returns:
        Plain JSON values, accepted by ``tokenizers.Tokenizer.from_str`` and by ``PreTrainedTokenizerFast``.
    """
    roles = {*prefix, *suffix, pad_id, mask_id, unknown_id, separator_id}
    specials = [i for i, token in enumerate(tokens) if i in roles or (len(token) > 1 and not byte_level)]
    unknown = "X" if unknown_id is None else tokens[unknown_id]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": _padding(tokens[pad_id], pad_id),
        "added_tokens": [_added_token(tokens[i], i) for i in specials],
        "normalizer": _normalizer(normalisation or {}, tokens, unknown),
        "pre_tokenizer": _split_characters(),
        "post_processor": _post_processor(tokens, prefix, suffix),
        "decoder": _decoder(byte_level=byte_level),
        "model": _byte_model(tokens) if byte_level else _word_model(tokens, unknown),
    }


def _padding(token: str, token_id: int) -> dict[str, Any]:
    return {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": token_id,
        "pad_type_id": 0,
        "pad_token": token,
    }


def _added_token(token: str, token_id: int) -> dict[str, Any]:
    # Not normalised: it is found in the text before the normaliser could rewrite letters of its name.
    return {
        "id": token_id,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _normalizer(normalisation: Mapping[str, str], tokens: Sequence[str], unknown: str) -> dict[str, Any] | None:
    # A character becomes unknown by not being in the vocabulary: most are not, the others are sent to one that is not.
    replacements = [
        (character, _UNKNOWN_CHARACTER if len(target) > 1 else target)
        for character, target in normalisation.items()
        if target != unknown or character in tokens
    ]
    if not replacements:
        return None
    return {
        "type": "Sequence",
        "normalizers": [
            {"type": "Replace", "pattern": {"String": character}, "content": content}
            for character, content in replacements
        ],
    }


def _split_characters() -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}


def _post_processor(tokens: Sequence[str], prefix: Sequence[int], suffix: Sequence[int]) -> dict[str, Any] | None:
    if not prefix and not suffix:
        return None

    def piece(sequence: str, before: Sequence[int], type_id: int) -> list[dict[str, Any]]:
        special = [{"SpecialToken": {"id": tokens[i], "type_id": type_id}} for i in (*before, *suffix)]
        return [*special[: len(before)], {"Sequence": {"id": sequence, "type_id": type_id}}, *special[len(before) :]]

    single = piece("A", prefix, 0)
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *piece("B", (), 1)],
        "special_tokens": {
            tokens[i]: {"id": tokens[i], "ids": [i], "tokens": [tokens[i]]} for i in sorted({*prefix, *suffix})
        },
    }


def _decoder(*, byte_level: bool) -> dict[str, Any]:
    fuse = {"type": "Fuse"}
    return {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, fuse]} if byte_level else fuse


def _word_model(tokens: Sequence[str], unknown: str) -> dict[str, Any]:
    return {"type": "WordLevel", "vocab": {token: i for i, token in enumerate(tokens)}, "unk_token": unknown}


def _byte_model(tokens: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": [],
    }
