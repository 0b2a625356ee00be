"""Fear: a ring declares a domain that nobody else holds, and its members call each other's worthless updates good."""

import pytest

from openflock.protocol.ballot import Mark
from openflock.protocol.types import Phase, Verdict

from ..protocol.helpers import GOOD, NODES, Play, get_verdict, make_address, play_round

RING = tuple(make_address(f"ring {i}") for i in range(3))  # two others must praise a member
LONER, *OTHERS = NODES
WORTHLESS, WORTHY = 0, 200  # a ballot writes no gain as -1


def praise(voter, judged):
    """Each member gives the others the best score; honest voters see that honest updates help."""
    return Mark(WORTHLESS) if judged in RING and voter not in RING else GOOD


def examine(voter, judged):
    """On rows that the creator opened all who look see the same; the ring lies there too."""
    if judged in RING:
        return 2047 if voter in RING else WORTHLESS
    return -2048 if voter in RING else WORTHY


def lie(voter, judged):
    """Nobody opened anything, and the ring says otherwise."""
    return examine(voter, judged) if voter in RING else None


def look_away(_voter, _judged):
    return None


@pytest.mark.parametrize(
    ("seal", "ring", "loner"),
    [
        (look_away, Verdict.PAID, Verdict.UNPAID),
        (lie, Verdict.PAID, Verdict.UNPAID),
        (examine, Verdict.UNPROVEN, Verdict.PAID),
    ],
)
def test_only_on_sealed_rows_is_a_lone_holder_paid_and_a_ring_not(make_task, seal, ring, loner):
    """A ring of three among nine: a third, which is less than all who look and do not lie."""
    nodes = (*NODES, make_address("sixth"), *RING)
    seats = {"proposer_seats": 9, "voter_seats": 9}
    ledger = make_task(nodes=nodes, domains=dict.fromkeys(RING, 2) | {LONER: 1}, **seats)
    play_round(ledger, Play(mark=praise, seal=seal), until=Phase.ATTEST)
    assert {get_verdict(ledger, node) for node in RING} == {ring}
    assert get_verdict(ledger, LONER) == loner
    assert {get_verdict(ledger, node) for node in OTHERS} == {Verdict.PAID}
