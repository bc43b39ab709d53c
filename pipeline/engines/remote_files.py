"""Byte ranges of the files below an address: http(s):// with the client of downloads, everything else through fsspec.

::

    read(name, start, end) ──▶ fault ──▶ wait 1 s ──▶ fault ──▶ wait 2 s … 60 s ──▶ give up after ``patience`` s
                                            │
                                            └ told to the log "pipeline.streaming", not more often than every 10 s

Safe to read from several threads, to pickle, and to fork: what holds connections is made in each process when it is
first needed. Messages hold no secrets: neither user names and signatures of an address, nor options.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

import fsspec

from pipeline.engines.origin import FileChangedError, RangeRefusedError, RemoteFacts, without_secrets
from pipeline.engines.patience import Clock, ConnectionLostError, Patience, SystemClock, TransferOptions
from pipeline.engines.range_cache import StoppedError
from pipeline.engines.transfer_http import HttpOrigin
from pipeline.errors import ConfigurationError, IntegrityError, MissingExtraError, TransferError

LONGEST_REQUEST = 30.0
"""Seconds after which a request counts as lost, if ``patience`` is not shorter."""
_SECONDS_BETWEEN_SENTENCES = 10.0
_MOST_FAULTS = 64
"""Beyond which they are not counted: waits have long reached their longest."""

Result = TypeVar("Result")

_log = logging.getLogger("pipeline.streaming")

_OPENING = threading.Lock()
if hasattr(os, "register_at_fork"):  # a thread that held it does not live on in the child
    os.register_at_fork(before=_OPENING.acquire, after_in_parent=_OPENING.release, after_in_child=_OPENING.release)


class Files(Protocol):
    """Files somewhere, asked once: what goes wrong is a FileNotFoundError or one of ``engines.origin``."""

    def size(self, name: str, timeout: float) -> int:
        """Bytes of a file."""
        ...

    def read(self, name: str, start: int, end: int | None, timeout: float) -> bytes:
        """Bytes of a range; ``end`` None means the end of the file."""
        ...


class RemoteFiles:
    """The files below an address.

    Args:
        url: s3://, gs://, http(s)://, memory:// or what else fsspec knows.
        storage_options: For fsspec: endpoint, credentials, headers. Over HTTP they need the extra ``cloud``.
        patience: Seconds of faults after which a read fails.
        clock: Time.
    """

    def __init__(
        self, url: str, *, storage_options: Mapping[str, Any], patience: float, clock: Clock | None = None
    ) -> None:
        if not patience > 0:
            raise ConfigurationError(f"patience: expected more than 0 seconds, found {patience}")
        self._url = url
        self._options = dict(storage_options)
        self._patience = patience
        self._clock = clock or SystemClock()
        self._told = float("-inf")
        self._process = -1
        self.where = without_secrets(url).rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_files"} | {"_process": -1}

    def place(self, name: str) -> str:
        """The address of a file, without secrets."""
        return without_secrets(_below(self._url, name))

    def size(self, name: str, *, stop: threading.Event | None = None) -> int:
        """Bytes of a file.

        Raises:
            FileNotFoundError: There is no such file.
            TransferError: It cannot be had: no permission, no such host, no end of faults.
            StoppedError: ``stop`` was set between two attempts.
        """
        return self._persist(name, lambda files, timeout: files.size(name, timeout), stop)

    def read(self, name: str, start: int, end: int | None, *, stop: threading.Event | None = None) -> bytes:
        """The bytes ``start:end`` of a file; ``end`` None means the end of the file.

        Raises:
            FileNotFoundError: There is no such file.
            IntegrityError: It is not the one it was, or is shorter.
            TransferError: It cannot be had: no permission, no such host, no end of faults.
            StoppedError: ``stop`` was set between two attempts.
        """
        return self._persist(name, lambda files, timeout: self._range(files, name, start, end, timeout), stop)

    def _range(self, files: Files, name: str, start: int, end: int | None, timeout: float) -> bytes:
        try:
            data = files.read(name, start, end, timeout)
        except FileChangedError as error:
            raise IntegrityError(str(error), hint="open the folder anew, or make the shards again") from error
        except RangeRefusedError as error:
            self._check_size(files, name, end, timeout)
            hint = "download the folder and read it from disk"
            raise TransferError(f"{error}: the server gives no parts of files", hint=hint) from error
        if end is not None and len(data) != end - start:
            self._check_size(files, name, end, timeout)
            raise ConnectionLostError(f"{len(data):,} of {end - start:,} bytes came")
        return data

    def _check_size(self, files: Files, name: str, end: int | None, timeout: float) -> None:
        if end is not None and (size := files.size(name, timeout)) < end:
            raise IntegrityError(f"{self.place(name)}: expected at least {end:,} bytes, found {size:,}")

    def _persist(self, name: str, attempt: Callable[[Files, float], Result], stop: threading.Event | None) -> Result:
        stop = stop or threading.Event()
        deadline = _Deadline(self._clock, self._patience)
        patience = Patience(self.place(name), TransferOptions(attempts=1 << 30), deadline, notify=self._tell, stop=stop)
        while not stop.is_set():
            try:
                return attempt(self._opened(), max(1.0, min(LONGEST_REQUEST, deadline.left)))
            except ConnectionLostError as fault:
                if not deadline.left:
                    raise TransferError(
                        f"{self.place(name)}: {self._clean(fault.reason)}: gave up after {self._patience:,.0f} s",
                        hint="check that the server runs and can be reached; a larger `patience` waits longer",
                    ) from fault
                fault.reason = self._clean(fault.reason)
                patience.num_faults = min(patience.num_faults, _MOST_FAULTS)
                patience.endure(fault)
            except (TransferError, MissingExtraError) as error:
                error.message = self._clean(error.message)
                error.args = (error.message,)
                raise
        raise StoppedError

    def _opened(self) -> Files:
        with _OPENING:
            if self._process != os.getpid():
                is_http = urlsplit(self._url).scheme in {"http", "https"} and not self._options
                self._files: Files = _HttpFiles(self._url) if is_http else _FsspecFiles(self._url, self._options)
                self._process = os.getpid()
            return self._files

    def _tell(self, sentence: str) -> None:
        if (now := time.monotonic()) - self._told >= _SECONDS_BETWEEN_SENTENCES:
            self._told = now
            _log.warning("%s", sentence)

    def _clean(self, message: str) -> str:
        """The message without what was given as an option, which may be a key, and without line breaks."""
        for text in sorted(_texts(self._options), key=len, reverse=True):
            message = message.replace(text, "…")
        return " ".join(message.split())


class _Deadline:
    """A clock on which nobody waits longer than until a moment."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._end = clock.now() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - self._clock.now())

    def now(self) -> float:
        return self._clock.now()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        self._clock.wait(min(seconds, self.left), stop)


