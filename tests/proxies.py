"""JSON-RPC endpoints on loopback that fail as real ones do: one answers as it is told, one passes on what it gets."""

import json
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Lock, Thread
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

Reply = tuple[int, bytes] | None  # status and body; None cuts the connection
DIRECT = build_opener(ProxyHandler({}))


class Endpoint:
    """An HTTP server whose answer to a request a function gives; it ends with its context."""

    def __init__(self, answer: Callable[[dict[str, Any]], Reply]) -> None:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize, disable_nagle_algorithm = 2**16, True  # else each answer waits 40 ms for its second packet

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.methods[request["method"]] += 1
                reply = None if endpoint.closed else answer(request)
                if reply is None:
                    self.close_connection = True
                    return
                status, body = reply
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if status in (301, 307):
                    self.send_header("Location", body.decode())
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True  # who asked has read enough

            def log_message(self, *_: object) -> None:
                pass

        self.methods, self.closed = Counter[str](), False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True  # for connections that are kept alive
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def fail_internally(request: dict[str, Any]) -> Reply:
    return 200, encode(request, error={"code": -32603, "message": "internal error"})


FAULTS: dict[str, Callable[[dict[str, Any]], Reply]] = {
    "unavailable": lambda request: (503, b"<html>come back later</html>"),
    "limited": lambda request: (429, b"slow down"),
    "internal": fail_internally,
    "garbage": lambda request: (200, b'{"jsonrpc": "2.0", "id'),
    "cut": lambda request: None,
}


class RpcProxy(Endpoint):
    """Passes requests on to an endpoint, but for a share of them that fails, half of these after they were passed on.

    `rate` is that share and may be changed at any time; what fails, and how, follows from the seed and the order of
    requests. `faults` counts what was done. `blind` are methods that are never answered, though passed on; `lies`
    change the results of others.
    """

    def __init__(self, target: str, rate: float = 0.0, seed: int = 0) -> None:
        self.target, self.rate, self.faults = target, rate, Counter[str]()
        self.blind, self.lies = set[str](), dict[str, Callable[[Any], Any]]()
        self._random, self._lock = Random(seed), Lock()
        super().__init__(self._pass_on)

    def _pass_on(self, request: dict[str, Any]) -> Reply:
        with self._lock:
            failing, name = self._random.random() < self.rate, self._random.choice(sorted(FAULTS))
            after = self._random.random() < 0.5
            if failing:
                self.faults[f"{name}, {'after' if after else 'before'}"] += 1
        if failing and not after:
            return FAULTS[name](request)
        reply = fetch(self.target, request)
        if request["method"] in self.blind:
            return None
        if reply and request["method"] in self.lies and "result" in (answer := json.loads(reply[1])):
            return 200, encode(request, result=self.lies[request["method"]](answer["result"]))
        return FAULTS[name](request) if failing else reply


def fetch(url: str, request: dict[str, Any]) -> Reply:
    body = json.dumps(request).encode()
    try:
        with DIRECT.open(Request(url, body, {"Content-Type": "application/json"}), timeout=30) as response:
            return response.status, response.read()
    except OSError:
        return 502, b"nobody there"


def encode(request: dict[str, Any], **answer: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}).encode()
