"""The report of a plan as a page for people: one HTML file that needs nothing else (:mod:`pipeline.formats.page`).

From the top: what it is, four numbers, what they come to in sentences, where the tokens of the rows go, rows by
algorithm, tokens of a segment, segments in a row, proteins longer than a row, ranks that wait, where the files came
from, how it was made. The numbers are those of the manifest and of the summary; nothing is counted here.
"""

from collections.abc import Iterable

from pipeline.core.concatenation import CONCATENATE
from pipeline.formats.charts import Marker, Row, bar_chart, histogram, stacked_bar
from pipeline.formats.corpus_summary import share
from pipeline.formats.manifest import Manifest
from pipeline.formats.markup import Markup, element, join
from pipeline.formats.page import heading, making, page, provenance, quiet, section, swatch_row, table, tiles
from pipeline.formats.plan_statistics import PlanStatistics
from pipeline.formats.plan_summary import PlanSummary, PolicyLoss, against, even_groups, summarise
from pipeline.formats.plan_words import ALGORITHM_NAMES, PAD, POLICY_NAMES, RUN_ON_NOTE, TOKEN_NAMES, fullness
from pipeline.formats.report_words import counted, percent

_TOKEN_COLOURS = {"residues": "kept", "special": "merged", "aligning": "kept-pale", "padding": "dropped"}
"""Classes in the stylesheet."""


def plan_page(manifest: Manifest, statistics: PlanStatistics) -> str:
    """The page.

    Args:
        manifest: Of the plan.
        statistics: Of all its parts.
    """
    summary = summarise(manifest, statistics)
    rows = f"{counted(summary.num_rows, 'row')} of {summary.row_length:,} tokens"
    parts = (
        heading("Packing plan", _together(f"{rows}, {fullness(summary.share_real)} full"), manifest.fingerprint),
        [_tiles(summary), section("In short", *(element("p", _together(sentence)) for sentence in summary.sentences))],
        [_tokens(summary)],
        _algorithms(summary),
        _segment_lengths(statistics, summary),
        _segments_per_row(statistics, summary),
        _overlong(summary),
        _waits(summary),
        [provenance(manifest), making(manifest)],
    )
    return page(f"{rows}: plan {manifest.fingerprint[:8]}", parts)


def _together(text: str) -> str:
    """No line ends between a number and its per cent sign."""
    return text.replace(" %", "\u00a0%")


def _number(text: str) -> str:
    """With a minus sign, as print has it."""
    return _together(text).replace("-", "\u2212")


def _tiles(summary: PlanSummary) -> Markup:
    over = summary.num_rows - summary.rows_lower_bound
    padded = next((algorithm for algorithm in summary.algorithms if algorithm.name == PAD), None)
    numbers = [
        (fullness(summary.share_real), f"of the tokens are real, in {counted(summary.num_rows, 'row')}"),
        (f"{over:,}", f"{'row' if over == 1 else 'rows'} over the {summary.rows_lower_bound:,} that any packing needs"),
        (f"{summary.segments_per_row:,.2f}", f"segments in a row, {summary.num_segments:,} in all"),
    ]
    if padded is not None and not padded.is_chosen:
        fewer = padded.rows / summary.num_rows
        numbers.append((f"{fewer:.2f} ×", f"fewer rows than the {padded.rows:,} of one protein each"))
    else:
        numbers.append((f"{summary.quantiles['0.5']:,}", "tokens in the median segment"))
    return tiles(numbers)


def _tokens(summary: PlanSummary) -> Markup:
    room = summary.num_rows * summary.row_length
    parts = [(_TOKEN_COLOURS[name], TOKEN_NAMES[name], number) for name, number in summary.tokens.items() if number]
    rows = [swatch_row(kind, text, f"{number:,}", percent(share(number, room))) for kind, text, number in parts]
    rows.append(swatch_row("", "all tokens", f"{room:,}", percent(1), class_="sum"))
    return section(
        "Where the tokens go",
        stacked_bar(
            [(kind, f"{text}: {number:,}", number) for kind, text, number in parts],
            label=f"{fullness(summary.share_real)} of the tokens are real",
        ),
        element("div", element("table", *rows), class_="scroll"),
    )


