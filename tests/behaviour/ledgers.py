"""Every kind of ledger, opened on a task of the same rules with funded accounts; one more kind is one more line."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256

from eth_account import Account

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
    chain, creator = EmbeddedChain([CREATOR, OUTSIDER, *NODES], b"seed"), ACCOUNTS[0]
    token = deploy_token(chain.web3, creator, dict.fromkeys([CREATOR, OUTSIDER, *NODES], WEALTH), GAS)
    task = create_task(chain.web3, creator, deploy_factory(chain.web3, creator, GAS), token, rules, GAS)
    signers = dict(zip([CREATOR, OUTSIDER, *NODES], ACCOUNTS, strict=True))
    return EvmLedger(chain.web3, task, signers, GAS), chain


KINDS: dict[str, Callable[[Rules], tuple[Ledger, Clock]]] = {"spec": open_spec, "evm": open_evm}


class Desk:
    """A ledger of some kind, driven as `protocol.helpers` drives one: its state is what a replica replays."""

    def __init__(self, kind: str, **rules: int | bytes) -> None:
        self.rules = make_rules(**rules)
        self.ledger, self.clock = KINDS[kind](self.rules)
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
