"""Sentences about a plan: how full, how far from the bound, and whether anything else would help."""

import pytest

from pipeline.config import PackConfig
from pipeline.core.pieces import Overlong
from pipeline.core.row_order import RowOrder
from pipeline.formats.plan_statistics import PlanStatistics, PolicyOutcome, RankSpread
from pipeline.formats.plan_words import ALGORITHM_NAMES, POLICY_NAMES, TOKEN_NAMES, fullness, other_order, sentences

POLICIES = {
    "crop-start": PolicyOutcome(segments=4_000, residues_lost=12_000),
    "crop-random": PolicyOutcome(segments=4_000, residues_lost=12_000),
    "windows": PolicyOutcome(segments=4_060),
    "drop": PolicyOutcome(segments=3_950, residues_lost=60_000, records_dropped=50),
}
ROWS = {"first-fit-decreasing": 1_003, "best-fit-decreasing": 1_003, "concatenate": 1_001, "pad": 4_000}

MAY = "Optimal packing would save at most 103 rows (10.3 %): --algorithm optimal may be worth it here"
WITHIN = "Best-fit decreasing is within 3 rows (0.30 %) of what any packing needs: optimal is not worth it here"


def spread(order, mean):
    return RankSpread(order=order, world_size=8, rows_per_rank=16, num_steps=10, total=round(mean * 10**7))


def told(
    *, algorithm="first-fit-decreasing", rows=None, bound=1_000, policy="crop-random", longer=50, spreads=(), divided=0
):
    rows = ROWS | (rows or {})
    statistics = PlanStatistics(
        rows=rows, lower_bound=bound, records_longer=longer, policies=POLICIES, spreads=spreads, records_divided=divided
    )
    number = rows[algorithm]
    counts = {"rows": number, "records": 4_000, "segments": 4_000, "residues": 1_200_000, "tokens": 1_020_000}
    return list(sentences(statistics, counts, algorithm=algorithm, policy=policy, order="random", row_length=1_024))


def test_how_full_and_how_far_from_the_bound():
    assert (
        told()[0]
        == "99.31 % of the tokens in the rows are real: 1,003 rows of 1,024, and no packing takes fewer than 1,000."
    )
    assert told(bound=1_003)[0].endswith("1,003 rows of 1,024, and no packing takes fewer.")


def test_what_padding_would_cost():
    padding = 1 - 1_020_000 / (4_000 * 1_024)
    expected = f"With one protein a row it would be 4,000 rows, 3.99 times as many, and {100 * padding:.1f} % of their"
    assert told()[1] == f"{expected} tokens padding."


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "First-fit decreasing is within 3 rows (0.30 %) of what any packing needs: optimal is not worth it here.",
        ),
        (
            {"bound": 1_002},
            "First-fit decreasing is within 1 row (0.10 %) of what any packing needs: optimal is not worth it here.",
        ),
        (
            {"bound": 1_003},
            "First-fit decreasing takes as few rows as any packing can: no other algorithm would help.",
        ),
        (
            {"bound": 900},
            f"{MAY}.",
        ),
        (
            {"bound": 900, "rows": {"best-fit-decreasing": 950}},
            f"{MAY}; best-fit decreasing would save 53 rows (5.28 %).",
        ),
        (
            {"algorithm": "best-fit-decreasing", "rows": {"first-fit-decreasing": 1_002}},
            f"{WITHIN}; first-fit decreasing would save 1 row (0.10 %).",
        ),
        (
            {"algorithm": "optimal", "rows": {"optimal": 1_001}},
            "Optimal packing saves 2 rows (0.20 %) of first-fit decreasing's: it is hardly worth it here.",
        ),
        (
            {"algorithm": "optimal", "rows": {"optimal": 950}, "bound": 950},
            "Optimal packing saves 53 rows (5.28 %) of first-fit decreasing's: it was worth it here.",
        ),
        (
            {"algorithm": "optimal", "rows": {"optimal": 1_003}},
            "First-fit decreasing would take 1,003 rows, too: optimal is not worth it here.",
        ),
        (
            {"algorithm": "pad"},
            "First-fit decreasing is within 3 rows (0.30 %) of what any packing needs: optimal is not worth it here.",
        ),
    ],
)
def test_whether_another_algorithm_would_help(changes, expected):
    assert told(**changes)[2] == expected


def test_one_protein_a_row_is_told_what_packing_saves():
    assert told(algorithm="pad")[1] == "First-fit decreasing would take 1,003 rows, 3.99 times fewer."


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("crop-start", "cropping them loses 12,000 residues (1.00 %)."),
        ("crop-random", "cropping them loses 12,000 residues (1.00 %)."),
        ("windows", "cut into windows they are 60 segments more, and lose nothing."),
        ("drop", "they are left out, with 60,000 residues (5.00 %)."),
    ],
)
def test_what_the_policy_loses(policy, expected):
    assert told(policy=policy)[3] == f"50 proteins (1.25 %) do not fit a row: {expected}"


def test_where_all_fit_no_policy_applies():
    assert told(longer=0)[3] == "Every protein fits a row: no over-length policy applies."


def test_how_long_ranks_wait():
    assert len(told()) == 4
    (sentence,) = told(spreads=(spread("balanced", 1.02), spread("random", 1.305)))[4:]
    assert sentence.startswith("Of 8 ranks that take 16 rows each, as they are stored, the slowest has 30.5 % more")
    assert sentence.endswith("than the mean one; in balanced order 2.00 %.")
    (sentence,) = told(spreads=(spread("random", 1.305),))[4:]
    assert sentence.endswith("than the mean one.")


def test_concatenated_records_have_no_policy_and_nothing_to_gain():
    first, divided, waiting = told(
        algorithm="concatenate", bound=1_001, divided=1_000, spreads=(spread("random", 1.1),)
    )
    assert first.endswith("no packing takes fewer.")
    assert divided == (
        "Proteins run on from row to row: 1,000 proteins (25.0 %) have residues in several rows, and none loses any."
    )
    assert "the slowest has 10.0 % more" in waiting


@pytest.mark.parametrize(
    ("fraction", "text"), [(1, "100.00 %"), (0.99996, "> 99.99 %"), (0.99959, "99.96 %"), (0.3, "30.00 %")]
)
def test_only_what_is_full_is_said_to_be(fraction, text):
    assert fullness(fraction) == text


def test_every_algorithm_and_policy_has_words():
    assert ALGORITHM_NAMES.keys() == set(PackConfig.model_fields["algorithm"].annotation.__args__)
    assert POLICY_NAMES.keys() == set(Overlong)
    assert len(TOKEN_NAMES) == 4
    assert {other_order(order) for order in (RowOrder.RANDOM, RowOrder.BALANCED)} == {
        RowOrder.RANDOM,
        RowOrder.BALANCED,
    }
    assert other_order(RowOrder.LENGTH) == RowOrder.BALANCED
