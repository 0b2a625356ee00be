"""Exactly once, over a real chain: what a node asks for is made, whatever is dropped, replaced, taken back, cut off."""

import signal
import time
from itertools import pairwise

import pytest
from web3 import Web3

from openflock.edge import rpc, transactions
from openflock.edge.answers import Unaffordable
from openflock.edge.evm_ledger import EvmLedger
from openflock.edge.journal import Journal
from openflock.edge.rpc import Endpoints, connect
from openflock.edge.transactions import GWEI, raise_fee
from openflock.protocol.calls import Call, Claim, Fund, Join
from openflock.protocol.ports import Unreachable
from openflock.protocol.types import Revert

from ..behaviour.ledgers import CREATOR, GAS, KEYS, NODES, OUTSIDER, AnvilChain, deploy, needs_anvil
from ..protocol.helpers import STAKE, make_rules
from ..proxies import RpcProxy

pytestmark = needs_anvil
TEN = Fund(CREATOR, 10)


class Bench:
    """A task on a chain, and ledgers on it that share one journal, as one process after the other would."""

    def __init__(self, path):
        self.chain, self.path, self.journal = AnvilChain(list(KEYS)), path, None
        self.task = deploy(self.chain.web3, make_rules(), GAS).address
        self.chain.mine(5)  # deeper than any reorganisation here

    def open(self, web3=None, confirmations=0, patience=5.0, gas=None, **options):
        if self.journal is not None:
            self.journal.close()
        self.journal = Journal(self.path / "journal.db")
        web3 = web3 or self.chain.web3
        return EvmLedger(web3, self.task, KEYS, gas, confirmations, self.journal, patience=patience, **options)

    def request(self, *request):
        return self.chain.anvil.request(*request)

    def stop_mining(self):
        self.request("evm_setAutomine", False)

    def go_on_mining(self):
        self.request("evm_setAutomine", True)
        self.chain.mine()

    def list_calls(self):
        items = [entry.item for entry in EvmLedger(self.chain.web3, self.task, {}).read(0)]
        return [item for item in items if isinstance(item, Call)]

    def list_open(self, sender=CREATOR):
        return self.journal.list_open(31337, sender)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.chain.close()


def ask_until_made(ledger, call, tries=200):
    for _ in range(tries):
        try:
            return ledger.submit(call)
        except Unreachable:
            continue
    raise AssertionError("never made")


def test_a_call_asked_for_again_before_the_log_shows_it_is_made_once(bench):
    ledger = bench.open()
    for _ in range(4):
        ledger.submit(TEN)
    assert bench.list_calls() == [TEN]


def test_a_call_asked_for_again_once_the_log_showed_it_is_another_call(bench):
    ledger = bench.open()
    for _ in range(3):
        ledger.submit(TEN)
        ledger.read(0)
    assert bench.list_calls() == [TEN] * 3


def test_another_process_with_the_journal_goes_on_where_the_first_stopped(bench):
    bench.open().submit(TEN)
    bench.open().submit(TEN)
    assert bench.list_calls() == [TEN]
    ledger = bench.open()
    ledger.read(0)
    ledger.submit(TEN)
    assert bench.list_calls() == [TEN, TEN]


def test_what_was_written_but_never_sent_is_sent_by_the_next_process(bench, monkeypatch):
    ledger = bench.open()
    ledger.submit(Fund(CREATOR, 1))

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transactions.Transactions, "_send", die)
        with pytest.raises(KeyboardInterrupt):
            ledger.submit(TEN)
    assert bench.list_calls() == [Fund(CREATOR, 1)]
    bench.open().submit(TEN)
    assert bench.list_calls() == [Fund(CREATOR, 1), TEN]


def test_no_more_than_a_call_brings_in_is_allowed_to_the_task(bench):
    ledger = bench.open()
    for _ in range(2):
        ledger.submit(TEN)
        ledger.read(0)
        assert ledger._token.functions.allowance(*map(Web3.to_checksum_address, (CREATOR, bench.task))).call() == 0
    assert bench.list_calls() == [TEN, TEN]


def test_what_no_block_takes_says_that_asking_again_is_safe_and_is_made_once(bench):
    ledger = bench.open(patience=0.2)
    bench.stop_mining()
    for _ in range(3):
        with pytest.raises(Unreachable, match="asking again is safe"):
            ledger.submit(TEN)
    bench.go_on_mining()
    ask_until_made(ledger, TEN)
    assert bench.list_calls() == [TEN]


def test_a_dropped_transaction_is_sent_again(bench, monkeypatch):
    monkeypatch.setattr(transactions, "RESEND", 0.1)
    ledger = bench.open(patience=0.3)
    bench.stop_mining()
    with pytest.raises(Unreachable):
        ledger.submit(TEN)
    bench.request("anvil_dropAllTransactions")
    bench.go_on_mining()
    ask_until_made(ledger, TEN)
    assert bench.list_calls() == [TEN]


