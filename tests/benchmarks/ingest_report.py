"""The table of ingesting.py, and what the figures are held against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ingest_rows import Row, ingest_name

MEMORY_BYTES = 10**9
REFERENCE = "parse: needletail, counted"
"""What speed is compared with: needletail at its fastest."""
WIDTHS = (5, 9, 8, 9, 10, 9, 9, 9, 8)
TITLES = ("cpus", "seconds", "MB/s", "cpu s", "MB/cpu s", "× needle", "peak MB", "at most", "out MB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure and its border."""

    name: str
    value: float | None
    """None: could not be measured here."""
    border: float
    is_upper: bool = False

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "cannot be told here"
        return "met" if (self.value <= self.border if self.is_upper else self.value >= self.border) else "MISSED"


def targets(rows: Sequence[Row], num_bytes: int) -> Iterator[Target]:
    """What is aimed at, and where it stands."""
    figures = {row.key: row.figures(num_bytes) for row in rows}
    one, two, compressed = (
        f"ingest: {ingest_name(compressed=compressed, num_workers=num_workers)}"
        for compressed, num_workers in ((False, 1), (False, 2), (True, 2))
    )

    def ratio(key: str, other: str, name: str) -> float | None:
        first, second = figures[key].get(name), figures[other].get(name)
        return first / second if first and second else None

    for name, words in (("mb_per_second", "a second"), ("mb_per_cpu_second", "a processor second")):
        value = ratio("parse: pipeline", REFERENCE, name)
        yield Target(name=f"parse, bytes {words}, times needletail's", value=value, border=1)
    yield Target(name="ingest, plain, 1 worker, MB/s", value=figures[one].get("mb_per_second"), border=100)
    value = ratio(two, one, "mb_per_second")
    yield Target(name="ingest, plain, 2 workers, times the speed of 1", value=value, border=1.7)
    value = ratio(compressed, two, "seconds")
    yield Target(name="ingest, .gz, 2 processors, times the time of plain", value=value, border=1.3, is_upper=True)
    yield from memory_targets([row for row in rows if row.is_bounded])


def memory_targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Of the upper bound: what the tree shares with its neighbours changes with them."""
    for row in rows:
        peak = row.memory.resident / MEMORY_BYTES if row.memory else None
        yield Target(name=f"peak GB at most, {row.name}", value=peak, border=1, is_upper=True)
        if row.large_memory and row.memory:
            large, growth = row.large_memory.resident, row.large_memory.resident / row.memory.resident
            yield Target(
                name=f"peak GB at most, {row.name}, large", value=large / MEMORY_BYTES, border=1, is_upper=True
            )
            yield Target(name=f"peak, {row.name}, large, times small", value=growth, border=1.1, is_upper=True)


def print_table(rows: Sequence[Row], num_bytes: int) -> None:
    reference = next(row.figures(num_bytes) for row in rows if row.key == REFERENCE).get("mb_per_cpu_second")
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            print(f"{group:45}" + "".join(f"{title:>{width}}" for title, width in zip(TITLES, WIDTHS, strict=True)))
        print(f"  {row.name:43}" + describe(row.figures(num_bytes), reference))


def describe(figures: dict[str, Any], reference: float | None) -> str:
    if "absent" in figures:
        return f"  {figures['absent']}"
    cells = [f"{figures['cpus']}", f"{figures['seconds']:.2f}", f"{figures['mb_per_second']:,.0f}"]
    cells += [f"{figures['cpu_seconds']:.2f}", f"{figures['mb_per_cpu_second']:,.0f}"]
    cells += [f"{figures['mb_per_cpu_second'] / reference:.2f}" if reference else "?"]
    if "peak_bytes" in figures:
        cells += [f"{figures[name] / 1e6:,.0f}" for name in ("peak_bytes", "peak_bytes_at_most", "out_bytes")]
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=False))


def print_targets(found: Sequence[Target]) -> None:
    print("targets")
    for target in found:
        figure = "" if target.value is None else f"{target.value:,.2f}"
        sign = "≤" if target.is_upper else "≥"
        print(f"  {target.name:66}{figure:>9}  {sign} {target.border:<6g}{target.verdict}")
