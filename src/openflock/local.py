"""A whole network in one process: nodes wired to one ledger and one store, each acting when its turn comes."""

from collections.abc import Callable, Sequence

from openflock.node.node import Node
from openflock.protocol.calls import Advance, Call
from openflock.protocol.ports import Clock, Entry, Ledger
from openflock.protocol.replay import Replica, Step
from openflock.protocol.round import is_complete
from openflock.protocol.types import Address, Phase, State

OnEntries = Callable[[Sequence[Entry], Sequence[Step]], None]


class Network:
    """Nodes that share a replica of the ledger; `keeper` moves the task on when nobody has more to do."""

    def __init__(
        self, ledger: Ledger, clock: Clock, nodes: Sequence[Node], keeper: Address, on_entries: OnEntries
    ) -> None:
        """Wire the nodes; `on_entries` sees every new stretch of the log, whole calls only."""
        self._ledger, self._clock, self._nodes, self._keeper = ledger, clock, nodes, keeper
        self._on_entries = on_entries
        self.replica = Replica(ledger.get_genesis())
        self.follow()

    @property
    def state(self) -> State:
        """Give the state as this network has replayed it."""
        return self.replica.state

    def run(self) -> State:
        """Play until the task is over."""
        while self.state.phase != Phase.FINISHED:
            if not self.let_nodes_act():
                self.move_on()
        return self.state

    def let_nodes_act(self) -> bool:
        """Let every node make all the calls it wants to make now; answer whether any did."""
        acted = False
        for node in self._nodes:
            while (call := node.decide(self.state)) is not None:
                self._make(call)
                acted = True
        return acted

    def move_on(self) -> None:
        """Wait for what the phase waits for, then advance."""
        if self.state.phase == Phase.DRAW:
            self._wait_for_seed()
        elif not is_complete(self.state):
            self._clock.wait_until(self.state.deadline + 1)
        self._make(Advance(self._keeper))

    def follow(self) -> None:
        """Apply what the ledger has logged since, checking every event against the rules."""
        entries = self._ledger.read(self.replica.position)
        if entries:
            self._on_entries(entries, self.replica.apply(entries))

    def _make(self, call: Call) -> None:
        self._ledger.submit(call)
        self.follow()

    def _wait_for_seed(self) -> None:
        for _ in range(self.state.genesis.rules.seed_delay + 1):
            self._clock.wait_until(0)
