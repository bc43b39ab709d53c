"""Statistics of a corpus: what plain Python counts, whatever the records are cut into."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats import corpus_statistics
from pipeline.formats.corpus import CORPUS_SCHEMA
from pipeline.formats.corpus_statistics import (
    Statistics,
    bin_edges,
    merge,
    most_frequent,
    organism,
    statistics_of_dropped,
    statistics_of_part,
)

RECORD = st.fixed_dictionaries(
    {
        "accession": st.sampled_from(["P1", "P2", "P3", "Q1", "é"]),
        "sequence": st.text(alphabet="ACDX", min_size=1, max_size=20) | st.sampled_from(["L" * 5000, "L" * 9000]),
        "source": st.sampled_from(["swissprot", "uniref50", "other"]),
        "taxon_id": st.none() | st.sampled_from([1, 9606, 83333, 2**32 - 1]),
        "name": st.sampled_from([None, "Homo sapiens", "Escherichia coli (strain K12)"]),
        "num_merged": st.integers(1, 5) | st.just(10_000),
    }
)
DROPPED = st.fixed_dictionaries(
    {
        "reason": st.sampled_from(["too-short", "fragment"]),
        "accession": st.text(alphabet="PQR1", max_size=3),
        "length": st.integers(0, 5),
    }
)


def part_of(records):
    rows = []
    for record in records:
        described = None if record["name"] is None else f"x n=1 Tax={record['name']} TaxID=5 RepID=6"
        row = {name: record[name] for name in ("accession", "sequence", "source", "taxon_id", "num_merged")}
        row |= {"length": len(record["sequence"]), "record_key": 0, "description": described, "aliases": []}
        rows.append(row)
    return pa.Table.from_pylist(rows, CORPUS_SCHEMA)


def dropped_of(records):
    schema = pa.schema([("reason", pa.string()), ("accession", pa.string()), ("length", pa.uint32())])
    return pa.Table.from_pylist(records, schema)


def binned(number):
    if number <= 4096:
        return number
    unit = 1 << (number.bit_length() - 7)
    return number // unit * unit


def named(records):
    return [(record["accession"], len(record["sequence"])) for record in records]


STATISTICS = st.builds(
    lambda kept, dropped: statistics_of_part(part_of(kept)) + statistics_of_dropped(dropped_of(dropped)),
    st.lists(RECORD, max_size=4),
    st.lists(DROPPED, max_size=8),
)


@given(st.lists(RECORD, max_size=12))
def test_a_part_is_counted_as_plain_python_counts(records):
    found = statistics_of_part(part_of(records))
    assert found.lengths == Counter(binned(len(record["sequence"])) for record in records)
    assert found.composition == Counter("".join(record["sequence"] for record in records))
    assert found.sources == Counter(record["source"] for record in records)
    residues = Counter()
    for record in records:
        residues[record["source"]] += len(record["sequence"])
    assert found.source_residues == residues
    assert found.num_merged == Counter(binned(record["num_merged"]) for record in records)
    assert found.records_merged == sum(record["num_merged"] - 1 for record in records)
    assert list(found.longest) == sorted(named(records), key=lambda record: (-record[1], record[0]))
    assert found.taxa == Counter(record["taxon_id"] for record in records if record["taxon_id"] is not None)
    assert found.records_without_taxon == sum(record["taxon_id"] is None for record in records)
    assert found.taxon_uncertainty == 0
    assert (found.num_records, found.num_residues) == (len(records), sum(residues.values()))
    for taxon, name in found.taxon_names.items():
        assert any((record["taxon_id"], record["name"]) == (taxon, name) for record in records)


@given(st.lists(DROPPED, max_size=30))
def test_dropped_records_are_counted_and_the_first_are_examples(records):
    found = statistics_of_dropped(dropped_of(records))
    assert found.dropped == Counter(record["reason"] for record in records)
    for reason, examples in found.dropped_examples.items():
        of_reason = [(record["accession"], record["length"]) for record in records if record["reason"] == reason]
        assert list(examples) == sorted(of_reason)[:5]


@given(st.lists(RECORD, max_size=12), st.lists(DROPPED, max_size=30), st.integers(1, 5))
def test_parts_add_up_to_the_whole(records, dropped, num_parts):
    whole = statistics_of_part(part_of(records)) + statistics_of_dropped(dropped_of(dropped))
    parts = [statistics_of_part(part_of(records[part::num_parts])) for part in range(num_parts)]
    parts += [statistics_of_dropped(dropped_of(dropped[part::num_parts])) for part in range(num_parts)]
    merged = merge(parts)
    # A taxon is named by one of its records in each part, so parts may know more names than the whole.
    assert merged.taxon_names.keys() >= whole.taxon_names.keys()
    assert merged.model_copy(update={"taxon_names": {}}) == whole.model_copy(update={"taxon_names": {}})


@given(STATISTICS, STATISTICS, STATISTICS)
def test_merging_is_associative_and_commutative(first, second, third):
    assert (first + second) + third == first + (second + third)
    assert first + second == second + first
    assert first + Statistics() == first
    assert merge([third, first, second]) == first + second + third


@given(STATISTICS)
def test_json_there_and_back(statistics):
    assert Statistics.model_validate_json(statistics.model_dump_json()) == statistics
    assert Statistics.model_validate(statistics.model_dump(mode="json")) == statistics


@given(st.lists(st.lists(st.integers(0, 6), max_size=20), max_size=5))
def test_what_is_not_counted_of_rare_taxa_is_within_the_uncertainty(parts):
    record = {"accession": "P1", "sequence": "A", "source": "other", "name": None, "num_merged": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_statistics, "MAX_TAXA", 2)
        merged = merge(statistics_of_part(part_of([record | {"taxon_id": taxon} for taxon in part])) for part in parts)
    true = Counter(taxon for part in parts for taxon in part)
    for taxon, number in true.items():
        assert merged.taxa.get(taxon, 0) <= number <= merged.taxa.get(taxon, 0) + merged.taxon_uncertainty
    if all(len(set(part)) <= 2 for part in parts):
        assert merged.taxon_uncertainty == 0


@given(st.lists(st.integers(0, 5000) | st.integers(0, 2**40), max_size=20))
def test_bins_are_named_by_their_smallest_number(numbers):
    edges = bin_edges(np.array(numbers, dtype=np.uint64))
    assert edges.tolist() == [binned(number) for number in numbers]
    assert all(edge <= number <= edge * (1 + 1 / 64) for edge, number in zip(edges.tolist(), numbers, strict=True))


def test_lists_are_cut_and_ties_go_by_accession():
    record = {"source": "other", "taxon_id": None, "name": None, "num_merged": 1}
    records = [record | {"accession": f"P{99 - index}", "sequence": "A" * (index // 2 + 1)} for index in range(60)]
    longest = statistics_of_part(part_of(records)).longest
    assert len(longest) == 20
    assert longest[:3] == (("P40", 30), ("P41", 30), ("P42", 29))
    assert (Statistics(longest=longest) + Statistics(longest=longest)).longest == tuple(
        entry for entry in longest[:10] for _ in range(2)
    )


def test_reports_show_the_most_frequent_taxa_alone():
    statistics = Statistics(taxa={taxon: 100 - taxon for taxon in range(1, 31)}, taxon_names={1: "root", 30: "rare"})
    capped = statistics.capped()
    assert list(capped.taxa) == list(range(1, 21))
    assert capped.taxon_names == {1: "root"}
    assert most_frequent({5: 1, 3: 2, 4: 2}) == [(3, 2), (4, 2), (5, 1)]


@pytest.mark.parametrize(
    ("description", "name"),
    [
        (
            "RNA polymerase sigma factor RpoS OS=Escherichia coli (strain K12) OX=83333 GN=rpoS PE=1 SV=3",
            "Escherichia coli (strain K12)",
        ),
        ("Endo-1,4-beta-xylanase n=1 Tax=Fusarium venenatum TaxID=56646 RepID=A0A2L2TCV1_9HYPO", "Fusarium venenatum"),
        ("Similar to Tax=specific factor n=1 Tax=root TaxID=1 RepID=X_Y", "root"),
        ("Predicted protein (Fragment) OS=Nematostella vectensis GN=v1g153959 PE=4", None),
        ("status=active", None),
        (None, None),
    ],
)
def test_organisms_are_read_from_descriptions(description, name):
    assert organism(description) == name


@given(st.dictionaries(st.integers(0, 50), st.integers(0, 5)), st.integers(0, 60))
def test_the_most_frequent_are_the_first_of_all(counts, number):
    assert most_frequent(counts, number) == most_frequent(counts)[:number]
