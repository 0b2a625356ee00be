"""What the answers of an endpoint must look like before web3.py, which takes that for granted, reads them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], Any]  # returns what it is given, or the part that is known; raises Misshapen


class Misshapen(ValueError):
    """An answer of a form that none should have."""


def match(pattern: str) -> Check:
    """Check that a value is a string of some form."""
    compiled = re.compile(pattern)

    def check(value: Any) -> Any:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise Misshapen
        return value

    return check


def maybe(check: Check) -> Check:
    """Let a value be missing."""
    return lambda value: None if value is None else check(value)


def list_of(check: Check) -> Check:
    """Check every item of a list."""

    def check_all(values: Any) -> Any:
        if not isinstance(values, list):
            raise Misshapen
        return [check(value) for value in values]

    return check_all


def fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """Check an object's fields, and drop those that nobody here reads, of whatever form they are."""
    checks = dict(required) | dict(optional or {})

    def check(value: Any) -> Any:
        if not isinstance(value, dict) or required.keys() - value.keys():
            raise Misshapen
        return {name: check(value[name]) for name, check in checks.items() if name in value}

    return check


QUANTITY = match("0x[0-9a-fA-F]{1,64}")
DATA = match("0x(?:[0-9a-fA-F]{2})*")
HASH, ADDRESS = match("0x[0-9a-fA-F]{64}"), match("0x[0-9a-fA-F]{40}")
BLOCK = fields(
    {"number": QUANTITY, "hash": HASH, "timestamp": QUANTITY},
    {
        "transactions": list_of(HASH),
        "parentHash": HASH,
        "baseFeePerGas": QUANTITY,
        "gasLimit": QUANTITY,
        "gasUsed": QUANTITY,
    },
)
LOG = fields(
    {
        "address": ADDRESS, "topics": list_of(HASH), "data": DATA, "blockNumber": QUANTITY, "blockHash": HASH,
        "transactionHash": HASH, "transactionIndex": QUANTITY, "logIndex": QUANTITY,
    }
)  # fmt: skip
RECEIPT = fields(
    {"transactionHash": HASH, "blockNumber": QUANTITY, "blockHash": HASH, "status": QUANTITY},
    {
        "from": ADDRESS, "to": maybe(ADDRESS), "contractAddress": maybe(ADDRESS), "gasUsed": QUANTITY,
        "effectiveGasPrice": QUANTITY, "cumulativeGasUsed": QUANTITY, "transactionIndex": QUANTITY,
        "logs": list_of(LOG),
    },
)  # fmt: skip
RESULTS: dict[str, Check] = {
    "eth_blockNumber": QUANTITY,
    "eth_call": DATA,
    "eth_chainId": QUANTITY,
    "eth_estimateGas": QUANTITY,
    "eth_gasPrice": QUANTITY,
    "eth_getBalance": QUANTITY,
    "eth_getBlockByHash": maybe(BLOCK),
    "eth_getBlockByNumber": maybe(BLOCK),
    "eth_getCode": DATA,
    "eth_getLogs": list_of(LOG),
    "eth_getTransactionCount": QUANTITY,
    "eth_getTransactionReceipt": maybe(RECEIPT),
    "eth_maxPriorityFeePerGas": QUANTITY,
    "eth_sendRawTransaction": HASH,
}


def check_result(method: str, result: Any) -> Any:
    """Return the part of a result that is read here; raise Misshapen if it has another form than its method's."""
    return RESULTS[method](result) if method in RESULTS else result
