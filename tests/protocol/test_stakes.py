import pytest

from openflock.protocol import stakes
from openflock.protocol.calls import Cancel, Claim, Credited, Fund, Join, Leave, Resolve, Sent, TopUp, Withdraw
from openflock.protocol.round import create_state
from openflock.protocol.sortition import get_total
from openflock.protocol.types import (
    BURN_ADDRESS,
    MAX_NODES,
    MAX_POOL,
    MAX_STAKE,
    Act,
    Fault,
    Node,
    Phase,
    Reason,
    Revert,
)

from .helpers import (
    CREATOR,
    FREELOADER,
    LATECOMER,
    NODES,
    OUTSIDER,
    POOL,
    PROPOSER,
    STAKE,
    VOTER,
    Play,
    get_events,
    make_genesis,
    make_ledger,
    play_round,
)


def refuses(ledger, call, reason):
    before = ledger.state
    with pytest.raises(Revert, match=f"^stakes: {reason}"):
        ledger.submit(call)
    assert ledger.state == before


# --- Joining and leaving -------------------------------------------------------------------------------------


def test_a_node_joins_once_with_a_domain_and_the_least_stake():
    ledger = make_ledger(nodes=())
    refuses(ledger, Join(VOTER, 3, STAKE), "no such domain")
    refuses(ledger, Join(VOTER, 2, STAKE - 1), "less than the minimum")
    refuses(ledger, Join(VOTER, 2, MAX_STAKE + 1), "amount out of range")
    ledger.submit(Join(VOTER, 2, STAKE))
    refuses(ledger, Join(VOTER, 2, STAKE), "already a node")
    assert ledger.state.nodes == {VOTER: Node(2, STAKE)}
    assert get_total(ledger.state.tree) == STAKE


@pytest.mark.parametrize("phase", [Phase.DRAW, Phase.PROPOSE, Phase.REVEAL])
def test_stake_moves_only_while_the_task_gathers(phase):
    ledger = play_round(make_ledger(), until=phase)
    refuses(ledger, Join(LATECOMER, 0, STAKE), "join while")
    refuses(ledger, TopUp(VOTER, 1), "join while")
    refuses(ledger, Leave(VOTER), "leave while")


def test_a_top_up_is_drawn_with_its_node():
    ledger = make_ledger()
    refuses(ledger, TopUp(LATECOMER, 1), "not a node")
    refuses(ledger, TopUp(VOTER, 0), "amount out of range")
    refuses(ledger, TopUp(VOTER, MAX_STAKE - STAKE + 1), "amount out of range")
    ledger.submit(TopUp(VOTER, 500))
    assert get_total(ledger.state.tree) == 5 * STAKE + 500


def test_a_leaving_node_is_not_drawn_and_its_stake_comes_back_after_unbonding():
    ledger = make_ledger()
    refuses(ledger, Withdraw(VOTER), "the node is not leaving")
    ledger.submit(Leave(VOTER))
    assert VOTER not in ledger.state.members
    release = ledger.state.nodes[VOTER].release
    refuses(ledger, Leave(VOTER), "the node is leaving")
    refuses(ledger, TopUp(VOTER, 1), "the node is leaving")
    ledger.wait_until(release - 1)
    refuses(ledger, Withdraw(VOTER), "not released yet")
    ledger.submit(Withdraw(VOTER))
    assert get_events(ledger, Sent) == [Sent(VOTER, STAKE)]
    refuses(ledger, Withdraw(VOTER), "not a node")


def test_the_last_member_takes_the_place_of_one_that_leaves():
    ledger = make_ledger()
    ledger.submit(Leave(PROPOSER))
    assert ledger.state.members == [NODES[4], *NODES[1:4]]
    ledger.submit(Leave(VOTER))
    assert get_total(ledger.state.tree) == 3 * STAKE
    assert [ledger.state.tree.get(MAX_NODES + leaf, 0) for leaf in range(5)] == [STAKE] * 3 + [0] * 2


def test_a_node_can_come_back_after_it_withdrew():
    ledger = make_ledger()
    ledger.submit(Leave(VOTER))
    ledger.wait_until(ledger.state.nodes[VOTER].release)
    refuses(ledger, Join(VOTER, 0, STAKE), "already a node")
    ledger.submit(Withdraw(VOTER))
    ledger.submit(Join(VOTER, 1, STAKE))
    assert ledger.state.members[-1] == VOTER


