"""The report in a terminal says what the page and the statistics say, and nothing a terminal would obey."""

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.corpus import read_columns
from pipeline.formats.corpus_statistics import NamedRecord, Statistics, merge, statistics_of_dropped, statistics_of_part
from pipeline.formats.corpus_summary import summarise
from pipeline.formats.manifest import Manifest, read_manifest
from pipeline.formats.report_page import report_page
from pipeline.formats.report_tables import MOST_ROWS, grouped, report_tables
from pipeline.formats.report_words import AMINO_ACIDS


def manifest_of(**changes):
    manifest = Manifest(
        kind="corpus",
        fingerprint="f00d",
        configuration={},
        inputs=(),
        files=(),
        counts={"records_read": 1_234, "records_merged": 30},
        reasons={"too-short": 3, "made-up-reason": 1, "fragment": 0},
        provenance=(),
        software={},
    )
    return manifest.model_copy(update=changes)


def tables_of(statistics, **changes):
    tables = report_tables(manifest_of(**changes), summarise(statistics), statistics)
    return {table.heading or table.columns[0]: table for table in tables}


def texts(table):
    return [[cell.strip() for cell in row if isinstance(cell, str)] for row in table.rows]


@pytest.fixture(scope="module")
def corpus(quickstart):
    folder = quickstart / "corpus"
    manifest = read_manifest(folder)
    return manifest, merge(statistics_of_part(read_columns(folder / file.path)) for file in manifest.tables)


@pytest.fixture(scope="module")
def tables(corpus):
    manifest, statistics = corpus
    return {table.heading: table for table in report_tables(manifest, summarise(statistics), statistics)}


def test_the_sections_are_those_of_the_page(corpus, tables):
    page = report_page(*corpus)
    for heading in ("What became of the records", "Lengths", "Residues", "Databases", "Organisms", "Longest proteins"):
        assert heading in tables
        assert f"<h2>{heading}</h2>" in page
    assert list(tables)[:2] == ["What became of the records", "Lengths"]


def test_the_numbers_are_those_of_the_statistics(corpus, tables):
    _, statistics = corpus
    summary = summarise(statistics)
    assert texts(tables["What became of the records"]) == [
        ["read", "4,391", "100.0 %"],
        ["merged into a record with the same residues", "-42", "0.96 %"],
        ["kept", "4,349", "99.0 %"],
    ]
    assert "1.35 million residues, 309 in a protein" in tables["What became of the records"].note
    lengths = tables["Lengths"]
    assert lengths.columns == ("shortest", "5 %", "25 %", "median", "75 %", "90 %", "99 %", "longest")
    values = [summary.shortest, *summary.quantiles.values(), summary.longest]
    assert texts(lengths) == [[f"{value:,}" for value in values]]
    for row, line in zip(summary.rows, texts(tables["Rows of one protein each"]), strict=True):
        assert line[:2] == [f"{row.row_length:,}", f"{row.num_longer:,}"]
    named = texts(tables["Longest proteins"])
    assert named == [[record.accession, f"{record.length:,}"] for record in statistics.longest[:MOST_ROWS]]
    assert texts(tables["Organisms"])[0][0] == "Escherichia coli (strain K12)  83333"
    assert texts(tables["Databases"])[0][:2] == ["Swiss-Prot", f"{statistics.sources['swissprot']:,}"]


def test_every_residue_is_there_with_its_share(corpus, tables):
    _, statistics = corpus
    cells = [cell for row in texts(tables["Residues"]) for cell in (row[:3], row[3:])]
    found = {name[0]: (float(share.rstrip(" %")), float(difference)) for name, share, difference in cells}
    assert found.keys() == AMINO_ACIDS.keys()
    for letter, (share, difference) in found.items():
        value = 100 * statistics.composition[letter] / statistics.num_residues
        assert share == pytest.approx(value, abs=0.006)
        assert difference == pytest.approx(value - AMINO_ACIDS[letter][1], abs=0.006)


