"""Statistics of parts add up, in any order and grouping, to the last digit."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.plan_statistics import PlanStatistics, PolicyOutcome, RankSpread, merge

NUMBERS = st.integers(0, 10**9)
COUNTS = st.dictionaries(st.integers(1, 5_000), st.integers(1, 1_000), max_size=5)
OUTCOMES = st.builds(PolicyOutcome, segments=NUMBERS, residues_lost=NUMBERS, records_dropped=NUMBERS)
STEPS = st.tuples(
    st.sampled_from(["random", "balanced"]), st.sampled_from([(8, 8), (64, 8)]), st.integers(1, 99), NUMBERS
)


def spreads_of(steps):
    unique = {(order, *ranks): (number, total) for order, ranks, number, total in steps}
    return tuple(
        RankSpread(order=order, world_size=size, rows_per_rank=rows, num_steps=number, total=total)
        for (order, size, rows), (number, total) in sorted(unique.items())
    )


STATISTICS = st.builds(
    PlanStatistics,
    segment_tokens=COUNTS,
    segments_per_row=COUNTS,
    rows=st.dictionaries(st.sampled_from(["pad", "optimal"]), NUMBERS),
    lower_bound=NUMBERS,
    records_divided=NUMBERS,
    records_longer=NUMBERS,
    policies=st.dictionaries(st.sampled_from(["drop", "windows"]), OUTCOMES),
    spreads=st.lists(STEPS, max_size=4).map(spreads_of),
)


@given(st.lists(STATISTICS, max_size=4), st.randoms(use_true_random=False))
def test_parts_add_up_in_any_order_and_grouping(parts, rng):
    together = merge(parts)
    shuffled = random.Random(rng.random()).sample(parts, len(parts))
    assert merge(shuffled) == together
    at = len(parts) // 2
    assert merge(parts[:at]) + merge(parts[at:]) == together
    assert together + PlanStatistics() == together
    for name in ("lower_bound", "records_divided", "records_longer"):
        assert getattr(together, name) == sum(getattr(part, name) for part in parts)
    for name in ("segment_tokens", "segments_per_row", "rows"):
        counted = getattr(together, name)
        assert sum(counted.values()) == sum(sum(getattr(part, name).values()) for part in parts)
    for policy, outcome in together.policies.items():
        assert outcome.residues_lost == sum(
            part.policies[policy].residues_lost for part in parts if policy in part.policies
        )


@given(STATISTICS)
def test_json_both_ways(statistics):
    statistics = merge([statistics])
    assert PlanStatistics.model_validate_json(statistics.model_dump_json()) == statistics
    assert PlanStatistics.model_validate(statistics.model_dump(mode="json")) == statistics


def test_the_spread_is_a_mean_weighted_by_steps():
    one = RankSpread(order="random", world_size=8, rows_per_rank=8, num_steps=3, total=3 * 1_100_000)
    two = RankSpread(order="random", world_size=8, rows_per_rank=8, num_steps=1, total=1_500_000)
    (both,) = merge([PlanStatistics(spreads=(one,)), PlanStatistics(spreads=(two,))]).spreads
    assert both.num_steps == 4
    assert both.mean == pytest.approx((3 * 1.1 + 1.5) / 4)
