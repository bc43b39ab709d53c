"""What a person can ask of a stage: one frozen model for each; ``recipe`` holds them all.

The JSON Schema of recipes in ``schemas/`` is generated from these models. ``meaning()`` of a model is the part that
decides what an artefact holds; the rest (where files are, how they are laid out) may differ between equal artefacts.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.core.packing import MAX_SEGMENTS
from pipeline.core.pieces import Overlong
from pipeline.core.row_order import RowOrder
from pipeline.core.sampling import Sample
from pipeline.errors import ConfigurationError
from pipeline.formats.alignment import Insertions
from pipeline.formats.detection import FORMATS
from pipeline.formats.headers import DATABASE_NAMES
from pipeline.formats.problems import OnError
from pipeline.formats.sources import CURRENT, NAME_PATTERN


class OnInvalid(StrEnum):
    """What becomes of a record with characters that are no residue."""

    DROP = "drop"
    """The record is dropped and counted under the kind of its first such character."""
    REPLACE = "replace"
    """Each such character becomes X, and is counted."""
    ERROR = "error"
    """The run stops at the first one and says where it is."""


class Layout(StrEnum):
    """How tokens are stored in a shard."""

    LIST = "list"
    """fixed_size_list columns: every Parquet tool reads them."""
    BINARY = "binary"
    """fixed_size_binary columns, little-endian: several times faster to read and write."""


class Tail(StrEnum):
    """What becomes of the rows of an epoch that do not fill a global batch."""

    REPEAT = "repeat"
    """The last batch is filled with the first rows of the epoch's order."""
    PAD = "pad"
    """The last batch is filled with rows of padding."""
    DROP = "drop"
    """The last rows are left out of this epoch."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DownloadConfig(_Model):
    """A public corpus, or a file at an address, to a folder."""

    source: str = Field(min_length=1)
    """Name of a public corpus (`pipeline sources`), or http(s)://, s3://, gs://, file:// or a path."""
    release: str = CURRENT
    """Release of the corpus, such as 2025_03; of a file at an address, what to call its release."""
    name: str | None = Field(default=None, pattern=NAME_PATTERN)
    """What to call a file at an address; by default the start of its file name."""
    checksum: str | None = None
    """algorithm:hexadecimal of the one file, where the publisher gives none or one that is not enough."""
    licence: str | None = None
    """SPDX identifier of the licence of a file at an address, for the dataset card."""
    mirror: str | None = None
    """Base URL of another server with the same folders."""
    taxon: int | None = Field(default=None, ge=1)
    """NCBI taxonomy id of a reference proteome that is not among the known ones."""
    domain: str | None = None
    """Archaea, Bacteria, Eukaryota or Viruses, of such a proteome."""
    connections: int = Field(default=4, ge=1, le=32)
    """Parts of a file that are fetched at the same time, where the server allows it."""


class FilterConfig(_Model):
    """Which records are left out. Each filter has a name, under which it counts; the first that hits is the reason."""

    exclude: tuple[str, ...] = ()
    """Files of accessions (one a line) or of sequences (FASTA) to leave out. In a recipe, relative to the recipe."""
    sources: tuple[str, ...] = ()
    """Databases to take; none: all."""
    exclude_sources: tuple[str, ...] = ()
    """Databases to leave out."""
    taxa: tuple[int, ...] = ()
    """NCBI taxon ids to take, exactly these; none: all."""
    exclude_taxa: tuple[int, ...] = ()
    """NCBI taxon ids to leave out."""
    drop_fragments: bool = False
    """Leave out what its header calls a fragment."""
    min_length: int = Field(default=0, ge=0)
    """Fewest residues."""
    max_length: int | None = Field(default=None, ge=1)
    """Most residues."""
    max_nonstandard: float | None = Field(default=None, ge=0, le=1)
    """Largest fraction of residues that are none of the 20 standard ones."""
    max_low_complexity: float | None = Field(default=None, ge=0, le=1)
    """Largest fraction of residues in segments of low complexity (SEG: window 12, 2.2 and 2.5 bits)."""


