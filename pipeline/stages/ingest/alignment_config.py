"""What a person can ask for when alignments are ingested as they are."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.config import OnInvalid
from pipeline.formats.aligned import ALIGNMENT_FORMATS
from pipeline.formats.problems import OnError


class AlignmentsConfig(BaseModel):
    """Alignments as they are, for models that read them whole (``ingest --as alignments``)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    files: tuple[str, ...] = Field(min_length=1)
    """Input files; NAME=FILE names the database of a file."""
    file_format: str | None = Field(default=None, json_schema_extra={"enum": [*ALIGNMENT_FORMATS, None]})
    """Format of the files; by default told from the content of each, and A3M where that looks like FASTA."""
    on_error: OnError = OnError.STOP
    """What becomes of a row, or a whole alignment, that cannot be read."""
    on_invalid: OnInvalid = OnInvalid.DROP
    """What becomes of a row with characters that are neither residue nor gap; without its query an alignment goes."""
    alignments_per_part: int = Field(default=4_096, ge=1)
    """Parts are the least power of two that leaves at most this many alignments in each."""
    alignments_per_group: int = Field(default=8, ge=1)
    """Alignments in a Parquet row group, the unit of reading and shuffling."""
    licence: str | None = None
    """SPDX identifier of the input's licence."""
    release: str | None = None
    """Release of the input."""
    url: str | None = None
    """Where the input came from."""

    @field_validator("file_format")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in ALIGNMENT_FORMATS:
            raise ValueError(f"expected one of {', '.join(ALIGNMENT_FORMATS)}")
        return name

    def meaning(self) -> dict[str, Any]:
        """What decides the content of the artefact."""
        return self.model_dump(mode="json", exclude={"files", "licence", "release", "url"})
