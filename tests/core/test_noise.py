"""Noise schedules: the distributions against their closed forms, and the released registry"s view of them."""

import pickle
from math import comb, log, pi, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from pipeline.core.noise import SCHEDULES, Beta, Constant, Curve, Mixture, draw_rates, parse_schedule
from pipeline.errors import ConfigurationError

NUM_SAMPLES = 200_000


def sample(name, seed=1):
    keys = np.arange(NUM_SAMPLES, dtype=np.uint64)
    return draw_rates(parse_schedule(name), seed, 0, keys, np.zeros(NUM_SAMPLES, dtype=np.uint32))


def beta_cdf(a, b):
    """Of Beta(a, b) with whole parameters: at least a of a + b - 1 uniforms lie below m."""
    n = a + b - 1
    return lambda m: sum(comb(n, k) * m**k * (1 - m) ** (n - k) for k in range(a, n + 1))


DISTRIBUTIONS = {
    "linear": lambda m: m,
    "uniform": lambda m: m,
    "cosine": lambda m: 2 / pi * np.arcsin(m),
    "cubic": lambda m: 1 - np.cbrt(1 - m),
    "square": lambda m: 1 - np.sqrt(1 - m),
    "square_root_schedule": lambda m: 1 - (1 - m) ** 2,
    "sqrt": lambda m: 1 - (1 - m) ** 2,
    "betalinear30": lambda m: 0.8 * beta_cdf(3, 9)(m) + 0.2 * m,
    "beta30": beta_cdf(3, 7),
}


def kolmogorov_smirnov_distance(values, cdf):
    ordered = np.sort(values)
    expected = cdf(ordered)
    empirical = np.arange(values.size + 1) / values.size
    return max(np.max(empirical[1:] - expected), np.max(expected - empirical[:-1]))


def test_every_schedule_has_a_distribution_here():
    assert DISTRIBUTIONS.keys() == SCHEDULES.keys()


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_have_the_closed_form_distribution(name):
    limit = sqrt(-log(1e-4 / 2) / 2 / NUM_SAMPLES)  # exceeded once in 10,000 by samples of the very distribution
    assert kolmogorov_smirnov_distance(sample(name), DISTRIBUTIONS[name]) < limit


def test_the_distance_tells_schedules_apart():
    limit = sqrt(-log(1e-4 / 2) / 2 / NUM_SAMPLES)
    for name in ("cubic", "square", "cosine", "sqrt", "beta30", "betalinear30"):
        others = [cdf for other, cdf in DISTRIBUTIONS.items() if parse_schedule(other) != parse_schedule(name)]
        assert min(kolmogorov_smirnov_distance(sample(name), cdf) for cdf in others) > 5 * limit


@pytest.mark.parametrize(
    ("name", "mean", "variance"),
    [
        ("linear", 0.5, 0.0833),
        ("uniform", 0.5, 0.0833),
        ("cosine", 0.6366, 0.0947),
        ("cubic", 0.75, 0.0804),
        ("square", 0.6667, 0.0889),
        ("square_root_schedule", 0.3333, 0.0556),
        ("betalinear30", 0.30, 0.0382),
        ("beta30", 0.30, 0.0191),
        ("0.15", 0.15, 0.0),
    ],
)
def test_mean_and_variance(name, mean, variance):
    # cubic, square and cosine favour high rates, the square root low ones: not the other way round.
    rates = sample(name)
    assert rates.mean() == pytest.approx(mean, abs=5 * sqrt(variance / NUM_SAMPLES) + 1e-4)
    assert rates.var() == pytest.approx(variance, abs=1e-3)


def test_betalinear30_quantiles():
    shares, quantiles = [0.05, 0.25, 0.5, 0.75, 0.95], [0.0748, 0.166, 0.2553, 0.3747, 0.7505]
    assert_allclose(DISTRIBUTIONS["betalinear30"](np.array(quantiles)), shares, atol=2e-4)
    densities = np.array([1.3, 2.7, 2.7, 1.6, 0.203])
    tolerance = 5 * np.sqrt(np.array(shares) * (1 - np.array(shares)) / NUM_SAMPLES) / densities
    assert np.all(np.abs(np.quantile(sample("betalinear30"), shares) - quantiles) < tolerance)


