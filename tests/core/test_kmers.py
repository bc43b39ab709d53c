"""Candidates are the pairs that share words on neighbouring diagonals, as a plain search of all places finds them."""

from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import kmers
from pipeline.core.kmers import (
    BAND,
    SHORT_LENGTH,
    WORDS_OF_FIVE,
    WORDS_OF_FOUR,
    WORDS_OF_SIX,
    Records,
    Windows,
    WordIndex,
    blocks_of,
)
from pipeline.core.ragged import offsets_of

RULERS = (WORDS_OF_FOUR, WORDS_OF_FIVE, WORDS_OF_SIX)


def records(texts):
    residues = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    return Records(residues, offsets_of(np.array([len(text) for text in texts], dtype=np.int64)))


def everything(queries, targets):
    return Windows(np.zeros(len(queries), dtype=np.int64), np.full(len(queries), len(targets)))


def candidates(queries, targets, rulers=WORDS_OF_FOUR, windows=None):
    index = WordIndex(records(targets), rulers)
    found = list(index.candidates(records(queries), windows or everything(queries, targets)))
    return [pair for query, target in found for pair in zip(query.tolist(), target.tolist(), strict=True)]


def words_of(text, marks):
    for place in range(len(text) - marks[-1]):
        word = "".join(text[place + mark] for mark in marks)
        if set(word) <= set("ACDEFGHIKLMNPQRSTVWY"):
            yield place, word


def is_candidate(query, target, rulers):
    diagonals = sorted(
        place - other
        for marks in rulers
        for (place, word), (other, same) in product(words_of(query, marks), words_of(target, marks))
        if word == same
    )
    if min(len(query), len(target)) < SHORT_LENGTH:
        return bool(diagonals)
    return any(second - first <= BAND for first, second in pairwise(diagonals))


@pytest.mark.parametrize("rulers", RULERS)
def test_marks_are_golomb_rulers(rulers):
    for marks in rulers:
        distances = [second - first for first, second in combinations(marks, 2)]
        assert marks[0] == 0
        assert len(set(distances)) == len(distances)


short_texts = st.lists(st.text("ACX", max_size=30), min_size=1, max_size=5)
long_texts = st.lists(st.text("ACDE", min_size=55, max_size=75), min_size=1, max_size=3)


@pytest.mark.parametrize("rulers", RULERS)
@given(queries=short_texts | long_texts, targets=short_texts | long_texts)
def test_candidates_are_those_of_a_plain_search(rulers, queries, targets):
    expected = [
        (query, target)
        for query, target in product(range(len(queries)), range(len(targets)))
        if is_candidate(queries[query], targets[target], rulers)
    ]
    assert candidates(queries, targets, rulers) == expected


def unrelated(count, *, seed, length):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), length)) for _ in range(count)]


def test_blocks_change_nothing(monkeypatch):
    queries, targets = unrelated(40, seed=1, length=300), unrelated(40, seed=2, length=300)
    whole = candidates(queries, targets)
    assert 10 < len(whole) < 800
    monkeypatch.setattr(kmers, "_RESIDUES_PER_BLOCK", 700)
    monkeypatch.setattr(kmers, "_FINDS_PER_BLOCK", 50)
    assert candidates(queries, targets) == whole


@pytest.mark.parametrize(("shift", "expected"), [(BAND, [(0, 0)]), (-BAND, [(0, 0)]), (BAND + 1, []), (-BAND - 1, [])])
def test_two_words_may_lie_on_diagonals_as_far_apart_as_the_band(shift, expected):
    first, second = "ACXXDXE", "FGXXHXI"
    query = "X" * 10 + first + "X" * 40 + second + "X" * 30
    target = "X" * 5 + first + "X" * (40 + shift) + second + "X" * 30
    assert candidates([query], [target]) == expected


def test_only_targets_of_the_window_are_candidates():
    text = unrelated(1, seed=3, length=100)[0]
    windows = Windows(np.array([1, 3, 2]), np.array([3, 3, 5]))
    assert candidates([text] * 3, [text] * 5, windows=windows) == [(0, 1), (0, 2), (2, 2), (2, 3), (2, 4)]


def test_repeats_of_one_letter_are_passed_over(monkeypatch):
    monkeypatch.setattr(kmers, "_MOST_PLACES", 90)
    text = unrelated(1, seed=4, length=100)[0]
    assert candidates(["Q" * 100, text], ["Q" * 100, text]) == [(1, 1)]


def test_nothing_has_no_candidates():
    assert candidates([], ["ACDEFGHIKL"]) == []
    assert candidates(["", "ACDEFGHIKL"], [""]) == []


@given(sizes=st.lists(st.integers(0, 9), max_size=20), limit=st.integers(1, 20))
def test_blocks_hold_all_items_in_order(sizes, limit):
    blocks = list(blocks_of(np.array(sizes, dtype=np.int64), limit))
    assert [item for first, last in blocks for item in range(first, last)] == list(range(len(sizes)))
    assert all(last - first == 1 or sum(sizes[first:last]) <= limit for first, last in blocks)
