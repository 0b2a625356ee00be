"""Rules, actors and a driver for whole rounds; every test of the protocol is told in these words."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from openflock.edge.spec_ledger import SpecLedger
from openflock.protocol.ballot import Mark, compute_ballot, compute_sealed_word
from openflock.protocol.calls import (
    Advance,
    Call,
    Commit,
    Confirm,
    Credited,
    Event,
    Expose,
    Fund,
    Join,
    Publish,
    Reveal,
    Sent,
    Settled,
    Slashed,
    TopUp,
)
from openflock.protocol.commitment import (
    compute_attestation_content,
    compute_ballot_content,
    compute_commitment,
    compute_update_content,
    compute_witness_content,
)
from openflock.protocol.ports import Entry
from openflock.protocol.round import is_complete
from openflock.protocol.rules import Rules
from openflock.protocol.stakes import compute_owed
from openflock.protocol.types import (
    Act,
    Address,
    Fault,
    Genesis,
    Outcome,
    Phase,
    Reason,
    Revert,
    State,
    Verdict,
    commit_phase,
    open_phase,
)

# --- Actors and rules ----------------------------------------------------------------------------------------


def make_digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def make_address(role: str) -> Address:
    return "0x" + make_digest(role)[:20].hex()


CREATOR, OUTSIDER, ACCUSER = map(make_address, ("creator", "outsider", "accuser"))
PROPOSER, RIVAL, VOTER, SKEPTIC, FREELOADER = NODES = tuple(
    map(make_address, ("proposer", "rival", "voter", "skeptic", "freeloader"))
)
LATECOMER = make_address("latecomer")
STAKE = 1000
POOL = 90_000


def make_rules(**overrides: int | bytes) -> Rules:
    """Small valid rules: up to eight nodes all propose and all vote, with the weight of their stake."""
    rules = {
        "base": make_digest("base"), "job": make_digest("job"), "genesis": make_digest("genesis"),
        "domains": 3, "rounds": 3, "min_nodes": 3, "min_voters": 2, "proposer_seats": 8, "voter_seats": 8,
        "min_stake": STAKE, "bond": STAKE,
        "gather": 100, "propose": 20, "publish": 20, "probe": 20, "expose": 20, "vote": 20, "reveal": 20,
        "attest": 20, "confirm": 20,
        "seed_delay": 2, "max_tries": 3, "unbonding": 1000,
        "max_size": 1 << 20, "norm_ceiling": 1 << 20, "tolerance": 20, "domain_quorum": 3334,
        "min_benefit": 50, "full_benefit": 200, "reject_unproven": 0, "duplicate_cosine": 900,
        "proposer_share": 6000, "agreement_share": 3000, "no_show_fee": 10, "hidden_ballot_fee": 25, "fee_cap": 40,
        "inadmissible_slash": 5000, "backdoor_slash": 9000, "digest_slash": 4000, "bounty_share": 5000,
        "witness_bond": 100, "witnesses": 2,
    }  # fmt: skip
    return Rules(**(rules | overrides))


def make_genesis(**overrides: int | bytes) -> Genesis:
    task, token = make_address("task"), make_address("token")
    return Genesis(31337, task, token, CREATOR, 1_000_000, make_rules(**overrides))


def make_ledger(
    nodes: Collection[Address] = NODES,
    domains: Mapping[Address, int] = {},
    stakes: Mapping[Address, int] = {},
    pool: int = POOL,
    kind: type[SpecLedger] = SpecLedger,
    **overrides: int | bytes,
) -> SpecLedger:
    """A funded task that the given nodes joined."""
    ledger = kind(make_genesis(**overrides))
    if pool:
        ledger.submit(Fund(CREATOR, pool))
    for node in nodes:
        ledger.submit(Join(node, domains.get(node, 0), stakes.get(node, STAKE)))
    return ledger


# --- What a round's nodes do ---------------------------------------------------------------------------------

GOOD = Mark(100)


@dataclass(frozen=True)
class Play:
    """What each node does in a round; by default all are present and agree."""

    absent: Mapping[Act, Collection[Address]] = field(default_factory=dict)  # never commit
    hiding: Mapping[Act, Collection[Address]] = field(default_factory=dict)  # commit, and never open
    mark: Callable[[Address, Address], Mark] = lambda voter, proposer: GOOD
    seal: Callable[[Address, Address], int | None] = lambda voter, proposer: None  # score on sealed rows
    noise: int = 0  # bits that are turned over in everybody's second word
    digest: Callable[[Address, Act], bytes] = lambda node, act: make_digest("next state")
    vetoers: Collection[Address] = ()
    witnesses: Mapping[Address, tuple[Address, int]] = field(default_factory=dict)  # accuser: (proposer, bond)
    originals: Mapping[Address, Address] = field(default_factory=dict)  # near-duplicate: whose
    stale: Collection[Address] = ()  # whose update was merged before


def against(proposer: Address, mark: Mark, by: Collection[Address] = NODES) -> Callable[[Address, Address], Mark]:
    """Ballots that speak so of one proposer, and well of the others."""
    return lambda voter, judged: mark if judged == proposer and voter in by else GOOD


def only(*present: Address, of: Collection[Address] = NODES) -> Collection[Address]:
    """All but the given nodes: who is absent if only these are present."""
    return [node for node in of if node not in present]


def make_salt(node: Address, act: Act, number: int) -> bytes:
    return make_digest(f"salt {node} {act} {number}")


def make_opening(state: State, play: Play, act: Act, node: Address) -> Call:
    """What a node will show in an act."""
    salt = make_salt(node, act, state.round.number)
    slots = {seat.node: slot for slot, seat in enumerate(state.round.proposers)}
    match act:
        case Act.UPDATE:
            return Publish(node, make_digest(f"update {node} {state.round.number}"), 1000, salt)
        case Act.WITNESS:
            return Expose(node, slots[play.witnesses[node][0]], make_digest(f"witness {node}"), salt)
        case Act.BALLOT:
            sealed = compute_sealed_word([play.seal(node, proposer) for proposer in slots])
            ballot = compute_ballot([play.mark(node, proposer) for proposer in slots])
            return Reveal(node, ballot, sealed ^ play.noise, salt)
        case _:
            originals = {slot: slots.get(play.originals.get(proposer), slot) for proposer, slot in slots.items()}
            duplicates = sum(original << 4 * slot for slot, original in originals.items())
            duplicates |= sum(1 << 64 + slot for proposer, slot in slots.items() if proposer in play.stale)
            return Confirm(node, play.digest(node, act), duplicates, node in play.vetoers, salt)


def make_commit(state: State, act: Act, opening: Call, bond: int = 0) -> Commit:
    """Hide an opening."""
    match opening:
        case Publish(_, digest, size, _):
            content = compute_update_content(digest, size)
        case Expose(_, slot, digest, _):
            content = compute_witness_content(slot, digest)
        case Reveal(_, ballot, sealed, _):
            content = compute_ballot_content(ballot, sealed)
        case Confirm(_, digest, duplicates, veto, _):
            content = compute_attestation_content(digest, duplicates, veto)
    task, node = state.genesis, opening.sender
    hidden = compute_commitment(task.chain, task.task, state.round.number, act, node, content, opening.salt)
    return Commit(node, act, hidden, bond)


def get_actors(state: State, play: Play, act: Act) -> list[Address]:
    """Who may commit to an act."""
    match act:
        case Act.UPDATE:
            return [seat.node for seat in state.round.proposers]
        case Act.WITNESS:
            return list(play.witnesses)
        case Act.APPEAL:
            return list(state.members)
        case _:
            return [seat.node for seat in state.round.voters]


def play_phase(ledger: SpecLedger, play: Play) -> None:
    """Let all who act in this phase, and have not yet, act."""
    state = ledger.state
    for act in Act:
        if state.phase == commit_phase(act):
            for node in get_actors(state, play, act):
                if (act, node) not in state.round.commitments and node not in play.absent.get(act, ()):
                    bond = play.witnesses[node][1] if act == Act.WITNESS else 0
                    ledger.submit(make_commit(state, act, make_opening(state, play, act, node), bond))
        elif state.phase == open_phase(act):
            for node in get_actors(state, play, act):
                if state.round.commitments.get((act, node)) and node not in play.hiding.get(act, ()):
                    ledger.submit(make_opening(state, play, act, node))


def advance(ledger: SpecLedger) -> None:
    """Move on, as an outsider, at the first moment at which it is allowed."""
    if ledger.state.phase == Phase.DRAW:
        mine_past_seed(ledger)
        return
    if not is_complete(ledger.state):
        ledger.wait_until(ledger.state.deadline + 1)
    ledger.submit(Advance(OUTSIDER))


def mine_past_seed(ledger: SpecLedger) -> None:
    """Call until the seed's block is there: each refused call is a block."""
    for _ in range(1 + ledger.get_genesis().rules.seed_delay):
        try:
            return ledger.submit(Advance(OUTSIDER))
        except Revert:
            continue
    raise AssertionError("the seed's block never came")


