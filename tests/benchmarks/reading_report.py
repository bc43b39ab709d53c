"""The table of reading.py, and what the figures are held against."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest_report import Target
from reading_contestants import DECODED, MEMORY_MAP, NARROW, OURS, READERS

TITLES = ("Mtok/s", "trainer ms", "cpu ms", "first s", "resume s", "MB", "B/token")
WIDTHS = (9, 12, 9, 9, 10, 8, 9)
MEGA = 10**6
FIRST_SECONDS = {"binary": 0.1, "list": 0.2}
MEMORY_BYTES = 300 * MEGA
Measured = dict[str, Any]


@dataclass(kw_only=True)
class Row:
    """One line of the table."""

    name: str
    num_workers: int
    absent: str = ""
    """Why there are no figures."""
    epochs: list[Measured] = field(default_factory=list)
    resumes: list[Measured] = field(default_factory=list)
    check: Measured | None = None
    """An epoch whose rows were looked at."""
    peak_bytes: int = 0
    """Of all processes, proportional."""
    stored_bytes: int = 0
    num_tokens: int = 0
    """Of an epoch, padding included."""

    @property
    def key(self) -> tuple[str, int]:
        """Name and workers: no two rows share them."""
        return self.name, self.num_workers

    def figures(self) -> dict[str, Any]:
        """Medians; none of a row that did not run."""
        figures: dict[str, Any] = {"name": self.name, "workers": self.num_workers}
        if not self.epochs or self.absent:
            return figures | {"absent": self.absent}
        figures["mtokens_per_second"] = statistics.median(one["tokens"] / one["seconds"] for one in self.epochs) / MEGA
        for name, words in (("trainer_seconds", "trainer_ms"), ("processor_seconds", "cpu_ms")):
            seconds = statistics.median(one[name] / one["tokens"] for one in self.epochs)
            figures[f"{words}_per_mtoken"] = 1000 * MEGA * seconds
        figures["first_batch_seconds"] = statistics.median(one["first_seconds"] for one in self.epochs)
        figures["bytes_per_token"] = self.stored_bytes / self.num_tokens
        if self.resumes:
            figures["resume_seconds"] = statistics.median(one["first_seconds"] for one in self.resumes)
        if self.check:
            figures |= {"peak_bytes": self.peak_bytes, "rows": self.rows_that_came()}
        return figures | {"repeats": len(self.epochs)}

    def rows_that_came(self) -> str:
        """In words."""
        assert self.check is not None
        words = [counted(self.check) or "each once"]
        if self.resumes:
            last = self.resumes[-1]
            found = counted(last) or ("the same" if last["is_same"] else "each once, in another order")
            words.append(f"after a resume {found}")
        return ", ".join(words)


def counted(measured: Measured) -> str:
    return ", ".join(f"{measured[name]:,} {name}" for name in ("lost", "again") if measured[name])


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """What is aimed at, and where it stands."""
    figures = {row.key: row.figures() for row in rows}

    def figure(reader: str, num_workers: int, name: str = "mtokens_per_second") -> float | None:
        value = figures.get((reader, num_workers), {}).get(name)
        return None if value is None else float(value)

    def times(one: float | None, other: float | None) -> float | None:
        return one / other if one and other else None

    binary, of_list = OURS.format("binary"), OURS.format("list")
    value = times(figure(binary, 0), figure(MEMORY_MAP, 0))
    yield Target(name="binary, in the trainer's process, times the memory map's", value=value, border=0.85)
    value = times(figure(of_list, 0), figure(DECODED.format("list"), 0))
    yield Target(name="list, in the trainer's process, times what two threads decode", value=value, border=0.6)
    for name in (binary, of_list):
        for reader in (NARROW.format(name), name):
            value = times(figure(reader, 2), figure(MEMORY_MAP, 2))
            yield Target(name=f"{reader}, 2 workers, times the memory map's", value=value, border=2)
    for layout, border in FIRST_SECONDS.items():
        for name, words in (("first_batch_seconds", "first batch"), ("resume_seconds", "resume")):
            value = figure(OURS.format(layout), 0, name)
            yield Target(
                name=f"{layout}, in the trainer's process, {words}, s", value=value, border=border, is_upper=True
            )
    for layout in FIRST_SECONDS:
        for num_workers in (0, 2):
            peak = figure(OURS.format(layout), num_workers, "peak_bytes")
            value = None if peak is None else peak / MEGA
            yield Target(
                name=f"{layout}, {num_workers} workers, MB", value=value, border=MEMORY_BYTES / MEGA, is_upper=True
            )


def print_table(rows: Sequence[Row]) -> None:
    num_workers = -1
    for row in rows:
        if row.num_workers != num_workers:
            num_workers = row.num_workers
            where = f"{num_workers} workers" if num_workers else "in the trainer's process"
            titles = "".join(f"{title:>{width}}" for title, width in zip(TITLES, WIDTHS, strict=True))
            print(f"{where:45}{titles}  rows")
        print(f"  {row.name:43}" + describe(row.figures()))


def describe(figures: dict[str, Any]) -> str:
    if "absent" in figures:
        return f"  {figures['absent']}"
    resume = figures.get("resume_seconds")
    peak = figures.get("peak_bytes")
    cells = [f"{figures['mtokens_per_second']:,.1f}", f"{figures['trainer_ms_per_mtoken']:,.1f}"]
    cells += [f"{figures['cpu_ms_per_mtoken']:,.1f}", f"{figures['first_batch_seconds']:.3f}"]
    cells += ["–" if resume is None else f"{resume:.3f}", "–" if peak is None else f"{peak / MEGA:,.0f}"]
    cells += [f"{figures['bytes_per_token']:.2f}"]
    text = "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    return f"{text}  {figures.get('rows', '')}"


assert NARROW.format(MEMORY_MAP) in READERS
