"""What a noise schedule looks like: its distribution of mask rates in closed form, and numbers that describe it.

::

    P(rate <= m)       a plain rate    0 below it, 1 from it on
                       a curve         the u for which rate(1 - u) = m, inverted on a grid
                       Beta(a, b)      at least a of a + b - 1 uniforms lie below m
                       a mixture       the weighted sum

Everything else follows from that: the mean is the integral of 1 - P over [0, 1], the second moment that of 2m(1 - P).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb, sqrt

import numpy as np

from pipeline.core.noise import Beta, Constant, Curve, FloatArray, Mixture, Schedule

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NUM_BINS = 20
"""Of the density: each spans 5 % of masked residues."""
NUM_TIMES = 101
"""At which the curve is told: 0, 0.01, … 1."""

_GRID = 1 << 16
"""Steps of integrals and inversions: errors stay below 1e-5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStatistics:
    """A schedule in numbers."""

    name: str
    mean: float
    standard_deviation: float
    quantiles: Mapping[float, float]
    """Mask rate by share of segments with a lower one."""
    density: FloatArray
    """[NUM_BINS] mean probability density in each of that many parts of [0, 1]; a plain rate is all in one."""
    curve: FloatArray | None
    """[NUM_TIMES] the fraction still masked at times 0 … 1, where the schedule is given by one."""


def describe(schedule: Schedule) -> ScheduleStatistics:
    """The numbers of a schedule, of ``core.noise``."""
    grid = np.linspace(0.0, 1.0, _GRID + 1)
    below = probability_below(schedule, grid)
    mean = float(np.trapezoid(1.0 - below, grid))
    second_moment = float(np.trapezoid(2.0 * grid * (1.0 - below), grid))
    if isinstance(schedule, Constant):
        mean, second_moment = schedule.value, schedule.value**2
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    # A rate that stands at an edge belongs to the part above it.
    shares = np.diff(probability_below(schedule, np.append(np.nextafter(edges[:-1], -1.0), 1.0)))
    return ScheduleStatistics(
        name=schedule.name,
        mean=mean,
        standard_deviation=sqrt(max(0.0, second_moment - mean * mean)),
        quantiles={share: _quantile(schedule, share, below, grid) for share in QUANTILES},
        density=shares * NUM_BINS,
        curve=_curve(schedule),
    )


def probability_below(schedule: Schedule, rates: FloatArray) -> FloatArray:
    """The share of segments with at most these mask rates: float64 of the shape of ``rates``, which are in [0, 1]."""
    if isinstance(schedule, Constant):
        return np.asarray(rates >= schedule.value, dtype=np.float64)
    if isinstance(schedule, Beta):
        return _beta_below(schedule.a, schedule.b, rates)
    if isinstance(schedule, Mixture):
        return np.asarray(sum(weight * probability_below(part, rates) for weight, part in schedule.components))
    uniforms = np.linspace(0.0, 1.0, _GRID + 1)
    # Rates that crowd together at an end of [0, 1] come from uniforms that do not: the grid is of these.
    return np.interp(rates, schedule.from_uniforms(uniforms[:, None]), uniforms)


def _beta_below(a: int, b: int, rates: FloatArray) -> FloatArray:
    n = a + b - 1
    rates = np.clip(rates, 0.0, 1.0)
    return np.asarray(sum(comb(n, k) * rates**k * (1.0 - rates) ** (n - k) for k in range(a, n + 1)))


def _quantile(schedule: Schedule, share: float, below: FloatArray, grid: FloatArray) -> float:
    if isinstance(schedule, Constant):
        return schedule.value
    if isinstance(schedule, Curve):
        return float(schedule.from_uniforms(np.array([[share]]))[0])
    return float(np.interp(share, below, grid))


def _curve(schedule: Schedule) -> FloatArray | None:
    times = np.linspace(0.0, 1.0, NUM_TIMES)
    if isinstance(schedule, Curve):
        return schedule.rate(times)
    return np.full(NUM_TIMES, schedule.value) if isinstance(schedule, Constant) else None
