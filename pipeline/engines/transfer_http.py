"""Files on HTTP servers.

The client is the standard library's: no package to install or to keep up with, it honours the proxy variables and
SSL_CERT_FILE, and unlike most clients it never unpacks a ``.gz`` that a server labels with a Content-Encoding. It opens
a connection for each request, which ranges of many mebibytes make up for::

    GET /uniref50.fasta.gz            206 Partial Content
    Range: bytes=0-8388607            Content-Range: bytes 0-8388607/8780552383      must be what was asked for
    If-Range: "67f1-1d2c"             ETag: "67f1-1d2c"                              must be what it was before

A range counts only if status, Content-Range and validators all say so (RFC 9110, sections 13.1.5, 14.4 and 15.3.7).
"""

import email.utils
import http.client
import re
import socket
import ssl
import time
from collections.abc import Generator
from typing import IO, Any
from urllib import error as urllib_error
from urllib import request as urllib_request
from urllib.parse import urlsplit

import pipeline
from pipeline.engines.origin import FileChangedError, RangeRefusedError, RemoteFacts, without_secrets
from pipeline.engines.patience import ConnectionLostError
from pipeline.errors import ConfigurationError, TransferError

BLOCK_BYTES = 256 << 10
"""What is read from a connection at a time, at most."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CROWDED = frozenset({429, 503})


class _CarefulRedirects(urllib_request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917  (the signature is that of the standard library)
        self, req: urllib_request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib_request.Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in {"http", "https"} or (before == "https" and after == "http"):
            raise TransferError(
                f"{without_secrets(req.full_url)}: redirects from {before} to {after}, which is refused"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _make_opener() -> urllib_request.OpenerDirector:
    # build_opener() would add handlers of file:, ftp: and data:, to which a server could then redirect.
    opener = urllib_request.OpenerDirector()
    for handler in (
        urllib_request.ProxyHandler(),
        urllib_request.HTTPHandler(),
        urllib_request.HTTPSHandler(),
        _CarefulRedirects(),
        urllib_request.HTTPDefaultErrorHandler(),
        urllib_request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class HttpOrigin:
    """A file on an HTTP server."""

    def __init__(self, url: str, *, timeout: float) -> None:
        if "@" in urlsplit(url).netloc:
            raise ConfigurationError(f"{without_secrets(url)}: a user name in the address is not supported")
        self.where = without_secrets(url)
        self._url = self._address = url
        self._timeout = timeout
        self._opener = _make_opener()

    def facts(self) -> RemoteFacts:
        """Asks for the first byte: that says more than HEAD, which many servers and signed URLs refuse."""
        try:
            with self._open({"Range": "bytes=0-0"}) as response:
                return _facts_of(response)
        except _UnsatisfiableError as error:
            if error.num_bytes == 0:
                return RemoteFacts(num_bytes=0)
        with self._open({}) as response:
            return _facts_of(response)

    def blocks(self, facts: RemoteFacts, start: int, end: int | None) -> Generator[bytes]:
        """The bytes of a range, in blocks as they come."""
        is_part = facts.takes_ranges
        try:
            with self._open(_range_headers(facts, start, end) if is_part else {}) as response:
                found = _facts_of(response)
                if found.contradicts(facts):
                    raise FileChangedError(f"{self.where}: the file changed on the server")
                if is_part:
                    _check_range(response, facts, start, end, self.where)
                yield from _read(response, None if end is None else end - start)
        except _UnsatisfiableError as error:
            raise FileChangedError(f"{self.where}: the server has no byte {start:,}") from error

    def _open(self, headers: dict[str, str]) -> http.client.HTTPResponse:
        # Where the last redirect led is kept to: mirrors differ in their validators. A fault leads back to the start.
        agent = {"User-Agent": f"protein-pipeline/{pipeline.__version__}", "Accept-Encoding": "identity"}
        address, self._address = self._address, self._url
        request = urllib_request.Request(address, headers=agent | headers)  # noqa: S310  (http and https only)
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=self._timeout)
        except urllib_error.HTTPError as error:
            with error:
                raise self._refusal(error, is_detour=address != self._url) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._fault(error) from error
        self._address = response.url
        return response

    def _refusal(self, error: urllib_error.HTTPError, *, is_detour: bool) -> Exception:
        answer = " ".join(f"the server answers {error.code} {error.reason}".split())
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _UnsatisfiableError(_total(error.headers.get("Content-Range", "")))
        if error.code in _PASSING:
            wait = _retry_after(error.headers.get("Retry-After"))
            return ConnectionLostError(answer, retry_after=wait, is_crowded=error.code in _CROWDED)
        if is_detour:  # a signed address, to which the first one redirected, has run out
            return ConnectionLostError(answer)
        return TransferError(f"{self.where}: {answer}", hint="check the address, the name and the release")

    def _fault(self, error: Exception) -> Exception:
        cause = error.reason if isinstance(error, urllib_error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint = "if your site has a certificate of its own, name its file in SSL_CERT_FILE"
            return TransferError(f"{self.where}: {cause.verify_message or cause}", hint=hint)
        if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
            return TransferError(f"{self.where}: no such host", hint="check the address and the network")
        if isinstance(error, http.client.InvalidURL):
            return TransferError(f"{self.where}: {error}", hint="check the address")
        return ConnectionLostError(_said(cause))


class _UnsatisfiableError(Exception):
    def __init__(self, num_bytes: int | None) -> None:
        super().__init__()
        self.num_bytes = num_bytes


def _said(cause: object) -> str:
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return str(cause) or type(cause).__name__


def _facts_of(response: http.client.HTTPResponse) -> RemoteFacts:
    etag = response.headers.get("ETag")
    is_part = response.status == http.HTTPStatus.PARTIAL_CONTENT
    length = response.headers.get("Content-Length", "")
    whole = int(length) if re.fullmatch(r"[0-9]{1,18}", length) and not response.chunked else None
    return RemoteFacts(
        num_bytes=_total(response.headers.get("Content-Range", "")) if is_part else whole,
        # A weak validator promises the same meaning, not the same bytes.
        etag=etag if etag and not etag.startswith("W/") else None,
        modified=response.headers.get("Last-Modified"),
        takes_ranges=is_part,
    )


def _total(content_range: str) -> int | None:
    match = re.fullmatch(r"bytes\s+(?:[0-9]+-[0-9]+|\*)/([0-9]{1,18})", content_range.strip())
    return int(match[1]) if match else None


def _range_headers(facts: RemoteFacts, start: int, end: int | None) -> dict[str, str]:
    headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
    if facts.validator:
        headers["If-Range"] = facts.validator
    return headers


def _check_range(
    response: http.client.HTTPResponse, facts: RemoteFacts, start: int, end: int | None, where: str
) -> None:
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        raise RangeRefusedError(f"{where}: the server sends the whole file where a part was asked for")
    last = facts.num_bytes if end is None else end
    given = response.headers.get("Content-Range", "none")
    if last is None or given.strip() not in {f"bytes {start}-{last - 1}/{total}" for total in (facts.num_bytes, "*")}:
        raise RangeRefusedError(f"{where}: bytes {start}-{end} were asked for, the server says it sends {given}")


def _read(response: http.client.HTTPResponse, wanted: int | None) -> Generator[bytes]:
    """Blocks until ``wanted`` bytes have come, or until the end; a body that is too short is a fault."""
    came = 0
    while wanted is None or came < wanted:
        room = BLOCK_BYTES if wanted is None else min(BLOCK_BYTES, wanted - came)
        try:
            block = response.read1(room)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ConnectionLostError(f"{_said(error)} after {came:,} bytes") from error
        if not block:
            break
        came += len(block)
        yield block
    if wanted is not None and came < wanted:
        raise ConnectionLostError(f"the connection closed after {came:,} of {wanted:,} bytes")


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header: a number, or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())