def test_what_waits_too_long_is_replaced_under_its_nonce_at_a_higher_fee(bench, monkeypatch):
    monkeypatch.setattr(transactions, "REPLACE", 0.2)
    monkeypatch.setattr(transactions, "RESEND", 0.1)
    ledger = bench.open(patience=1.5)
    bench.stop_mining()
    with pytest.raises(Unreachable):
        ledger.submit(TEN)
    forms = bench.list_open()
    assert len(forms) > 2
    assert len({form.nonce for form in forms}) == 1
    fees = [transactions.decode(form)["maxFeePerGas"] for form in forms]
    assert all(later >= earlier * 1.125 for earlier, later in pairwise(fees))
    pool = bench.request("txpool_content")["pending"]
    assert [len(items) for items in pool.values()] == [1]
    bench.go_on_mining()
    ask_until_made(ledger, TEN)
    assert bench.list_calls() == [TEN]


def test_what_costs_more_than_allowed_stays_as_it_is(bench, monkeypatch):
    monkeypatch.setattr(transactions, "REPLACE", 0.1)
    ledger = bench.open(patience=0.5, max_fee=4 * GWEI)
    bench.stop_mining()
    with pytest.raises(Unreachable, match="asking again is safe"):
        ledger.submit(TEN)
    assert all(transactions.decode(form)["maxFeePerGas"] <= 4 * GWEI for form in bench.list_open())


def test_a_nonce_that_somebody_else_used_is_given_up_for_another(bench):
    ledger = bench.open(patience=0.3)
    bench.stop_mining()
    with pytest.raises(Unreachable):
        ledger.submit(TEN)
    nonce = bench.list_open()[0].nonce
    rival = KEYS[CREATOR].sign_transaction(
        {"nonce": nonce, "to": KEYS[OUTSIDER].address, "value": 1, "gas": 21_000, "chainId": 31337}
        | {"maxFeePerGas": 50 * GWEI, "maxPriorityFeePerGas": 50 * GWEI}
    )
    bench.request("eth_sendRawTransaction", rival.raw_transaction.to_0x_hex())
    bench.go_on_mining()
    ask_until_made(ledger, TEN)
    assert bench.list_calls() == [TEN]
    assert nonce not in [form.nonce for form in bench.list_open()]


def test_a_nonce_taken_in_a_block_that_may_still_go_is_not_given_up(bench, monkeypatch):
    monkeypatch.setattr(transactions, "RESEND", 0.1)
    ledger = bench.open(patience=0.5, confirmations=4)
    bench.stop_mining()
    with pytest.raises(Unreachable):
        ledger.submit(TEN)
    nonce = bench.list_open()[0].nonce
    rival = KEYS[CREATOR].sign_transaction(
        {"nonce": nonce, "to": KEYS[OUTSIDER].address, "value": 1, "gas": 21_000, "chainId": 31337}
        | {"maxFeePerGas": 50 * GWEI, "maxPriorityFeePerGas": 50 * GWEI}
    )
    bench.request("eth_sendRawTransaction", rival.raw_transaction.to_0x_hex())
    bench.go_on_mining()
    with pytest.raises(Unreachable):
        ledger.submit(TEN)
    assert {form.nonce for form in bench.list_open()} == {nonce}
    bench.request("anvil_reorg", 2, [])  # the rival is gone with its block
    ask_until_made(ledger, TEN)
    assert bench.list_calls() == [TEN]


def test_what_is_stuck_yields_its_nonce_to_the_next_call_and_is_made_after_it(bench):
    ledger = bench.open(patience=0.3)
    bench.stop_mining()
    with pytest.raises(Unreachable):
        ledger.submit(TEN)
    with pytest.raises(Unreachable):
        ledger.submit(Join(CREATOR, 0, STAKE))
    assert len({form.nonce for form in bench.list_open()}) == 1
    bench.go_on_mining()
    ask_until_made(ledger, Join(CREATOR, 0, STAKE))
    ask_until_made(ledger, TEN)
    ask_until_made(ledger, Join(CREATOR, 0, STAKE))
    assert bench.list_calls() == [Join(CREATOR, 0, STAKE), TEN]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_a_reorganisation_took_out_is_made_again_and_shows_once(bench, depth):
    ledger = bench.open(confirmations=3)
    calls = [TEN, Join(NODES[0], 0, STAKE), Fund(CREATOR, 7)]
    for position, call in enumerate(calls):
        ledger.submit(call)
        assert len(ledger.read(0)) == position
        bench.request("anvil_reorg", depth, [])
        assert call not in bench.list_calls()
        ledger.submit(call)
        bench.chain.mine(3)
        assert ledger.read(0)[-1].item == call
    assert [entry.item for entry in ledger.read(0)] == bench.list_calls() == calls


