"""Masking: law 7 against a loop that knows one residue at a time, the 80/10/10 rule, rates, golden vectors."""

from math import sqrt
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pipeline.core import masking
from pipeline.core.masking import ABSORBING, BERT, Corruption, Fate, mask_at_rates, mask_exactly, mask_tokens
from pipeline.core.noise import Constant, draw_rates, parse_schedule
from pipeline.core.randomness import PURPOSE_MASK, PURPOSE_REPLACEMENT, below, derive_key, draw
from pipeline.core.replacement_pool import Pool
from pipeline.core.segments import Segments

CLS, PAD, EOS, MASK = 0, 1, 2, 32
POOL = np.arange(4, 24)


class Piece(NamedTuple):
    """A segment without its place: which record, where it starts, its residues."""

    key: int
    start: int
    residues: tuple[int, ...]


class Layout(NamedTuple):
    num_prefix: int = 1
    num_suffix: int = 1
    alignment: int = 1
    dtype: type = np.uint8


PLAIN = Layout()


def lay(rows, length, layout=PLAIN):
    """Rows of pieces as tokens, segments, and where each piece's first residue went: [(row, column) for each piece]."""
    input_ids = np.full((len(rows), length), PAD, dtype=layout.dtype)
    lengths, places = [], []
    for row, pieces in enumerate(rows):
        column = 0
        for piece in pieces:
            tokens = [CLS] * layout.num_prefix + list(piece.residues) + [EOS] * layout.num_suffix
            input_ids[row, column : column + len(tokens)] = tokens
            places.append((row, column + layout.num_prefix))
            lengths.append(len(tokens))
            column += -(-len(tokens) // layout.alignment) * layout.alignment
        assert column < length + layout.alignment
    flat = [piece for pieces in rows for piece in pieces]
    segments = Segments(
        row_offsets=np.cumsum([0, *map(len, rows)]),
        lengths=np.array(lengths, dtype=np.uint32),
        record_keys=np.array([piece.key for piece in flat], dtype=np.uint64),
        starts=np.array([piece.start for piece in flat], dtype=np.uint32),
        num_prefix=layout.num_prefix,
        num_suffix=layout.num_suffix,
        alignment=layout.alignment,
    )
    return input_ids, segments, places


def mask(input_ids, segments, schedule="0.15", *, seed=0, epoch=0, **options):
    options = {"mask_id": MASK, "pool": Pool(POOL), "schedule": parse_schedule(schedule), **options}
    return mask_tokens(input_ids, segments, seed=seed, epoch=epoch, **options)


def reference(piece, schedule, seed, epoch, corruption):
    """What becomes of a piece and its labels, one residue at a time, from the definition."""
    identity = (seed, epoch, piece.key, piece.start)
    rate = float(draw_rates(schedule, *identity))
    corrupted, labels = [], []
    for position, residue in enumerate(piece.residues):
        bits = int(draw(derive_key(PURPOSE_MASK, *identity), position))
        upper, lower = bits >> 32, bits & 0xFFFFFFFF
        becomes, label = residue, -100
        if upper < int(rate * 2**32):
            label = residue
            if lower < int(corruption.mask * 2**32):
                becomes = MASK
            elif lower < int((corruption.mask + corruption.random) * 2**32):
                pick = below(draw(derive_key(PURPOSE_REPLACEMENT, *identity), position), len(POOL))
                becomes = int(POOL[int(pick)])
        corrupted.append(becomes)
        labels.append(label)
    return corrupted, labels


pieces = st.builds(
    Piece,
    key=st.integers(0, (1 << 64) - 1),
    start=st.integers(0, 3000),
    residues=st.lists(st.integers(4, 24), max_size=30).map(tuple),
)
batches = st.lists(st.lists(pieces, max_size=4), max_size=5)
layouts = st.builds(
    Layout, st.integers(0, 2), st.integers(0, 2), st.sampled_from([1, 2, 8]), st.sampled_from([np.uint8, np.int64])
)
schedules = st.sampled_from(["0.15", "0.9", "betalinear30", "cubic", "sqrt"])


@given(batches, layouts, schedules, st.tuples(st.integers(0, 1 << 64), st.integers(0, 1000)), st.integers(1, 40))
def test_equals_the_definition_one_residue_at_a_time(rows, layout, name, seed_and_epoch, at_a_time):
    seed, epoch = seed_and_epoch
    input_ids, segments, places = lay(rows, 200, layout)
    schedule = parse_schedule(name)
    expected, expected_labels = input_ids.astype(np.int64), np.full(input_ids.shape, -100)
    for piece, (row, column) in zip([piece for pieces in rows for piece in pieces], places, strict=True):
        here = (row, slice(column, column + len(piece.residues)))
        corruption = BERT if isinstance(schedule, Constant) else ABSORBING
        expected[here], expected_labels[here] = reference(piece, schedule, seed, epoch, corruption)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "RESIDUES_AT_A_TIME", at_a_time)
        corrupted, labels = mask(input_ids, segments, name, seed=seed, epoch=epoch)
    assert_array_equal(corrupted, expected)
    assert_array_equal(labels, expected_labels)
    assert corrupted.dtype == input_ids.dtype


