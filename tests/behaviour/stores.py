"""Every kind of blob store, with a way to spoil what it holds; one more kind is one more class."""

import atexit
import logging
import os
import threading
import urllib.request
from collections.abc import Callable, Iterable
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import fsspec

from openflock.edge.blobs import DirectoryStore
from openflock.edge.remotes import open_remote
from openflock.edge.stores import Store
from openflock.edge.torrent_store import TorrentStore
from openflock.edge.tracker import start_tracker
from openflock.edge.trackers import Trackers, parse_addresses
from openflock.edge.url_store import UrlStore
from openflock.protocol.ports import Blob, BlobCorrupt, BlobMissing
from openflock.protocol.types import Digest


class Kind:
    """A store under test: what one party puts, another fetches, whose own cache holds nothing yet.

    Here both are one and the same; `held` is what all can reach.
    """

    wrong: ClassVar[type[Exception]] = BlobCorrupt  # how a blob that was spoiled where it lies is refused
    cuts: ClassVar[bool] = False  # whether no more is sent than was named, whatever was added to it

    def __init__(self, path: Path) -> None:
        self.held, self.cache = path / "held", DirectoryStore(path / "cache")
        self.start(path)
        self.writer, self.reader = self.open()

    def start(self, path: Path) -> None:
        """Start what the store needs."""

    def open(self) -> tuple[Store, Store]:
        """Open what puts, and what fetches."""
        store = DirectoryStore(self.held)
        return store, store

    def reopen(self) -> None:
        Kind.close(self)
        self.writer, self.reader = self.open()

    def put(self, data: Blob) -> Digest:
        return self.writer.put(data)

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        return self.writer.put_stream(parts)

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        return self.reader.fetch(digest, max_size)

    def spoil(self, digest: Digest, data: bytes) -> None:
        """Let other bytes stand where a blob is, for all who fetch it from now on."""
        (self.held / digest.hex()).unlink()
        (self.held / digest.hex()).write_bytes(data)

    def list_held(self) -> list[str]:
        """List what is held, and traces of what should not be."""
        return list_files(self.held)

    def close(self) -> None:
        self.writer.close()
        self.reader.close()


class Apart(Kind):
    """A kind whose reader has a cache of its own, emptied before each fetch."""

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        for file in self.cache.directory.iterdir():
            if file.is_file():
                file.unlink()
        return self.reader.fetch(digest, max_size)


class Http(Apart):
    """A web server over a directory, to be read only: blobs get there by other ways."""

    def start(self, path: Path) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(self.held)))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def open(self) -> tuple[Store, Store]:
        remote = open_remote(f"http://127.0.0.1:{self._server.server_port}")
        return DirectoryStore(self.held), UrlStore(remote, self.cache)

    def close(self) -> None:
        super().close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Url(Apart):
    """A file system of fsspec's."""

    def start(self, path: Path) -> None:
        self.url = f"memory://{path}"
        self._system = fsspec.filesystem("memory")

    def open(self) -> tuple[Store, Store]:
        return UrlStore(open_remote(self.url), DirectoryStore(self.held)), UrlStore(open_remote(self.url), self.cache)

    def spoil(self, digest: Digest, data: bytes) -> None:
        spoiled = self.held.parent / "spoiled"
        spoiled.write_bytes(data)
        open_remote(self.url).upload(spoiled, digest.hex())

    def list_held(self) -> list[str]:
        self._system.invalidate_cache()
        there = self._system.ls(self.url, detail=False) if self._system.exists(self.url) else []
        return sorted(there) + [name for name in list_files(self.held) if name.startswith(".")]


class S3(Url):
    """A bucket of a local S3 server."""

    def start(self, path: Path) -> None:
        start_s3()
        self.url = f"s3://blobs{path}"
        self._system = fsspec.filesystem("s3")


@cache
def start_s3() -> None:
    """Start one server for all tests of this process; where it is, S3 clients read in the environment."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request otherwise
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    atexit.register(server.stop)
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    with urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/blobs", method="PUT")) as answer:
        assert answer.status == 200


class Torrent(Apart):
    """Two peers and a tracker; what was spoiled is not served, so it is not to be had."""

    wrong, cuts = BlobMissing, True

    def start(self, path: Path) -> None:
        self._tracker = start_tracker()

    def open(self) -> tuple[Store, Store]:
        trackers = partial(Trackers, parse_addresses(self._tracker.url))
        writer = TorrentStore(trackers(), DirectoryStore(self.held), "127.0.0.1:0")
        return writer, TorrentStore(trackers(), self.cache, "127.0.0.1:0", absence=3)

    def list_held(self) -> list[str]:
        return [name for name in super().list_held() if not name.startswith(".outline-")]

    def close(self) -> None:
        super().close()
        self._tracker.close()


KINDS: dict[str, Callable[[Path], Kind]] = {
    "directory": Kind,
    "http": Http,
    "memory": Url,
    "s3": S3,
    "torrent": Torrent,
}


def list_files(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
