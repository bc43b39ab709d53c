"""Cells of alignments: masked at the rate, by row and column of the whole alignment, and by nothing else (law 7)."""

import numpy as np

from pipeline.core.alignment_masking import Cells, mask_cells
from pipeline.core.masking import BERT, IGNORED, Corruption, Fate
from pipeline.core.replacement_pool import Pool

MASK = 32
KEY = np.uint64(0x8E64A4E2ED4E417E)
TOKENS = ((np.arange(200)[:, None] * 7 + np.arange(300) * 3) % 27 + 4).astype(np.uint8)  # 4 … 30: residues and the gap
RESIDUES = np.arange(4, 24)
GOLDEN_CELLS = [(0, 0), (0, 22), (0, 33), (1, 11), (1, 20), (1, 23), (1, 24), (1, 28), (1, 30), (1, 33), (2, 17)]
GOLDEN_TOKENS = [20, 19, 10, 4, 14, 8, 11, 20, 14, 19, 13, 22]


def mask(rows, columns, *, rate=0.15, seed=0, epoch=0, corruption=BERT, key=KEY):
    tokens = TOKENS[np.ix_(rows, columns)].copy()
    fate = Fate(corruption=corruption, mask_id=MASK, pool=Pool(RESIDUES))
    cells = Cells(key, np.asarray(rows), np.asarray(columns))
    labels = mask_cells(tokens, cells, rate=rate, fate=fate, seed=seed, epoch=epoch, label_type=np.int16)
    return tokens, labels


ALL = np.arange(200), np.arange(300)


def test_a_cell_is_masked_whatever_is_drawn_with_it():
    tokens, labels = mask(*ALL)
    rows, columns = np.array([0, 3, 4, 150]), np.arange(17, 90)
    some_tokens, some_labels = mask(rows, columns)
    assert np.array_equal(some_tokens, tokens[np.ix_(rows, columns)])
    assert np.array_equal(some_labels, labels[np.ix_(rows, columns)])


def test_labels_are_the_originals_and_fates_have_their_shares():
    tokens, labels = mask(*ALL)
    selected = labels != IGNORED
    assert np.array_equal(labels[selected], TOKENS[selected])
    assert np.array_equal(tokens[~selected], TOKENS[~selected])
    assert abs(selected.mean() - 0.15) < 0.005
    assert abs((tokens[selected] == MASK).mean() - 0.8) < 0.015
    stayed = (tokens[selected] == TOKENS[selected]).mean()
    assert abs(stayed - 0.1 - 0.1 / 27) < 0.015  # a random residue may be the original
    replaced = selected & (tokens != MASK) & (tokens != TOKENS)
    assert np.isin(tokens[replaced], RESIDUES).all()


def test_gaps_are_asked_for_like_any_other_cell():
    _, labels = mask(*ALL)
    is_gap = TOKENS == 30
    assert abs((labels[is_gap] == 30).mean() - 0.15) < 0.03


def test_another_epoch_seed_or_alignment_masks_anew():
    first = mask(*ALL)[1] != IGNORED
    for other in ({"epoch": 1}, {"seed": 1}, {"key": np.uint64(7)}):
        both = (mask(*ALL, **other)[1] != IGNORED) & first
        assert abs(both.mean() - 0.15**2) < 0.004


def test_golden_cells():
    _, labels = mask(np.arange(3), np.arange(40))
    assert [tuple(place) for place in np.argwhere(labels != IGNORED).tolist()] == GOLDEN_CELLS
    tokens, _ = mask(np.arange(2), np.arange(40), rate=0.9, corruption=Corruption(mask=0.0, random=1.0))
    assert tokens[0, :12].tolist() == GOLDEN_TOKENS