@given(st.lists(pieces, min_size=1, max_size=8), schedules, st.data())
def test_a_segment_is_masked_alike_wherever_it_lies(segments, name, data):
    """Law 7: in other rows and batches, beside others, in another order, with other special tokens and alignment."""

    def view(rows, layout):
        input_ids, arrays, places = lay(rows, 400, layout)
        corrupted, labels = mask(input_ids, arrays, name, seed=3, epoch=4)
        flat = [piece for pieces in rows for piece in pieces]
        return {
            piece: (
                corrupted[row, column : column + len(piece.residues)].tolist(),
                labels[row, column : column + len(piece.residues)].tolist(),
            )
            for piece, (row, column) in zip(flat, places, strict=True)
        }

    together = view([segments], data.draw(layouts))
    shuffled = data.draw(st.permutations(segments))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(segments)), max_size=3)))
    rows = [shuffled[first:last] for first, last in zip([0, *cuts], [*cuts, len(segments)], strict=True)]
    assert view(rows, data.draw(layouts)) == together
    assert all(view([[piece]], PLAIN)[piece] == together[piece] for piece in segments)


def proteins(num, length, *, first_key=0):
    rng = np.random.default_rng(0)
    return [Piece(first_key + i, 0, tuple(rng.integers(4, 24, length).tolist())) for i in range(num)]


def test_seed_epoch_record_and_start_each_give_another_mask():
    residues = (5,) * 200
    masks = set()
    for seed, epoch, key, start in [(0, 0, 5, 0), (1, 0, 5, 0), (0, 1, 5, 0), (0, 0, 6, 0), (0, 0, 5, 1)]:
        input_ids, segments, _ = lay([[Piece(key, start, residues)]], 202)
        masks.add(mask(input_ids, segments, "0.5", seed=seed, epoch=epoch)[1].tobytes())
    assert len(masks) == 5


def test_a_large_batch_is_masked_like_its_rows():
    # 64 rows of 1,024 are several pieces of work.
    rows = [[proteins(1, 400, first_key=10 * row)[0], proteins(1, 600, first_key=10 * row + 1)[0]] for row in range(64)]
    input_ids, segments, _ = lay(rows, 1024)
    corrupted, labels = mask(input_ids, segments, "betalinear30")
    for row in range(64):
        alone = mask(*lay([rows[row]], 1024)[:2], "betalinear30")
        assert_array_equal(corrupted[row], alone[0][0])
        assert_array_equal(labels[row], alone[1][0])


@pytest.mark.parametrize("schedule", ["0.15", "0.999999", "cubic", "betalinear30"])
def test_special_tokens_and_padding_are_never_selected(schedule):
    input_ids, segments, _ = lay([proteins(4, 37), proteins(2, 90, first_key=9), []], 256)
    corrupted, labels = mask(input_ids, segments, schedule)
    special = input_ids < 4
    assert_array_equal(labels[special], -100)
    assert_array_equal(corrupted[special], input_ids[special])
    assert (labels[~special] != -100).any()


