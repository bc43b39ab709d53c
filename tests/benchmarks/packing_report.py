"""The table of packers.py, the check of what a packer came to, and what the figures are held against."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ingest_report import Target
from packing_contestants import EXACT, OURS, PACKERS, RIVAL
from packing_peers import Lengths
from packing_published import Packed

from pipeline.core.packing import length_histogram, lower_bound

ITEMS, LARGE_ITEMS, ROW_LENGTH = 1_000_000, 65_000_000, 1024
SECONDS = {ITEMS: 0.25, LARGE_ITEMS: 6}
"""What targets are about."""
TITLES = ("items", "row", "s", "cpu s", "full %", "over", "MB", "B/item")
WIDTHS = (15, 7, 9, 9, 9, 9, 8, 8)


@dataclass(kw_only=True)
class Row:
    """One line of the table."""

    name: str
    num_items: int
    capacity: int
    scale: int = 1
    """Every length stands for so many."""
    absent: str = ""
    """Why there are no figures."""
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    grown: list[int] = field(default_factory=list)
    """Bytes by which the process grew at its peak."""
    num_rows: int = 0
    percent_full: float = 0
    over_bound: int = 0
    """Rows over the lower bound."""

    @property
    def key(self) -> tuple[str, int, int]:
        """Name, items and capacity: no two rows share them."""
        return self.name, self.num_items * self.scale, self.capacity

    def figures(self) -> dict[str, Any]:
        """Medians; none of a row that did not run."""
        name, num_items, capacity = self.key
        figures: dict[str, Any] = {"name": name, "says": PACKERS[name].says, "items": num_items, "capacity": capacity}
        if not self.seconds:
            return figures | {"absent": self.absent}
        grown = statistics.median(self.grown)
        return figures | {
            "seconds": statistics.median(self.seconds),
            "cpu_seconds": statistics.median(self.processor_seconds),
            "percent_full": self.percent_full,
            "rows": self.num_rows,
            "rows_over_lower_bound": self.over_bound,
            "peak_bytes": grown,
            "bytes_per_item": grown / num_items,
            "repeats": len(self.seconds),
        }

    def take(self, packed: Packed, lengths: Lengths) -> None:
        """Check what the packer came to, and count its rows."""
        check(packed, lengths, self.capacity, self.scale)
        num_rows = len(packed.offsets) - 1 if packed.counts is None else int(packed.counts.sum())
        assert self.num_rows in {0, num_rows}, f"{self.key}: {num_rows} rows now, {self.num_rows} before"
        histogram = length_histogram(lengths, self.capacity) * self.scale
        tokens = int(histogram @ np.arange(self.capacity + 1))
        self.num_rows, self.percent_full = num_rows, 100 * tokens / num_rows / self.capacity
        self.over_bound = num_rows - lower_bound(histogram, self.capacity)


def check(packed: Packed, lengths: Lengths, capacity: int, scale: int) -> None:
    """Every item is there once and no row is longer than it may be."""
    if packed.counts is not None:
        tokens = packed.members
        repeated = np.repeat(packed.counts, np.diff(packed.offsets))
        held = np.bincount(packed.members, weights=repeated, minlength=capacity + 1)
        assert np.array_equal(held, length_histogram(lengths, capacity) * scale), "lengths are not those given"
    elif packed.tokens is not None:
        tokens = packed.tokens
        assert np.array_equal(np.bincount(packed.members, weights=tokens), lengths), "pieces are not the items"
    else:
        tokens = lengths[packed.members]
        is_there = np.zeros(len(lengths), dtype=np.bool_)
        is_there[packed.members] = True
        assert len(packed.members) == len(lengths), "there are more or fewer than given"
        assert is_there.all(), "an item is missing"
    assert packed.offsets[0] == 0, "offsets begin with 0"
    assert packed.offsets[-1] == len(packed.members), "offsets end where members do"
    assert np.all(np.diff(packed.offsets) > 0), "a row is empty"
    assert np.add.reduceat(tokens, packed.offsets[:-1]).max() <= capacity, "a row is too long"


def check_exact(rows: Sequence[Row]) -> None:
    """First-fit decreasing comes to the same, whoever does it."""
    for one in rows:
        for other in rows:
            if {one.name, other.name} <= set(EXACT) and one.key[1:] == other.key[1:] and one.seconds and other.seconds:
                assert one.num_rows == other.num_rows, f"{one.key}: {one.num_rows} rows, {other.name} {other.num_rows}"


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """What is aimed at, and where it stands."""
    figures = {row.key: row.figures() for row in rows}

    def figure(packer: str, num_items: int, capacity: int, name: str) -> float | None:
        value = figures.get((packer, num_items, capacity), {}).get(name)
        return None if value is None else float(value)

    for num_items, seconds in SECONDS.items():
        for name, words in (("seconds", "seconds"), ("cpu_seconds", "processor seconds")):
            value = figure(OURS, num_items, ROW_LENGTH, name)
            what = f"{num_items:,} into {ROW_LENGTH:,}, {words}"
            yield Target(name=what, value=value, border=seconds, is_upper=True)
    what, value = f"{ITEMS:,} into {ROW_LENGTH:,}", figure(OURS, ITEMS, ROW_LENGTH, "percent_full")
    yield Target(name=f"{what}, % full", value=value, border=99.96)
    ours, rival = (figure(packer, ITEMS, ROW_LENGTH, "cpu_seconds") for packer in (OURS, RIVAL))
    value = ours / rival if ours and rival else None
    yield Target(name=f"{what}, processor seconds, of LPFHP dealt by length", value=value, border=1, is_upper=True)
    for name, num_items, capacity in figures:
        if name == OURS and num_items == LARGE_ITEMS:
            what, value = f"{num_items:,} into {capacity:,}", figure(name, num_items, capacity, "bytes_per_item")
            yield Target(name=f"{what}, bytes a record beside its length", value=value, border=16, is_upper=True)


def print_table(rows: Sequence[Row]) -> None:
    asked = (0, 0)
    for row in rows:
        if asked != (row.capacity, row.key[1]):
            asked = (row.capacity, row.key[1])
            titles = "".join(f"{title:>{width}}" for title, width in zip(TITLES, WIDTHS, strict=True))
            print(f"{'packer':33}{'says':14}{titles}")
        print(f"  {row.name:31}{PACKERS[row.name].says:14}" + describe(row.figures()))


def describe(figures: dict[str, Any]) -> str:
    cells = [f"{figures['items']:,}", f"{figures['capacity']:,}"]
    if "absent" not in figures:
        cells += [f"{figures[name]:.3f}" for name in ("seconds", "cpu_seconds", "percent_full")]
        cells += [f"{figures['rows_over_lower_bound']:,}", f"{figures['peak_bytes'] / 1e6:,.0f}"]
        cells += [f"{figures['bytes_per_item']:,.1f}"]
    text = "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=False))
    return text + (f"  {figures['absent']}" if "absent" in figures else "")
