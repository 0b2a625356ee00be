"""Types, constants and containers of one task."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TypeVar

from openflock.protocol.rules import Rules

# --- Types ---------------------------------------------------------------------------------------------------

Address = str  # "0x" and 40 lower-case hex digits
Digest = bytes  # 32 bytes, SHA-256 of a blob
Amount = int  # smallest unit of the task's token


class Revert(Exception):
    """Refuse a call and leave the state as it was; the text reads `module: reason`, as in the contract."""


class Phase(IntEnum):
    """Where a task stands; an act `a` is committed in phase 2 + 2a and opened in the next."""

    GATHER = 0
    DRAW = 1
    PROPOSE = 2
    PUBLISH = 3
    PROBE = 4
    EXPOSE = 5
    VOTE = 6
    REVEAL = 7
    ATTEST = 8
    CONFIRM = 9
    REATTEST = 10
    RECONFIRM = 11
    FINISHED = 12


class Act(IntEnum):
    """What is committed, then opened; the appeal is the attestation put to all stake."""

    UPDATE = 0
    WITNESS = 1
    BALLOT = 2
    ATTESTATION = 3
    APPEAL = 4


class Flag(IntFlag):
    """What a voter says of a proposal beside its score."""

    UNAVAILABLE = 1
    INADMISSIBLE = 2
    SUSPECT = 4
    ABSTAIN = 8


NO_FLAGS = Flag(0)


class Verdict(IntEnum):
    """What the ballots add up to for one proposal; only PAID and UNPAID are merged."""

    NONE = 0
    PAID = 1
    UNPAID = 2
    UNAVAILABLE = 3
    INADMISSIBLE = 4
    SUSPECT = 5
    HARMFUL = 6
    UNPROVEN = 7
    UNJUDGED = 8


class Outcome(IntEnum):
    """How a round ended; only MERGED moves the global state."""

    MERGED = 0
    UNCHANGED = 1
    VETOED = 2
    EMPTY = 3
    VOID = 4
    IDLE = 5


class Fault(IntEnum):
    """Why stake was taken."""

    NO_SHOW = 0
    HIDDEN_BALLOT = 1
    UNAVAILABLE = 2
    INADMISSIBLE = 3
    BACKDOOR = 4
    WRONG_DIGEST = 5


class Reason(IntEnum):
    """Why an account may claim more than before."""

    PROPOSAL = 0
    VOTE = 1
    BOUNTY = 2
    REFUND = 3
    BURN = 4
    RETURN = 5


# --- Constants -----------------------------------------------------------------------------------------------

MAX_PROPOSERS = 16  # a ballot has room for 16 proposals
MAX_NODES = 4096  # leaves of the sum tree
MAX_STAKE = 2**88  # of a node or a witness; 4,096 of them stay under 2**100, as the pool does when it is funded, so
MAX_POOL = 2**100  # that no product of two amounts and a score overflows 256 bits
SEED_WINDOW = 256  # blocks for which the EVM knows a block's hash
BURN_ADDRESS: Address = "0x000000000000000000000000000000000000dead"
ZERO_DIGEST: Digest = bytes(32)


def commit_phase(act: Act) -> Phase:
    """Answer in which phase an act is committed.

    >>> commit_phase(Act.BALLOT).name
    'VOTE'
    """
    return Phase(Phase.PROPOSE + 2 * act)


def open_phase(act: Act) -> Phase:
    """Answer in which phase an act is opened."""
    return Phase(Phase.PUBLISH + 2 * act)


# --- Containers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """Say when a call happens: all that a call may know of the outside.

    `hashes` maps the last `SEED_WINDOW` block numbers to block hashes; others are absent.
    """

    time: int  # seconds
    block: int
    hashes: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Genesis:
    """Name a task and what never changes in it."""

    chain: int
    task: Address
    token: Address
    creator: Address
    time: int
    rules: Rules


@dataclass(frozen=True)
class Attested:
    """Remember the hash of the last outcome a node attested, until an appeal can no longer prove it wrong."""

    round: int
    outcome: bytes


@dataclass(frozen=True)
class Node:
    """One participant: its domain and what it has at stake."""

    domain: int
    stake: Amount
    release: int = 0  # time from which a leaving node may withdraw; 0: it stays
    attested: Attested | None = None


@dataclass(frozen=True)
class Seat:
    """A node in a committee; weight is seats drawn, or its stake where the committee takes everybody."""

    node: Address
    weight: int


@dataclass(frozen=True)
class Proposal:
    """An opened update: what a proposer offers, by digest; `domain` is the one that it had declared by then."""

    digest: Digest
    size: int
    domain: int = 0


@dataclass(frozen=True)
class Merged:
    """What one round merged, and into which state: by that old updates are known, and proposers compared."""

    base: Digest
    proposals: tuple[Proposal, ...]
    nodes: tuple[Address, ...]  # whose they were


@dataclass(frozen=True)
class Witness:
    """An opened accusation of one proposal: who, with which bond, and the blob that says how to re-test it."""

    account: Address
    bond: Amount
    digest: Digest


@dataclass(frozen=True)
class Attestation:
    """What a voter says the round leads to."""

    digest: Digest
    duplicates: int  # 4 bits a slot: the lowest slot that it near-duplicates; above them a bit a slot: stale
    veto: bool


@dataclass(frozen=True)
class Judgement:
    """A verdict with the benefit that pays it (score units; 0 unless PAID), and whether sealed rows proved it."""

    verdict: Verdict
    benefit: int = 0
    sealed: bool = False


Container = TypeVar("Container", "Round", "State")


def _copy(container: Container) -> Container:
    """Copy a container one level deep: what its lists and dicts hold is immutable."""
    draft = copy(container)
    for name, value in vars(container).items():
        if isinstance(value, dict | list):
            setattr(draft, name, value.copy())
    return draft


@dataclass
class Round:
    """All that one round adds; a new round starts empty. Slots are positions in `proposers`."""

    number: int
    tries: int = 0
    target: int = 0
    seed: bytes = bytes(32)
    budget: Amount = 0
    everybody: bool = False  # all members propose, so each risks the bond of one seat
    total_stake: Amount = 0
    proposers: tuple[Seat, ...] = ()
    voters: tuple[Seat, ...] = ()
    commitments: dict[tuple[Act, Address], bytes] = field(default_factory=dict)
    committed: dict[Act, int] = field(default_factory=dict)
    opened: dict[Act, int] = field(default_factory=dict)
    bonds: dict[Address, Amount] = field(default_factory=dict)
    held: Amount = 0  # bonds of witnesses not yet opened
    proposals: dict[int, Proposal] = field(default_factory=dict)
    witnesses: dict[int, tuple[Witness, ...]] = field(default_factory=dict)
    ballots: dict[Address, int] = field(default_factory=dict)
    sealed: dict[Address, int] = field(default_factory=dict)  # the second words of the same ballots
    judgements: tuple[Judgement, ...] = ()
    peer_seed: bytes = bytes(32)  # picks each voter's peer; fixed when the ballots are open
    attestations: dict[Address, Attestation] = field(default_factory=dict)
    tally: dict[tuple[Act, Digest, int], int] = field(default_factory=dict)
    agreed: Attestation | None = None  # the outcome that two thirds attested in this act
    vetoes: int = 0
    charged: dict[Address, Amount] = field(default_factory=dict)  # fees taken in this round

    def copy(self) -> "Round":
        """Give a draft whose containers can change without touching this one."""
        return _copy(self)


@dataclass
class State:
    """A whole task between two calls."""

    genesis: Genesis
    digest: Digest  # the global state
    phase: Phase
    deadline: int
    round: Round
    members: list[Address] = field(default_factory=list)  # who can be drawn; a node's position is its leaf
    nodes: dict[Address, Node] = field(default_factory=dict)
    tree: dict[int, int] = field(default_factory=dict)
    pool: Amount = 0
    payable: dict[Address, Amount] = field(default_factory=dict)
    salts: bytes = bytes(32)  # xor over all salts ever opened
    finals: dict[int, bytes] = field(default_factory=dict)  # rounds that an appeal decided
    cancelled: bool = False
    ended: Round | None = None  # the last round that was settled, for who looks back; no rule reads it
    merged: tuple[Merged, ...] = ()  # the last rounds that moved the global state, the newest last; as little a rule's

    def copy(self) -> "State":
        """Give a draft whose containers can change without touching this one."""
        draft = _copy(self)
        draft.round = self.round.copy()
        return draft
