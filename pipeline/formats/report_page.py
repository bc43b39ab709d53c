"""The report of a corpus as a page for people: one HTML file that needs nothing else.

From the top: what it is, four numbers, what became of the records, lengths, residues, databases and organisms, the
longest proteins, what was dropped, where the files came from, how it was made. Neither scripts nor anything fetched:
style and charts are in the file, colours follow the reader's light or dark mode, and it prints. Whatever comes from
headers, file names or configuration is escaped by :mod:`pipeline.formats.markup`.

The numbers are those of the manifest (what was read, merged and dropped) and of the statistics (everything about the
records that were kept); nothing is counted here.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from itertools import chain
from typing import Any

from pipeline.formats.charts import Marker, Row, bar_chart, histogram, stacked_bar
from pipeline.formats.corpus_statistics import Statistics, most_frequent
from pipeline.formats.corpus_summary import RowFit, Summary, share, summarise
from pipeline.formats.manifest import Manifest, Source
from pipeline.formats.markup import Markup, element, join
from pipeline.formats.report_words import AMINO_ACIDS, DATABASES, REASONS, counted, listed, percent, rounded, size

PAGE_NAME = "report.html"

PALE_BEYOND = 1_022
"""Residues that fit a row of 1,024 tokens."""


def report_page(manifest: Manifest, statistics: Statistics) -> str:
    """The page.

    Args:
        manifest: Of the corpus.
        statistics: Of all its records, and of those dropped.
    """
    summary = summarise(statistics)
    parts = (
        _title(manifest, statistics, summary),
        _tiles(manifest, summary),
        _flow(manifest),
        _lengths(statistics, summary),
        _residues(statistics, summary),
        _databases(statistics),
        _organisms(statistics, summary),
        _longest(statistics),
        _duplicates(statistics),
        _dropped(statistics),
        _provenance(manifest),
        _making(manifest),
    )
    body = element("main", *chain.from_iterable(parts))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{summary.num_records:,} proteins: corpus {manifest.fingerprint[:8]}"),
        element("style", _stylesheet()),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', body), lang='en')}\n"


def _stylesheet() -> Markup:
    return Markup(resources.files("pipeline.formats").joinpath("report_page.css").read_text(encoding="utf-8"))


def _title(manifest: Manifest, statistics: Statistics, summary: Summary) -> Iterable[Markup]:
    names = [DATABASES.get(name, name) for name, _ in most_frequent(statistics.sources)]
    releases = sorted({source.release for source in manifest.provenance if source.release})
    release = f", release {', '.join(releases)}" if releases else ""
    yield element("p", "Protein corpus", class_="overline")
    yield element("h1", f"{summary.num_records:,} proteins from {listed(names)}{release}")
    yield element("p", "Fingerprint ", element("code", manifest.fingerprint), class_="lead")


def _tiles(manifest: Manifest, summary: Summary) -> Iterable[Markup]:
    counts = manifest.counts
    num_bytes = sum(file.bytes for file in manifest.tables)
    tiles = (
        (f"{summary.num_records:,}", f"proteins kept of {counts.get('records_read', 0):,} read"),
        (rounded(summary.num_residues), f"residues, {size(num_bytes)} in {counted(len(manifest.tables), 'part')}"),
        (f"{summary.quantiles['0.5']:,}", f"residues in the median protein, {summary.mean_length:,.0f} on average"),
        (f"{summary.longest:,}", f"residues in the longest protein, {summary.shortest:,} in the shortest"),
    )
    yield element(
        "div",
        *(element("div", element("b", big), element("span", small), class_="tile") for big, small in tiles),
        class_="tiles",
    )


def _flow(manifest: Manifest) -> Iterable[Markup]:
    counts = manifest.counts
    read, merged, kept = (counts.get(name, 0) for name in ("records_read", "records_merged", "records"))
    dropped = [(name, number) for name, number in most_frequent(manifest.reasons) if number]
    parts = (
        ("kept", f"kept: {kept:,}", kept),
        ("merged", f"merged: {merged:,}", merged),
        ("dropped", f"dropped: {sum(manifest.reasons.values()):,}", sum(manifest.reasons.values())),
    )
    rows = [_flow_row("", "read", read, read)]
    rows += [_flow_row("dropped", f"dropped: {REASONS.get(name, name)}", -number, read) for name, number in dropped]
    rows += [_flow_row("merged", "merged into a record with the same residues", -merged, read)] if merged else []
    rows += [_flow_row("kept", "kept", kept, read, class_="sum")]
    yield _section(
        "What became of the records",
        stacked_bar(parts, label=f"{kept:,} of {read:,} records kept"),
        element("div", element("table", *rows), class_="scroll"),
    )


def _flow_row(kind: str, text: str, number: int, read: int, *, class_: str | None = None) -> Markup:
    swatch = [element("span", class_=f"swatch {kind}")] if kind else []
    shown = f"−{-number:,}" if number < 0 else f"{number:,}"
    return element(
        "tr",
        element("td", *swatch, text),
        element("td", shown, class_="number"),
        element("td", percent(share(abs(number), read)), class_="number"),
        class_=class_,
    )


def _lengths(statistics: Statistics, summary: Summary) -> Iterable[Markup]:
    if not statistics.lengths:
        return
    quantiles = summary.quantiles
    markers = [
        Marker("median", quantiles["0.5"]),
        Marker("90 %", quantiles["0.9"], "up to "),
        Marker("99 %", quantiles["0.99"], "up to "),
    ]
    chart = histogram(
        statistics.lengths,
        markers,
        unit="residues",
        beyond=PALE_BEYOND,
        label=f"Histogram of protein lengths from {summary.shortest:,} to {summary.longest:,} residues",
    )
    caption = (
        f"Proteins by length in residues, on a logarithmic axis; {quantiles['0.25']:,} to {quantiles['0.75']:,} is the "
        f"middle half. Paler bars: longer than the {PALE_BEYOND:,} residues that a row of 1,024 tokens holds."
    )
    headings = ("tokens in a row", "longer proteins", "share of all", "residues beyond", "padding")
    yield _section(
        "Lengths",
        element("figure", chart, element("figcaption", caption)),
        _table(headings, [_row_fit(row) for row in summary.rows]),
        element("p", "With one protein a row, special tokens before and after it, cut off at the end.", class_="quiet"),
    )


def _row_fit(row: RowFit) -> tuple[str, ...]:
    shares = (row.share_longer, row.share_of_residues_beyond, row.share_of_padding)
    longer, beyond, padding = map(percent, shares)
    return f"{row.row_length:,}", f"{row.num_longer:,}", longer, beyond, padding


def _residues(statistics: Statistics, summary: Summary) -> Iterable[Markup]:
    composition = statistics.composition
    standard = sorted(AMINO_ACIDS, key=lambda letter: (-composition.get(letter, 0), letter))
    rows = [_residue_row(letter, share(composition.get(letter, 0), summary.num_residues)) for letter in standard]
    caption = join(
        [
            "Share of all residues. The tick",
            element("span", class_="key"),
            "is the average of Swiss-Prot, the last column the difference in percentage points.",
        ]
    )
    others = [f"{letter} {number:,}" for letter, number in most_frequent(composition) if letter not in AMINO_ACIDS]
    outside = f"{percent(summary.share_nonstandard)} of all residues: {', '.join(others)}" if others else "none"
    yield _section(
        "Residues",
        element("figure", bar_chart(rows, class_="residues"), element("figcaption", caption)),
        element("p", f"Outside the twenty: {outside}.", class_="quiet"),
    )


def _residue_row(letter: str, fraction: float) -> Row:
    name, average = AMINO_ACIDS[letter]
    value = 100 * fraction
    # Adding zero makes a negative zero a positive one.
    difference = round(value - average, 2) + 0.0
    return Row(
        label=f"{letter}  {name}",
        value=value,
        text=f"{value:.2f} %",
        note=f"{difference:+.2f}".replace("-", "−"),
        reference=average,
    )


def _databases(statistics: Statistics) -> Iterable[Markup]:
    total = statistics.num_records
    rows = [
        Row(DATABASES.get(name, name), number, f"{number:,}", percent(share(number, total)))
        for name, number in most_frequent(statistics.sources)
    ]
    if len(rows) > 1:
        yield _section(
            "Databases",
            element("p", "Proteins by the database whose record was kept.", class_="quiet"),
            bar_chart(rows),
        )


def _organisms(statistics: Statistics, summary: Summary) -> Iterable[Markup]:
    total, without = statistics.num_records, statistics.records_without_taxon
    shown = statistics.capped()
    rows = [
        Row(
            shown.taxon_names.get(taxon, "taxon"),
            number,
            f"{number:,}",
            percent(share(number, total)),
            detail=f"{taxon}",
        )
        for taxon, number in most_frequent(shown.taxa)
    ]
    if not rows:
        return
    at_least = "At least " if statistics.taxon_uncertainty else ""
    number = counted(summary.num_taxa, "taxon", "taxa")
    most = f", the {len(rows)} most frequent here" if summary.num_taxa > len(rows) else ""
    none = f"; {percent(share(without, total))} of the proteins have none" if without else ""
    text = f"{at_least}{number}{most}{none}."
    doubt = f"Rare taxa of a part are not counted: a number may be low by up to {statistics.taxon_uncertainty:,}."
    doubts = [element("p", doubt, class_="quiet")] if statistics.taxon_uncertainty else []
    yield _section("Organisms", element("p", text, class_="quiet"), bar_chart(rows, class_="names"), *doubts)


def _longest(statistics: Statistics) -> Iterable[Markup]:
    if statistics.longest:
        rows = [Row(record.accession, record.length, f"{record.length:,}") for record in statistics.longest]
        yield _section("Longest proteins", bar_chart(rows, class_="half"))


def _duplicates(statistics: Statistics) -> Iterable[Markup]:
    merged = [(number, records) for number, records in statistics.num_merged.items() if number > 1]
    if merged:
        groups: dict[str, int] = {}
        for number, records in merged:
            name = next((name for limit, name in _GROUPS if number <= limit), _LAST_GROUP)
            groups[name] = groups.get(name, 0) + records
        rows = [(name, f"{records:,}") for name, records in groups.items()]
        text = "Proteins that stand for several records with the same residues."
        yield _section(
            "Duplicates",
            element("p", text, class_="quiet"),
            _table(("records with the same residues", "proteins"), rows, class_="narrow"),
        )


_GROUPS = ((2, "2"), (3, "3"), (4, "4"), (5, "5"), (10, "6 to 10"), (100, "11 to 100"), (1000, "101 to 1,000"))
_LAST_GROUP = "more than 1,000"


def _dropped(statistics: Statistics) -> Iterable[Markup]:
    rows = [
        (REASONS.get(reason, reason), ", ".join(f"{record.accession} ({record.length:,})" for record in records))
        for reason, records in statistics.dropped_examples.items()
    ]
    if rows:
        text = "The first of each reason, in the order of their accessions, with their residues."
        table = _table(("reason", "records"), rows, text_columns=2)
        yield _section("Examples of dropped records", element("p", text, class_="quiet"), table)


def _provenance(manifest: Manifest) -> Iterable[Markup]:
    sources = element("div", *map(_source, manifest.provenance), class_="sources")
    yield _section("Where the proteins come from", sources)


def _source(source: Source) -> Markup:
    given = {
        "release": source.release,
        "from": source.url,
        "size": f"{source.bytes:,} bytes",
        "publisher's checksum": source.checksum,
        "XXH3-128": source.xxh3_128,
    }
    facts = {"licence": source.licence or "not given"} | {name: value for name, value in given.items() if value}
    return element("div", element("b", source.name), _facts(facts), class_="source")


def _making(manifest: Manifest) -> Iterable[Markup]:
    configuration = {key.replace("_", " "): _value(value) for key, value in manifest.configuration.items()}
    versions = ", ".join(f"{name} {version}" for name, version in manifest.software.items())
    yield _section(
        "How it was made", _facts(configuration | {"software": versions, "fingerprint": manifest.fingerprint})
    )


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _facts(facts: Mapping[str, str]) -> Markup:
    pairs = ((element("dt", name), element("dd", value)) for name, value in facts.items())
    return element("dl", *chain.from_iterable(pairs))


def _section(heading: str, *children: Markup) -> Markup:
    return element("section", element("h2", heading), *children)


def _table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1, class_: str = ""
) -> Markup:
    def cells(kind: str, texts: Sequence[str]) -> Iterable[Markup]:
        for column, text in enumerate(texts):
            yield element(kind, text, class_="number" if column >= text_columns else None)

    head = element("thead", element("tr", *cells("th", headings)))
    body = element("tbody", *(element("tr", *cells("td", row)) for row in rows))
    return element("div", element("table", head, body), class_=f"scroll {class_}".strip())
