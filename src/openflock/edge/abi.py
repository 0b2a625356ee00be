"""Calls and log entries as the contract's functions and events have them."""

import re
from dataclasses import fields
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from web3 import Web3

from openflock.protocol.calls import LOG_TYPES, Call


def name_function(call: Call) -> str:
    """Name the contract's function for a call.

    >>> name_function(TopUp("0x00", 1))
    'top_up'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(call).__name__).lower()


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


def to_abi(value: Any) -> Any:
    """Turn a field's value into what web3.py takes."""
    return Web3.to_checksum_address(value) if isinstance(value, str) else value