@pytest.mark.parametrize(
    ("name", "released"),
    [
        ("linear", lambda t: 1 - t),
        ("cosine", lambda t: np.cos(pi * t / 2)),
        ("cubic", lambda t: 1 - t**3),
        ("square", lambda t: 1 - t**2),
        ("square_root_schedule", lambda t: 1 - np.sqrt(t)),
    ],
)
def test_rate_is_the_fraction_still_masked_as_released(name, released):
    schedule = SCHEDULES[name]
    assert isinstance(schedule, Curve)
    times = np.linspace(0, 1, 10_001)
    rates = schedule.rate(times)
    assert_allclose(rates, released(times), rtol=0, atol=5e-16)
    assert rates[0] == 1.0
    assert rates[-1] == 0.0
    assert np.all(np.diff(rates) < 0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_stay_in_range_at_the_ends(name):
    schedule = SCHEDULES[name]
    steps = np.arange(10_000) * 2.0**-53
    ends = np.concatenate((steps, 1 - 2.0**-53 - steps))
    rates = schedule.from_uniforms(np.repeat(ends[:, None], schedule.num_uniforms, axis=1))
    assert np.all((rates >= 0) & (rates <= 1))


def test_beta_is_an_order_statistic():
    uniforms = np.array([[0.9, 0.1, 0.5, 0.7], [0.2, 0.3, 0.1, 0.0]])
    assert Beta("beta(2,3)", 2, 3).num_uniforms == 4
    assert_array_equal(Beta("beta(2,3)", 2, 3).from_uniforms(uniforms), [0.5, 0.1])


def test_a_mixture_chooses_by_weight_and_gives_each_component_its_own_uniforms():
    mixture = Mixture("m", ((0.5, Constant(0.25)), (0.25, SCHEDULES["linear"]), (0.25, SCHEDULES["cubic"])))
    assert mixture.num_uniforms == 3
    uniforms = np.array([[0.0, 0.1, 0.5], [0.49, 0.1, 0.5], [0.5, 0.1, 0.5], [0.75, 0.1, 0.5], [0.99, 0.1, 0.5]])
    assert_allclose(mixture.from_uniforms(uniforms), [0.25, 0.25, 0.1, 0.875, 0.875])


RECORD_KEYS = np.array([0, 1, 0x0123456789ABCDEF, (1 << 64) - 1], dtype=np.uint64)
STARTS = np.array([0, 0, 512, 1022], dtype=np.uint32)
GOLDEN = {
    "linear": ["0x1.c4fdc2db1fe20p-4", "0x1.9aed3956b4180p-1", "0x1.2e76faa1c803cp-3", "0x1.351dee05ae504p-3"],
    "cosine": ["0x1.61fde0e8dd3c0p-3", "0x1.e794b37dae0c9p-1", "0x1.d6dc42690e888p-3", "0x1.e106023517984p-3"],
    "cubic": ["0x1.2f8e1ce61b472p-2", "0x1.fc0fa73504a88p-1", "0x1.85fd7ea4c887ep-2", "0x1.8d360f190220ep-2"],
    "square": ["0x1.abf13a3e1bd20p-3", "0x1.ec0c16eef0110p-1", "0x1.18212bb7ac9cep-2", "0x1.1dc9d9c41639ep-2"],
    "square_root_schedule": [
        "0x1.d2429d3197cd0p-5",
        "0x1.1c83c4c5d427ap-1",
        "0x1.3a8abff2580d8p-4",
        "0x1.41c11ce6ebe90p-4",
    ],
    "betalinear30": ["0x1.6bcda8d01a5fcp-3", "0x1.134c621aeddfap-1", "0x1.5f906a41feba8p-3", "0x1.2dde7bbf8dd80p-3"],
    "beta30": ["0x1.fa7b9e2842018p-4", "0x1.2a325b4abac70p-1", "0x1.2e76faa1c803cp-3", "0x1.351dee05ae504p-3"],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_rates_are_pinned_to_the_last_bit(name):
    rates = draw_rates(parse_schedule(name), 42, 3, RECORD_KEYS, STARTS)
    assert [rate.hex() for rate in rates.tolist()] == GOLDEN[name]


segments = st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1)), min_size=1, max_size=6)


@given(st.sampled_from(sorted(SCHEDULES)), segments, st.randoms(use_true_random=False))
def test_a_rate_does_not_depend_on_the_other_segments(name, batch, random):
    schedule = SCHEDULES[name]
    keys, starts = (np.array(column, dtype=np.uint64) for column in zip(*batch, strict=True))
    together = draw_rates(schedule, 5, 7, keys, starts)
    order = random.sample(range(len(batch)), len(batch))
    assert_array_equal(draw_rates(schedule, 5, 7, keys[order], starts[order]), together[order])
    assert [float(draw_rates(schedule, 5, 7, key, start)) for key, start in batch] == together.tolist()


