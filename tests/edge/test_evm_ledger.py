import json
from collections import Counter

import pytest

from openflock.edge import evm_ledger, rpc
from openflock.edge.abi import from_abi, name_function
from openflock.edge.compiled import load_compiled
from openflock.edge.evm_ledger import (
    BadLog,
    EvmLedger,
    NotATask,
    Reorganised,
    WallClock,
    get_deposit,
)
from openflock.edge.journal import Journal
from openflock.edge.rpc import connect
from openflock.protocol.calls import LOG_TYPES, PAST_TENSE, Act, Call, Commit, Fund, Join, Leave, TopUp
from openflock.protocol.ports import Unreachable
from openflock.protocol.types import Phase, Revert

from ..behaviour.ledgers import CREATOR, GAS, KEYS, NODES, AnvilChain, Desk, deploy, needs_anvil, open_evm
from ..protocol.helpers import STAKE, make_rules
from ..proxies import RpcProxy, encode

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


def over_anvil(test):
    for mark in needs_anvil:
        test = mark(test)
    return test


# --- Reading, over a real chain ------------------------------------------------------------------------------


class Narrow(RpcProxy):
    """Searches no more than so many blocks of the log at once."""

    limit = 10**9
    logs = 10**9  # no more than so many of a task's, either

    def _pass_on(self, request):
        if request["method"] == "eth_getLogs":
            first, last = (int(request["params"][0][name], 16) for name in ("fromBlock", "toBlock"))
            self.searched = [*getattr(self, "searched", []), (first, last)]
            if last - first + 1 > self.limit:
                return 400, encode(request, error={"code": -32602, "message": f"range exceeds limit of {self.limit}"})
            status, answer = super()._pass_on(request)
            if len(json.loads(answer)["result"]) > self.logs:
                return 400, encode(request, error={"code": -32005, "message": "query returned more than 10000 results"})
            return status, answer
        return super()._pass_on(request)


@pytest.fixture(scope="module")
def chain():
    """A chain with a task whose log has calls in several blocks, far apart."""
    chain = AnvilChain(list(KEYS))
    chain.mine(40)
    chain.wait_until(chain.get_time() + 60)
    ledger = deploy(chain.web3, make_rules(), GAS)
    for position, node in enumerate(NODES):
        ledger.submit(Join(node, 0, STAKE + position))
        chain.mine(7)
    chain.task, chain.log = ledger.address, list(ledger.read(0))
    yield chain
    chain.close()


@pytest.fixture
def proxy(chain):
    with Narrow(chain.url) as proxy:
        yield proxy


@over_anvil
@pytest.mark.parametrize("limit", [1, 2, 7, 10**9])
def test_the_log_is_the_same_however_few_blocks_an_endpoint_searches_at_once(chain, proxy, limit):
    proxy.limit = limit
    assert list(EvmLedger(connect([proxy.url]), chain.task, {}).read(0)) == chain.log


@over_anvil
def test_a_block_full_of_logs_is_read_by_its_transactions(chain, proxy):
    proxy.logs = 0
    ledger = EvmLedger(connect([proxy.url]), chain.task, {})
    assert list(ledger.read(0)) == chain.log
    assert proxy.methods["eth_getTransactionReceipt"] == len({entry.block for entry in chain.log})


@over_anvil
def test_an_endpoint_that_searches_nothing_is_unreachable_and_nothing_is_lost(chain, proxy):
    ledger = EvmLedger(connect([proxy.url]), chain.task, {})
    proxy.limit = 0
    with pytest.raises(Unreachable, match="range exceeds limit of 0"):
        ledger.read(0)
    proxy.limit = 5
    assert list(ledger.read(0)) == chain.log


@over_anvil
def test_on_a_long_chain_the_search_begins_where_the_task_was_created(chain, proxy, monkeypatch):
    monkeypatch.setattr(evm_ledger, "SHORT", 10)
    monkeypatch.setattr(evm_ledger, "MAX_SPAN", 16)
    ledger = EvmLedger(connect([proxy.url]), chain.task, {})
    assert list(ledger.read(0)) == chain.log
    created = ledger.get_genesis().time
    first = proxy.searched[0][0]
    times = [chain.web3.eth.get_block(number)["timestamp"] for number in (first - 1, first)]
    assert times[0] < created <= times[1]
    assert 40 <= first < chain.log[0].block
    assert all(last - first < 16 for first, last in proxy.searched)


@over_anvil
@pytest.mark.parametrize("confirmations", [0, 1, 8, 9, 1000])
def test_only_blocks_with_so_many_others_on_top_are_read(chain, confirmations):
    head = chain.get_block()
    ledger = EvmLedger(chain.web3, chain.task, {}, confirmations=confirmations)
    assert list(ledger.read(0)) == [entry for entry in chain.log if entry.block + confirmations <= head]


@over_anvil
def test_where_nothing_is_new_a_look_costs_one_small_request(chain, proxy, tmp_path):
    ledger = EvmLedger(
        connect([proxy.url]), chain.task, KEYS, confirmations=2, journal=Journal(tmp_path / "journal.db")
    )
    ledger.read(0)
    proxy.methods.clear()
    for _ in range(10):
        ledger.read(0)
    assert proxy.methods == Counter(eth_blockNumber=10)


