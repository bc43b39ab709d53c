"""Objectives: what a batch is made to teach. Numpy in, numpy out, so that the reader without torch has them too.

::

    batch of rows ──▶ objective(batch, context) ──▶ the same batch with corrupted input_ids and labels

An objective is applied to whole batches, after the rows are chosen and before anything becomes a tensor. It works
segment by segment and draws its random numbers by counter, so that what a protein looks like depends on (seed, epoch,
record key, start) and never on the batch that it comes in (law 7). It does not change the arrays it is given.

Cost: masked LM takes 12 to 20 ns a token on one core (``core.masking``).
"""

from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from pipeline.core.alphabet import STANDARD_RESIDUES
from pipeline.core.masking import Corruption, Segments, mask_tokens
from pipeline.core.noise import Schedule, parse_schedule
from pipeline.core.tokenizer import BUILT_IN, Tokenizer, load_tokenizer
from pipeline.errors import ConfigurationError

Batch = dict[str, npt.NDArray[Any]]
"""Arrays by name. One entry a token: input_ids, sequence_id, position_ids [rows, length]. One entry a segment, in the
order of rows: lengths (in tokens), record_keys, starts [segments]; row_offsets int64 [rows + 1] says whose they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveContext:
    """What an objective knows besides the batch: the run, and the dataset's tokenizer and layout."""

    seed: int
    """Of the run."""
    epoch: int
    """Of the rows in the batch."""
    tokenizer: str
    """Its name, for messages."""
    mask_id: int | None
    """The mask token; None in a family without one."""
    residue_ids: tuple[int, ...]
    """The 20 standard residues, in alphabetical order: what random replacements are drawn from."""
    num_prefix: int
    """Special tokens before the residues of each segment."""
    num_suffix: int
    """Special tokens after the residues of each segment."""
    special_ids: tuple[int, ...] = ()
    """Special tokens that stand in some segments only: the separator of concatenated rows."""
    alignment: int = 1
    """A segment occupies its length rounded up to a multiple of this."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, seed: int, epoch: int, alignment: int = 1) -> Self:
        """For rows in which each segment has the tokenizer's prefix and suffix."""
        return cls(
            seed=seed,
            epoch=epoch,
            tokenizer=tokenizer.name,
            mask_id=tokenizer.mask_id,
            residue_ids=_standard_residues(tokenizer),
            num_prefix=len(tokenizer.prefix),
            num_suffix=len(tokenizer.suffix),
            alignment=alignment,
        )

    @classmethod
    def of_concatenated(cls, tokenizer: Tokenizer, *, seed: int, epoch: int) -> Self:
        """For records run together, with the tokenizer's separator after each one and no other special token.

        Raises:
            ConfigurationError: The tokenizer has none.
        """
        return cls(
            seed=seed,
            epoch=epoch,
            tokenizer=tokenizer.name,
            mask_id=tokenizer.mask_id,
            residue_ids=_standard_residues(tokenizer),
            num_prefix=0,
            num_suffix=0,
            special_ids=tokenizer.for_concatenation().suffix,
        )


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


class MaskedLM:
    """Masked language modelling: some residues are hidden, and ``labels`` asks for them.

    The batch gains ``labels`` int64 [rows, length]: the original token where a residue was selected, −100 elsewhere, on
    special tokens and on padding. ``input_ids`` is the corrupted copy, of the same dtype.

    Args:
        schedule: A name of ``core.noise.SCHEDULES``, or a plain rate. With a plain rate 80 % of the selected residues
            become the mask token, 10 % a random one of the 20 standard residues, and 10 % stay; with a schedule, which
            gives every segment a rate of its own, all of them become the mask token.
        corruption: What becomes of selected residues instead.

    Raises:
        ConfigurationError: There is no such schedule.
    """

    columns = ("input_ids", "lengths", "row_offsets", "record_keys", "starts")

    def __init__(self, schedule: str | float | Schedule, *, corruption: Corruption | None = None) -> None:
        self.schedule = parse_schedule(schedule)
        self.corruption = corruption

    @property
    def name(self) -> str:
        """Such as ``masked-lm(betalinear30)``."""
        return f"masked-lm({self.schedule.name})"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with corrupted ``input_ids``, and ``labels``.

        Raises:
            ConfigurationError: The tokenizer has no mask token.
        """
        if context.mask_id is None:
            raise _no_mask_token(context.tokenizer)
        input_ids, labels = mask_tokens(
            batch["input_ids"],
            Segments(
                row_offsets=batch["row_offsets"],
                lengths=batch["lengths"],
                record_keys=batch["record_keys"],
                starts=batch["starts"],
                num_prefix=context.num_prefix,
                num_suffix=context.num_suffix,
                alignment=context.alignment,
            ),
            schedule=self.schedule,
            seed=context.seed,
            epoch=context.epoch,
            mask_id=context.mask_id,
            pool=np.array(context.residue_ids),
            corruption=self.corruption,
            special_ids=context.special_ids,
        )
        return {**batch, "input_ids": input_ids, "labels": labels}


def as_objective(objective: Objective | str | float | None) -> Objective | None:
    """The objective itself, or masked LM from a schedule's name or a rate: ``"betalinear30"``, ``0.15``.

    Raises:
        ConfigurationError: There is no such schedule.
    """
    if objective is None or isinstance(objective, Objective):
        return objective
    return MaskedLM(objective)


def _standard_residues(tokenizer: Tokenizer) -> tuple[int, ...]:
    return tuple(tokenizer.table[np.frombuffer(STANDARD_RESIDUES, dtype=np.uint8)].tolist())


def _no_mask_token(tokenizer: str) -> ConfigurationError:
    with_mask = ", ".join(name for name in BUILT_IN if load_tokenizer(name).mask_id is not None)
    return ConfigurationError(
        f"masked LM needs a mask token; tokenizer {tokenizer!r} of this dataset has none",
        hint=f"pack and shard with one that has: {with_mask}",
    )
