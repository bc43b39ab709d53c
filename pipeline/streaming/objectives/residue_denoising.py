"""Single-residue denoising, as ProtT5 trains: a corrupted protein goes in, the whole protein comes out.

::

    input_ids              M  *  T  L  R  </s>  G  *  </s> pad      15 %: 90 % of them masks, 10 % another residue
    decoder_input_ids    pad  M  K  T  V  R    pad G   A   pad      the target, one later; each segment begins with pad
    labels                 M  K  T  V  R  </s>  G  A  </s>  .
    decoder_sequence_id    0  0  0  0  0  0     1  1   1   -1       the encoder's: the decoder sees its own protein
"""

import numpy as np

from pipeline.core.layout import sequence_ids
from pipeline.core.masking import IGNORED, Corruption, mask_tokens
from pipeline.core.noise import Constant
from pipeline.core.replacement_pool import ReplacementPool
from pipeline.streaming.objectives.base import SEGMENT_COLUMNS, Batch, ObjectiveContext, no_mask_token, share

PROTT5 = Corruption(mask=0.9, random=0.1)
"""Of the corrupted residues 90 % become the mask, 10 % another residue (ProtT5's model card)."""


class ResidueDenoising:
    """Single-residue denoising with the full target.

    ``input_ids`` is the corrupted copy. The batch gains ``labels`` int16 [rows, length], every token of every segment
    and −100 on padding; ``decoder_input_ids`` [rows, length] of the type of ``input_ids``, the same one later, each
    segment beginning with the pad token; and ``decoder_sequence_id`` int16 [rows, length], 0-based, −1 on padding.

    The mask token of a family without one is its first sentinel, ``<extra_id_0>``. That this is what ProtT5 was trained
    with is not verified: its authors' answers disagree.

    Args:
        rate: Share of the residues that are corrupted.

    Raises:
        ConfigurationError: It is not between 0 and 1.
    """

    columns = SEGMENT_COLUMNS

    def __init__(self, rate: float = 0.15) -> None:
        self.rate = share("rate", rate)

    @property
    def name(self) -> str:
        """Such as ``residue-denoising(0.15)``."""
        return f"residue-denoising({self.rate})"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with corrupted ``input_ids``, and the decoder's arrays.

        Raises:
            ConfigurationError: The tokenizer has neither a mask token nor sentinels.
        """
        original, segments = batch["input_ids"], context.segments(batch)
        input_ids, _ = mask_tokens(
            original,
            segments,
            schedule=Constant(self.rate),
            seed=context.seed,
            epoch=context.epoch,
            mask_id=_mask(context),
            pool=context.pool(ReplacementPool.OTHER_RESIDUES),
            corruption=PROTT5,
            label_type=context.label_type,
        )
        sequence_id = sequence_ids(segments.lengths, segments.row_offsets, original.shape[1], context.alignment)
        is_padding = sequence_id < 0
        labels = original.astype(context.label_type)
        labels[is_padding] = IGNORED
        decoder_input_ids = np.full_like(original, context.pad_id)
        decoder_input_ids[:, 1:] = original[:, :-1]
        decoder_input_ids[is_padding] = context.pad_id
        begins = segments.firsts(original.shape[1])[segments.lengths > 0]
        decoder_input_ids.reshape(-1)[begins] = context.pad_id
        return {
            **batch,
            "input_ids": input_ids,
            "labels": labels,
            "decoder_input_ids": decoder_input_ids,
            "decoder_sequence_id": sequence_id,
        }


def _mask(context: ObjectiveContext) -> int:
    if context.mask_id is not None:
        return context.mask_id
    if not context.sentinel_ids:
        raise no_mask_token(context.tokenizer, "residue denoising")
    return context.sentinel_ids[0]