def test_a_simulation_asks_its_chain_no_more_than_it_must():
    ledger, clock = open_evm(make_rules())
    provider, asked = ledger._web3.provider, Counter()
    answer, provider._request_func_cache = provider.make_request, (None, None)
    provider.make_request = lambda method, params: (asked.update([method]), answer(method, params))[1]
    ledger.read(0)
    clock.wait_until(0)
    ledger.read(0)
    assert asked == {"eth_getBlockByNumber": 2, "eth_getLogs": 2}


@over_anvil
def test_a_reorganisation_deeper_than_believed_is_noticed_and_a_shallower_one_never_shows(tmp_path):
    desk = Desk("anvil")
    chain, task = desk.clock, desk.ledger.address
    chain.mine(5)
    shallow = EvmLedger(chain.web3, task, {}, confirmations=1)
    deep = EvmLedger(chain.web3, task, {}, confirmations=3)
    desk.submit(Fund(CREATOR, 10))
    chain.mine(1)
    assert len(shallow.read(0)) == 1
    assert len(deep.read(0)) == 0
    chain.anvil.request("anvil_reorg", 3, [])
    chain.mine(4)
    assert list(deep.read(0)) == []
    with pytest.raises(Reorganised, match="start again with more than 1") as caught:
        shallow.read(0)
    assert "\n" not in str(caught.value)
    assert list(EvmLedger(chain.web3, task, {}, confirmations=3).read(0)) == []


@over_anvil
def test_an_endpoint_that_lags_behind_the_last_is_waited_for(chain, proxy):
    ledger = EvmLedger(connect([proxy.url]), chain.task, {}, confirmations=1)
    seen = list(ledger.read(0))
    proxy.lies["eth_blockNumber"] = lambda number: hex(int(number, 16) - 20)
    assert list(ledger.read(0)) == seen


# --- Endpoints and addresses that are not what they should be --------------------------------------------------


@over_anvil
@pytest.mark.parametrize("address", ["0x" + "12" * 20, CREATOR, "token"])
def test_an_address_without_a_task_is_refused(chain, address):
    if address == "token":
        address = EvmLedger(chain.web3, chain.task, {}).get_genesis().token
    with pytest.raises(NotATask, match=r"no task is at 0x\w+ on chain 31337"):
        EvmLedger(chain.web3, address, {})


@pytest.mark.parametrize("address", ["", "0x12", "vitalik.eth", "0x" + "zz" * 20])
def test_what_is_no_address_is_refused(address):
    ledger, _ = open_evm(make_rules())
    with pytest.raises(NotATask, match="is no address"):
        EvmLedger(ledger._web3, address, {})


@over_anvil
@pytest.mark.parametrize(
    "spoil",
    [
        lambda log: log | {"topics": []},
        lambda log: log | {"topics": ["0x" + "ab" * 32]},
        lambda log: log | {"data": "0x"},
        lambda log: log | {"data": log["data"][:-64]},
        lambda log: log | {"topics": log["topics"][:1]},
    ],
)
def test_a_log_that_makes_no_sense_is_refused_in_one_line(chain, proxy, spoil):
    proxy.lies["eth_getLogs"] = lambda logs: [spoil(log) for log in logs]
    with pytest.raises(BadLog) as caught:
        EvmLedger(connect([proxy.url]), chain.task, {}).read(0)
    assert "\n" not in str(caught.value)


JUNK = [None, 7, "x", "0x", [], {}, "0xzz", [{}], "0x" + "f" * 70]


@over_anvil
@pytest.mark.parametrize(
    "method",
    ["eth_blockNumber", "eth_getBlockByNumber", "eth_getLogs", "eth_call", "eth_getTransactionReceipt",
     "eth_getTransactionCount", "eth_maxPriorityFeePerGas", "eth_estimateGas", "eth_sendRawTransaction"],
)  # fmt: skip
def test_answers_of_any_form_end_in_one_line(chain, proxy, tmp_path, monkeypatch, method):
    monkeypatch.setattr(rpc, "PAUSE", 0.0)
    web3, journal, said = connect([proxy.url]), Journal(tmp_path / "journal.db"), []
    for confirmations, junk in enumerate(JUNK):
        proxy.lies.clear()
        ledger = EvmLedger(web3, chain.task, KEYS, None, confirmations % 2, journal, patience=0.0)
        proxy.lies[method] = lambda _, junk=junk: junk
        for ask in (
            lambda: EvmLedger(web3, chain.task, {}),
            lambda ledger=ledger: ledger.read(0),
            lambda ledger=ledger, amount=1 + confirmations: ledger.submit(Fund(CREATOR, amount)),
            WallClock(web3).get_time,
            ledger.get_genesis,
        ):
            try:
                ask()
            except (Unreachable, Revert, NotATask, BadLog) as error:
                said.append(str(error))
    assert "\n" not in "".join(said)
