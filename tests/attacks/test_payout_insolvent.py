"""Fear: the task owes more than it holds, and the last to claim find it empty."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.calls import Cancel, Claim, Leave, Resolve, Settled, Withdraw
from openflock.protocol.types import Phase

from ..protocol.helpers import CREATOR, NODES, OUTSIDER, compute_balance, get_events, make_ledger, play_round
from ..protocol.machine import plays


@given(rounds=st.lists(plays, max_size=3), pool=st.integers(0, 10**6))
def test_everybody_claims_and_withdraws_until_nothing_is_left(rounds, pool):
    ledger = make_ledger(pool=pool, backdoor_slash=10_000, digest_slash=10_000)
    for play in rounds:
        play_round(ledger, replace(play, witnesses={}))
    if ledger.state.phase != Phase.FINISHED:
        ledger.submit(Cancel(CREATOR))
    empty(ledger)
    assert compute_balance(ledger.read(0)) == 0


def empty(ledger):
    for node in [*ledger.state.nodes]:
        ledger.submit(Resolve(OUTSIDER, node))
        ledger.submit(Leave(node))
    ledger.wait_until(ledger.get_time() + ledger.get_genesis().rules.unbonding)
    for node in [*ledger.state.nodes]:
        ledger.submit(Withdraw(node))
    for account in [*ledger.state.payable]:
        ledger.submit(Claim(OUTSIDER, account))


def test_a_round_without_a_pool_pays_nothing_and_still_ends(make_task):
    ledger = play_round(make_task(pool=0))
    assert get_events(ledger, Settled)[-1].spent == 0
    assert ledger.state.pool == 0
    assert len(ledger.state.nodes) == len(NODES)
