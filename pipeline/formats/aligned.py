"""Whole alignments from A3M, Stockholm and ffindex databases: match columns alone, gaps kept.

::

    >query              MKVA        depth 3, width 4
    MKVA                M-VA        every row: upper-case letters and '-'
    >one                -KVA        rows in the order of the file, none merged
    M-VefA
    >two                lower case is an insertion: removed and counted
    -KVA

What is a row, what is a match column and what is damaged, :mod:`pipeline.formats.alignment`,
:mod:`pipeline.formats.stockholm` and :mod:`pipeline.formats.ffindex` say, which read the same files as proteins; only
what becomes of gaps differs, and this: in a Stockholm alignment without an RF line a column with a lower-case letter is
an insertion, for every row. Secondary structure and the like are no rows, and consensus rows neither: the query is the
first protein.

An A3M file is one alignment, a Stockholm file any number of them, an ffindex database one an entry. A damaged row is
left out and its alignment stays; a Stockholm alignment is left out whole, because nothing tells which row is wrong.

Cost: about 5 µs a row of 300 columns. Memory: the text of an alignment, and its letters three times.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import ConfigurationError
from pipeline.formats.aligned_a3m import NO_ROWS, Alignment, read_aligned_a3m
from pipeline.formats.aligned_ffindex import read_aligned_archive, read_aligned_ffindex
from pipeline.formats.aligned_stockholm import read_aligned_stockholm
from pipeline.formats.detection import ReadOptions, detect_file
from pipeline.formats.ffindex import NO_ALIGNMENT
from pipeline.formats.problems import Problems
from pipeline.formats.stockholm import UNREADABLE_ALIGNMENT

ALIGNMENT_REASONS = frozenset({NO_ALIGNMENT, UNREADABLE_ALIGNMENT, NO_ROWS})
"""Reasons that count alignments; any other counts rows."""

_DETECTED_AS_A3M = frozenset({"a3m", "fasta"})


def open_alignments(
    path: Path, *, file_format: str | None = None, problems: Problems | None = None
) -> Iterator[Alignment]:
    """The alignments of a file, plain or compressed.

    Args:
        path: The file.
        file_format: One of ``ALIGNMENT_FORMATS``; None to tell by the content.
        problems: What becomes of damaged rows and alignments; by default the first one raises.

    Yields:
        Alignments with at least a row and a column, in the order of the file.

    Raises:
        ConfigurationError: The path cannot be read, or holds no alignments.
        InputFormatError: The file is empty, cut short, or has a damaged alignment.
    """
    problems = problems or Problems()
    name = file_format or detect_file(path, ReadOptions())
    name = "a3m" if name in _DETECTED_AS_A3M else name
    if name not in _READERS:
        raise ConfigurationError(
            f"{path}: expected alignments ({', '.join(ALIGNMENT_FORMATS)}), found {name}",
            hint="unpack an archive and name the files; for single proteins leave --as out",
        )
    yield from _READERS[name](path, problems)


_READERS: dict[str, Callable[[Path, Problems], Iterator[Alignment]]] = {
    "a3m": read_aligned_a3m,
    "stockholm": read_aligned_stockholm,
    "ffindex": read_aligned_ffindex,
    "tar": read_aligned_archive,
}

ALIGNMENT_FORMATS = tuple(_READERS)
"""Names of the formats that hold alignments."""
