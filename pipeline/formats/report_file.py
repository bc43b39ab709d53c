"""``report.json`` of a corpus or a plan: a summary, the statistics that it comes from, and what they are of."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.errors import ArtefactError
from pipeline.formats.storage import read_json

REPORT_NAME = "report.json"
REPORT_VERSION = 1

_Summary = TypeVar("_Summary", bound=BaseModel)
_Statistics = TypeVar("_Statistics", bound=BaseModel)


def make_report(fingerprint: str, summary: BaseModel, statistics: BaseModel) -> dict[str, Any]:
    """What a ``report.json`` holds.

    Args:
        fingerprint: Of the artefact.
        summary: The numbers that people ask for.
        statistics: The counts that they come from.
    """
    return {
        "format_version": REPORT_VERSION,
        "fingerprint": fingerprint,
        "summary": summary.model_dump(mode="json"),
        "statistics": statistics.model_dump(mode="json"),
    }


def load_report(
    path: Path, kind: str, summary: type[_Summary], statistics: type[_Statistics]
) -> tuple[_Summary, _Statistics]:
    """What a ``report.json`` holds.

    Args:
        path: The file.
        kind: Of the artefact, for messages.
        summary: Model of its summary.
        statistics: Model of its statistics.

    Raises:
        ArtefactError: The file cannot be read or is no such report.
    """
    document = read_json(path)
    try:
        if document["format_version"] > REPORT_VERSION:
            raise ArtefactError(
                f"{path}: format_version {document['format_version']}, this package reads up to {REPORT_VERSION}",
                hint="install a newer version of pipeline",
            )
        return summary.model_validate(document["summary"]), statistics.model_validate(document["statistics"])
    except (KeyError, TypeError, ValidationError) as error:
        raise ArtefactError(f"{path}: expected the report of a {kind}, found {error}") from error