@pytest.mark.parametrize("schedule", ["0.15", "betalinear30"])
def test_labels_are_the_originals_where_selected(schedule):
    input_ids, segments, _ = lay([proteins(3, 300)], 1024)
    before = input_ids.copy()
    corrupted, labels = mask(input_ids, segments, schedule)
    selected = labels != -100
    assert_array_equal(input_ids, before)
    assert_array_equal(labels[selected], before[selected])
    assert_array_equal(corrupted[~selected], before[~selected])


def test_a_plain_rate_is_80_10_10():
    input_ids, segments, _ = lay([[piece] for piece in proteins(300, 1000)], 1002)
    corrupted, labels = mask(input_ids, segments, "0.15")
    selected = labels != -100
    assert within_binomial(selected.sum(), 300_000, 0.15)
    became, were = corrupted[selected], input_ids[selected]
    assert within_binomial((became == MASK).sum(), became.size, 0.8)
    # One in twenty random residues is the residue that was there.
    assert within_binomial((became == were).sum(), became.size, 0.1 + 0.1 / 20)
    others = became[(became != MASK) & (became != were)]
    counts = np.bincount(others, minlength=24)[4:24]
    assert counts.sum() == others.size
    assert all(within_binomial(count, others.size, 1 / 20) for count in counts)


def within_binomial(count, trials, probability):
    return abs(count - trials * probability) < 4.5 * sqrt(trials * probability * (1 - probability))


def test_a_schedule_turns_all_selected_into_the_mask():
    input_ids, segments, _ = lay([proteins(3, 300)], 1024)
    corrupted, labels = mask(input_ids, segments, "linear")
    assert_array_equal(corrupted[labels != -100], MASK)
    assert not np.any(corrupted[labels == -100] == MASK)


def test_every_segment_has_the_rate_that_its_schedule_drew():
    input_ids, segments, _ = lay([[piece] for piece in proteins(200, 2000)], 2002)
    labels = mask(input_ids, segments, "betalinear30", seed=8, epoch=2)[1]
    rates = draw_rates(parse_schedule("betalinear30"), 8, 2, segments.record_keys, segments.starts)
    observed = (labels != -100).sum(axis=1) / 2000
    assert np.all(np.abs(observed - rates) < 4.5 * np.sqrt(rates * (1 - rates) / 2000) + 1e-9)
    assert np.ptp(observed) > 0.5


def test_selection_does_not_depend_on_position_or_neighbour():
    input_ids, segments, _ = lay([[piece] for piece in proteins(4000, 100)], 102)
    selected = mask(input_ids, segments, "0.3")[1][:, 1:-1] != -100
    assert all(within_binomial(count, 4000, 0.3) for count in selected.sum(axis=0))
    assert within_binomial((selected[:, 1:] & selected[:, :-1]).sum(), 4000 * 99, 0.09)


def test_corruption_and_pool_can_be_chosen():
    input_ids, segments, _ = lay([[piece] for piece in proteins(50, 1000)], 1002)
    corrupted, labels = mask(
        input_ids, segments, "linear", corruption=Corruption(mask=0.0, random=1.0), pool=Pool(np.array([7]))
    )
    assert_array_equal(corrupted[labels != -100], 7)
    corrupted, labels = mask(input_ids, segments, 0.5, corruption=Corruption(mask=0.0, random=0.0))
    assert_array_equal(corrupted, input_ids)
    assert (labels != -100).any()


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_rates_at_the_ends_select_nothing_and_everything(rate):
    input_ids, segments, _ = lay([proteins(4, 200), proteins(1, 700)], 1024)
    fate = Fate(corruption=ABSORBING, mask_id=MASK, pool=Pool(POOL))
    corrupted, labels = mask_at_rates(input_ids, segments, np.full(5, rate), seed=0, epoch=0, fate=fate)
    residues = input_ids >= 4
    assert_array_equal(corrupted == MASK, residues if rate else np.zeros_like(residues))
    assert_array_equal(labels, np.where(residues & bool(rate), input_ids.astype(int), -100))


def test_another_residue_is_never_the_one_that_was_there():
    input_ids, segments, _ = lay([[piece] for piece in proteins(60, 1000)], 1002)
    corruption, pool = Corruption(mask=0.0, random=1.0), Pool(POOL, avoids_original=True)
    corrupted, labels = mask(input_ids, segments, "0.5", corruption=corruption, pool=pool)
    selected = labels != -100
    assert within_binomial(selected.sum(), 60_000, 0.5)
    assert not np.any(corrupted[selected] == input_ids[selected])
    assert set(corrupted[selected].tolist()) == {*POOL.tolist()}