def play_round(ledger: SpecLedger, play: Play | None = None, until: Phase | None = None) -> SpecLedger:
    """Play the running round to its end, or until a phase begins; the books must balance."""
    number, play = ledger.state.round.number, play or Play()
    while ledger.state.round.number == number and ledger.state.phase not in (until, Phase.FINISHED):
        play_phase(ledger, play)
        advance(ledger)
    assert until in (None, ledger.state.phase), f"the round ended before {until}"
    assert compute_balance(ledger.read(0)) == compute_owed(ledger.state)
    return ledger


# --- Reading what happened -----------------------------------------------------------------------------------


def get_events(ledger: SpecLedger, kind: type[Event]) -> list[Event]:
    return [entry.item for entry in ledger.read(0) if isinstance(entry.item, kind)]


def get_outcome(ledger: SpecLedger) -> Outcome:
    return get_events(ledger, Settled)[-1].outcome


def get_losses(ledger: SpecLedger, node: Address) -> dict[Fault, int]:
    """What was taken from a node, by fault."""
    return _sum((event.fault, event.amount) for event in get_events(ledger, Slashed) if event.node == node)


def get_credits(ledger: SpecLedger, account: Address) -> dict[Reason, int]:
    """What an account was given, by reason."""
    return _sum((event.reason, event.amount) for event in get_events(ledger, Credited) if event.account == account)


def get_verdict(ledger: SpecLedger, proposer: Address) -> Verdict:
    slots = [slot for slot, seat in enumerate(ledger.state.round.proposers) if seat.node == proposer]
    return ledger.state.round.judgements[slots[0]].verdict


def get_phases(ledger: SpecLedger) -> list[Phase]:
    return [entry.item.phase for entry in ledger.read(0) if hasattr(entry.item, "phase")]


def _sum(items):
    totals = {}
    for key, amount in items:
        totals[key] = totals.get(key, 0) + amount
    return totals


def compute_balance(log: Collection[Entry]) -> int:
    """What the task holds by its log: what came in less what was sent; nothing of the task's own accounts."""
    balance = 0
    for entry in log:
        match entry.item:
            case Fund(amount=amount) | Join(amount=amount) | TopUp(amount=amount) | Commit(bond=amount):
                balance += amount
            case Sent(amount=amount):
                balance -= amount
    return balance
