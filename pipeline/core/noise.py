"""Noise schedules: how much of a segment is masked.

A schedule is a distribution of mask rates m in [0, 1]; every segment draws one rate of its own. Two views are in use::

    rate(t)         the fraction still masked at time t of a decoding that runs from t = 0 (all masked) to 1 (none), as
                    the released registry has it (evolutionaryscale/esm, esm/utils/noise_schedules.py)
    rate(1 - u)     with u uniform in [0, 1): the mask rate of a training segment, and the distribution's inverse CDF

    name                    rate(t)        inverse CDF at u   mean    variance   favours
    linear, uniform         1 - t          u                  .5      .0833
    cosine                  cos(pi t/2)    sin(pi u/2)        .6366   .0947      high rates
    cubic                   1 - t^3        1 - (1 - u)^3      .75     .0804      high rates
    square                  1 - t^2        1 - (1 - u)^2      .6667   .0889      high rates
    square_root_schedule    1 - sqrt(t)    1 - sqrt(1 - u)    .3333   .0556      low rates
    betalinear30            -              -                  .3      .0382      low rates, with a long tail
    beta30                  -              -                  .3      .0191
    beta(a,b)               -              -                  a/(a+b)
    0.15 (a plain rate)     0.15           0.15               .15     0

Mixtures are written as sums, ``0.8*beta(3,9)+0.2*uniform``: each segment draws which component its rate comes from.
betalinear30 is 0.8 Beta(3, 9) + 0.2 U(0, 1) and beta30 is Beta(3, 7); both are in the ESM3 paper (Hayes et al. 2025,
doi:10.1126/science.ads0018, A.2.2.1), not in the registry, and have no released rate(t).

Rates are the same bits on every machine: only + - * / sqrt and comparisons are used, which IEEE 754 rounds in one way,
and no library cosine or power. Cost: under 1 microsecond a segment.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pipeline.core.randomness import PURPOSE_NOISE_RATE, Words, derive_key, draw, uniform
from pipeline.errors import ConfigurationError

FloatArray = npt.NDArray[np.float64]

_BETA = re.compile(r"beta\((\d{1,4}),(\d{1,4})\)")
_MOST_UNIFORMS = 255  # a Beta takes that many draws a segment
_TOLERANCE = 1e-9


@runtime_checkable
class Schedule(Protocol):
    """A distribution of mask rates, drawn from uniform numbers."""

    @property
    def name(self) -> str:
        """As ``parse_schedule`` knows it."""

    @property
    def num_uniforms(self) -> int:
        """Uniform numbers that one rate is made of."""

    def from_uniforms(self, uniforms: FloatArray) -> FloatArray:
        """Mask rates float64 [...] in [0, 1] from independent uniforms float64 [..., num_uniforms] in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Every segment has the same rate."""

    value: float

    num_uniforms = 0

    @property
    def name(self) -> str:
        """The rate as text."""
        return str(self.value)

    def from_uniforms(self, uniforms: FloatArray) -> FloatArray:
        """The rate, once for each leading index of ``uniforms`` [..., 0]."""
        return np.full(uniforms.shape[:-1], self.value)


@dataclass(frozen=True, slots=True)
class Curve:
    """A schedule given by the fraction still masked at time t; ``rate`` falls from 1 at t = 0 to 0 at t = 1."""

    name: str
    rate: Callable[[FloatArray], FloatArray]

    num_uniforms = 1

    def from_uniforms(self, uniforms: FloatArray) -> FloatArray:
        """The inverse CDF at ``uniforms`` [..., 1]."""
        return self.rate(1.0 - uniforms[..., 0])


@dataclass(frozen=True, slots=True)
class Beta:
    """Beta(a, b) with whole a and b: the a-th smallest of a + b - 1 uniforms has exactly this distribution."""

    name: str
    a: int
    b: int

    @property
    def num_uniforms(self) -> int:
        """As many as the sample whose a-th smallest is taken: a + b - 1."""
        return self.a + self.b - 1

    def from_uniforms(self, uniforms: FloatArray) -> FloatArray:
        """The a-th smallest of ``uniforms`` [..., a + b - 1]."""
        return np.asarray(np.partition(uniforms, self.a - 1, axis=-1)[..., self.a - 1])


@dataclass(frozen=True, slots=True)
class Mixture:
    """One of several schedules, chosen anew for each segment. The weights of ``components`` add up to 1."""

    name: str
    components: tuple[tuple[float, Schedule], ...]

    @property
    def num_uniforms(self) -> int:
        """One for the choice, then those of each component."""
        return 1 + sum(schedule.num_uniforms for _, schedule in self.components)

    def from_uniforms(self, uniforms: FloatArray) -> FloatArray:
        """Rates [...] from ``uniforms`` [..., num_uniforms]: the choice first, then each component's, in order."""
        rates, first = [], 1
        for _, schedule in self.components:
            rates.append(schedule.from_uniforms(uniforms[..., first : first + schedule.num_uniforms]))
            first += schedule.num_uniforms
        borders = np.cumsum([weight for weight, _ in self.components])[:-1]
        return np.asarray(np.choose(np.searchsorted(borders, uniforms[..., 0], side="right"), rates))


def parse_schedule(schedule: str | float | Schedule) -> Schedule:
    """A schedule by its name, a plain rate, or a mixture of these.

    Args:
        schedule: A name of ``SCHEDULES``; ``beta(a,b)`` with whole a and b; a rate between 0 and 1, a number or text; a
            mixture of such with weights that add up to 1, as in ``0.8*beta(3,9)+0.2*uniform``; or a schedule, which
            is returned.

    Raises:
        ConfigurationError: A name is not known, a rate is not between 0 and 1, or weights do not add up to 1.
    """
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, str) and "*" in schedule:
        return _parse_mixture(schedule)
    return _parse_component(schedule)


