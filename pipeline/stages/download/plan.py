"""What a download comes to: release, files, sizes and checksums, before the first byte of them.

::

    uniref50 ──▶ RELEASE.metalink ──▶ <version> ──▶ current or older edition ──▶ names, URLs, sizes, checksums
    bfd-small ─▶ the one release there is ──────────────────────────────────────▶ name, URL
    https://… ─────────────────────────────────────────────────────────────────▶ name, URL

``settle`` says what can be said without asking a server; ``plan_download`` asks for the publisher's list where there
is one. Whatever a server says and becomes part of a path here is matched against what it may look like.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.config import DownloadConfig
from pipeline.engines.origin import without_secrets
from pipeline.engines.task_log import LOG_NAME
from pipeline.errors import ConfigurationError, InputFormatError, TransferError
from pipeline.formats.checksums import Checksum, parse_checksum
from pipeline.formats.manifest import MANIFEST_NAME, RUN_NAME
from pipeline.formats.metalink import Metalink, parse_metalink
from pipeline.formats.sources import (
    CURRENT,
    NAME_PATTERN,
    Edition,
    PublicSource,
    RemoteFile,
    edition_of,
    find_source,
    looks_like_address,
    metalink_url,
    remote_files,
)

Ask = Callable[[str], bytes]
"""Fetches a small document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """A file that will be fetched."""

    name: str
    url: str
    num_bytes: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadPlan:
    """What will be fetched."""

    name: str
    release: str | None
    licence: str | None
    files: tuple[PlannedFile, ...] = ()
    members: tuple[str, ...] = ()
    """Of an archive of several databases: names of the files in it that are wanted."""
    address: str | None = None
    """Of a file that is of no known corpus: then it is the address that tells it from others."""
    note: str | None = None
    """What a person should know of it."""

    @property
    def folder_name(self) -> str:
        """``NAME-RELEASE``."""
        return f"{self.name}-{self.release}" if self.release else self.name

    def request(self) -> dict[str, Any]:
        """What was asked for, without what only the publisher's list tells."""
        request = {"name": self.name, "release": self.release, "licence": self.licence}
        return request | ({"address": self.address} if self.address else {})

    def configuration(self) -> dict[str, Any]:
        """What was asked for, and what it comes to. Which mirror the files come from is no part of it."""
        files = [
            {"name": file.name, "bytes": file.num_bytes, "checksum": file.checksum and str(file.checksum)}
            for file in self.files
        ]
        return self.request() | {"files": files}

    def meaning(self) -> dict[str, Any]:
        """What the files are, for the manifest; of an archive of several databases also which files in it are meant."""
        members = {"members": list(self.members)} if self.members else {}
        return {"name": self.name, "release": self.release} | members


def settle(config: DownloadConfig) -> DownloadPlan | None:
    """Name and release, or None where only the publisher's server knows the release.

    Raises:
        ConfigurationError: Unknown source, or options that do not go together.
    """
    if looks_like_address(config.source):
        return _plan_of_address(config)
    source = _source_of(config)
    release = source.default_release if config.release == CURRENT else config.release
    return None if release is None else DownloadPlan(name=source.name, release=release, licence=source.licence)


def plan_download(config: DownloadConfig, ask: Ask) -> DownloadPlan:
    """Everything that will be fetched.

    Args:
        config: What is wanted.
        ask: Fetches the publisher's list.

    Raises:
        ConfigurationError: Unknown source or release, or options that do not go together.
        InputFormatError: The publisher's list is malformed, or does not hold what it should.
        TransferError: The list cannot be had.
    """
    if looks_like_address(config.source):
        return _plan_of_address(config)
    source = _source_of(config)
    release, edition, metalink = _release_of(source, config, ask)
    listed = [] if metalink is None or edition.pattern is None else metalink.matching(edition.pattern)
    files = remote_files(source, edition, release, mirror=config.mirror, listed=[entry.name for entry in listed])
    if not files:
        raise InputFormatError(f"{source.name}: expected files named {edition.pattern} in its list, found none")
    planned = tuple(_planned(file, metalink) for file in files)
    return DownloadPlan(
        name=source.name,
        release=release,
        licence=source.licence,
        files=_with_own_checksum(planned, config),
        members=edition.members,
        note=edition.note,
    )