def test_the_histogram_holds_every_protein(corpus, tables):
    rows = tables[""].rows
    assert sum(int(number.replace(",", "")) for _, number, _, _ in rows) == corpus[1].num_records
    bars = [bar for *_, bar in rows]
    assert max(bars) == 1
    most = max(int(number.replace(",", "")) for _, number, _, _ in rows)
    assert [bar * most for bar in bars] == pytest.approx([int(number.replace(",", "")) for _, number, _, _ in rows])


COUNTS = st.dictionaries(st.integers(1, 40_000), st.integers(1, 100), min_size=1, max_size=30)


@given(COUNTS, st.lists(st.integers(2, 5_000), unique=True, max_size=8).map(sorted))
def test_groups_are_gapless_and_hold_each_value_once(counts, edges):
    groups = grouped(counts, (1, *edges))
    assert sum(groups.values()) == sum(counts.values())
    spans = list(groups)
    for (_, last), (first, _) in pairwise(spans):
        assert first == last + 1
    for (first, last), number in groups.items():
        assert number == sum(count for value, count in counts.items() if first <= value <= last)
    assert spans[0][0] <= min(counts) <= spans[0][1]
    assert spans[-1][0] <= max(counts) <= spans[-1][1]


def test_nothing_has_no_groups():
    assert grouped({}, (1, 2)) == {}


def test_lengths_are_spelled_out():
    tables = tables_of(Statistics(lengths={1: 2, 9: 1, 10: 1, 30_000: 1}, source_residues={"other": 1}))
    spans = [row[0] for row in tables["residues"].rows]
    assert spans[:2] == ["1 to 9", "10 to 14"]
    assert spans[-1] == "30,000 to 49,999"


def test_what_was_dropped_is_named_with_examples():
    table = pa.table({"reason": ["too-short"] * 2 + ["odd"], "accession": ["B", "A", ""], "length": [5, 6, 0]})
    tables = tables_of(Statistics() + statistics_of_dropped(table))
    assert texts(tables["What became of the records"])[1:3] == [
        ["dropped: too short", "-3", "0.24 %"],
        ["dropped: made-up-reason", "-1", "0.08 %"],
    ]
    assert texts(tables["Examples of dropped records"]) == [["too short", "A (6), B (5)"]]


def test_duplicates_by_how_many_there_are():
    statistics = Statistics(num_merged={1: 10, 2: 4, 7: 2, 9: 1, 5000: 1})
    rows = [row for row in texts(tables_of(statistics)["Duplicates"]) if row[1] != "0"]
    assert rows == [["2", "4"], ["6 to 10", "3"], ["1,001 to 5,000", "1"]]


def test_an_empty_corpus_has_only_its_flow():
    assert list(tables_of(Statistics())) == ["What became of the records"]


def test_one_database_needs_no_table():
    assert "Databases" not in tables_of(Statistics(sources={"bfd": 5}, lengths={3: 5}, source_residues={"bfd": 15}))


def test_doubt_about_rare_taxa_is_stated():
    sure = Statistics(taxa={1: 5}, lengths={10: 6}, source_residues={"other": 60}, records_without_taxon=1)
    assert tables_of(sure)["Organisms"].note == "1 taxon; 16.7 % of the proteins have none"
    unsure = sure.model_copy(update={"taxon_uncertainty": 4_000, "taxa": dict.fromkeys(range(30), 1)})
    note = tables_of(unsure)["Organisms"].note
    assert "at least 30 taxa, the 10 most frequent here" in note
    assert "low by up to 4,000" in note


def test_names_from_outside_cannot_speak_to_the_terminal():
    evil = "\x1b[31mred\x07\n" + "x" * 100
    record = NamedRecord(evil, 12)
    statistics = Statistics(
        lengths={12: 1},
        sources={evil: 1, "other": 1},
        source_residues={evil: 12},
        composition={"A": 12},
        longest=(record,),
        taxa={5: 1},
        taxon_names={5: evil},
        dropped={evil: 1},
        dropped_examples={evil: (record,)},
    )
    seen = [cell for table in tables_of(statistics, reasons={evil: 1}).values() for row in table.rows for cell in row]
    words = [cell for cell in seen if isinstance(cell, str)]
    assert all(word.isprintable() for word in words)
    assert sum("[31mred" in word for word in words) == 6
    assert max(map(len, words)) < 70
