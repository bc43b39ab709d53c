"""Alignments are those of an algorithm in plain Python; what is counted of them is what the docstring says."""

import random
import sys

import numpy as np
import pytest
from Bio.Align import PairwiseAligner, substitution_matrices

from pipeline.core.kmers import Records
from pipeline.core.ragged import offsets_of
from pipeline.engines.aligner import GAP_EXTEND, GAP_OPEN, align_pairs
from pipeline.errors import MissingExtraError

STANDARD = "ACDEFGHIKLMNPQRSTVWY"


def records(texts):
    residues = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    return Records(residues, offsets_of(np.array([len(text) for text in texts], dtype=np.int64)))


def align(pairs, min_coverage=0.0):
    queries, targets = records([one for one, _ in pairs]), records([other for _, other in pairs])
    index = np.arange(len(pairs))
    return list(align_pairs(queries, targets, index, index, min_coverage=min_coverage).rows())


def text(rng, length):
    return "".join(rng.choices(STANDARD, k=length))


def homologue(rng, protein, identity):
    residues = [residue if rng.random() < identity else rng.choice(STANDARD) for residue in protein]
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(residues))
        residues[place : place + rng.randint(0, 6)] = text(rng, rng.randint(0, 6))
    return text(rng, rng.randint(0, 9)) + "".join(residues) + text(rng, rng.randint(0, 9))


def test_identity_and_coverage_of_a_worked_example():
    query, target = "MKVLAWWHGIVCCFMDE", "MKTLAWWHDDDDGIVCCFMDE"
    query, target = query + "PPPPP", "GGGGG" + target
    ((pair, identity, query_coverage, target_coverage),) = align([(query, target)])
    # 8 columns with one difference, a gap of 4, 9 columns.
    assert pair == 0
    assert identity == 16 / 21
    assert query_coverage == 17 / 22
    assert target_coverage == 21 / 26


def test_an_optimal_alignment_with_these_figures_exists():
    rng = random.Random(0)
    aligner = PairwiseAligner(mode="local", substitution_matrix=substitution_matrices.load("BLOSUM62"))
    aligner.open_gap_score, aligner.extend_gap_score = -GAP_OPEN, -GAP_EXTEND
    proteins = [text(rng, rng.randint(30, 90)) for _ in range(60)]
    pairs = [(protein, homologue(rng, protein, rng.uniform(0.4, 1))) for protein in proteins]
    found = align(pairs)
    assert [row[0] for row in found] == list(range(len(pairs)))
    for (query, target), (_, identity, *coverage) in zip(pairs, found, strict=True):
        figures = []
        for best, _ in zip(aligner.align(query, target), range(200), strict=False):
            spans = [
                (ends[-1][1] - ends[0][0]) / len(whole)
                for ends, whole in zip(best.aligned, (query, target), strict=True)
            ]
            counts = best.counts()
            figures.append([counts.identities / (counts.aligned + counts.gaps), *spans])
        assert any(np.allclose([identity, *coverage], each) for each in figures)


def test_only_pairs_that_cover_enough_of_both_are_told():
    protein = text(random.Random(1), 100)
    pairs = [(protein, protein[:80]), (protein, protein[:79]), (protein[:79], protein), (protein, protein)]
    assert [row[0] for row in align(pairs, min_coverage=0.8)] == [0, 3]


def test_queries_in_any_order_are_aligned():
    rng = random.Random(2)
    texts = [text(rng, 40) for _ in range(3)]
    query, target = np.array([2, 0, 2, 1, 1]), np.array([2, 0, 0, 1, 2])
    found = align_pairs(records(texts), records(texts), query, target, min_coverage=0.9)
    assert found.pair.tolist() == [0, 1, 3]
    assert found.identity.tolist() == [1.0] * 3


def test_letters_that_the_matrix_lacks_are_aligned():
    protein = text(random.Random(3), 40)
    ((_, identity, *coverage),) = align([(protein[:20] + "J" + protein[20:], protein[:20] + "L" + protein[20:])])
    assert [identity, *coverage] == [1.0] * 3
    ((_, identity, *_),) = align([(protein[:20] + "U" + protein[20:], protein[:20] + "C" + protein[20:])])
    assert identity == 40 / 41


def test_scores_beyond_16_bits_are_aligned():
    protein = text(random.Random(4), 8_000)
    ((_, identity, *coverage),) = align([(protein, protein)])
    assert [identity, *coverage] == [1.0] * 3


def test_no_pairs_make_no_alignments():
    assert align([]) == []


def test_without_the_aligner_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "parasail", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'protein-pipeline\[cluster\]'"):
        align([("ACDEF", "ACDEF")])
