"""The numbers people ask for, against lists of lengths."""

import json
import statistics as standard

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArtefactError
from pipeline.formats.corpus_statistics import NamedRecord, Statistics
from pipeline.formats.corpus_summary import quantile, read_report, report_document, summarise

LENGTHS = st.lists(st.integers(1, 4096) | st.sampled_from([510, 511, 1022, 1023, 2046]), min_size=1, max_size=50)


def counted(lengths):
    return {length: lengths.count(length) for length in lengths}


def statistics_of(lengths):
    return Statistics(
        lengths=counted(lengths),
        source_residues={"other": sum(lengths)},
        composition={"A": sum(lengths) - 1, "X": 1},
        longest=(NamedRecord("P1", max(lengths)),),
        dropped={"fragment": 2, "too-short": 1},
        records_merged=7,
        taxa={1: 2, 2: 1},
    )


@given(LENGTHS, st.sampled_from([0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_least_length_that_enough_do_not_exceed(lengths, q):
    found = quantile(counted(lengths), q)
    assert found in lengths
    assert sum(length <= found for length in lengths) >= q * len(lengths)
    assert sum(length < found for length in lengths) < q * len(lengths)


@given(LENGTHS)
def test_the_summary_is_of_the_lengths(lengths):
    summary = summarise(statistics_of(lengths))
    assert (summary.num_records, summary.num_residues) == (len(lengths), sum(lengths))
    assert summary.mean_length == pytest.approx(standard.fmean(lengths))
    assert (summary.shortest, summary.longest) == (min(lengths), max(lengths))
    assert summary.quantiles["0.5"] == standard.median_low(lengths)
    assert summary.share_nonstandard == pytest.approx(1 / sum(lengths))
    assert (summary.records_dropped, summary.records_merged, summary.num_taxa) == (3, 7, 2)


@given(LENGTHS)
def test_rows_are_filled_with_one_protein_each(lengths):
    for row in summarise(statistics_of(lengths)).rows:
        room = row.row_length - 2
        cropped = [min(length, room) for length in lengths]
        padding = sum(row.row_length - 2 - length for length in cropped)
        assert row.num_longer == sum(length > room for length in lengths)
        assert row.share_longer == pytest.approx(row.num_longer / len(lengths))
        assert row.share_of_residues_beyond == pytest.approx(1 - sum(cropped) / sum(lengths))
        assert row.share_of_padding == pytest.approx(padding / (row.row_length * len(lengths)))


def test_what_lies_beyond_a_row_is_exact_although_long_lengths_are_binned():
    # 5,000 is counted in the bin of 4,992.
    statistics = Statistics(lengths={100: 1, 4992: 1}, source_residues={"other": 5100})
    assert summarise(statistics).rows[1].share_of_residues_beyond == pytest.approx((5000 - 1022) / 5100)


def test_nothing_has_a_summary_too():
    summary = summarise(Statistics())
    assert (summary.num_records, summary.longest, summary.quantiles["0.5"], summary.mean_length) == (0, 0, 0, 0)


def test_a_report_is_read_back(tmp_path):
    statistics = statistics_of([10, 20, 30])
    document = report_document("f00d", statistics)
    assert document["fingerprint"] == "f00d"
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    assert read_report(path) == (summarise(statistics), statistics)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"format_version": 2}, "format_version 2, this package reads up to 1"),
        ({"summary": {}}, "expected the report of a corpus"),
        ({"statistics": {"lengths": {"a": 1}}}, "expected the report of a corpus"),
        ({"format_version": None}, "expected the report of a corpus"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, change, found):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report_document("f00d", statistics_of([10])) | change))
    with pytest.raises(ArtefactError, match=found):
        read_report(path)


def test_a_list_is_no_report(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("[]")
    with pytest.raises(ArtefactError, match="expected the report of a corpus"):
        read_report(path)
