"""Merging in steps, in any order, is merging at once; and merging at once is what a loop over the records does."""

from collections import defaultdict

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats import duplicates
from pipeline.formats.duplicates import MERGED_SCHEMA, RECORD_SCHEMA, find_survivors, standing_alone

PRIORITY = ("swissprot", "trembl")
SEQUENCES = ["MK", "MKV", "MA", "MAV", "W"]

record = st.fixed_dictionaries(
    {
        "sequence": st.sampled_from(SEQUENCES),
        "accession": st.sampled_from([f"a{number}" for number in range(9)]),
        "source": st.sampled_from(["trembl", "swissprot", "other", "bfd"]),
        "taxon_id": st.sampled_from([None, 1, 2]),
        "cluster": st.sampled_from([None, "c"]),
        "description": st.sampled_from([None, "", "d", "e"]),
    }
)


def key_of(sequence):
    """A hash on which MK and MKV collide, and the largest key there is."""
    return {"MK": 7, "MKV": 7, "W": 2**64 - 1}.get(sequence, len(sequence))


def table_of(records):
    rows = [{"record_key": key_of(entry["sequence"]), **entry} for entry in records]
    return standing_alone(pa.Table.from_pylist(rows, RECORD_SCHEMA))


def choice(entry):
    """What decides who survives; a missing value comes last."""
    rank = PRIORITY.index(entry["source"]) if entry["source"] in PRIORITY else len(PRIORITY)
    rest = [(entry[name] is None, entry[name] or 0 if name == "taxon_id" else entry[name] or "")
            for name in ("description", "source", "taxon_id", "cluster")]  # fmt: skip
    return (rank, entry["accession"], rest)


def merged_by_hand(records, carried):
    groups = defaultdict(list)
    for entry in records:
        groups[key_of(entry["sequence"]), entry["sequence"]].append(entry)
    found = []
    for (key, _), members in sorted(groups.items()):
        survivor = min(members, key=choice)
        aliases = sorted({entry["accession"] for entry in members} - {survivor["accession"]})[:carried]
        found.append({"record_key": key, **survivor, "num_merged": len(members), "aliases": aliases})
    return [{name: row[name] for name in MERGED_SCHEMA.names} for row in found]


def merge(table):
    return find_survivors(table, PRIORITY).of(table)


@given(records=st.lists(record, max_size=30))
def test_merging_is_what_a_loop_does(records):
    assert merge(table_of(records)).to_pylist() == merged_by_hand(records, duplicates.CARRIED_ALIASES)


@given(runs=st.lists(st.lists(record, max_size=12), min_size=1, max_size=5), levels=st.integers(1, 3))
def test_steps_do_not_matter(runs, levels):
    """Aliases are cut at two in a corpus and at three on the way: none of the two may be lost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "CARRIED_ALIASES", 3)
        tables = [merge(table_of(run)) for run in runs]
        for _ in range(levels - 1):
            tables = [merge(pa.concat_tables(tables[start : start + 2])) for start in range(0, len(tables), 2)]
        stepwise = merge(pa.concat_tables(tables)).to_pylist()
    by_hand = merged_by_hand([entry for run in runs for entry in run], 99)
    assert [row | {"aliases": row["aliases"][:2]} for row in stepwise] == [
        row | {"aliases": row["aliases"][:2]} for row in by_hand
    ]


def test_any_range_of_the_survivors():
    records = [
        {"sequence": "M" * (number % 13 + 1), "accession": f"x{number:02}", "source": "other"} for number in range(40)
    ]
    table = table_of(records)
    survivors = find_survivors(table, PRIORITY)
    whole = survivors.of(table)
    assert survivors.of(table, 3, 8).to_pylist() == whole.slice(3, 5).to_pylist()
    assert whole.schema == MERGED_SCHEMA
