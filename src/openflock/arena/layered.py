"""The protocol itself, each of its layers switchable: nodes over the specification ledger, some of them malicious."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from openflock.arena.attacks.behaviours import Withholder
from openflock.arena.attacks.deltas import average, join_factors, part_factors
from openflock.arena.memory import MemoryJournal, MemoryStore
from openflock.arena.rogues import (
    Judge,
    Liar,
    Rogue,
    SharedExaminer,
    list_names,
    list_stakes,
    make_address,
)
from openflock.arena.settings import Cell
from openflock.arena.stage import Stage, name_training, remember
from openflock.arena.worlds import list_domains
from openflock.edge.spec_ledger import SpecLedger
from openflock.learn.data import Row
from openflock.learn.evaluate import EvaluationSettings
from openflock.learn.model import Model
from openflock.learn.probe import Clue
from openflock.learn.sealed import encode_sealed
from openflock.learn.train import Trained, TrainError, take_rows, train
from openflock.local import Network
from openflock.node.feedback import Feedback
from openflock.node.node import Identity, Node
from openflock.node.notebook import Notebook
from openflock.node.proposer import Delta, Proposer, compute_delta
from openflock.node.reader import Reader
from openflock.node.searcher import Searcher
from openflock.node.unsealer import Unsealer
from openflock.protocol.calls import (
    Credited,
    Drawn,
    Event,
    Expose,
    Fund,
    Judged,
    Settled,
    Slashed,
)
from openflock.protocol.ports import Blob, BlobStore, Entry
from openflock.protocol.recipe import Recipe
from openflock.protocol.replay import Step
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Digest, Fault, Genesis, Reason, Round, State, Verdict
from openflock.protocol.verdict import MERGED_VERDICTS
from openflock.update.codec import decode_update, get_digest, stream_state
from openflock.update.fixed import GlobalState, initial_state

GENESIS_TIME: Final = 1_700_000_000
TOKEN: Final = 10**18
POOL: Final = 1_000 * TOKEN
STAKE: Final = 100 * TOKEN
BLAMED: Final = (Fault.INADMISSIBLE, Fault.BACKDOOR, Fault.WRONG_DIGEST)  # the others are fees for silence


def run_layered(stage: Stage) -> None:
    """Play a task to its end, and measure after each round."""
    with tempfile.TemporaryDirectory(prefix="openflock-arena-") as folder:
        reader = Reader(MemoryStore())
        genesis = agree(stage, reader)
        ledger = SpecLedger(genesis, f"arena {stage.cell.seed}".encode())
        ledger.submit(Fund(genesis.creator, POOL))
        unsealer = seal(stage, reader.store)
        nodes = [
            node
            for place in range(len(stage.world.parties))
            for node in build_nodes(stage, reader, place, Path(folder), genesis.rules, unsealer.digests)
        ]
        story = Story(stage, reader)
        Network(ledger, ledger, nodes, genesis.creator, story.on_entries, unsealer=unsealer).run()


def agree(stage: Stage, reader: Reader) -> Genesis:
    """Bind the rules that the cell names to its initial state."""
    recipe = Recipe(**stage.cell.defence.recipe)  # type: ignore[arg-type]  # Recipe checks each field itself
    start = initial_state(stage.world.model.layout, f"arena {stage.cell.seed}".encode(), recipe)
    rules = bind_rules(stage.cell, reader.put_state(stream_state(start)))
    return Genesis(1, make_address("task"), make_address("token"), make_address("creator"), GENESIS_TIME, rules)


def bind_rules(cell: Cell, genesis: Digest) -> Rules:
    """Complete the rules that a cell names by what follows from its world; BadRules."""
    derived = {"domains": len(list_domains(cell)), "min_nodes": max(3, cell.world.nodes // 2)}
    agreed = {"base": bytes(32), "job": bytes(32), "genesis": genesis, "rounds": cell.world.rounds}
    return Rules(**{**derived, **cell.defence.rules, **agreed})  # type: ignore[arg-type]


def seal(stage: Stage, store: BlobStore) -> Unsealer:
    """Seal what the creator opens in each round, with filler as in everybody's rows."""
    chest, place = MemoryStore(), len(stage.world.parties) + 1  # the one before is the trusted defender's
    digests = [
        chest.put(encode_sealed([stage.fill(rows, place) for rows in opened], b"arena"))
        for opened in stage.world.sealed
    ]
    return Unsealer(digests, chest, store)


