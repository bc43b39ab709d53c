"""Fetching one file: it comes whole and checked under its name, or not at all.

::

    ask the origin ──▶ facts ──▶ PartialFile ──▶ Connections ──▶ size, checksum ──▶ rename
         ▲                                            │                │
         │ the file changed, or ranges are refused    │                └ wrong: removed, IntegrityError
         └────────────────────────────────────────────┘

After any sequence of faults the file is byte for byte what the origin has (proved where a checksum is given, else as
far as sizes and validators tell), or an error says why not; then what was fetched is kept for the next attempt. Parts
are only put together where something says that they are of one file: without validator and checksum, a file comes in
one stream. Bytes are hashed as read back from the partial file, behind the connections, so that a digest costs no
second pass after the last byte and covers what an earlier attempt left. Memory: a block for each connection and one for
hashing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from pipeline.engines.connections import Connections
from pipeline.engines.digests import FileDigests
from pipeline.engines.origin import FileChangedError, Origin, RangeRefusedError, RemoteFacts
from pipeline.engines.partial_file import PartialFile
from pipeline.engines.patience import (
    Clock,
    ConnectionLostError,
    Notify,
    Patience,
    SystemClock,
    TransferOptions,
    persist,
)
from pipeline.engines.transfer_filesystem import FilesystemOrigin
from pipeline.engines.transfer_http import HttpOrigin
from pipeline.errors import ConfigurationError, InputFormatError, IntegrityError, TransferError
from pipeline.formats.checksums import Checksum

Progress = Callable[[int, int | None], None]
"""Takes the bytes that are there, and the bytes there will be if that is known."""

MOST_STARTS = 4
"""How often a file may change under our hands."""
SMALLEST_PIECE = 8 << 20
LARGEST_PIECE = 1 << 30
PIECES_A_CONNECTION = 16
HASHED_A_TICK = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file that is wanted."""

    url: str
    """http(s)://, s3://, gs://, file:// or a path."""
    path: Path
    """What it will be called."""
    num_bytes: int | None = None
    """The size that the publisher gives."""
    checksum: Checksum | None = None
    """The checksum that the publisher gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A file that came."""

    num_bytes: int
    digests: Mapping[str, str]
    """Hexadecimal, by algorithm: xxh3_64, xxh3_128, and that of the checksum."""


class _Transfer:
    def __init__(
        self, wanted: Wanted, options: TransferOptions, clock: Clock, progress: Progress, notify: Notify
    ) -> None:
        self.wanted = wanted
        self.options = options
        self.clock = clock
        self.progress = progress
        self.notify = notify
        self.origin = open_origin(wanted.url, timeout=options.read_timeout)

    def run(self) -> Received:
        takes_ranges = True
        for _ in range(MOST_STARTS):
            patience = Patience(self.origin.where, self.options, self.clock, notify=self.notify)
            facts = self._usable(persist(self.origin.facts, patience), takes_ranges=takes_ranges)
            try:
                return self._attempt(facts)
            except FileChangedError as change:
                self.notify(f"{change}: starting over")
            except RangeRefusedError as refusal:
                self.notify(f"{refusal}: starting over in one stream")
                takes_ranges = False
        raise TransferError(
            f"{self.origin.where}: the file changed {MOST_STARTS} times while it was fetched",
            hint="mirrors behind one name may differ: try another one, or later",
        )

    def _usable(self, facts: RemoteFacts, *, takes_ranges: bool) -> RemoteFacts:
        expected = self.wanted.num_bytes
        if None not in (expected, facts.num_bytes) and expected != facts.num_bytes:
            raise IntegrityError(
                f"{self.origin.where}: expected {expected:,} bytes from the publisher's list, "
                f"the server has {facts.num_bytes:,}",
                hint="the server may have gone on to another release: look at its current list, or try another mirror",
            )
        is_one_file = facts.validator is not None or self.wanted.checksum is not None
        parts = takes_ranges and facts.takes_ranges and is_one_file and facts.num_bytes is not None
        return replace(facts, takes_ranges=parts, num_bytes=expected if facts.num_bytes is None else facts.num_bytes)

    def _attempt(self, facts: RemoteFacts) -> Received:
        identity = facts.validator or str(self.wanted.checksum)
        with PartialFile(
            self.wanted.path,
            url=self.origin.where,
            num_bytes=facts.num_bytes,
            identity=identity if facts.takes_ranges else None,
            piece_bytes=self._piece_bytes(facts),
        ) as partial:
            if partial.num_resumed:
                self.notify(f"{self.wanted.path.name}: going on from {partial.num_resumed:,} bytes fetched earlier")
            digests = FileDigests(partial.descriptor, self.wanted.checksum)
            connections = Connections(
                self.origin, facts, partial, options=self.options, clock=self.clock, notify=self.notify
            )
            connections.run(self._watch(partial, digests))
            received = self._received(partial, digests)
            partial.finish()
        return received

    def _piece_bytes(self, facts: RemoteFacts) -> int:
        size = max(1, facts.num_bytes or 0)
        if not facts.takes_ranges:
            return size
        share = size // (PIECES_A_CONNECTION * self.options.connections)
        return self.options.piece_bytes or min(LARGEST_PIECE, max(SMALLEST_PIECE, share))

    def _watch(self, partial: PartialFile, digests: FileDigests) -> Callable[[], None]:
        written_down = self.clock.now()

        def tick() -> None:
            nonlocal written_down
            digests.follow(partial.pieces.prefix, edition=partial.edition, most=HASHED_A_TICK)
            if self.clock.now() - written_down >= self.options.checkpoint_seconds:
                partial.checkpoint()
                written_down = self.clock.now()
            self.progress(sum(partial.pieces.done), partial.pieces.num_bytes)

        return tick

    def _received(self, partial: PartialFile, digests: FileDigests) -> Received:
        digests.follow(partial.pieces.prefix, edition=partial.edition)
        received = Received(num_bytes=digests.position, digests=digests.hexadecimal())
        self.progress(received.num_bytes, received.num_bytes)
        found = (received.num_bytes, received.digests)
        if problem := disagreement(found, self.wanted.num_bytes, self.wanted.checksum):
            partial.discard()
            raise IntegrityError(
                f"{self.wanted.path}: {problem}, in what came from {self.origin.where}",
                hint="what came was removed; run the same command again, and if it comes to the same, the publisher's "
                "file and its list disagree",
            )
        return received


