"""T5's span corruption on packed rows: what the encoder reads, and what the decoder is to say.

Tokens of all segments lie end to end ("stream"), without padding::

    stream      M K T V R Q </s>      G L A </s>
    noise         x x     x               x
    encoder     M <0> V R <1> </s>    G L <0> </s>        the first residue of a span becomes its sentinel, others go
    targets     <0> K T <1> Q </s>    <0> A </s>          sentinels number the spans of a segment from 0

Invariants: putting the spans of the targets back in place of their sentinels gives the segment; a segment never becomes
longer, so that every row still fits. Spans are drawn segment by segment (``core.spans``), law 7.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.layout import position_ids, sequence_ids
from pipeline.core.masking import IGNORED
from pipeline.core.ragged import offsets_of, ramps
from pipeline.core.randomness import PURPOSE_GAP, PURPOSE_SPAN
from pipeline.core.segments import (
    RESIDUES_AT_A_TIME,
    Int64Array,
    IntArray,
    Segments,
    slices,
)
from pipeline.core.spans import SpanRule, SpanRuns, draw_spans

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinels:
    """Special tokens of span corruption.

    Attributes:
        ids: Of the sentinels, in the order of spans, integers [most spans].
        end_id: Ends each target.
        start_id: What a decoder begins each segment with.
        pad_id: Stands on padding.
    """

    ids: IntArray
    end_id: int
    start_id: int
    pad_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupted:
    """Corrupted segments, re-laid, and their targets.

    Attributes:
        input_ids: [rows, row length], of the type of the tokens.
        lengths: Tokens of each segment now, int64 [segments].
        targets: Of all segments end to end, [sum of target_lengths], of the type of the tokens.
        target_lengths: Int64 [segments]; 0 where no span is hidden.
    """

    input_ids: Array
    lengths: Int64Array
    targets: Array
    target_lengths: Int64Array

    def num_tokens(self, row_offsets: IntArray) -> Int64Array:
        """Tokens of each row now, int64 [rows]."""
        return np.diff(offsets_of(self.lengths)[row_offsets])


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Targets in rows of their own.

    Attributes:
        labels: [rows, target length], ``IGNORED`` on padding.
        decoder_input_ids: [rows, target length], of the type of the tokens.
        sequence_id: int16 [rows, target length]: which segment of the encoder's row, −1 on padding.
        position_ids: int32 [rows, target length], from 0 in each segment.
        num_left_out: int32 [rows], segments whose target did not fit.
    """

    labels: Array
    decoder_input_ids: Array
    sequence_id: npt.NDArray[np.int16]
    position_ids: npt.NDArray[np.int32]
    num_left_out: npt.NDArray[np.int32]


def corrupt_spans(
    input_ids: Array, segments: Segments, rule: SpanRule, sentinels: Sentinels, *, seed: int, epoch: int
) -> Corrupted:
    """Hide spans of every segment.

    Args:
        input_ids: Tokens, integers [rows, row length]; not changed.
        segments: The segments of the rows.
        rule: How much is hidden; at most as many spans as there are sentinels.
        sentinels: Special tokens.
        seed: Of the run.
        epoch: Each epoch hides other spans.
    """
    row_length = input_ids.shape[1]
    gap_keys, span_keys = (segments.keys(purpose, seed, epoch) for purpose in (PURPOSE_GAP, PURPOSE_SPAN))
    counts, firsts = segments.num_residues(), segments.firsts(row_length)
    tokens, old_lengths = input_ids.reshape(-1), segments.lengths.astype(np.int64)
    streams, targets, new_lengths, target_lengths = [], [], [], []
    for few in slices(counts, RESIDUES_AT_A_TIME):
        runs = draw_spans(gap_keys[few], span_keys[few], counts[few], rule)
        stream = tokens[ramps(old_lengths[few], firsts[few])]
        hidden = _Hidden.of(runs, offsets_of(old_lengths[few])[:-1] + segments.num_prefix)
        targets.append(hidden.targets(stream, sentinels))
        streams.append(hidden.encoder(stream, sentinels))
        new_lengths.append(old_lengths[few] - hidden.num_noise + hidden.num_spans)
        target_lengths.append(hidden.target_lengths)
    lengths = _joined(new_lengths, np.int64)
    relaid = np.full_like(input_ids, sentinels.pad_id)
    places = sequence_ids(lengths, segments.row_offsets, row_length, segments.alignment) >= 0
    relaid[places] = _joined(streams, input_ids.dtype)
    return Corrupted(
        input_ids=relaid,
        lengths=lengths,
        targets=_joined(targets, input_ids.dtype),
        target_lengths=_joined(target_lengths, np.int64),
    )


