"""Causal language modelling in both directions, as ProGen trains: a protein from N to C terminus, or from C to N.

::

    forwards     1  M  K  T  V  2           ProGen2     bos 1  M  K  T  V  2 eos     ProGen3
    backwards    2  V  T  K  M  1                       bos 2  V  T  K  M  1 eos

The tokens of the termini are turned with the residues, so that the first one says which way a protein is read.
"""

import numpy as np

from pipeline.core.ragged import ramps
from pipeline.core.randomness import PURPOSE_DIRECTION, draw, uniform
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives.base import SEGMENT_COLUMNS, Batch, ObjectiveContext
from pipeline.streaming.objectives.causal import CausalLM, LabelConvention


class BidirectionalLM(CausalLM):
    """Causal language modelling of segments, some of which are turned round.

    ``input_ids`` has the segments as they are read, ``labels`` as ``CausalLM`` gives them. Which ones are turned
    depends on (seed, epoch, record key, start) alone. The order of tokens is all that changes: ``lengths``,
    ``sequence_id`` and ``position_ids`` hold as they are.

    Args:
        backwards: The probability that a segment is turned round. A half is ours: what ProGen took is not verified.
        labels: Who shifts them: a member of ``LabelConvention``.

    Raises:
        ConfigurationError: The probability is not between 0 and 1, or there is no such convention.
    """

    columns = SEGMENT_COLUMNS

    def __init__(self, backwards: float = 0.5, *, labels: LabelConvention | str = LabelConvention.SHIFTED) -> None:
        super().__init__(labels)
        if not 0.0 <= backwards <= 1.0:
            raise ConfigurationError(f"backwards: expected a probability from 0 to 1, found {backwards}")
        self.backwards = backwards

    @property
    def name(self) -> str:
        """Such as ``bidirectional-lm(0.5, shifted)``."""
        return f"bidirectional-lm({self.backwards}, {self.labels})"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with ``input_ids`` as they are read, and ``labels``.

        Raises:
            ConfigurationError: The tokenizer does not say where the termini are.
        """
        if context.num_outer is None:
            raise ConfigurationError(
                f"bidirectional LM needs the tokens 1 and 2 of the termini; tokenizer {context.tokenizer!r} of this "
                "dataset does not put them round a protein",
                hint="pack and shard with --tokenizer progen2 or progen3",
            )
        input_ids, segments = batch["input_ids"].copy(), context.segments(batch)
        bits = draw(segments.keys(PURPOSE_DIRECTION, context.seed, context.epoch), 0)
        is_turned = (uniform(bits) < self.backwards) & (segments.lengths > 2 * context.num_outer)
        counts = segments.lengths.astype(np.int64)[is_turned] - 2 * context.num_outer
        firsts = segments.firsts(input_ids.shape[1])[is_turned] + context.num_outer
        places = ramps(counts, firsts)
        from_behind = np.repeat(2 * firsts + counts - 1, counts) - places
        input_ids.reshape(-1)[places] = batch["input_ids"].reshape(-1)[from_behind]
        return super().__call__({**batch, "input_ids": input_ids}, context)
