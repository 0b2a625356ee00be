"""What Prometheus may ask a node; the library is an optional extra, and loaded only for who asks for the endpoint."""

import time as wall
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from openflock.app.node.status import Status
from openflock.app.settings import TOKEN, SettingsError
from openflock.node.daemon import Daemon
from openflock.protocol.ports import Blob, BlobStore
from openflock.protocol.types import Digest

HOST = "127.0.0.1"


@dataclass
class Counted:
    """A BlobStore that counts what goes through it."""

    store: BlobStore
    fetched: int = 0
    bytes_fetched: int = 0
    put_blobs: int = 0
    _lock: Lock = field(default_factory=Lock)  # several are fetched at once

    def put(self, data: Blob) -> Digest:
        """Store bytes, and count a blob."""
        self.put_blobs += 1
        return self.store.put(data)

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        """Store what the parts make up, and count a blob."""
        self.put_blobs += 1
        return self.store.put_stream(parts)

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        """Fetch a blob, and count it once it is here."""
        data = self.store.fetch(digest, max_size)
        with self._lock:
            self.fetched += 1
            self.bytes_fetched += len(data)
        return data


@dataclass(frozen=True, eq=False)
class Metrics:
    """What is measured of a running node, read when it is asked for."""

    daemon: Daemon
    status: Status
    store: Counted

    def read(self) -> Iterator[tuple[str, str, float]]:
        """Give each metric: its name, what it means, its value. Counters end in `_total`."""
        daemon, seen = self.daemon, self.status.describe(self.daemon)
        yield "round", "Number of the round.", seen["round"]
        yield "phase", "Phase of the task: 0 GATHER to 12 FINISHED.", daemon.state.phase
        yield "deadline_seconds", "Time of the phase's deadline; in DRAW the number of a block.", seen["deadline"]
        yield "members", "Nodes that can be drawn.", len(daemon.state.members)
        yield "member", "1 if this node can be drawn.", seen["member"]
        yield "stake_tokens", "Tokens at stake.", seen["stake"] / TOKEN
        yield "owed_tokens", "Tokens that can be claimed.", seen["owed"] / TOKEN
        yield "earned_tokens_total", "Tokens earned in this task.", seen["earned"] / TOKEN
        yield "slashed_tokens_total", "Tokens lost in this task.", seen["slashed"] / TOKEN
        yield "gas_coins", "What the wallet pays gas with, in the chain's coin.", self.status.coins
        yield "calls_total", "Calls made since the process began.", daemon.calls
        yield "errors_total", "Errors since the process began.", daemon.errors
        yield "entries_total", "Entries of the task's log that were checked.", daemon.replica.position
        yield "last_block_seconds", "Time of the newest block that was seen.", daemon.time
        yield "since_last_block_seconds", "Age of the newest block that was seen.", wall.time() - daemon.time
        yield "blobs_fetched_total", "Blobs fetched since the process began.", self.store.fetched
        yield "bytes_fetched_total", "Bytes fetched since the process began.", self.store.bytes_fetched
        yield "blobs_put_total", "Blobs put since the process began.", self.store.put_blobs

    def collect(self) -> Iterator[Any]:
        """Give all as Prometheus' library wants them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for name, meaning, value in self.read():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield kind(f"openflock_{name.removesuffix('_total')}", meaning, value=float(value))


@contextmanager
def serving(metrics: Metrics, port: int) -> Iterator[None]:
    """Serve metrics on a port of this machine alone."""
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError as error:
        raise SettingsError(
            "--metrics-port: prometheus-client is missing; pip install '/path/to/checkout[metrics]'"
        ) from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    try:
        server, thread = start_http_server(port, HOST, registry)
    except OSError as error:
        raise SettingsError(
            f"--metrics-port {port}: taken on this machine ({error.strerror}); choose another"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
