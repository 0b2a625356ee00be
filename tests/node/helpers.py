"""A task with the built-in base, small enough that a round trains, votes and merges in a second."""

from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import torch

from openflock.edge.blobs import DirectoryStore
from openflock.edge.journal import Journal
from openflock.edge.spec_ledger import SpecLedger
from openflock.learn.data import Row, parse_row
from openflock.learn.evaluate import EvaluationSettings
from openflock.learn.model import Model, load_model
from openflock.learn.skills import generate_rows
from openflock.learn.train import TrainSettings
from openflock.node.feedback import Feedback
from openflock.node.node import Identity, Node
from openflock.node.notebook import Notebook
from openflock.node.proposer import Proposer, Tamper
from openflock.node.reader import Reader
from openflock.node.voter import Voter
from openflock.protocol.calls import Fund
from openflock.protocol.job import Job, encode_job
from openflock.protocol.recipe import Recipe
from openflock.protocol.round import create_state
from openflock.protocol.rules import Rules
from openflock.protocol.types import Genesis, Phase, Proposal, Round, Seat, State
from openflock.update.codec import stream_state
from openflock.update.fixed import initial_state

from ..protocol.helpers import CREATOR, POOL, STAKE, make_address, make_rules

torch.set_num_threads(1)

SEED = b"tests/node"
DOMAINS = ("reverse", "shift")
SHORT = TrainSettings(steps=2, batch_size=4, learning_rate=5e-3, max_length=64)
JUDGING = EvaluationSettings(max_length=64)
RULES: dict[str, int] = {
    "domains": 2,
    "tolerance": 1000,
    "min_benefit": 1,
    "full_benefit": 200,
    "norm_ceiling": 1 << 20,
}


@cache
def get_model() -> Model:
    return load_model(Path(str(files("openflock"))) / "assets" / "base", rank=2, alpha=8)


@cache
def get_rows(domain: int, part: int = 0, count: int = 8) -> tuple[Row, ...]:
    records = generate_rows(DOMAINS[domain], count * (part + 1), 1)[count * part :]
    return tuple(parse_row(record, DOMAINS[domain]) for record in records)


@dataclass
class Camp:
    """One task's shared places; nodes are pitched in it."""

    path: Path
    rules: Rules
    genesis: Genesis
    reader: Reader
    journal: Journal  # of all its nodes; whoever pitches them anew closes it first
    nodes: list[Node] = field(default_factory=list)

    def pitch(self, role: str, domain: int, tamper: Tamper | None = None, shuffle: int = 0) -> Node:
        """Make a node, or make it anew as after a crash: all it keeps is in files."""
        part = len(self.nodes)
        feedback = Feedback(self.path / "feedback" / role)
        proposer = Proposer(get_rows(domain, part), SHORT, self.path / "checkpoints", tamper, feedback=feedback)
        notebook = Notebook(self.path / "notebooks" / f"{role}.json")
        voter = Voter(get_rows(domain, part + 10), JUDGING, shuffle, notebook=notebook)
        identity = Identity(make_address(role), sha256(role.encode()).digest(), domain, STAKE)
        outbox = DirectoryStore(self.path / "outbox" / role)
        node = Node(identity, get_model(), self.reader, self.journal, outbox, proposer, voter)
        self.nodes.append(node)
        return node

    def open_ledger(self) -> SpecLedger:
        ledger = SpecLedger(self.genesis, b"seed")
        ledger.submit(Fund(CREATOR, POOL))
        return ledger


def make_camp(path: Path, recipe: Recipe | None = None, **overrides: int | bytes) -> Camp:
    reader = Reader(DirectoryStore(path / "blobs"))
    layout = get_model().layout
    recipe = recipe or Recipe()
    job = Job("test", "built-in", ("all-linear",), layout.rank, layout.alpha, SEED, DOMAINS, 64, recipe)
    first = reader.put_state(stream_state(initial_state(layout, SEED, recipe)))
    rules = make_rules(**{**RULES, "job": reader.store.put(encode_job(job)), "genesis": first, **overrides})
    genesis = Genesis(31337, make_address("task"), make_address("token"), CREATOR, 1_000_000, rules)
    return Camp(path, rules, genesis, reader, Journal(path / "journal.db"))


def stand_in_probe(camp: Camp, node: Node) -> State:
    """A state in PROBE in which the node is a voter, and another's proposal can be looked at."""
    me = node.identity.address
    current = Round(1, voters=(Seat(me, STAKE),), proposers=(Seat("0x" + "9" * 40, 1),))
    current.proposals[0] = Proposal(bytes(32), 1)
    return replace(create_state(camp.genesis), phase=Phase.PROBE, round=current)
