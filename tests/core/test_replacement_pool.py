"""Replacement pools: what is drawn, how often, and what is never drawn."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.randomness import draw
from pipeline.core.replacement_pool import POOL_OF_FAMILY, Pool, ReplacementPool
from pipeline.core.tokenizer import BUILT_IN

BITS = draw(7, np.arange(40_000))


@given(st.sets(st.integers(0, 500), min_size=2, max_size=30), st.lists(st.integers(0, 500), max_size=50))
def test_another_token_is_another_token_of_the_pool(tokens, originals):
    pool = Pool(np.array(sorted(tokens, reverse=True)), avoids_original=True)
    drawn = pool.draw(BITS[: len(originals)], np.array(originals, dtype=np.int16))
    assert set(drawn.tolist()) <= tokens
    assert not np.any(drawn == np.array(originals))


@pytest.mark.parametrize("avoids_original", [False, True])
@pytest.mark.parametrize("original", [5, 9])
def test_all_tokens_are_drawn_equally_often(avoids_original, original):
    pool = Pool(np.array([3, 4, 5, 7]), avoids_original=avoids_original)
    drawn = pool.draw(BITS, np.full(len(BITS), original))
    candidates = {3, 4, 5, 7} - ({original} if avoids_original else set())
    tokens, times = np.unique(drawn, return_counts=True)
    assert set(tokens.tolist()) == candidates
    share = 1 / len(candidates)
    assert np.all(np.abs(times - len(BITS) * share) < 4.5 * sqrt(len(BITS) * share * (1 - share)))


def test_families_are_tokenizers():
    assert POOL_OF_FAMILY.keys() <= {*BUILT_IN}
    assert POOL_OF_FAMILY["protbert"] is ReplacementPool.OTHER_RESIDUES
    assert "esm2" not in POOL_OF_FAMILY