def _parse_component(schedule: str | float) -> Schedule:
    text = schedule.replace(" ", "") if isinstance(schedule, str) else ""
    if text in SCHEDULES:
        return SCHEDULES[text]
    if match := _BETA.fullmatch(text):
        return _parse_beta(text, int(match[1]), int(match[2]))
    try:
        rate = float(schedule)
    except (TypeError, ValueError):
        raise ConfigurationError(f"the noise schedule {schedule!r} is not known", hint=_CHOICES) from None
    if not 0.0 < rate < 1.0:
        message = f"a mask rate lies between 0 and 1, both excluded; found {schedule!r}"
        raise ConfigurationError(message, hint=_CHOICES)
    return Constant(rate)


def _parse_beta(name: str, a: int, b: int) -> Beta:
    if not (a >= 1 and b >= 1 and a + b - 1 <= _MOST_UNIFORMS):
        raise ConfigurationError(
            f"the noise schedule {name}: expected whole numbers from 1 on with a sum up to {_MOST_UNIFORMS + 1}"
        )
    return Beta(name, a, b)


def _parse_mixture(text: str) -> Mixture:
    components = []
    for term in text.split("+"):
        weight, times, name = term.partition("*")
        if not times:
            raise _bad_mixture(text, f"a weight, '*' and a schedule, found {term.strip()!r}")
        try:
            share = float(weight)
        except ValueError:
            raise _bad_mixture(text, f"a number before '*', found {weight.strip()!r}") from None
        if not 0.0 < share <= 1.0:
            raise _bad_mixture(text, f"weights above 0 and up to 1, found {weight.strip()}")
        components.append((share, _parse_component(name)))
    if abs(sum(share for share, _ in components) - 1.0) > _TOLERANCE:
        raise _bad_mixture(text, f"weights that add up to 1, found {sum(share for share, _ in components):g}")
    return Mixture("+".join(f"{share:g}*{schedule.name}" for share, schedule in components), tuple(components))


def _bad_mixture(text: str, expected: str) -> ConfigurationError:
    return ConfigurationError(
        f"the noise schedule {text!r}: expected {expected}", hint="write a mixture like 0.8*beta(3,9)+0.2*uniform"
    )


def draw_rates(schedule: Schedule, seed: int, epoch: int, record_keys: Words, starts: Words) -> FloatArray:
    """The mask rate of each segment, from the counter hash under (seed, epoch, record key, start).

    Args:
        schedule: What to draw from.
        seed: Of the run.
        epoch: A segment has another rate in each epoch.
        record_keys: uint64 [segments].
        starts: First residue of each segment in its record, integers [segments].

    Returns:
        float64 [segments], in [0, 1].
    """
    if not schedule.num_uniforms:
        return schedule.from_uniforms(np.empty((*np.broadcast_shapes(np.shape(record_keys), np.shape(starts)), 0)))
    keys = derive_key(PURPOSE_NOISE_RATE, seed, epoch, record_keys, starts)
    return schedule.from_uniforms(uniform(draw(keys[..., None], np.arange(schedule.num_uniforms))))


def _linear(times: FloatArray) -> FloatArray:
    return 1.0 - times


def _cosine(times: FloatArray) -> FloatArray:
    # The power series in t^2: the last digits of a library's cosine differ between processors. The first term left out
    # is below 1e-19, and the coefficients as rounded add up to exactly 0 at t = 1.
    squares = times * times
    value = np.full_like(squares, _COSINE_COEFFICIENTS[-1])
    for coefficient in reversed(_COSINE_COEFFICIENTS[:-1]):
        value = value * squares + coefficient
    return value


def _cubic(times: FloatArray) -> FloatArray:
    return 1.0 - times * times * times


def _square(times: FloatArray) -> FloatArray:
    return 1.0 - times * times


def _square_root(times: FloatArray) -> FloatArray:
    return np.asarray(1.0 - np.sqrt(times))


def _cosine_coefficients(num_terms: int) -> tuple[float, ...]:
    """Of cos(pi t / 2) in powers of t^2, by products alone."""
    coefficients = [1.0]
    for k in range(1, num_terms):
        coefficients.append(-coefficients[-1] * (pi * pi / 4) / ((2 * k - 1) * (2 * k)))
    return tuple(coefficients)


_COSINE_COEFFICIENTS = _cosine_coefficients(12)

SCHEDULES: dict[str, Schedule] = {
    "linear": Curve("linear", _linear),
    "uniform": Curve("uniform", _linear),
    "cosine": Curve("cosine", _cosine),
    "cubic": Curve("cubic", _cubic),
    "square": Curve("square", _square),
    "square_root_schedule": Curve("square_root_schedule", _square_root),
    "sqrt": Curve("square_root_schedule", _square_root),
    "betalinear30": Mixture("betalinear30", ((0.8, Beta("beta(3,9)", 3, 9)), (0.2, Curve("uniform", _linear)))),
    "beta30": Beta("beta30", 3, 7),
}
"""Every schedule by name; ``sqrt`` is short for ``square_root_schedule``."""

_CHOICES = (
    f"choose one of {', '.join(SCHEDULES)}, beta(a,b), a rate such as 0.15, or a mixture such as"
    " 0.8*beta(3,9)+0.2*uniform"
)
