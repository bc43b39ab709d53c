"""The page of a plan: it is HTML, needs nothing else, believes nobody, and says what the summary says."""

import re
from html.parser import HTMLParser

import pytest

from pipeline.formats.manifest import Source, read_manifest
from pipeline.formats.plan_page import plan_page
from pipeline.formats.plan_statistics import PlanStatistics
from pipeline.formats.plan_summary import read_report, summarise
from pipeline.formats.plan_tables import plan_tables
from pipeline.formats.plan_words import TOKEN_NAMES

HOSTILE = "<script>alert('1')</script>\"&amp;<img src=x onerror=y>"


class Page(HTMLParser):
    """Elements in order, text, and whether every element that begins also ends."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data.replace("\u00a0", " "))


@pytest.fixture(scope="module")
def plan(quickstart):
    folder = quickstart / "plan"
    return read_manifest(folder), read_report(folder / "report.json")[1]


@pytest.fixture(scope="module")
def page(plan):
    return Page(plan_page(*plan))


@pytest.fixture(scope="module")
def tables(plan):
    return {table.heading: table for table in plan_tables(summarise(*plan), plan[1])}


def headings_of(text):
    return re.findall("<h2>(.*?)</h2>", text)


def changed(manifest, **configuration):
    return manifest.model_copy(update={"configuration": manifest.configuration | configuration})


def texts(table):
    return [[cell.strip() for cell in row if isinstance(cell, str)] for row in table.rows]


def test_the_page_is_html_and_fetches_nothing(plan, page):
    text = plan_page(*plan)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    names = [tag for tag, _ in page.elements]
    for once in ("head", "body", "main", "h1", "svg", "style"):
        assert names.count(once) == 1
    assert not set(names) & {"script", "link", "img", "iframe", "object", "a", "use", "image"}
    for _, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href", "xlink:href")}
    assert "url(" not in text
    assert "@import" not in text


def test_page_and_tables_have_the_same_sections_in_the_same_order(plan, tables):
    headings = headings_of(plan_page(*plan))
    assert headings == ["In short", *tables, "Where the proteins come from", "How it was made"]
    assert list(tables) == [
        "Where the tokens go",
        "Rows by algorithm",
        "Tokens in a segment",
        "Segments in a row",
        "Proteins longer than a row",
        "Ranks that wait",
    ]


def test_the_page_says_what_the_summary_says(plan, page):
    manifest, _ = plan
    summary = summarise(*plan)
    assert "1,311 rows of 1,024 tokens, 99.96 % full" in page.words
    assert set(summary.sentences) <= set(page.words)
    assert manifest.fingerprint in page.words
    assert "3.32 ×" in page.words
    for name, number in summary.tokens.items():
        assert (TOKEN_NAMES[name] in page.words) == (number > 0)
        assert f"{number:,}" in page.words
    for algorithm in summary.algorithms:
        assert f"{algorithm.rows:,}" in page.words
    for loss in summary.policies:
        assert {loss.name, f"{loss.residues_lost:,}"} <= set(page.words)
    assert {"random order (this plan)", "balanced order", "esm2"} <= set(page.words)
    for source in manifest.provenance:
        assert {source.name, source.licence, source.xxh3_128} <= set(page.words)


def test_the_bars_of_the_histogram_hold_all_segments(plan, page):
    titles = [word for word in page.words if re.fullmatch(r"[0-9,]+( to [0-9,]+)? tokens: [0-9,]+", word)]
    assert sum(int(title.rpartition(": ")[2].replace(",", "")) for title in titles) == plan[0].counts["segments"]


def test_the_tables_say_what_the_summary_says(plan, tables):
    manifest, _ = plan
    summary = summarise(*plan)
    assert texts(tables["Where the tokens go"])[0] == ["residues", f"{summary.tokens['residues']:,}", "99.3 %"]
    assert texts(tables["Rows by algorithm"]) == [
        ["first-fit decreasing *", "1,311", "0", "same", "99.96 %"],
        ["best-fit decreasing", "1,311", "0", "same", "99.96 %"],
        ["concatenation", "1,319", "-", "+0.61 %", "99.93 %"],
        ["one protein a row", "4,349", "3,038", "+231.7 %", "30.13 %"],
    ]
    assert "* this plan; lower bound: 1,311 rows" in tables["Rows by algorithm"].note
    for heading, total in (("Tokens in a segment", "segments"), ("Segments in a row", "rows")):
        rows = tables[heading].rows
        assert sum(int(number.replace(",", "")) for _, number, _, _ in rows) == manifest.counts[total]
        assert max(bar for *_, bar in rows) == 1
    assert tables["Tokens in a segment"].rows[-1][0] == "513 to 1,024"
    assert {row[0]: row[1] for row in texts(tables["Proteins longer than a row"])} == {
        "windows": "0", "crop-random *": "12,102", "crop-start": "12,102", "drop": "67,290",
    }  # fmt: skip
    waits = tables["Ranks that wait"]
    assert waits.columns[3:] == ("random (this plan)", "balanced")
    assert [row[:3] for row in texts(waits)] == [["8", "8", "20"], ["8", "32", "5"], ["64", "8", "2"]]


def test_tables_fit_a_terminal_of_80_columns_without_more_than_ascii(plan):
    manifest, statistics = plan
    large = {name: rows * 10_000 for name, rows in statistics.rows.items()}
    counts = {name: number * 10_000 for name, number in manifest.counts.items()}
    many, manifest = statistics.model_copy(update={"rows": large}), manifest.model_copy(update={"counts": counts})
    for table in plan_tables(summarise(manifest, many), many):
        cells = [[cell if isinstance(cell, str) else "#" * 28 for cell in row] for row in table.rows]
        widths = [max(map(len, column)) for column in zip(table.columns, *cells, strict=True)]
        assert sum(widths) + 2 * len(widths) <= 80, table.heading
        assert all(cell.isascii() for row in cells for cell in row)
        assert table.note.isascii()
    assert all(sentence.isascii() for sentence in summarise(manifest, many).sentences)


def test_fewer_rows_are_said_to_be_fewer(plan):
    manifest, statistics = plan
    better = statistics.model_copy(
        update={"rows": statistics.rows | {"best-fit-decreasing": 1_300}, "lower_bound": 1_300}
    )
    assert "−0.84 %" in Page(plan_page(manifest, better)).words
    assert "11" in Page(plan_page(manifest, better)).words


def test_what_does_not_apply_is_left_out(plan):
    manifest, statistics = plan
    run_on = PlanStatistics(
        segment_tokens=statistics.segment_tokens,
        segments_per_row=statistics.segments_per_row,
        rows={"concatenate": 1_311},
        lower_bound=1_311,
        records_divided=10,
        spreads=tuple(spread for spread in statistics.spreads if spread.order == "random"),
    )
    concatenated = changed(manifest, algorithm="concatenate", overlong="run-on")
    text = plan_page(concatenated, run_on)
    headings = headings_of(text)
    assert not {"Rows by algorithm", "Proteins longer than a row"} & set(headings)
    assert {"Ranks that wait", "Segments in a row"} <= set(headings)
    assert "balanced order" not in Page(text).words
    assert "tokens in the median segment" in Page(text).words
    tables = [table.heading for table in plan_tables(summarise(concatenated, run_on), run_on)]
    assert headings[1:-2] == tables


def test_where_every_protein_fits_there_is_nothing_to_choose(plan):
    manifest, statistics = plan
    fitting = statistics.model_copy(update={"records_longer": 0})
    assert "None: every protein has at most the 1,022 residues that fit." in Page(plan_page(manifest, fitting)).words
    assert "Proteins longer than a row" not in [
        table.heading for table in plan_tables(summarise(manifest, fitting), fitting)
    ]


def test_the_plan_itself_is_marked(plan):
    manifest, _ = plan
    rows = re.findall('<tr class="chosen"><td>(.*?)<', plan_page(*plan))
    assert rows == ["first-fit decreasing", "crop-random"]
    assert "this plan" in plan_page(*plan)
    rows = re.findall('<tr class="chosen"><td>(.*?)<', plan_page(changed(manifest, overlong="drop"), plan[1]))
    assert rows == ["first-fit decreasing", "drop"]


def test_every_name_from_outside_is_text(plan, page):
    manifest, statistics = plan
    source = Source(
        name=HOSTILE, bytes=1, xxh3_128=HOSTILE, release=HOSTILE, url=HOSTILE, licence=HOSTILE, checksum=HOSTILE
    )
    tokenizer = manifest.configuration["tokenizer"] | {"name": HOSTILE}
    hostile = changed(manifest, tokenizer=tokenizer, other=HOSTILE).model_copy(
        update={"fingerprint": HOSTILE, "provenance": (source,), "software": {HOSTILE: HOSTILE}}
    )
    text = plan_page(hostile, statistics)
    assert "<script" not in text
    assert "<img" not in text
    assert " ".join(Page(text).words).count("<script>alert('1')</script>") >= 10
    assert {tag for tag, _ in Page(text).elements} == {tag for tag, _ in page.elements}
