"""The report of a corpus as a page for people: one HTML file that needs nothing else (:mod:`pipeline.formats.page`).

From the top: what it is, four numbers, what became of the records, lengths, residues, databases and organisms, the
longest proteins, what was dropped, where the files came from, how it was made.

The numbers are those of the manifest (what was read, merged and dropped) and of the statistics (everything about the
records that were kept); nothing is counted here.
"""

from collections.abc import Iterable

from pipeline.formats.charts import Marker, Row, bar_chart, histogram, stacked_bar
from pipeline.formats.corpus_statistics import Statistics, most_frequent
from pipeline.formats.corpus_summary import RowFit, Summary, share, summarise
from pipeline.formats.manifest import Manifest
from pipeline.formats.markup import Markup, element, join
from pipeline.formats.page import heading, making, page, provenance, quiet, section, swatch_row, table, tiles
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
        [provenance(manifest), making(manifest)],
    )
    return page(f"{summary.num_records:,} proteins: corpus {manifest.fingerprint[:8]}", parts)


def _title(manifest: Manifest, statistics: Statistics, summary: Summary) -> Iterable[Markup]:
    names = [DATABASES.get(name, name) for name, _ in most_frequent(statistics.sources)]
    releases = sorted({source.release for source in manifest.provenance if source.release})
    release = f", release {', '.join(releases)}" if releases else ""
    title = f"{summary.num_records:,} proteins from {listed(names)}{release}"
    return heading("Protein corpus", title, manifest.fingerprint)


def _tiles(manifest: Manifest, summary: Summary) -> Iterable[Markup]:
    counts = manifest.counts
    num_bytes = sum(file.bytes for file in manifest.tables)
    yield tiles(
        (
            (f"{summary.num_records:,}", f"proteins kept of {counts.get('records_read', 0):,} read"),
            (rounded(summary.num_residues), f"residues, {size(num_bytes)} in {counted(len(manifest.tables), 'part')}"),
            (f"{summary.quantiles['0.5']:,}", f"residues in the median protein, {summary.mean_length:,.0f} on average"),
            (f"{summary.longest:,}", f"residues in the longest protein, {summary.shortest:,} in the shortest"),
        )
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
    yield section(
        "What became of the records",
        stacked_bar(parts, label=f"{kept:,} of {read:,} records kept"),
        element("div", element("table", *rows), class_="scroll"),
    )


def _flow_row(kind: str, text: str, number: int, read: int, *, class_: str | None = None) -> Markup:
    shown = f"−{-number:,}" if number < 0 else f"{number:,}"
    return swatch_row(kind, text, shown, percent(share(abs(number), read)), class_=class_)


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
    yield section(
        "Lengths",
        element("figure", chart, element("figcaption", caption)),
        table(headings, [_row_fit(row) for row in summary.rows]),
        quiet("With one protein a row, special tokens before and after it, cut off at the end."),
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
    yield section(
        "Residues",
        element("figure", bar_chart(rows, class_="residues"), element("figcaption", caption)),
        quiet(f"Outside the twenty: {outside}."),
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
        yield section(
            "Databases",
            quiet("Proteins by the database whose record was kept."),
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
    doubts = [quiet(doubt)] if statistics.taxon_uncertainty else []
    yield section("Organisms", quiet(text), bar_chart(rows, class_="names"), *doubts)


def _longest(statistics: Statistics) -> Iterable[Markup]:
    if statistics.longest:
        rows = [Row(record.accession, record.length, f"{record.length:,}") for record in statistics.longest]
        yield section("Longest proteins", bar_chart(rows, class_="half"))


def _duplicates(statistics: Statistics) -> Iterable[Markup]:
    merged = [(number, records) for number, records in statistics.num_merged.items() if number > 1]
    if merged:
        groups: dict[str, int] = {}
        for number, records in merged:
            name = next((name for limit, name in _GROUPS if number <= limit), _LAST_GROUP)
            groups[name] = groups.get(name, 0) + records
        rows = [(name, f"{records:,}") for name, records in groups.items()]
        text = "Proteins that stand for several records with the same residues."
        yield section(
            "Duplicates",
            quiet(text),
            table(("records with the same residues", "proteins"), rows, class_="narrow"),
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
        examples = table(("reason", "records"), rows, text_columns=2)
        yield section("Examples of dropped records", quiet(text), examples)
