"""What the statistics of a corpus come to: the numbers that people ask for, and ``report.json`` that holds both.

::

    report.json    format_version, fingerprint of the corpus, summary (this module), statistics (the counts)

A corpus can be made again without its report and a report from its corpus: neither is part of the other's fingerprint.
Quantiles are those of the step function: the least length that at least the share q of the records do not exceed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.formats.corpus_statistics import Statistics
from pipeline.formats.report_file import load_report, make_report

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.99)
ROW_LENGTHS = (512, 1_024, 2_048)
NUM_SPECIAL_TOKENS = 2
"""Tokens around each protein in a row: the beginning and the end, as in ESM."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RowFit(_Model):
    """How the proteins would fit rows of one length, one protein a row, cut off at its end."""

    row_length: int
    """Tokens, the two special ones included."""
    num_longer: int
    """Proteins that do not fit."""
    share_longer: float
    """The same as a share of all."""
    share_of_residues_beyond: float
    """Residues that cropping would lose, as a share of all."""
    share_of_padding: float
    """Tokens that would be padding, as a share of all."""


class Summary(_Model):
    """The numbers that people ask for."""

    num_records: int
    """Proteins kept."""
    num_residues: int
    """Their residues."""
    mean_length: float
    """Residues in a protein on average."""
    shortest: int
    """Residues of the shortest protein."""
    longest: int
    """Residues of the longest protein."""
    quantiles: dict[str, int]
    """Lengths by quantile: 0.5 is the median."""
    rows: tuple[RowFit, ...]
    """How they would fit rows of some lengths, without packing."""
    share_nonstandard: float
    """Residues outside the 20 standard ones, as a share of all."""
    records_merged: int
    """Records that were merged into an equal one."""
    records_dropped: int
    """Records dropped for any reason."""
    num_taxa: int
    """Different taxa; at least so many where counts of taxa are not exact."""


def summarise(statistics: Statistics) -> Summary:
    """The summary of the records kept; all zero where there are none."""
    num_records, num_residues = statistics.num_records, statistics.num_residues
    lengths, composition = statistics.lengths, statistics.composition
    nonstandard = sum(number for letter, number in composition.items() if letter not in "ACDEFGHIKLMNPQRSTVWY")
    return Summary(
        num_records=num_records,
        num_residues=num_residues,
        mean_length=share(num_residues, num_records),
        shortest=min(lengths, default=0),
        longest=max((record.length for record in statistics.longest), default=0),
        quantiles={str(q): quantile(lengths, q) for q in QUANTILES},
        rows=tuple(_row_fit(lengths, num_residues, row_length) for row_length in ROW_LENGTHS),
        share_nonstandard=share(nonstandard, num_residues),
        records_merged=statistics.records_merged,
        records_dropped=sum(statistics.dropped.values()),
        num_taxa=len(statistics.taxa),
    )


def quantile(counts: Mapping[int, int], q: float) -> int:
    """The least value that at least the share ``q`` does not exceed; 0 of nothing.

    Args:
        counts: How often each value occurs.
        q: From 0 to 1.
    """
    wanted, reached, total = q, 0, sum(counts.values())
    for value, number in sorted(counts.items()):
        reached += number
        if reached >= wanted * total:
            return value
    return 0


def share(part: float, whole: float) -> float:
    """The quotient, or 0 where there is nothing."""
    return part / whole if whole else 0.0


def _row_fit(lengths: Mapping[int, int], num_residues: int, row_length: int) -> RowFit:
    room, num_records = row_length - NUM_SPECIAL_TOKENS, sum(lengths.values())
    num_longer = sum(number for length, number in lengths.items() if length > room)
    # Exact although long proteins are binned: every bin is longer than the room.
    within = sum(min(length, room) * number for length, number in lengths.items())
    return RowFit(
        row_length=row_length,
        num_longer=num_longer,
        share_longer=share(num_longer, num_records),
        share_of_residues_beyond=share(num_residues - within, num_residues),
        share_of_padding=share(num_records * room - within, num_records * row_length),
    )


def report_document(fingerprint: str, statistics: Statistics) -> dict[str, Any]:
    """What ``report.json`` holds.

    Args:
        fingerprint: Of the corpus.
        statistics: Of all its records, and of those dropped.
    """
    return make_report(fingerprint, summarise(statistics), statistics.capped())


def read_report(path: Path) -> tuple[Summary, Statistics]:
    """What a ``report.json`` holds.

    Raises:
        ArtefactError: The file cannot be read or is no report.
    """
    return load_report(path, "corpus", Summary, Statistics)
