"""What a person or a program sees.

Data go to stdout, everything a person reads while waiting goes to stderr. Three ways of speaking::

    human   progress bars on a terminal (one line a step elsewhere), tables, a last line that says what to run next
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
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from pipeline.engines.stage import TaskResult
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


class ProgressWatcher:
    """Tells how far a stage is: a bar on a terminal, one line for each round elsewhere. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_terminal = console.is_human and console.people.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console.people,
            transient=True,
            disable=not self._is_terminal,
        )
        self._task: TaskID | None = None

    def round_started(self, kind: str, label: str, total: int, done: int) -> None:
        """A round of tasks begins."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(f"{kind}: {label}", total=total, completed=done)
        if not self._is_terminal:
            kept = f", {done} of them done earlier" if done else ""
            self._console.note(f"{kind}: {label}, {total} task{'s' * (total != 1)}{kept}")

    def task_finished(self, name: str, result: TaskResult) -> None:
        """A task is done."""
        del name, result
        if self._task is not None:
            self._progress.advance(self._task)

    def warning(self, text: str) -> None:
        """Something a person should know."""
        self._console.warning(text)

    def __enter__(self) -> "ProgressWatcher":
        self._progress.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._progress.stop()


class TransferWatcher:
    """Tells how far a download is: a bar of bytes on a terminal, a line for each tenth of a file elsewhere.

    A context manager. Besides being a watcher it is told the bytes of the file under way (``progress``) and every fault
    that was survived (``notify``).
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_terminal = console.is_human and console.people.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console.people,
            transient=True,
            disable=not self._is_terminal,
        )
        self._bar = self._progress.add_task("fetch", total=None)
        self._files = (0, 0)
        self._tenths = 0

    def round_started(self, kind: str, label: str, total: int, done: int) -> None:
        """A round of tasks begins, one for each file."""
        self._files = (done, total)
        kept = f", {done} of them there already" if done else ""
        self._console.note(f"{kind}: {label}, {count(total, 'files')}{kept}")

    def task_finished(self, name: str, result: TaskResult) -> None:
        """A file is there."""
        del name, result
        self._files = (self._files[0] + 1, self._files[1])
        self._tenths = 0

    def warning(self, text: str) -> None:
        """Something a person should know."""
        self._console.warning(text)

    def notify(self, sentence: str) -> None:
        """A fault that was survived."""
        self._console.note(sentence)

    def progress(self, done: int, total: int | None) -> None:
        """Bytes there are, and bytes there will be, of the file under way."""
        description = f"file {min(self._files[0] + 1, self._files[1])} of {self._files[1]}"
        self._progress.update(self._bar, completed=done, total=total, description=description)
        tenths = 10 * done // total if total else 0
        if not self._is_terminal and tenths > self._tenths:
            self._console.note(f"{description}: {10 * tenths} % of {bytes_text(total or 0)}")
        self._tenths = max(self._tenths, tenths)

    def __enter__(self) -> "TransferWatcher":
        self._progress.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._progress.stop()


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
