"""A web server that answers as a test says: with ranges, cut short, lying about sizes, silent, or without end."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from re import fullmatch
from typing import Any

CHUNK = 2**16


class Server(ThreadingHTTPServer):
    """Serves `files`; `answer` may be replaced. What was asked for and how much was sent is kept."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.answer: Callable[[Handler], None] = answer_ranges
        self.asked: list[str] = []  # ranges
        self.sent = 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up on what they do not want."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range", ""))
        self.server.answer(self)

    def log_message(self, *args: object) -> None:
        pass

    def get_file(self) -> bytes | None:
        return self.server.files.get(self.path.rpartition("/")[2])

    def get_range(self, data: bytes) -> tuple[int, int]:
        found = fullmatch("bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
        return (int(found[1]), min(int(found[2]) + 1, len(data))) if found else (0, len(data))

    def start(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            self.wfile.write(data[start : start + CHUNK])
            self.server.sent += len(data[start : start + CHUNK])


def answer_ranges(handler: Handler) -> None:
    """Answer as a good server does."""
    data = handler.get_file()
    if data is None:
        handler.start(404, Content_Length=0)
        return
    start, end = handler.get_range(data)
    if start >= end:
        handler.start(416, Content_Range=f"bytes */{len(data)}", Content_Length=0)
        return
    handler.start(206, Content_Range=f"bytes {start}-{end - 1}/{len(data)}", Content_Length=end - start)
    handler.send(data[start:end])


def answer_whole(handler: Handler) -> None:
    """Answer as a server that knows no ranges."""
    data = handler.get_file()
    if data is None:
        handler.start(404, Content_Length=0)
        return
    handler.start(200, Content_Length=len(data))
    handler.send(data)


def answer_without_end(handler: Handler) -> None:
    """Say no size, and send for as long as the other side takes it."""
    handler.start(200)
    while True:
        handler.send(bytes(CHUNK))


def answer_status(status: int) -> Callable[[Handler], None]:
    return lambda handler: handler.start(status, Content_Length=0)


def cut_after(most: int) -> Callable[[Handler], None]:
    """Hang up after so many bytes of each range."""

    def answer(handler: Handler) -> None:
        data = handler.get_file() or b""
        start, end = handler.get_range(data)
        handler.start(206, Content_Range=f"bytes {start}-{end - 1}/{len(data)}", Content_Length=end - start)
        handler.send(data[start : min(end, start + most)])
        handler.close_connection = True

    return answer


def drip(handler: Handler) -> None:
    """Send a byte now and then."""
    data = handler.get_file() or b""
    start, end = handler.get_range(data)
    handler.start(206, Content_Range=f"bytes {start}-{end - 1}/{len(data)}", Content_Length=end - start)
    for at in range(start, end):
        handler.send(data[at : at + 1])
        handler.wfile.flush()
        time.sleep(0.02)


@contextmanager
def serve() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
