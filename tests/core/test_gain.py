"""Gain: a sentence that says whether optimal packing is worth it."""

import pytest

from pipeline.core.gain import Gain

AS_GOOD = "first-fit decreasing is as good here: "


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((62_025, 62_000, 61_999), AS_GOOD + "optimal packing saves 25 of 62,025 rows (0.040%) and is 1 over"),
        ((1100, 900, 900), "optimal packing saves 200 of 1,100 rows (18.18%) and is 0 over"),
        ((1000, 995, 990), "optimal packing saves 5 of 1,000 rows (0.50%) and is 5 over"),
        ((0, 0, 0), AS_GOOD + "optimal packing saves 0 of 0 rows (0.000%) and is 0 over"),
    ],
)
def test_it_is_worth_it_from_half_a_per_cent_of_the_rows(rows, expected):
    first_fit_rows, packed, lower_bound = rows
    gain = Gain(first_fit_rows=first_fit_rows, rows=packed, lower_bound=lower_bound)
    assert gain.sentence() == expected + " the lower bound"
