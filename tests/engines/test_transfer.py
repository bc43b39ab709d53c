"""After any sequence of faults the file is byte for byte the original, or the command says why not."""

import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.request
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import xxhash

from pipeline.engines import partial_file
from pipeline.engines.partial_file import PartialFile
from pipeline.engines.patience import TransferOptions
from pipeline.engines.transfer import Wanted, fetch_document, transfer
from pipeline.engines.transfer_http import HttpOrigin
from pipeline.errors import (
    ConfigurationError,
    InputFormatError,
    IntegrityError,
    PipelineError,
    TransferError,
)
from pipeline.formats.checksums import Checksum, parse_checksum


def load(name):
    """A module beside this one: tests are no packages."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


range_server, faulty_proxy = load("range_server"), load("faulty_proxy")
Answer, RangeServer = range_server.Answer, range_server.RangeServer
Fault, FaultyProxy, Kind = faulty_proxy.Fault, faulty_proxy.FaultyProxy, faulty_proxy.Kind

PIECE = 10_000
DATA = random.Random(7).randbytes(12 * PIECE + 345)
OTHER = random.Random(8).randbytes(12 * PIECE + 345)
MD5 = Checksum("md5", hashlib.md5(DATA).hexdigest())
QUICK = TransferOptions(piece_bytes=PIECE, read_timeout=5, attempts=6, progress_bytes=1, checkpoint_seconds=0.0)


class FastClock:
    """A thousand times as fast as time; remembers what was waited for."""

    def __init__(self, speed=1000):
        self.speed = speed
        self.waits = []

    def now(self):
        return time.monotonic()

    def wait(self, seconds, stop):
        self.waits.append(seconds)
        stop.wait(seconds / self.speed)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with RangeServer({"/f": DATA}) as running:
        yield running


@pytest.fixture
def told():
    return []


@pytest.fixture
def fetch(tmp_path, told):
    def run(url, *, path=tmp_path / "f", num_bytes=None, checksum=None, options=QUICK, progress=None, clock=None):
        wanted = Wanted(url=url, path=path, num_bytes=num_bytes, checksum=checksum)
        return transfer(wanted, options=options, progress=progress, notify=told.append, clock=clock or FastClock())

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def document(path):
    return json.loads(path.with_name(path.name + ".partial.json").read_text())


class TestARightServer:
    def test_the_file_comes_in_parts_and_nothing_else_is_left(self, server, fetch, tmp_path, told):
        received = fetch(f"{server.url}/f", num_bytes=len(DATA), checksum=MD5)
        assert (tmp_path / "f").read_bytes() == DATA
        assert names(tmp_path) == ["f"]
        assert received.num_bytes == len(DATA)
        assert received.digests["md5"] == MD5.hexadecimal
        assert set(received.digests) == {"md5", "xxh3_64", "xxh3_128"}
        assert told == []
        assert sorted(span for _, span, _ in server.requests)[:2] == ["bytes=0-0", "bytes=0-9999"]
        assert len(server.requests) == 1 + 13

    def test_several_connections_at_once(self, server, fetch):
        server.rules = [lambda *_: Answer(pause=0.01)]
        fetch(f"{server.url}/f", options=TransferOptions(piece_bytes=PIECE, connections=3))
        assert server.most_at_once == 3
        server.most_at_once = 0
        fetch(f"{server.url}/f", options=TransferOptions(piece_bytes=PIECE, connections=1))
        assert server.most_at_once == 1

    @pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7])
    def test_files_of_any_size(self, server, fetch, tmp_path, size):
        server.files["/f"] = DATA[:size]
        checksum = parse_checksum(f"sha256:{hashlib.sha256(DATA[:size]).hexdigest()}")
        assert fetch(f"{server.url}/f", num_bytes=size, checksum=checksum).num_bytes == size
        assert (tmp_path / "f").read_bytes() == DATA[:size]
        assert names(tmp_path) == ["f"]

    def test_progress_grows_up_to_the_whole(self, server, fetch):
        seen = []
        server.rules = [lambda *_: Answer(pause=0.02)]
        fetch(f"{server.url}/f", progress=lambda done, total: seen.append((done, total)))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert {total for _, total in seen} == {len(DATA)}
        assert seen[-1] == (len(DATA), len(DATA))

    def test_a_label_of_compression_does_not_unpack_the_file(self, server, fetch, tmp_path):
        server.rules = [lambda *_: Answer(headers={"Content-Encoding": "x-gzip", "Content-Type": "text/plain"})]
        fetch(f"{server.url}/f", checksum=MD5)
        assert (tmp_path / "f").read_bytes() == DATA
        assert server.requests[0][2]["Accept-Encoding"] == "identity"

    def test_an_older_file_of_the_name_is_replaced_at_the_end_only(self, server, fetch, tmp_path):
        (tmp_path / "f").write_text("older")
        seen = []
        fetch(f"{server.url}/f", progress=lambda done, total: seen.append((tmp_path / "f").read_bytes()))
        assert set(seen) == {b"older"}
        assert (tmp_path / "f").read_bytes() == DATA

    def test_memory_does_not_grow_with_the_file(self, fetch, tmp_path):
        source = tmp_path / "large"
        with source.open("wb") as stream:
            stream.truncate(64 << 20)
        tracemalloc.start()
        fetch(str(source), options=TransferOptions(connections=1))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 24 << 20  # one block of 8 MiB, read and sliced, and one for hashing


class TestServersWithoutRanges:
    def test_the_whole_file_comes_in_one_stream(self, server, fetch, tmp_path):
        server.rules = [lambda *_: Answer(ignores_range=True)]
        fetch(f"{server.url}/f", checksum=MD5)
        assert (tmp_path / "f").read_bytes() == DATA
        assert [span for _, span, _ in server.requests] == ["bytes=0-0", None]

    def test_after_a_fault_the_stream_begins_anew(self, server, fetch, tmp_path):
        server.rules = [lambda number, *_: Answer(ignores_range=True, cut_after=50_000 if number < 3 else None)]
        fetch(f"{server.url}/f", checksum=MD5)
        assert (tmp_path / "f").read_bytes() == DATA
        assert names(tmp_path) == ["f"]

    def test_the_digests_are_of_the_stream_that_ended(self, server, fetch, tmp_path):
        server.sends_etag = server.sends_date = False

        def rule(number, path, span):
            if number == 2:
                server.files["/f"] = OTHER
            return Answer(ignores_range=True, pause=0.02, cut_after=80_000 if number < 2 else None)

        server.rules = [rule]
        received = fetch(f"{server.url}/f")
        assert (tmp_path / "f").read_bytes() == OTHER
        assert received.digests["xxh3_64"] == xxhash.xxh3_64_hexdigest(OTHER)

    @pytest.mark.parametrize("total", ["bytes */120345", "bytes */*", None])
    def test_a_server_that_finds_the_first_byte_too_much(self, server, fetch, tmp_path, total):
        server.rules = [lambda _, path, span: Answer(status=416, headers={"Content-Range": total}) if span else None]
        fetch(f"{server.url}/f")
        assert (tmp_path / "f").read_bytes() == DATA

    def test_a_server_that_stops_giving_ranges(self, server, fetch, tmp_path, told):
        server.rules = [lambda number, *_: Answer(ignores_range=number > 4)]
        fetch(f"{server.url}/f", checksum=MD5)
        assert (tmp_path / "f").read_bytes() == DATA
        assert "starting over in one stream" in told[-1]

    def test_one_refusal_costs_nothing_that_was_fetched(self, server, fetch, tmp_path):
        server.rules = [lambda number, *_: Answer(ignores_range=number == 5)]
        fetch(f"{server.url}/f", options=TransferOptions(piece_bytes=PIECE, connections=1))
        assert (tmp_path / "f").read_bytes() == DATA
        assert len(server.requests) == 1 + 13 + 1

    @pytest.mark.parametrize("cut", [None, 70_000])
    def test_a_stream_of_unknown_length(self, server, fetch, tmp_path, cut):
        server.rules = [
            lambda number, *_: Answer(ignores_range=True, is_chunked=True, cut_after=cut if number == 1 else None)
        ]
        assert fetch(f"{server.url}/f").num_bytes == len(DATA)
        assert (tmp_path / "f").read_bytes() == DATA
        assert names(tmp_path) == ["f"]

    def test_without_validator_or_checksum_no_parts_are_put_together(self, server, fetch, tmp_path):
        server.sends_etag = server.sends_date = False
        fetch(f"{server.url}/f")
        assert [span for _, span, _ in server.requests] == ["bytes=0-0", None]
        fetch(f"{server.url}/f", checksum=MD5)
        assert len(server.requests) == 2 + 1 + 13
        assert (tmp_path / "f").read_bytes() == DATA

    def test_a_weak_validator_is_none(self, server, fetch):
        server.etags["/f"] = 'W/"1"'
        fetch(f"{server.url}/f")
        assert {headers.get("If-Range") for _, _, headers in server.requests[1:]} == {server.modified}


class TestFaultsThatPass:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_a_server_that_is_out_of_order_for_a_while(self, server, fetch, tmp_path, status, told):
        server.rules = [lambda number, *_: Answer(status=status) if number in {0, 1, 4} else None]
        clock = FastClock()
        fetch(f"{server.url}/f", clock=clock, options=TransferOptions(piece_bytes=PIECE, connections=1))
        assert (tmp_path / "f").read_bytes() == DATA
        assert len(clock.waits) == 3
        assert f"the server answers {status}" in told[0]

    @pytest.mark.parametrize("asked", ["7", "date"])
    def test_retry_after_is_kept_to(self, server, fetch, asked):
        moment = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 9)) if asked == "date" else asked
        server.rules = [lambda n, *_: Answer(status=503, headers={"Retry-After": moment}) if n == 0 else None]
        clock = FastClock()
        fetch(f"{server.url}/f", clock=clock)
        assert 6 <= clock.waits[0] <= 9

    def test_a_server_that_wants_fewer_connections_gets_fewer(self, server, fetch, tmp_path):
        server.limit_at_once = 2
        server.rules = [lambda *_: Answer(pause=0.01)]
        clock = FastClock(speed=10)
        fetch(f"{server.url}/f", checksum=MD5, clock=clock)
        assert (tmp_path / "f").read_bytes() == DATA
        # Before the others have shown that they are served, two wait; then one too many leaves instead of coming back.
        assert len(clock.waits) <= 3
        assert len(server.requests) <= 1 + 13 + 2 + 2

    def test_a_short_body_is_gone_on_with(self, server, fetch, tmp_path, told):
        server.rules = [lambda number, *_: Answer(cut_after=4_096) if number == 1 else None]
        options = TransferOptions(piece_bytes=PIECE, connections=1, progress_bytes=1)
        fetch(f"{server.url}/f", options=options)
        assert (tmp_path / "f").read_bytes() == DATA
        assert server.requests[2][1] == "bytes=4096-9999"
        assert (
            told == [f"{server.url}/f: the connection closed after 4,096 of 10,000 bytes: trying again in 1 s"]
            or "4,096" in told[0]
        )

    @pytest.mark.parametrize(
        "kind", [Kind.CUT, Kind.RESET, Kind.STALL, Kind.DRIP, Kind.REFUSE], ids=lambda kind: kind.value
    )
    def test_a_line_that_fails(self, server, fetch, tmp_path, kind):
        faults = [
            Fault(),
            *(Fault(kind, after) for after in (1_000, 100 if kind is not Kind.DRIP else 2_000, 3_000, 6_000)),
        ]
        options = TransferOptions(piece_bytes=PIECE, read_timeout=0.4, attempts=6, progress_bytes=1)
        with FaultyProxy(server.url, faults) as proxy:
            fetch(f"{proxy.url}/f", checksum=MD5, options=options)
            assert proxy.faults == []
        assert (tmp_path / "f").read_bytes() == DATA

    def test_a_server_that_asks_for_hours_is_not_waited_for(self, server, fetch):
        server.rules = [lambda *_: Answer(status=503, headers={"Retry-After": "7200"})]
        with pytest.raises(TransferError, match=r"asks to come back in 2\.0 hours"):
            fetch(f"{server.url}/f")

    def test_a_signed_address_that_runs_out_is_asked_for_anew(self, server, fetch, tmp_path):
        server.files["/signed"] = DATA
        server.rules = [
            lambda _, path, span: Answer(status=302, headers={"Location": "/signed"}) if path == "/f" else None,
            lambda number, path, span: Answer(status=403) if number == 5 else None,
        ]
        fetch(f"{server.url}/f", checksum=MD5, options=TransferOptions(piece_bytes=PIECE, connections=1))
        assert (tmp_path / "f").read_bytes() == DATA
        assert [path for path, _, _ in server.requests].count("/f") == 2


class TestFaultsThatDoNotPass:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
    def test_a_refusal_is_told_at_once(self, server, fetch, tmp_path, status):
        server.rules = [lambda *_: Answer(status=status)]
        with pytest.raises(TransferError, match=f"/f: the server answers {status}") as caught:
            fetch(f"{server.url}/f")
        assert caught.value.exit_code == 2
        assert len(server.requests) == 1
        assert names(tmp_path) == []

    def test_no_connection_asks_again_once_one_has_failed_for_good(self, server, fetch):
        def rule(number, path, span):
            if span == "bytes=0-9999":
                time.sleep(0.2)
                return Answer(status=404)
            return Answer(status=500) if number else None

        server.rules = [rule]
        with pytest.raises(TransferError, match="404"):
            fetch(f"{server.url}/f", clock=FastClock(speed=1))
        before = len(server.requests)
        time.sleep(0.2)
        assert len(server.requests) == before == 1 + 4

    def test_a_server_that_is_gone_for_good(self, fetch, tmp_path):
        with RangeServer({}) as gone:
            url = gone.url
        clock = FastClock()
        with pytest.raises(TransferError, match="connection refused: gave up after 6 attempts"):
            fetch(f"{url}/f", clock=clock)
        assert len(clock.waits) == 5
        assert names(tmp_path) == []

    @pytest.mark.parametrize(
        ("address", "sentence"),
        [
            ("ftp://127.0.0.1/f", "expected one of http://"),
            ("http://user:secret@127.0.0.1/f", "a user name in the address is not supported"),
            ("http://127.0.0.1:1/a b", "URL can't contain control characters"),
            ("/no/such/file", "there is no such file"),
            ("/", "expected a file, found directory"),
        ],
    )
    def test_addresses_that_lead_nowhere(self, fetch, address, sentence):
        with pytest.raises(PipelineError, match=sentence) as caught:
            fetch(address)
        assert caught.value.exit_code == 2
        assert "secret" not in str(caught.value)

    def test_redirects_are_followed_but_not_everywhere(self, server, fetch, tmp_path):
        target = {"/f": "/g", "/g": "/h", "/loop": "/loop", "/file": "file:///etc/passwd", "/ftp": "ftp://127.0.0.1/f"}
        server.files = {"/h": DATA}
        server.rules = [
            lambda _, path, span: Answer(status=301, headers={"Location": target[path]}) if path in target else None
        ]
        fetch(f"{server.url}/f")
        assert (tmp_path / "f").read_bytes() == DATA
        with pytest.raises(TransferError, match="infinite loop"):
            fetch(f"{server.url}/loop")
        for name in ("file", "ftp"):
            with pytest.raises(TransferError, match=f"redirects from http to {name}, which is refused|is not allowed"):
                fetch(f"{server.url}/{name}")

    def test_no_redirect_from_https_to_http(self):
        opener = HttpOrigin("https://127.0.0.1/f", timeout=1)._opener
        handler = next(item for item in opener.handlers if isinstance(item, urllib.request.HTTPRedirectHandler))
        request = urllib.request.Request("https://127.0.0.1/f")
        with pytest.raises(TransferError, match="redirects from https to http"):
            handler.redirect_request(request, None, 302, "Found", http.client.HTTPMessage(), "http://127.0.0.1/f")
        assert handler.redirect_request(
            request, None, 302, "Found", http.client.HTTPMessage(), "https://127.0.0.1/g"
        ).full_url.endswith("/g")


class TestWrongBytes:
    @pytest.mark.parametrize(
        "given_range",
        ["bytes 1-10000/120345", "bytes 0-9998/120345", "items 0-9999/120345", "bytes */120345", None, "nonsense"],
    )
    def test_a_range_that_was_not_asked_for_is_not_taken(self, server, fetch, tmp_path, told, given_range):
        server.rules = [
            lambda number, path, span: (
                Answer(headers={"Content-Range": given_range}) if span == "bytes=0-9999" else None
            )
        ]
        fetch(f"{server.url}/f", options=TransferOptions(piece_bytes=PIECE, connections=1))
        assert (tmp_path / "f").read_bytes() == DATA
        assert "starting over in one stream" in told[-1]

    def test_another_total_is_another_file(self, server, fetch, tmp_path):
        server.rules = [
            lambda number, *_: Answer(headers={"Content-Range": "bytes 10000-19999/999999"}) if number == 2 else None
        ]
        fetch(f"{server.url}/f", options=TransferOptions(piece_bytes=PIECE, connections=1))
        assert (tmp_path / "f").read_bytes() == DATA

    @pytest.mark.parametrize("checksum", [MD5, parse_checksum(f"sha256:{hashlib.sha256(DATA).hexdigest()}")])
    def test_a_wrong_checksum_ends_it_and_nothing_is_kept(self, server, fetch, tmp_path, checksum):
        server.files["/f"] = OTHER
        with pytest.raises(IntegrityError, match=f"expected {checksum}, found {checksum.algorithm}:") as caught:
            fetch(f"{server.url}/f", checksum=checksum)
        assert caught.value.exit_code == 1
        assert "removed" in caught.value.hint
        assert names(tmp_path) == []
        server.files["/f"] = DATA
        fetch(f"{server.url}/f", checksum=checksum)
        assert (tmp_path / "f").read_bytes() == DATA

    def test_another_size_than_the_publishers_is_told_before_the_first_byte(self, server, fetch, tmp_path):
        with pytest.raises(IntegrityError, match="expected 5 bytes from the publisher's list, the server has 120,345"):
            fetch(f"{server.url}/f", num_bytes=5)
        assert len(server.requests) == 1
        assert names(tmp_path) == []

    def test_a_stream_of_another_size_than_the_publishers(self, server, fetch, tmp_path):
        server.rules = [lambda *_: Answer(ignores_range=True, is_chunked=True)]
        with pytest.raises(TransferError, match="closed after 120,345 of 120,346 bytes"):
            fetch(f"{server.url}/f", num_bytes=len(DATA) + 1)
        assert "f" not in names(tmp_path)

    def test_right_headers_over_wrong_bytes_are_found_by_the_checksum(self, server, fetch, tmp_path):
        server.rules = [lambda number, *_: Answer(body=OTHER[:PIECE]) if number == 3 else None]
        with pytest.raises(IntegrityError):
            fetch(f"{server.url}/f", checksum=MD5)
        assert names(tmp_path) == []


class TestAFileThatChanges:
    def test_it_is_fetched_anew(self, server, fetch, tmp_path, told):
        def change(number, path, span):
            if number == 6:
                server.files["/f"] = OTHER

        server.rules = [change]
        fetch(f"{server.url}/f")
        assert (tmp_path / "f").read_bytes() == OTHER
        assert any("the file changed on the server: starting over" in sentence for sentence in told)

    def test_by_its_date_where_there_is_no_etag(self, server, fetch, tmp_path):
        def change(number, path, span):
            if number == 6:
                server.files["/f"], server.modified = OTHER, "Wed, 03 Sep 2025 08:00:00 GMT"

        server.rules, server.sends_etag = [change], False
        fetch(f"{server.url}/f")
        assert (tmp_path / "f").read_bytes() == OTHER

    def test_a_server_that_never_agrees_with_itself(self, server, fetch, tmp_path):
        def change(number, path, span):
            server.etags["/f"] = f'"{number}"'

        server.rules = [change]
        with pytest.raises(TransferError, match="changed 4 times while it was fetched") as caught:
            fetch(f"{server.url}/f")
        assert "mirror" in caught.value.hint

    def test_between_two_attempts(self, server, fetch, tmp_path):
        server.rules = [lambda number, *_: Answer(status=404) if number > 6 else None]
        with pytest.raises(TransferError):
            fetch(f"{server.url}/f")
        assert sum(document(tmp_path / "f")["done"]) > 0
        server.rules, server.files["/f"] = [], OTHER
        fetch(f"{server.url}/f")
        assert (tmp_path / "f").read_bytes() == OTHER

    def test_to_a_shorter_one(self, server, fetch, tmp_path):
        def change(number, path, span):
            if number == 6:
                server.files["/f"] = OTHER[:PIECE]

        server.rules, server.sends_etag, server.sends_date = [change], False, False
        new = Checksum("md5", hashlib.md5(OTHER[:PIECE]).hexdigest())
        fetch(f"{server.url}/f", checksum=new)
        assert (tmp_path / "f").read_bytes() == OTHER[:PIECE]


class TestGoingOn:
    def test_only_what_is_missing_is_fetched(self, server, fetch, tmp_path, told):
        server.rules = [lambda number, *_: Answer(status=404) if number > 8 else None]
        with pytest.raises(TransferError):
            fetch(f"{server.url}/f", checksum=MD5, options=TransferOptions(piece_bytes=PIECE, connections=1))
        assert names(tmp_path) == ["f.partial", "f.partial.json"]
        assert document(tmp_path / "f")["done"][:9] == [PIECE] * 8 + [0]
        server.rules, server.num_body_bytes = [], 0
        received = fetch(f"{server.url}/f", checksum=MD5, options=TransferOptions(piece_bytes=777))
        assert server.num_body_bytes == len(DATA) - 8 * PIECE + 1  # and one byte to ask for the facts
        assert received.digests["md5"] == MD5.hexadecimal
        assert "going on from 80,000 bytes fetched earlier" in told[-1]
        assert names(tmp_path) == ["f"]

    def test_after_an_interrupt(self, server, fetch, tmp_path):
        def interrupt(done, total):
            if done > len(DATA) // 2:
                raise KeyboardInterrupt

        server.rules = [lambda *_: Answer(pause=0.02)]
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{server.url}/f", progress=interrupt)
        assert sum(document(tmp_path / "f")["done"]) > len(DATA) // 2
        server.rules, server.num_body_bytes = [], 0
        fetch(f"{server.url}/f", checksum=MD5)
        assert (tmp_path / "f").read_bytes() == DATA
        assert server.num_body_bytes < len(DATA) // 2 + 1

    def test_what_was_whole_but_not_yet_named_is_only_checked(self, server, fetch, tmp_path, monkeypatch):
        monkeypatch.setattr(PartialFile, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{server.url}/f", checksum=MD5)
        monkeypatch.undo()
        server.num_body_bytes = 0
        fetch(f"{server.url}/f", checksum=MD5)
        assert server.num_body_bytes == 1
        assert (tmp_path / "f").read_bytes() == DATA

    def test_damage_to_what_was_fetched_is_found_by_the_checksum_and_not_resumed_for_ever(
        self, server, fetch, tmp_path
    ):
        self.begin(server, fetch)
        with (tmp_path / "f.partial").open("r+b") as stream:
            stream.write(b"damage")
        with pytest.raises(IntegrityError):
            fetch(f"{server.url}/f", checksum=MD5)
        fetch(f"{server.url}/f", checksum=MD5)
        assert (tmp_path / "f").read_bytes() == DATA

    def begin(self, server, fetch, num_requests=6):
        server.rules = [lambda *_: Answer(status=404) if len(server.requests) > num_requests else None]
        with pytest.raises(TransferError):
            fetch(f"{server.url}/f", options=TransferOptions(piece_bytes=PIECE, connections=1))
        server.rules = []

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: "",
            lambda text: text[: len(text) // 2],
            lambda text: text.replace('"done"', '"undone"'),
            lambda text: json.dumps(json.loads(text) | {"done": [PIECE + 1] * 13}),
            lambda text: json.dumps(json.loads(text) | {"done": [-1] * 13}),
            lambda text: json.dumps(json.loads(text) | {"done": [PIECE] * 12}),
            lambda text: json.dumps(json.loads(text) | {"piece_bytes": 0}),
            lambda text: json.dumps(json.loads(text) | {"num_bytes": len(DATA) - 1}),
            lambda text: json.dumps(json.loads(text) | {"identity": "another"}),
        ],
    )
    def test_a_document_that_cannot_be_right_is_not_believed(self, server, fetch, tmp_path, change):
        self.begin(server, fetch)
        path = tmp_path / "f.partial.json"
        path.write_text(change(path.read_text()))
        (tmp_path / "f.partial").write_bytes(OTHER)
        fetch(f"{server.url}/f")
        assert (tmp_path / "f").read_bytes() == DATA

    def test_a_document_without_its_bytes_is_not_believed(self, server, fetch, tmp_path):
        self.begin(server, fetch)
        (tmp_path / "f.partial").unlink()
        fetch(f"{server.url}/f")
        assert (tmp_path / "f").read_bytes() == DATA

    def test_two_processes_do_not_write_one_file(self, server, fetch, tmp_path):
        with (
            PartialFile(tmp_path / "f", url="x", num_bytes=10, identity="a", piece_bytes=10),
            pytest.raises(ConfigurationError, match="another process is fetching this file"),
        ):
            fetch(f"{server.url}/f")
        fetch(f"{server.url}/f")
        assert (tmp_path / "f").read_bytes() == DATA


KILLED = """
import sys, time
from pathlib import Path
from pipeline.engines.patience import TransferOptions
from pipeline.engines.transfer import Wanted, transfer
from pipeline.formats.checksums import parse_checksum
print("begun", flush=True)
transfer(
    Wanted(url=sys.argv[1], path=Path(sys.argv[2]), checksum=parse_checksum(sys.argv[3])),
    options=TransferOptions(piece_bytes=10_000, checkpoint_seconds=0.02),
)
"""


def test_kill_9_at_any_moment(server, tmp_path):
    # A quarter of a second for the whole file, in 13 pieces: most kills come in the middle.
    server.rules = [lambda *_: Answer(pause=0.03)]
    command = [sys.executable, "-c", KILLED, f"{server.url}/f", str(tmp_path / "f"), str(MD5)]
    rng = random.Random(3)
    kills = 0
    kept = [0]
    for _ in range(12):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            try:
                process.wait(rng.uniform(0.02, 0.25) if kills < 8 else 60)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
        if (tmp_path / "f").exists():  # one may be killed after it has named the file
            break
        if (tmp_path / "f.partial.json").exists():
            kept.append(sum(document(tmp_path / "f")["done"]))
    assert kills >= 2
    assert kept == sorted(kept)
    assert kept[-1] > 0
    assert (tmp_path / "f").read_bytes() == DATA
    assert "f.partial" not in names(tmp_path)
    # Nothing is fetched twice but what was on its way and what came since the last checkpoint.
    assert server.num_body_bytes < len(DATA) + (kills + 1) * 6 * PIECE


class TestAFullDisk:
    def test_too_little_room_is_told_before_the_first_byte(self, server, fetch, tmp_path, monkeypatch):
        monkeypatch.setattr(partial_file.shutil, "disk_usage", lambda _: FreeSpace(100_000))
        with pytest.raises(ConfigurationError, match="120,345 more bytes are needed, 100,000 are free") as caught:
            fetch(f"{server.url}/f")
        assert caught.value.exit_code == 2
        assert len(server.requests) == 1

    def test_a_disk_that_fills_up_keeps_what_it_has(self, server, fetch, tmp_path, monkeypatch):
        real, room = os.pwrite, [60_000]

        def pwrite(descriptor, data, offset):
            if len(data) > room[0]:
                raise OSError(28, "No space left on device")
            room[0] -= len(data)
            return real(descriptor, data, offset)

        monkeypatch.setattr(partial_file.os, "pwrite", pwrite)
        with pytest.raises(ConfigurationError, match="cannot be written: No space left on device") as caught:
            fetch(f"{server.url}/f")
        assert "kept" in caught.value.hint
        assert sum(document(tmp_path / "f")["done"]) > 20_000
        room[0], server.num_body_bytes = 1_000_000, 0
        fetch(f"{server.url}/f", checksum=MD5)
        assert (tmp_path / "f").read_bytes() == DATA
        assert server.num_body_bytes < 101_000

    def test_on_a_real_one(self, server, fetch, tmp_path):
        folder = tmp_path / "small"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a small tmpfs")
        try:
            (folder / "ballast").write_bytes(bytes(100_000))
            with pytest.raises(ConfigurationError, match="more bytes are needed"):
                fetch(f"{server.url}/f", path=folder / "f")
            (folder / "ballast").unlink()
            server.rules = [lambda number, *_: (folder / "ballast").write_bytes(bytes(70_000)) and None
                            if number == 2 else None]  # fmt: skip
            options = TransferOptions(piece_bytes=PIECE, connections=1, checkpoint_seconds=0)
            with pytest.raises(ConfigurationError, match="No space left on device"):
                fetch(f"{server.url}/f", path=folder / "f", options=options)
            assert "f" not in names(folder)
            (folder / "ballast").unlink()
            server.rules = []
            fetch(f"{server.url}/f", path=folder / "f", checksum=MD5)
            assert (folder / "f").read_bytes() == DATA
        finally:
            subprocess.run(["umount", str(folder)], check=True)

    def test_a_folder_that_cannot_be_made(self, server, fetch, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="cannot be written"):
            fetch(f"{server.url}/f", path=tmp_path / "file" / "f")


class FreeSpace:
    def __init__(self, free):
        self.free = free


@pytest.mark.parametrize("seed", range(12))
def test_any_faults_give_the_file_or_say_why_not(server, fetch, tmp_path, seed):
    rng = random.Random(seed)
    kinds = [kind for kind in Kind if kind not in {Kind.DRIP, Kind.STALL}] + [Kind.STALL] * (seed % 3 == 0)
    schedule = faulty_proxy.random_faults(rng, 14, PIECE + 500, kinds)
    options = TransferOptions(
        piece_bytes=rng.choice([3_000, PIECE, 50_000]),
        connections=rng.choice([1, 2, 4]),
        read_timeout=0.3,
        attempts=rng.choice([2, 8]),
        progress_bytes=1,
        checkpoint_seconds=0,
    )
    server.sends_etag, server.sends_date = rng.choice([(True, True), (True, False), (False, True), (False, False)])
    failures = []
    with FaultyProxy(server.url, schedule) as proxy:
        for _ in range(20):
            try:
                fetch(f"{proxy.url}/f", num_bytes=len(DATA), checksum=MD5, options=options)
                break
            except PipelineError as error:
                failures.append(error)
                assert not (tmp_path / "f").exists()
    assert (tmp_path / "f").read_bytes() == DATA
    assert names(tmp_path) == ["f"]
    # Only a corrupted line gives wrong bytes; then that is said.
    corrupts = any(fault.kind is Kind.CORRUPT for fault in schedule)
    assert corrupts or all(isinstance(failure, TransferError) for failure in failures)


def test_a_proxy_of_the_environment_is_used(server, fetch, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    fetch("http://files.example/f", checksum=MD5)
    assert (tmp_path / "f").read_bytes() == DATA
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch(f"{server.url}/f")


def test_a_document_is_read_whole_and_never_too_large(server):
    server.rules = [lambda number, *_: Answer(status=503) if number == 0 else None]
    assert fetch_document(f"{server.url}/f", most_bytes=len(DATA), clock=FastClock()) == DATA
    with pytest.raises(InputFormatError, match="at most 100,000 bytes"):
        fetch_document(f"{server.url}/f", most_bytes=100_000)


def test_no_connection_outlives_its_transfer(server, fetch):
    before = threading.active_count()
    fetch(f"{server.url}/f")
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
