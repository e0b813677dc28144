"""An HTTP server on the loopback interface that misbehaves on request, for tests of downloads."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Served:
    """One file on the server and how it is served.

    cut: the connection is closed after so many bytes of an answer, `cuts` times. status: answered instead of the file,
    `failures` times (-1: always), with `retry_after`. ranges, head: whether the server knows them. announced: the
    Content-Length told instead of the true one. shift: ranges begin so many bytes late. requests: headers of every
    request so far.
    """

    def __init__(self, content: bytes, **behaviour) -> None:
        self.content = content
        self.etag = '"1"'
        self.ranges, self.head = True, True
        self.cut, self.cuts = 0, 0
        self.status, self.failures = 0, 0
        self.announced: int | None = None
        self.shift = 0
        self.retry_after = ""
        self.__dict__.update(behaviour)
        self.requests: list[dict[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        served = self.server.files.get(self.path)
        if served is None or (not body and not served.head):
            return self._refuse(404 if served is None else 405)
        served.requests.append({"method": self.command, **dict(self.headers.items())})
        if served.failures:
            served.failures -= 1
            return self._refuse(served.status, served.retry_after)
        start, status = self._start(served)
        if start > len(served.content) or (status == 206 and start == len(served.content)):
            return self._refuse(416)
        return self._send(served, start, status, body)

    def _start(self, served: Served) -> tuple[int, int]:
        match = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None or not served.ranges:
            return 0, 200
        if self.headers.get("If-Range", served.etag) != served.etag:
            return 0, 200
        return int(match[1]) + served.shift, 206

    def _send(self, served: Served, start: int, status: int, body: bool) -> None:
        data, total = served.content[start:], len(served.content)
        self.send_response(status)
        self.send_header("Content-Length", str(served.announced or len(data)))
        if served.etag:
            self.send_header("ETag", served.etag)
        if served.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        if not body:
            return
        if served.cuts and len(data) > served.cut:
            served.cuts -= 1
            data = data[: served.cut]
            self.close_connection = True
        self.wfile.write(data)
        self.wfile.flush()
        if served.announced:
            self.close_connection = True

    def _refuse(self, status: int, retry_after: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def serving():
    """Yield the server; `server.files["/name"] = Served(...)`, `server.url` is its address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.files = {}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
