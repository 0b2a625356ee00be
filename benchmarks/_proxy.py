"""A reverse proxy on loopback that does to what passes through it what networks do, in the mood it is put into."""

import http.client
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Lock, Thread
from types import TracebackType
from urllib.parse import urlsplit

PATIENCE = 30.0  # seconds for what is behind the proxy
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
FAULTS = ("unavailable", "cut before", "cut after")


@dataclass(frozen=True)
class Mood:
    """What is done to requests: a share of them fails, or what they fetch comes back spoilt."""

    failing: float = 0.0
    corrupting: bool = False


CALM = Mood()


class Proxy:
    """One port that passes HTTP on to another; `faults` counts what was done to it."""

    def __init__(self, target: str, seed: int) -> None:
        """Choose a free port, and listen on it as long as the context lasts."""
        self.target, self.mood, self.faults = urlsplit(target).netloc, CALM, Counter[str]()
        self._random, self._lock = Random(seed), Lock()
        self._server = Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Proxy":
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def draw(self) -> str:
        """Say what happens to the next request: nothing, or a fault."""
        with self._lock:
            if self._random.random() >= self.mood.failing:
                return ""
            fault = self._random.choice(FAULTS)
            self.faults[fault] += 1
            return fault

    def spoil(self, body: bytes) -> bytes:
        """Change a byte of what is fetched."""
        if not body:
            return body
        with self._lock:
            self.faults["corrupted"] += 1
            place = self._random.randrange(len(body))
        return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


class Handler(BaseHTTPRequestHandler):
    """What one connection asks: passed on as it is, but for what the proxy does to it."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def pass_on(self) -> None:
        """Answer a request as what is behind the proxy does, or worse."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy = self.server.proxy
        fault = proxy.draw()
        if fault == "unavailable":
            return self.answer(503, {}, b"come back later")
        try:
            status, headers, answer = self.ask(body) if fault != "cut before" else (0, {}, b"")
        except (OSError, http.client.HTTPException):
            return self.answer(502, {}, b"nobody there")
        if fault:
            self.close_connection = True
            return None
        if proxy.mood.corrupting and self.command == "GET" and status in (200, 206):
            answer = proxy.spoil(answer)
        return self.answer(status, headers, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 (the names that the library calls)

    def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Ask what is behind the proxy: status, headers, body."""
        connection = http.client.HTTPConnection(self.server.proxy.target, timeout=PATIENCE)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
            if self.command == "HEAD":
                kept["Content-Length"] = response.headers.get("Content-Length", "0")
            return response.status, kept, response.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send an answer, if somebody still waits for it."""
        try:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)
        except OSError:
            self.close_connection = True  # who asked is gone

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A server that is not surprised when who asked is gone: killed, perhaps."""

    daemon_threads = True

    def __init__(self, proxy: Proxy) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.proxy = proxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""
