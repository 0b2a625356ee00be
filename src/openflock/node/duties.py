"""Duties: what a daemon may have to do, each a function from the task's state and the time to the next call."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil

from openflock.learn.train import TrainError
from openflock.node.node import Node
from openflock.node.pace import WORK, Pace, TooLate, compute_interval
from openflock.node.recovery import rebuild_state
from openflock.protocol.calls import Advance, Call, Claim, Leave, Withdraw
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Clock, Entry, Unreachable, Wanted
from openflock.protocol.round import is_complete
from openflock.protocol.rules import Rules, compute_phase_times
from openflock.protocol.types import Act, Address, Phase, State, commit_phase

Duty = Callable[[State, int], Call | None]

TURN = 3  # seconds of the chain's clock, at least, between one keeper's turn and the next ones'
ACTS = range(Phase.PROPOSE, Phase.FINISHED)  # the phases in which something is committed or opened
WORKING = [commit_phase(act) for act in Act]  # in which something is computed; to open, a journal is enough
MERGING = (commit_phase(Act.ATTESTATION), commit_phase(Act.APPEAL))
AHEAD = (Phase.PUBLISH, Phase.PROBE, Phase.EXPOSE)  # in which a voter has time to fetch what it will judge


# --- To play -------------------------------------------------------------------------------------------------


@dataclass
class Player:
    """Play the roles that a node is drawn for, in time or not at all."""

    node: Node
    read_log: Callable[[], Sequence[Entry]]  # the whole log, for who must compute the state again
    pace: Pace
    expect: Callable[[Collection[Wanted]], None] = lambda _: None  # begin to fetch what will be asked for
    _diverged: tuple[int, Phase] | None = None

    def __call__(self, state: State, now: int) -> Call | None:
        """Say what the node calls next; raise BlobMissing, BlobCorrupt or Unreachable while it may still be had."""
        acting = state.phase in ACTS
        if acting and now > state.deadline:
            return None
        self._set_pace(state, now)
        if state.phase in WORKING and has_part(state, self.node.identity.address):
            self._have_state(state)
        if state.phase == Phase.VOTE and is_patient(state, now):
            self.expect(self.node.list_wanted(state))
            self._judge_ahead(state)  # before anything is waited for
            self._fetch_ahead(state)
        if state.phase in MERGING:
            self.expect(self.node.list_wanted(state))
        call = self._decide(state, now)
        if call is None and state.phase in AHEAD:
            with self.pace.hurrying(), suppress(BlobMissing, BlobCorrupt, Unreachable, TooLate):
                self._fetch_ahead(state)
        if call is None and state.phase == Phase.PROBE:  # which nothing ends early
            self._judge_ahead(state)
        return call

    def _set_pace(self, state: State, now: int) -> None:
        if state.phase not in ACTS:
            self.pace.rest()
            return
        length = compute_phase_times(state.genesis.rules)[state.phase]
        self.pace.begin(state.deadline - now, length, voting=state.phase == Phase.VOTE)

    def _fetch_ahead(self, state: State) -> None:
        self.expect(self.node.list_wanted(state))
        self.node.fetch_ahead(state)

    def _judge_ahead(self, state: State) -> None:
        with self.pace.hurrying(), suppress(TooLate):
            self.node.judge_ahead(state)

    def _decide(self, state: State, now: int) -> Call | None:
        """Decide; a training that diverged would do so again, with the same seed, and is not tried twice."""
        place = state.round.number, state.phase
        if place == self._diverged:
            return None
        try:
            return self.node.decide(state, patient=state.phase in ACTS and is_patient(state, now))
        except TrainError:
            self._diverged = place
            raise

    def _have_state(self, state: State) -> None:
        """Have the global state at hand, from the store or else from the updates that led to it."""
        try:
            self.node.reader.fetch_state(state.digest)
        except (BlobMissing, BlobCorrupt, Unreachable):
            rebuild_state(state.genesis, self.read_log(), self.node.reader)


def has_part(state: State, me: Address) -> bool:
    """Answer whether a round may ask something of an account: an appeal asks all members."""
    return me in state.members or any(seat.node == me for seat in (*state.round.proposers, *state.round.voters))


def is_patient(state: State, now: int) -> bool:
    """Answer whether there is time to wait for a store: a third of the phase is for work."""
    return WORK * (state.deadline - now) > compute_phase_times(state.genesis.rules)[state.phase]


# --- To keep the task going ----------------------------------------------------------------------------------


@dataclass
class Keeper:
    """Advance the task in turn with the members, so that one pays the gas and the dead stall nobody.

    In each turn twice as many act as in the one before: who joins a thousand names that never do delays a phase by ten
    turns. Where an advance is seen later than after a turn, those of the turns between try as well; most find theirs
    refused before it is sent.
    """

    me: Address
    clock: Clock
    _place: tuple[int, ...] = ()
    _turn: int = field(default=0)

    def __call__(self, state: State, now: int) -> Call | None:
        """Say whether to advance now."""
        if self.me not in state.nodes or not is_due(state, now, self.clock):
            return None
        place = (state.round.number, state.phase, state.deadline)
        if place != self._place:
            self._place, self._turn = place, now + compute_wait(compute_turn(state, self.me), state.genesis.rules)
        return Advance(self.me) if now >= self._turn else None


def is_due(state: State, now: int, clock: Clock) -> bool:
    """Answer whether anyone may advance the task."""
    if state.phase == Phase.DRAW:
        return clock.get_block() > state.round.target  # endpoints try a call as if in the last block
    return state.phase != Phase.FINISHED and (now > state.deadline or is_complete(state))


def compute_turn(state: State, me: Address) -> int:
    """Compute how many members come before this one in the phase; the order is another in each."""

    def draw_lot(member: Address) -> bytes:
        return sha256(f"{state.genesis.task}/{state.round.number}/{state.phase}/{member}".encode()).digest()

    mine = draw_lot(me)
    return sum(draw_lot(member) < mine for member in state.members)


def compute_wait(before: int, rules: Rules) -> int:
    """Compute how many seconds a keeper waits that so many members come before."""
    return max(TURN, ceil(compute_interval(rules))) * ((before + 1).bit_length() - 1)


# --- To take one's money home --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Withdrawer:
    """Leave, claim what is owed, and take the stake once it is released."""

    me: Address

    def __call__(self, state: State, now: int) -> Call | None:
        """Say which of the three can be done now."""
        node = state.nodes.get(self.me)
        if node and not node.release and state.phase in (Phase.GATHER, Phase.FINISHED):
            return Leave(self.me)
        if node and node.release and now >= node.release:
            return Withdraw(self.me)
        return Claim(self.me, self.me) if state.payable.get(self.me) else None


def settle_up(me: Address) -> Duty:
    """Once the task is over, do what a Withdrawer does: a stake that nothing is asked of can be on its way home."""
    withdraw = Withdrawer(me)
    return lambda state, now: withdraw(state, now) if state.phase == Phase.FINISHED else None
