"""A store that is waited for no longer than there is time: a blob that trickles in must not cost a ballot.

Each fetch goes on in a thread of its own, so what is slow holds up nothing else, and what comes late is there for the
next who asks.
"""

import time as wall
from collections.abc import Collection, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Final

from openflock.node.pace import Pace
from openflock.protocol.ports import Blob, BlobCorrupt, BlobMissing, BlobStore, Unreachable, Wanted
from openflock.protocol.types import Digest

GRACE: Final = 2.0  # seconds that a fetch has when there is no time to wait: what lies at hand comes in less
LOOK: Final = 0.2  # seconds after which a wait looks whether anybody still wants it


@dataclass
class Timely:
    """A BlobStore over another; `pace` says until when to wait."""

    store: BlobStore
    pace: Pace
    _fetches: dict[Wanted, tuple[Future[Blob], float]] = field(default_factory=dict)  # and when each began
    _lock: Lock = field(default_factory=Lock)

    def put(self, data: Blob) -> Digest:
        """Put bytes."""
        return self._forget(self.store.put(data))

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        """Put what the parts make up."""
        return self._forget(self.store.put_stream(parts))

    def expect(self, wanted: Collection[Wanted]) -> None:
        """Begin to fetch what will be asked for; what has come and was never asked for is dropped.

        What failed is begun again: it may be there by now.
        """
        with self._lock:
            kept = {each: found for each, found in self._fetches.items() if is_kept(found[0], each in wanted)}
            self._fetches = kept
        for each in wanted:
            self._begin(each)

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        """Fetch; raise Unreachable for what is still on its way when time is up, Stopped where the node is to stop."""
        wanted = digest, max_size
        future, begun = self._begin(wanted)
        while not wait([future], LOOK).done:
            self.pace.check()
            if wall.monotonic() > max(self.pace.patience, begun + GRACE):
                raise Unreachable(f"blob {digest.hex()[:12]} is still on its way, and is waited for no longer")
        with self._lock:
            self._fetches.pop(wanted, None)
        return future.result()

    def _forget(self, digest: Digest) -> Digest:
        """Wait no more for what is here now."""
        with self._lock:
            self._fetches = {each: found for each, found in self._fetches.items() if each[0] != digest}
        return digest

    def _begin(self, wanted: Wanted) -> tuple[Future[Blob], float]:
        """Begin a fetch, or join the one that is under way."""
        with self._lock:
            if wanted not in self._fetches:
                future = Future[Blob]()
                Thread(target=self._run, args=(wanted, future), daemon=True).start()
                self._fetches[wanted] = future, wall.monotonic()
            return self._fetches[wanted]

    def _run(self, wanted: Wanted, future: Future[Blob]) -> None:
        """Fetch, in a thread; whatever ends it is told to who asks, and no library's own failure costs a ballot."""
        try:
            future.set_result(self.store.fetch(*wanted))
        except (BlobMissing, BlobCorrupt, Unreachable) as error:
            future.set_exception(error)
        except Exception as error:
            future.set_exception(Unreachable(f"blob {wanted[0].hex()[:12]}: {type(error).__name__}: {error}"))


def is_kept(fetch: Future[Blob], wanted: bool) -> bool:
    """Answer whether a fetch goes on, or is what somebody will ask for."""
    return not fetch.done() or (wanted and fetch.exception() is None)
