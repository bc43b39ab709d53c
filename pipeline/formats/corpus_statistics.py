"""What a corpus looks like, in numbers that add up: gathered task by task, merged in any order.

::

    part 0 ──▶ Statistics ┐
    part 1 ──▶ Statistics ┼──▶ merge ──▶ report.json, the report page, `pipeline inspect`
    dropped ─▶ Statistics ┘

Merging is associative and commutative, and no statistics are its neutral element; so what comes out depends neither on
workers nor on their order. JSON both ways: ``model_dump(mode="json")`` and ``model_validate``.

Everything is an exact count, with two exceptions that keep the size of one task's statistics below about 200 KB:

- Lengths, and numbers of merged records, are exact up to 4,096; above, 64 bins for each doubling, named by the smallest
  number in them (:func:`bin_edges`). Quantiles in that region are low by at most 1.6 %; sums and shares over limits up
  to 4,096 stay exact.
- Of each part's taxa the 4,096 most frequent are counted: in a part of 250,000 records none is lost that matters. The
  true number of a taxon is at least its count and at most ``taxon_uncertainty`` more; 0 means that all are exact.

Cost: about 2 ns a residue for the composition, and sorting the lengths and taxa of a part.
"""

import heapq
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from pipeline.core.alphabet import composition
from pipeline.formats.content import string_bytes

EXACT_UP_TO = 4_096
"""Lengths are counted one by one up to here."""

MAX_LONGEST = 20
MAX_EXAMPLES = 5
MAX_TAXA = 4_096
"""Taxa of one part that are counted."""

MAX_NAMED_TAXA = 40
"""Taxa of one part whose name is looked up in a description."""

MAX_REPORTED_TAXA = 20

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_BIN_BITS = 6
_ORGANISM = re.compile(r".*(?:\bOS=(?P<uniprot>.+?) OX=|\bTax=(?P<uniref>.+?) TaxID=)")

Key = TypeVar("Key", bound=Hashable)


class NamedRecord(NamedTuple):
    """One protein, named."""

    accession: str
    length: int
    """Residues."""


class Statistics(BaseModel):
    """Counts over some records: those kept, and those dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    lengths: dict[int, int] = {}
    """Records by length in residues; above 4,096 by bin."""
    composition: dict[str, int] = {}
    """Residues by letter, the letters that occur."""
    sources: dict[str, int] = {}
    """Records by database."""
    source_residues: dict[str, int] = {}
    """Residues by database."""
    num_merged: dict[int, int] = {}
    """Records by how many equal ones they stand for, themselves included; above 4,096 by bin."""
    records_merged: int = 0
    """Records that were merged into an equal one."""
    longest: tuple[NamedRecord, ...] = ()
    """The longest records, longest first, then by accession."""
    taxa: dict[int, int] = {}
    """Records by NCBI taxonomy number."""
    taxon_names: dict[int, str] = {}
    """Names of frequent taxa, where a description gives one."""
    taxon_uncertainty: int = 0
    """How many more records a taxon may have than ``taxa`` says."""
    records_without_taxon: int = 0
    """Records whose header gives no taxonomy number."""
    dropped: dict[str, int] = {}
    """Records dropped, by reason."""
    dropped_examples: dict[str, tuple[NamedRecord, ...]] = {}
    """The first records dropped for each reason, by accession."""

    @property
    def num_records(self) -> int:
        """Records kept."""
        return sum(self.lengths.values())

    @property
    def num_residues(self) -> int:
        """Residues of the records kept."""
        return sum(self.source_residues.values())

    def __add__(self, other: "Statistics") -> "Statistics":
        return merge((self, other))

    def capped(self) -> "Statistics":
        """With the most frequent taxa alone: for reports, and the last step, since what is left out cannot be added."""
        taxa = dict(most_frequent(self.taxa, MAX_REPORTED_TAXA))
        names = {taxon: name for taxon, name in self.taxon_names.items() if taxon in taxa}
        return self.model_copy(update={"taxa": taxa, "taxon_names": names})


def merge(many: Iterable[Statistics]) -> Statistics:
    """The statistics of all records together; one at a time is held beside the sum."""
    counters: dict[str, Counter[Any]] = {name: Counter() for name in _COUNTERS}
    names: dict[int, str] = {}
    longest: list[NamedRecord] = []
    examples: dict[str, list[NamedRecord]] = {}
    numbers: Counter[str] = Counter()
    for one in many:
        for name, counter in counters.items():
            counter.update(getattr(one, name))
        longest = _first_longest([*longest, *one.longest])
        for reason, records in one.dropped_examples.items():
            examples[reason] = sorted([*examples.get(reason, []), *records])[:MAX_EXAMPLES]
        for taxon, name in one.taxon_names.items():
            names[taxon] = min(name, names.get(taxon, name))
        numbers.update({name: getattr(one, name) for name in _NUMBERS})
    # A large corpus has a hundred thousand taxa: each copy of their counts goes before the next one is made, and what
    # was validated once is not copied to be validated again.
    values: dict[str, Any] = {name: _sorted(counters.pop(name)) for name in _COUNTERS} | dict(numbers)
    values["dropped_examples"] = {reason: tuple(records) for reason, records in sorted(examples.items())}
    return Statistics.model_construct(**values, taxon_names=_sorted(names), longest=tuple(longest))


_COUNTERS = ("lengths", "composition", "sources", "source_residues", "num_merged", "taxa", "dropped")
_NUMBERS = ("records_merged", "taxon_uncertainty", "records_without_taxon")


def _sorted(items: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: items[key] for key in sorted(items)}


def _first_longest(records: Iterable[NamedRecord]) -> list[NamedRecord]:
    return sorted(records, key=lambda record: (-record.length, record.accession))[:MAX_LONGEST]


def most_frequent(counts: Mapping[Key, int], number: int | None = None) -> list[tuple[Key, int]]:
    """Keys and counts, the largest count first, then the smallest key; at most ``number`` of them."""

    def rank(item: tuple[Key, int]) -> Any:
        return -item[1], item[0]

    return sorted(counts.items(), key=rank) if number is None else heapq.nsmallest(number, counts.items(), key=rank)


def bin_edges(numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The name of the bin of each number: itself up to 4,096, else its upper seven bits with zeros below.

    Args:
        numbers: Integers from 0 to 2^52.

    Returns:
        int64 of the same shape.
    """
    values = numbers.astype(np.int64)
    _, exponents = np.frexp(values.astype(np.float64))
    shifts = np.where(values > EXACT_UP_TO, exponents - 1 - _BIN_BITS, 0)
    return (values >> shifts) << shifts


