"""Charts for a page without scripts: shapes in SVG that stretch with the page, words in HTML that do not.

::

    ┌ plot ───────────────────────┐
    │     ▂▄█ median              │     <svg preserveAspectRatio="none">: rectangles, scaled in both directions
    │   ▂█████▆▃ p90              │     words and lines over it, placed in per cent, in the type of the page
    └──┬────┬────┬────────────────┘
      100  1,000 10,000                 so a phone shows the same chart, narrower, and as legible

Colours, fonts and sizes are the stylesheet's business. Everything is a pure function of numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pipeline.formats.markup import Markup, element, join

BINS_PER_DECADE = 26
"""Bars of a histogram for each factor of ten: each spans 9 %."""

_Across = Callable[[float], float]

_WIDTH, _HEIGHT = 1_000.0, 100.0
_HEADROOM = 1.3
_TICKS = (1, 2, 5)


class Bar(NamedTuple):
    """One bar of a histogram: how many values lie from ``first`` to ``last``."""

    first: int
    last: int
    number: int

    @property
    def width(self) -> float:
        """On the logarithmic axis, in decades."""
        return math.log10((self.last + 1) / self.first)

    @property
    def height(self) -> float:
        """Number for a bar of the usual width: bars of small numbers are wider or narrower, since numbers are whole."""
        return self.number / (self.width * BINS_PER_DECADE)


class Marker(NamedTuple):
    """A value to point at."""

    label: str
    value: int
    between: str = ""
    """Words between the two, left out where there is little room."""


class Row(NamedTuple):
    """One line of a bar chart."""

    label: str
    value: float
    """Length of the bar, in any unit."""
    text: str
    """The value, for people."""
    note: str = ""
    """Something more, in a quieter voice."""
    reference: float | None = None
    """Where to put a tick to compare with."""
    detail: str = ""
    """Something more about the label, in a quieter voice."""


def make_bars(counts: Mapping[int, int]) -> list[Bar]:
    """Group counts into bars of equal width on a logarithmic axis, as far as whole numbers allow.

    Args:
        counts: How often each value occurs; values from 1.
    """
    first, last = min(counts), max(counts)
    begin, end = math.log10(first), math.log10(last + 1)
    num_bars = max(1, math.ceil((end - begin) * BINS_PER_DECADE))
    exact = (10 ** (begin + (end - begin) * number / num_bars) for number in range(1, num_bars))
    edges = sorted({first, last + 1, *(edge for value in exact if first < (edge := round(value)) <= last)})
    totals = dict.fromkeys(edges[:-1], 0)
    position = 0
    for value, count in sorted(counts.items()):
        while value >= edges[position + 1]:
            position += 1
        totals[edges[position]] += count
    return [Bar(edge, following - 1, totals[edge]) for edge, following in pairwise(edges)]


def histogram(counts: Mapping[int, int], markers: Sequence[Marker], *, unit: str, beyond: int, label: str) -> Markup:
    """A histogram over a logarithmic axis.

    Args:
        counts: How often each value occurs; values from 1, at least one.
        markers: Values to point at, each a line lower than the one before, so that their labels do not meet.
        unit: What the values are, for the tooltip of each bar.
        beyond: Bars that begin above this value are paler.
        label: What the chart shows, for those who cannot see it.
    """
    bars = make_bars(counts)
    begin, end = math.log10(bars[0].first), math.log10(bars[-1].last + 1)

    def across(value: float) -> float:
        return (math.log10(value) - begin) / (end - begin)

    top = max(bar.height for bar in bars) * _HEADROOM
    shapes = [_rectangle(bar, across, top, unit, beyond) for bar in bars]
    svg = element(
        "svg", *shapes, viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}", preserveAspectRatio="none", role="img", aria_label=label
    )
    plot = element("div", *_gridlines(top), svg, *_markers(markers, across), class_="plot")
    return join([plot, _axis(bars[0].first, bars[-1].last, across)])


def _rectangle(bar: Bar, across: _Across, top: float, unit: str, beyond: int) -> Markup:
    left, right = across(bar.first) * _WIDTH, across(bar.last + 1) * _WIDTH
    height = bar.height / top * _HEIGHT
    values = f"{bar.first:,}" if bar.first == bar.last else f"{bar.first:,} to {bar.last:,}"
    return element(
        "rect",
        element("title", f"{values} {unit}: {bar.number:,}"),
        class_="beyond" if bar.first > beyond else None,
        x=f"{left:.2f}",
        y=f"{_HEIGHT - height:.3f}",
        width=f"{max(0.3, (right - left) * 0.92):.2f}",
        height=f"{height:.3f}",
    )


def _gridlines(top: float) -> list[Markup]:
    step = nice_step(top / _HEADROOM)
    values = [step * number for number in range(1, int(top / _HEADROOM / step) + 1)]
    return [
        element("span", element("span", f"{value:,}"), class_="grid", style=f"bottom:{100 * value / top:.2f}%")
        for value in values
    ]


def nice_step(largest: float) -> int:
    """A round step that divides 0 … ``largest`` into two to five parts; at least 1."""
    magnitude = 10 ** math.floor(math.log10(max(largest, 1) / 2))
    steps = (magnitude * tick for tick in (5, 2, 1))
    return max(1, int(next((step for step in steps if step * 2 <= largest), 1)))


def _markers(markers: Sequence[Marker], across: _Across) -> list[Markup]:
    return [
        element(
            "span",
            element("span", f"{marker.label} ", element("i", marker.between), element("b", f"{marker.value:,}")),
            class_="marker from-right" if across(marker.value) > 0.85 else "marker",
            style=f"left:{100 * across(marker.value):.2f}%;top:{line * 9}%",
        )
        for line, marker in enumerate(markers)
    ]


def _axis(first: int, last: int, across: _Across) -> Markup:
    decades = range(math.floor(math.log10(first)), math.floor(math.log10(last)) + 1)
    ticks = [tick * 10**decade for decade in decades for tick in _TICKS if first <= tick * 10**decade <= last]
    return element("div", *(_tick(value, across(value)) for value in ticks), class_="axis")


def _tick(value: int, place: float) -> Markup:
    is_power = str(value).startswith("1")
    return element("span", f"{value:,}", class_=None if is_power else "minor", style=f"left:{100 * place:.2f}%")


def bar_chart(rows: Sequence[Row], *, class_: str = "") -> Markup:
    """Horizontal bars, one line each: label, bar, value, note; the longest bar or tick takes the whole width."""
    widest = max((max(row.value, row.reference or 0) for row in rows), default=0) or 1
    return element("div", *(_line(row, widest) for row in rows), class_=f"bars {class_}".strip())


def _line(row: Row, widest: float) -> Markup:
    bar = element("span", class_="bar", style=f"width:{100 * row.value / widest:.2f}%")
    detail = [element("span", f" {row.detail}", class_="detail")] if row.detail else []
    tick = [] if row.reference is None else [_reference(row.reference / widest)]
    return element(
        "div",
        element("span", row.label, *detail, class_="label"),
        element("span", bar, *tick, class_="track"),
        element("span", row.text, class_="value"),
        element("span", row.note, class_="note"),
        class_="line",
    )


def _reference(place: float) -> Markup:
    return element("span", class_="reference", style=f"left:{100 * place:.2f}%")


def stacked_bar(parts: Sequence[tuple[str, str, float]], *, label: str) -> Markup:
    """One bar, divided.

    Args:
        parts: Class in the stylesheet, what it is, and how much; those of nothing are left out.
        label: What the bar shows, for those who cannot see it.
    """
    pieces = [
        element("span", class_=class_, title=title, style=f"flex-grow:{amount:g}")
        for class_, title, amount in parts
        if amount
    ]
    return element("div", *pieces, class_="stack", role="img", aria_label=label)