class _HttpOrigin(HttpOrigin):
    """One that says when there is no such file."""

    def _refusal(self, error: Any, *, is_detour: bool) -> Exception:
        if error.code in {404, 410} and not is_detour:
            return FileNotFoundError(self.where)
        return super()._refusal(error, is_detour=is_detour)


class _HttpFiles:
    def __init__(self, url: str) -> None:
        self._url = url
        self._known: dict[str, tuple[_HttpOrigin, RemoteFacts]] = {}

    def size(self, name: str, timeout: float) -> int:
        facts = self._ask(name, timeout)[1]
        if facts.num_bytes is None:
            raise TransferError(f"{without_secrets(_below(self._url, name))}: the server does not say its size")
        return facts.num_bytes

    def _ask(self, name: str, timeout: float) -> tuple[_HttpOrigin, RemoteFacts]:
        origin = _HttpOrigin(_below(self._url, name), timeout=timeout)
        self._known[name] = known = (origin, origin.facts())
        return known

    def read(self, name: str, start: int, end: int | None, timeout: float) -> bytes:
        _, facts = self._known.get(name) or self._ask(name, timeout)
        # One for each request: it holds the state of a redirection.
        origin = _HttpOrigin(_below(self._url, name), timeout=timeout)
        if (start, end) != (0, None) and not facts.takes_ranges:
            raise RangeRefusedError(origin.where)
        last_moment = time.monotonic() + timeout
        blocks = []
        for block in origin.blocks(facts, start, end):
            blocks.append(block)
            if time.monotonic() > last_moment:
                raise ConnectionLostError(f"only {sum(map(len, blocks)):,} bytes came in {timeout:.0f} s")
        return b"".join(blocks)


class _FsspecFiles:
    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._where = without_secrets(url)
        try:
            self._filesystem, self._path = fsspec.core.url_to_fs(url, **options)
        except ImportError as error:
            raise MissingExtraError(f"{self._where}: {error}", hint="pip install 'protein-pipeline[cloud]'") from error
        except (TypeError, ValueError) as error:
            hint = "check the address and storage_options"
            raise ConfigurationError(f"{self._where}: {type(error).__name__}: {error}", hint=hint) from None

    def size(self, name: str, timeout: float) -> int:
        self._filesystem.invalidate_cache()
        return int(self._ask("info", name, timeout)["size"])

    def read(self, name: str, start: int, end: int | None, timeout: float) -> bytes:
        return bytes(self._ask("cat_file", name, timeout, start=start, end=end))

    def _ask(self, function: str, name: str, timeout: float, **options: Any) -> Any:
        if self._filesystem.async_impl:
            options["timeout"] = timeout
        path = f"{self._path.rstrip('/')}/{name}"
        where = f"{self._where.rstrip('/')}/{name}"
        try:
            return getattr(self._filesystem, function)(path, **options)
        except FileNotFoundError:
            raise
        except PermissionError as error:
            hint = "check its permissions and the credentials in storage_options or in the environment"
            raise TransferError(f"{where}: may not be read", hint=hint) from error
        except (TypeError, ValueError, NotImplementedError) as error:
            hint = "check the address and storage_options"
            raise TransferError(f"{where}: {type(error).__name__}: {error}", hint=hint) from error
        except Exception as error:  # every file system has exceptions of its own
            if "Credential" in type(error).__name__:
                hint = "give credentials in storage_options or in the environment"
                raise TransferError(f"{where}: {error}", hint=hint) from error
            raise ConnectionLostError(_said(error)) from error


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "no answer in time"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _below(url: str, name: str) -> str:
    """The address of a file in a folder; a query, which may be a signature, stays at the end."""
    parts = urlsplit(url)
    if parts.scheme in {"http", "https"}:
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))
    return f"{url.rstrip('/')}/{name}"


def _texts(options: Any) -> set[str]:
    """Texts that may be secrets: values of options, those of nested ones too, that are no addresses."""
    if isinstance(options, Mapping):
        return {text for value in options.values() for text in _texts(value)}
    return {options} if isinstance(options, str) and len(options) > 3 and "://" not in options else set()