def statistics_of_part(table: pa.Table) -> Statistics:
    """Statistics of the records of one part.

    Args:
        table: The columns of a corpus part; accession, sequence, length, source, taxon_id, description and num_merged
            are read.
    """
    lengths = table.column("length").to_numpy()
    num_merged = table.column("num_merged").to_numpy()
    records, residues = _by_source(table)
    return Statistics(
        lengths=_histogram(lengths),
        composition=_composition(table.column("sequence")),
        sources=records,
        source_residues=residues,
        num_merged=_histogram(num_merged),
        records_merged=int(num_merged.sum(dtype=np.int64)) - len(num_merged),
        longest=_named(table, [("length", "descending"), ("accession", "ascending")], MAX_LONGEST),
        **_taxa(table),
    )


def statistics_of_dropped(table: pa.Table) -> Statistics:
    """Statistics of records that were dropped.

    Args:
        table: Columns reason (string), accession (string) and length (integer), one row for each record.
    """
    reasons = table.column("reason")
    counts = _value_counts(reasons)
    order = [("accession", "ascending"), ("length", "ascending")]
    examples = {reason: _named(table.filter(pc.equal(reasons, reason)), order, MAX_EXAMPLES) for reason in counts}
    return Statistics(dropped=counts, dropped_examples=examples)


def _histogram(numbers: npt.NDArray[np.integer]) -> dict[int, int]:
    values, counts = np.unique(bin_edges(numbers), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _composition(sequences: pa.ChunkedArray) -> dict[str, int]:
    counts = np.zeros(256, dtype=np.int64)
    for chunk in sequences.chunks:
        counts += composition(np.frombuffer(string_bytes(chunk), dtype=np.uint8))
    return {letter: int(counts[ord(letter)]) for letter in LETTERS if counts[ord(letter)]}


def _by_source(table: pa.Table) -> tuple[dict[str, int], dict[str, int]]:
    plain = pa.table({"source": table.column("source").cast(pa.string()), "length": table.column("length")})
    grouped = plain.group_by("source").aggregate([("length", "count"), ("length", "sum")]).sort_by("source")
    names = grouped.column("source").to_pylist()
    records, residues = (grouped.column(name).to_pylist() for name in ("length_count", "length_sum"))
    return dict(zip(names, records, strict=True)), dict(zip(names, residues, strict=True))


def _value_counts(values: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in sorted(pc.value_counts(values).to_pylist(), key=str)}


def _named(table: pa.Table, order: list[tuple[str, str]], number: int) -> tuple[NamedRecord, ...]:
    named = table.select(["accession", "length"])
    first = named.take(pc.select_k_unstable(named, k=number, sort_keys=order))
    return tuple(NamedRecord(**record) for record in first.to_pylist())


def _taxa(table: pa.Table) -> dict[str, Any]:
    column = table.column("taxon_id")
    known = np.flatnonzero(pc.is_valid(column).to_numpy())
    taxa, firsts, counts = np.unique(column.drop_null().to_numpy(), return_index=True, return_counts=True)
    order = np.lexsort((taxa, -counts))
    kept, left = order[:MAX_TAXA], order[MAX_TAXA:]
    named = order[:MAX_NAMED_TAXA]
    descriptions = table.column("description").take(pa.array(known[firsts[named]])).to_pylist()
    names = zip(taxa[named].tolist(), map(organism, descriptions), strict=True)
    return {
        "taxa": _sorted(dict(zip(taxa[kept].tolist(), counts[kept].tolist(), strict=True))),
        "taxon_names": _sorted({taxon: name for taxon, name in names if name}),
        "taxon_uncertainty": int(counts[left[0]]) if len(left) else 0,
        "records_without_taxon": table.num_rows - len(known),
    }


def organism(description: str | None) -> str | None:
    """What a UniProtKB (``OS=``) or UniRef (``Tax=``) description calls the organism, None where it says nothing."""
    found = _ORGANISM.match(description or "")
    return (found["uniprot"] or found["uniref"]) if found else None