def lay_out_targets(
    corrupted: Corrupted,
    row_offsets: IntArray,
    target_length: int,
    sentinels: Sentinels,
    *,
    label_type: npt.DTypeLike,
) -> Targets:
    """Lay out targets left to right in rows of ``target_length``; those that do not fit are left out.

    Args:
        corrupted: Of ``corrupt_spans``.
        row_offsets: int64 [rows + 1], whose the segments are.
        target_length: Tokens of the targets of a row.
        sentinels: Special tokens.
        label_type: dtype of the labels, signed.
    """
    lengths = corrupted.target_lengths
    before = offsets_of(lengths)
    ends = before[1:] - np.repeat(before[row_offsets[:-1]], np.diff(row_offsets))
    fits = ends <= target_length
    tokens = corrupted.targets[np.repeat(fits, lengths)]
    kept = np.where(fits, lengths, 0)
    later = np.roll(tokens, 1)
    later[offsets_of(kept)[:-1][kept > 0]] = sentinels.start_id
    sequence_id = sequence_ids(kept, row_offsets, target_length)
    places = sequence_id >= 0
    labels = np.full(sequence_id.shape, IGNORED, dtype=label_type)
    decoder_input_ids = np.full(sequence_id.shape, sentinels.pad_id, dtype=tokens.dtype)
    labels[places], decoder_input_ids[places] = tokens, later
    left_out = offsets_of(~fits)[row_offsets]
    return Targets(
        labels=labels,
        decoder_input_ids=decoder_input_ids,
        sequence_id=sequence_id,
        position_ids=position_ids(kept, row_offsets, target_length),
        num_left_out=np.diff(left_out).astype(np.int32),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hidden:
    """The spans of some segments in their stream.

    Attributes:
        firsts: Where in the stream each span begins, int64 [spans].
        lengths: Residues of each span, int64 [spans].
        numbers: Of each span in its segment, int64 [spans].
        num_spans: Of each segment, int64 [segments].
        num_noise: Hidden residues of each segment, int64 [segments].
    """

    firsts: Int64Array
    lengths: Int64Array
    numbers: Int64Array
    num_spans: Int64Array
    num_noise: Int64Array

    @classmethod
    def of(cls, runs: SpanRuns, first_residues: Int64Array) -> "_Hidden":
        pairs, borders = runs.lengths, offsets_of(runs.num_pairs)
        before = offsets_of(pairs.sum(axis=1))
        in_segment = before[:-1] - np.repeat(before[borders[:-1]], runs.num_pairs)
        firsts = np.repeat(first_residues, runs.num_pairs) + in_segment + pairs[:, 0]
        is_span = pairs[:, 1] > 0
        return cls(
            firsts=firsts[is_span],
            lengths=pairs[is_span, 1],
            numbers=ramps(runs.num_pairs)[is_span],
            num_spans=np.diff(offsets_of(is_span)[borders]),
            num_noise=np.diff(offsets_of(pairs[:, 1])[borders]),
        )

    @property
    def target_lengths(self) -> Int64Array:
        return np.where(self.num_spans > 0, self.num_noise + self.num_spans + 1, 0)

    def encoder(self, stream: Array, sentinels: Sentinels) -> Array:
        corrupted, kept = stream.copy(), np.ones(len(stream), dtype=bool)
        kept[ramps(self.lengths - 1, self.firsts + 1)] = False
        corrupted[self.firsts] = sentinels.ids[self.numbers]
        return corrupted[kept]

    def targets(self, stream: Array, sentinels: Sentinels) -> Array:
        made = np.empty(int(self.target_lengths.sum()), dtype=stream.dtype)
        ends_before = np.repeat(offsets_of(self.num_spans > 0)[:-1], self.num_spans)
        begins = offsets_of(self.lengths + 1)[:-1] + ends_before
        made[begins] = sentinels.ids[self.numbers]
        made[ramps(self.lengths, begins + 1)] = stream[ramps(self.lengths, self.firsts)]
        made[offsets_of(self.target_lengths)[1:][self.num_spans > 0] - 1] = sentinels.end_id
        return made


def _joined(parts: list[Array], dtype: npt.DTypeLike) -> Array:
    return np.concatenate([np.empty(0, dtype=dtype), *parts])
