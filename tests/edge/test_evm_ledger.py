import pytest

from openflock.edge.compiled import load_compiled
from openflock.edge.evm_ledger import from_abi, get_deposit, name_function
from openflock.protocol.calls import LOG_TYPES, PAST_TENSE, Act, Call, Commit, Fund, Join, Leave, TopUp
from openflock.protocol.types import Phase

ME = "0x" + "ab" * 20
FUNCTIONS = {item["name"]: item for item in load_compiled("Task")["abi"] if item["type"] == "function"}
EVENTS = {item["name"]: item for item in load_compiled("Task")["abi"] if item["type"] == "event"}


@pytest.mark.parametrize("kind", PAST_TENSE, ids=lambda kind: kind.__name__)
def test_every_call_is_a_function_with_its_fields_in_order(kind):
    fields = [name for name in kind.__dataclass_fields__ if name != "sender"]
    name = name_function(kind(*[0] * len(kind.__dataclass_fields__)))
    assert len(FUNCTIONS[name]["inputs"]) == len(fields)
    assert [part["name"].strip("_") for part in FUNCTIONS[name]["inputs"]] == fields


@pytest.mark.parametrize("name", LOG_TYPES)
def test_every_entry_of_a_log_is_an_event_with_its_fields(name):
    assert {part["name"] for part in EVENTS[name]["inputs"]} == set(LOG_TYPES[name].__dataclass_fields__)


@pytest.mark.parametrize(
    ("call", "amount"),
    [(Fund(ME, 3), 3), (Join(ME, 0, 5), 5), (TopUp(ME, 7), 7), (Commit(ME, Act.WITNESS, b"", 9), 9),
     (Commit(ME, Act.UPDATE, b"", 0), 0), (Leave(ME), 0)],
)  # fmt: skip
def test_a_deposit_is_what_a_call_brings_in(call: Call, amount):
    assert get_deposit(call) == amount


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        (str, "0xAB" + "cD" * 19, "0xab" + "cd" * 19),
        (bytes, bytearray(b"\1\2"), b"\1\2"),
        (int, 5, 5),
        (bool, 1, True),
        (Phase, 6, Phase.VOTE),
        (tuple[str, ...], ["0xAB"], ("0xab",)),
        (tuple[int, ...], [], ()),
    ],
)
def test_abi_values_become_field_types(kind, value, wanted):
    found = from_abi(kind, value)
    assert found == wanted
    assert type(found) is type(wanted)
