"""Pieces of a stream against the same on the joined text, for every way to cut the text into blocks."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.cutting import cut_behind, split

TEXTS = st.lists(st.sampled_from([b"/", b"//", b"\n", b"\n//", b"a", b"<", b"</e", b"</e>"]), max_size=12).map(b"".join)
MARKS = st.sampled_from([b"/", b"//", b"\n//", b"</e>", b"aa"])
CUTS = st.lists(st.integers(0, 40), max_size=6)


def blocks_of(text: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    return [block for start, end in pairwise(bounds) if (block := text[start:end])]


@given(TEXTS, MARKS, CUTS)
def test_split_is_that_of_bytes(text, mark, cuts):
    assert list(split(blocks_of(text, cuts), mark)) == text.split(mark)


@given(TEXTS, MARKS, CUTS)
def test_pieces_end_with_the_mark_and_join_to_the_text(text, mark, cuts):
    pieces = list(cut_behind(blocks_of(text, cuts), mark))
    assert b"".join(pieces) == text
    assert all(pieces)
    assert [piece + mark for piece in text.split(mark)[:-1]] == pieces[: text.count(mark)]
    assert len(pieces) <= text.count(mark) + 1


@pytest.mark.parametrize("block_bytes", [1, 7])
def test_a_piece_over_many_blocks(block_bytes):
    text = b"x" * 1000 + b"//" + b"y" * 1000
    blocks = [text[start : start + block_bytes] for start in range(0, len(text), block_bytes)]
    assert list(cut_behind(blocks, b"//")) == [text[:1002], text[1002:]]


def test_memory_is_that_of_a_block():
    tracemalloc.start()
    try:
        num_pieces = sum(1 for _ in cut_behind(((b"a" * 999 + b"\0") * 100 for _ in range(200)), b"\0"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert num_pieces == 20_000
    assert peak < 500_000
