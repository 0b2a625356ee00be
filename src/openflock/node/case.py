"""A case: a round as one node has it before it. Voter, examiner and searcher go by it."""

from dataclasses import dataclass

from openflock.learn.model import Model
from openflock.node.reader import Reader
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Digest, Round
from openflock.update.fixed import GlobalState


@dataclass(frozen=True)
class Case:
    """What is judged, with what, and by whom."""

    model: Model
    reader: Reader
    rules: Rules
    current: Round
    base: Digest  # of the state that the round builds on
    me: Address

    def fetch_state(self) -> GlobalState:
        """Fetch the state that the round builds on."""
        return self.reader.fetch_state(self.base)

    def list_grounds(self) -> tuple[object, ...]:
        """List all that a score of this case follows from, but for who scores: while it stays, so do scores."""
        return self.base, self.current.number, self.current.proposers, dict(self.current.proposals)

    def is_own(self, slot: int) -> bool:
        """Answer whether a slot is this node's: nobody judges itself."""
        return self.current.proposers[slot].node == self.me
