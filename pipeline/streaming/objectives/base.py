"""What objectives have in common: the batch, what they know besides it, and what they are."""

import re
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from pipeline.core.alphabet import STANDARD_RESIDUES
from pipeline.core.replacement_pool import POOL_OF_FAMILY, Pool, ReplacementPool
from pipeline.core.segments import Segments
from pipeline.core.tokenizer import BUILT_IN, Tokenizer, load_tokenizer
from pipeline.errors import ConfigurationError

Batch = dict[str, npt.NDArray[Any]]
"""Arrays by name. One entry a token: input_ids, sequence_id, position_ids [rows, length]. One entry a segment, in the
order of rows: lengths (in tokens), record_keys, starts [segments]; row_offsets int64 [rows + 1] says whose they are."""

SEGMENT_COLUMNS = ("input_ids", "lengths", "row_offsets", "record_keys", "starts")
"""What an objective needs that draws random numbers by segment."""

N_TERMINUS, C_TERMINUS = "1", "2"
"""The tokens of the families that say where a protein begins and ends: ProGen2, ProGen3."""

_SENTINEL = re.compile(r"<extra_id_(\d+)>")
_LARGEST_INT16 = np.iinfo(np.int16).max


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveContext:
    """What an objective knows besides the batch: the run, and the dataset's tokenizer and layout."""

    seed: int
    """Of the run."""
    epoch: int
    """Of the rows in the batch."""
    tokenizer: str
    """Its name, for messages and for what a family does in its own way."""
    mask_id: int | None
    """The mask token; None in a family without one."""
    residue_ids: tuple[int, ...]
    """The 20 standard residues, in alphabetical order."""
    num_prefix: int
    """Special tokens before the residues of each segment."""
    num_suffix: int
    """Special tokens after the residues of each segment."""
    special_ids: tuple[int, ...] = ()
    """Special tokens that stand at the end of some segments only: the separator of concatenated rows."""
    alignment: int = 1
    """A segment occupies its length rounded up to a multiple of this."""
    position_offset: int = 0
    """Position of a segment's first token."""
    pad_id: int = 0
    """What stands on padding, and what a decoder begins with."""
    end_id: int | None = None
    """What ends the target of a decoder: the last special token of a record."""
    sentinel_ids: tuple[int, ...] = ()
    """The tokens ``<extra_id_0>``, ``<extra_id_1>``, …, in this order."""
    letter_ids: tuple[int, ...] = ()
    """Every token that is one capital letter."""
    vocabulary_size: int = 0
    """Tokens of the vocabulary."""
    num_outer: int | None = None
    """Special tokens at either end of a segment, outside those of the N and C terminus; None where it has none."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, seed: int, epoch: int, alignment: int = 1) -> Self:
        """For rows in which each segment has the tokenizer's prefix and suffix."""
        letters = [i for i, token in enumerate(tokenizer.tokens) if len(token) == 1 and "A" <= token <= "Z"]
        return cls(
            seed=seed,
            epoch=epoch,
            tokenizer=tokenizer.name,
            mask_id=tokenizer.mask_id,
            residue_ids=tuple(tokenizer.table[np.frombuffer(STANDARD_RESIDUES, dtype=np.uint8)].tolist()),
            num_prefix=len(tokenizer.prefix),
            num_suffix=len(tokenizer.suffix),
            alignment=alignment,
            position_offset=tokenizer.position_offset,
            pad_id=tokenizer.pad_id,
            end_id=tokenizer.suffix[-1] if tokenizer.suffix else tokenizer.separator_id,
            sentinel_ids=_sentinels(tokenizer),
            letter_ids=tuple(letters),
            vocabulary_size=tokenizer.vocabulary_size,
            num_outer=_num_outer(tokenizer),
        )

    @classmethod
    def of_concatenated(cls, tokenizer: Tokenizer, *, seed: int, epoch: int) -> Self:
        """For records run together, with the tokenizer's separator after each one and no other special token.

        Raises:
            ConfigurationError: The tokenizer has none.
        """
        separators = tokenizer.for_concatenation().suffix
        context = cls.of(tokenizer, seed=seed, epoch=epoch)
        return replace(
            context, num_prefix=0, num_suffix=0, special_ids=separators, end_id=separators[-1], num_outer=None
        )

    def segments(self, batch: Batch) -> Segments:
        """The segments of a batch; a separator at the end of one is its suffix."""
        segments = Segments(
            row_offsets=batch["row_offsets"],
            lengths=batch["lengths"],
            record_keys=batch["record_keys"],
            starts=batch["starts"],
            num_prefix=self.num_prefix,
            num_suffix=self.num_suffix,
            alignment=self.alignment,
        )
        if not self.special_ids or not len(segments.lengths):
            return segments
        lengths = segments.lengths.astype(np.int64)
        lasts = np.maximum(segments.firsts(batch["input_ids"].shape[1]) + lengths - 1, 0)
        is_special = np.isin(batch["input_ids"].reshape(-1)[lasts], self.special_ids) & (lengths > 0)
        return replace(segments, num_suffix=self.num_suffix + is_special)

    def mask(self, objective: str) -> int:
        """The mask token.

        Raises:
            ConfigurationError: The tokenizer has none.
        """
        if self.mask_id is None:
            raise no_mask_token(self.tokenizer, objective)
        return self.mask_id

    def pool(self, kind: ReplacementPool | None) -> Pool:
        """What random replacements are drawn from; None leaves it to the family."""
        kind = POOL_OF_FAMILY.get(self.tokenizer, ReplacementPool.RESIDUES) if kind is None else kind
        tokens = {ReplacementPool.LETTERS: self.letter_ids, ReplacementPool.VOCABULARY: range(self.vocabulary_size)}
        return Pool(
            np.unique(np.array(tokens.get(kind, self.residue_ids))) if kind in tokens else np.array(self.residue_ids),
            avoids_original=kind is ReplacementPool.OTHER_RESIDUES,
        )

    @property
    def label_type(self) -> npt.DTypeLike:
        """The narrowest type for labels: int16, or int32 where token ids do not fit."""
        return np.int16 if self.vocabulary_size <= _LARGEST_INT16 else np.int32


