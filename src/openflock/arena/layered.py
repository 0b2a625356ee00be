"""The protocol itself, each of its layers switchable: nodes over the specification ledger, some of them malicious."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from openflock.arena.attacks.behaviours import Withholder, collude, grieve, hide_openings, vote_lazily
from openflock.arena.memory import MemoryJournal, MemoryStore
from openflock.arena.settings import DefenceTable
from openflock.arena.stage import Stage, name_training, remember
from openflock.edge.spec_ledger import SpecLedger
from openflock.learn.evaluate import EvaluationSettings
from openflock.learn.model import Model
from openflock.learn.train import Trained, TrainError
from openflock.local import Network
from openflock.node.feedback import Feedback
from openflock.node.node import Identity, Node
from openflock.node.proposer import Delta, Proposer
from openflock.node.reader import Reader
from openflock.node.voter import Voter
from openflock.protocol.ballot import Mark
from openflock.protocol.calls import (
    Call,
    Confirm,
    Drawn,
    Event,
    Fund,
    Judged,
    Leave,
    Opening,
    Publish,
    Reveal,
    Settled,
    Slashed,
)
from openflock.protocol.ports import Blob, Entry
from openflock.protocol.recipe import Recipe
from openflock.protocol.replay import Step
from openflock.protocol.rules import Rules
from openflock.protocol.settlement import MERGED_VERDICTS
from openflock.protocol.types import Address, Digest, Fault, Flag, Genesis, Phase, Round, State, Verdict
from openflock.update.codec import decode_update, get_digest, stream_state
from openflock.update.fixed import GlobalState, initial_state

GENESIS_TIME: Final = 1_700_000_000
TOKEN: Final = 10**18
POOL: Final = 1_000 * TOKEN
STAKE: Final = 100 * TOKEN
BLAMED: Final = (Fault.INADMISSIBLE, Fault.BACKDOOR, Fault.WRONG_DIGEST)  # the others are fees for silence
OPENINGS: Final[dict[str, type[Opening]]] = {"update": Publish, "ballot": Reveal, "attestation": Confirm}


def run_layered(stage: Stage) -> None:
    """Play a task to its end, and measure after each round."""
    with tempfile.TemporaryDirectory(prefix="openflock-arena-") as folder:
        reader = Reader(MemoryStore())
        genesis = agree(stage, reader)
        ledger = SpecLedger(genesis, f"arena {stage.cell.seed}".encode())
        ledger.submit(Fund(genesis.creator, POOL))
        nodes = [
            node
            for place in range(len(stage.world.parties))
            if (node := build_node(stage, reader, place, Path(folder)))
        ]
        story = Story(stage, reader, [node.identity.address for node in nodes])
        Network(ledger, ledger, nodes, genesis.creator, story.on_entries).run()


def agree(stage: Stage, reader: Reader) -> Genesis:
    """Bind the rules that the cell names to its initial state."""
    table, defence = stage.world.table, stage.cell.defence
    recipe = Recipe(**defence.recipe)  # type: ignore[arg-type]  # Recipe checks each field itself
    start = initial_state(stage.world.model.layout, f"arena {stage.cell.seed}".encode(), recipe)
    derived = {"domains": len(table.domains), "min_nodes": max(3, table.nodes // 2)}
    agreed = {"base": bytes(32), "job": bytes(32), "genesis": reader.put_state(stream_state(start))}
    rules = Rules(**{**derived, **defence.rules, **agreed, "rounds": table.rounds})  # type: ignore[arg-type]
    return Genesis(1, make_address("task"), make_address("token"), make_address("creator"), GENESIS_TIME, rules)


def make_address(name: str) -> Address:
    """Make an address that nobody has a key for."""
    return "0x" + sha256(f"arena {name}".encode()).hexdigest()[:40]


# --- Nodes ---------------------------------------------------------------------------------------------------


def build_node(stage: Stage, reader: Reader, place: int, folder: Path) -> Node | None:
    """Build a node, honest or not; None if it takes no part at all."""
    party = stage.world.parties[place]
    if party.malicious and not stage.cell.attack.present:
        return None
    settings = stage.get_training(party, stage.world.table.learning_rate)
    secret = sha256(f"arena {stage.cell.seed}/{place}".encode()).digest()
    identity = Identity(make_address(f"node {place}"), secret, party.domain, STAKE)
    evaluation = EvaluationSettings(max_length=stage.world.table.max_length)
    held_out = stage.list_held_out(place)
    judge = Judge(held_out, evaluation, watch=stage.meter, layers=stage.cell.defence)
    rows = stage.list_rows(place)
    if not party.malicious:
        feedback = Feedback(folder / str(place))
        honest = Learner(rows, settings, watch=stage.meter, feedback=feedback, stage=stage, place=place)
        return Node(identity, stage.world.model, reader, MemoryJournal(), MemoryStore(), honest, judge)
    learner = Learner(rows, settings, watch=stage.meter, stage=stage, place=place)
    liar = Liar(held_out, evaluation, watch=stage.meter, layers=stage.cell.defence, stage=stage)
    reader = Reader(Withholder(reader.store)) if stage.cell.attack.withhold else reader
    return Rogue(identity, stage.world.model, reader, MemoryJournal(), MemoryStore(), learner, liar, stage)


@dataclass(frozen=True)
class Learner(Proposer):
    """A proposer that remembers what it trained, and whose honest deltas the malicious know before they send theirs."""

    stage: Stage = field(kw_only=True)
    place: int = field(kw_only=True)

    @property
    def is_malicious(self) -> bool:
        """Answer whether it is one of the ring."""
        return self.stage.world.parties[self.place].malicious

    def make_update(self, model: Model, state: GlobalState, norm_ceiling: int, seed: int) -> bytes:
        """Make an update, and let the ring see it; or make of it what the ring sends."""
        if self.is_malicious and self.stage.cell.attack.delta:
            liar = replace(self, tamper=lambda delta: self._offer(state, delta))
            return Proposer.make_update(liar, model, state, norm_ceiling, seed)
        blob = super().make_update(model, state, norm_ceiling, seed)
        if not self.is_malicious:
            seen, digest = self.stage.seen, get_digest(state)
            if digest not in seen:
                seen.clear()
            seen.setdefault(digest, {})[self.place] = read_delta(state, blob)
        return blob

    def train_rows(self, model: Model, state: GlobalState, seed: int) -> Trained:
        """Train, or remember; whose training diverges changes nothing."""
        factors = b"".join(vector.tobytes() for _, vector in sorted(state.factors.items()))
        key = name_training(self.stage, self.place, self.settings) + f"{seed} {state.trained}".encode() + factors

        def work() -> Trained:
            try:
                return super(Learner, self).train_rows(model, state, seed)
            except TrainError:
                model.load_state(state)
                return {factor: model.read_factor(factor) for factor in state.trained}

        return remember(key, work)

    def _offer(self, state: GlobalState, own: Delta) -> Delta:
        honest = list(self.stage.seen.get(get_digest(state), {}).values())
        return self.stage.ring.offer(len(self.stage.rounds), self.stage.get_rank(self.place), own, honest)


def read_delta(state: GlobalState, blob: Blob) -> Delta:
    """Read what an update holds."""
    update = decode_update(state, blob)
    return {
        factor: update.read(factor, 0, state.layout.compute_size(factor)).astype(np.int32) for factor in state.trained
    }


@dataclass
class Judge(Voter):
    """A voter that leaves out the layers which are switched off."""

    layers: DefenceTable = field(kw_only=True)

    def is_harmful(self, model: Model, reader: Reader, rules: Rules, base: Digest, candidate: GlobalState) -> bool:
        """Judge the aggregate, if that layer is on."""
        return self.layers.veto and super().is_harmful(model, reader, rules, base, candidate)

    def _score(self, model: Model, before: GlobalState, base: Digest, after: GlobalState) -> int:
        return super()._score(model, before, base, after) if self.layers.verdict else 0


@dataclass
class Liar(Judge):
    """A malicious voter: it says what helps its ring, without a look."""

    stage: Stage = field(kw_only=True)

    def mark_proposals(
        self, model: Model, reader: Reader, rules: Rules, current: Round, base: Digest, me: Address
    ) -> list[Mark]:
        """Mark by the ring's plan."""
        votes = self.stage.cell.attack.votes
        if votes == "honest":
            return super().mark_proposals(model, reader, rules, current, base, me)
        seats = [seat.node for seat in current.proposers]
        silent = Mark(flags=Flag.ABSTAIN)
        blank = [silent if node == me or slot not in current.proposals else Mark() for slot, node in enumerate(seats)]
        if votes == "lazy":
            return vote_lazily(blank)
        ring = [slot for slot, node in enumerate(seats) if node in list_ring(self.stage)]
        return collude(blank, ring) if votes == "collude" else grieve(blank, ring)

    def is_harmful(self, model: Model, reader: Reader, rules: Rules, base: Digest, candidate: GlobalState) -> bool:
        """Veto if that is the plan; else never."""
        if self.stage.cell.attack.votes == "honest" and not self.stage.cell.attack.veto:
            return super().is_harmful(model, reader, rules, base, candidate)
        return self.stage.cell.attack.veto


