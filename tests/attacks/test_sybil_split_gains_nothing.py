"""Fear: a whale splits its stake over many nodes and gains seats, weight, pay or a veto."""

import pytest

from openflock.protocol.sortition import find_leaf
from openflock.protocol.types import Act, Phase, Reason

from ..protocol.helpers import (
    FREELOADER,
    NODES,
    STAKE,
    Play,
    get_credits,
    get_losses,
    make_address,
    play_round,
)

SYBILS = tuple(make_address(f"sybil {i}") for i in range(3))
OTHERS = NODES[:4]
WHOLE = {"nodes": (*OTHERS, FREELOADER), "stakes": {FREELOADER: 3 * STAKE}}
SPLIT = {"nodes": (*OTHERS, *SYBILS)}


def own(ledger, seats):
    return sum(seat.weight for seat in seats if seat.node not in OTHERS)


def test_where_all_vote_the_weight_is_the_stake(make_task):
    weights = []
    for crowd in (WHOLE, SPLIT):
        ledger = play_round(make_task(**crowd), until=Phase.PROPOSE)
        weights.append((own(ledger, ledger.state.round.proposers), own(ledger, ledger.state.round.voters)))
    assert weights == [(3 * STAKE, 3 * STAKE)] * 2


@pytest.mark.parametrize("crowd", [WHOLE, SPLIT])
def test_where_seats_are_drawn_the_expected_seats_are_the_stake(make_task, crowd):
    """A seat falls to each point of all stake alike: 3 of 7 fall to the whale, whole or split."""
    ledger = make_task(**crowd, proposer_seats=2)
    state = ledger.state
    points = [state.members[find_leaf(state.tree, point)] for point in range(0, 7 * STAKE, 100)]
    assert sum(node not in OTHERS for node in points) == len(points) * 3 // 7


def test_pay_is_no_more_for_the_split(make_task):
    totals = []
    for crowd in (WHOLE, SPLIT):
        ledger = play_round(make_task(**crowd))
        pays = [get_credits(ledger, node) for node in (FREELOADER, *SYBILS)]
        totals.append([sum(pay.get(reason, 0) for pay in pays) for reason in (Reason.PROPOSAL, Reason.VOTE)])
    assert all(split <= whole for whole, split in zip(*totals, strict=True))


def test_fees_for_silence_are_no_less_for_the_split(make_task):
    costs = []
    for crowd in (WHOLE, SPLIT):
        ledger = play_round(make_task(**crowd), Play(absent={Act.UPDATE: (FREELOADER, *SYBILS)}))
        costs.append(sum(sum(get_losses(ledger, node).values()) for node in (FREELOADER, *SYBILS)))
    assert costs == [10, 30]
