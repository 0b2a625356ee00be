"""The life of a task, step by step, as the gas table weighs it.

Committees are drawn apart: every seat on a node of its own as far as there are so many, and all nodes are of one
domain. That is the dearest that a round of so many seats can be, and makes rounds comparable.
"""

from collections.abc import Callable, Collection, Sequence

import pytest

from openflock.protocol.ballot import Mark
from openflock.protocol.calls import Advance, Cancel, Claim, Drawn, Fund, Join, Leave, Resolve, TopUp, Withdraw
from openflock.protocol.sortition import compute_committee, compute_seed
from openflock.protocol.types import BURN_ADDRESS, MAX_NODES, Act, Address, Flag, Outcome, Phase, Revert, Seat

from ..protocol.helpers import (
    CREATOR,
    OUTSIDER,
    STAKE,
    Play,
    against,
    get_events,
    get_outcome,
    make_address,
    make_digest,
    play_round,
)
from .meter import UNBONDING, Meter

RIGHT, WRONG = make_digest("right"), make_digest("wrong")

Committee = tuple[Seat, ...]


def make_nodes(count: int) -> list[Address]:
    return [make_address(f"node {i}") for i in range(count)]


def fill(meter: Meter, nodes: Sequence[Address]) -> None:
    """Stakes bear one slash for an inadmissible update, and fall under the minimum by one for a backdoor."""
    meter.submit(Fund(CREATOR, 10**12))
    for position, node in enumerate(nodes):
        meter.submit(Join(node, 0, 16 * STAKE // 10 + position % 97))
    if len(nodes) == MAX_NODES:
        with pytest.raises(Revert, match="the task is full"):
            meter.submit(Join(OUTSIDER, 0, STAKE))


def play_agreed(meter: Meter) -> None:
    draw(meter, is_apart)
    play_round(meter)
    assert get_outcome(meter) == Outcome.MERGED


def play_inadmissible(meter: Meter) -> None:
    """One slash, of a node that stays a member."""
    draw(meter, is_apart)
    culprit = meter.state.round.proposers[0].node
    play_round(meter, Play(mark=against(culprit, Mark(100, Flag.INADMISSIBLE), meter.state.nodes)))
    assert culprit in meter.state.members


def play_no_show(meter: Meter) -> None:
    draw(meter, is_apart)
    absent = [meter.state.round.voters[-1].node]
    play_round(meter, Play(absent={Act.BALLOT: absent, Act.ATTESTATION: absent}))
    assert get_outcome(meter) == Outcome.MERGED


def play_backdoor(meter: Meter) -> None:
    """One slash, of a node that is no member any more, until it adds to its stake."""
    draw(meter, is_apart)
    culprit = meter.state.round.proposers[0].node
    accusations = {make_address(f"accuser {i}"): (culprit, 100 + i) for i in range(4)}
    play_round(meter, Play(mark=against(culprit, Mark(100, Flag.SUSPECT), meter.state.nodes), witnesses=accusations))
    assert culprit not in meter.state.members
    meter.submit(TopUp(culprit, STAKE))


def play_silence(meter: Meter) -> None:
    """Nobody attests: every voter is slashed for it."""
    draw(meter, is_apart)
    play_round(meter, Play(absent=dict.fromkeys((Act.ATTESTATION, Act.APPEAL), meter.state.nodes)))
    assert get_outcome(meter) == Outcome.VOID


def play_appeal(meter: Meter) -> None:
    """Three hold nearly all stake, so that three suffice for an appeal at any size; it convicts two of them."""
    # All of them have attested before, and act in the order of the members: what is new must not depend on the size.
    honest, *liars = sorted(get_events(meter, Drawn)[0].voters[:3], key=meter.state.members.index)
    whales, crowd = {honest, *liars}, len(meter.state.members)
    for node, share in zip((honest, *liars), (70, 15, 15), strict=True):
        meter.submit(TopUp(node, 100 * share * crowd * STAKE))
    draw(meter, lambda _, proposers, voters: is_up_to(whales, liars, proposers, voters))
    play = Play(
        digest=lambda node, act: WRONG if node in liars else RIGHT,
        absent={Act.ATTESTATION: {honest}, Act.APPEAL: meter.state.nodes.keys() - whales},
    )
    play_round(meter, play)
    assert meter.state.digest == RIGHT
    meter.submit(Resolve(OUTSIDER, liars[0]))
    leave(meter, liars[1:])


def empty(meter: Meter) -> None:
    """Some leave, from all over the tree; every reward is claimed; the creator cancels."""
    members = meter.state.members
    leave(meter, [*(members[len(members) * i // 5] for i in range(5)), members[-1]])
    for account in [account for account in meter.state.payable if account != BURN_ADDRESS]:
        meter.submit(Claim(account, account))
    meter.submit(Cancel(CREATOR))


def leave(meter: Meter, nodes: Sequence[Address]) -> None:
    for node in nodes:
        meter.submit(Leave(node))
    meter.pass_time(UNBONDING)
    for node in nodes:
        meter.submit(Withdraw(node))


# --- The draw ------------------------------------------------------------------------------------------------


def draw(meter: Meter, is_wanted: Callable[[Meter, Committee, Committee], bool]) -> None:
    """Close the gathering in a block after which the draw is as wanted, and draw."""
    meter.wait_until(meter.state.deadline + 1)
    while not is_wanted(meter, *foresee(meter)):
        meter.mine(1)
    meter.submit(Advance(OUTSIDER))
    play_round(meter, until=Phase.PROPOSE)


def foresee(meter: Meter) -> tuple[Committee, Committee]:
    """Compute whom the draw would take if the gathering closed now: this chain's hashes to come are known."""
    state, rules = meter.state, meter.get_genesis().rules
    blockhash = meter._hash(meter.get_block() + rules.seed_delay)
    seed = compute_seed(blockhash, state.salts, state.round.number)
    proposers = compute_committee(state.tree, state.members, rules.proposer_seats, seed, 0)
    return proposers, compute_committee(state.tree, state.members, rules.voter_seats, seed, 1)


def is_apart(meter: Meter, proposers: Committee, voters: Committee) -> bool:
    """Every seat falls on another node; of fewer nodes than seats, some both propose and vote."""
    rules, members = meter.get_genesis().rules, len(meter.state.members)
    drawn = {seat.node for seat in (*proposers, *voters)}
    full = len(proposers) == rules.proposer_seats and len(voters) == rules.voter_seats
    return full and len(drawn) == min(members, rules.proposer_seats + rules.voter_seats)


def is_up_to(whales: Collection[Address], liars: Collection[Address], proposers: Committee, voters: Committee) -> bool:
    """The whales have all seats, save where everybody votes; the liars have under two thirds of the votes."""
    drawn = {seat.node for seat in proposers}, {seat.node for seat in voters}
    lying = sum(seat.weight for seat in voters if seat.node in liars)
    everybody = max(seat.weight for seat in voters) >= STAKE
    return drawn[0] == whales and (everybody or drawn[1] == whales) and 3 * lying < 2 * sum(s.weight for s in voters)
