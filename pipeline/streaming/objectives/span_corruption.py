"""Span corruption, as T5 trains (Raffel et al. 2020): spans of residues give way to sentinels, a decoder tells them.

::

    before                 M K T V R Q </s> G L A </s>                    two segments
    input_ids              M <0> V R <1> </s> G L <0> </s> pad            re-laid left to right
    labels                 <0> K T <1> Q </s> <0> A </s>  .   .           a static target length
    decoder_input_ids      pad <0> K T <1> Q  pad <0> A  pad pad          the target, one later
    decoder_sequence_id     0   0  0 0  0  0   1   1  1  -1  -1           equal ids may see each other across
"""

import numpy as np

from pipeline.core.layout import position_ids, sequence_ids
from pipeline.core.span_corruption import Sentinels, corrupt_spans, lay_out_targets
from pipeline.core.spans import SpanRule
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives.base import SEGMENT_COLUMNS, Batch, ObjectiveContext, share

_MOST_SENTINELS = 100


class SpanCorruption:
    """T5's span corruption, segment by segment.

    ``input_ids`` has the corrupted segments, moved left, and ``lengths``, ``sequence_id``, ``position_ids`` and
    ``num_tokens`` say where they are now. The batch gains

    - ``labels`` int16 [rows, target length]: sentinels and the residues behind them, an end token; −100 on padding
    - ``decoder_input_ids`` [rows, target length], of the type of ``input_ids``: the same one later, each segment
      beginning with the pad token
    - ``decoder_sequence_id`` int16 [rows, target length]: the ``sequence_id`` of the encoder's segment, −1 on padding;
      where ids are equal, a decoder token may see an encoder token, and a decoder token before it
    - ``decoder_position_ids`` int32 [rows, target length], from the tokenizer's position offset on in each segment
    - ``num_targets_left_out`` int32 [rows]: segments whose target did not fit

    The number of hidden residues and spans of a segment is T5's; there are at most 100 spans, fewer where the tokenizer
    has fewer sentinels, and in a segment that would have more they are longer. A segment of one residue has no span and
    no target.

    Args:
        density: Share of the residues that are hidden.
        mean_span_length: Residues of a span on average.
        target_length: Tokens of the targets of a row. By default as many as any row can need, so that no target is left
            out: because of dipeptides, that is about the row length. With proteins of 30 residues or more,
            ``longest_targets`` says that a quarter of it is enough. Targets that do not fit are left out, the last ones
            of a row first, and counted.

    Raises:
        ConfigurationError: An argument is out of range.
    """

    columns = SEGMENT_COLUMNS

    def __init__(
        self, density: float = 0.15, mean_span_length: float = 3.0, *, target_length: int | None = None
    ) -> None:
        self.density = share("density", density)
        if not mean_span_length >= 1.0:
            raise ConfigurationError(f"mean_span_length: expected at least 1, found {mean_span_length}")
        self.mean_span_length = mean_span_length
        if target_length is not None and target_length < 1:
            raise ConfigurationError(f"target_length: expected at least 1, found {target_length}")
        self.target_length = target_length

    @property
    def name(self) -> str:
        """Such as ``span-corruption(0.15, 3.0)``."""
        return f"span-corruption({self.density}, {self.mean_span_length})"

    def longest_targets(self, row_length: int, *, num_special: int = 1, shortest: int = 1) -> int:
        """A number of tokens that the targets of a row never exceed, with at most 100 sentinels.

        Args:
            row_length: Tokens of a row.
            num_special: Special tokens of a segment: 1 in ProtT5.
            shortest: Residues that every segment has at least.
        """
        return self._rule(_MOST_SENTINELS).longest_targets(row_length, num_special=num_special, shortest=shortest)

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with re-laid ``input_ids``, and the decoder's arrays.

        Raises:
            ConfigurationError: The tokenizer has no sentinels.
        """
        sentinels = _sentinels(context)
        segments, length = context.segments(batch), batch["input_ids"].shape[1]
        rule = self._rule(len(sentinels.ids))
        corrupted = corrupt_spans(batch["input_ids"], segments, rule, sentinels, seed=context.seed, epoch=context.epoch)
        targets = lay_out_targets(
            corrupted,
            segments.row_offsets,
            self.target_length or self._default_target_length(rule, context, length),
            sentinels,
            label_type=context.label_type,
        )
        layout = (corrupted.lengths, segments.row_offsets, length, context.alignment)
        return {
            **batch,
            "input_ids": corrupted.input_ids,
            "lengths": corrupted.lengths.astype(np.uint32),
            "sequence_id": sequence_ids(*layout),
            "position_ids": position_ids(*layout) + np.int32(context.position_offset),
            "num_tokens": corrupted.num_tokens(segments.row_offsets).astype(np.int32),
            "labels": targets.labels,
            "decoder_input_ids": targets.decoder_input_ids,
            "decoder_sequence_id": targets.sequence_id,
            "decoder_position_ids": targets.position_ids + np.int32(context.position_offset),
            "num_targets_left_out": targets.num_left_out,
        }

    def _rule(self, num_sentinels: int) -> SpanRule:
        return SpanRule(density=self.density, mean_length=self.mean_span_length, most_spans=num_sentinels)

    def _default_target_length(self, rule: SpanRule, context: ObjectiveContext, row_length: int) -> int:
        num_special = context.num_prefix + context.num_suffix
        return rule.longest_targets(row_length, num_special=num_special, alignment=context.alignment)


def _sentinels(context: ObjectiveContext) -> Sentinels:
    if not context.sentinel_ids or context.end_id is None:
        raise ConfigurationError(
            f"span corruption needs the sentinel tokens <extra_id_0>, <extra_id_1>, … and an end token; tokenizer "
            f"{context.tokenizer!r} of this dataset has none",
            hint="pack and shard with --tokenizer prott5",
        )
    ids = np.array(context.sentinel_ids[:_MOST_SENTINELS])
    return Sentinels(ids=ids, end_id=context.end_id, start_id=context.pad_id, pad_id=context.pad_id)
