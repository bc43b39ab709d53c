"""Charts: every value is in a bar, and every bar is where its values are."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.charts import (
    BINS_PER_DECADE,
    Marker,
    Row,
    bar_chart,
    histogram,
    make_bars,
    nice_step,
    stacked_bar,
)

COUNTS = st.dictionaries(st.integers(1, 40_000), st.integers(1, 1000), min_size=1, max_size=40)


@given(COUNTS)
def test_bars_touch_and_hold_every_value_once(counts):
    bars = make_bars(counts)
    assert bars[0].first == min(counts)
    assert bars[-1].last == max(counts)
    for bar, following in pairwise(bars):
        assert following.first == bar.last + 1
    for bar in bars:
        assert bar.first <= bar.last
        assert bar.number == sum(number for value, number in counts.items() if bar.first <= value <= bar.last)


@given(COUNTS)
def test_bars_of_large_values_have_the_usual_width(counts):
    for bar in make_bars(counts):
        # Rounding to whole numbers moves each edge by at most a half.
        slack = math.log10((bar.last + 1.5) / (bar.first - 0.5)) - bar.width
        assert bar.width <= max(1 / BINS_PER_DECADE + slack, math.log10(1 + 1 / bar.first) + 1e-9)


def test_an_even_spread_has_even_heights_where_whole_numbers_are_few():
    # As many values as their share of the axis: every bar as high as the others, narrow or wide.
    counts = {value: round(1e6 * math.log10((value + 1) / value)) for value in range(5, 5000)}
    heights = [bar.height for bar in make_bars(counts)]
    assert max(heights) / min(heights) < 1.001


@pytest.mark.parametrize(
    ("largest", "step"), [(0.2, 1), (1, 1), (3, 1), (4, 2), (9.9, 2), (10, 5), (25, 10), (99, 20), (4081, 2000)]
)
def test_steps_are_round(largest, step):
    assert nice_step(largest) == step


def test_a_histogram_says_what_each_bar_holds():
    chart = histogram(
        {100: 3, 200: 5, 2000: 1}, [Marker("median", 200)], unit="residues", beyond=1022, label="lengths & more"
    )
    titles = re.findall(r"<rect([^>]*)><title>([^<]*)</title>", chart)
    assert sum(int(title.rpartition(": ")[2]) for _, title in titles) == 9
    assert all(
        ("beyond" in attributes) == (int(title.split()[0].replace(",", "")) > 1022) for attributes, title in titles
    )
    assert 'aria-label="lengths &amp; more"' in chart
    assert "<b>200</b>" in chart
    assert ">1,000</span>" in chart


def test_a_histogram_of_one_value():
    chart = histogram({7: 4}, [Marker("median", 7)], unit="residues", beyond=10, label="")
    assert "<title>7 residues: 4</title>" in chart


@given(st.lists(st.tuples(st.floats(0, 100), st.none() | st.floats(0, 100)), max_size=5))
def test_bars_stay_in_their_track(values):
    rows = [Row("<a>", value, "1", reference=reference, detail="d") for value, reference in values]
    chart = bar_chart(rows)
    assert "<a>" not in chart
    for percent in re.findall(r"(?:width|left):([0-9.]+)%", chart):
        assert 0 <= float(percent) <= 100


def test_a_stacked_bar_leaves_out_what_is_not_there():
    bar = stacked_bar([("kept", "kept: 5", 5), ("merged", "merged: 0", 0)], label="<5>")
    assert "merged" not in bar
    assert "flex-grow:5" in bar
    assert 'aria-label="&lt;5&gt;"' in bar
