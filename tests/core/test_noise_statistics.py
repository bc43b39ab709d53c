"""What is said of a schedule: the published numbers, and what its own draws have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.noise import SCHEDULES, parse_schedule
from pipeline.core.noise_statistics import NUM_BINS, QUANTILES, describe, probability_below

# Means and variances of the closed forms; of betalinear30 those of 0.8 Beta(3, 9) + 0.2 U(0, 1).
MOMENTS = {
    "linear": (1 / 2, 1 / 12),
    "uniform": (1 / 2, 1 / 12),
    "cosine": (2 / np.pi, 1 / 2 - 4 / np.pi**2),
    "cubic": (3 / 4, 1 - 1 / 2 + 1 / 7 - (3 / 4) ** 2),
    "square": (2 / 3, 1 - 2 / 3 + 1 / 5 - (2 / 3) ** 2),
    "square_root_schedule": (1 / 3, 1 - 4 / 3 + 1 / 2 - (1 / 3) ** 2),
    "sqrt": (1 / 3, 1 - 4 / 3 + 1 / 2 - (1 / 3) ** 2),
    "betalinear30": (0.3, 0.8 * (27 / (144 * 13) + 1 / 16) + 0.2 / 3 - 0.09),
    "beta30": (0.3, 21 / (100 * 11)),
    "0.15": (0.15, 0.0),
    "beta(1,1)": (1 / 2, 1 / 12),
    "0.5*0.1+0.5*0.3": (0.2, 0.01),
}


def test_every_schedule_has_moments_here():
    assert SCHEDULES.keys() <= MOMENTS.keys()


@pytest.mark.parametrize("name", MOMENTS)
def test_mean_and_variance_are_those_of_the_closed_form(name):
    mean, variance = MOMENTS[name]
    found = describe(parse_schedule(name))
    assert found.mean == pytest.approx(mean, abs=2e-5)
    assert found.standard_deviation**2 == pytest.approx(variance, abs=2e-5)


def test_betalinear30_has_the_published_quantiles():
    found = describe(parse_schedule("betalinear30")).quantiles
    assert list(found.values()) == pytest.approx([0.0748, 0.166, 0.2553, 0.3747, 0.7505], abs=5e-4)
    assert tuple(found) == QUANTILES


@pytest.mark.parametrize("name", MOMENTS)
def test_draws_have_the_quantiles_and_the_density(name):
    schedule = parse_schedule(name)
    uniforms = np.random.default_rng(5).random((100_000, schedule.num_uniforms))
    rates = schedule.from_uniforms(uniforms)
    found = describe(schedule)
    for share, rate in found.quantiles.items():
        margin = 0.01
        assert np.mean(rates <= rate - margin) <= share + 0.005
        assert np.mean(rates <= rate + margin) >= share - 0.005
    drawn = np.histogram(rates, NUM_BINS, (0.0, 1.0))[0] / len(rates) * NUM_BINS
    assert np.allclose(drawn, found.density, atol=0.15)
    assert found.density.mean() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", ["cosine", "cubic", "square", "square_root_schedule", "linear"])
def test_the_curve_is_the_released_one(name):
    times = np.linspace(0, 1, 101)
    released = {
        "cosine": np.cos(np.pi * times / 2),
        "cubic": 1 - times**3,
        "square": 1 - times**2,
        "square_root_schedule": 1 - np.sqrt(times),
        "linear": 1 - times,
    }
    assert np.allclose(describe(parse_schedule(name)).curve, released[name], atol=1e-12)


def test_a_mixture_has_no_curve():
    assert describe(parse_schedule("betalinear30")).curve is None


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_beta_grows_from_0_to_1(a, b):
    below = probability_below(parse_schedule(f"beta({a},{b})"), np.linspace(0, 1, 101))
    assert below[0] == 0
    assert below[-1] == 1
    assert (np.diff(below) >= -1e-9).all()
