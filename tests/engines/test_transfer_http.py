"""Which faults pass and which do not, and how they are told; how the bytes come is in test_transfer.py."""

import http.client
import socket
import ssl
from email.message import Message
from urllib.error import HTTPError, URLError

import pytest

from pipeline.engines.patience import ConnectionLostError
from pipeline.engines.transfer_http import HttpOrigin
from pipeline.errors import TransferError


@pytest.fixture
def origin():
    return HttpOrigin("https://127.0.0.1/f", timeout=1)


def untrusted():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return URLError(error)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (untrusted(), "https://127.0.0.1/f: self-signed certificate .*SSL_CERT_FILE"),
        (URLError(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), "no such host"),
        (http.client.InvalidURL("URL can't contain control characters"), "control characters .*check the address"),
    ],
)
def test_faults_that_do_not_pass(origin, error, sentence):
    fault = origin._fault(error)
    assert isinstance(fault, TransferError)
    with pytest.raises(TransferError, match=sentence):
        raise fault


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError(socket.gaierror(socket.EAI_AGAIN, "Temporary failure")), "temporary failure"),
        (URLError(ConnectionRefusedError(111, "Connection refused")), "connection refused"),
        (URLError(TimeoutError("timed out")), "no answer in time"),
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset by peer"),
        (http.client.RemoteDisconnected("Remote end closed connection"), "Remote end closed connection"),
        (http.client.BadStatusLine("nonsense"), "nonsense"),
        (URLError(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")), "eof occurred"),
    ],
)
def test_faults_that_may_pass(origin, error, reason):
    fault = origin._fault(error)
    assert isinstance(fault, ConnectionLostError)
    assert reason in fault.reason


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("17", 17.0), (" 3 ", 3.0), ("soon", None), ("-5", None), ("Wed, 18 Jun 2025 08:00:00 GMT", 0.0)],
)
def test_when_to_come_back(origin, value, seconds):
    headers = Message()
    if value is not None:
        headers["Retry-After"] = value
    with HTTPError("https://127.0.0.1/f", 503, "Busy", headers, None) as error:
        fault = origin._refusal(error, is_detour=False)
    assert (fault.retry_after, fault.is_crowded) == (seconds, True)
