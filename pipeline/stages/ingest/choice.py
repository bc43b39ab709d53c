"""What ``pipeline ingest`` makes of its files: a corpus of single proteins, or alignments as they are."""

from enum import StrEnum
from typing import Any

from pipeline.config import IngestConfig, checked
from pipeline.errors import ConfigurationError
from pipeline.stages.ingest.alignment_config import AlignmentsConfig
from pipeline.stages.ingest.alignment_stage import IngestAlignments
from pipeline.stages.ingest.stage import Ingest


class Made(StrEnum):
    """What records are."""

    CORPUS = "corpus"
    """Single proteins: every row of an alignment is one, exact duplicates are merged."""
    ALIGNMENTS = "alignments"
    """Whole alignments, rows and gaps as they are."""


def stage_for(made: str, values: dict[str, Any]) -> Ingest | IngestAlignments:
    """The stage that makes it.

    Args:
        made: A member of :class:`Made`.
        values: Fields of ``IngestConfig``, from the command line.

    Raises:
        ConfigurationError: There is no such thing, or a value cannot be or means nothing for alignments.
    """
    if made not in list(Made):
        raise ConfigurationError(f"--as: expected one of {', '.join(Made)}, found {made!r}")
    config: IngestConfig = checked(IngestConfig, values, where="command line")
    if made == Made.CORPUS:
        return Ingest(config)
    known = AlignmentsConfig.model_fields.keys()
    standard = IngestConfig(files=config.files)
    for name in IngestConfig.model_fields.keys() - known:
        if getattr(config, name) != getattr(standard, name):
            raise ConfigurationError(
                f"{name.replace('_', ' ')}: expected none with --as {Made.ALIGNMENTS}, found it set",
                hint="rows of alignments are kept as they are; choose them when batches are made",
            )
    return IngestAlignments(
        checked(AlignmentsConfig, {name: values[name] for name in known & values.keys()}, where="command line")
    )
