"""Make each transaction of an account exactly once, whatever crashes, drops or reorders in between.

Every transaction is signed and written to the journal before it is sent. From then on it is nursed: sent again when it
vanished, replaced under the same nonce at a higher fee when no block takes it. The same nonce is what makes it one: a
chain takes one transaction of each. Another nonce is used only once the account's count, as deep in the chain as blocks
are believed, has passed the old one and none of what was signed with it is in the chain.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3RPCError
from web3.types import TxReceipt

from openflock.edge.answers import CHEAP, KNOWN, POOR, Unaffordable, explain_failure, faults, get_words, refusals, says
from openflock.edge.journal import Journal, Transaction
from openflock.edge.rpc import show
from openflock.protocol.ports import Unreachable
from openflock.protocol.types import Address, Revert

GWEI = 10**9
MAX_FEE = 300 * GWEI  # what a unit of gas may cost, unless the account's owner says otherwise
PATIENCE = 60.0  # seconds that a call waits to be mined before its caller is told to ask again
RESEND = 5.0  # seconds between two sendings of the same transaction
REPLACE = 45.0  # seconds after which what no block took is replaced at a higher fee
CHEAP_TRIES = 4  # replacements made at once, as long as an endpoint says that a transaction offers too little
RAISE = 8  # a replacement offers an eighth (12.5 %) more, the most that endpoints ask for
LOOKS = (0.02, 1.0)  # seconds between two looks for a receipt: at first, and at most
SPARE_GAS = 2  # times the estimate: what others do in between makes a call up to 1.9 times dearer (docs/gas.md)
GAS_CAP = 2**24  # of one transaction, on chains since Osaka (EIP-7825)


class Transactions:
    """The transactions of some accounts on one chain, through one journal."""

    def __init__(
        self, web3: Web3, journal: Journal, accounts: Mapping[Address, LocalAccount], confirmations: int,
        gas: int | None = None, max_fee: int = MAX_FEE, patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        """Send over `web3`; a block is believed once `confirmations` others are on top of it.

        `max_fee` is the most, in wei, that a unit of gas may cost: it bounds what an endpoint that lies about fees can
        make an account burn.
        """
        self._web3, self._journal, self._accounts, self._confirmations = web3, journal, accounts, confirmations
        self._gas, self._max_fee, self._patience = gas, max_fee, patience
        self._chain = web3.eth.chain_id
        self._sent: dict[bytes, float] = {}

    def resume(self, sender: Address, function: Any, purpose: str, passed: int) -> bool:
        """Answer whether a purpose is under way, and see it mined; raise Revert if it failed.

        What is in a block before `passed` is settled: its caller has seen it, and wants it once more.
        """
        deadline = time.monotonic() + self._patience
        while mine := [item for item in self._list_open(sender) if item.purpose == purpose]:
            receipt = self._nurse(mine[0].nonce, sender, purpose, deadline)
            if receipt is None:
                continue  # lost, and another may be under way
            if receipt["blockNumber"] < passed:
                self._journal.settle(self._chain, sender, mine[0].nonce, purpose)
                continue
            if receipt["status"] == 0:
                raise Revert(explain_failure(function, sender, receipt))
            return True
        return False

    def make(self, sender: Address, function: Any, purpose: str, passed: int) -> None:
        """Make a transaction that is not under way, and see it mined; raise Revert if it is refused."""
        deadline = time.monotonic() + self._patience
        receipt = None
        while receipt is None:  # lost, if it comes back without one
            nonce, rivals = self._choose_nonce(sender, passed)
            self._write(sender, purpose, self._build(sender, function, nonce, rivals))
            receipt = self._nurse(nonce, sender, purpose, deadline)
        if receipt["status"] == 0:
            raise Revert(explain_failure(function, sender, receipt))

    # --- One transaction, from nonce to receipt ---

    def _choose_nonce(self, sender: Address, passed: int) -> tuple[int, list[Transaction]]:
        """Choose a nonce: of what is under way in vain, else the next; and give what it would take the place of.

        What no block took yields its nonce to the next call, so that nothing stuck blocks an account. Which of the two
        is mined, the chain decides; the other is lost, and has another nonce when it is asked for again.
        """
        next_nonce = self._count(sender, "pending")
        under_way = self._list_open(sender)
        for nonce in sorted({item.nonce for item in under_way}):
            same = [item for item in under_way if item.nonce == nonce]
            found = [(item, receipt) for item in same if (receipt := self._find_receipt([item]))]
            if found:
                next_nonce = max(next_nonce, nonce + 1)
                if found[0][1]["blockNumber"] < passed:
                    self._journal.settle(self._chain, sender, nonce, found[0][0].purpose)
            elif nonce >= self._count(sender, "latest"):
                return nonce, same
        return next_nonce, []

    def _build(self, sender: Address, function: Any, nonce: int, rivals: Sequence[Transaction]) -> dict[str, Any]:
        """Build a transaction; estimating its gas shows whether the contract refuses it, at no cost."""
        options = {"from": self._accounts[sender].address, "nonce": nonce, **self._offer(rivals)}
        if self._gas is not None:
            options["gas"] = self._gas
        with refusals(), faults():
            transaction: dict[str, Any] = function.build_transaction(options)
        if self._gas is None:
            estimate = transaction["gas"]
            transaction["gas"] = max(estimate, min(SPARE_GAS * estimate, GAS_CAP))
        return transaction

    def _offer(self, rivals: Sequence[Transaction]) -> dict[str, int]:
        """Offer fees as web3.py does, twice the base fee and the tip that the endpoint names, and more than rivals."""
        with faults():
            tip = int(self._web3.eth.max_priority_fee)
            base = int(self._web3.eth.get_block("latest").get("baseFeePerGas", 0))
        least_tip = least = 0
        for rival in map(decode, rivals):
            least_tip = max(least_tip, raise_fee(rival["maxPriorityFeePerGas"]))
            least = max(least, raise_fee(rival["maxFeePerGas"]))
        tip = max(tip, least_tip)
        check_fee(max(base + tip, least), self._max_fee)
        return {"maxPriorityFeePerGas": tip, "maxFeePerGas": min(max(2 * base + tip, least), self._max_fee)}

    def _write(self, sender: Address, purpose: str, transaction: dict[str, Any]) -> None:
        signed = self._accounts[sender].sign_transaction(transaction | {"chainId": self._chain})
        nonce, raw = transaction["nonce"], bytes(signed.raw_transaction)
        self._journal.write(Transaction(self._chain, sender, nonce, purpose, bytes(signed.hash), raw, time.time()))

    def _nurse(self, nonce: int, sender: Address, purpose: str, deadline: float) -> TxReceipt | None:
        """See a transaction mined and return its receipt; None if it is lost, twice looked for."""
        pause, missed = LOOKS[0], False
        while True:
            mine = [item for item in self._list_open(sender) if (item.nonce, item.purpose) == (nonce, purpose)]
            receipt = self._find_receipt(mine)
            if receipt is None and self._is_passed(sender, nonce):
                # Counted before it is looked for: what was mined in between is found.
                receipt = self._find_receipt(mine)
                if receipt is None and missed:
                    self._journal.lose(self._chain, sender, nonce, purpose)
                    return None
                missed = True
            elif receipt is None:
                missed = False
                self._push(sender, nonce)
                receipt = self._find_receipt(mine)
            if receipt is not None:
                return receipt
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"no block took {purpose.split('(')[0]} within {self._patience:g} s; it is written down, and asking"
                    " again is safe"
                )
            time.sleep(pause)
            pause = min(1.5 * pause, LOOKS[1])

    def _push(self, sender: Address, nonce: int) -> None:
        """Send what no block took yet up to a nonce, now and then again; replace what has waited too long.

        What vanished with the blocks that it was in must go first: a chain takes nonces in order.
        """
        under_way, first = self._list_open(sender), self._count(sender, "latest")
        for number in sorted({item.nonce for item in under_way if first <= item.nonce <= nonce}):
            same = [item for item in under_way if item.nonce == number]
            newest = same[-1]
            is_cheap = not self._send(newest) and len(same) < CHEAP_TRIES
            if is_cheap or time.time() - newest.time > REPLACE:
                with suppress(Unaffordable):  # then what was sent has to do
                    self._write(sender, newest.purpose, decode(newest) | self._offer(same))

    def _send(self, transaction: Transaction) -> bool:
        """Send a transaction unless it was sent just now; answer whether it offers enough."""
        if time.monotonic() - self._sent.get(transaction.hash, -RESEND) < RESEND:
            return True
        is_enough = True
        try:
            self._web3.eth.send_raw_transaction(HexBytes(transaction.raw))
        except Web3RPCError as error:
            is_enough = not says(error, CHEAP)
            if says(error, POOR):
                raise Unaffordable(
                    f"{transaction.sender} has too little of the chain's own coin to pay for gas: send it some"
                ) from error
            if is_enough and not says(error, KNOWN):
                raise Unreachable(
                    f"the RPC endpoint does not take a transaction: it says {show(get_words(error))}"
                ) from error
        self._sent[transaction.hash] = time.monotonic()
        return is_enough

    # --- What the chain says ---

    def _list_open(self, sender: Address) -> list[Transaction]:
        return self._journal.list_open(self._chain, sender)

    def _find_receipt(self, transactions: Sequence[Transaction]) -> TxReceipt | None:
        for transaction in reversed(transactions):
            try:
                with faults():
                    receipt = self._web3.eth.get_transaction_receipt(HexBytes(transaction.hash))
            except TransactionNotFound:
                continue
            self._sent.pop(transaction.hash, None)  # should its block vanish, it is sent again at once
            return receipt
        return None

    def _is_passed(self, sender: Address, nonce: int) -> bool:
        """Answer whether blocks deep enough to be believed hold a transaction of this nonce."""
        with faults():
            block = self._web3.eth.block_number - self._confirmations
        return block >= 0 and self._count(sender, block) > nonce

    def _count(self, sender: Address, block: Any) -> int:
        with faults():
            return int(self._web3.eth.get_transaction_count(Web3.to_checksum_address(sender), block))


# --- Helpers -------------------------------------------------------------------------------------------------


def decode(transaction: Transaction) -> dict[str, Any]:
    """Decode what was signed, without its signature."""
    fields = TypedTransaction.from_bytes(HexBytes(transaction.raw)).as_dict()
    return {name: value for name, value in fields.items() if name not in ("v", "r", "s")}


def raise_fee(fee: int) -> int:
    """Raise a fee by as much as a replacement must offer.

    >>> raise_fee(1000)
    1126
    """
    return fee + fee // RAISE + 1


def send(web3: Web3, account: LocalAccount, function: Any, gas: int | None) -> TxReceipt:
    """Sign, send and see mined a transaction, without a journal; raise Revert with the contract's reason.

    Without `gas` the endpoint estimates it, and names the fees; with it, a simulation's fees repeat.
    """
    with refusals(), faults():
        options: Any = {
            "from": account.address,
            "nonce": web3.eth.get_transaction_count(account.address),
            "chainId": web3.eth.chain_id,
        }
        if gas is not None:
            price = web3.eth.get_block("latest").get("baseFeePerGas", 0) * 2 + GWEI
            options |= {"gas": gas, "maxFeePerGas": price, "maxPriorityFeePerGas": GWEI}
        transaction = function.build_transaction(options)
        check_fee(transaction["maxFeePerGas"], MAX_FEE)
        receipt = web3.eth.wait_for_transaction_receipt(
            web3.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction)
        )
    if receipt["status"] == 0:
        raise Revert(explain_failure(function, cast(Address, account.address), receipt))
    return receipt


def check_fee(fee: int, limit: int) -> None:
    """Raise Unaffordable for a fee over the limit."""
    if fee > limit:
        raise Unaffordable(
            f"a unit of gas costs {fee / GWEI:g} gwei, more than the {limit / GWEI:g} that are allowed: wait, raise the"
            " limit, or use another RPC endpoint if this one lies"
        )
