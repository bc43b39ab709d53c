"""What an artefact says about itself, for people: its manifest as names and values, and its report where it has one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.formats import corpus_summary, plan_summary
from pipeline.formats.manifest import Manifest
from pipeline.formats.plan_tables import plan_tables
from pipeline.formats.report_file import REPORT_NAME
from pipeline.formats.report_tables import ReportTable, report_tables

_NOTHING: tuple[Any, ...] = (None, [], {}, False, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtefactReport:
    """What ``report.json`` of a corpus or of a plan says."""

    document: dict[str, Any]
    """For programs: summary and statistics."""
    tables: tuple[ReportTable, ...]
    """For people."""
    sentences: tuple[str, ...] = ()
    """What it comes to."""


def facts_of(manifest: Manifest) -> list[tuple[str, str]]:
    """What a manifest says, as names and values."""
    facts = [("kind", manifest.kind), ("fingerprint", manifest.fingerprint)]
    facts += [(key.replace("_", " "), f"{number:,}") for key, number in manifest.counts.items()]
    facts += [(f"dropped: {reason}", f"{number:,}") for reason, number in manifest.reasons.items()]
    facts += [("efficiency", _efficiency(manifest))] if "rows" in manifest.counts else []
    told = {key: value for key, value in manifest.configuration.items() if value not in _NOTHING}
    facts += [(key.replace("_", " "), _value(value)) for key, value in told.items()]
    facts += [("files", f"{len(manifest.files):,}, {sum(file.bytes for file in manifest.files):,} bytes")]
    return facts + [("source", _source(source.name, source.release, source.licence)) for source in manifest.provenance]


def report_of(folder: Path, manifest: Manifest) -> ArtefactReport | None:
    """The report of a corpus or of a plan, None where there is none.

    Raises:
        ArtefactError: It cannot be read.
    """
    if not (folder / REPORT_NAME).exists():
        return None
    if manifest.kind == "corpus":
        corpus, statistics = corpus_summary.read_report(folder / REPORT_NAME)
        return ArtefactReport(
            document={"summary": corpus.model_dump(mode="json"), "statistics": statistics.model_dump(mode="json")},
            tables=tuple(report_tables(manifest, corpus, statistics)),
        )
    if manifest.kind == "plan":
        plan, counted = plan_summary.read_report(folder / REPORT_NAME)
        return ArtefactReport(
            document={"summary": plan.model_dump(mode="json"), "statistics": counted.model_dump(mode="json")},
            tables=tuple(plan_tables(plan, counted)),
            sentences=plan.sentences,
        )
    return None


def _efficiency(manifest: Manifest) -> str:
    counts, length = manifest.counts, manifest.configuration["length"]
    packed = 100 * counts["tokens"] / (counts["rows"] * length)
    padded = 100 * counts["tokens"] / (counts["segments"] * length)
    return f"{packed:.2f} % of the tokens are real ({padded:.2f} % with one protein a row)"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        set_ones = [f"{key.replace('_', ' ')} {_value(one)}" for key, one in value.items() if one not in _NOTHING]
        return str(value.get("name", ", ".join(set_ones) or "none"))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _source(name: str, release: str | None, licence: str | None) -> str:
    return ", ".join(part for part in (name, release, licence) if part)
