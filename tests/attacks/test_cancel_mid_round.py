"""Fear: the creator cancels in the middle of a round and takes what the round's work was promised."""

import pytest

from openflock.protocol.calls import Cancel, Claim, Fund, Leave, Settled, Withdraw
from openflock.protocol.types import BURN_ADDRESS, Outcome, Phase, Reason, Revert

from ..protocol.helpers import (
    ACCUSER,
    CREATOR,
    NODES,
    OUTSIDER,
    POOL,
    PROPOSER,
    Play,
    compute_balance,
    get_credits,
    get_events,
    play_round,
)
from .nodes import get_outcomes, get_payers, pitch_camp, play

WITNESSED = Play(witnesses={ACCUSER: (PROPOSER, 100)})
RUNNING = [phase for phase in Phase if Phase.DRAW < phase < Phase.REATTEST]


@pytest.mark.parametrize("phase", RUNNING)
def test_a_running_round_is_paid_as_if_nothing_had_happened(make_task, phase):
    ledger = play_round(make_task(), WITNESSED, until=phase)
    ledger.submit(Cancel(CREATOR))
    assert get_credits(ledger, CREATOR) == {Reason.RETURN: POOL - POOL // 3}
    play_round(ledger, WITNESSED)
    assert ledger.state.phase == Phase.FINISHED
    untouched = play_round(make_task(), WITNESSED)
    assert [get_credits(ledger, node) for node in NODES] == [get_credits(untouched, node) for node in NODES]
    (settled,) = get_events(ledger, Settled)
    assert settled.outcome == Outcome.MERGED
    assert get_credits(ledger, CREATOR) == {Reason.RETURN: POOL - settled.spent}


@pytest.mark.parametrize("phase", [Phase.GATHER, Phase.DRAW])
def test_between_rounds_the_task_ends_at_once(make_task, phase):
    ledger = play_round(make_task(), until=None if phase == Phase.GATHER else phase)
    ledger.submit(Cancel(CREATOR))
    assert ledger.state.phase == Phase.FINISHED
    with pytest.raises(Revert, match="the task is over"):
        ledger.submit(Fund(OUTSIDER, 1))


def test_after_a_cancelled_round_everybody_can_empty_the_task(make_task):
    ledger = play_round(make_task(), WITNESSED, until=Phase.VOTE)
    ledger.submit(Cancel(CREATOR))
    play_round(ledger, WITNESSED)
    for node in NODES:
        ledger.submit(Leave(node))
    for account in [*ledger.state.payable]:
        ledger.submit(Claim(OUTSIDER, account))
    ledger.wait_until(ledger.get_time() + 1000)
    for node in NODES:
        ledger.submit(Withdraw(node))
    assert get_credits(ledger, BURN_ADDRESS) == {Reason.BURN: 100}
    assert compute_balance(ledger.read(0)) == 0


@pytest.mark.parametrize("phase", [Phase.PROPOSE, Phase.VOTE, Phase.CONFIRM])
def test_nodes_at_work_end_the_round_that_was_cancelled_and_start_no_other(tmp_path, phase):
    """They train, judge and merge as if nothing had happened, are paid for it, and the task is over."""
    camp = pitch_camp(tmp_path, rounds=3)
    ledger = play(camp, [*camp.nodes, Creator(phase)])
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_payers(ledger) == {}
    assert all(sum(get_credits(ledger, node.identity.address).values()) > 0 for node in camp.nodes)
    (settled,) = get_events(ledger, Settled)
    assert get_credits(ledger, CREATOR) == {Reason.RETURN: POOL - settled.spent}
    assert [node.decide(ledger.state) for node in camp.nodes] == [None] * len(camp.nodes)


class Creator:
    """Cancels when a phase begins."""

    def __init__(self, phase):
        self.phase = phase

    def decide(self, state):
        return Cancel(CREATOR) if state.phase == self.phase and not state.cancelled else None
