"""Public protein corpora: what they are, where they lie, under which licence.

The table is data (``sources.json`` beside this file). A source has an edition for its current release and perhaps one
for older ones; an edition is a folder under a mirror and the names of files in it::

    https://ftp.uniprot.org/pub/databases/uniprot / current_release/uniref/uniref50 / uniref50.fasta.gz
    └ mirror ───────────────────────────────────┘   └ folder ─────────────────────┘   └ name ─────────┘
                                                                                      RELEASE.metalink

Where an edition has a metalink, the current release and the checksums come from it; elsewhere the release is part of
the path and the publisher gives no checksum. UniProt keeps an older release as one archive of several databases: the
table says which files of it are a source's. Nothing here opens a connection: the functions turn names into URLs.
Sizes and counts are of some recent release, to plan disk space with; ``size_status`` says how far to trust them.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import ConfigurationError

CURRENT = "current"
"""The name of whichever release is the newest."""
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""What may name the folder of a download, or its release."""
PROTEOME = "proteome"
DOMAINS = ("Archaea", "Bacteria", "Eukaryota", "Viruses")

SizeStatus = Literal["approximate", "unverified", "unknown"]

_TABLE = Path(__file__).with_name("sources.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file of a source: its name in the download's folder, and where it is."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """Where the files of a release are, with ``{release}`` where it stands in a path."""

    folder: str
    """Below the mirror."""
    format: str
    """What the files are, for people."""
    files: tuple[str, ...] = ()
    """Names, or none where ``pattern`` says which."""
    pattern: str | None = None
    """Regular expression of the names, where their number differs from release to release."""
    members: tuple[str, ...] = ()
    """Of archives of several databases: names of the files in them that are wanted, whichever of them there are."""
    metalink: str | None = None
    """Name of the metalink in the folder; none where the publisher gives no checksums."""
    note: str | None = None
    """What a person should know before or after fetching it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSource:
    """A public corpus."""

    name: str
    description: str
    licence: str
    """SPDX identifier."""
    num_bytes: int | None
    """Size of the files, in bytes."""
    size_status: SizeStatus
    """How far to trust the size: read at the publisher's for some release, an estimate, or not known."""
    num_records: int | None
    """Proteins."""
    records_of: str | None
    """The release that was counted."""
    mirrors: tuple[str, ...]
    """Base URLs, the first one is taken unless asked otherwise."""
    release_pattern: str
    """What a release looks like: a regular expression."""
    current: Edition
    previous: Edition | None
    """Where older releases are, if the publisher keeps them."""
    default_release: str | None = None
    """The newest release, where no metalink tells."""


@cache
def _table() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return document


@cache
def known_sources() -> tuple[PublicSource, ...]:
    """Every public corpus, in the order in which they are listed."""
    return tuple(_source(name, fields) for name, fields in _table()["sources"].items())


def _source(name: str, fields: dict[str, Any]) -> PublicSource:
    previous = fields["previous"]
    values = fields | {
        "mirrors": tuple(_table()["mirrors"][fields["mirrors"]]),
        "current": _edition(fields["current"]),
        "previous": None if previous is None else _archive(name, _table()["archives"][previous]),
    }
    return PublicSource(name=name, **values)


def _edition(fields: dict[str, Any]) -> Edition:
    return Edition(**fields | {name: tuple(fields.get(name, ())) for name in ("files", "members")})


def _archive(name: str, fields: dict[str, Any]) -> Edition:
    """An archive, whose row several sources share."""
    edition = _edition(fields)
    places = {"name": name}
    members = tuple(_filled(member, places) for member in edition.members)
    return replace(edition, members=members, note=edition.note and _filled(edition.note, places))


def looks_like_address(text: str) -> bool:
    """Whether a person means a URL or a path, rather than the name of a source."""
    return "/" in text or (text not in _table()["sources"] and Path(text).is_file())


def find_source(name: str, *, taxon: int | None = None, domain: str | None = None) -> PublicSource:
    """The source of a name.

    Args:
        name: A name of the table, or ``proteome:UP000000625``.
        taxon: NCBI taxonomy id of the proteome, where the table does not hold it.
        domain: Archaea, Bacteria, Eukaryota or Viruses, of the proteome.

    Raises:
        ConfigurationError: Unknown name, or a proteome of unknown place.
    """
    kind, colon, proteome = name.partition(":")
    if colon and kind == PROTEOME:
        return _proteome_source(proteome.upper(), taxon, domain)
    sources = {source.name: source for source in known_sources()}
    if name == PROTEOME:
        raise ConfigurationError("proteome: expected which one", hint="for example proteome:UP000000625")
    if name not in sources:
        near = get_close_matches(name.lower(), sources, n=1)
        raise ConfigurationError(
            f"{name}: expected a public corpus, a URL or a path",
            hint=f"did you mean {near[0]}?" if near else f"known are {', '.join(sources)}: see `pipeline sources`",
        )
    return sources[name]


def _proteome_source(proteome: str, taxon: int | None, domain: str | None) -> PublicSource:
    if not re.fullmatch(r"UP[0-9]{9}", proteome):
        raise ConfigurationError(f"proteome:{proteome}: expected UP and nine digits, such as UP000000625")
    known = _table()["proteomes"].get(proteome, {})
    taxon, domain = taxon or known.get("taxon"), (domain or known.get("domain", "")).capitalize()
    if taxon is None or domain not in DOMAINS:
        raise ConfigurationError(
            f"proteome:{proteome}: its place on the server depends on its taxon and domain, which are not known here",
            hint=f"add --taxon (NCBI id) and --domain ({', '.join(DOMAINS)}), as on uniprot.org/proteomes/{proteome}",
        )
    general = next(source for source in known_sources() if source.name == PROTEOME)
    places = {"proteome": proteome, "taxon": str(taxon), "domain": domain}
    edition = replace(
        general.current,
        folder=_filled(general.current.folder, places),
        files=tuple(_filled(file, places) for file in general.current.files),
    )
    organism = known.get("organism", f"taxon {taxon}")
    return replace(general, name=proteome, description=f"UniProt reference proteome of {organism}", current=edition)


def _filled(template: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def edition_of(source: PublicSource, release: str, newest: str) -> Edition:
    """Where a release is.

    Args:
        source: The corpus.
        release: A release, not ``current``.
        newest: The newest release.

    Raises:
        ConfigurationError: The release is malformed, or older ones are not kept.
    """
    if not re.fullmatch(source.release_pattern, release):
        raise ConfigurationError(
            f"{source.name}: release {release!r}: expected one like {source.default_release or '2025_03'}"
        )
    if release == newest or source.current.metalink is None:
        return source.current
    if source.previous is None:
        raise ConfigurationError(
            f"{source.name}: release {release}: the newest is {newest}, and the publisher keeps no older ones",
            hint="leave --release out",
        )
    return source.previous


def remote_files(
    source: PublicSource, edition: Edition, release: str, *, mirror: str | None = None, listed: Sequence[str] = ()
) -> tuple[RemoteFile, ...]:
    """The files of a release, in order.

    Args:
        source: The corpus.
        edition: One of its editions.
        release: The release.
        mirror: Base URL instead of the source's first mirror.
        listed: Names that the metalink lists, in order: needed where the edition knows its files by a pattern.
    """
    base = _folder_url(source, edition, release, mirror)
    names = [_filled(name, {"release": release}) for name in edition.files]
    if edition.pattern is not None:
        names += [name for name in listed if re.fullmatch(edition.pattern, name)]
    return tuple(RemoteFile(name=name, url=f"{base}/{name}") for name in names)


def metalink_url(source: PublicSource, edition: Edition, release: str, *, mirror: str | None = None) -> str | None:
    """Where the metalink of an edition is, or None where there is none."""
    if edition.metalink is None:
        return None
    return f"{_folder_url(source, edition, release, mirror)}/{edition.metalink}"


def source_url(source: PublicSource) -> str:
    """Where the current release is, for people: a file where there is one, else a folder."""
    release = source.default_release or CURRENT
    files = remote_files(source, source.current, release)
    return files[0].url if len(files) == 1 else f"{_folder_url(source, source.current, release, None)}/"


def _folder_url(source: PublicSource, edition: Edition, release: str, mirror: str | None) -> str:
    base = (mirror or source.mirrors[0]).rstrip("/")
    folder = _filled(edition.folder, {"release": release})
    return f"{base}/{folder}" if folder else base
