"""Fear: who announced little serves bytes without end, slowly or wrongly, and fills disks or eats the phase."""

from collections import Counter
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from openflock.edge.blobs import DirectoryStore
from openflock.edge.stores import open_store
from openflock.node.reader import Reader
from openflock.protocol.types import Fault, Outcome

from .nodes import PROPOSER, ROLES, get_outcomes, get_payers, pitch_camp, play

PIECE = bytes(1 << 16)
END = 1 << 31  # even what is endless ends, should nobody stop it
BUFFERED = 1 << 25  # what a connection holds between two ends that do not know of each other


class Server(ThreadingHTTPServer):
    """A web server with a folder a reader; what its first visitor brought, it serves as `lie` says."""

    daemon_threads = True

    def __init__(self, directory, lie):
        super().__init__(("127.0.0.1", 0), Handler)
        self.store, self.lie, self.first, self.sent = DirectoryStore(directory), lie, None, Counter()
        self.deceived = ROLES[1:]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, reader, name = self.path.split("/")
        lies = self.server.lie if name == self.server.first and reader in self.server.deceived else serve
        with suppress(ConnectionError):
            lies(self, self.server.store.fetch(bytes.fromhex(name), END))

    def answer(self, parts, length=None):
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        for part in parts:
            self.wfile.write(part)
            self.server.sent[self.path] += len(part)
        self.close_connection = True

    def log_message(self, *args):
        pass


def serve(handler, data):
    handler.answer([data], len(data))


def serve_endlessly(handler, data):
    handler.answer(PIECE for _ in range(END // len(PIECE)))


def serve_endlessly_what_is_short(handler, data):
    handler.answer((PIECE for _ in range(END // len(PIECE))), len(data))


def say_it_is_huge(handler, data):
    handler.answer((PIECE for _ in range(END // len(PIECE))), 100 << 30)


def serve_half(handler, data):
    handler.answer([data[: len(data) // 2]], len(data))


def serve_another(handler, data):
    handler.answer([bytes(reversed(data))], len(data))


class Web:
    """What a node of this camp calls its store: it puts into the server's directory, and fetches over HTTP."""

    def __init__(self, server, role, cache):
        self._server, self.pages = server, open_store(f"http://127.0.0.1:{server.server_port}/{role}", cache)

    def put(self, data):
        digest = self._server.store.put(data)
        self._server.first = self._server.first or digest.hex()
        return digest

    def put_stream(self, parts):
        return self.put(b"".join(bytes(part) for part in parts))

    def fetch(self, digest, max_size):
        return self.pages.fetch(digest, max_size)


@pytest.fixture
def play_over_http(tmp_path):
    """Play a round in which the update of the node that publishes first is served as `lie` says."""
    servers = []

    def play_round(lie, deceived=ROLES[1:]):
        camp = pitch_camp(tmp_path)
        server = Server(tmp_path / "served", lie)
        server.deceived = deceived
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for digest in (camp.rules.job, camp.rules.genesis):
            server.store.put(camp.reader.store.fetch(digest, 2**30))
        for role, node in zip(ROLES, camp.nodes, strict=True):
            node.reader = Reader(Web(server, role, tmp_path / "cache" / role))
        ledger = play(camp)
        for node in camp.nodes:
            with closing(node.reader.store.pages):
                pass
        return ledger, server

    yield play_round
    for server in servers:
        server.shutdown()
        server.server_close()


LIES = [serve_endlessly, serve_endlessly_what_is_short, say_it_is_huge, serve_half, serve_another]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__.replace("_", " "))
def test_nobody_reads_on_and_the_announcer_pays_alone(play_over_http, tmp_path, lie):
    ledger, server = play_over_http(lie)
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_payers(ledger) == {PROPOSER: {Fault.UNAVAILABLE: 10}}
    assert all(sent <= BUFFERED for sent in server.sent.values())
    held = [file.stat().st_size for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert sum(held) < BUFFERED


def test_who_is_deceived_alone_costs_nobody_anything(play_over_http):
    """One of three other voters is served something else: it says so, and the others go on."""
    ledger, _ = play_over_http(serve_another, deceived=("voter",))
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_payers(ledger) == {}
