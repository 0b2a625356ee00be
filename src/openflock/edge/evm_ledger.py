"""A ledger on an EVM chain, over any JSON-RPC endpoint that web3.py speaks to.

It writes calls as transactions, signed here, and reads nothing but the task's event log: what the state is, its
reader computes by `protocol.replay`.
"""

import re
import time as wall
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractLogicError, LogTopicError
from web3.types import BlockData, LogReceipt, TxReceipt

from openflock.edge.compiled import load_compiled
from openflock.protocol.calls import LOG_TYPES, Call, Commit, Event, Fund, Join, TopUp
from openflock.protocol.ports import Entry
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Genesis, Revert

POLL = 1.0  # seconds between looks at a chain whose clock is not ours


class EvmLedger:
    """The task at one address of one chain."""

    def __init__(
        self, web3: Web3, task: Address, accounts: Mapping[Address, LocalAccount], gas: int | None = None
    ) -> None:
        """Connect to a task; `accounts` sign the calls. Without `gas` the endpoint estimates each transaction."""
        self._web3, self._accounts, self._gas = web3, accounts, gas
        self._task = get_contract(web3, "Task", task)
        self._token = get_contract(web3, "Token", self._task.functions.token().call())
        self._names = {str(self._task.events[name].topic): name for name in LOG_TYPES}
        self._log: list[Entry] = []
        self._next_block = 0

    def get_genesis(self) -> Genesis:
        """Read what the task was created with."""
        functions = self._task.functions
        return Genesis(
            chain=self._web3.eth.chain_id,
            task=self._task.address.lower(),
            token=self._token.address.lower(),
            creator=functions.creator().call().lower(),
            time=functions.created_at().call(),
            rules=Rules(*functions.get_rules().call()),
        )

    def submit(self, call: Call) -> None:
        """Send a call's transaction and wait until it is mined; raise Revert with the contract's reason."""
        amount = get_deposit(call)
        if amount:
            self._allow(call.sender, amount)
        function = self._task.functions[name_function(call)]
        self._send(call.sender, function(*(_to_abi(value) for name, value in vars(call).items() if name != "sender")))

    def read(self, since: int) -> Sequence[Entry]:
        """Read the log from entry `since` on, asking the chain only for blocks not seen yet."""
        head = self._web3.eth.get_block("latest")
        if head["number"] >= self._next_block:
            self._log += self._fetch(self._next_block, head)
            self._next_block = head["number"] + 1
        return self._log[since:]

    def _fetch(self, first: int, head: BlockData) -> list[Entry]:
        logs = self._web3.eth.get_logs({"address": self._task.address, "fromBlock": first, "toBlock": head["number"]})
        # What has just been called is in the head, whose time is known: most reads ask for no other block.
        times = {head["number"]: head["timestamp"]}
        for number in {log["blockNumber"] for log in logs} - set(times):
            times[number] = self._web3.eth.get_block(number)["timestamp"]
        return [Entry(times[log["blockNumber"]], log["blockNumber"], self._decode(log)) for log in logs]

    def _decode(self, log: LogReceipt) -> Call | Event:
        name = self._names.get(str(log["topics"][0].to_0x_hex()))
        if name is None:
            raise LogTopicError(f"the task at {self._task.address} logs an event that this version does not know")
        args = self._task.events[name]().process_log(log)["args"]
        return LOG_TYPES[name](**{field: from_abi(kind, args[field]) for field, kind in list_fields(name).items()})

    def _allow(self, sender: Address, amount: int) -> None:
        """Let the task take an amount, once and for all, from an account that has not yet."""
        owner, spender = Web3.to_checksum_address(sender), self._task.address
        if self._token.functions.allowance(owner, spender).call() < amount:
            self._send(sender, self._token.functions.approve(spender, 2**256 - 1))

    def _send(self, sender: Address, function: Any) -> None:
        send(self._web3, self._accounts[sender], function, self._gas)


class WallClock:
    """The clock of a chain that somebody else runs."""

    def __init__(self, web3: Web3) -> None:
        """Follow a chain."""
        self._web3 = web3

    def get_time(self) -> int:
        """Read the time of the last block: a call made now happens then or later."""
        return int(self._web3.eth.get_block("latest")["timestamp"])

    def wait_until(self, time: int) -> None:
        """Poll until a block at least as late is there, and one that was not there before."""
        seen = self._web3.eth.block_number
        while self._web3.eth.block_number == seen or self.get_time() < time:
            wall.sleep(POLL)


# --- Helpers -------------------------------------------------------------------------------------------------


def name_function(call: Call) -> str:
    """Name the contract's function for a call.

    >>> name_function(TopUp("0x00", 1))
    'top_up'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(call).__name__).lower()


def get_deposit(call: Call) -> int:
    """Read how many tokens a call brings in."""
    match call:
        case Fund() | Join() | TopUp():
            return call.amount
        case Commit():
            return call.bond
    return 0


@cache
def list_fields(name: str) -> dict[str, Any]:
    """List the fields of a kind of log entry with their types; resolving them is slow, and they never change."""
    hints = get_type_hints(LOG_TYPES[name])
    return {field.name: hints[field.name] for field in fields(LOG_TYPES[name])}


def from_abi(kind: Any, value: Any) -> Any:
    """Turn a decoded ABI value into a field's type."""
    if get_origin(kind) is tuple:
        return tuple(from_abi(get_args(kind)[0], item) for item in value)
    if kind is str:
        return value.lower()
    return bytes(value) if kind is bytes else kind(value)


def _to_abi(value: Any) -> Any:
    return Web3.to_checksum_address(value) if isinstance(value, str) else value


def get_contract(web3: Web3, name: str, address: str) -> Contract:
    """Bind a compiled contract to an address."""
    return web3.eth.contract(Web3.to_checksum_address(address), abi=load_compiled(name)["abi"])


def send(web3: Web3, account: LocalAccount, function: Any, gas: int | None) -> TxReceipt:
    """Sign and send a transaction; wait until it is mined; raise Revert with the contract's reason if it failed."""
    price = web3.eth.get_block("latest").get("baseFeePerGas", 0) * 2 + 10**9
    options: Any = {
        "from": account.address,
        "nonce": web3.eth.get_transaction_count(account.address),
        "maxFeePerGas": price,
        "maxPriorityFeePerGas": 10**9,
        "chainId": web3.eth.chain_id,
    }
    if gas is not None:
        options["gas"] = gas
    try:
        transaction = function.build_transaction(options)
        receipt = web3.eth.wait_for_transaction_receipt(
            web3.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction)
        )
        if receipt["status"] == 0:
            # The receipt does not say why; asked again, at the time of its block or on what was before it, the contract
            # does: what came too late now was in time a block before.
            for block in (receipt["blockNumber"], receipt["blockNumber"] - 1):
                function.call({"from": account.address}, block_identifier=block)
            raise Revert("the transaction failed, perhaps for want of gas")
    except ContractLogicError as error:
        raise Revert(str(error.message).removeprefix("execution reverted: ")) from error
    return receipt