@runtime_checkable
class Objective(Protocol):
    """Makes a batch teach something."""

    @property
    def name(self) -> str:
        """What it is, with its parameters, for people and logs."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The arrays of the batch that it needs."""

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """A new batch: the arrays of ``batch``, some of them replaced, and the targets.

        Raises:
            ConfigurationError: The dataset cannot be trained on this way.
        """


def no_mask_token(tokenizer: str, objective: str) -> ConfigurationError:
    """The tokenizer of a dataset has no mask token, which an objective needs."""
    with_mask = ", ".join(name for name in BUILT_IN if load_tokenizer(name).mask_id is not None)
    return ConfigurationError(
        f"{objective} needs a mask token; tokenizer {tokenizer!r} of this dataset has none",
        hint=f"pack and shard with one that has: {with_mask}",
    )


def share(name: str, value: float) -> float:
    """The value itself.

    Raises:
        ConfigurationError: It is not between 0 and 1.
    """
    if not 0.0 < value < 1.0:
        raise ConfigurationError(f"{name}: expected a number between 0 and 1, both excluded, found {value}")
    return value


def _num_outer(tokenizer: Tokenizer) -> int | None:
    """Of ``bos 1 M K T V 2 eos`` one."""
    prefix, suffix = ([tokenizer.tokens[i] for i in ids] for ids in (tokenizer.prefix, tokenizer.suffix))
    has_termini = prefix[-1:] == [N_TERMINUS] and suffix[:1] == [C_TERMINUS] and len(prefix) == len(suffix)
    return len(prefix) - 1 if has_termini else None


def _sentinels(tokenizer: Tokenizer) -> tuple[int, ...]:
    numbered = {int(match[1]): i for i, token in enumerate(tokenizer.tokens) if (match := _SENTINEL.fullmatch(token))}
    return tuple(numbered[number] for number in sorted(numbered))
