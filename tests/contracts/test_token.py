"""The development token, under a task as a real one would be."""

from dataclasses import astuple

import pytest

from ..protocol.helpers import CREATOR, OUTSIDER, PROPOSER, STAKE, make_rules
from .chain import DEPLOYER, Chain, Refused, load


@pytest.fixture
def task():
    chain = Chain()
    token = chain.deploy(load("Token"))
    return chain.deploy(load("Task"), token.address, CREATOR, astuple(make_rules())), token


def test_only_its_owner_mints(task):
    _, token = task
    with pytest.raises(Refused):
        token.call("mint", OUTSIDER, 1, sender=OUTSIDER)
    token.call("mint", OUTSIDER, 1, sender=DEPLOYER)
    assert token.view("balanceOf", OUTSIDER) == 1


def test_a_stake_is_taken_only_from_who_allows_it(task):
    task, token = task
    token.call("mint", PROPOSER, STAKE)
    with pytest.raises(Refused, match="allowance"):
        task.call("join", 0, STAKE, sender=PROPOSER)
    token.call("approve", task.address, STAKE, sender=PROPOSER)
    task.call("join", 0, STAKE, sender=PROPOSER)
    assert [token.view("balanceOf", account) for account in (PROPOSER, task.address)] == [0, STAKE]
    task.call("leave", sender=PROPOSER)
    task.chain.env.evm.patch.timestamp += 1000
    task.call("withdraw", sender=PROPOSER)
    assert token.view("balanceOf", PROPOSER) == STAKE