# --- Nodes ---------------------------------------------------------------------------------------------------


def build_nodes(
    stage: Stage, reader: Reader, place: int, folder: Path, rules: Rules, sealed: Sequence[Digest]
) -> list[Node]:
    """Build the nodes of a party: one, several if it splits its stake, none if it takes no part at all."""
    if stage.world.parties[place].malicious and not stage.cell.attack.present:
        return []
    domain, stakes = stage.declare_domain(place), list_stakes(stage, place, STAKE, rules.min_stake)
    secrets = [f"arena {stage.cell.seed}/{place}" + (f"/{name}" if name else "") for name in range(len(stakes))]
    return [
        build_node(
            stage, reader, place, folder, Identity(name, sha256(secret.encode()).digest(), domain, stake), sealed
        )
        for name, secret, stake in zip(list_names(stage, place), secrets, stakes, strict=True)
    ]


def build_node(
    stage: Stage, reader: Reader, place: int, folder: Path, identity: Identity, sealed: Sequence[Digest]
) -> Node:
    """Build a node, honest or not."""
    party, attack = stage.world.parties[place], stage.cell.attack
    table = stage.world.table
    settings = replace(stage.get_training(party, table.learning_rate), optimizer=table.optimizer)
    evaluation = EvaluationSettings(max_length=table.max_length)
    held_out, rows = stage.list_held_out(place), stage.list_rows(place)
    examiner = SharedExaminer(sealed, evaluation, watch=stage.meter, stage=stage) if sealed else None
    if not party.malicious:
        notebook = Notebook(folder / f"{place}.json")
        judge = Judge(held_out, evaluation, watch=stage.meter, notebook=notebook, layers=stage.cell.defence)
        feedback = Feedback(folder / str(place))
        honest = Learner(rows, settings, watch=stage.meter, feedback=feedback, stage=stage, place=place)
        searcher = Searcher(held_out, evaluation, watch=stage.meter) if stage.cell.defence.probe else None
        parts = (MemoryJournal(), MemoryStore(), honest, judge)
        return Node(identity, stage.world.model, reader, *parts, searcher=searcher, examiner=examiner)
    learner = Learner(rows, settings, watch=stage.meter, stage=stage, place=place)
    liar = Liar(held_out, evaluation, watch=stage.meter, layers=stage.cell.defence, stage=stage)
    reader = Reader(Withholder(reader.store)) if attack.withhold else reader
    accounts = [make_address(f"outsider {each}") for each in range(attack.accusers)]
    leads = identity.address == make_address(f"node {place}") and stage.get_rank(place) == 0
    own = (identity, stage.world.model, reader, MemoryJournal(), MemoryStore(), learner, liar, stage)
    return Rogue(*own, accounts if leads else (), examiner=examiner)


