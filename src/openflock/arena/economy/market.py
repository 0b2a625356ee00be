"""Economics: whole tasks on the specification, with strategies instead of models; who gains what.

Every call is made as a node makes it: committed, opened, judged, attested, settled by `protocol.round`. Only the
scores come from `Figures`. After every round the books must balance: what the task holds is what came in.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from openflock.arena.economy.scene import Figures, Player, Scene
from openflock.protocol.ballot import Mark, compute_ballot, compute_sealed_word
from openflock.protocol.calls import (
    Advance,
    Call,
    Commit,
    Confirm,
    Drawn,
    Event,
    Expose,
    Fund,
    Join,
    Judged,
    Opening,
    Publish,
    Reveal,
    Settled,
    Slashed,
)
from openflock.protocol.commitment import compute_commitment, compute_content
from openflock.protocol.recipe import Recipe
from openflock.protocol.round import create_state, is_complete, process
from openflock.protocol.rules import Rules
from openflock.protocol.stakes import compute_owed
from openflock.protocol.types import (
    Act,
    Address,
    Flag,
    Genesis,
    Moment,
    Phase,
    State,
    commit_phase,
    open_phase,
)
from openflock.protocol.verdict import MERGED_VERDICTS

ABSTAIN = Mark(flags=Flag.ABSTAIN)
TOKEN = 10**18  # units of one token
CREATOR = "0x" + "00" * 19 + "01"
TASK = "0x" + "00" * 19 + "02"


class Unbalanced(Exception):
    """Report that a task holds another amount than came in: a fault of the specification, never of a strategy."""


@dataclass(frozen=True)
class Result:
    """What became of one player in one task, in tokens."""

    role: str
    stake: float  # at first
    earned: float  # what it may claim, less the bonds of its witnesses
    lost: float  # of its stake
    cost: float  # of its work

    @property
    def profit(self) -> float:
        """Give what it has more than before, and more than if it had not taken part."""
        return self.earned - self.lost - self.cost


@dataclass(frozen=True)
class Played:
    """One task: its players' results, and what happened to the proposals of each role."""

    results: tuple[Result, ...]
    verdicts: Mapping[tuple[str, str], int]  # role, verdict: how often
    outcomes: Mapping[str, int]
    slashed: Mapping[tuple[str, str], float]  # role, fault: tokens


def make_address(text: str) -> Address:
    """Make an address that nobody has the key of."""
    return "0x" + sha256(text.encode()).hexdigest()[:40]


