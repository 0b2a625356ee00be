"""Read states and updates by digest; what was decoded and admitted is remembered, since every act needs it."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

from openflock.protocol.ports import Blob, BlobCorrupt, BlobMissing, BlobStore, Unreachable, Wanted
from openflock.protocol.types import Digest, Merged, Proposal
from openflock.update.admission import check_admission, check_size
from openflock.update.codec import Update, decode_state, decode_update, get_digest, max_update_size
from openflock.update.container import Malformed
from openflock.update.fixed import GlobalState
from openflock.update.merge import Past, list_comparable

MAX_STATE_SIZE = 2**40  # where the task's layout is not known yet
KEPT_STATES, KEPT_UPDATES = 4, 256  # an update takes little memory: its bytes are the store's


class Reader:
    """Fetch, decode and admit blobs of one task."""

    def __init__(self, store: BlobStore, own: BlobStore | None = None, largest: int = MAX_STATE_SIZE) -> None:
        """Read from a store, of a state no more than the `largest` has bytes: a swarm may lie about its size.

        What a node merged by itself is in a store of its `own`, if it has one, which nobody else writes to.
        """
        self.store, self.own, self.largest = store, own, largest
        self._states: dict[Digest, GlobalState] = {}
        self._updates: dict[tuple[Digest, Digest, int], Update] = {}
        self._lock = Lock()

    def fetch_state(self, wanted: Digest) -> GlobalState:
        """Fetch a global state; raise BlobMissing or BlobCorrupt."""
        if wanted not in self._states:
            remember(self._states, KEPT_STATES, wanted, decode_state(self._fetch_state(wanted), wanted))
        return self._states[wanted]

    def _fetch_state(self, wanted: Digest) -> Blob:
        if self.own is not None:
            with suppress(BlobMissing, BlobCorrupt, Unreachable):
                return self.own.fetch(wanted, self.largest)
        return self.store.fetch(wanted, self.largest)

    def put_state(self, parts: Iterable[Blob]) -> Digest:
        """Store a state for all to fetch; who has a store of its own goes on where the other takes nothing."""
        if self.own is None:
            return self.store.put_stream(parts)
        digest = self.own.put_stream(parts)
        with suppress(Unreachable):
            self.store.put(self.own.fetch(digest, self.largest))
        return digest

    def admit(self, state: GlobalState, proposal: Proposal, norm_ceiling: int) -> Update:
        """Fetch a proposal's bytes, no more than it announced, and judge their form; once, whoever asks again.

        Raises BlobMissing, BlobCorrupt or Inadmissible.
        """
        key = (get_digest(state), proposal.digest, proposal.size)
        update = self._updates.get(key)
        if update is None:
            check_size(state, proposal.size)
            update = check_admission(state, self.store.fetch(proposal.digest, proposal.size), norm_ceiling)
            with self._lock:  # a merge admits several at once
                remember(self._updates, KEPT_UPDATES, key, update)
        return update

    def list_missing(self, state: GlobalState, proposals: Iterable[Proposal], merged: Sequence[Merged]) -> list[Wanted]:
        """List what `admit` and `recall` have not read yet; what announces too many bytes is never read."""
        named = [(get_digest(state), each) for each in proposals if each.size <= max_update_size(state)]
        named += [(each.base, old) for each in list_comparable(state, merged) for old in each.proposals]
        return [(each.digest, each.size) for base, each in named if (base, each.digest, each.size) not in self._updates]

    def recall(self, state: GlobalState, merged: Sequence[Merged]) -> list[Past]:
        """Fetch what the rounds comparable to this state's next one merged: by it old updates and proposers are known.

        Raises BlobMissing or BlobCorrupt. What a false majority merged, and is no update, is left out.
        """
        found = []
        for ago, each in enumerate(list_comparable(state, merged), 1):
            for node, proposal in zip(each.nodes, each.proposals, strict=True):
                update = self._recall(state, each.base, proposal)
                found += [Past(node, update, ago)] if update is not None else []
        return found

    def _recall(self, state: GlobalState, base: Digest, proposal: Proposal) -> Update | None:
        key = (base, proposal.digest, proposal.size)
        update = self._updates.get(key)
        if update is None:
            try:
                update = decode_update(state, self.store.fetch(proposal.digest, proposal.size), base)
            except Malformed:
                return None
            with self._lock:
                remember(self._updates, KEPT_UPDATES, key, update)
        return update


def remember(kept: dict[Any, Any], most: int, key: Any, value: Any) -> None:
    """Keep a value in a small memory; the oldest goes first."""
    while len(kept) >= most:
        kept.pop(next(iter(kept)))
    kept[key] = value
