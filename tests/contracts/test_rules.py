"""The contract refuses the rules that the specification refuses, and keeps those that it takes."""

from dataclasses import astuple, fields, replace
from types import SimpleNamespace

import pytest

from openflock.protocol.rules import BadRules, Rules

from ..protocol.helpers import CREATOR, make_address, make_genesis, make_rules
from .chain import Chain, Refused, load

DAY = 86_400
AMOUNTS = ("min_stake", "bond", "witness_bond", "no_show_fee", "hidden_ballot_fee", "fee_cap")
EDGES = {0, 1, 2, 3, 4, 5, 15, 16, 17, 32, 33, 100, 101, 128, 129, 999, 1000, 1001, 2047, 2048, 4096, 4097, 5000, 5001}
EDGES |= {10_000, 10_001, 100_000, 100_001, 30 * DAY, 30 * DAY + 1, 365 * DAY, 365 * DAY + 1, 260, 259, 261}
EDGES |= {2**40 - 1, 2**40, 2**88, 2**88 + 1, 2**128 - 1, 2**128, 2**256 - 1}
NUMBERS = [field.name for field in fields(Rules) if field.name not in ("base", "job", "genesis")]


@pytest.fixture(scope="module")
def chain():
    return Chain()


def deploy(chain, values):
    return chain.deploy(load("Task"), make_address("token"), CREATOR, values)


def get_refusal(chain, values) -> str | None:
    with chain.env.anchor():
        try:
            deploy(chain, values)
        except Refused as refused:
            return str(refused)
    return None


def is_sound(values: dict) -> bool:
    try:
        Rules(**values)
    except BadRules:
        return False
    return True


@pytest.mark.parametrize("name", NUMBERS)
def test_both_refuse_the_same_rules(chain, name):
    sound = vars(make_rules())
    for edge in EDGES:
        values = sound | {name: edge}
        refusal = get_refusal(chain, tuple(values.values()))
        assert (refusal is None) == is_sound(values), f"{name} = {edge}"
        assert refusal in (None, "rules: committees", "rules: phases", "rules: judging", "rules: money")


def test_a_task_shows_what_it_was_created_with(chain):
    rules = replace(make_rules(), norm_ceiling=77, max_size=2**39)
    chain.set_moment(1_234_567, 9, lambda block: bytes(32))
    task = deploy(chain, astuple(rules))
    assert task.view("get_rules") == astuple(rules)
    shown = SimpleNamespace(**{name: task.view(name) for name in ("token", "creator", "created_at")})
    assert (shown.token, shown.creator, shown.created_at) == (make_address("token"), CREATOR, 1_234_567)


def test_the_struct_has_the_fields_of_the_rules_in_their_order():
    (constructor,) = (item for item in load("Task")["abi"] if item["type"] == "constructor")
    struct = constructor["inputs"][2]["components"]
    assert [part["name"] for part in struct] == [field.name for field in fields(Rules)]
    assert make_genesis().rules == make_rules()
