"""A small tracker: who holds which blob, and its outline. It holds no blobs, and need not be believed.

A program that starts nodes runs it beside them: `with start_tracker("127.0.0.1", 0) as tracker:` and gives each node
`--store tracker.url`. On its own: `python -m openflock.edge.tracker --host 127.0.0.1 --port 7070`, until SIGTERM.

    POST /DIGEST/OUTLINE?port=PORT   the caller holds, or is fetching, the blob with this outline (by its SHA-256) and
                                     listens at PORT; the body is the outline, or empty if it may be known (404: no)
    GET  /DIGEST                     JSON: [{"outline": hex, "peers": ["address:port", ...]}, ...]

Who says nothing for EXPIRY seconds is forgotten. A peer's address is the one its connection comes from, so nobody can
send others to a third party. All is bounded: the outlines of a blob and their peers, where who came first stays, and
the memory for all, where what nobody has announced for longest goes first.
"""

import argparse
import json
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from openflock.edge.outline import MAX_OUTLINE, BadOutline, decode_outline

EXPIRY: Final = 100.0  # seconds without a word, after which a peer counts as gone
OUTLINES: Final = 4  # of one blob; more than one only where somebody lies
PEERS: Final = 64  # of one outline
MEMORY: Final = 2**28  # bytes of all outlines together
OVERHEAD: Final = 2**10  # bytes that a blob takes beside its outlines
CALLERS: Final = 16  # answered at once
SLOW: Final = 10.0  # seconds without a byte, after which a caller is let go


@dataclass
class Swarm:
    """An outline, and when each of its peers last said so."""

    outline: bytes
    peers: dict[str, float] = field(default_factory=dict)


class Register:
    """What a tracker remembers."""

    def __init__(self, memory: int = MEMORY) -> None:
        """Start empty."""
        self._blobs: dict[str, dict[str, Swarm]] = {}  # what was announced last stands last
        self._memory, self._used, self._lock = memory, 0, threading.Lock()

    def announce(self, digest: str, name: str, outline: bytes, peer: str) -> bool:
        """Note a peer; False if the outline is neither given nor known, or no more of it is taken."""
        with self._lock:
            swarms = self._blobs.pop(digest, {})
            self._drop_silent(swarms)
            swarm = swarms.get(name)
            if swarm is None and outline and len(swarms) < OUTLINES:
                swarm = swarms[name] = Swarm(outline)
                self._used += len(outline) + OVERHEAD
            if swarms:
                self._blobs[digest] = swarms
            if swarm is None or (peer not in swarm.peers and len(swarm.peers) >= PEERS):
                return False
            swarm.peers[peer] = time.monotonic()
            while self._used > self._memory:
                self._forget(next(iter(self._blobs)))
            return True

    def look_up(self, digest: str) -> list[dict[str, Any]]:
        """List the outlines of a blob, the first announced first, each with its peers."""
        with self._lock:
            swarms = self._blobs.get(digest, {})
            self._drop_silent(swarms)
            return [{"outline": swarm.outline.hex(), "peers": list(swarm.peers)} for swarm in swarms.values()]

    def _drop_silent(self, swarms: dict[str, Swarm]) -> None:
        since = time.monotonic() - EXPIRY
        for name, swarm in list(swarms.items()):
            swarm.peers = {peer: heard for peer, heard in swarm.peers.items() if heard > since}
            if not swarm.peers:
                self._used -= len(swarms.pop(name).outline) + OVERHEAD

    def _forget(self, digest: str) -> None:
        for swarm in self._blobs.pop(digest).values():
            self._used -= len(swarm.outline) + OVERHEAD


class Handler(BaseHTTPRequestHandler):
    """Answer one caller; whatever is not understood is refused."""

    server: "Tracker"
    timeout = SLOW

    def do_POST(self) -> None:
        """Take an announcement."""
        parts = urlsplit(self.path)
        named = re.fullmatch("/([0-9a-f]{64})/([0-9a-f]{64})", parts.path)
        length = self.headers.get("Content-Length", "")
        ports = parse_qs(parts.query).get("port", [""])
        if not named or not re.fullmatch("[1-9][0-9]{0,4}", ports[0]) or int(ports[0]) > 65535:
            self._answer(400)
        elif not re.fullmatch("[0-9]{1,8}", length) or int(length) > MAX_OUTLINE:
            self._answer(413)
        else:
            outline = self.rfile.read(int(length))
            if outline and not _is_outline(outline, named[2]):
                self._answer(400)
                return
            host = self.client_address[0]
            peer = f"[{host}]:{ports[0]}" if ":" in host else f"{host}:{ports[0]}"
            self._answer(200 if self.server.register.announce(named[1], named[2], outline, peer) else 404)

    def do_GET(self) -> None:
        """Say who holds a blob."""
        named = re.fullmatch("/([0-9a-f]{64})", self.path)
        if named:
            self._answer(200, json.dumps(self.server.register.look_up(named[1])).encode())
        else:
            self._answer(400)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name that the base class gave it)
        """Say nothing: who asks for what is nobody's business."""

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Tracker(HTTPServer):
    """A tracker that runs in threads of this process until it is closed."""

    request_queue_size = 128

    def __init__(self, host: str, port: int) -> None:
        """Listen; port 0 is any that is free."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        self.register = Register()
        self._callers = ThreadPoolExecutor(CALLERS, "tracker")
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="tracker", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the store that this tracker makes."""
        host = f"[{self.server_address[0]!s}]" if self.address_family == socket.AF_INET6 else self.server_address[0]
        return f"torrent://{host!s}:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a caller beside the others, but only so many at once."""
        self._callers.submit(self._process_apart, request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a caller go who hung up or said nothing."""

    def close(self) -> None:
        """Stop, and forget everything."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        self._callers.shutdown(cancel_futures=True)

    def __enter__(self) -> "Tracker":
        """Be closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _process_apart(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)


def start_tracker(host: str = "127.0.0.1", port: int = 0) -> Tracker:
    """Start a tracker in this process: `tracker.url` is what nodes are given as a store, `tracker.close()` ends it."""
    return Tracker(host, port)


def _is_outline(data: bytes, name: str) -> bool:
    try:
        decode_outline(data)
    except BadOutline:
        return False
    return sha256(data).hexdigest() == name


def main() -> None:
    """Run a tracker until it is told to stop; print its address first."""
    parser = argparse.ArgumentParser(prog="python -m openflock.edge.tracker", description="Run a tracker.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=7070, help="port to listen at; 0: any")
    args = parser.parse_args()
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread, so that all of them leave signals to us
    with start_tracker(args.host, args.port) as tracker:
        print(tracker.url, flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
