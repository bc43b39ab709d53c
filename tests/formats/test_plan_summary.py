"""The numbers of a plan, from manifest and statistics; report.json both ways."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArtefactError
from pipeline.formats.manifest import read_manifest
from pipeline.formats.plan_summary import MOST_GROUPS, even_groups, read_report, report_document, summarise


@pytest.fixture(scope="module")
def plan(quickstart):
    folder = quickstart / "plan"
    return read_manifest(folder), read_report(folder / "report.json")[1]


@pytest.fixture(scope="module")
def summary(plan):
    return summarise(*plan)


def test_the_tokens_fill_the_rows(plan, summary):
    manifest, _ = plan
    assert sum(summary.tokens.values()) == manifest.counts["rows"] * 1_024
    assert summary.tokens["residues"] == manifest.counts["residues_packed"]
    assert summary.tokens["special"] == 2 * manifest.counts["segments"]
    assert summary.tokens["aligning"] == 0
    assert summary.share_real == pytest.approx(manifest.counts["tokens"] / (manifest.counts["rows"] * 1_024))


def test_aligned_segments_have_padding_between_them(plan):
    manifest, statistics = plan
    counts = manifest.counts | {"tokens_aligned": manifest.counts["tokens"] + 100}
    tokens = summarise(manifest.model_copy(update={"counts": counts}), statistics).tokens
    assert (tokens["aligning"], tokens["padding"]) == (100, manifest.counts["tokens_padding"] - 100)


def test_algorithms_come_by_their_rows_and_the_chosen_one_first_among_equals(plan, summary):
    manifest, statistics = plan
    names = [algorithm.name for algorithm in summary.algorithms]
    assert set(names) == {"first-fit-decreasing", "best-fit-decreasing", "concatenate", "pad"}
    rows = [algorithm.rows for algorithm in summary.algorithms]
    assert rows == sorted(rows)
    assert [algorithm.name for algorithm in summary.algorithms if algorithm.is_chosen] == ["first-fit-decreasing"]
    equal = statistics.model_copy(update={"rows": dict.fromkeys(statistics.rows, 1_311)})
    assert summarise(manifest, equal).algorithms[0].is_chosen
    for algorithm in summary.algorithms:
        counts = manifest.counts
        real = counts["residues"] + counts["records"] if algorithm.name == "concatenate" else counts["tokens"]
        assert algorithm.share_real == pytest.approx(real / (algorithm.rows * 1_024))


def test_policies_come_by_what_they_lose(plan, summary):
    manifest, _ = plan
    losses = {loss.name: loss for loss in summary.policies}
    assert [loss.residues_lost for loss in summary.policies] == sorted(loss.residues_lost for loss in losses.values())
    assert losses["windows"].residues_lost == losses["windows"].records_dropped == 0
    assert losses["windows"].segments_more >= summary.records_longer > 0
    assert losses["drop"].records_dropped == summary.records_longer
    assert losses["drop"].segments_more == losses["crop-start"].segments_more == 0
    assert losses["crop-random"].residues_lost == manifest.counts["residues_lost"]
    assert losses["crop-random"].is_chosen
    assert losses["crop-random"].share_lost == pytest.approx(
        manifest.counts["residues_lost"] / manifest.counts["residues"]
    )
    assert summary.max_residues == 1_022


def test_waits_are_those_of_the_statistics(plan, summary):
    _, statistics = plan
    assert [(wait.world_size, wait.rows_per_rank) for wait in summary.waits] == [(8, 8), (8, 32), (64, 8)]
    for wait in summary.waits:
        assert wait.num_steps == 1_311 // (wait.world_size * wait.rows_per_rank)
        for spread in statistics.spreads:
            if (spread.world_size, spread.rows_per_rank) == (wait.world_size, wait.rows_per_rank):
                assert wait.excess[spread.order] == spread.mean - 1
    assert summary.orders == ("random", "balanced")


COUNTS = st.dictionaries(st.integers(1, 3_000), st.integers(1, 100), min_size=1, max_size=30)


@given(COUNTS)
def test_groups_are_few_even_and_hold_every_row_once(counts):
    groups = even_groups(counts)
    assert sum(groups.values()) == sum(counts.values())
    widths = [last - first + 1 for first, last in groups]
    assert len(set(widths[:-1])) <= 1
    assert len(groups) <= MOST_GROUPS + 1
    assert all(str(width).strip("0") in {"1", "2", "5"} for width in widths[:-1])
    for (first, last), number in groups.items():
        assert number == sum(count for value, count in counts.items() if first <= value <= last)


def test_a_few_rows_of_very_many_segments_do_not_hide_the_others():
    assert list(even_groups({1: 500, 2: 400, 3: 95, 300: 5})) == [(1, 1), (2, 2), (3, 3), (4, 300)]


def test_a_report_is_read_back(plan, summary, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report_document(*plan)))
    assert read_report(path) == (summary, plan[1])
    assert json.loads(path.read_text())["fingerprint"] == plan[0].fingerprint


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"format_version": 2}, "format_version 2, this package reads up to 1"),
        ({"summary": {}}, "expected the report of a plan"),
        ({"statistics": {"lengths": {}}}, "expected the report of a plan"),
        ({"format_version": None}, "expected the report of a plan"),
    ],
)
def test_what_is_no_report_is_refused(plan, tmp_path, change, found):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report_document(*plan) | change))
    with pytest.raises(ArtefactError, match=found):
        read_report(path)
