"""Tokens that are not what they should be, and what the task holds of one that is."""

import pytest

from openflock.protocol.calls import Claim, Fund, Join, Leave, Withdraw
from openflock.protocol.stakes import compute_owed
from openflock.protocol.types import Act, Phase

from ..protocol.helpers import (
    ACCUSER,
    CREATOR,
    NODES,
    OUTSIDER,
    PROPOSER,
    STAKE,
    Play,
    make_digest,
    make_genesis,
    play_round,
)
from .chain import Chain, Refused, compile_token, load
from .pair import Pair


def make_pair(token: str) -> Pair:
    pair = Pair(make_genesis(), token=compile_token(token))
    pair.submit(Fund(CREATOR, 90_000))
    for node in NODES:
        pair.submit(Join(node, 0, STAKE))
    return pair


def get_balance(pair: Pair) -> int:
    return pair.token.view("balanceOf", pair.task.address)


@pytest.mark.parametrize(
    ("token", "reason"), [("Greedy", "stakes: token takes a fee"), ("Refusing", "stakes: the token refused")]
)
@pytest.mark.parametrize(("call", "values"), [("fund", (5000,)), ("join", (0, STAKE))])
def test_tokens_that_do_not_bring_what_they_should_are_refused(token, reason, call, values):
    pair = Pair(make_genesis(), token=compile_token(token))
    with pytest.raises(Refused, match=reason):
        pair.task.call(call, *values, sender=PROPOSER)
    pair.check()
    assert get_balance(pair) == 0


@pytest.mark.parametrize("token", ["Plenty", "Silent"])
def test_the_task_holds_what_it_owes(token):
    pair = make_pair(token)
    play = Play(witnesses={ACCUSER: (PROPOSER, 100)}, hiding={Act.WITNESS: [ACCUSER]})
    for phase in (*range(Phase.PROPOSE, Phase.REATTEST), None):
        play_round(pair, play, until=phase)
        assert get_balance(pair) == compute_owed(pair.state)


def test_a_payout_goes_to_its_owner_whoever_asks_and_only_once():
    pair = play_round(make_pair("Plenty"))
    owed, before = pair.state.payable[PROPOSER], get_balance(pair)
    pair.submit(Claim(OUTSIDER, PROPOSER))
    assert before - get_balance(pair) == owed > 0
    with pytest.raises(Refused, match="nothing to claim"):
        pair.task.call("claim", PROPOSER, sender=PROPOSER)


def test_nothing_is_sent_where_nothing_is_left():
    """Some tokens refuse to send nothing; a node that lost all its stake must still be able to go."""
    pair = Pair(make_genesis(fee_cap=STAKE, no_show_fee=STAKE, hidden_ballot_fee=STAKE), token=compile_token("Silent"))
    for node in NODES:
        pair.submit(Join(node, 0, STAKE))
    play_round(pair, Play(absent={Act.UPDATE: [PROPOSER]}))
    assert pair.state.nodes[PROPOSER].stake == 0
    pair.submit(Leave(PROPOSER))
    pair.pass_time(1000)
    pair.submit(Withdraw(PROPOSER))


# --- Reentrancy ----------------------------------------------------------------------------------------------


@pytest.fixture
def reentrant():
    """A task whose token is a node of it, and calls back."""
    chain, genesis = Chain(), make_genesis()
    chain.set_moment(genesis.time, 1, lambda block: make_digest(str(block)))
    token = chain.deploy(compile_token("Reentrant"))
    rules = tuple(vars(genesis.rules).values())
    task = chain.deploy(load("Task"), token.address, CREATOR, rules)
    task.call("fund", 90_000, sender=CREATOR)
    token.call("act", task.address, task.encode("join", 0, STAKE))
    task.call("join", 0, STAKE, sender=PROPOSER)
    return task, token


LOCKED = [
    ("fund", (1,)),
    ("join", (0, STAKE)),
    ("top_up", (1,)),
    ("withdraw", ()),
    ("claim", (CREATOR,)),
    ("commit", (1, bytes(31) + b"\1", 100)),
]


@pytest.mark.parametrize("name", ["fund", "join", "top_up"])
def test_what_moves_tokens_cannot_be_entered_while_tokens_move(reentrant, name):
    task, token = reentrant
    token.call("arm", [task.encode(*call) for call in [(name, *values) for name, values in LOCKED]])
    values, sender = {"fund": ((7,), CREATOR), "join": ((0, STAKE), OUTSIDER), "top_up": ((7,), PROPOSER)}[name]
    before = token.view("balanceOf", task.address)
    task.call(name, *values, sender=sender)
    assert (token.view("attempts"), token.view("successes")) == (len(LOCKED), 0)
    assert token.view("balanceOf", task.address) == before + values[-1]


def test_a_node_that_reenters_while_it_is_paid_gets_its_stake_once(reentrant):
    task, token = reentrant
    token.call("act", task.address, task.encode("leave"))
    task.chain.env.evm.patch.timestamp += 1000
    calls = [task.encode(name, *values) for name, values in [*LOCKED, ("leave", ()), ("resolve", (PROPOSER,))]]
    token.call("arm", calls)
    before = token.view("balanceOf", task.address)
    token.call("act", task.address, task.encode("withdraw"))
    assert before - token.view("balanceOf", task.address) == STAKE
    assert token.view("balanceOf", token.address) == STAKE
    assert token.view("successes") == 1  # of `resolve`, which anyone may call and which moved nothing
    assert task.view("get_node", token.address) == (False, 0, 0, 0, 0, bytes(32))
