"""A store that is waited for no longer than there is time: a blob that trickles in must not cost a ballot.

What comes late is there for the next who asks, since each fetch goes on in a thread of its own.
"""

import time as wall
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Final

from openflock.node.duties import Pace
from openflock.protocol.ports import Blob, BlobStore, Unreachable
from openflock.protocol.types import Digest

GRACE: Final = 2.0  # seconds for what lies at hand, when there is no time left to wait
LOOK: Final = 0.2  # seconds after which a wait looks whether anybody still wants it

Wanted = tuple[Digest, int]


@dataclass
class Fetch:
    """A fetch that is under way, and what came of it."""

    done: Event = field(default_factory=Event)
    blob: Blob = b""
    error: Exception | None = None


@dataclass
class Timely:
    """A BlobStore over another; `pace` says until when to wait."""

    store: BlobStore
    pace: Pace
    _running: dict[Wanted, Fetch] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def put(self, data: Blob) -> Digest:
        """Put bytes."""
        return self.store.put(data)

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        """Put what the parts make up."""
        return self.store.put_stream(parts)

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        """Fetch; raise Unreachable for what is still on its way when time is up, Stopped where the node is to stop."""
        fetch, begun = self._begin((digest, max_size)), wall.monotonic()
        while not fetch.done.wait(LOOK):
            self.pace.check()
            if wall.monotonic() > max(self.pace.patience, begun + GRACE):
                raise Unreachable(f"blob {digest.hex()[:12]} is still on its way, and is waited for no longer")
        if fetch.error:
            raise fetch.error
        return fetch.blob

    def _begin(self, wanted: Wanted) -> Fetch:
        """Begin a fetch, or join the one that is under way."""
        with self._lock:
            if wanted not in self._running:
                self._running[wanted] = Fetch()
                Thread(target=self._run, args=(wanted, self._running[wanted]), daemon=True).start()
            return self._running[wanted]

    def _run(self, wanted: Wanted, fetch: Fetch) -> None:
        try:
            fetch.blob = self.store.fetch(*wanted)
        except Exception as error:  # it is raised where it is waited for
            fetch.error = error
        with self._lock:
            del self._running[wanted]
        fetch.done.set()
