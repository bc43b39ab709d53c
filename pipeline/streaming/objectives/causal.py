"""Causal language modelling, as Evo 2, ProGen and RITA train: each token asks for the next one of its segment.

::

    input_ids       cls   M    K    T   eos  cls   G   eos  pad
    shifted          M    K    T   eos  -100  G   eos  -100 -100     the loss compares logits[t] with labels[t]
    hugging-face   -100   M    K    T   eos  -100  G   eos  -100     the model shifts labels by one itself

    input_ids       M    K   eod   G    A   eod        records that run on
    shifted         K   eod   G    A   eod  -100       ConcatenatedLM
"""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipeline.core.alphabet import STANDARD_RESIDUES
from pipeline.core.masking import IGNORED
from pipeline.core.segments import Segments
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

    columns: tuple[str, ...] = ("input_ids", "lengths", "row_offsets")

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
        input_ids, segments = batch["input_ids"], _segments(batch, context)
        labels = segments.by_token(0, input_ids.shape, padding=IGNORED, dtype=context.label_type).reshape(-1)
        labels[segments.firsts(input_ids.shape[1])[segments.lengths > 0]] = IGNORED
        np.copyto(labels, input_ids.reshape(-1), where=labels != IGNORED)
        return {**batch, "labels": self._shifted(labels).reshape(input_ids.shape)}

    def _shifted(self, labels: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.signedinteger]:
        """Each token's own label, −100 on the first of each row, as the convention has it; in place."""
        if self.labels is LabelConvention.SHIFTED:
            labels[:-1] = labels[1:].copy()  # nothing is asked for the first of a row: none is lost to the row before
            labels[-1:] = IGNORED
        return labels


class ConcatenatedLM(CausalLM):
    """Causal language modelling over records that run on, as Evo 2 and Transformer-XL train: across their borders, too.

    As ``CausalLM``, but the separator is asked for the first token of the next record. For rows of
    ``--algorithm concatenate``, in models that see what comes before a separator.

    Megatron's rows overlap by one token, so that the last one is asked for the first of the next row; here it is asked
    for nothing.
    """

    @property
    def name(self) -> str:
        """Such as ``concatenated-lm(shifted)``."""
        return f"concatenated-lm({self.labels})"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with ``labels``."""
        labels = self.own_labels(batch, context)
        labels[:, :1] = IGNORED
        return {**batch, "labels": self._shifted(labels.reshape(-1)).reshape(labels.shape)}

    def own_labels(self, batch: Batch, context: ObjectiveContext) -> npt.NDArray[np.signedinteger]:
        """What is asked for where each token stands, −100 for nothing: [rows, length]."""
        input_ids = batch["input_ids"]
        labels = _segments(batch, context).by_token(0, input_ids.shape, padding=IGNORED, dtype=context.label_type)
        np.copyto(labels, input_ids, where=labels != IGNORED)
        return labels


class NucleotideLM(ConcatenatedLM):
    """Evo 2's loss: of what ``ConcatenatedLM`` asks for, the tokens A, C, G and T alone.

    As in NVIDIA's ``Evo2Dataset``, which also masks taxonomic tags between ``|``, the marks ``@`` and ``#``, and the
    separator, all of which are none of these letters. The letters within a tag, and repeats in lower case, which count
    a tenth there, never reach shards: ingest takes letters alone and makes them upper case.
    """

    @property
    def name(self) -> str:
        """Such as ``nucleotide-lm(shifted)``."""
        return f"nucleotide-lm({self.labels})"

    def own_labels(self, batch: Batch, context: ObjectiveContext) -> npt.NDArray[np.signedinteger]:
        """What is asked for where each token stands, −100 for nothing: [rows, length]."""
        labels = super().own_labels(batch, context)
        nucleotides = [context.residue_ids[STANDARD_RESIDUES.index(letter)] for letter in b"ACGT"]
        labels[np.isin(labels, nucleotides, invert=True)] = IGNORED
        return labels


def _segments(batch: Batch, context: ObjectiveContext) -> Segments:
    nothing = np.zeros(len(batch["lengths"]), dtype=np.uint64)
    return context.segments({**batch, "record_keys": nothing, "starts": nothing})