def test_one_that_lost_a_race_fails_with_the_reason_until_the_log_has_passed_it(bench):
    ledger = bench.open(gas=GAS, confirmations=1)
    count = bench.chain.web3.eth.get_transaction_count
    for _ in range(3):
        with pytest.raises(Revert, match="nothing to claim"):
            ledger.submit(Claim(OUTSIDER, CREATOR))
    assert count(KEYS[OUTSIDER].address) == 1
    bench.chain.mine(2)
    ledger.read(0)
    with pytest.raises(Revert, match="nothing to claim"):
        ledger.submit(Claim(OUTSIDER, CREATOR))
    assert count(KEYS[OUTSIDER].address) == 2


def test_what_the_task_refuses_costs_nothing(bench):
    ledger = bench.open()
    with pytest.raises(Revert, match="nothing to claim"):
        ledger.submit(Claim(OUTSIDER, CREATOR))
    assert bench.chain.web3.eth.get_transaction_count(KEYS[OUTSIDER].address) == 0
    assert not bench.list_open(OUTSIDER)


# --- Money ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", ["eth_maxPriorityFeePerGas", "eth_getBlockByNumber"])
def test_an_endpoint_that_names_absurd_fees_drains_nobody(bench, lie):
    with RpcProxy(bench.chain.url) as liar:
        liar.lies[lie] = lambda result: (
            hex(10**15) if isinstance(result, str) else result | {"baseFeePerGas": hex(10**15)}
        )
        ledger = bench.open(connect([liar.url]))
        with pytest.raises(Unaffordable, match="more than the 300 that are allowed"):
            ledger.submit(TEN)
    assert not bench.list_open()


def test_who_cannot_pay_for_gas_is_told_so(bench):
    bench.request("anvil_setBalance", KEYS[CREATOR].address, hex(10**9))
    ledger = bench.open()
    with pytest.raises(Unaffordable, match="too little of the chain's own coin"):
        ledger.submit(TEN)


# --- Endpoints -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_over_endpoints_that_fail_a_fifth_of_the_time_each_call_is_made_once(bench, monkeypatch, seed):
    monkeypatch.setattr(rpc, "PAUSE", 0.001)
    with RpcProxy(bench.chain.url, rate=0.3, seed=seed) as proxy:
        ledger = bench.open(connect([proxy.url]))
        calls = [Fund(CREATOR, amount) for amount in range(1, 8)]
        for call in calls:
            ask_until_made(ledger, call)
            ask_until_made(ledger, call)
        assert sum(proxy.faults.values()) > 10
    assert bench.list_calls() == calls


def test_a_transaction_whose_answer_never_comes_is_made_once(bench, monkeypatch):
    monkeypatch.setattr(rpc, "PAUSE", 0.001)
    with RpcProxy(bench.chain.url) as proxy:
        proxy.blind.add("eth_sendRawTransaction")
        ledger = bench.open(connect([proxy.url]))
        with pytest.raises(Unreachable):
            ledger.submit(TEN)
        ask_until_made(ledger, TEN)
        assert proxy.methods["eth_sendRawTransaction"] >= 2
    assert bench.list_calls() == [TEN]


def test_when_one_endpoint_dies_the_other_takes_over_in_the_middle(bench):
    with RpcProxy(bench.chain.url) as first, RpcProxy(bench.chain.url) as second:
        ledger = bench.open(connect([first.url, second.url]), patience=0.3)
        bench.stop_mining()
        with pytest.raises(Unreachable):
            ledger.submit(TEN)
        first.close()
        bench.go_on_mining()
        ask_until_made(ledger, TEN)
        assert second.methods["eth_getTransactionReceipt"]
    assert bench.list_calls() == [TEN]


def test_an_endpoint_that_stands_still_is_waited_for(bench, monkeypatch):
    monkeypatch.setattr(rpc, "PATIENCE", 0.5)
    endpoints = Endpoints([bench.chain.url], timeout=0.2)
    ledger = bench.open(Web3(endpoints))
    bench.chain.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    try:
        with pytest.raises(Unreachable, match=r"does not answer within 0\.2 s"):
            ledger.submit(TEN)
    finally:
        bench.chain.process.send_signal(signal.SIGCONT)
    assert time.monotonic() - started < 20  # no hang
    ask_until_made(ledger, TEN)
    assert bench.list_calls() == [TEN]


def test_the_key_is_nowhere_in_the_journal(bench):
    ledger = bench.open()
    ledger.submit(TEN)
    held = b"".join(path.read_bytes() for path in bench.path.iterdir())
    assert bytes(bench.list_open()[0].raw) in held
    assert KEYS[CREATOR].key not in held
    assert KEYS[CREATOR].key.hex().encode() not in held


@pytest.mark.parametrize("fee", [0, 1, 7, 8, GWEI, 10**18])
def test_a_raised_fee_is_an_eighth_higher_at_least(fee):
    assert 8 * raise_fee(fee) > 9 * fee
