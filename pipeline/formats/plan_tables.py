"""The report of a plan as tables, for a terminal: what the page says, in the same order, without pictures.

The numbers are those of the summary and of the statistics; nothing is counted here.
"""

from collections.abc import Sequence
from itertools import zip_longest

from pipeline.formats.corpus_summary import share
from pipeline.formats.plan_statistics import PlanStatistics
from pipeline.formats.plan_summary import PlanSummary, against, even_groups
from pipeline.formats.plan_words import RUN_ON_NOTE, TOKEN_NAMES, fullness
from pipeline.formats.report_tables import Cell, ReportTable, grouped
from pipeline.formats.report_words import counted, percent

_EDGES = (1, *(2**power + 1 for power in range(4, 20)))
_MARK, _MARKED = " *", "* this plan"


def plan_tables(summary: PlanSummary, statistics: PlanStatistics) -> list[ReportTable]:
    """The tables that have something to show, in the order of the page.

    Args:
        summary: Of the plan.
        statistics: Of all its parts.
    """
    tables = (
        _tokens(summary),
        _algorithms(summary),
        _segment_lengths(statistics, summary),
        _segments_per_row(statistics, summary),
        _overlong(summary),
        _waits(summary),
    )
    return [table for table in tables if table.rows]


def _tokens(summary: PlanSummary) -> ReportTable:
    room = summary.num_rows * summary.row_length
    rows = [
        (TOKEN_NAMES[name], f"{number:,}".rjust(15), percent(share(number, room)).rjust(9))
        for name, number in summary.tokens.items()
        if number
    ]
    return ReportTable("Where the tokens go", ("", "tokens", "share"), rows)


def _algorithms(summary: PlanSummary) -> ReportTable:
    columns = ("", "rows", "over bound", "against this plan", "real tokens")
    algorithms = summary.algorithms
    rows = [(*against(algorithm, summary), fullness(algorithm.share_real)) for algorithm in algorithms]
    marked = [
        (name + _MARK * algorithm.is_chosen, *numbers)
        for algorithm, (name, *numbers) in zip(algorithms, rows, strict=True)
    ]
    note = f"{_MARKED}; lower bound: {counted(summary.rows_lower_bound, 'row')}; {RUN_ON_NOTE}"
    return ReportTable("Rows by algorithm", columns, _aligned(columns, marked) if len(rows) > 1 else [], note)


def _segment_lengths(statistics: PlanStatistics, summary: PlanSummary) -> ReportTable:
    median, most = summary.quantiles["0.5"], summary.quantiles["0.9"]
    note = f"median {median:,}, nine in ten up to {most:,}; special tokens included"
    groups = grouped(statistics.segment_tokens, _EDGES)
    rows = _bars(groups, summary.num_segments)
    return ReportTable("Tokens in a segment", ("tokens", "segments", "share", ""), rows, note)


def _segments_per_row(statistics: PlanStatistics, summary: PlanSummary) -> ReportTable:
    groups = even_groups(statistics.segments_per_row) if statistics.segments_per_row else {}
    rows = _bars(groups, summary.num_rows)
    note = f"{summary.segments_per_row:,.2f} on average"
    return ReportTable("Segments in a row", ("segments", "rows", "share", ""), rows, note)


def _overlong(summary: PlanSummary) -> ReportTable:
    columns = ("--overlong", "residues lost", "of all", "left out", "segments more")
    rows = [
        (
            loss.name + _MARK * loss.is_chosen,
            f"{loss.residues_lost:,}",
            percent(loss.share_lost),
            f"{loss.records_dropped:,}",
            f"{loss.segments_more:,}",
        )
        for loss in summary.policies
    ]
    longer, most = counted(summary.records_longer, "protein"), summary.max_residues
    note = f"{_MARKED}; {longer} with more than the {most:,} residues that fit"
    cells = _aligned(columns, rows) if summary.records_longer else []
    return ReportTable("Proteins longer than a row", columns, cells, note)


def _waits(summary: PlanSummary) -> ReportTable:
    orders = [order for order in summary.orders if all(order in wait.excess for wait in summary.waits)]
    names = [f"{order} (this plan)" if order == summary.order else order for order in orders]
    columns = ("ranks", "rows a rank", "steps", *names)
    rows = [
        (
            f"{wait.world_size:,}",
            f"{wait.rows_per_rank:,}",
            f"{wait.num_steps:,}",
            *(percent(wait.excess[order]) for order in orders),
        )
        for wait in summary.waits
    ]
    note = "how much longer the slowest rank computes attention than the mean one, rows read as they are stored"
    return ReportTable("Ranks that wait", columns, _aligned(columns, rows, text_columns=0), note)


def _bars(groups: dict[tuple[int, int], int], total: int) -> list[tuple[Cell, ...]]:
    most = max(groups.values(), default=0)
    return [
        (
            f"{first:,}" if first == last else f"{first:,} to {last:,}",
            f"{number:,}".rjust(11),
            percent(share(number, total)).rjust(9),
            share(number, most),
        )
        for (first, last), number in groups.items()
    ]


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> list[tuple[str, ...]]:
    """Numbers to the right, under their headings."""
    widths = [max(map(len, texts)) for texts in zip_longest(columns, *rows, fillvalue="")]
    return [
        tuple(
            text if column < text_columns else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
