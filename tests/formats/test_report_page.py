"""The report page: it is HTML, needs nothing else, believes nobody, and says what the statistics say."""

import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from pipeline.core.alphabet import INVALID_REASONS, STANDARD_RESIDUES
from pipeline.core.filters import PREDICATES
from pipeline.formats.corpus import read_columns
from pipeline.formats.corpus_statistics import (
    NamedRecord,
    Statistics,
    merge,
    statistics_of_dropped,
    statistics_of_part,
)
from pipeline.formats.corpus_summary import summarise
from pipeline.formats.headers import DATABASE_NAMES
from pipeline.formats.manifest import Manifest, Source, read_manifest
from pipeline.formats.report_page import report_page
from pipeline.formats.report_words import AMINO_ACIDS, DATABASES, REASONS, counted, listed, percent, rounded, size

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
            self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def manifest_of(**changes):
    manifest = Manifest(
        kind="corpus",
        fingerprint="c71974babc0024ccf1f983f5573f64ca",
        configuration={"on_invalid": "drop", "source_priority": ["swissprot", "other"]},
        inputs=(),
        files=(),
        counts={"records_read": 1_234, "records_merged": 30, "records": 1_200, "residues": 300_000},
        reasons={"too-short": 3, "made-up-reason": 1, "fragment": 0},
        provenance=(Source(name="a.fasta", bytes=5_000, xxh3_128="beef", release="2025_03", licence="CC-BY-4.0"),),
        software={"pipeline": "0.1"},
    )
    return manifest.model_copy(update=changes)


@pytest.fixture(scope="module")
def corpus(quickstart):
    folder = quickstart / "corpus"
    manifest = read_manifest(folder)
    return manifest, merge(statistics_of_part(read_columns(folder / file.path)) for file in manifest.tables)


@pytest.fixture(scope="module")
def page(corpus):
    return Page(report_page(*corpus))


def test_the_page_is_html(corpus, page):
    text = report_page(*corpus)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert page.elements[0][0] == "html"
    names = [tag for tag, _ in page.elements]
    for once in ("head", "body", "main", "h1", "svg"):
        assert names.count(once) == 1
    assert ("meta", {"charset": "utf-8"}) in page.elements


def test_nothing_is_fetched_and_nothing_runs(corpus, page):
    text = report_page(*corpus)
    assert {tag for tag, _ in page.elements} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "a",
        "use",
        "image",
    } == set()
    for _, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href", "xlink:href")}
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_says_what_the_manifest_and_the_statistics_say(corpus, page):
    manifest, statistics = corpus
    summary = summarise(statistics)
    assert "4,349 proteins from Swiss-Prot and TrEMBL" in page.text
    assert "proteins kept of 4,391 read" in page.text
    assert "−42" in page.text
    assert manifest.fingerprint in page.text
    assert f"{summary.quantiles['0.5']:,}" in page.words
    assert f"{summary.rows[1].num_longer:,}" in page.words
    for record in statistics.longest:
        assert record.accession in page.words
        assert f"{record.length:,}" in page.words
    for letter, (name, average) in AMINO_ACIDS.items():
        at = page.words.index(f"{letter}  {name}")
        value = 100 * statistics.composition[letter] / summary.num_residues
        assert page.words[at + 1] == f"{value:.2f} %"
        assert float(page.words[at + 2].replace("−", "-")) == pytest.approx(value - average, abs=0.006)
    assert "Escherichia coli (strain K12)" in page.words
    for source in manifest.provenance:
        assert {source.name, source.licence, source.xxh3_128} <= set(page.words)


def test_the_bars_of_the_histogram_hold_all_proteins(corpus, page):
    titles = [word for word in page.words if re.fullmatch(r"[0-9,]+( to [0-9,]+)? residues: [0-9,]+", word)]
    assert sum(int(title.rpartition(": ")[2].replace(",", "")) for title in titles) == corpus[1].num_records


