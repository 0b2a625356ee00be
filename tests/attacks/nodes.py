"""Whole nodes, honest and not, that train, judge and merge; each has a store of its own, filled by who serves it."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openflock.edge.blobs import DirectoryStore
from openflock.edge.spec_ledger import SpecLedger
from openflock.local import Network
from openflock.node.node import Node
from openflock.node.reader import Reader
from openflock.protocol.calls import Call, Commit, Opening, Settled, Slashed
from openflock.protocol.ports import Blob, BlobMissing
from openflock.protocol.rules import compute_phase_times
from openflock.protocol.types import Act, Address, Digest, Fault, Outcome, Phase, State

from ..node.helpers import Camp, make_camp
from ..protocol.helpers import OUTSIDER, STAKE, get_events, make_address

ROLES = ("proposer", "rival", "voter", "skeptic")
PROPOSER, RIVAL, VOTER, SKEPTIC = map(make_address, ROLES)
MAX_CALLS = 40  # of four nodes and a keeper in one round


class Peer:
    """The store of one node: it holds what it was served, and what it puts it serves to whom it likes.

    It can be deaf to the first blob that another brought, whoever serves it later.
    """

    def __init__(self, directory: Path) -> None:
        self.own, self.serves, self.spoils = DirectoryStore(directory), [self], []
        self.asked, self.brought, self.deaf_to = Counter(), [], []

    def put(self, data: Blob) -> Digest:
        for peer in self.serves:
            peer.own.put(data)
        digest = self.own.put(data)
        self.brought.append(digest)
        for peer in self.spoils:
            (peer.own.directory / digest.hex()).write_bytes(b"not what was announced")
        return digest

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        return self.put(b"".join(bytes(part) for part in parts))

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        self.asked[digest] += 1
        if digest in self.deaf_to[:1]:
            raise BlobMissing("it never comes through")
        return self.own.fetch(digest, max_size)


class Liar(Node):
    """A node whose openings are not those of its work: `lie` changes them before it commits to them."""

    lie: Callable[[Node, State, Act, Opening], Opening] = staticmethod(lambda node, state, act, opening: opening)

    def _propose(self, state: State) -> Opening:
        return self.lie(self, state, Act.UPDATE, super()._propose(state))

    def _judge(self, state: State, act: Act) -> Opening | None:
        opening = super()._judge(state, act)
        return opening and self.lie(self, state, act, opening)


@dataclass
class Silent:
    """A node that keeps calls to itself in the first round: it does not commit to some acts, nor open others."""

    node: Node
    absent: Collection[Act] = ()
    hiding: Collection[Act] = ()

    def decide(self, state: State) -> Call | None:
        call = self.node.decide(state)
        if state.round.number > 1 or state.phase < Phase.PROPOSE:
            return call
        silent = self.absent if isinstance(call, Commit) else self.hiding
        return None if Act((state.phase - Phase.PROPOSE) // 2) in silent else call


def pitch_camp(path: Path, **rules: int) -> Camp:
    """Four nodes, two of each domain, each with a store of its own that it fills for all; a fee expels none."""
    camp = make_camp(path, **{"rounds": 1, "min_stake": STAKE // 2, "bond": STAKE // 2, **rules})
    peers = [Peer(path / "stores" / role) for role in ROLES]
    for position, (role, peer) in enumerate(zip(ROLES, peers, strict=True)):
        peer.serves = peers
        for digest in (camp.rules.job, camp.rules.genesis):
            peer.own.put(camp.reader.store.fetch(digest, 2**30))
        camp.pitch(role, position % 2).reader = Reader(peer)
    return camp


def corrupt(camp: Camp, role: str, lie: Callable[[Node, State, Act, Opening], Opening]) -> Liar:
    """Turn one of a camp's nodes into a liar."""
    position = ROLES.index(role)
    liar = Liar(**vars(camp.nodes[position]))
    liar.lie = lie
    camp.nodes[position] = liar
    return liar


def play(camp: Camp, nodes: Sequence[Node | Silent] | None = None) -> SpecLedger:
    """Play a task to its end; each round must end within its phases, whatever the nodes do."""
    ledger = camp.open_ledger()
    Network(ledger, ledger, nodes or camp.nodes, OUTSIDER, lambda entries, steps: None).run()
    check_times(ledger)
    return ledger


def check_times(ledger: SpecLedger) -> None:
    """Check that every round took no longer than all its phases, with a second for each call."""
    rules = ledger.get_genesis().rules
    began = ledger.get_genesis().time
    for entry in ledger.read(0):
        if isinstance(entry.item, Settled):
            assert entry.time - began <= sum(compute_phase_times(rules)) + MAX_CALLS
            began = entry.time


def get_outcomes(ledger: SpecLedger) -> list[Outcome]:
    """How each round ended."""
    return [event.outcome for event in get_events(ledger, Settled)]


def get_payers(ledger: SpecLedger) -> dict[Address, dict[Fault, int]]:
    """Who lost stake, and for what."""
    losses: dict[Address, dict[Fault, int]] = {}
    for event in get_events(ledger, Slashed):
        if event.amount:
            of_node = losses.setdefault(event.node, {})
            of_node[event.fault] = of_node.get(event.fault, 0) + event.amount
    return losses
