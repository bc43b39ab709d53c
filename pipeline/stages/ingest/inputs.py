"""What ingest is given: files, folders of downloads, and which database each is from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import IngestConfig, split_source
from pipeline.errors import ConfigurationError
from pipeline.formats.compression import HEAD_BYTES, detect_compression
from pipeline.formats.manifest import Source, is_finished, read_manifest
from pipeline.formats.storage import file_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file, identified by its content."""

    path: Path
    source: str | None
    num_bytes: int
    digest: str
    compression: str
    origin: Source | None = None
    """What the manifest of a download says of the file."""

    def provenance(self, config: IngestConfig) -> Source:
        """What the manifest says of the file."""
        if self.origin is not None:
            return self.origin.model_copy(update={"bytes": self.num_bytes, "xxh3_128": self.digest})
        return Source(
            name=self.path.name,
            bytes=self.num_bytes,
            xxh3_128=self.digest,
            release=config.release,
            url=config.url,
            licence=config.licence,
        )


def identify(entries: Sequence[str]) -> tuple[InputFile, ...]:
    """The files that entries of the command line stand for, sorted by content.

    Raises:
        ConfigurationError: One is missing, no file, or given twice.
    """
    raw_files = []
    for source, name, origin in _expanded(entries):
        if not Path(name).is_file():
            found = "a folder" if Path(name).is_dir() else "a pipe or device" if Path(name).exists() else "nothing"
            raise ConfigurationError(f"{name}: expected a file, found {found}", hint="check the path")
        raw_files.append(_identified_file(Path(name), source, origin))
    paths = [raw.path.resolve() for raw in raw_files]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise ConfigurationError(f"{twice}: given twice", hint="its records would all be counted as duplicates")
    return tuple(sorted(raw_files, key=lambda raw: (raw.digest, raw.path.name)))


def _identified_file(path: Path, source: str | None, origin: Source | None) -> InputFile:
    num_bytes, digest = file_digest(path, bits=128)
    with path.open("rb") as file:
        compression = detect_compression(file.read(HEAD_BYTES))
    return InputFile(
        path=path, source=source, num_bytes=num_bytes, digest=digest, compression=compression, origin=origin
    )


def total_bytes(entries: Sequence[str]) -> int:
    """Bytes of all files, of those that are there."""
    paths = [Path(name) for _, name, _ in _expanded(entries)]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _expanded(entries: Sequence[str]) -> Iterator[tuple[str | None, str, Source | None]]:
    """Database name, path and origin of every file; a finished download stands for its files."""
    for entry in entries:
        source, name = split_source(entry)
        if not is_finished(Path(name)):
            yield source, name, None
            continue
        manifest = read_manifest(Path(name), kind="download")
        origins = {origin.name: origin for origin in manifest.provenance}
        for file in manifest.files:
            yield source, str(Path(name) / file.path), origins.get(Path(file.path).name)
