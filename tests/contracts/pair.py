"""Pair: the contract and its executable specification, side by side.

A Pair is a ledger like `SpecLedger`, whose blocks and hashes it has; whatever drives that drives this. Every call
goes to both at the same moment, and both must refuse it for the same reason or log the same events and show the
same state.
"""

import re
from dataclasses import astuple

from openflock.edge.spec_ledger import BLOCK_TIME, SpecLedger
from openflock.protocol.calls import Call, Event, get_log_name
from openflock.protocol.ports import Entry
from openflock.protocol.round import process
from openflock.protocol.sortition import get_total
from openflock.protocol.types import Address, Genesis, Node, Revert, State

from .chain import Abi, Chain, Log, Refused, compile_token, load


class Pair(SpecLedger):
    """A task twice, driven as one."""

    def __init__(self, genesis: Genesis, seed: bytes = b"", token: Abi | None = None) -> None:
        super().__init__(genesis, seed)
        self.chain = Chain(genesis.chain)
        self._set_moment()
        self.token = self.chain.deploy(token or compile_token("Plenty"), address=genesis.token)
        agreed = astuple(genesis.rules)
        self.task = self.chain.deploy(load("Task"), genesis.token, genesis.creator, agreed, address=genesis.task)
        self._check_standing()

    def submit(self, call: Call) -> tuple[Event, ...]:
        """Make a call on both; return what followed, raise Revert if both refuse for the same reason."""
        self._mine(self._time + BLOCK_TIME)
        self._set_moment()
        logs, refusal = self._call_contract(call)
        try:
            state, events = process(self.state, call, self._get_moment())
        except Revert as error:
            reason = str(error)
            assert refusal == reason, f"{call}: the contract says {refusal!r}, the specification {reason!r}"
            raise
        assert refusal is None, f"{call}: only the contract refuses: {refusal!r}"
        expected = tuple(Log(get_log_name(item), astuple(item)) for item in (call, *events))
        assert logs == expected, f"{call}: the contract logs {logs}, the specification {expected}"
        self._record(call, state, events)
        self._check_standing()
        for account in {call.sender, *_find_accounts(events)}:
            self._check_account(account)
        return events

    def pass_time(self, seconds: int) -> None:
        """Let the next call happen so much later than it would."""
        self.wait_until(self.get_time() + seconds)

    def mine(self, blocks: int) -> None:
        """Mine empty blocks at once."""
        for _ in range(blocks):
            self._mine(self._time)

    def get_block(self) -> int:
        """Read the block of the next call."""
        return self._block + 1

    def check(self) -> None:
        """Compare all that both show, account by account."""
        self._check_standing()
        for account in {*self.state.nodes, *self.state.payable}:
            self._check_account(account)

    def _record(self, call: Call, state: State, events: tuple[Event, ...]) -> None:
        self.state = state
        self._log += [Entry(self._time, self._block, item) for item in (call, *events)]

    def _set_moment(self) -> None:
        self.chain.set_moment(self._time, self._block, self._hash)

    def _call_contract(self, call: Call) -> tuple[tuple[Log, ...], str | None]:
        sender, *values = astuple(call)
        try:
            self.task.call(get_function(call), *values, sender=sender)
        except Refused as refused:
            return (), str(refused)
        return self.task.last, None

    def _check_standing(self) -> None:
        state, current = self.state, self.state.round
        shown = self.task.view("get_standing")
        assert shown == (
            state.phase,
            state.deadline,
            current.number,
            state.digest,
            state.salts,
            state.cancelled,
            len(state.members),
            get_total(state.tree),
            state.pool,
            current.budget,
            current.held,
        )

    def _check_account(self, account: Address) -> None:
        assert self.task.view("get_node", account) == describe_node(self.state.nodes.get(account))
        assert self.task.view("payable_of", account) == self.state.payable.get(account, 0)


def describe_node(node: Node | None) -> tuple[object, ...]:
    """Write a node as the contract's struct."""
    if node is None:
        return (False, 0, 0, 0, 0, bytes(32))
    attested = (node.attested.round, node.attested.outcome) if node.attested else (0, bytes(32))
    return (True, node.domain, node.stake, node.release, *attested)


def get_function(call: Call) -> str:
    """Name a call as the contract does: `TopUp` is `top_up`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(call).__name__).lower()


def _find_accounts(events: tuple[Event, ...]) -> set[Address]:
    return {getattr(event, name) for event in events for name in ("node", "account") if hasattr(event, name)}
