"""The factory creates tasks from one blueprint and lists them."""

from dataclasses import astuple

import pytest

from ..protocol.helpers import CREATOR, OUTSIDER, make_address, make_rules
from .chain import Chain, Contract, Refused, load

TOKEN = make_address("token")


@pytest.fixture
def factory():
    chain = Chain()
    blueprint = chain.deploy(load("Task"), code="blueprint")
    return chain.deploy(load("TaskFactory"), blueprint.address)


def test_a_blueprint_is_the_code_behind_the_preamble_of_erc_5202():
    chain = Chain()
    blueprint = chain.deploy(load("Task"), code="blueprint")
    code = chain.env.get_code(blueprint.address)
    assert code == bytes.fromhex("fe7100" + load("Task")["bytecode"][2:])


def test_who_creates_a_task_is_its_creator(factory):
    address = factory.call("create", TOKEN, astuple(make_rules()), sender=OUTSIDER)
    assert [(log.name, log.values) for log in factory.last] == [("TaskCreated", (address, OUTSIDER, TOKEN))]
    task = Contract(factory.chain, address, load("Task")["abi"])
    assert (task.view("creator"), task.view("token")) == (OUTSIDER, TOKEN)
    assert task.view("get_rules") == astuple(make_rules())
    with pytest.raises(Refused, match="only the creator"):
        task.call("cancel", sender=CREATOR)
    task.call("cancel", sender=OUTSIDER)


def test_rules_that_cannot_work_create_nothing(factory):
    with pytest.raises(Refused, match="rules: committees"):
        factory.call("create", TOKEN, (*astuple(make_rules())[:3], 0, *astuple(make_rules())[4:]))
    assert factory.view("count_tasks") == 0


def test_tasks_are_listed_in_pages(factory):
    tasks = [factory.call("create", TOKEN, astuple(make_rules())) for _ in range(5)]
    pages = {(0, 3): tasks[:3], (3, 3): tasks[3:], (5, 1): [], (2, 0): [], (9, 9): [], (0, 2**256 - 1): tasks}
    for (start, count), page in pages.items():
        assert list(factory.view("get_tasks", start, count)) == page
    assert factory.view("count_tasks") == 5
