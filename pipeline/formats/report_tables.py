"""The report of a corpus as tables, for a terminal: what the page says, in the same order, without pictures.

::

    Lengths
    residues         proteins
    200 to 299          1,003   23.5 %  ████████████████████▌
    300 to 499          1,202   28.1 %  █████████████████████████

A bar is a number from 0 to 1: how wide that is, whoever prints decides. Names from headers and files are shown without
what a terminal would obey. The numbers are those of the manifest and of the statistics; nothing is counted here.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from pipeline.formats.corpus_statistics import NamedRecord, Statistics, most_frequent
from pipeline.formats.corpus_summary import Summary, share
from pipeline.formats.manifest import Manifest
from pipeline.formats.report_words import AMINO_ACIDS, DATABASES, REASONS, counted, listed, percent, printable, rounded

Cell = str | float
"""Text, or the length of a bar."""

MOST_ROWS = 10
"""Organisms and longest proteins that are shown; the page shows more."""

_LONGEST_NAME = 40
_STEPS = (10, 15, 20, 30, 50, 70)
_LENGTHS = (1, *(step * 10**power for power in range(6) for step in _STEPS))
_COPIES = (2, 3, 4, 5, 6, 11, 101, 1_001)
_HALF = 10


class ReportTable(NamedTuple):
    """One table of the report."""

    heading: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    """A sentence under it."""


def report_tables(manifest: Manifest, summary: Summary, statistics: Statistics) -> list[ReportTable]:
    """The tables that have something to show, in the order of the page.

    Args:
        manifest: Of the corpus.
        summary: Of its records.
        statistics: Of its records, and of those dropped.
    """
    tables = (
        _flow(manifest, summary, statistics),
        _quantiles(summary),
        _lengths(statistics, summary),
        _rows(summary),
        _residues(statistics, summary),
        _databases(statistics),
        _organisms(statistics, summary),
        _longest(statistics),
        _duplicates(statistics),
        _dropped(statistics),
    )
    return [table for table in tables if table.rows]


def _flow(manifest: Manifest, summary: Summary, statistics: Statistics) -> ReportTable:
    counts = manifest.counts
    read, merged = counts.get("records_read", 0), counts.get("records_merged", 0)
    parts = [(f"dropped: {_reason(name)}", -number) for name, number in most_frequent(manifest.reasons) if number]
    parts += [("merged into a record with the same residues", -merged)] if merged else []
    parts = [("read", read), *parts, ("kept", summary.num_records)]
    names = [DATABASES.get(name, _shown(name)) for name, _ in most_frequent(statistics.sources)]
    note = (
        f"{rounded(summary.num_residues)} residues, {summary.mean_length:,.0f} in a protein on average, "
        f"from {listed(names)}"
    )
    rows = [(text, f"{number:,}".rjust(11), _share(abs(number), read)) for text, number in parts]
    return ReportTable("What became of the records", ("", "records", "of those read"), rows, note)


def _quantiles(summary: Summary) -> ReportTable:
    if not summary.num_records:
        return ReportTable("Lengths", (), [])
    names = ["median" if q == "0.5" else f"{100 * float(q):g} %" for q in summary.quantiles]
    values = [summary.shortest, *summary.quantiles.values(), summary.longest]
    note = "residues that so many proteins do not exceed"
    return ReportTable("Lengths", ("shortest", *names, "longest"), [[f"{value:,}" for value in values]], note)


def _lengths(statistics: Statistics, summary: Summary) -> ReportTable:
    groups = grouped(statistics.lengths, _LENGTHS)
    most = max(groups.values(), default=0)
    rows = [
        (_span(*span), f"{number:,}".rjust(11), _share(number, summary.num_records), share(number, most))
        for span, number in groups.items()
    ]
    return ReportTable("", ("residues", "proteins", "share", ""), rows)


def grouped(counts: Mapping[int, int], edges: Sequence[int]) -> dict[tuple[int, int], int]:
    """How often values occur in ranges, from the range of the smallest to that of the largest and none left out.

    Args:
        counts: How often each value occurs; none is below the first edge.
        edges: First value of each range, ascending; the last range has no end.

    Returns:
        By first and last value of the range.
    """
    if not counts:
        return {}
    first, last = (bisect_right(edges, value) - 1 for value in (min(counts), max(counts)))
    numbers = dict.fromkeys(range(first, last + 1), 0)
    for value, number in counts.items():
        numbers[bisect_right(edges, value) - 1] += number
    ends = (*(edge - 1 for edge in edges[1:]), max(counts))
    return {(edges[index], ends[index]): number for index, number in numbers.items()}


def _span(first: int, last: int) -> str:
    return f"{first:,} to {last:,}" if first < last else f"{first:,}"


def _rows(summary: Summary) -> ReportTable:
    if not summary.num_records:
        return ReportTable("", (), [])
    columns = ("tokens in a row", "longer proteins", "share of all", "residues beyond", "padding")
    rows = [
        (
            f"{row.row_length:,}",
            f"{row.num_longer:,}",
            *map(percent, (row.share_longer, row.share_of_residues_beyond, row.share_of_padding)),
        )
        for row in summary.rows
    ]
    return ReportTable("Rows of one protein each", columns, _aligned(columns, rows))


def _residues(statistics: Statistics, summary: Summary) -> ReportTable:
    composition = statistics.composition
    letters = sorted(AMINO_ACIDS, key=lambda letter: (-composition.get(letter, 0), letter))
    cells = [_residue(letter, share(composition.get(letter, 0), summary.num_residues)) for letter in letters]
    columns = ("residue", "share", "difference")
    others = [f"{letter} {number:,}" for letter, number in most_frequent(composition) if letter not in AMINO_ACIDS]
    outside = f"{percent(summary.share_nonstandard)} ({', '.join(others)})" if others else "none"
    note = f"difference: to the average of Swiss-Prot, in percentage points; outside the twenty: {outside}"
    rows = [left + right for left, right in zip(cells[:_HALF], cells[_HALF:], strict=True)]
    return ReportTable("Residues", columns * 2, rows if summary.num_residues else [], note)


def _residue(letter: str, fraction: float) -> tuple[str, ...]:
    name, average = AMINO_ACIDS[letter]
    # Adding zero makes a negative zero a positive one.
    difference = round(100 * fraction - average, 2) + 0.0
    return f"{letter}  {name}", f"{100 * fraction:5.2f} %", f"{difference:+10.2f}"


def _databases(statistics: Statistics) -> ReportTable:
    names = most_frequent(statistics.sources)
    rows = [(DATABASES.get(name, _shown(name)), number) for name, number in names] if len(names) > 1 else []
    return ReportTable("Databases", ("", "proteins", "share", ""), _bars(rows, statistics.num_records))


def _organisms(statistics: Statistics, summary: Summary) -> ReportTable:
    total, without = statistics.num_records, statistics.records_without_taxon
    most = most_frequent(statistics.taxa)[:MOST_ROWS]
    rows = [(f"{_shown(statistics.taxon_names.get(taxon, 'taxon'))}  {taxon}", number) for taxon, number in most]
    at_least = "at least " if statistics.taxon_uncertainty else ""
    few = f", the {len(rows)} most frequent here" if summary.num_taxa > len(rows) else ""
    none = f"; {percent(share(without, total))} of the proteins have none" if without else ""
    note = f"{at_least}{counted(summary.num_taxa, 'taxon', 'taxa')}{few}{none}"
    if statistics.taxon_uncertainty:
        note += f"; a number may be low by up to {statistics.taxon_uncertainty:,}"
    return ReportTable("Organisms", ("", "proteins", "share", ""), _bars(rows, total), note)


def _longest(statistics: Statistics) -> ReportTable:
    rows = [(_shown(record.accession), f"{record.length:,}".rjust(8)) for record in statistics.longest[:MOST_ROWS]]
    return ReportTable("Longest proteins", ("", "residues"), rows)


def _duplicates(statistics: Statistics) -> ReportTable:
    several = {number: records for number, records in statistics.num_merged.items() if number > 1}
    groups = grouped(several, _COPIES)
    rows = [(_span(*span), f"{records:,}".rjust(8)) for span, records in groups.items()]
    return ReportTable("Duplicates", ("records with the same residues", "proteins"), rows)


def _dropped(statistics: Statistics) -> ReportTable:
    rows = [
        (_reason(reason), ", ".join(map(_example, named)))
        for reason, records in statistics.dropped_examples.items()
        # What could not be read has no name.
        if (named := [record for record in records if record.accession])
    ]
    note = "the first of each reason in the order of their accessions, with their residues"
    return ReportTable("Examples of dropped records", ("reason", "records"), rows, note)


def _example(record: NamedRecord) -> str:
    return f"{_shown(record.accession)} ({record.length:,})"


def _reason(name: str) -> str:
    return REASONS.get(name, _shown(name))


def _bars(rows: Sequence[tuple[str, int]], total: int) -> list[tuple[Cell, ...]]:
    most = max((number for _, number in rows), default=0)
    return [(name, f"{number:,}".rjust(11), _share(number, total), share(number, most)) for name, number in rows]


def _share(part: int, whole: int) -> str:
    return percent(share(part, whole)).rjust(9)


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple[Cell, ...]]:
    """Every column to the right, under its heading."""
    widths = [max(map(len, texts)) for texts in zip_longest(columns, *rows, fillvalue="")]
    return [tuple(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]


def _shown(text: str) -> str:
    """A name from outside, short and harmless."""
    safe = printable(text)
    return safe if len(safe) <= _LONGEST_NAME else f"{safe[: _LONGEST_NAME - 1]}…"
