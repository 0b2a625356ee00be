"""A server that gives its answers a byte at a time, and never ends."""

import socket
import threading
from contextlib import suppress

HELLO = b"\x16\x03\x03\x40\x00"  # of a TLS record that is long
HEADERS = b"HTTP/1.1 200 OK\r\nX-Long: "
BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
EVERY = 0.05  # seconds between two bytes
MOST = 400  # bytes, after which it is sure that nobody leaves


class Dripping:
    """Answers `good` requests well, and all others with some bytes and then one now and then."""

    def __init__(self, before: bytes, good: int = 0) -> None:
        """Listen; nobody is answered yet."""
        self._before, self._good, self._ended = before, good, threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.address = self.url.removeprefix("http://")
        self.connections, self.was_patient = 0, False
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "Dripping":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._socket.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._answer, args=(caller,)))
                self._threads[-1].start()

    def _answer(self, caller: socket.socket) -> None:
        with caller, suppress(OSError):
            caller.settimeout(5)
            while caller.recv(2**16):
                if self._good:
                    self._good -= 1
                    caller.sendall(GOOD)
                    continue
                caller.sendall(self._before)
                for _ in range(MOST):
                    if self._ended.wait(EVERY):
                        return
                    caller.sendall(b"x")
                self.was_patient = True
                return
