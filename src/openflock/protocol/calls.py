"""Calls, which ask a task for something, and the events that follow from them.

A ledger's log is calls and events in order: each call is followed by its events, so that anyone can fold the
calls through `round.process` and compare. On a chain a call appears in the log in the past tense
(`Commit` as `Committed`), the others under their own names.
"""

import re
from dataclasses import dataclass, fields

from openflock.protocol.types import Act, Address, Amount, Digest, Fault, Outcome, Phase, Reason, Verdict

# --- Calls: what an account asks of the task -----------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """Ask the task for something; `sender` is who signed."""

    sender: Address


@dataclass(frozen=True)
class Fund(Call):
    """Add to the pool that pays the rounds."""

    amount: Amount


@dataclass(frozen=True)
class Cancel(Call):
    """End the task after the running round; only its creator may."""


@dataclass(frozen=True)
class Join(Call):
    """Enrol with stake, declaring a domain."""

    domain: int
    amount: Amount


@dataclass(frozen=True)
class TopUp(Call):
    """Add to one's stake."""

    amount: Amount


@dataclass(frozen=True)
class Leave(Call):
    """Stop being drawn; the stake is released after the unbonding time."""


@dataclass(frozen=True)
class Withdraw(Call):
    """Take a released stake back."""


@dataclass(frozen=True)
class Claim(Call):
    """Send an account what it is owed; anyone may call it for anyone."""

    account: Address


@dataclass(frozen=True)
class Resolve(Call):
    """Slash a node for a digest that an appeal proved wrong; anyone may."""

    node: Address


@dataclass(frozen=True)
class Advance(Call):
    """Move the task to its next phase, once the deadline passed or all have acted; anyone may."""


@dataclass(frozen=True)
class Commit(Call):
    """Commit to an act; `bond` is for witnesses only, and zero otherwise."""

    act: Act
    commitment: bytes
    bond: Amount


@dataclass(frozen=True)
class Publish(Call):
    """Open an update."""

    digest: Digest
    size: int
    salt: bytes


@dataclass(frozen=True)
class Expose(Call):
    """Open a witness."""

    slot: int
    digest: Digest
    salt: bytes


@dataclass(frozen=True)
class Reveal(Call):
    """Open a ballot, the word on own rows and the one on sealed rows."""

    ballot: int
    sealed: int
    salt: bytes


@dataclass(frozen=True)
class Confirm(Call):
    """Open an attestation, in the committee's act or in the appeal's."""

    digest: Digest
    duplicates: int
    veto: bool
    salt: bytes


Opening = Publish | Expose | Reveal | Confirm

# --- Events: what followed from a call -----------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """Something that followed from a call."""


@dataclass(frozen=True)
class Entered(Event):
    """The task entered a phase; `deadline` is a time, or for DRAW the block whose hash gives the seed."""

    round: int
    phase: Phase
    deadline: int


@dataclass(frozen=True)
class Seeded(Event):
    """A block's hash became a round's seed."""

    target: int
    blockhash: bytes
    seed: bytes


@dataclass(frozen=True)
class Drawn(Event):
    """Seats were drawn."""

    proposers: tuple[Address, ...]
    proposer_weights: tuple[int, ...]
    voters: tuple[Address, ...]
    voter_weights: tuple[int, ...]
    budget: Amount


@dataclass(frozen=True)
class Judged(Event):
    """A proposal got its verdict."""

    slot: int
    verdict: Verdict
    benefit: int


@dataclass(frozen=True)
class Settled(Event):
    """A round ended; `digest` is the global state from now on."""

    round: int
    outcome: Outcome
    digest: Digest
    spent: Amount


@dataclass(frozen=True)
class Slashed(Event):
    """Stake was taken from a node."""

    node: Address
    fault: Fault
    amount: Amount


@dataclass(frozen=True)
class Credited(Event):
    """An account may claim more than before."""

    account: Address
    reason: Reason
    amount: Amount


@dataclass(frozen=True)
class Sent(Event):
    """Tokens left the task."""

    account: Address
    amount: Amount


def is_well_formed(call: Call) -> bool:
    """Answer whether a chain could carry a call: its numbers are 256-bit words, its addresses lower-case hex."""
    return all(_fits(getattr(call, field.name)) for field in fields(call))


def _fits(value: object) -> bool:
    if isinstance(value, bytes):
        return len(value) == 32
    if isinstance(value, str):
        return re.fullmatch(r"0x[0-9a-f]{40}", value) is not None
    return isinstance(value, int) and 0 <= value < 2**256


# --- Names in a log ------------------------------------------------------------------------------------------

PAST_TENSE: dict[type[Call], str] = {
    Fund: "Funded",
    Cancel: "Cancelled",
    Join: "Joined",
    TopUp: "ToppedUp",
    Leave: "Left",
    Withdraw: "Withdrawn",
    Claim: "Claimed",
    Resolve: "Resolved",
    Advance: "Advanced",
    Commit: "Committed",
    Publish: "Published",
    Expose: "Exposed",
    Reveal: "Revealed",
    Confirm: "Confirmed",
}
LOG_TYPES: dict[str, type[Call] | type[Event]] = {name: call for call, name in PAST_TENSE.items()} | {
    event.__name__: event for event in (Entered, Seeded, Drawn, Judged, Settled, Slashed, Credited, Sent)
}


def get_log_name(item: Call | Event) -> str:
    """Name an item as a log does.

    >>> get_log_name(Advance("0x00"))
    'Advanced'
    """
    return PAST_TENSE[type(item)] if isinstance(item, Call) else type(item).__name__
