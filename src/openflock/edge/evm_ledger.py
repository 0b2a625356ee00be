"""A ledger on an EVM chain, over any JSON-RPC endpoint that web3.py speaks to.

It writes calls as transactions, signed here, and reads nothing but the task's event log: what the state is, its
reader computes by `protocol.replay`.
"""

import time as wall
from collections.abc import Mapping, Sequence

from eth_abi.exceptions import DecodingError
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import (
    BadFunctionCallOutput,
    BlockNotFound,
    ContractLogicError,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.types import BlockData, LogReceipt

from openflock.edge.abi import from_abi, list_fields, name_function, to_abi
from openflock.edge.answers import faults
from openflock.edge.compiled import load_compiled
from openflock.edge.journal import Journal
from openflock.edge.rpc import show
from openflock.edge.transactions import MAX_FEE, PATIENCE, Transactions, send
from openflock.protocol.calls import LOG_TYPES, Call, Commit, Event, Fund, Join, TopUp
from openflock.protocol.ports import Entry, Unreachable
from openflock.protocol.replay import describe
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Genesis

POLL = 1.0  # seconds between looks at a chain whose clock is not ours
SHORT = 5_000  # blocks of a chain that is read from its first; on a longer one the task's first block is searched for
MAX_SPAN = 10_000  # blocks asked for in one search of the log; fewer where the endpoint refuses as many
UNLIMITED = 2**256 - 1
NOBODY = Web3.to_checksum_address("0x" + "0" * 40)


class NotATask(ValueError):
    """An address at which no task is."""


class BadLog(ValueError):
    """A log of the task that this version does not understand."""


class Reorganised(ValueError):
    """A chain that replaced blocks which were believed."""


class EvmLedger:
    """The task at one address of one chain."""

    def __init__(
        self, web3: Web3, task: Address, accounts: Mapping[Address, LocalAccount], gas: int | None = None,
        confirmations: int = 0, journal: Journal | None = None, max_fee: int = MAX_FEE, patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        """Connect to a task; `accounts` sign the calls. Without `gas` the endpoint estimates each transaction.

        What is read lags `confirmations` blocks behind the chain, so that a shallower reorganisation never shows. With
        a journal each call is made once, however often it is asked for before the log shows it; what it may cost at
        most, and how long a call waits to be mined, say `max_fee` (wei for a unit of gas) and `patience` (seconds).
        """
        self._web3, self._accounts, self._gas = web3, accounts, gas
        self._confirmations = confirmations
        if not Web3.is_address(task):
            raise NotATask(f"{show(task)} is no address: give the task's, 0x and 40 hex digits")
        self._task = get_contract(web3, "Task", task)
        self._token = get_contract(web3, "Token", self._find_token())
        self._names = {str(self._task.events[name].topic): name for name in LOG_TYPES}
        self._log: list[Entry] = []
        self._next_block, self._span = -1, MAX_SPAN  # -1 before the first look
        self._mark: BlockData | None = None
        self._is_watchful = confirmations > 0 or journal is not None
        self._transactions = (
            Transactions(web3, journal, accounts, confirmations, gas, max_fee, patience) if journal else None
        )

    @property
    def address(self) -> Address:
        """Give the task's address."""
        return self._task.address.lower()

    def get_genesis(self) -> Genesis:
        """Read what the task was created with."""
        functions = self._task.functions
        with faults():
            return Genesis(
                chain=self._web3.eth.chain_id,
                task=self._task.address.lower(),
                token=self._token.address.lower(),
                creator=functions.creator().call().lower(),
                time=functions.created_at().call(),
                rules=Rules(*functions.get_rules().call()),
            )

    def submit(self, call: Call) -> None:
        """Make a call's transaction and wait until it is mined; raise Revert with the contract's reason.

        With a journal, a call is another one than before only once `read` has passed the block of the one before.
        """
        function = self._task.functions[name_function(call)]
        function = function(*(to_abi(value) for name, value in vars(call).items() if name != "sender"))
        if self._transactions is None:
            self._allow(call)
            send(self._web3, self._accounts[call.sender], function, self._gas)
            return
        purpose = self._describe(call)
        if not self._transactions.resume(call.sender, function, purpose, self._next_block):
            self._allow(call)
            self._transactions.make(call.sender, function, purpose, self._next_block)

    def read(self, since: int) -> Sequence[Entry]:
        """Read the log from entry `since` on, asking the chain only for blocks not seen yet."""
        with faults():
            head = self._find_head()
            if head is not None and self._next_block < 0:
                self._next_block = self._find_first_block(head)
            while head is not None and self._next_block <= head["number"]:
                self._read_on(head)
        return self._log[since:]

    # --- Reading ---

    def _find_token(self) -> str:
        """Ask the task for its token, by which it shows that it is one."""
        with faults():
            try:
                return str(self._task.functions.token().call())
            except (BadFunctionCallOutput, ContractLogicError) as error:
                raise NotATask(
                    f"no task is at {self._task.address.lower()} on chain {self._web3.eth.chain_id}:"
                    " check the address, and that the RPC endpoint is of its chain"
                ) from error

    def _find_head(self) -> BlockData | None:
        """Find the newest block that is deep enough to be believed; None if there is none, or none that is new."""
        if self._confirmations == 0:
            return self._web3.eth.get_block("latest")
        number = self._web3.eth.block_number - self._confirmations
        return self._web3.eth.get_block(number) if number >= max(0, self._next_block) else None

    def _find_first_block(self, head: BlockData) -> int:
        """Find a block before which the task was not, by the time at which it was created."""
        if head["number"] < SHORT:
            return 0
        created = self._task.functions.created_at().call()
        first, last = 0, int(head["number"])
        while first < last:
            middle = (first + last) // 2
            if self._get_time(middle) < created:
                first = middle + 1
            else:
                last = middle
        return first

    def _get_time(self, block: int) -> int:
        try:
            return int(self._web3.eth.get_block(block)["timestamp"])
        except BlockNotFound:
            return 0  # so old that the endpoint dropped it

    def _read_on(self, head: BlockData) -> None:
        """Read as many of the next blocks as the endpoint searches at once."""
        last = min(self._next_block + self._span - 1, head["number"])
        end = head if last == head["number"] else self._web3.eth.get_block(last)
        try:
            logs = self._search(self._task.address, last)
        except (Web3RPCError, Unreachable) as error:
            self._span = max(1, (last - self._next_block + 1) // 2)
            if last == self._next_block and self._is_searched():
                logs = self._read_receipts(end)
            elif last > self._next_block and isinstance(error, Web3RPCError):
                return
            else:
                raise
        entries = self._date(logs, end)
        self._check_mark()
        self._log += entries
        self._next_block, self._mark, self._span = last + 1, end, min(2 * self._span, MAX_SPAN)

    def _search(self, address: ChecksumAddress, last: int) -> Sequence[LogReceipt]:
        return self._web3.eth.get_logs({"address": address, "fromBlock": self._next_block, "toBlock": last})

    def _is_searched(self) -> bool:
        """Answer whether the endpoint searches the next block at all, so that there is only too much of ours in it."""
        try:
            self._search(NOBODY, self._next_block)
        except (Web3RPCError, Unreachable):
            return False
        return True

    def _read_receipts(self, block: BlockData) -> list[LogReceipt]:
        """Read a block's logs transaction by transaction: who fills one with them must not stop all who read on."""
        try:
            receipts = [self._web3.eth.get_transaction_receipt(name) for name in block["transactions"]]  # type: ignore[arg-type]
            logs = [log for receipt in receipts for log in receipt["logs"] if log["address"] == self._task.address]
        except (KeyError, TransactionNotFound) as error:
            raise Unreachable(f"the RPC endpoint does not tell all of block {block['number']}") from error
        if any(receipt["blockHash"] != block["hash"] for receipt in receipts):
            raise Unreachable(f"the chain replaced block {block['number']} while it was read")
        return logs

    def _date(self, logs: Sequence[LogReceipt], end: BlockData) -> list[Entry]:
        # What has just been called is in the last block, whose time is known: most reads ask for no other.
        times = {end["number"]: end["timestamp"]}
        for number in {log["blockNumber"] for log in logs} - set(times):
            times[number] = self._web3.eth.get_block(number)["timestamp"]
        return [Entry(times[log["blockNumber"]], log["blockNumber"], self._decode(log)) for log in logs]

    def _check_mark(self) -> None:
        """Check, once new blocks were read, that they follow on those read before."""
        if self._mark is None or not self._is_watchful:
            return
        number = self._mark["number"]
        if self._web3.eth.get_block(number)["hash"] != self._mark["hash"]:
            raise Reorganised(
                f"the chain replaced block {number}, which was believed after {self._confirmations} confirmations:"
                f" start again with more than {self._confirmations}, and all is read anew from the chain"
            )

    def _decode(self, log: LogReceipt) -> Call | Event:
        name = self._names.get(str(log["topics"][0].to_0x_hex())) if log["topics"] else None
        if name is None:
            raise BadLog(f"the task at {self._task.address} logs an event that this version does not know: update it")
        try:
            args = self._task.events[name]().process_log(log)["args"]
            return LOG_TYPES[name](**{field: from_abi(kind, args[field]) for field, kind in list_fields(name).items()})
        except (Web3Exception, DecodingError, ValueError) as error:
            raise BadLog(f"the RPC endpoint gives a log of {name} that does not decode: use another one") from error

    # --- Paying in ---

    def _allow(self, call: Call) -> None:
        """Let the task take what a call brings in.

        Where real money may be at stake no more than that, so that a task whose code is not what it seems takes no
        more. A simulation allows it once for all: its blocks, and so all that is drawn by their hashes, stay the same.
        """
        amount = get_deposit(call)
        if not amount:
            return
        owner, spender = Web3.to_checksum_address(call.sender), self._task.address
        with faults():
            allowed = self._token.functions.allowance(owner, spender).call()
        if allowed >= amount:
            return
        if self._transactions is None:
            approve = self._token.functions.approve(spender, UNLIMITED)
            send(self._web3, self._accounts[call.sender], approve, self._gas)
            return
        approve = self._token.functions.approve(spender, amount)
        purpose = f"Approve(amount={amount}) for {self._describe(call)}"
        if not self._transactions.resume(call.sender, approve, purpose, self._next_block):
            self._transactions.make(call.sender, approve, purpose, self._next_block)

    def _describe(self, call: Call) -> str:
        return f"{describe(call)} of {self.address}"


class WallClock:
    """The clock of a chain that somebody else runs."""

    def __init__(self, web3: Web3) -> None:
        """Follow a chain."""
        self._web3 = web3

    def get_time(self) -> int:
        """Read the time of the last block: a call made now happens then or later."""
        with faults():
            return int(self._web3.eth.get_block("latest")["timestamp"])

    def get_block(self) -> int:
        """Read the number of the last block."""
        return int(self._web3.eth.block_number)

    def wait_until(self, time: int) -> None:
        """Poll until a block at least as late is there, and one that was not there before."""
        seen = self._web3.eth.block_number
        while self._web3.eth.block_number == seen or self.get_time() < time:
            wall.sleep(POLL)


# --- Helpers -------------------------------------------------------------------------------------------------


def get_deposit(call: Call) -> int:
    """Read how many tokens a call brings in."""
    match call:
        case Fund() | Join() | TopUp():
            return call.amount
        case Commit():
            return call.bond
    return 0


def get_contract(web3: Web3, name: str, address: str) -> Contract:
    """Bind a compiled contract to an address."""
    return web3.eth.contract(Web3.to_checksum_address(address), abi=load_compiled(name)["abi"])
