"""The two JSON files that make a folder an artefact.

::

    run.json         first   what was asked for: configuration, and the fingerprints of the inputs
    …data files…             each appears by one rename
    manifest.json    last    what there is: files with their digests, counts, reasons, where it all came from

A folder without ``manifest.json`` is unfinished. The **fingerprint** of an artefact is xxh3_128 over canonical JSON
(sorted keys, no white space, UTF-8) of kind, format version, the configuration that changes meaning, and the digests of
the content. Paths, workers, memory, software versions, compression and layout are never part of it.
"""

import json
from collections.abc import Iterable, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

import xxhash
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

import pipeline
from pipeline.errors import ArtefactError
from pipeline.formats.storage import file_digest, read_json, write_json

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
RUN_NAME = "run.json"

Kind = Literal["download", "corpus", "alignments", "clusters", "plan", "shards"]

_NOT_MEANING = frozenset({"layout"})
_DOCUMENT_TABLES = frozenset({"splits.parquet"})
_REPORTED_PACKAGES = ("numpy", "pyarrow", "polars", "xxhash", "scipy")


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or not pure.parts:
        raise ValueError("must be relative and stay inside the folder")
    return path


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


_Document = TypeVar("_Document", bound=_Model)


class Source(_Model):
    """Where an input came from; passed on from stage to stage up to the dataset card."""

    name: str
    """Name of the file or of the public database."""
    bytes: int
    """Size in bytes."""
    xxh3_128: str
    """Digest of the bytes, hexadecimal."""
    release: str | None = None
    """Release of the database, such as 2025_03."""
    url: str | None = None
    """Where it was downloaded from."""
    licence: str | None = None
    """SPDX identifier of its licence, such as CC-BY-4.0."""
    checksum: str | None = None
    """The publisher's checksum, as algorithm:hexadecimal."""


class Input(_Model):
    """An artefact or a raw file that a stage read."""

    kind: str
    """Kind of artefact, or ``file``."""
    fingerprint: str
    """Fingerprint of the artefact, or digest of the file."""
    path: str
    """Relative to the folder of this manifest; where it was, not what it was."""


class File(_Model):
    """A data file of the artefact."""

    path: Annotated[str, AfterValidator(_inside)]
    """Relative to the folder; never leaves it."""
    split: str | None = None
    """train, valid or test, where the artefact has splits."""
    rows: int
    """Parquet rows."""
    bytes: int
    """Size in bytes."""
    xxh3_64: str
    """Digest of the bytes, hexadecimal."""
    content: str
    """Digest of the decoded columns, hexadecimal: the same for every compression and layout."""


class Run(_Model):
    """``run.json``: what was asked for, written before any data."""

    format_version: int = FORMAT_VERSION
    """Version of the format of this file."""
    kind: Kind
    """What the stage makes."""
    configuration: dict[str, Any]
    """Everything that decides what the files hold."""
    inputs: tuple[Input, ...]
    """What the stage reads, sorted by fingerprint."""


class Manifest(_Model):
    """``manifest.json``: what the folder holds, written last."""

    format_version: int = FORMAT_VERSION
    """Version of the format of this file and of the data beside it."""
    kind: Kind
    """What the folder holds."""
    fingerprint: str
    """xxh3_128 over canonical JSON of kind, format_version, configuration and content."""
    configuration: dict[str, Any]
    """The configuration that changes meaning."""
    inputs: tuple[Input, ...]
    """What the stage read."""
    files: tuple[File, ...]
    """The data files, in order."""
    counts: dict[str, int]
    """What was counted: records, residues, rows, tokens …"""
    reasons: dict[str, int]
    """Records dropped or excluded, by the name of the reason."""
    provenance: tuple[Source, ...]
    """Where the records came from."""
    software: dict[str, str]
    """Versions that wrote the artefact; no part of the fingerprint."""

    @property
    def tables(self) -> tuple[File, ...]:
        """The Parquet files, in order: parts or shards, without the documents beside them."""
        return tuple(
            file for file in self.files if file.path.endswith(".parquet") and file.path not in _DOCUMENT_TABLES
        )

    def files_of(self, split: str | None) -> tuple[File, ...]:
        """The files of one split, in order."""
        return tuple(file for file in self.files if file.split == split)


