"""What must hold of a task after every call, whoever called; only the books' sum is that of the code it checks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from openflock.protocol.calls import (
    Advance,
    Call,
    Commit,
    Confirm,
    Credited,
    Drawn,
    Entered,
    Event,
    Expose,
    Fund,
    Join,
    Publish,
    Reveal,
    Seeded,
    Sent,
    Settled,
    Slashed,
    TopUp,
    Withdraw,
)
from openflock.protocol.round import process
from openflock.protocol.stakes import compute_owed
from openflock.protocol.types import MAX_NODES, Act, Fault, Moment, Outcome, Phase, Reason, State

from .helpers import OUTSIDER, make_digest

CAPPED = (Fault.NO_SHOW, Fault.HIDDEN_BALLOT, Fault.UNAVAILABLE)


def check_events(before: State, after: State, items: Sequence[Call | Event]) -> int:
    """Check what one call did, and say by how much it changed what the task holds."""
    call, *events = items
    slashed = Counter()
    for event in events:
        match event:
            case Slashed(node, fault, amount):
                slashed[node] += amount
                slashed[node, fault in CAPPED] += amount
            case Settled():
                _check_settled(before, event)
            case Credited(reason=Reason.PROPOSAL):
                _check_paid(before, event)
            case Drawn():
                _check_drawn(before, after, event)
            case Seeded(target=target):
                assert (target - before.round.target) % 256 == 0
    for node, state in before.nodes.items():
        assert slashed[node] <= state.stake
        assert slashed[node, True] <= before.genesis.rules.fee_cap
    _check_returned(before, events)
    if any(isinstance(event, Settled) for event in events):
        assert isinstance(call, Advance)
    return _count_in(call) - sum(event.amount for event in events if isinstance(event, Sent))


def check_allowed(before: State, time: int, call: Call) -> None:
    """Check that a call that was taken came in its time, and a commitment to an empty place."""
    match call:
        case Advance() if before.phase != Phase.DRAW:
            assert time > before.deadline or _have_all_acted(before)
        case Commit(sender, act):
            assert time <= before.deadline
            assert (act, sender) not in before.round.commitments
        case Publish() | Expose() | Reveal() | Confirm():
            assert time <= before.deadline
            assert before.round.commitments[Act((before.phase - 3) // 2), call.sender]
        case Withdraw():
            assert time >= before.nodes[call.sender].release > 0


def check_refused(before: State, time: int, reason: str) -> None:
    """Check that a call refused for its time came at the wrong one."""
    if reason == "rounds: the deadline has passed":
        assert time > before.deadline
    if reason == "rounds: too early":
        assert time <= before.deadline
        assert not _have_all_acted(before)


def _have_all_acted(state: State) -> bool:
    """Count by the commitments themselves whether a phase can end early."""
    committed = [node for act, node in state.round.commitments if act == (state.phase - 2) // 2]
    match state.phase:
        case Phase.GATHER | Phase.PROBE:
            return False
        case Phase.PROPOSE:
            return {seat.node for seat in state.round.proposers} <= {*committed}
        case Phase.VOTE | Phase.ATTEST:
            return {seat.node for seat in state.round.voters} <= {*committed}
        case Phase.REATTEST:
            return len(committed) >= len(state.members)
    return not any(state.round.commitments[Act((state.phase - 3) // 2), node] for node in committed)


def _count_in(call: Call) -> int:
    match call:
        case Fund(amount=amount) | Join(amount=amount) | TopUp(amount=amount) | Commit(bond=amount):
            return amount
    return 0


def _check_settled(before: State, event: Settled) -> None:
    assert event.round == before.round.number
    assert 0 <= event.spent <= before.round.budget
    if event.outcome not in (Outcome.MERGED, Outcome.UNCHANGED, Outcome.VETOED):
        assert event.spent == 0
    if event.outcome != Outcome.MERGED:
        assert event.digest == before.digest


def _check_returned(before: State, events: Sequence[Event]) -> None:
    """Check that what a round did not spend went to the creator, and nothing else of its budget."""
    spent = [event.spent for event in events if isinstance(event, Settled)]
    creator = before.genesis.creator
    returned = [event.amount for event in events if isinstance(event, Credited) and event.reason == Reason.RETURN]
    assert all(event.account == creator for event in events if getattr(event, "reason", None) == Reason.RETURN)
    if spent and not any(isinstance(event, Entered) and event.phase == Phase.FINISHED for event in events):
        assert sum(returned) == before.round.budget - spent[0]


def _check_paid(before: State, event: Credited) -> None:
    """Check a proposal's pay against its exact share, which it may not exceed by a unit."""
    rules, seats = before.genesis.rules, before.round.proposers
    (slot,) = (slot for slot, seat in enumerate(seats) if seat.node == event.account)
    assert not before.round.agreed.duplicates >> 64 + slot & 1
    share = Fraction(seats[slot].weight * before.round.judgements[slot].benefit, sum(seat.weight for seat in seats))
    assert event.amount <= share / rules.full_benefit * before.round.budget * rules.proposer_share / 10_000


def _check_drawn(before: State, after: State, event: Drawn) -> None:
    rules, members = before.genesis.rules, len(before.members)
    total = sum(before.nodes[node].stake for node in before.members)
    assert after.round.total_stake == total
    assert sum(event.proposer_weights) == (total if members <= rules.proposer_seats else rules.proposer_seats)
    assert sum(event.voter_weights) == (total if members <= rules.voter_seats else rules.voter_seats)
    assert event.budget + after.pool == before.pool


def check_state(state: State, balance: int) -> None:
    """Check a state by itself; `balance` is what the task holds, counted outside it."""
    rules = state.genesis.rules
    assert compute_owed(state) == balance
    amounts = [state.pool, state.round.held, state.round.budget, *state.payable.values()]
    assert min([*amounts, *(node.stake for node in state.nodes.values())]) >= 0

    eligible = {node for node, it in state.nodes.items() if it.stake >= rules.min_stake and not it.release}
    assert len(set(state.members)) == len(state.members)
    assert set(state.members) == eligible
    leaves = {node - MAX_NODES: stake for node, stake in state.tree.items() if node >= MAX_NODES and stake}
    assert leaves == {position: state.nodes[node].stake for position, node in enumerate(state.members)}
    assert state.tree.get(1, 0) == sum(leaves.values())

    assert 1 <= state.round.number <= rules.rounds
    match state.phase:
        case Phase.FINISHED:
            assert state.deadline == state.pool == 0
        case Phase.DRAW:
            assert state.deadline == state.round.target > 0
        case _:
            assert state.deadline > state.genesis.time
    for act, opened in state.round.opened.items():
        assert opened <= state.round.committed[act]
    assert all(fee <= rules.fee_cap for fee in state.round.charged.values())


def count_advances_to_end(state: State, time: int, block: int) -> int:
    """Count the calls by which an outsider alone ends the running round, each at the first moment that allows it."""
    number, count = state.round.number, 0
    while state.round.number == number and state.phase != Phase.FINISHED:
        time, block = max(time, state.deadline + 1 if state.phase != Phase.DRAW else 0), block + 1
        if state.phase == Phase.DRAW:
            block = max(block, state.deadline + 1)
        hashes = {known: make_digest(f"block {known}") for known in range(block - 256, block)}
        state, _ = process(replace(state), Advance(OUTSIDER), Moment(time, block, hashes))
        count += 1
    return count