def _algorithms(summary: PlanSummary) -> Iterable[Markup]:
    algorithms = summary.algorithms
    if len(algorithms) == 1:
        return
    bound = summary.rows_lower_bound
    bars = [
        Row(
            ALGORITHM_NAMES[algorithm.name],
            algorithm.rows,
            f"{algorithm.rows:,}",
            fullness(algorithm.share_real),
            reference=None if algorithm.name == CONCATENATE else bound,
            detail="this plan" if algorithm.is_chosen else "",
        )
        for algorithm in algorithms
    ]
    caption = join(
        [
            "Rows for these very proteins, and the share of their tokens that is real. The tick",
            element("span", class_="key"),
            f"is the lower bound, {counted(bound, 'row')}; {RUN_ON_NOTE}.",
        ]
    )
    headings = ("", "rows", "over the bound", "against this plan")
    chosen = next(number for number, algorithm in enumerate(algorithms) if algorithm.is_chosen)
    rows = [(name, *map(_number, numbers)) for name, *numbers in (against(each, summary) for each in algorithms)]
    yield section(
        "Rows by algorithm",
        element("figure", bar_chart(bars), element("figcaption", caption)),
        table(headings, rows, chosen=chosen, class_="words"),
    )


def _segment_lengths(statistics: PlanStatistics, summary: PlanSummary) -> Iterable[Markup]:
    if not statistics.segment_tokens:
        return
    quantiles = summary.quantiles
    chart = histogram(
        statistics.segment_tokens,
        [Marker("median", quantiles["0.5"]), Marker("90 %", quantiles["0.9"], "up to ")],
        unit="tokens",
        beyond=summary.row_length // 2,
        label=f"Histogram of tokens in a segment, up to {max(statistics.segment_tokens):,}",
    )
    caption = (
        f"Segments by their tokens, special ones included, on a logarithmic axis; {quantiles['0.25']:,} to "
        f"{quantiles['0.75']:,} is the middle half. Paler bars: longer than half a row, so that no two share one."
    )
    yield section("Tokens in a segment", element("figure", chart, element("figcaption", caption)))


def _segments_per_row(statistics: PlanStatistics, summary: PlanSummary) -> Iterable[Markup]:
    if not statistics.segments_per_row:
        return
    bars = [
        Row(
            f"{first:,}" if first == last else f"{first:,} to {last:,}",
            number,
            f"{number:,}",
            percent(share(number, summary.num_rows)),
        )
        for (first, last), number in even_groups(statistics.segments_per_row).items()
    ]
    yield section(
        "Segments in a row",
        quiet(f"Rows by how many segments they hold; {summary.segments_per_row:,.2f} on average."),
        bar_chart(bars, class_="numbers"),
    )


def _overlong(summary: PlanSummary) -> Iterable[Markup]:
    if not summary.policies:
        return
    if not summary.records_longer:
        fits = f"None: every protein has at most the {summary.max_residues:,} residues that fit."
        yield section("Proteins longer than a row", quiet(fits))
        return
    text = (
        f"{counted(summary.records_longer, 'protein')} with more than the {summary.max_residues:,} residues that fit a "
        "row, and what each over-length policy makes of them."
    )
    headings = ("--overlong", "residues lost", "of all", "left out", "segments more")
    chosen = next((number for number, loss in enumerate(summary.policies) if loss.is_chosen), None)
    rows = [_loss(loss) for loss in summary.policies]
    yield section("Proteins longer than a row", quiet(text), table(headings, rows, chosen=chosen, class_="words"))


def _loss(loss: PolicyLoss) -> tuple[str, ...]:
    numbers = (
        f"{loss.residues_lost:,}",
        _together(percent(loss.share_lost)),
        f"{loss.records_dropped:,}",
        f"{loss.segments_more:,}",
    )
    return join([loss.name, element("span", POLICY_NAMES[loss.name], class_="detail")]), *numbers


def _waits(summary: PlanSummary) -> Iterable[Markup]:
    if not summary.waits:
        return
    orders = [order for order in summary.orders if all(order in wait.excess for wait in summary.waits)]
    headings = ("ranks", "rows a rank", "steps", *(_order_heading(order, summary.order) for order in orders))
    rows = [
        (
            f"{wait.world_size:,}",
            f"{wait.rows_per_rank:,}",
            f"{wait.num_steps:,}",
            *(_together(percent(wait.excess[order])) for order in orders),
        )
        for wait in summary.waits
    ]
    text = (
        "Attention costs the square of a segment's length, and in each step all ranks wait for the slowest: so much "
        "longer than the mean rank it computes, if rows are read as they are stored."
    )
    yield section("Ranks that wait", quiet(text), table(headings, rows, class_="words"))


def _order_heading(order: str, chosen: str) -> str:
    return f"{order} order (this plan)" if order == chosen else f"{order} order"