@dataclass(frozen=True)
class Learner(Proposer):
    """A proposer that remembers what it trained, and whose honest deltas the malicious know before they send theirs."""

    stage: Stage = field(kw_only=True)
    place: int = field(kw_only=True)

    @property
    def is_malicious(self) -> bool:
        """Answer whether it is one of the ring."""
        return self.stage.world.parties[self.place].malicious

    def make_update(
        self, model: Model, state: GlobalState, norm_ceiling: int, seed: int, clues: Sequence[Clue] = ()
    ) -> bytes:
        """Make an update, and let the ring see it; or make of it what the ring sends."""
        number, ring = len(self.stage.rounds), self.stage.ring
        if self.is_malicious and self.stage.cell.attack.delta:
            rank, honest = self.stage.get_rank(self.place), self._list_known(model, state, seed)
            joined = [join_factors(delta, state.recipe) for delta in honest]

            def tamper(delta: Delta) -> Delta:
                return part_factors(ring.offer(number, rank, join_factors(delta, state.recipe), joined), delta)

            liar = replace(self, tamper=tamper)
            return Proposer.make_update(liar, model, state, norm_ceiling, seed)
        blob = super().make_update(model, state, norm_ceiling, seed, clues)
        if self.is_malicious:
            return bytes(ring.forge(number, blob)) if self.stage.cell.attack.blob else blob
        seen, digest = self.stage.seen, get_digest(state)
        if digest not in seen:
            seen.clear()
        seen.setdefault(digest, {})[self.place] = read_delta(state, blob)
        ring.hear(number, blob)
        return blob

    def train_rows(self, model: Model, state: GlobalState, rows: Sequence[Row], seed: int) -> Trained:
        """Train, or remember; whose training diverges changes nothing."""
        factors = b"".join(vector.tobytes() for _, vector in sorted(state.factors.items()))
        key = name_training(self.stage, self.place, self.settings) + f"{seed} {state.trained} {rows}".encode() + factors
        adjust = self.stage.ring.hook_training(self._list_honest(state)) if self.is_malicious else None

        def work() -> Trained:
            try:
                return train(model, state, rows, self.settings, seed, adjust=adjust)
            except TrainError:
                model.load_state(state)
                return {factor: model.read_factor(factor) for factor in state.trained}

        return work() if adjust else remember(key, work)

    def _list_known(self, model: Model, state: GlobalState, seed: int) -> list[Delta]:
        """List the honest deltas that it makes its own of; or train one, on its own rows as they were."""
        if self.stage.cell.attack.knows != "itself":
            return self._list_honest(state)
        clean, calm = self.stage.list_clean(self.place), self.stage.cell.attack.calm
        with self.watch("training"):
            rows = take_rows(clean, self.settings, state.step) if calm == 1 else clean
            trained = [self.train_rows(model, state, rows, seed + each) for each in range(calm)]
            return [average([compute_delta(state, each) for each in trained])]

    def _list_honest(self, state: GlobalState) -> list[Delta]:
        return self.stage.list_known(self.place, self.stage.seen.get(get_digest(state), {}))


def read_delta(state: GlobalState, blob: Blob) -> Delta:
    """Read what an update holds."""
    update = decode_update(state, blob)
    return {
        factor: update.read(factor, 0, state.layout.compute_size(factor)).astype(np.int32) for factor in state.trained
    }


# --- What the ledger says ------------------------------------------------------------------------------------


@dataclass
class Story:
    """Notes what became of each round's proposals, and measures the state after it."""

    stage: Stage
    reader: Reader
    seats: tuple[Address, ...] = ()
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    slashed: dict[Address, int] = field(default_factory=dict)
    refunded: set[Address] = field(default_factory=set)
    exposed: int = 0  # witnesses in this round, those that were outbid among them

    def on_entries(self, _entries: Sequence[Entry], steps: Sequence[Step]) -> None:
        """Hear of a stretch of the log."""
        for step in steps:
            if not self.stage.rounds:
                self._measure(step.state.genesis.rules.genesis, {})
            self.exposed += isinstance(step.call, Expose)
            for event in step.events:
                self._hear(event, step.state)

    def _hear(self, event: Event, state: State) -> None:
        match event:
            case Drawn():
                self.seats, self.verdicts, self.slashed, self.refunded = event.proposers, {}, {}, set()
                self.exposed = 0
            case Judged():
                self.verdicts[event.slot] = event.verdict
            case Slashed() if event.fault in BLAMED:
                self.slashed[event.node] = self.slashed.get(event.node, 0) + event.amount
            case Credited() if event.reason == Reason.REFUND:
                self.refunded.add(event.account)
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
        noted = {"outcome": event.outcome.name, "proposals": proposals, "slashed": fined, "exposed": self.exposed}
        self._measure(state.digest, noted | {"witnesses": self._list_witnesses(state.ended)})

    def _list_witnesses(self, ended: Round | None) -> list[dict[str, Any]]:
        """List the witnesses that stood: against whom, by whose account, and what became of each."""
        if ended is None:
            return []
        honest = {
            make_address(f"node {place}") for place, each in enumerate(self.stage.world.parties) if not each.malicious
        }
        return [
            {
                "node": self._find(ended.proposers[slot].node),
                "honest": witness.account in honest,
                "upheld": self.verdicts.get(slot) == Verdict.SUSPECT,
                "denied": witness.account not in self.refunded,
            }
            for slot, witnesses in sorted(ended.witnesses.items())
            for witness in witnesses
        ]

    def _find(self, address: Address) -> int:
        places = range(len(self.stage.world.parties))
        return next(place for place in places if address in list_names(self.stage, place))

    def _measure(self, digest: Digest, noted: dict[str, Any]) -> None:
        self.stage.world.model.load_state(self.reader.fetch_state(digest))
        self.stage.measure_round(noted)
