"""Replaced token detection, as ELECTRA and ProtElectra train (Clark et al. 2020, arXiv:2003.10555).

::

    input_ids       M  K  *  V  *  G        what the generator sees; labels asks it for T and R
    sampled_ids     .  .  T  .  L  .        what the generator says there, drawn by the trainer
    discriminator   M  K  T  V  L  G        discriminator_input_ids(sampled_ids, batch)
    replaced        0  0  0  0  1  0        replaced_token_labels(sampled_ids, batch): a right guess is no replacement
"""

from typing import Any

import numpy as np

from pipeline.core.masking import IGNORED, Corruption
from pipeline.core.noise import Schedule
from pipeline.streaming.objectives.base import Batch, ObjectiveContext
from pipeline.streaming.objectives.masked_lm import MaskedLM

ELECTRA = Corruption(mask=0.85, random=0.0)
"""Of the selected tokens 85 % become the mask, the others stay (google-research/electra, pretrain_helpers.mask)."""


class ReplacedTokenDetection(MaskedLM):
    """The input of ELECTRA's generator: masked LM, and what the labels of the discriminator are made of.

    The batch gains ``labels`` as with masked LM, and ``original_labels`` int8 [rows, length], 0 on tokens and −100 on
    padding: the labels of a discriminator where nothing is replaced. That ProtElectra was trained with this rate and
    corruption is not verified.

    Args:
        schedule: As for masked LM.
        corruption: What becomes of selected residues.
    """

    def __init__(self, schedule: str | float | Schedule = 0.15, *, corruption: Corruption = ELECTRA) -> None:
        super().__init__(schedule, corruption=corruption)

    @property
    def name(self) -> str:
        """Such as ``replaced-token-detection(0.15)``."""
        return f"replaced-token-detection({self.schedule.name})"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with corrupted ``input_ids``, ``labels`` and ``original_labels``."""
        masked = super().__call__(batch, context)
        shape = batch["input_ids"].shape
        original = context.segments(batch).by_token(0, shape, padding=IGNORED, dtype=np.int8)
        return {**masked, "original_labels": original}


def discriminator_input_ids(sampled_ids: Any, batch: dict[str, Any]) -> Any:
    """What the discriminator sees: the generator's tokens where it was asked, the batch elsewhere.

    Args:
        sampled_ids: Tokens drawn from the generator, integers [rows, length], an array or a tensor; those that it was
            not asked for do not matter.
        batch: With ``input_ids`` and ``labels``, arrays or tensors on the same device.

    Returns:
        Integers [rows, length].
    """
    asked = batch["labels"] != IGNORED
    return sampled_ids * asked + batch["input_ids"] * ~asked


def replaced_token_labels(sampled_ids: Any, batch: dict[str, Any]) -> Any:
    """What the discriminator is asked: 1 where the generator put another token than was there, 0 elsewhere.

    Args:
        sampled_ids: As for ``discriminator_input_ids``.
        batch: With ``labels`` and ``original_labels``, arrays or tensors on the same device.

    Returns:
        Integers [rows, length]: 0, 1, and −100 on padding.
    """
    asked = batch["labels"] != IGNORED
    return batch["original_labels"] + (asked & (sampled_ids != batch["labels"]))
