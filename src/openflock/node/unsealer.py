"""The unsealer: the creator's part in a round, to put its sealed rows where all look once its updates are open."""

from collections.abc import Sequence
from dataclasses import dataclass

from openflock.learn.sealed import MAX_SEALED_SIZE
from openflock.protocol.ports import BlobStore
from openflock.protocol.types import Digest, Phase, State

OPEN = range(Phase.PROBE, Phase.FINISHED)  # before, who proposes could withhold an update that does badly on the rows


@dataclass
class Unsealer:
    """The rows that a creator keeps for itself, by round, and the store that all nodes look into.

    It asks nothing of the ledger: the job binds the digests, so nothing can be put in the rows' place. Who opens them
    late, or never, leaves the round to be judged by the holders of each domain.
    """

    digests: Sequence[Digest]
    chest: BlobStore
    store: BlobStore
    opened: int = 0  # the last round whose rows were put

    def __call__(self, state: State, _now: int = 0) -> None:
        """Put the running round's rows, if it is time and there are any; a duty that never calls."""
        number = state.round.number
        if state.phase in OPEN and self.opened < number <= len(self.digests):
            self.store.put(self.chest.fetch(self.digests[number - 1], MAX_SEALED_SIZE))
            self.opened = number
