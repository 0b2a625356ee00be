"""What endpoints and contracts say when something is not done, in this project's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from web3 import Web3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3Exception, Web3RPCError
from web3.types import TxReceipt

from openflock.edge.rpc import show
from openflock.protocol.ports import Unreachable
from openflock.protocol.types import Address, Revert

# How endpoints (geth, Anvil, Nethermind, Besu, Erigon) say that they know a transaction, or that its nonce is used ...
KNOWN = (
    "already known",
    "alreadyknown",
    "known transaction",
    "already imported",
    "already in mempool",
    "already in the pool",
    "nonce too low",
    "nonce is too low",
    "nonce_too_low",
    "oldnonce",
    "nonce has already been used",
)
# ... that it offers too little, beside another of the same nonce or as fees are now, or that nobody can pay for it.
CHEAP = (
    "underpriced",
    "replacementnotallowed",
    "fee too low",
    "feetoolow",
    "less than block base fee",
    "gas price below",
)
POOR = ("insufficient funds", "insufficientfunds", "insufficient balance", "gas required exceeds allowance")


class Unaffordable(Unreachable):
    """A transaction that would cost more gas money than is allowed, or than there is."""


@contextmanager
def refusals() -> Iterator[None]:
    """Raise what a contract refuses as Revert, with its reason."""
    try:
        yield
    except ContractLogicError as error:
        raise Revert(str(error.message).removeprefix("execution reverted: ")) from error


@contextmanager
def faults() -> Iterator[None]:
    """Raise as Unreachable what an endpoint could not answer, or answered in no form that web3.py reads."""
    try:
        yield
    except (ContractLogicError, TransactionNotFound):
        raise
    except Web3RPCError as error:
        if says(error, POOR):
            raise Unaffordable(
                "the account has too little of the chain's own coin to pay for gas: send it some"
            ) from error
        raise Unreachable(f"the RPC endpoint refuses: it says {show(get_words(error))}") from error
    except Web3Exception as error:
        raise Unreachable(f"the RPC endpoint gives no usable answer: {show(str(error))}") from error


def says(error: Web3RPCError, words: tuple[str, ...]) -> bool:
    """Answer whether an endpoint's error says one of some things."""
    said = get_words(error).lower()
    return any(word in said for word in words)


def get_words(error: Web3RPCError) -> str:
    """Read what an endpoint's error says."""
    return str((error.rpc_response or {}).get("error", {}).get("message", error))


def explain_failure(function: Any, sender: Address, receipt: TxReceipt) -> str:
    """Say why a mined transaction failed.

    The receipt does not; asked again, at the time of its block or on what was before it, the contract does: what came
    too late now was in time a block before.
    """
    for block in (receipt["blockNumber"], receipt["blockNumber"] - 1):
        try:
            with refusals(), faults():
                function.call({"from": Web3.to_checksum_address(sender)}, block_identifier=block)
        except Revert as error:
            return str(error)
        except Unreachable:
            break  # a state so old is not kept
    return "the transaction failed, perhaps for want of gas"