def list_ring(stage: Stage) -> set[Address]:
    """List the malicious nodes."""
    return {make_address(f"node {place}") for place, party in enumerate(stage.world.parties) if party.malicious}


@dataclass
class Rogue(Node):
    """A malicious node: it may hide what it committed to, and leave."""

    stage: Stage

    def decide(self, state: State) -> Call | None:
        """Decide as an honest node would, and depart from it where the attack says so."""
        me = self.identity.address
        if state.phase == Phase.GATHER and self.stage.ring.has_left(state.round.number):
            return Leave(me) if me in state.nodes and not state.nodes[me].release else None
        return hide_openings(super().decide(state), tuple(OPENINGS[act] for act in self.stage.cell.attack.silent))


# --- What the ledger says ------------------------------------------------------------------------------------


@dataclass
class Story:
    """Notes what became of each round's proposals, and measures the state after it."""

    stage: Stage
    reader: Reader
    addresses: Sequence[Address]
    seats: tuple[Address, ...] = ()
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    slashed: dict[Address, int] = field(default_factory=dict)
    measured: Digest = b""

    def on_entries(self, _entries: Sequence[Entry], steps: Sequence[Step]) -> None:
        """Hear of a stretch of the log."""
        for step in steps:
            if not self.stage.rounds:
                self._measure(step.state.genesis.rules.genesis, {})
            for event in step.events:
                self._hear(event, step.state)

    def _hear(self, event: Event, state: State) -> None:
        match event:
            case Drawn():
                self.seats, self.verdicts, self.slashed = event.proposers, {}, {}
            case Judged():
                self.verdicts[event.slot] = event.verdict
            case Slashed() if event.fault in BLAMED:
                self.slashed[event.node] = self.slashed.get(event.node, 0) + event.amount
            case Settled():
                self._end_round(event, state)

    def _end_round(self, event: Settled, state: State) -> None:
        # What the verdict said, whatever became of the round; what was not published or judged has none.
        proposals = [
            {
                "node": self._find(node),
                "verdict": self.verdicts[slot].name,
                "accepted": self.verdicts[slot] in MERGED_VERDICTS,
                "slashed": node in self.slashed,
            }
            for slot, node in enumerate(self.seats)
            if slot in self.verdicts
        ]
        fined = sorted(self._find(node) for node in self.slashed)
        noted = {"outcome": event.outcome.name, "proposals": proposals, "slashed": fined}
        self._measure(state.digest, noted)

    def _find(self, address: Address) -> int:
        names = {make_address(f"node {place}"): place for place in range(len(self.stage.world.parties))}
        return names[address]

    def _measure(self, digest: Digest, noted: dict[str, Any]) -> None:
        self.stage.world.model.load_state(self.reader.fetch_state(digest))
        self.stage.measure_round(noted)
