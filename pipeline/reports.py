"""How results look: to a person as tables, to a program as one JSON object."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from pipeline.console import Console, bytes_text, column_table, count, fact_table, percent, reasons_text
from pipeline.formats.report_words import printable
from pipeline.formats.sources import PROTEOME, source_url

if TYPE_CHECKING:  # every command reports; none should load the stages of the others for it
    from pipeline.engines.runner import StageOutcome
    from pipeline.formats.artefact_report import ArtefactReport
    from pipeline.formats.manifest import Manifest
    from pipeline.formats.report_tables import ReportTable
    from pipeline.formats.sources import PublicSource
    from pipeline.stages.inspection import PackedRow, RowSegment, Search
    from pipeline.stages.verify.stage import Report

SEGMENT_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")
TOKENS_A_LINE = 64
BLOCKS = "▏▎▍▌▋▊▉█"
BAR_WIDTH = 28
"""Characters of the longest bar: with the columns beside it, a line fits a terminal of 80."""
FINDINGS_SHOWN = 20
REPORTED = ("corpus", "plan")
"""Kinds of artefact that have a report."""


def stage_document(outcome: "StageOutcome", out: Path) -> dict[str, Any]:
    """What a stage made, as JSON."""
    manifest = outcome.manifest
    return {
        "path": str(out),
        "kind": manifest.kind,
        "fingerprint": manifest.fingerprint,
        "was_finished": outcome.was_finished,
        "counts": manifest.counts,
        "reasons": manifest.reasons,
        "files": [file.path for file in manifest.files],
    }


def stage_sentence(outcome: "StageOutcome", out: Path) -> str:
    """What a stage made, in one line."""
    done = " was finished already" if outcome.was_finished else ""
    return f"{out}{done}: {artefact_sentence(outcome.manifest)}"


def artefact_sentence(manifest: "Manifest") -> str:
    """What an artefact holds, in one line."""
    return _SENTENCES[manifest.kind](manifest)


def _corpus_sentence(manifest: "Manifest") -> str:
    counts = manifest.counts
    read, kept, merged = counts["records_read"], counts["records"], counts["records_merged"]
    return (
        f"{count(read, 'proteins')} in, {kept:,} kept, {merged:,} merged as duplicates, "
        f"dropped {reasons_text(manifest.reasons)}"
    )


def _alignments_sentence(manifest: "Manifest") -> str:
    counts = manifest.counts
    kept = f"{count(counts['alignments'], 'alignments')} of {count(counts['aligned_rows'], 'rows')}"
    return f"{kept}, the deepest of {counts['most_rows']:,}, left out {reasons_text(manifest.reasons)}"


def _clusters_sentence(manifest: "Manifest") -> str:
    counts = manifest.counts
    suffixes = [suffix for suffix in ("", *(f"_{level}" for level in range(2, 10))) if f"clusters{suffix}" in counts]
    levels = [
        f"{count(counts[f'clusters{suffix}'], 'clusters')} ({counts[f'singletons{suffix}']:,} of one, the largest of "
        f"{counts[f'most_members{suffix}']:,})"
        for suffix in suffixes
    ]
    return f"{count(counts['records'], 'records')} in {', and within them '.join(levels)}{_splits_words(manifest)}"


def _splits_words(manifest: "Manifest") -> str:
    """Records of each split, where there are several or some are excluded."""
    counts = manifest.counts
    splits = {split: counts.get(f"{split}_records", 0) for split in ("train", "valid", "test")}
    if splits["train"] in {0, counts["records"]}:
        return ""
    told = ", ".join(f"{split} {number:,}" for split, number in splits.items())
    return f"; {told}, excluded {reasons_text(manifest.reasons)}"


def _plan_sentence(manifest: "Manifest") -> str:
    counts, room = manifest.counts, manifest.counts["rows"] * manifest.configuration["length"]
    return (
        f"{count(counts['segments'], 'segments')} in {count(counts['rows'], 'rows')}{_rows_of_splits(manifest)}, "
        f"{percent(counts['tokens'], room)} full, lower bound {counts['rows_lower_bound']:,} rows"
    )


def _rows_of_splits(manifest: "Manifest") -> str:
    splits = dict.fromkeys(str(file.split) for file in manifest.files if file.split)
    told = ", ".join(f"{split} {sum(file.rows for file in manifest.files_of(split)):,}" for split in splits)
    return f" ({told})" if len(splits) > 1 else ""


def _shards_sentence(manifest: "Manifest") -> str:
    files = [file for file in manifest.files if file.split]
    size = sum(file.bytes for file in files)
    rows = f"{count(manifest.counts['rows'], 'rows')}{_rows_of_splits(manifest)}"
    return f"{rows} in {count(len(files), 'shards')}, {size / 1e6:,.1f} MB"


def _download_sentence(manifest: "Manifest") -> str:
    checked = sum(source.checksum is not None for source in manifest.provenance)
    licences = ", ".join(sorted({source.licence or "licence not given" for source in manifest.provenance}))
    files = count(manifest.counts["files"], "files")
    return f"{files}, {bytes_text(manifest.counts['bytes'])}, {checked:,} checked against a checksum, {licences}"


_SENTENCES = {
    "download": _download_sentence,
    "corpus": _corpus_sentence,
    "alignments": _alignments_sentence,
    "clusters": _clusters_sentence,
    "plan": _plan_sentence,
    "shards": _shards_sentence,
}


def sources_document(sources: Sequence["PublicSource"]) -> dict[str, Any]:
    """The public corpora, as JSON."""
    return {"sources": [asdict(source) | {"url": source_url(source)} for source in sources]}


def show_sources(sources: Sequence["PublicSource"], console: Console) -> None:
    """The public corpora, for a person: on stdout, for it is what was asked for."""
    rows = [
        (_name(source), _size(source), source.licence, source.current.format, source_url(source)) for source in sources
    ]
    console.show(column_table("", ("name", "size", "licence", "format", "url"), rows))
    console.note("sizes differ from release to release; ~ approximate, ? not verified")


def _name(source: "PublicSource") -> str:
    return f"{source.name}:ID" if source.name == PROTEOME else source.name


def _size(source: "PublicSource") -> str:
    if source.num_bytes is None:
        return "?"
    return f"{bytes_text(source.num_bytes)} {'?' if source.size_status == 'unverified' else '~'}"


def verification_document(report: "Report") -> dict[str, Any]:
    """What verification found, as JSON."""
    return asdict(report) | {"is_sound": report.is_sound}


def show_verification(report: "Report", console: Console) -> None:
    """What verification found, for a person."""
    findings = report.findings
    for finding in findings[:FINDINGS_SHOWN]:
        console.warning(f"{report.folder}/{finding.path}: {finding.message}")
    if len(findings) > FINDINGS_SHOWN:
        console.warning(f"and {len(findings) - FINDINGS_SHOWN:,} more findings")
    compared = ", ".join(f"{number:,} {key.replace('_', ' ')}" for key, number in report.counts.items())
    verdict = "sound" if report.is_sound else f"NOT sound: {count(len(findings), 'findings')}"
    console.note(f"{report.folder}: {verdict} ({report.kind}; compared {compared})")


def show_summary(
    path: Path,
    manifest: "Manifest",
    facts: Sequence[tuple[str, str]],
    report: "ArtefactReport | None",
    console: Console,
) -> None:
    """What an artefact holds; of a corpus and of a plan also what its report says."""
    told = {"report": report and report.document} if manifest.kind in REPORTED else {}
    console.document({"path": str(path)} | manifest.model_dump(mode="json") | told)
    console.show(fact_table(str(path), facts))
    if report is not None:
        for sentence in ("", *report.sentences):
            console.show(Text(sentence))
        for table in report.tables:
            show_table(table, console)
    elif manifest.kind in REPORTED:
        console.note(f"{path}: there is no report.json: made before there were reports, or taken away")


def show_table(table: "ReportTable", console: Console) -> None:
    """A table of a report; a cell that is a fraction is a bar."""
    console.show("")
    console.show(
        column_table(table.heading, table.columns, [[_cell(cell, console) for cell in row] for row in table.rows])
    )
    if table.note:
        console.show(Text(table.note, style="dim"))


def _cell(cell: "str | float", console: Console) -> str:
    return cell if isinstance(cell, str) else _bar(cell, is_plain=not console.data.encoding.startswith("utf"))


def _bar(length: float, *, is_plain: bool) -> str:
    """A bar of blocks; of number signs where there are no blocks."""
    if is_plain:
        return "#" * round(length * BAR_WIDTH)
    whole, eighths = divmod(round(length * BAR_WIDTH * len(BLOCKS)), len(BLOCKS))
    return BLOCKS[-1] * whole + BLOCKS[:eighths][-1:]


def show_row(row: "PackedRow", console: Console) -> None:
    """A packed row: one colour a segment, accession and length beside the line where it begins."""
    console.document(asdict(row))
    console.show(
        Text(f"{row.split} row {row.row:,} of {row.file}: {count(len(row.segments), 'segments')}", style="bold")
    )
    for first in range(0, len(row.symbols), TOKENS_A_LINE):
        line = range(first, min(first + TOKENS_A_LINE, len(row.symbols)))
        beginning = [(slot, segment) for slot, segment in enumerate(row.segments) if segment.first_token in line]
        console.show(Text.assemble((f"{first:>6}  ", "dim"), _tokens(row, line), "  ", _labels(beginning)))


def _tokens(row: "PackedRow", line: range) -> Text:
    text = Text()
    for segment, tokens in groupby(line, key=lambda at: row.sequence_id[at]):
        style = "dim" if segment < 0 else _colour(segment)
        text.append("".join(row.symbols[at] for at in tokens), style=style)
    return text


def _labels(beginning: Iterable[tuple[int, "RowSegment"]]) -> Text:
    labels = [
        Text(f"{printable(segment.accession)} {segment.num_residues:,} aa{_from(segment)}", style=_colour(slot))
        for slot, segment in beginning
    ]
    return Text(", ").join(labels)


def _from(segment: "RowSegment") -> str:
    return f" from residue {segment.start + 1:,}" if segment.start else ""


def _colour(segment: int) -> str:
    return SEGMENT_COLOURS[segment % len(SEGMENT_COLOURS)]


def show_whereabouts(path: Path, accession: str, search: "Search", console: Console) -> None:
    """What became of a protein."""
    console.document({"path": str(path), "accession": accession} | asdict(search))
    if search:
        rows = [(printable(place.place), printable(place.story)) for place in search]
        console.show(column_table(f"{accession} in {path}", ("where", "what"), rows))
    else:
        console.note(f"{path}: {accession} is not in it")
        for sentence in search.explanation:
            console.note(f"  {printable(sentence)}")
