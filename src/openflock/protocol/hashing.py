"""Hashing as the contract does it: keccak-256 of the ABI encoding of typed values."""

from collections.abc import Sequence

from eth_abi.abi import encode
from eth_hash.auto import keccak


def hash_values(types: Sequence[str], values: Sequence[object]) -> bytes:
    """Hash values of static ABI types, as `keccak256(abi_encode(...))` does on the chain."""
    return bytes(keccak(encode(types, values)))