def test_seed_epoch_record_and_start_each_give_another_rate():
    schedule = SCHEDULES["linear"]
    rates = [
        float(draw_rates(schedule, seed, epoch, np.uint64(key), start))
        for seed, epoch, key, start in [(0, 0, 5, 0), (1, 0, 5, 0), (0, 1, 5, 0), (0, 0, 6, 0), (0, 0, 5, 1)]
    ]
    assert len(set(rates)) == 5


@pytest.mark.parametrize("name", SCHEDULES)
def test_names_parse_to_their_schedule(name):
    assert parse_schedule(name) is SCHEDULES[name]
    assert parse_schedule(f" {name} ") is SCHEDULES[name]
    assert parse_schedule(SCHEDULES[name]) is SCHEDULES[name]
    assert SCHEDULES[name].name == ("square_root_schedule" if name == "sqrt" else name)


@pytest.mark.parametrize("rate", [0.15, "0.15", "15e-2", np.float64(0.15)])
def test_plain_rates_parse(rate):
    assert parse_schedule(rate) == Constant(0.15)
    assert parse_schedule(rate).name == "0.15"


@pytest.mark.parametrize("rate", [0, 0.0, 1, 1.0, -0.1, 15, "1.5", "nan", float("inf"), True])
def test_rates_outside_are_refused(rate):
    with pytest.raises(ConfigurationError, match="between 0 and 1") as caught:
        parse_schedule(rate)
    assert "betalinear30" in str(caught.value)


@pytest.mark.parametrize("name", ["betalinear", "", "15 %", None])
def test_unknown_names_list_the_choices(name):
    with pytest.raises(ConfigurationError, match="not known") as caught:
        parse_schedule(name)
    assert repr(name) in caught.value.message
    assert all(choice in str(caught.value.hint) for choice in SCHEDULES)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("0.8*beta(3,9)+0.2*uniform", "betalinear30"),
        (" 0.8 * beta( 3, 9 ) + 0.2 * linear ", "betalinear30"),
        ("1*cosine", "cosine"),
        ("beta(3,7)", "beta30"),
    ],
)
def test_mixtures_are_what_they_say(text, same):
    if same == "cosine":  # a mixture takes one uniform more, for the choice
        rates = sample(text)
        limit = sqrt(-log(1e-4 / 2) / 2 / NUM_SAMPLES)
        assert kolmogorov_smirnov_distance(rates, DISTRIBUTIONS[same]) < limit
    else:
        assert_array_equal(sample(text), sample(same))


def test_a_mixture_of_rates_has_these_rates_in_these_shares():
    schedule = parse_schedule("0.25*0.15+0.5*0.3+0.25*sqrt")
    assert schedule.name == "0.25*0.15+0.5*0.3+0.25*square_root_schedule"
    assert parse_schedule(schedule.name) == schedule
    rates = sample(schedule)
    assert np.mean(rates == 0.15) == pytest.approx(0.25, abs=0.005)
    assert np.mean(rates == 0.3) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.8*beta(3,9)+0.3*uniform", "weights that add up to 1, found 1.1"),
        ("0.8*beta(3,9)", "weights that add up to 1, found 0.8"),
        ("0.8*beta(3,9)+uniform", "a weight, '\\*' and a schedule, found 'uniform'"),
        ("x*uniform", "a number before '\\*', found 'x'"),
        ("*uniform", "a number before '\\*', found ''"),
        ("1.5*uniform+-0.5*cosine", "weights above 0 and up to 1, found 1.5"),
        ("0*uniform+1*cosine", "weights above 0 and up to 1, found 0"),
        ("nan*uniform", "weights above 0 and up to 1, found nan"),
        ("0.5*beta(3,9)+0.5*unifrom", "'unifrom' is not known"),
        ("0.5*uniform*cosine+0.5*uniform", "'uniform\\*cosine' is not known"),
        ("0.5*1.5+0.5*uniform", "a mask rate lies between 0 and 1"),
        ("beta(0,3)", "whole numbers from 1 on"),
        ("beta(200,100)", "with a sum up to 256"),
        ("beta(2.5,3)", "is not known"),
    ],
)
def test_mixtures_that_mean_nothing_are_refused(text, found):
    with pytest.raises(ConfigurationError, match=found):
        parse_schedule(text)


@pytest.mark.parametrize("name", [*SCHEDULES, "0.15", "0.8*beta(3,9)+0.2*0.5"])
def test_schedules_cross_process_borders(name):
    schedule = parse_schedule(name)
    copy = pickle.loads(pickle.dumps(schedule))
    assert copy == schedule
    assert_array_equal(
        draw_rates(copy, 0, 0, RECORD_KEYS, STARTS),
        draw_rates(schedule, 0, 0, RECORD_KEYS, STARTS),
    )
