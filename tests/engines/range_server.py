"""A small HTTP server for the tests, which does right or wrong as it is told; on 127.0.0.1 only.

``server.files`` maps paths to bytes and ``server.rules`` maps requests to misbehaviour: each rule is a function of the
request's number (from 0), of its path and of its Range header, and returns what is to be done otherwise, or None.
"""

import re
import threading
import time
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = 4096


@dataclass
class Answer:
    """What is done otherwise than right."""

    status: int | None = None
    headers: dict = field(default_factory=dict)
    """Replace those of a right answer; None takes one away."""
    cut_after: int | None = None
    """Bytes of the body after which the connection is closed."""
    body: bytes | None = None
    ignores_range: bool = False
    is_chunked: bool = False
    pause: float = 0.0
    """Seconds between blocks of the body."""


class RangeServer(ThreadingHTTPServer):
    """A context manager; ``server.url`` is where it is."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, files, rules=()):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.rules = list(rules)
        self.etags = {}
        self.sends_etag = True
        self.sends_date = True
        self.modified = "Wed, 18 Jun 2025 08:00:00 GMT"
        self.requests = []
        self.num_body_bytes = 0
        self.num_at_once = 0
        self.most_at_once = 0
        self.limit_at_once = None
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def etag(self, path):
        return self.etags.get(path, f'"{md5(self.files[path]).hexdigest()}"')

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *details):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # clients that leave are what the tests are about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        self.close_connection = True
        path = re.sub(r"^http://[^/]+", "", self.path)
        with server.lock:
            number = len(server.requests)
            server.requests.append((path, self.headers.get("Range"), dict(self.headers)))
            server.num_at_once += 1
            server.most_at_once = max(server.most_at_once, server.num_at_once)
            crowded = server.limit_at_once is not None and server.num_at_once > server.limit_at_once
        self.is_counted = True
        try:
            answers = (rule(number, path, self.headers.get("Range")) for rule in server.rules)
            answer = next((found for found in answers if found is not None), Answer())
            if crowded:
                answer = Answer(status=503)
            self.respond(path, answer)
        finally:
            self.leave()

    def leave(self):
        """The client may come again as soon as it has the last byte: so this is called before it is sent."""
        with self.server.lock:
            self.server.num_at_once -= self.is_counted
            self.is_counted = False

    def respond(self, path, answer):
        server = self.server
        if answer.status is not None or path not in server.files:
            self.send(answer.status or 404, {"Content-Length": "4"} | answer.headers, b"oops", answer)
            return
        data = server.files[path]
        headers = {"Accept-Ranges": "bytes"}
        if server.sends_etag:
            headers["ETag"] = server.etag(path)
        if server.sends_date:
            headers["Last-Modified"] = server.modified
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        holds = condition is None or condition in {headers.get("ETag"), headers.get("Last-Modified")}
        if span is None or answer.ignores_range or not holds:
            self.send(200, headers | {"Content-Length": str(len(data))} | answer.headers, data, answer)
            return
        first, last = int(span[1]), min(int(span[2] or len(data)), len(data) - 1)
        if first >= len(data):
            self.send(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"}, b"", answer)
            return
        part = data[first : last + 1]
        headers |= {"Content-Range": f"bytes {first}-{last}/{len(data)}", "Content-Length": str(len(part))}
        self.send(206, headers | answer.headers, part, answer)

    def send(self, status, headers, body, answer):
        body = body if answer.body is None else answer.body
        if answer.is_chunked:
            headers = headers | {"Content-Length": None, "Transfer-Encoding": "chunked"}
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        if len(body) <= BLOCK:
            self.leave()
        self.end_headers()
        whole = len(body)
        body = body[: answer.cut_after]
        for start in range(0, len(body), BLOCK):
            block = body[start : start + BLOCK]
            if answer.pause and len(body) > 1:
                time.sleep(answer.pause)
            if start + BLOCK >= len(body):
                self.leave()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if answer.is_chunked else block)
            with self.server.lock:
                self.server.num_body_bytes += len(block)
        if answer.is_chunked and len(body) == whole:
            self.wfile.write(b"0\r\n\r\n")