def canonical_json(document: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no white space: equal documents give equal bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(document: Any) -> str:
    """xxh3_128 over canonical JSON, hexadecimal."""
    return xxhash.xxh3_128_hexdigest(canonical_json(document))


def fingerprint_of(manifest: Manifest) -> str:
    """The fingerprint that a manifest must carry, from what else it says.

    Content is the fingerprint of every input that is an artefact and the content digest of every Parquet file, or of
    every file of a download. Rows per row group are part of it because the order of an epoch depends on them; the
    layout of columns is not.
    """
    meaning = {key: value for key, value in manifest.configuration.items() if key not in _NOT_MEANING}
    parents = sorted(source.fingerprint for source in manifest.inputs if source.kind != "file")
    files = [file.content for file in (manifest.files if manifest.kind == "download" else manifest.tables)]
    return digest_of(
        {
            "kind": manifest.kind,
            "format_version": manifest.format_version,
            "configuration": meaning,
            "content": [*parents, *files],
        }
    )


def make_manifest(
    kind: Kind,
    *,
    configuration: dict[str, Any],
    inputs: tuple[Input, ...],
    files: tuple[File, ...],
    counts: dict[str, int],
    reasons: dict[str, int],
    provenance: tuple[Source, ...],
) -> Manifest:
    """A manifest with its fingerprint and the versions of the software that runs."""
    unsealed = Manifest(
        kind=kind,
        fingerprint="",
        configuration=configuration,
        inputs=inputs,
        files=files,
        counts=counts,
        reasons=reasons,
        provenance=provenance,
        software=software_versions(),
    )
    return unsealed.model_copy(update={"fingerprint": fingerprint_of(unsealed)})


def add_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts of parts as those of the whole, keys sorted: sums, and of what is called «most …» the largest."""
    merged: dict[str, int] = {}
    for part in counts:
        for key, number in part.items():
            before = merged.get(key, 0)
            merged[key] = max(before, number) if key.startswith("most_") else before + number
    return dict(sorted(merged.items()))


def software_versions() -> dict[str, str]:
    """This package and the ones whose version can show in the files."""
    installed = {name: metadata.version(name) for name in _REPORTED_PACKAGES if find_spec(name) is not None}
    return {"pipeline": pipeline.__version__, **installed}


def document_entry(folder: Path, name: str) -> File:
    """The manifest's entry of a document beside the data, such as README.md: rows 0, content the bytes."""
    num_bytes, digest = file_digest(folder / name)
    return File(path=name, rows=0, bytes=num_bytes, xxh3_64=digest, content=digest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``: the act that finishes an artefact."""
    write_json(folder / MANIFEST_NAME, manifest.model_dump(mode="json"))


def write_run(folder: Path, run: Run) -> None:
    """Write ``run.json``: the act that starts an artefact."""
    write_json(folder / RUN_NAME, run.model_dump(mode="json"))


def read_run(folder: Path) -> Run | None:
    """``run.json`` of a folder, or None where there is none.

    Raises:
        ArtefactError: The file is there but is not one of ours.
    """
    path = folder / RUN_NAME
    return _validated(Run, path) if path.exists() else None


def is_finished(folder: Path) -> bool:
    """Whether the folder is a whole artefact."""
    return (folder / MANIFEST_NAME).is_file()


def read_manifest(folder: Path, *, kind: Kind | None = None) -> Manifest:
    """The manifest of a finished artefact.

    Args:
        folder: The artefact.
        kind: What it has to be; None takes any.

    Raises:
        ArtefactError: There is no manifest (unfinished, or no artefact at all), it cannot be read, or it is of another
            kind or of a newer format.
    """
    if not folder.is_dir():
        raise ArtefactError(
            f"{folder}: expected a folder that holds {'an artefact' if kind is None else 'a ' + kind}, found none"
        )
    if not is_finished(folder):
        raise _unfinished(folder, kind)
    manifest = _validated(Manifest, folder / MANIFEST_NAME)
    if kind is not None and manifest.kind != kind:
        raise ArtefactError(f"{folder}: expected an artefact of kind {kind}, found {manifest.kind}")
    return manifest


def find_input(folder: Path, manifest: Manifest, kind: Kind, *, override: Path | None = None) -> tuple[Path, Manifest]:
    """An artefact that another was made from: ``override`` if given, else by the relative path in the manifest.

    Args:
        folder: The artefact that was made.
        manifest: Its manifest.
        kind: Kind of the input.
        override: Where to look instead.

    Returns:
        Folder and manifest of the input.

    Raises:
        ArtefactError: It is not there, or is another one than the manifest names.
    """
    wanted = next(source for source in manifest.inputs if source.kind == kind)
    place = override or folder / wanted.path
    hint = f"say where the right one is: --{kind}"
    try:
        found = read_manifest(place, kind=kind)
    except ArtefactError as error:
        raise ArtefactError(f"{folder}: the {kind} it was made from is needed: {error.message}", hint=hint) from error
    if found.fingerprint != wanted.fingerprint:
        raise ArtefactError(
            f"{place}: expected the {kind} with fingerprint {wanted.fingerprint}, from which {folder} was made, "
            f"found {found.fingerprint}",
            hint=hint,
        )
    return place, found


def _unfinished(folder: Path, kind: Kind | None) -> ArtefactError:
    if (folder / RUN_NAME).exists():
        return ArtefactError(
            f"{folder}: unfinished: it has {RUN_NAME} but no {MANIFEST_NAME}",
            hint="run the command that made it again: it does only what is missing",
        )
    wanted = "artefact" if kind is None else kind
    return ArtefactError(f"{folder}: expected a finished {wanted}, found no {MANIFEST_NAME}", hint="check the path")


def _validated(model: type[_Document], path: Path) -> _Document:
    document = read_json(path)
    version = document.get("format_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ArtefactError(
            f"{path}: format_version {version}, this package reads up to {FORMAT_VERSION}",
            hint="install a newer version of pipeline",
        )
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise ArtefactError(
            f"{path}: {where}: {first['msg']}", hint="the file was changed or is not one of ours"
        ) from error
