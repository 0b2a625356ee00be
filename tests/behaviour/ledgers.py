"""Every kind of ledger, opened on a task of the same rules with funded accounts; one more kind is one more line."""

import shutil
import socket
import subprocess
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from openflock.edge.deploy import create_task, deploy_factory, deploy_token
from openflock.edge.embedded_chain import EmbeddedChain
from openflock.edge.evm_ledger import EvmLedger
from openflock.edge.spec_ledger import SpecLedger
from openflock.protocol.calls import Call, Fund, Join
from openflock.protocol.ports import Clock, Ledger
from openflock.protocol.replay import Replica
from openflock.protocol.rules import Rules
from openflock.protocol.types import Genesis, State

from ..protocol import helpers
from ..protocol.helpers import POOL, STAKE, make_rules

GAS = 25_000_000
WEALTH = 10**9
ACCOUNTS = [Account.from_key(sha256(f"behaviour {index}".encode()).digest()) for index in range(6)]
CREATOR, OUTSIDER, *NODES = [account.address.lower() for account in ACCOUNTS]


def open_spec(rules: Rules) -> tuple[Ledger, Clock]:
    ledger = SpecLedger(Genesis(1, "0x" + "11" * 20, "0x" + "22" * 20, CREATOR, 1_700_000_000, rules), b"seed")
    return ledger, ledger


def open_evm(rules: Rules) -> tuple[Ledger, Clock]:
    chain = EmbeddedChain([CREATOR, OUTSIDER, *NODES], b"seed")
    return deploy(chain.web3, rules, GAS), chain


def open_anvil(rules: Rules) -> tuple[Ledger, Clock]:
    chain = AnvilChain([CREATOR, OUTSIDER, *NODES])
    return deploy(chain.web3, rules, GAS), chain


def deploy(web3: Web3, rules: Rules, gas: int) -> EvmLedger:
    creator, accounts = ACCOUNTS[0], [CREATOR, OUTSIDER, *NODES]
    token = deploy_token(web3, creator, dict.fromkeys(accounts, WEALTH), gas)
    task = create_task(web3, creator, deploy_factory(web3, creator, gas), token, rules, gas)
    return EvmLedger(web3, task, dict(zip(accounts, ACCOUNTS, strict=True)), gas)


class AnvilChain:
    """A development node of its own process, spoken to over JSON-RPC; it ends with this object."""

    def __init__(self, accounts: Sequence[str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [ANVIL or "anvil", "--port", str(port), "--silent", "--code-size-limit", "24576"]
        process = subprocess.Popen(command)
        weakref.finalize(self, stop, process)
        self.web3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}"))
        deadline = time.monotonic() + 20
        while not self.web3.is_connected():
            assert time.monotonic() < deadline, "anvil did not answer within 20 s"
            time.sleep(0.1)
        for account in accounts:
            self._request("anvil_setBalance", Web3.to_checksum_address(account), hex(10**24))

    def get_time(self) -> int:
        return int(self.web3.eth.get_block("latest")["timestamp"]) + 1

    def wait_until(self, moment: int) -> None:
        self._request("evm_setNextBlockTimestamp", max(self.get_time(), moment))
        self._request("evm_mine")

    def _request(self, method: str, *params: object) -> None:
        answer = self.web3.provider.make_request(RPCEndpoint(method), list(params))
        assert "error" not in answer, answer


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=10)


ANVIL = shutil.which("anvil")
OPENERS: dict[str, Callable[[Rules], tuple[Ledger, Clock]]] = {
    "spec": open_spec,
    "evm": open_evm,
    "anvil": open_anvil,
}
KINDS = [
    "spec",
    "evm",
    # Not in the package registries of Python: `npm install -g @foundry-rs/anvil`, then `pytest -m network`.
    pytest.param("anvil", marks=[pytest.mark.network, pytest.mark.skipif(not ANVIL, reason="no anvil on PATH")]),
]


class Desk:
    """A ledger of some kind, driven as `protocol.helpers` drives one: its state is what a replica replays."""

    def __init__(self, kind: str, **rules: int | bytes) -> None:
        self.rules = make_rules(**rules)
        self.ledger, self.clock = OPENERS[kind](self.rules)
        self.replica = Replica(self.ledger.get_genesis())
        self.read, self.get_genesis, self.wait_until = self.ledger.read, self.ledger.get_genesis, self.clock.wait_until

    def submit(self, call: Call) -> None:
        keyless = call.sender == helpers.OUTSIDER  # who moves the task on in the helpers, and cannot sign
        self.ledger.submit(replace(call, sender=OUTSIDER) if keyless else call)

    @property
    def state(self) -> State:
        self.replica.apply(self.read(self.replica.position))
        return self.replica.state

    def gather(self, nodes: Sequence[str] = NODES) -> "Desk":
        self.submit(Fund(CREATOR, POOL))
        for position, node in enumerate(nodes):
            self.submit(Join(node, position % 2, STAKE + position))
        return self