def transfer(
    wanted: Wanted,
    *,
    options: TransferOptions | None = None,
    progress: Progress | None = None,
    notify: Notify | None = None,
    clock: Clock | None = None,
) -> Received:
    """Fetch a file, going on from what an earlier attempt has left.

    Args:
        wanted: What, and what it will be called; a file of that name is replaced at the end.
        options: How.
        progress: Told how far it is, about ten times a second.
        notify: Told in a sentence about every fault that was survived.
        clock: Time, for waits.

    Returns:
        Size and digests of the file, which then has its name.

    Raises:
        TransferError: It cannot be had, or not now; what was fetched is kept.
        IntegrityError: It is not what the publisher says; what was fetched is removed.
        ConfigurationError: The address or the place is no good, or the disk is full; what was fetched is kept.
    """
    listeners = (progress or (lambda *_: None), notify or (lambda _: None))
    return _Transfer(wanted, options or TransferOptions(), clock or SystemClock(), *listeners).run()


def disagreement(found: tuple[int, Mapping[str, str]], num_bytes: int | None, checksum: Checksum | None) -> str | None:
    """How size and digests differ from what was promised, or None when they do not."""
    size, digests = found
    if num_bytes is not None and size != num_bytes:
        return f"expected {num_bytes:,} bytes, found {size:,}"
    if checksum is not None and digests[checksum.algorithm] != checksum.hexadecimal:
        return f"expected {checksum}, found {checksum.algorithm}:{digests[checksum.algorithm]}"
    return None


def fetch_document(
    url: str,
    *,
    most_bytes: int,
    options: TransferOptions | None = None,
    notify: Notify | None = None,
    clock: Clock | None = None,
) -> bytes:
    """A small file, into memory.

    Raises:
        TransferError: It cannot be had.
        InputFormatError: It is larger than ``most_bytes``.
    """
    options = options or TransferOptions()
    origin = open_origin(url, timeout=options.read_timeout)
    patience = Patience(origin.where, options, clock or SystemClock(), notify=notify or (lambda _: None))
    return persist(lambda: _read_whole(origin, most_bytes), patience)


def _read_whole(origin: Origin, most_bytes: int) -> bytes:
    facts = replace(origin.facts(), takes_ranges=False)
    data = bytearray()
    try:
        for block in origin.blocks(facts, 0, facts.num_bytes):
            data += block
            if len(data) > most_bytes:
                raise InputFormatError(f"{origin.where}: expected at most {most_bytes:,} bytes")
    except FileChangedError as change:
        raise ConnectionLostError(str(change)) from change
    return bytes(data)


def open_origin(url: str, *, timeout: float) -> Origin:
    """The origin of an address.

    Args:
        url: http(s)://, s3://, gs://, file:// or a path.
        timeout: Seconds without a byte after which a connection counts as lost.

    Raises:
        ConfigurationError: Another kind of address.
        MissingExtraError: The package that speaks to the store is not installed.
    """
    scheme = urlsplit(url).scheme.lower()
    if scheme not in ORIGINS:
        raise ConfigurationError(
            f"{url}: expected one of {', '.join(f'{name}://' for name in ORIGINS if name)} or a path",
            hint="most ftp:// servers have the same files under https://" if scheme == "ftp" else "check the address",
        )
    return ORIGINS[scheme](url, timeout=timeout)


class _OpenOrigin(Protocol):
    def __call__(self, url: str, *, timeout: float) -> Origin: ...


ORIGINS: dict[str, _OpenOrigin] = {
    "http": HttpOrigin,
    "https": HttpOrigin,
    "s3": FilesystemOrigin,
    "gs": FilesystemOrigin,
    "gcs": FilesystemOrigin,
    "file": FilesystemOrigin,
    "": FilesystemOrigin,
}
