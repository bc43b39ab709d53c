"""What a person or a program sees.

Data go to stdout, everything a person reads while waiting goes to stderr. Three ways of speaking::

    human   progress bars on a terminal (elsewhere a line when a step begins and ends, and one a minute in between),
            tables, a last line that says what to run next
    json    one JSON object on stdout, nothing on stderr but errors and warnings
    quiet   errors and warnings only

NO_COLOR and a stdout that is no terminal switch colours off (rich does both).
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from pipeline.errors import PipelineError

WIDTH_OF_A_PIPE = 200


class Mode(StrEnum):
    """How results are told."""

    HUMAN = "human"
    """To a person."""
    JSON = "json"
    """To a program."""
    QUIET = "quiet"
    """Not at all."""


def _console(stream: TextIO) -> RichConsole:
    # A pipe has no width: what goes into one must not be cut at 80 columns.
    width = None if stream.isatty() else WIDTH_OF_A_PIPE
    return RichConsole(file=stream, highlight=False, soft_wrap=True, width=width)


class Console:
    """The one place that writes to stdout and stderr."""

    def __init__(self, mode: Mode = Mode.HUMAN) -> None:
        self.mode = mode
        self.people = _console(sys.stderr)
        self.data = _console(sys.stdout)

    @property
    def is_human(self) -> bool:
        """Whether a person is listening."""
        return self.mode is Mode.HUMAN

    def note(self, text: str = "") -> None:
        """A line for the person who waits."""
        if self.is_human:
            self.people.print(text, markup=False)

    def warning(self, text: str) -> None:
        """Something a person should know; said in every mode."""
        self.people.print(Text.assemble(("warning: ", "yellow"), text))

    def error(self, error: PipelineError) -> None:
        """One sentence, and after a blank line what to do."""
        self.people.print(Text.assemble(("error: ", "bold red"), error.message))
        if error.hint:
            self.people.print(Text.assemble("\n", ("hint: ", "cyan"), error.hint))

    def document(self, document: Mapping[str, Any]) -> None:
        """The result as JSON, in JSON mode."""
        if self.mode is Mode.JSON:
            sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")

    def show(self, renderable: Any) -> None:
        """A rich renderable that is the answer to a question: on stdout, for people."""
        if self.is_human:
            self.data.print(renderable)

    def facts(self, title: str, facts: Iterable[tuple[str, str]]) -> None:
        """A table of names and values for the person who waited."""
        if self.is_human:
            self.people.print()
            self.people.print(fact_table(title, facts))


def fact_table(title: str, facts: Iterable[tuple[str, str]]) -> Table:
    """Two columns: name and value."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in facts:
        table.add_row(name, Text(value))
    return table


def column_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table; numbers to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    cells = [[value if isinstance(value, Text) else Text(_cell(value)) for value in row] for row in rows]
    for position, name in enumerate(columns):
        numeric = bool(cells) and all(row[position].plain.replace(",", "").isdigit() for row in cells)
        table.add_column(name, justify="right" if numeric else "left")
    for row in cells:
        table.add_row(*row)
    return table


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def duration_text(seconds: float) -> str:
    """``8.2 s``, ``45 s``, ``12 min``, ``3 h 20 min`` or ``2 d 4 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def rate_text(per_second: float, noun: str) -> str:
    """``3.2 tasks/s``; by the minute or the hour where it is less than one."""
    for unit, seconds in (("s", 1), ("min", 60)):
        if per_second * seconds >= 1:
            rate = per_second * seconds
            return f"{rate:,.0f} {noun}/{unit}" if rate >= 100 else f"{rate:,.1f} {noun}/{unit}"
    return f"{per_second * 3600:,.1f} {noun}/h"


def bytes_text(num_bytes: int) -> str:
    """``8.8 GB``: decimal units, as publishers use them."""
    size = float(num_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def count(number: int, noun: str) -> str:
    """``4,391 proteins``; the noun loses its plural s for one."""
    return f"{number:,} {noun.removesuffix('s') if number == 1 else noun}"


def percent(part: float, whole: float) -> str:
    """``99.96 %``, or ``-`` of nothing."""
    return f"{100 * part / whole:.2f} %" if whole else "-"


def reasons_text(reasons: Mapping[str, int]) -> str:
    """``3 (2 gap, 1 digit)``."""
    total = sum(reasons.values())
    named = ", ".join(f"{number:,} {reason}" for reason, number in reasons.items() if number)
    return f"{total:,} ({named})" if total else "0"