def test_every_name_from_outside_is_text():
    record = NamedRecord(HOSTILE, 12)
    statistics = Statistics(
        lengths={12: 1},
        sources={HOSTILE: 1, "other": 1},
        source_residues={HOSTILE: 12},
        composition={"A": 12},
        longest=(record,),
        taxa={5: 1},
        taxon_names={5: HOSTILE},
        dropped={HOSTILE: 1},
        dropped_examples={HOSTILE: (record,)},
    )
    source = Source(
        name=HOSTILE, bytes=1, xxh3_128=HOSTILE, release=HOSTILE, url=HOSTILE, licence=HOSTILE, checksum=HOSTILE
    )
    manifest = manifest_of(
        fingerprint=HOSTILE,
        configuration={HOSTILE: HOSTILE},
        reasons={HOSTILE: 1},
        provenance=(source,),
        software={HOSTILE: HOSTILE},
    )
    text = report_page(manifest, statistics)
    harmless = Page(report_page(manifest_of(), Statistics(**statistics.model_dump())))
    hostile = Page(text)
    assert "<script" not in text
    assert "<img" not in text
    assert hostile.text.count("<script>alert('1')</script>") >= 14
    assert {tag for tag, _ in hostile.elements} == {tag for tag, _ in harmless.elements}


def test_what_was_dropped_is_named_and_adds_up():
    text = Page(report_page(manifest_of(), Statistics())).text
    assert "dropped: too short −3" in text.replace("  ", " ")
    assert "made-up-reason" in text
    assert "a fragment" not in text
    assert "merged into a record with the same residues −30 2.43 %" in text.replace("  ", " ")


def test_examples_and_duplicates_are_shown_when_there_are_any():
    table = pa.table({"reason": ["too-short"] * 2, "accession": ["B", "A"], "length": [5, 6]})
    statistics = Statistics(num_merged={1: 10, 2: 4, 7: 2, 9: 1, 5000: 1}) + statistics_of_dropped(table)
    words = Page(report_page(manifest_of(), statistics)).words
    assert "A (6), B (5)" in words
    assert words[words.index("2") + 1] == "4"
    assert words[words.index("6 to 10") + 1] == "3"
    assert words[words.index("more than 1,000") + 1] == "1"
    none = Page(report_page(manifest_of(), Statistics())).words
    assert not {"Duplicates", "Examples of dropped records"} & set(none)


def test_doubt_about_rare_taxa_is_stated():
    sure = Statistics(taxa={1: 5}, sources={"other": 6}, lengths={10: 6}, records_without_taxon=1)
    assert "1 taxon; 16.7 % of the proteins have none." in Page(report_page(manifest_of(), sure)).words
    unsure = sure.model_copy(update={"taxon_uncertainty": 4_000, "taxa": dict.fromkeys(range(30), 1)})
    text = Page(report_page(manifest_of(), unsure)).text
    assert "At least 30 taxa, the 20 most frequent here" in text
    assert "low by up to 4,000" in text


def test_every_reason_database_and_residue_has_words():
    assert {"empty-sequence", *INVALID_REASONS, *PREDICATES} <= REASONS.keys()
    assert set(DATABASE_NAMES) == DATABASES.keys()
    assert sorted(AMINO_ACIDS) == sorted(STANDARD_RESIDUES.decode())
    assert sum(average for _, average in AMINO_ACIDS.values()) == pytest.approx(100, abs=0.2)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (percent(0), "0.00 %"),
        (percent(0.00001), "< 0.01 %"),
        (percent(0.0046), "0.46 %"),
        (percent(0.123), "12.3 %"),
        (percent(0.9999), "> 99.9 %"),
        (percent(1), "100.0 %"),
        (rounded(999_999), "999,999"),
        (rounded(1_345_320), "1.35 million"),
        (rounded(25_921_676), "25.9 million"),
        (rounded(54_600_000_000), "54.6 billion"),
        (size(512), "512 bytes"),
        (size(877_063), "877.1 kB"),
        (size(18_400_000), "18.4 MB"),
        (counted(1, "part"), "1 part"),
        (counted(2_000, "taxon", "taxa"), "2,000 taxa"),
        (listed([]), "nowhere"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_are_said_as_people_say_them(made, expected):
    assert made == expected
