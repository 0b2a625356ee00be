"""Every kind of ledger, opened on a task of the same rules with funded accounts; one more kind is one more line."""

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest
from eth_account import Account
from web3 import Web3

from openflock.edge.anvil import find_anvil, start_anvil
from openflock.edge.deploy import create_task, deploy_factory, deploy_token
from openflock.edge.embedded_chain import EmbeddedChain
from openflock.edge.evm_ledger import EvmLedger
from openflock.edge.journal import Journal
from openflock.edge.rpc import connect
from openflock.edge.spec_ledger import SpecLedger
from openflock.protocol.calls import Call, Fund, Join
from openflock.protocol.ports import Clock, Ledger
from openflock.protocol.replay import Replica
from openflock.protocol.rules import Rules
from openflock.protocol.types import Genesis, Revert, State

from ..protocol import helpers
from ..protocol.helpers import POOL, STAKE, make_rules

GAS = 25_000_000
SHAKEN = 2  # blocks that a shaken chain takes back after each call
WEALTH = 10**9
ACCOUNTS = [Account.from_key(sha256(f"behaviour {index}".encode()).digest()) for index in range(6)]
KEYS = {account.address.lower(): account for account in ACCOUNTS}
CREATOR, OUTSIDER, *NODES = KEYS
needs_anvil = [
    pytest.mark.network,
    pytest.mark.skipif(find_anvil() is None, reason="no anvil: make .anvil/installed"),
]


def open_spec(rules: Rules) -> tuple[Ledger, Clock]:
    ledger = SpecLedger(Genesis(1, "0x" + "11" * 20, "0x" + "22" * 20, CREATOR, 1_700_000_000, rules), b"seed")
    return ledger, ledger


def open_evm(rules: Rules) -> tuple[Ledger, Clock]:
    chain = EmbeddedChain([CREATOR, OUTSIDER, *NODES], b"seed")
    return deploy(chain.web3, rules, GAS), chain


def open_anvil(rules: Rules) -> tuple[Ledger, Clock]:
    chain = AnvilChain([CREATOR, OUTSIDER, *NODES])
    return deploy(chain.web3, rules, GAS), chain


def open_shaken(rules: Rules) -> tuple[Ledger, Clock]:
    """As a node's process has it on a chain whose newest blocks may still go."""
    return open_journalled(rules, SHAKEN)


def open_journalled(rules: Rules, confirmations: int = 0) -> tuple[Ledger, Clock]:
    """As a node's process has it: over the provider with failover, each transaction written down before it is sent."""
    chain = AnvilChain([CREATOR, OUTSIDER, *NODES])
    journal = Journal(Path(mkdtemp()) / "journal.db")
    weakref.finalize(chain, rmtree, journal.path.parent)
    ledger = deploy(chain.web3, rules, GAS)
    chain.mine(SHAKEN)
    return EvmLedger(chain.web3, ledger.address, KEYS, None, confirmations, journal), chain


def deploy(web3: Web3, rules: Rules, gas: int) -> EvmLedger:
    creator = ACCOUNTS[0]
    token = deploy_token(web3, creator, dict.fromkeys(KEYS, WEALTH), gas)
    task = create_task(web3, creator, deploy_factory(web3, creator, gas), token, rules, gas)
    return EvmLedger(web3, task, KEYS, gas)


class AnvilChain:
    """A development node of its own process, spoken to over JSON-RPC; it ends with this object.

    Without a block time each transaction has a block at once, and the clock stands still between blocks.
    """

    def __init__(self, accounts: Sequence[str], block_time: float | None = None) -> None:
        stack = ExitStack()
        self._finalizer = weakref.finalize(self, stack.close)
        self.anvil = stack.enter_context(start_anvil(block_time=block_time))
        self.process, self.url = self.anvil.process, self.anvil.url
        self.web3 = connect([self.url])
        for account in accounts:
            self.anvil.fund(account)

    def get_time(self) -> int:
        return int(self.web3.eth.get_block("latest")["timestamp"]) + 1

    def get_block(self) -> int:
        return int(self.web3.eth.block_number)

    def wait_until(self, moment: int) -> None:
        self.anvil.request("evm_setNextBlockTimestamp", max(self.get_time(), moment))
        self.mine()

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.anvil.request("evm_mine")

    def close(self) -> None:
        self._finalizer()


OPENERS: dict[str, Callable[[Rules], tuple[Ledger, Clock]]] = {
    "spec": open_spec,
    "evm": open_evm,
    "anvil": open_anvil,
    "journalled": open_journalled,
    "shaken": open_shaken,
}
KINDS = [
    "spec",
    "evm",
    # Not in the package registries of Python: `make .anvil/installed`, then `pytest -m network`.
    pytest.param("anvil", marks=needs_anvil),
    pytest.param("journalled", marks=needs_anvil),
]


class Desk:
    """A ledger of some kind, driven as `protocol.helpers` drives one: its state is what a replica replays."""

    def __init__(self, kind: str, **rules: int | bytes) -> None:
        self.kind, self.rules = kind, make_rules(**rules)
        self.ledger, self.clock = OPENERS[kind](self.rules)
        self.replica = Replica(self.ledger.get_genesis())
        self.read, self.get_genesis, self.wait_until = self.ledger.read, self.ledger.get_genesis, self.clock.wait_until

    def submit(self, call: Call) -> None:
        keyless = call.sender == helpers.OUTSIDER  # who moves the task on in the helpers, and cannot sign
        mine = replace(call, sender=OUTSIDER) if keyless else call
        try:
            self.ledger.submit(mine)
            if self.kind == "shaken":  # the call's block goes; asked for again, it is made again; then it is believed
                then = self.clock.get_time()
                self.clock.anvil.request("anvil_reorg", SHAKEN, [])
                self.clock.wait_until(then)  # the blocks in its place are as early as those before it
                self.ledger.submit(mine)
                self.clock.mine(SHAKEN)
        except Revert:
            if self.kind in ("journalled", "shaken"):
                # The helpers count on refused calls to be blocks; here one is refused unsent, as the last block has it.
                self.clock.mine(2)
            raise

    @property
    def state(self) -> State:
        self.replica.apply(self.read(self.replica.position))
        return self.replica.state

    def gather(self, nodes: Sequence[str] = NODES) -> "Desk":
        self.submit(Fund(CREATOR, POOL))
        for position, node in enumerate(nodes):
            self.submit(Join(node, position % 2, STAKE + position))
        return self
