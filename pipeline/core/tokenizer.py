"""Tokenizers as data: one table of 256 bytes, the special tokens, and nothing to run.

The law is one id a residue, always: the table gives each byte exactly one id, so a protein of n residues becomes
n + ``num_special_tokens`` ids, whatever its letters::

    residues              M   K   T   V
    bytes                77  75  84  86
    table[bytes]         20  15  11   7
    ids            <cls> 20  15  11   7 <eos>        prefix, residues, suffix

What a family's own code would drop (ProGen2's J), merge (runs of unknown letters in the slow Hugging Face tokenizer of
ESM) or rewrite first (ProtTrans: U Z O B become X) is a decision, and ``normalisation`` records it. A character that is
neither a token nor in ``normalisation`` becomes the unknown token, or X in a family that has none; a byte-level
tokenizer (Evo 2) keeps each byte.

The built-in tokenizers are the JSON files in ``tokenizers``, each with the source of its ids; a file of one's own in
that form does as well (``tokenizer_file``). Encoding is one gather, a nanosecond or two a residue.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.core.tokenizer_file import (
    EXAMPLE,
    FORMAT_VERSION,
    RESIDUE_LETTERS,
    TokenizerDocument,
    check_document,
    read_json,
)
from pipeline.errors import ConfigurationError, IntegrityError

TokenArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokenizer:
    """A vocabulary and the rules around it; made by ``load_tokenizer`` or ``from_document``, which check it.

    Two tokenizers are equal when their documents are. Pickles as its document, so it crosses process borders.
    """

    name: str
    tokens: tuple[str, ...] = field(repr=False)
    """The token of each id; the size of the vocabulary is their number."""
    prefix: tuple[int, ...]
    """Ids before each record, such as cls."""
    suffix: tuple[int, ...]
    """Ids after each record, such as eos."""
    pad_id: int
    mask_id: int | None
    """None in a family without a mask token: masked objectives are not for it."""
    unknown_id: int | None
    separator_id: int | None
    """What stands once after each record when records are concatenated; None where that makes no sense."""
    position_offset: int
    """The position of the first token of a record: 2 for ESM-1b's learned positions, else 0."""
    normalisation: Mapping[str, str]
    """Letters that do not become their own token, and the token they become."""
    byte_level: bool
    """Each byte is its own id."""
    table: TokenArray = field(init=False, repr=False)
    """Byte to id: [256], uint8 or uint16 (the narrowest that holds the vocabulary), read-only."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "normalisation", MappingProxyType(dict(self.normalisation)))
        object.__setattr__(self, "table", _byte_table(self))

    def __eq__(self, other: object) -> bool:
        return self.document() == other.document() if isinstance(other, Tokenizer) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.name, self.tokens, self.prefix, self.suffix))

    def __reduce__(self) -> tuple[object, ...]:
        # An unpickled array would be writable, and a mapping proxy cannot be pickled at all.
        return (Tokenizer.from_document, (self.document(),))

    @classmethod
    def from_document(cls, document: object, *, where: str = "tokenizer") -> Self:
        """The tokenizer that a document describes: the parsed JSON of a tokenizer file, or what ``document`` returned.

        Args:
            document: Plain JSON values.
            where: What errors name, such as the path of the file.

        Raises:
            ConfigurationError: The document does not define a tokenizer; says which key, what was expected and found.
        """
        canonical = check_document(document, where=where)
        ids: dict[str | None, int] = {token: i for i, token in enumerate(canonical["tokens"])}
        return cls(
            name=canonical["name"],
            tokens=tuple(canonical["tokens"]),
            prefix=tuple(ids[token] for token in canonical["prefix"]),
            suffix=tuple(ids[token] for token in canonical["suffix"]),
            pad_id=ids[canonical["pad"]],
            mask_id=ids.get(canonical["mask"]),
            unknown_id=ids.get(canonical["unknown"]),
            separator_id=ids.get(canonical["separator"]),
            position_offset=canonical["position_offset"],
            normalisation=canonical["normalisation"],
            byte_level=canonical["byte_level"],
        )

    def document(self) -> TokenizerDocument:
        """Plain JSON values that define the tokenizer wholly: for fingerprints, manifests and files.

        ``Tokenizer.from_document(tokenizer.document()) == tokenizer``. Every key is always present, in this order.
        """
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "tokens": list(self.tokens),
            "prefix": [self.tokens[i] for i in self.prefix],
            "suffix": [self.tokens[i] for i in self.suffix],
            "pad": self.tokens[self.pad_id],
            "mask": self._token(self.mask_id),
            "unknown": self._token(self.unknown_id),
            "separator": self._token(self.separator_id),
            "position_offset": self.position_offset,
            "normalisation": dict(self.normalisation),
            "byte_level": self.byte_level,
        }

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        """The narrowest unsigned type that holds the vocabulary: uint8 up to 256 tokens, else uint16."""
        return self.table.dtype

    @property
    def vocabulary_size(self) -> int:
        """The number of tokens."""
        return len(self.tokens)

    @property
    def num_special_tokens(self) -> int:
        """How many ids a record gains: prefix and suffix together."""
        return len(self.prefix) + len(self.suffix)

    def max_residues(self, length: int) -> int:
        """The residues that a row of ``length`` tokens holds beside one record's special tokens.

        Raises:
            ConfigurationError: Not even one.
        """
        room = length - self.num_special_tokens
        if room < 1:
            raise ConfigurationError(
                f"a row of {length} tokens holds no residue: expected at least {self.num_special_tokens + 1} tokens, "
                f"because tokenizer {self.name!r} adds {self.num_special_tokens} special tokens to each protein"
            )
        return room

    def for_concatenation(self) -> Self:
        """The same ids for records that run on: no prefix, and the separator as the suffix of a record.

        That is the declared separator, else the end token: the last one of the suffix.

        Raises:
            ConfigurationError: The family has neither, or it is the token of a residue.
        """
        separator = self.suffix[-1] if self.separator_id is None and self.suffix else self.separator_id
        if separator is None:
            raise ConfigurationError(
                f"tokenizer {self.name!r} has no token to stand between records that are concatenated: expected a "
                "separator or a suffix, found neither",
                hint="choose another --tokenizer, or another --algorithm",
            )
        if separator in self.table[np.frombuffer(RESIDUE_LETTERS.encode(), dtype=np.uint8)]:
            raise ConfigurationError(
                f"tokenizer {self.name!r}: expected a separator that no residue has, found {self.tokens[separator]!r}",
                hint="name another token as the separator",
            )
        return replace(self, prefix=(), suffix=(separator,), separator_id=separator)

    def encode(self, sequence: bytes | str) -> TokenArray:
        """The ids of one record: prefix, one id a byte, suffix.

        Args:
            sequence: Residues; a string is taken as UTF-8.

        Returns:
            [num_special_tokens + bytes of ``sequence``], of ``dtype``.
        """
        residues = np.frombuffer(sequence.encode() if isinstance(sequence, str) else sequence, dtype=np.uint8)
        start, stop = len(self.prefix), len(self.prefix) + residues.size
        ids = np.empty(residues.size + self.num_special_tokens, dtype=self.dtype)
        ids[:start] = self.prefix
        ids[start:stop] = self.table[residues]
        ids[stop:] = self.suffix
        return ids

    def decode(self, ids: npt.ArrayLike) -> str:
        """The tokens of ``ids`` joined, special tokens by name: ``<cls>MKTV<eos>``.

        For display: what ``normalisation`` or the unknown token replaced does not come back.

        Raises:
            IntegrityError: An id is not in the vocabulary.
        """
        flat = np.asarray(ids, dtype=np.int64).ravel()
        if bad := flat[(flat < 0) | (flat >= self.vocabulary_size)][:1].tolist():
            last = self.vocabulary_size - 1
            raise IntegrityError(f"token id {bad[0]} is not in tokenizer {self.name!r}, expected 0 to {last}")
        return "".join(self.tokens[i] for i in flat.tolist())

    def _token(self, token_id: int | None) -> str | None:
        return None if token_id is None else self.tokens[token_id]


def _byte_table(tokenizer: Tokenizer) -> TokenArray:
    ids = np.arange(256)
    if not tokenizer.byte_level:
        id_of = {token: i for i, token in enumerate(tokenizer.tokens)}
        ids[:] = id_of["X"] if tokenizer.unknown_id is None else tokenizer.unknown_id
        for token, i in id_of.items():
            if len(token) == 1:
                ids[ord(token)] = i
        for letter, token in tokenizer.normalisation.items():
            ids[ord(letter)] = id_of[token]
    table: TokenArray = ids.astype(np.uint8) if tokenizer.vocabulary_size <= 256 else ids.astype(np.uint16)
    table.setflags(write=False)
    return table


def load_tokenizer(name_or_path: str) -> Tokenizer:
    """A built-in tokenizer by name or alias (``BUILT_IN``), else the one in a JSON file.

    A file in the working directory that is called like a built-in is reached as ``./esm2``.

    Raises:
        ConfigurationError: There is neither, or the file does not define a tokenizer.
    """
    if (stem := BUILT_IN.get(name_or_path)) is not None:
        path = EXAMPLE.with_name(f"{stem}.json")
    else:
        path = Path(name_or_path)
        if not path.exists():
            raise _not_found(name_or_path)
    return Tokenizer.from_document(read_json(path), where=str(path))


def _not_found(name_or_path: str) -> ConfigurationError:
    close = get_close_matches(name_or_path.lower(), BUILT_IN, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return ConfigurationError(
        f"tokenizer {name_or_path!r}: expected one of {', '.join(BUILT_IN)}, or the path of a JSON file; found neither",
        hint=f"{guess}a file of one's own looks like {EXAMPLE}",
    )


BUILT_IN: Mapping[str, str] = {
    "esm2": "esm2",
    "dplm": "esm2",
    "esm1b": "esm1b",
    "esm1v": "esm1b",
    "esm3": "esm3",
    "esmc": "esm3",
    "msa-transformer": "msa-transformer",
    "protbert": "protbert",
    "prott5": "prott5",
    "evo2": "evo2",
    "progen2": "progen2",
    "progen3": "progen3",
    "amplify": "amplify",
    "protalbert": "protbert",
    "protelectra": "protbert",
    "evodiff": "evodiff",
}
"""Names and aliases of the built-in tokenizers, each with the file (without .json) that defines it."""