class Market:
    """One task and its players."""

    def __init__(
        self,
        rules: Rules,
        recipe: Recipe,
        players: Sequence[Player],
        figures: Figures,
        pool: int,
        seed: int,
        sealed: bool = False,
    ) -> None:
        """Fund a task and let everybody join."""
        self.players = {player.address: player for player in players}
        self.seed, self.time, self.block, self.paid_in = seed, 1, 1, 0
        state = create_state(Genesis(1, TASK, TASK, CREATOR, 0, rules))
        self.scene = Scene(figures, recipe, seed, state, self.players, sealed=sealed)
        self.openings: dict[tuple[Act, Address], Opening] = {}
        self.bonds: dict[Address, int] = dict.fromkeys(self.players, 0)
        self.proposers: tuple[Address, ...] = ()  # who has which slot; a round that ends at once is gone from the state
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.slashed: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.make(Fund(CREATOR, pool))
        for player in players:
            self.make(Join(player.address, player.domain, player.stake))
        self.paid_in = pool + sum(player.stake for player in players)

    @property
    def state(self) -> State:
        """Give the task as it stands."""
        return self.scene.state

    # --- Moving on -------------------------------------------------------------------------------------------

    def run(self) -> Played:
        """Play until the task is over."""
        while self.state.phase != Phase.FINISHED:
            self.play_round()
        return Played(tuple(map(self.sum_up, self.players.values())), self.verdicts, self.outcomes, self.slashed)

    def play_round(self) -> None:
        """Play one round, and check the books."""
        number = self.state.round.number
        self.openings, self.scene.shared = {}, {}
        while self.state.round.number == number and self.state.phase != Phase.FINISHED:
            self.play_phase()
        self.check_books()

    def play_phase(self) -> None:
        """Let all act who may, then move on."""
        phase = self.state.phase
        for act in Act:
            if phase == commit_phase(act):
                for player in self.list_actors(act):
                    self.commit(act, player)
            elif phase == open_phase(act):
                for (of, _), opening in list(self.openings.items()):
                    if of == act:
                        self.make(opening)
        if phase == Phase.DRAW:
            self.block = self.state.round.target
        elif not is_complete(self.state):
            self.time = self.state.deadline
        self.make(Advance(CREATOR))

    def list_actors(self, act: Act) -> Iterable[Player]:
        """List who may commit to an act."""
        current = self.state.round
        match act:
            case Act.UPDATE:
                return [self.players[seat.node] for seat in current.proposers]
            case Act.WITNESS:
                return list(self.players.values())
            case Act.APPEAL:
                return [self.players[address] for address in self.state.members]
            case _:
                return [self.players[seat.node] for seat in current.voters]

    def commit(self, act: Act, player: Player) -> None:
        """Let a player decide what it will open, and commit to it."""
        opening = self.decide(act, player)
        if opening is None:
            return
        self.openings[act, player.address] = opening
        number, bond = self.state.round.number, 0
        if act == Act.WITNESS:
            bond = self.state.genesis.rules.witness_bond
            self.bonds[player.address] += bond
            self.paid_in += bond
        content = compute_content(opening)
        hidden = compute_commitment(1, TASK, number, act, player.address, content, opening.salt)
        self.make(Commit(player.address, act, hidden, bond))

    def make(self, call: Call) -> None:
        """Make a call, and note what followed."""
        self.time, self.block = self.time + 1, self.block + 1
        target = self.state.round.target
        moment = Moment(self.time, self.block, {target: self._hash(f"block {target}")})
        self.scene.state, events = process(self.state, call, moment)
        for event in events:
            self.note(event)

    # --- Deciding --------------------------------------------------------------------------------------------

    def decide(self, act: Act, player: Player) -> Opening | None:
        """Ask a player's strategy what it does in an act."""
        address, salt = player.address, self._hash(f"{act} {player.address} {self.state.round.number}")
        match act:
            case Act.UPDATE:
                digest = self._hash(f"update {address} {self.state.round.number}")
                self.scene.offers[digest] = player.strategy.offer(self.scene, player)
                return Publish(address, digest, 1, salt)
            case Act.WITNESS:
                slot = player.strategy.accuse(self.scene, player)
                return None if slot is None else Expose(address, slot, salt, salt)
            case Act.BALLOT:
                return Reveal(address, *self.fill_ballot(player), salt)
            case _:
                veto = player.strategy.veto(self.scene, player)
                return Confirm(address, self._hash("merge"), self.find_duplicates(), veto, salt)

    def fill_ballot(self, player: Player) -> tuple[int, int]:
        """Mark every slot on own rows, and on sealed ones; one's own, and empty ones, are not judged."""
        current, strategy = self.state.round, player.strategy
        judged = [slot for slot in current.proposals if current.proposers[slot].node != player.address]
        marks = {slot: strategy.mark(self.scene, player, slot) for slot in sorted(judged)}
        scores = {
            slot: strategy.examine(self.scene, player, slot, mark) for slot, mark in marks.items() if self.scene.sealed
        }
        slots = range(len(current.proposers))
        return (
            compute_ballot([marks.get(slot, ABSTAIN) for slot in slots]),
            compute_sealed_word([scores.get(slot) for slot in slots]),
        )

    def find_duplicates(self) -> int:
        """Name for every accepted slot the lowest accepted one of its family, and mark what was merged before."""
        word, first = 0, dict[str, int]()
        for slot, judgement in enumerate(self.state.round.judgements):
            family = self.scene.get_offer(slot).family if judgement.verdict in MERGED_VERDICTS else ""
            word |= (first.setdefault(family, slot) if family else slot) << 4 * slot
            word |= (judgement.verdict in MERGED_VERDICTS and self.scene.get_offer(slot).stale) << 64 + slot
        return word

    # --- Books -----------------------------------------------------------------------------------------------

    def note(self, event: Event) -> None:
        """Keep what a report tells, and what strategies may know of the past."""
        match event:
            case Drawn(proposers=proposers):
                self.proposers = proposers
            case Judged(slot, verdict, benefit):
                node = self.proposers[slot]
                self.scene.verdicts[node], self.scene.benefits[node] = verdict, benefit
                self.verdicts[self.players[node].role, verdict.name] += 1
            case Slashed(node, fault, amount):
                self.slashed[self.players[node].role, fault.name] += amount / TOKEN
            case Settled(_, outcome):
                self.outcomes[outcome.name] += 1
                self.end_round()

    def end_round(self) -> None:
        """Remember what was published; older offers are forgotten."""
        ended = self.state.ended
        assert ended is not None
        published = {ended.proposers[slot].node: self.scene.offers[p.digest] for slot, p in ended.proposals.items()}
        self.scene.published = [*self.scene.published[-1:], published]
        self.scene.offers.clear()

    def check_books(self) -> None:
        """Compare what the task owes with what came in; nothing was sent out."""
        owed = compute_owed(self.state)
        if owed != self.paid_in:
            raise Unbalanced(f"economics: {owed} owed after round {self.state.round.number}, {self.paid_in} paid in")

    def sum_up(self, player: Player) -> Result:
        """Say what a player has in the end."""
        earned = self.state.payable.get(player.address, 0) - self.bonds[player.address]
        lost = player.stake - self.state.nodes[player.address].stake
        return Result(player.role, player.stake / TOKEN, earned / TOKEN, lost / TOKEN, player.cost)

    def _hash(self, text: str) -> bytes:
        return sha256(f"{self.seed} {text}".encode()).digest()
