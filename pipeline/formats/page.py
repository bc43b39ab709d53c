"""What the report pages of corpus and plan share: one HTML file that needs nothing else, and the parts that both have.

Neither scripts nor anything fetched: style and charts are in the file, colours follow the reader's light or dark mode,
and it prints. Whatever comes from headers, file names or configuration is escaped by :mod:`pipeline.formats.markup`.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from itertools import chain
from typing import Any

from pipeline.formats.manifest import Manifest, Source
from pipeline.formats.markup import Markup, element


def page(title: str, parts: Iterable[Iterable[Markup]]) -> str:
    """The whole file.

    Args:
        title: For the window.
        parts: Elements of the page, from the top.
    """
    body = element("main", *chain.from_iterable(parts))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", _stylesheet()),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', body), lang='en')}\n"


def _stylesheet() -> Markup:
    return Markup(resources.files("pipeline.formats").joinpath("report_page.css").read_text(encoding="utf-8"))


def heading(overline: str, title: str, fingerprint: str) -> Iterable[Markup]:
    """What the page is about."""
    yield element("p", overline, class_="overline")
    yield element("h1", title)
    yield element("p", "Fingerprint ", element("code", fingerprint), class_="lead")


def tiles(numbers: Iterable[tuple[str, str]]) -> Markup:
    """Numbers to see first: each with what it is."""
    return element(
        "div",
        *(element("div", element("b", big), element("span", small), class_="tile") for big, small in numbers),
        class_="tiles",
    )


def section(title: str, *children: Markup) -> Markup:
    """A part of the page under a heading of its own."""
    return element("section", element("h2", title), *children)


def quiet(*text: str) -> Markup:
    """A paragraph in a quieter voice."""
    return element("p", *text, class_="quiet")


def swatch_row(kind: str, *cells: str, class_: str | None = None) -> Markup:
    """A row of a table whose first cell has the colour of a class in the stylesheet, if it names one."""
    swatch = [element("span", class_=f"swatch {kind}")] if kind else []
    numbers = (element("td", cell, class_="number") for cell in cells[1:])
    return element("tr", element("td", *swatch, cells[0]), *numbers, class_=class_)


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text_columns: int = 1,
    class_: str = "",
    chosen: int | None = None,
) -> Markup:
    """A table.

    Args:
        headings: One for each column.
        rows: Texts.
        text_columns: So many columns hold text; the others hold numbers, to the right.
        class_: In the stylesheet.
        chosen: Number of the row to mark.
    """

    def cells(kind: str, texts: Sequence[str]) -> Iterable[Markup]:
        for column, text in enumerate(texts):
            yield element(kind, text, class_="number" if column >= text_columns else None)

    head = element("thead", element("tr", *cells("th", headings)))
    marked = ((row, "chosen" if number == chosen else None) for number, row in enumerate(rows))
    body = element("tbody", *(element("tr", *cells("td", row), class_=mark) for row, mark in marked))
    return element("div", element("table", head, body), class_=f"scroll {class_}".strip())


def provenance(manifest: Manifest) -> Markup:
    """Where the records came from."""
    sources = element("div", *map(_source, manifest.provenance), class_="sources")
    return section("Where the proteins come from", sources)


def _source(source: Source) -> Markup:
    given = {
        "release": source.release,
        "from": source.url,
        "size": f"{source.bytes:,} bytes",
        "publisher's checksum": source.checksum,
        "XXH3-128": source.xxh3_128,
    }
    told = {"licence": source.licence or "not given"} | {name: value for name, value in given.items() if value}
    return element("div", element("b", source.name), _facts(told), class_="source")


def making(manifest: Manifest) -> Markup:
    """Configuration, software and fingerprint."""
    configuration = {key.replace("_", " "): _value(value) for key, value in manifest.configuration.items()}
    versions = ", ".join(f"{name} {version}" for name, version in manifest.software.items())
    facts = configuration | {"software": versions, "fingerprint": manifest.fingerprint}
    return section("How it was made", _facts(facts))


def _value(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])  # of a tokenizer, whose tokens are in the manifest
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _facts(facts: Mapping[str, str]) -> Markup:
    pairs = ((element("dt", name), element("dd", value)) for name, value in facts.items())
    return element("dl", *chain.from_iterable(pairs))
