"""The rows of ingesting.py: what is run, on how many processors, and what was measured."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from by_hand import READERS as SCRIPTS
from parsing import READERS, is_installed
from process_tree import Memory

HERE = Path(__file__).parent
MEMORY = "1GB"
FILE, OUT = "FILE", "OUT"
"""In commands: the input, the corpus to write."""
NOT_INSTALLED = "not installed"


@dataclass(kw_only=True)
class Row:
    """One line of the table."""

    group: str
    name: str
    command: tuple[str, ...]
    compressed: bool = False
    """Reads the gzip stream."""
    num_cpus: int = 1
    absent: str = ""
    """Why it cannot run here."""
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    memory: Memory | None = None
    large_memory: Memory | None = None
    """The same with the large input."""
    result: tuple[int, ...] = ()
    """What it came to: the same in every repeat, and in every row that sees as much."""
    out_bytes: int = 0

    @property
    def key(self) -> str:
        """Group and name: no two rows share one."""
        return f"{self.group}: {self.name}"

    @property
    def is_bounded(self) -> bool:
        """Whether it was told how much memory to take."""
        return MEMORY in self.command

    def figures(self, num_bytes: int) -> dict[str, Any]:
        """Medians, for ``num_bytes`` of text; none of a row that did not run."""
        figures: dict[str, Any] = {"group": self.group, "name": self.name, "cpus": self.num_cpus}
        if not self.seconds:
            return figures | {"absent": self.absent}
        seconds, processor_seconds = statistics.median(self.seconds), statistics.median(self.processor_seconds)
        figures |= {"seconds": seconds, "mb_per_second": num_bytes / seconds / 1e6}
        figures |= {"cpu_seconds": processor_seconds, "mb_per_cpu_second": num_bytes / processor_seconds / 1e6}
        figures |= {"out_bytes": self.out_bytes} if self.out_bytes else {}
        for prefix, memory in (("", self.memory), ("large_", self.large_memory)):
            if memory is not None:
                figures |= {f"{prefix}peak_bytes": memory.proportional, f"{prefix}peak_bytes_at_most": memory.resident}
                figures[f"{prefix}peak_bytes_anonymous"] = memory.anonymous
        return figures


def all_rows() -> list[Row]:
    """In the order of the table."""
    return [*parsing_rows(), *decompressing_rows(), *ingest_rows(), *script_rows()]


def parsing_rows() -> Iterator[Row]:
    for reader in READERS:
        if not reader.endswith(" alone"):
            yield reading_row("parse", reader, reader)


def decompressing_rows() -> Iterator[Row]:
    for reader in READERS:
        if reader.endswith(" alone"):
            yield reading_row("gunzip", reader, reader, compressed=True)
    for reader in ("pipeline", "needletail"):
        yield reading_row("gunzip", f"{reader}, parsed too", reader, compressed=True)


def reading_row(group: str, name: str, reader: str, *, compressed: bool = False) -> Row:
    command = (sys.executable, str(HERE / "parsing.py"), reader, FILE)
    absent = "" if is_installed(reader) else NOT_INSTALLED
    return Row(group=group, name=name, command=command, compressed=compressed, absent=absent)


def ingest_rows() -> Iterator[Row]:
    for options in ((), ("--memory", MEMORY)):
        absent = "" if not options or offers_memory() else "not offered"
        for compressed, num_workers in ((False, 1), (False, 2), (True, 2)):
            yield Row(
                group="ingest",
                name=" ".join((ingest_name(compressed=compressed, num_workers=num_workers), *options)),
                command=(*ingest_command(FILE, OUT, num_workers), *options),
                compressed=compressed,
                num_cpus=num_workers,
                absent=absent,
            )


def ingest_name(*, compressed: bool, num_workers: int) -> str:
    return f"pipeline, {'.gz' if compressed else 'plain'}, {num_workers} worker{'s' * (num_workers > 1)}"


def ingest_command(path: str, out: str, num_workers: int) -> tuple[str, ...]:
    command = (sys.executable, "-m", "pipeline", "ingest", path, "--out", out, "--quiet")
    return (*command, "--workers", str(num_workers))


def offers_memory() -> bool:
    command = (sys.executable, "-m", "pipeline", "ingest", "--help")
    return "--memory" in subprocess.run(command, check=True, capture_output=True, text=True).stdout


def script_rows() -> Iterator[Row]:
    for reader in SCRIPTS:
        for compressed, num_cpus in ((False, 1), (True, 2)):
            yield Row(
                group="ingest",
                name=f"{reader}, dict, pyarrow, {'.gz' if compressed else 'plain'}",
                command=(sys.executable, str(HERE / "by_hand.py"), reader, FILE, OUT),
                compressed=compressed,
                num_cpus=num_cpus,
                absent="" if is_installed(reader) else NOT_INSTALLED,
            )