@given(st.lists(pieces, min_size=1, max_size=8), st.data())
def test_a_given_number_is_masked_in_each_segment(segments, data):
    """And law 7: the same ones in any row and order."""

    def view(which):
        input_ids, arrays, _ = lay([[segments[i]] for i in which], 40)
        chosen = np.array([sizes[i] for i in which])
        corrupted, labels = mask_exactly(input_ids, arrays, chosen, seed=1, epoch=2, mask_id=MASK)
        assert_array_equal(labels, np.where(corrupted == MASK, input_ids.astype(int), -100))
        return {i: np.flatnonzero(corrupted[row] == MASK).tolist() for row, i in enumerate(which)}

    sizes = [data.draw(st.integers(0, len(piece.residues))) for piece in segments]
    together = view(list(range(len(segments))))
    assert [len(places) for places in together.values()] == sizes
    assert all(1 <= place <= len(segments[i].residues) for i, places in together.items() for place in places)
    assert view(data.draw(st.permutations(range(len(segments))))) == together


def test_special_ids_are_left_out_wherever_they_stand():
    input_ids, segments, _ = lay([[Piece(1, 0, (5, 6, EOS, 7) * 50)]], 200, Layout(0, 0))
    everything = mask(input_ids, segments, "0.5")
    corrupted, labels = mask(input_ids, segments, "0.5", special_ids=(EOS, CLS))
    separators = input_ids == EOS
    assert (everything[1][separators] != -100).any()
    assert_array_equal(labels[separators], -100)
    assert_array_equal(corrupted[separators], EOS)
    assert_array_equal(labels[~separators], everything[1][~separators])
    assert_array_equal(corrupted[~separators], everything[0][~separators])


@pytest.mark.parametrize("rows", [[], [[]], [[], []], [[Piece(1, 0, ())], []]])
def test_rows_without_residues(rows):
    input_ids, segments, _ = lay(rows, 16)
    corrupted, labels = mask(input_ids, segments, "cubic")
    assert_array_equal(corrupted, input_ids)
    assert labels.shape == input_ids.shape
    assert np.all(labels == -100)


@pytest.mark.parametrize("label_type", [np.int64, np.int32, np.int16])
def test_the_type_of_labels_can_be_chosen(label_type):
    input_ids, segments, _ = lay([proteins(3, 300)], 1024)
    labels = mask(input_ids, segments, label_type=label_type)[1]
    assert labels.dtype == label_type
    assert_array_equal(labels, mask(input_ids, segments)[1])


def test_views_and_read_only_rows_are_taken():
    input_ids, segments, _ = lay([proteins(3, 300)], 1024)
    wide = np.zeros((1, 2048), dtype=np.uint8)
    wide[:, ::2] = input_ids
    wide.setflags(write=False)
    assert_array_equal(mask(wide[:, ::2], segments)[0], mask(input_ids, segments)[0])


def test_golden_vector():
    piece = Piece(0x0123456789ABCDEF, 512, tuple(POOL.tolist()) * 2)
    input_ids, segments, _ = lay([[piece]], 44)
    corrupted, labels = mask(input_ids, segments, "0.3", seed=42, epoch=3)
    assert corrupted[0].tolist() == [
        0,
        4,
        5,
        6,
        7,
        8,
        23,
        10,
        11,
        12,
        13,
        14,
        15,
        16,
        17,
        6,
        19,
        32,
        21,
        32,
        23,
        32,
        19,
        6,
        7,
        8,
        9,
        32,
        11,
        12,
        32,
        14,
        15,
        16,
        17,
        18,
        32,
        32,
        21,
        22,
        23,
        2,
        1,
        1,
    ]
    assert np.flatnonzero(labels[0] != -100).tolist() == [6, 15, 17, 19, 20, 21, 22, 27, 30, 36, 37]
    assert np.flatnonzero(mask(input_ids, segments, "betalinear30", seed=42, epoch=3)[0][0] == MASK).tolist() == [
        17,
        19,
        22,
        37,
    ]
