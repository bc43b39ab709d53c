"""T5's span corruption: what went in comes back from inputs and targets together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core import span_corruption
from pipeline.core.masking import IGNORED
from pipeline.core.segments import Segments
from pipeline.core.span_corruption import Sentinels, corrupt_spans, lay_out_targets
from pipeline.core.spans import SpanRule

PAD, EOS, CLS = 0, 1, 2
SENTINELS = Sentinels(ids=np.arange(199, 99, -1), end_id=EOS, start_id=PAD, pad_id=PAD)
SPANS = set(SENTINELS.ids.tolist())

pieces = st.tuples(
    st.integers(0, (1 << 64) - 1), st.integers(0, 500), st.lists(st.integers(3, 27), max_size=60).map(tuple)
)
batches = st.lists(st.lists(pieces, max_size=4), max_size=4)
rules = st.builds(
    SpanRule, density=st.floats(0.05, 0.9), mean_length=st.floats(1, 6), most_spans=st.sampled_from([1, 3, 100])
)
T5 = SpanRule(density=0.15, mean_length=3.0, most_spans=100)


def lay(rows, length, *, prefix=0, suffix=1, alignment=1):
    input_ids = np.full((len(rows), length), PAD, dtype=np.uint8)
    lengths = []
    for row, segments in enumerate(rows):
        column = 0
        for _, _, residues in segments:
            tokens = [CLS] * prefix + list(residues) + [EOS] * suffix
            input_ids[row, column : column + len(tokens)] = tokens
            lengths.append(len(tokens))
            column += -(-len(tokens) // alignment) * alignment
    flat = [piece for row in rows for piece in row]
    return input_ids, Segments(
        row_offsets=np.cumsum([0, *map(len, rows)]),
        lengths=np.array(lengths, dtype=np.uint32),
        record_keys=np.array([key for key, *_ in flat], dtype=np.uint64),
        starts=np.array([start for _, start, _ in flat], dtype=np.uint32),
        num_prefix=prefix,
        num_suffix=suffix,
        alignment=alignment,
    )


def spell_out(inputs, targets):
    """The tokens of a segment: the encoder's, with each sentinel replaced by what stands behind it in the targets."""
    spans, current = {}, None
    for token in targets[: targets.index(EOS)] if targets else []:
        if token in SPANS:
            current = spans[token] = []
        else:
            current.append(token)
    told = [[*spans.pop(token)] if token in SPANS else [token] for token in inputs]
    assert not spans
    return [token for part in told for token in part]


