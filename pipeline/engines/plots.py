"""Pictures of noise schedules, drawn by matplotlib: the one module that loads it."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.noise_statistics import NUM_BINS, ScheduleStatistics
from pipeline.errors import ConfigurationError, MissingExtraError
from pipeline.formats.storage import atomic_path

FORMATS = (".png", ".svg", ".pdf")

_INK, _BARS, _MARK = "#20242c", "#9db8d9", "#b5432a"


def plot_schedule(statistics: ScheduleStatistics, path: Path) -> None:
    """Draw the density of a schedule, with mean and quantiles, and beside it the curve if there is one.

    Args:
        statistics: Of the schedule.
        path: Where to; the ending says which format.

    Raises:
        ConfigurationError: The ending is none of ``FORMATS``.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigurationError(f"--plot {path}: expected a name that ends in {', '.join(FORMATS)}")
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (half a second, and an extra)
    except ImportError as error:
        raise MissingExtraError(
            "drawing needs matplotlib, which is not installed", hint="pip install 'protein-pipeline[plot]'"
        ) from error
    num_panels = 1 if statistics.curve is None else 2
    figure = Figure(figsize=(5.2 * num_panels, 3.6), layout="constrained", dpi=150)
    panels = figure.subplots(1, num_panels, squeeze=False)[0]
    _draw_density(panels[0], statistics)
    if statistics.curve is not None:
        _draw_curve(panels[1], statistics.curve)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlim(0, 1)
        panel.set_ylim(bottom=0)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower())


def _draw_density(panel: Any, statistics: ScheduleStatistics) -> None:
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    panel.bar(edges[:-1], statistics.density, width=1 / NUM_BINS, align="edge", color=_BARS, edgecolor="white")
    panel.axvline(statistics.mean, color=_MARK, label=f"mean {statistics.mean:.3f}")
    rates = list(statistics.quantiles.values())
    told = ", ".join(f"{100 * share:g}" for share in statistics.quantiles)
    panel.plot(rates, np.zeros(len(rates)), "|", color=_INK, markersize=12, clip_on=False, label=f"{told} %")
    panel.set_title(statistics.name, color=_INK)
    panel.set_xlabel("mask rate of a segment")
    panel.set_ylabel("probability density")
    panel.legend(frameon=False)


def _draw_curve(panel: Any, curve: Any) -> None:
    panel.plot(np.linspace(0.0, 1.0, len(curve)), curve, color=_INK)
    panel.set_title("while decoding", color=_INK)
    panel.set_xlabel("time")
    panel.set_ylabel("fraction still masked")