def _source_of(config: DownloadConfig) -> PublicSource:
    if config.name or config.licence:
        raise ConfigurationError(
            f"{config.source}: --name and --licence are for addresses: of a public corpus they are known"
        )
    return find_source(config.source, taxon=config.taxon, domain=config.domain)


def _release_of(source: PublicSource, config: DownloadConfig, ask: Ask) -> tuple[str, Edition, Metalink | None]:
    """The release that is meant, where it is, and its list of files."""
    if source.current.metalink is None:
        release = source.default_release if config.release == CURRENT else config.release
        assert release is not None, "a source without a metalink has a default release"
        return release, edition_of(source, release, release), None
    metalink = _metalink(source, source.current, CURRENT, config, ask)
    newest = _version(metalink, source)
    release = newest if config.release == CURRENT else config.release
    edition = edition_of(source, release, newest)
    if edition is not source.current:
        metalink = _metalink(source, edition, release, config, ask)
        if (found := _version(metalink, source)) != release:
            raise InputFormatError(f"{metalink.where}: expected <version> {release}, found {found}")
    return release, edition, metalink


def _metalink(source: PublicSource, edition: Edition, release: str, config: DownloadConfig, ask: Ask) -> Metalink:
    url = metalink_url(source, edition, release, mirror=config.mirror)
    assert url is not None, "asked only of editions that have one"
    try:
        return parse_metalink(ask(url), where=url)
    except TransferError as error:
        raise TransferError(
            f"{source.name}: the list of its releases and checksums is needed: {error.message}",
            hint="try another --mirror, or give the address of the file itself instead of a name",
        ) from error


def _version(metalink: Metalink, source: PublicSource) -> str:
    # It becomes part of a path.
    if metalink.version is None or not re.fullmatch(source.release_pattern, metalink.version):
        raise InputFormatError(
            f"{metalink.where}: expected <version> to be a release like 2025_03, found {metalink.version}"
        )
    return metalink.version


def _planned(file: RemoteFile, metalink: Metalink | None) -> PlannedFile:
    if metalink is None:
        return PlannedFile(name=file.name, url=file.url)
    entry = metalink.file(file.name)
    return PlannedFile(name=file.name, url=file.url, num_bytes=entry.num_bytes, checksum=entry.checksum)


def _with_own_checksum(files: tuple[PlannedFile, ...], config: DownloadConfig) -> tuple[PlannedFile, ...]:
    if config.checksum is None:
        return files
    if len(files) > 1:
        raise ConfigurationError(f"--checksum is of one file, {config.source} has {len(files)}")
    return (replace(files[0], checksum=parse_checksum(config.checksum)),)


def _plan_of_address(config: DownloadConfig) -> DownloadPlan:
    for option in ("mirror", "taxon", "domain"):
        if getattr(config, option) is not None:
            raise ConfigurationError(f"--{option} is for public corpora, {config.source} is an address")
    file_name = _file_name(config.source)
    name = config.name or file_name.partition(".")[0]
    release = None if config.release == CURRENT else config.release
    for text, option in ((name, "--name"), (release or "none", "--release")):
        if not re.match(NAME_PATTERN, text):
            raise ConfigurationError(
                f"{without_secrets(config.source)}: {text!r} cannot name a folder",
                hint=f"give another {option}: letters, digits, dots, dashes and underscores",
            )
    return DownloadPlan(
        name=name,
        release=release,
        licence=config.licence,
        files=_with_own_checksum((PlannedFile(name=file_name, url=config.source),), config),
        address=without_secrets(config.source),
    )


def _file_name(address: str) -> str:
    path = unquote(urlsplit(address).path) if "://" in address else address
    name = PurePosixPath(path).name
    if not re.fullmatch(r"[^\x00-\x1f/.][^\x00-\x1f/]*", name) or name in {MANIFEST_NAME, RUN_NAME, LOG_NAME}:
        raise ConfigurationError(
            f"{without_secrets(address)}: expected an address that ends in the name of a file, found {name!r}"
        )
    return name
