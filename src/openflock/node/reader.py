"""Read states and updates by digest; what was decoded last is remembered, since every act needs it."""

from openflock.protocol.ports import BlobStore
from openflock.protocol.types import Digest, Proposal
from openflock.update.codec import decode_state
from openflock.update.fixed import GlobalState

MAX_STATE_SIZE = 2**40  # a state is named by the ledger's agreement, not by a peer
KEPT = 4


class Reader:
    """Fetch and decode blobs of one task."""

    def __init__(self, store: BlobStore) -> None:
        """Read from a store."""
        self.store = store
        self._states: dict[Digest, GlobalState] = {}

    def fetch_state(self, wanted: Digest) -> GlobalState:
        """Fetch a global state; raise BlobMissing or BlobCorrupt."""
        if wanted not in self._states:
            self._remember(wanted, decode_state(self.store.fetch(wanted, MAX_STATE_SIZE)))
        return self._states[wanted]

    def put_state(self, encoded: bytes) -> Digest:
        """Store a state for all to fetch."""
        wanted = self.store.put(encoded)
        self._remember(wanted, decode_state(encoded))
        return wanted

    def fetch_update(self, proposal: Proposal) -> bytes:
        """Fetch a proposal's bytes, no more than it announced."""
        return self.store.fetch(proposal.digest, proposal.size)

    def _remember(self, wanted: Digest, state: GlobalState) -> None:
        while len(self._states) >= KEPT:
            self._states.pop(next(iter(self._states)))
        self._states[wanted] = state