class IngestConfig(_Model):
    """FASTA to corpus."""

    files: tuple[str, ...] = Field(min_length=1)
    """Input files; NAME=FILE names the database of a file. In a recipe, relative to the recipe."""
    file_format: str | None = Field(default=None, json_schema_extra={"enum": [*FORMATS, None]})
    """Format of the files; by default told from the content of each."""
    on_error: OnError = OnError.STOP
    """What becomes of a record that cannot be read."""
    on_invalid: OnInvalid = OnInvalid.DROP
    """What becomes of a record with characters that are no residue."""
    insertions: Insertions = Insertions.KEEP
    """Alignments: what becomes of residues outside the match columns. Gaps are always removed."""
    sequence_column: str = "sequence"
    """Tables: the column with the sequences."""
    accession_column: str | None = None
    """Tables: the column with the accessions; by default one named accession, id or name, else the first."""
    source_priority: tuple[str, ...] = DATABASE_NAMES
    """Which database's record survives when sequences are equal, first one first; names not listed come last."""
    records_per_part: int = Field(default=250_000, ge=1)
    """Parts are the least power of two that leaves at most this many records in each, before merging."""
    replace: tuple[str, ...] = ()
    """Letters to replace before anything is compared: UZOB=X, as ProtTrans does."""
    chain_breaks: bool = False
    """Whether | may stand between the chains of one record, as AMPLIFY and ESM3 have it; for their tokenizers."""
    filters: FilterConfig = FilterConfig()
    """Which records are left out."""
    keep_dropped: bool = False
    """Write what was dropped, and why, to dropped/ inside the corpus."""
    licence: str | None = None
    """SPDX identifier of the input's licence, for the dataset card: CC-BY-4.0 for UniProt."""
    release: str | None = None
    """Release of the input, for the dataset card: 2025_03."""
    url: str | None = None
    """Where the input came from, for the dataset card."""

    @field_validator("file_format")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in FORMATS:
            raise ValueError(f"expected one of {', '.join(FORMATS)}")
        return name

    def meaning(self) -> dict[str, Any]:
        """What decides the content of the corpus."""
        included = {"on_invalid", "source_priority", "records_per_part", "replace", "filters"}
        included |= {"file_format", "on_error", "insertions", "sequence_column", "accession_column"}
        meaning = self.model_dump(mode="json", include=included)
        if self.chain_breaks:  # said only where it is so: corpora from before it could be said are the same
            meaning["chain_breaks"] = True
        # What an exclusion file holds counts, not where it is: the stage adds the digests.
        meaning["filters"].pop("exclude")
        return meaning


class PackConfig(_Model):
    """Corpus to plan."""

    length: int = Field(default=1024, ge=8, le=1 << 20)
    """Tokens in a row, special tokens included."""
    tokenizer: str = "esm2"
    """Name of a tokenizer, or path of a tokenizer JSON file."""
    algorithm: Literal["first-fit-decreasing", "best-fit-decreasing", "optimal", "concatenate", "pad"] = (
        "first-fit-decreasing"
    )
    """How records are packed into rows; optimal needs the extra of that name and takes longer, concatenate runs them on
    from row to row, pad puts one record in each row."""
    overlong: Overlong = Overlong.CROP_RANDOM
    """What becomes of a record with more residues than a row holds."""
    alignment: int = Field(default=1, ge=1, le=1024)
    """Segments occupy their length rounded up to a multiple of this many tokens: 8 or 16 for FP8, context parallel."""
    max_segments: int = Field(default=MAX_SEGMENTS, ge=1, le=MAX_SEGMENTS)
    """Most segments in a row."""
    order: RowOrder = RowOrder.RANDOM
    """How rows follow each other: at random, so that neighbours cost attention about the same in sum, or by length."""
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    """The preparation seed: equal lengths, order of rows, order in a row, crops, draws from clusters."""
    epoch: int = Field(default=0, ge=0, lt=1 << 63)
    """Draws other random crops, and other records of clusters, for another epoch's plan; valid and test are the same in
    all of them."""
    sample: Sample = Sample.WEIGHT
    """Which records of train an epoch takes, by their clusters; valid and test are always kept whole."""
    level: int = Field(default=1, ge=1)
    """Level of the clusters that one-per-cluster draws from: 1 is the coarsest, 2 the next finer one."""

    @model_validator(mode="after")
    def _aligned(self) -> "PackConfig":
        if self.length % self.alignment:
            raise ValueError(f"length {self.length} is no multiple of alignment {self.alignment}")
        if self.level > 1 and self.sample is not Sample.ONE_PER_CLUSTER:
            raise ValueError(f"level {self.level}: expected sample {Sample.ONE_PER_CLUSTER.value}, the one that has it")
        return self


class ShardConfig(_Model):
    """Plan to shards. Rows in row groups and shards decide the order of an epoch; the layout changes nothing."""

    layout: Layout = Layout.LIST
    """How tokens are stored."""
    rows_per_group: int | None = Field(default=None, ge=1)
    """Rows in a Parquet row group, the unit of reading and shuffling; by default 512 Ki tokens."""
    rows_per_shard: int = Field(default=131_072, ge=1)
    """Rows in a shard at most; a part of the plan never shares a shard with another."""

    def group_rows(self, length: int) -> int:
        """Rows in a row group for rows of ``length`` tokens."""
        return self.rows_per_group or max(16, (1 << 19) // length)


def checked(model: type[BaseModel], values: dict[str, Any], *, where: str) -> Any:
    """Build a model from plain values.

    Args:
        model: A model of this module, of ``cluster_config`` or of ``recipe``.
        values: Its fields.
        where: What the values come from, for the message: a path, or ``command line``.

    Raises:
        ConfigurationError: A value is missing, unknown or out of range; the message names the key, what was expected
            and what was found.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {'; '.join(_sentence(item) for item in error.errors())}") from error


def _sentence(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if item["type"] == "missing":
        return f"{key}: missing"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{key}: {message}, found {item['input']!r}" if key else message


def split_source(entry: str) -> tuple[str | None, str]:
    """``NAME=FILE`` into name and file; a path that exists, or has a slash before the ``=``, has no name."""
    if Path(entry).exists():
        return None, entry
    name, equals, file = entry.partition("=")
    if equals and name and "/" not in name:
        return name, file
    return None, entry
