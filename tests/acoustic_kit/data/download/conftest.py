"""A server on this machine that breaks off, is slow, lies about lengths and sends wrong bytes."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from acoustic_kit.data import download


@dataclass
class Server:
    """What the next requests meet, and what they were."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    etag: str | None = '"one"'
    status: int = 200
    length: int | None = 0  # added to the true Content-Length; None sends chunks without one
    break_after: list[int] = field(default_factory=list)  # bytes of body, one number a request
    pause: float = 0  # seconds after each 64 kB
    asked: list[str | None] = field(default_factory=list)  # the Range of each request


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        of: Server = self.server.of  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        if path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/moved"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        of.asked.append(self.headers["Range"])
        if path not in of.files or of.status != 200:
            self.send_error(404 if path not in of.files else of.status)
            return
        self._send(of, of.files[path])

    def _send(self, of: Server, content: bytes) -> None:
        asked, start = self.headers["Range"], 0
        same = self.headers["If-Range"] in (None, of.etag) and not (self.headers["If-Range"] or "").startswith("W/")
        if asked and of.ranges and same:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if of.etag:
            self.send_header("ETag", of.etag)
        body = content[start:]
        if of.length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body) + of.length))
        self.end_headers()
        self._send_body(of, body)

    def _send_body(self, of: Server, body: bytes) -> None:
        breaks = of.break_after.pop(0) if of.break_after else None
        for at in range(0, len(body[:breaks]), 1 << 16):
            part = body[:breaks][at : at + (1 << 16)]
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if of.length is None else part)
            except OSError:
                return
            time.sleep(of.pause)
        if of.length is None and breaks is None:
            self.wfile.write(b"0\r\n\r\n")
        if breaks is not None or of.length:
            self.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.of = Server(f"http://127.0.0.1:{http.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield http.of  # type: ignore[attr-defined]
    http.shutdown()
    thread.join()
    http.server_close()
