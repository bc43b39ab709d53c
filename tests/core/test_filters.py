"""Filters against plain Python over strings."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import filters
from pipeline.core.complexity import low_complexity_residues
from pipeline.core.filters import (
    Block,
    Excluded,
    Fragment,
    LowComplexity,
    NonstandardResidues,
    SourceExcluded,
    SourceNotListed,
    TaxonExcluded,
    TaxonNotListed,
    TooLong,
    TooShort,
)

STANDARD = set("ACDEFGHIKLMNPQRSTVWY")
RECORD = st.fixed_dictionaries(
    {
        "sequence": st.one_of(st.text(alphabet="ACDXU*", max_size=30), st.just("AC" * 12), st.just("")),
        "taxon_id": st.one_of(st.none(), st.integers(0, 5), st.just(2**32 - 1)),
        "source": st.integers(0, 3),
        "is_fragment": st.booleans(),
        "is_excluded": st.booleans(),
    }
)
FRACTIONS = st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.57, 1.0])
SOME_TAXA = st.lists(st.sampled_from([0, 1, 2, 5, 2**32 - 1]), max_size=3).map(tuple)
SOME_SOURCES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def block_of(records):
    sequences = [record["sequence"].encode() for record in records]
    taxa = [record["taxon_id"] for record in records]
    return Block(
        residues=np.frombuffer(b"".join(sequences), dtype=np.uint8),
        offsets=np.cumsum([0, *map(len, sequences)], dtype=np.int64),
        # What stands for no taxon may be any number, also one that is asked for.
        taxon_id=np.array([1 if taxon is None else taxon for taxon in taxa], dtype=np.uint32),
        has_taxon=np.array([taxon is not None for taxon in taxa], dtype=bool),
        source=np.array([record["source"] for record in records], dtype=np.int8),
        is_fragment=np.array([record["is_fragment"] for record in records], dtype=bool),
        is_excluded=np.array([record["is_excluded"] for record in records], dtype=bool),
    )


def low_complexity_fraction(sequence):
    residues = np.frombuffer(sequence.encode(), dtype=np.uint8)
    return low_complexity_residues(residues, np.array([0, len(residues)]))[0] / max(1, len(residues))


ORACLES = {
    "excluded": lambda _, record: record["is_excluded"],
    "source-not-listed": lambda predicate, record: record["source"] not in predicate.codes,
    "source-excluded": lambda predicate, record: record["source"] in predicate.codes,
    "taxon-not-listed": lambda predicate, record: record["taxon_id"] not in predicate.taxa,
    "taxon-excluded": lambda predicate, record: record["taxon_id"] in predicate.taxa,
    "fragment": lambda _, record: record["is_fragment"],
    "too-short": lambda predicate, record: len(record["sequence"]) < predicate.minimum,
    "too-long": lambda predicate, record: len(record["sequence"]) > predicate.maximum,
    "nonstandard-residues": lambda predicate, record: (
        sum(letter not in STANDARD for letter in record["sequence"]) / max(1, len(record["sequence"]))
        > predicate.max_fraction
    ),
    "low-complexity": lambda predicate, record: low_complexity_fraction(record["sequence"]) > predicate.max_fraction,
}
PREDICATES = {
    "excluded": st.builds(Excluded),
    "source-not-listed": st.builds(SourceNotListed, SOME_SOURCES),
    "source-excluded": st.builds(SourceExcluded, SOME_SOURCES),
    "taxon-not-listed": st.builds(TaxonNotListed, SOME_TAXA),
    "taxon-excluded": st.builds(TaxonExcluded, SOME_TAXA),
    "fragment": st.builds(Fragment),
    "too-short": st.builds(TooShort, st.integers(0, 30)),
    "too-long": st.builds(TooLong, st.integers(0, 30)),
    "nonstandard-residues": st.builds(NonstandardResidues, FRACTIONS),
    "low-complexity": st.builds(LowComplexity, FRACTIONS),
}
PREDICATE = st.one_of(*PREDICATES.values())
CHAIN = st.lists(PREDICATE, max_size=8, unique_by=lambda predicate: predicate.name)


@pytest.mark.parametrize("name", PREDICATES)
@given(records=st.lists(RECORD, min_size=1, max_size=12), data=st.data())
def test_a_predicate_is_true_of_the_records_it_describes(name, records, data):
    predicate = data.draw(PREDICATES[name])
    assert predicate.name == name
    drop = predicate.test(block_of(records))
    assert drop.dtype == bool
    assert drop.tolist() == [ORACLES[predicate.name](predicate, record) for record in records]


@given(st.lists(RECORD, max_size=40), CHAIN)
def test_each_record_has_the_first_reason_that_hits_it(records, predicates):
    chain = filters.in_order(predicates)
    codes = filters.find_reasons(block_of(records), chain)
    expected = []
    for record in records:
        hits = (code for code, predicate in enumerate(chain, start=1) if ORACLES[predicate.name](predicate, record))
        expected.append(next(hits, filters.KEPT))
    assert codes.dtype == np.uint8
    assert codes.tolist() == expected
    named = Counter(chain[code - 1].name for code in expected if code)
    assert filters.count_reasons(codes, chain) == named


@given(CHAIN, st.randoms())
def test_the_order_does_not_depend_on_how_filters_are_asked_for(predicates, random):
    shuffled = random.sample(predicates, len(predicates))
    assert filters.in_order(shuffled) == filters.in_order(predicates)


def test_the_order_is_what_the_page_says():
    assert list(filters.PREDICATES) == list(ORACLES) == list(PREDICATES)
    assert [predicate.name for predicate in filters.in_order([LowComplexity(0.5), TooShort(3), Excluded()])] == [
        "excluded",
        "too-short",
        "low-complexity",
    ]


def test_lengths_equal_to_the_limits_are_kept():
    record = {"sequence": "ACD", "taxon_id": None, "source": 0, "is_fragment": False, "is_excluded": False}
    block = block_of([record])
    assert [TooShort(3).test(block)[0], TooLong(3).test(block)[0]] == [False, False]
    assert [TooShort(4).test(block)[0], TooLong(2).test(block)[0]] == [True, True]


def test_a_fraction_equal_to_the_limit_is_not_above_it():
    record = {
        "sequence": "A" * 43 + "X" * 57,
        "taxon_id": None,
        "source": 0,
        "is_fragment": False,
        "is_excluded": False,
    }
    assert 0.57 * 100 < 57
    assert not NonstandardResidues(0.57).test(block_of([record]))[0]
    assert NonstandardResidues(0.56).test(block_of([record]))[0]


def test_nonstandard_residues_are_found_in_every_piece(monkeypatch):
    monkeypatch.setattr(filters, "_PIECE", 7)
    sequences = ["ACDEFGHIKLMNPQRSTVWY" * 2, "AX" * 10, "", "A" * 20, "*", "U" * 30]
    record = {"taxon_id": None, "source": 0, "is_fragment": False, "is_excluded": False}
    block = block_of([record | {"sequence": sequence} for sequence in sequences])
    assert NonstandardResidues(0.4).test(block).tolist() == [False, True, False, False, True, True]


def test_every_letter_outside_the_twenty_is_nonstandard():
    record = {"taxon_id": None, "source": 0, "is_fragment": False, "is_excluded": False}
    block = block_of([record | {"sequence": chr(character)} for character in range(128)])
    standard = {chr(character) for character in np.flatnonzero(~NonstandardResidues(0.0).test(block))}
    assert standard == {*STANDARD, "|"}  # which gets that far only where chains are joined by it


def test_dear_filters_see_only_what_is_left_when_that_is_little(monkeypatch):
    seen = []
    monkeypatch.setattr(LowComplexity, "test", lambda _, block: seen.append(block.num_records) or block.is_fragment)
    record = {"sequence": "ACD", "taxon_id": None, "source": 0, "is_fragment": False}
    for num_excluded in (4, 6):
        block = block_of([record | {"is_excluded": index < num_excluded} for index in range(10)])
        filters.find_reasons(block, (Excluded(), LowComplexity(0.5)))
    assert seen == [10, 4]


def test_a_fact_that_a_predicate_needs_must_be_given():
    block = Block(residues=np.empty(0, dtype=np.uint8), offsets=np.zeros(1, dtype=np.int64))
    for predicate in (Excluded(), Fragment(), SourceExcluded((1,)), TaxonExcluded((1,))):
        with pytest.raises(AssertionError):
            predicate.test(block)
