"""The blob stores that a devnet can have, each of this machine alone."""

import sys
import time as wall
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import requests

from openflock.app.settings import SettingsError
from openflock.app.task.view import View
from openflock.edge.anvil import HOST, find_free_port
from openflock.edge.blobs import is_blob_name
from openflock.edge.processes import end_process, start_process
from openflock.edge.stores import Store, open_store
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Unreachable
from openflock.protocol.types import Digest

BUCKET = "devnet"
READY = 60.0  # seconds within which a server must answer
LARGEST = 2**31  # bytes of a blob that is kept for the audit


@dataclass
class Place:
    """Where a devnet's blobs are, and what its processes must know besides."""

    url: str
    environment: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    cache: Path | None = None
    archive: Store | None = None  # in a swarm somebody must still have what nodes that ended had
    _kept: set[Digest] = field(default_factory=set)

    def serve(self) -> None:
        """Serve what the task was created with; the process that put it there has ended."""
        if self.archive is not None and self.cache is not None:
            for path in self.cache.iterdir():
                if is_blob_name(path.name):
                    self.archive.put(path.read_bytes())

    def keep(self, view: View) -> None:
        """Fetch what an audit will ask for, while there are nodes that serve it."""
        if self.archive is None:
            return
        offered = {proposal.digest for proposal in view.state.round.proposals.values()}
        for digest in (offered | {view.state.digest}) - self._kept:
            try:
                self.archive.fetch(digest, LARGEST)
                self._kept.add(digest)
            except (BlobMissing, BlobCorrupt, Unreachable):
                continue  # the next look asks again; the audit says what is missing


@contextmanager
def start_store(kind: str, out: Path) -> Iterator[Place]:
    """Start what a kind of store needs, until the context ends."""
    if kind == "s3":
        with start_bucket(out) as place:
            yield place
    elif kind == "torrent":
        with start_swarm(out) as place:
            yield place
    else:
        yield Place(str(out / "blobs"))


@contextmanager
def start_bucket(out: Path) -> Iterator[Place]:
    """Run moto's S3 server, whose keys are anybody's and whose blobs are gone with it."""
    if not (find_spec("moto") and find_spec("s3fs")):
        raise SettingsError("--store s3: needs a server for tests: pip install 'moto[server]' 's3fs'")
    endpoint = f"http://{HOST}:{find_free_port()}"
    port = endpoint.rpartition(":")[2]
    process = start_process([sys.executable, "-m", "moto.server", "-H", HOST, "-p", port], out / "logs" / "s3.log")
    try:
        wait_for_bucket(endpoint)
        keys = {"AWS_ACCESS_KEY_ID": BUCKET, "AWS_SECRET_ACCESS_KEY": BUCKET, "AWS_DEFAULT_REGION": "us-east-1"}
        yield Place(f"s3://{BUCKET}/blobs", {**keys, "AWS_ENDPOINT_URL": endpoint}, process.pid)
    finally:
        end_process(process)


def wait_for_bucket(endpoint: str) -> None:
    """Make the bucket as soon as the server answers."""
    deadline = wall.monotonic() + READY
    while True:
        try:
            requests.put(f"{endpoint}/{BUCKET}", timeout=READY).raise_for_status()
        except requests.ConnectionError:
            if wall.monotonic() > deadline:
                raise SettingsError(f"--store s3: its server does not answer within {READY:.0f} s") from None
            wall.sleep(0.1)
        else:
            return


@contextmanager
def start_swarm(out: Path) -> Iterator[Place]:
    """Run a tracker in this process, and a peer that keeps every blob."""
    from openflock.edge.tracker import start_tracker

    with start_tracker() as tracker, closing(open_store(tracker.url, out / "cache")) as archive:
        yield Place(tracker.url, cache=out / "cache", archive=archive)
