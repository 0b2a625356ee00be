"""Hashing as the contract does it: keccak-256 of the ABI encoding of typed values."""

from collections.abc import Sequence

from eth_hash.auto import keccak

_WORD = 32


def hash_values(types: Sequence[str], values: Sequence[object]) -> bytes:
    """Hash values of the types address, bytes32, uint256 and bool, as `keccak256(abi_encode(...))` does on the chain.

    Each is one word, so the encoding is the words in order; a general encoder takes ten times as long. ValueError for
    what is not of its type.
    """
    return bytes(keccak(b"".join(_encode(kind, value) for kind, value in zip(types, values, strict=True))))


def _encode(kind: str, value: object) -> bytes:
    match kind, value:
        case "address", str() if len(value) == 42 and value[:2] == "0x" and len(raw := bytes.fromhex(value[2:])) == 20:
            return raw.rjust(_WORD, b"\0")
        case "bytes32", bytes() if len(value) == _WORD:
            return value
        case "uint256", int() if 0 <= value < 2**256:
            return value.to_bytes(_WORD, "big")
        case "bool", bool():
            return value.to_bytes(_WORD, "big")
    raise ValueError(f"hashing: {value!r} is no {kind}")
