"""How a noise schedule looks: in the terminal, and as one JSON object."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.console import Console, fact_table
from pipeline.core.noise_statistics import NUM_BINS, ScheduleStatistics
from pipeline.formats.report_tables import ReportTable
from pipeline.reports import show_table

_TIMES_BETWEEN = 10
"""Of the curve, one in so many points is told."""


def schedule_document(statistics: ScheduleStatistics) -> dict[str, Any]:
    """A schedule as JSON."""
    return {
        "schedule": statistics.name,
        "mean": statistics.mean,
        "standard_deviation": statistics.standard_deviation,
        "quantiles": {f"{share:g}": rate for share, rate in statistics.quantiles.items()},
        "density": statistics.density.tolist(),
        "curve": None if statistics.curve is None else statistics.curve.tolist(),
    }


def show_schedule(statistics: ScheduleStatistics, console: Console) -> None:
    """Mean, quantiles, the density, and the curve if there is one."""
    facts = [
        ("mean mask rate", f"{statistics.mean:.4f}"),
        ("standard deviation", f"{statistics.standard_deviation:.4f}"),
    ]
    facts += [(f"{100 * share:g} % of segments up to", f"{rate:.4f}") for share, rate in statistics.quantiles.items()]
    console.show(fact_table(statistics.name, facts))
    for table in _tables(statistics):
        show_table(table, console)


def _tables(statistics: ScheduleStatistics) -> Iterator[ReportTable]:
    densest = float(statistics.density.max())
    rows = [
        (f"{number / NUM_BINS:.2f} to {(number + 1) / NUM_BINS:.2f}", f"{density:.3f}", density / densest)
        for number, density in enumerate(statistics.density.tolist())
    ]
    yield ReportTable("segments by mask rate", ("mask rate", "density", ""), rows)
    if statistics.curve is not None:
        times = np.linspace(0.0, 1.0, len(statistics.curve)).tolist()
        points = list(zip(times, statistics.curve.tolist(), strict=True))[::_TIMES_BETWEEN]
        told = [(f"{at:.1f}", f"{rate:.4f}", rate) for at, rate in points]
        note = "a decoding runs from time 0, where all is masked, to 1"
        yield ReportTable("fraction still masked", ("time", "masked", ""), told, note)