def test_a_full_task_takes_no_more():
    state = create_state(make_genesis())
    state.members = [f"{i:#042x}" for i in range(MAX_NODES)]
    with pytest.raises(Revert, match="the task is full"):
        stakes.process_join(state, Join(LATECOMER, 0, STAKE))


# --- Slashes -------------------------------------------------------------------------------------------------


def test_a_slash_takes_no_more_than_there_is():
    state, events = make_ledger().state.copy(), []
    assert stakes.slash(state, events, VOTER, Fault.BACKDOOR, STAKE + 1) == STAKE
    assert stakes.slash(state, events, VOTER, Fault.BACKDOOR, 1) == 0
    assert stakes.slash(state, events, OUTSIDER, Fault.BACKDOOR, 1) == 0
    assert len(events) == 1


def test_a_node_slashed_under_the_minimum_is_drawn_again_once_it_tops_up():
    ledger = make_ledger()
    ledger.state = ledger.state.copy()
    stakes.slash(ledger.state, [], VOTER, Fault.BACKDOOR, 1)
    assert VOTER not in ledger.state.members
    ledger.submit(TopUp(VOTER, 1))
    assert ledger.state.members[-1] == VOTER


# --- The pool ------------------------------------------------------------------------------------------------


def test_the_pool_has_a_ceiling():
    ledger = make_ledger(pool=0)
    refuses(ledger, Fund(OUTSIDER, 0), "amount out of range")
    refuses(ledger, Fund(OUTSIDER, MAX_POOL + 1), "amount out of range")
    ledger.submit(Fund(OUTSIDER, MAX_POOL))
    refuses(ledger, Fund(OUTSIDER, 1), "amount out of range")


def test_only_the_creator_cancels_and_only_once():
    ledger = make_ledger()
    refuses(ledger, Cancel(OUTSIDER), "only the creator cancels")
    ledger.submit(Cancel(CREATOR))
    assert ledger.state.phase == Phase.FINISHED
    assert get_events(ledger, Credited) == [Credited(CREATOR, Reason.RETURN, POOL)]
    refuses(ledger, Cancel(CREATOR), "the task is over")
    refuses(ledger, Fund(CREATOR, 1), "the task is over")


def test_nodes_leave_a_finished_task():
    ledger = make_ledger()
    ledger.submit(Cancel(CREATOR))
    ledger.submit(Leave(VOTER))
    ledger.wait_until(ledger.state.nodes[VOTER].release)
    ledger.submit(Withdraw(VOTER))
    assert get_events(ledger, Sent) == [Sent(VOTER, STAKE)]


# --- Claims --------------------------------------------------------------------------------------------------


def test_anyone_sends_an_account_what_it_is_owed_once():
    ledger = make_ledger()
    ledger.submit(Cancel(CREATOR))
    refuses(ledger, Claim(OUTSIDER, OUTSIDER), "nothing to claim")
    ledger.submit(Claim(OUTSIDER, CREATOR))
    assert get_events(ledger, Sent) == [Sent(CREATOR, POOL)]
    refuses(ledger, Claim(OUTSIDER, CREATOR), "nothing to claim")


def test_burned_amounts_go_to_nobody():
    state, events = make_ledger().state.copy(), []
    stakes.burn(state, events, 7)
    stakes.burn(state, events, 0)
    assert state.payable == {BURN_ADDRESS: 7}
    assert events == [Credited(BURN_ADDRESS, Reason.BURN, 7)]


# --- Wrong digests -------------------------------------------------------------------------------------------


def test_members_stand_still_while_they_are_counted_for_an_appeal():
    ledger = play_round(make_ledger(), Play(absent={Act.ATTESTATION: NODES}), until=Phase.REATTEST)
    refuses(ledger, Resolve(OUTSIDER, FREELOADER), "stake stands still now")


def test_resolve_needs_a_node_and_no_pending_draw():
    ledger = make_ledger()
    refuses(ledger, Resolve(OUTSIDER, LATECOMER), "not a node")
    ledger.submit(Resolve(OUTSIDER, FREELOADER))
    assert ledger.state.nodes[FREELOADER].stake == STAKE
    play_round(ledger, until=Phase.DRAW)
    refuses(ledger, Resolve(OUTSIDER, FREELOADER), "stake stands still now")