@given(batches, rules, st.tuples(st.integers(0, 2), st.integers(0, 2)), st.sampled_from([1, 8]), st.integers(1, 200))
def test_inputs_and_targets_together_are_the_original(rows, rule, special, alignment, at_a_time):
    length, (prefix, suffix) = 400, special
    layout = {"prefix": prefix, "suffix": suffix, "alignment": alignment}
    input_ids, segments = lay(rows, length, **layout)
    before = input_ids.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(span_corruption, "RESIDUES_AT_A_TIME", at_a_time)
        corrupted = corrupt_spans(input_ids, segments, rule, SENTINELS, seed=1, epoch=2)
    longest = rule.longest_targets(length, num_special=prefix + suffix, alignment=alignment)
    targets = lay_out_targets(corrupted, segments.row_offsets, longest, SENTINELS, label_type=np.int16)
    assert_array_equal(input_ids, before)
    assert not targets.num_left_out.any()
    assert np.all(corrupted.lengths <= segments.lengths)
    number = 0
    for row, pieces_of_row in enumerate(rows):
        column = target_column = 0
        for slot, (_, _, residues) in enumerate(pieces_of_row):
            inputs = corrupted.input_ids[row, column : column + corrupted.lengths[number]].tolist()
            asked = slice(target_column, target_column + int(corrupted.target_lengths[number]))
            labels = targets.labels[row, asked].tolist()
            assert spell_out(inputs, labels) == [CLS] * prefix + list(residues) + [EOS] * suffix
            assert (len(labels) == 0) == (len(residues) < 2)
            if labels:
                assert labels[-1] == EOS
                assert targets.decoder_input_ids[row, asked].tolist() == [PAD, *labels[:-1]]
                sentinels = [token for token in inputs if token in SPANS]
                assert sentinels == SENTINELS.ids[: len(sentinels)].tolist()
                assert len(sentinels) <= rule.most_spans
            assert np.all(targets.sequence_id[row, asked] == slot)
            assert targets.position_ids[row, asked].tolist() == list(range(len(labels)))
            column += -(-int(corrupted.lengths[number]) // alignment) * alignment
            target_column, number = asked.stop, number + 1
        assert np.all(corrupted.input_ids[row, column:] == PAD)
        assert np.all(targets.labels[row, target_column:] == IGNORED)
        assert np.all(targets.sequence_id[row, target_column:] == -1)
        assert np.all(targets.decoder_input_ids[row, target_column:] == PAD)


@given(st.lists(pieces, min_size=1, max_size=6), st.data())
def test_a_segment_is_corrupted_alike_wherever_it_lies(segments, data):
    """Law 7: in other rows and batches, beside others, in another order, with other special tokens and alignment."""

    def view(rows, prefix, suffix, alignment):
        input_ids, arrays = lay(rows, 500, prefix=prefix, suffix=suffix, alignment=alignment)
        corrupted = corrupt_spans(input_ids, arrays, T5, SENTINELS, seed=3, epoch=4)
        found, column, number = {}, 0, 0
        ends = np.cumsum(corrupted.target_lengths)
        for row, pieces_of_row in enumerate(rows):
            column = 0
            for piece in pieces_of_row:
                inputs = corrupted.input_ids[row, column : column + corrupted.lengths[number]].tolist()
                first = ends[number] - corrupted.target_lengths[number]
                target = corrupted.targets[first : ends[number]].tolist()
                found[piece] = (inputs[prefix : len(inputs) - suffix], target)
                column += -(-int(corrupted.lengths[number]) // alignment) * alignment
                number += 1
        return found

    layout = data.draw(st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from([1, 4])))
    together = view([segments], *layout)
    shuffled = data.draw(st.permutations(segments))
    cut = data.draw(st.integers(0, len(segments)))
    assert view([shuffled[:cut], shuffled[cut:]], 0, 1, 1) == together
    assert all(view([[piece]], 0, 1, 1)[piece] == together[piece] for piece in segments)


def test_targets_that_do_not_fit_are_left_out_from_the_right_and_counted():
    rng = np.random.default_rng(0)
    rows = [[(key, 0, tuple(rng.integers(3, 28, 20).tolist())) for key in range(4)], [], [(9, 0, (5,))]]
    input_ids, segments = lay(rows, 100)
    corrupted = corrupt_spans(input_ids, segments, T5, SENTINELS, seed=0, epoch=0)
    length = int(corrupted.target_lengths[0])
    assert corrupted.target_lengths.tolist() == [length] * 4 + [0]
    whole = lay_out_targets(corrupted, segments.row_offsets, 4 * length, SENTINELS, label_type=np.int16)
    short = lay_out_targets(corrupted, segments.row_offsets, 3 * length - 1, SENTINELS, label_type=np.int16)
    assert whole.num_left_out.tolist() == [0, 0, 0]
    assert short.num_left_out.tolist() == [2, 0, 0]
    assert_array_equal(short.labels[0, : 2 * length], whole.labels[0, : 2 * length])
    assert_array_equal(short.decoder_input_ids[0, : 2 * length], whole.decoder_input_ids[0, : 2 * length])
    assert np.all(short.labels[0, 2 * length :] == IGNORED)
    assert np.all(short.sequence_id[0, 2 * length :] == -1)


def test_seed_epoch_record_and_start_each_hide_other_spans():
    residues = tuple(range(3, 28)) * 8
    hidden = set()
    for seed, epoch, key, start in [(0, 0, 5, 0), (1, 0, 5, 0), (0, 1, 5, 0), (0, 0, 6, 0), (0, 0, 5, 1)]:
        input_ids, segments = lay([[(key, start, residues)]], 210)
        hidden.add(corrupt_spans(input_ids, segments, T5, SENTINELS, seed=seed, epoch=epoch).targets.tobytes())
    assert len(hidden) == 5


def test_golden_vector():
    input_ids, segments = lay([[(0x0123456789ABCDEF, 512, tuple(range(3, 28)) * 2)]], 60)
    corrupted = corrupt_spans(input_ids, segments, T5, SENTINELS, seed=42, epoch=3)
    assert corrupted.targets.tolist() == [199, 10, 11, 12, 13, 198, 13, 14, 197, 26, 27, 1]
