"""What must hold of a task after every call, whoever called; nothing here is shared with the code that it checks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from openflock.protocol.calls import (
    Advance,
    Call,
    Commit,
    Drawn,
    Event,
    Fund,
    Join,
    Seeded,
    Sent,
    Settled,
    Slashed,
    TopUp,
)
from openflock.protocol.round import process
from openflock.protocol.types import MAX_NODES, Fault, Moment, Outcome, Phase, State

from .helpers import OUTSIDER, compute_owed, make_digest

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
            case Drawn():
                _check_drawn(before, after, event)
            case Seeded(target=target):
                assert (target - before.round.target) % 256 == 0
    for node, state in before.nodes.items():
        assert slashed[node] <= state.stake
        assert slashed[node, True] <= before.genesis.rules.fee_cap
    if any(isinstance(event, Settled) for event in events):
        assert isinstance(call, Advance)
    return _count_in(call) - sum(event.amount for event in events if isinstance(event, Sent))


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
