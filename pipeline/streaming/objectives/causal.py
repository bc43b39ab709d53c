"""Causal language modelling, as Evo 2, ProGen and RITA train: each token asks for the next one of its segment.

::

    input_ids       cls   M    K    T   eos  cls   G   eos  pad
    shifted          M    K    T   eos  -100  G   eos  -100 -100     the loss compares logits[t] with labels[t]
    hugging-face   -100   M    K    T   eos  -100  G   eos  -100     the model shifts labels by one itself
"""

from enum import StrEnum

import numpy as np

from pipeline.core.masking import IGNORED
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives.base import Batch, ObjectiveContext


class LabelConvention(StrEnum):
    """Who shifts the labels by one."""

    SHIFTED = "shifted"
    """They are shifted: position t asks for the token at t + 1."""
    HUGGING_FACE = "hugging-face"
    """The model does: position t has its own token, but −100 on the first one of each segment."""


class CausalLM:
    """Causal language modelling: ``labels`` asks for the next token, never for one of another segment.

    The batch gains ``labels`` int16 [rows, length] (int32 for a vocabulary above 32,767). Special tokens are asked for
    like residues; padding and whatever lies behind a segment's last token is −100. ``input_ids`` stays as it is. The
    first token of a segment is never asked for, so that a family without a start token (Evo 2) does not learn how
    proteins begin.

    Args:
        labels: Who shifts them: a member of ``LabelConvention``.

    Raises:
        ConfigurationError: There is no such convention.
    """

    columns = ("input_ids", "lengths", "row_offsets")

    def __init__(self, labels: LabelConvention | str = LabelConvention.SHIFTED) -> None:
        if labels not in list(LabelConvention):
            raise ConfigurationError(f"labels: expected one of {', '.join(LabelConvention)}, found {labels!r}")
        self.labels = LabelConvention(labels)

    @property
    def name(self) -> str:
        """Such as ``causal-lm(shifted)``."""
        return f"causal-lm({self.labels})"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with ``labels``."""
        input_ids, nothing = batch["input_ids"], np.zeros(len(batch["lengths"]), dtype=np.uint64)
        segments = context.segments({**batch, "record_keys": nothing, "starts": nothing})
        labels = segments.by_token(0, input_ids.shape, padding=IGNORED, dtype=context.label_type).reshape(-1)
        labels[segments.firsts(input_ids.shape[1])[segments.lengths > 0]] = IGNORED
        np.copyto(labels, input_ids.reshape(-1), where=labels != IGNORED)
        if self.labels is LabelConvention.SHIFTED:
            labels[:-1] = labels[1:].copy()  # what was first in its row is first in its segment: nothing is asked
            labels[-1:] = IGNORED
        return {**batch, "labels": labels.reshape(input_ids.shape)}
