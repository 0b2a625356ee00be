"""A whole network on one machine: nodes wired to one ledger and one store, each acting when its turn comes.

Nodes call one after another, but what they work out for one act needs nothing of each other: with `Workers`, processes
train and judge ahead, and the turns only send it. How many there are changes no bit of the task.
"""

from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, Final, Self

from openflock.edge.processes import Executor
from openflock.node.node import Node
from openflock.node.unsealer import Unsealer
from openflock.node.watch import Watch, watch_nothing
from openflock.protocol.calls import Advance, Call, Opening
from openflock.protocol.ports import Clock, Entry, Ledger
from openflock.protocol.replay import Replica, Step
from openflock.protocol.round import is_complete
from openflock.protocol.types import Act, Address, Phase, State, commit_phase

OnEntries = Callable[[Sequence[Entry], Sequence[Step]], None]
BuildNodes = Callable[[], Sequence[Node]]
OnWorked = Callable[[Act], None]

AHEAD: Final = (Act.UPDATE, Act.BALLOT, Act.ATTESTATION, Act.APPEAL)


class Network:
    """Nodes that share a replica of the ledger; `keeper` moves the task on when nobody has more to do."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        nodes: Sequence[Node],
        keeper: Address,
        on_entries: OnEntries,
        workers: "Workers | None" = None,
        unsealer: Unsealer | None = None,
    ) -> None:
        """Wire the nodes; `on_entries` sees every new stretch of the log, whole calls only."""
        self._ledger, self._clock, self._nodes, self._keeper = ledger, clock, nodes, keeper
        self._on_entries, self._workers, self._unsealer = on_entries, workers, unsealer
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
        if self._unsealer:
            self._unsealer(self.state)
        self._work_ahead()
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

    def _work_ahead(self) -> None:
        act = next((act for act in AHEAD if self.state.phase == commit_phase(act)), None)
        if self._workers is None or act is None:
            return
        places = [place for place, node in enumerate(self._nodes) if node.is_due(self.state, act)]
        for place, opening in zip(places, self._workers.work(self.state, act, places), strict=True):
            if opening is not None:
                self._nodes[place].write_down(self.state, act, opening)

    def _make(self, call: Call) -> None:
        self._ledger.submit(call)
        self.follow()

    def _wait_for_seed(self) -> None:
        for _ in range(self.state.genesis.rules.seed_delay + 1):
            self._clock.wait_until(0)


# --- Processes -----------------------------------------------------------------------------------------------


class WorkerLost(RuntimeError):
    """A process that ended before its work."""


class Workers:
    """Processes that do the nodes' work; each builds all nodes for itself, on the same directories.

    The nodes must leave what they work out in files, not in memory.
    """

    def __init__(
        self, count: int, build: BuildNodes, on_worked: OnWorked | None = None, watch: Watch = watch_nothing
    ) -> None:
        """Start `count` processes; `build`, which must pickle, gives a network's nodes in their order."""
        self._executor = Executor(count, partial(_settle_in, build), needs=__name__)
        self._on_worked, self._watch = on_worked, watch

    def work(self, state: State, act: Act, places: Sequence[int]) -> list[Opening | None]:
        """Do the work of an act for the nodes in these places.

        Raises what the first that failed raised, WorkerLost if a process ended.
        """
        openings = []
        with self._watch("training" if act == Act.UPDATE else "evaluation"):
            try:
                for future in [self._executor.submit(_work, state, act, place) for place in places]:
                    openings.append(future.result())
                    if self._on_worked is not None:
                        self._on_worked(act)
            except BrokenProcessPool as error:
                raise WorkerLost(
                    "a worker process ended, perhaps for lack of memory: run again, with fewer jobs"
                ) from error
        return openings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        """End the processes; after a failure at once, since what was not written down is worked out again."""
        self._executor.__exit__(*raised)


_nodes: Sequence[Node] = ()  # of a worker's own process


def _settle_in(build: BuildNodes) -> None:
    global _nodes
    _nodes = build()


def _work(state: State, act: Act, place: int) -> Opening | None:
    return _nodes[place].work(state, act)
