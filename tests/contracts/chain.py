"""A bare chain in this process: titanoboa's EVM, with time, block and block hashes set by the test.

It calls contracts by their ABI and says what came of it, without the compiler: what runs is what ships.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import boa
import vyper
from eth_abi.abi import decode, encode
from eth_hash.auto import keccak

from openflock.edge.compiled import load_compiled

TOKENS = Path(__file__).parent / "tokens"
DEPLOYER = "0x" + "de" * 20

Abi = dict[str, Any]


class Refused(Exception):
    """What a contract reverted with; empty if it gave no reason."""


@dataclass(frozen=True)
class Log:
    """A decoded event of one contract."""

    name: str
    values: tuple[Any, ...]


class Hashes:
    """The hashes of past blocks, the last one first, computed as they are asked for."""

    def __init__(self, block: int, hash_block: Callable[[int], bytes]) -> None:
        self._block, self._hash_block = block, hash_block

    def __iter__(self) -> Iterator[bytes]:
        return (self._hash_block(block) for block in range(self._block - 1, max(-1, self._block - 257), -1))


class Chain:
    """A fresh EVM."""

    def __init__(self, chain_id: int = 31337) -> None:
        self.env = boa.Env()
        self.env.evm.patch.chain_id = chain_id

    def set_moment(self, time: int, block: int, hash_block: Callable[[int], bytes]) -> None:
        """Let the next call happen at a time, in a block, after blocks of these hashes."""
        patch = self.env.evm.patch
        patch.timestamp, patch.block_number, patch.prev_hashes = time, block, Hashes(block, hash_block)

    def deploy(
        self, compiled: Abi, *values: Any, sender: str = DEPLOYER, address: str | None = None, code: str = "bytecode"
    ) -> "Contract":
        """Deploy a compiled contract, or its blueprint, at an address of one's choice if given."""
        inputs = [item for abi in compiled["abi"] if abi["type"] == "constructor" for item in abi["inputs"]]
        arguments = encode([get_type(item) for item in inputs], values) if code == "bytecode" else b""
        initcode = bytes.fromhex(compiled[code].removeprefix("0x")) + arguments
        at, computation = self.env.deploy(sender=sender, bytecode=initcode, override_address=address)
        if computation.is_error:
            raise Refused(get_reason(computation.output))
        return Contract(self, str(at).lower(), compiled["abi"])


@dataclass
class Contract:
    """A deployed contract, called by names of its ABI."""

    chain: Chain
    address: str
    abi: Sequence[Abi]
    gas: int = 0  # what the last call burned
    refund: int = 0  # what it freed
    last: tuple[Log, ...] = ()  # what the last call logged
    _functions: dict[str, tuple[bytes, list[str], list[str]]] = field(default_factory=dict)
    _events: dict[int, Abi] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in self.abi:
            if item["type"] == "function":
                inputs, outputs = ([get_type(part) for part in item[side]] for side in ("inputs", "outputs"))
                self._functions[item["name"]] = (get_selector(item["name"], inputs), inputs, outputs)
            elif item["type"] == "event":
                signature = f"{item['name']}({','.join(get_type(part) for part in item['inputs'])})"
                self._events[int.from_bytes(keccak(signature.encode()), "big")] = item

    def call(self, name: str, *values: Any, sender: str = DEPLOYER) -> Any:
        """Call and change; return what it returns, raise Refused with its reason."""
        return self._execute(name, values, sender, is_modifying=True)

    def encode(self, name: str, *values: Any) -> bytes:
        """Encode a call."""
        selector, inputs, _ = self._functions[name]
        return selector + encode(inputs, values)

    def view(self, name: str, *values: Any) -> Any:
        """Read and change nothing."""
        return self._execute(name, values, DEPLOYER, is_modifying=False)

    def _execute(self, name: str, values: Sequence[Any], sender: str, *, is_modifying: bool) -> Any:
        computation = self.chain.env.execute_code(
            to_address=self.address, sender=sender, data=self.encode(name, *values), is_modifying=is_modifying
        )
        if computation.is_error:
            raise Refused(get_reason(computation.output))
        if is_modifying:
            self.gas, self.refund = computation.get_gas_used(), computation.get_gas_refund()
            entries = sorted(computation.get_raw_log_entries())
            self.last = tuple(
                self.decode_log(topics, data)
                for _, address, topics, data in entries
                if address == bytes.fromhex(self.address[2:])
            )
        returned = decode(self._functions[name][2], computation.output)
        return returned[0] if len(returned) == 1 else returned

    def decode_log(self, topics: Sequence[int], data: bytes) -> Log:
        """Read an event, its fields in the order of their declaration."""
        event = self._events[topics[0]]
        kinds = [get_type(part) for part in event["inputs"] if not part["indexed"]]
        plain = iter(decode(kinds, data))
        indexed = iter(topics[1:])
        values = [
            decode([part["type"]], next(indexed).to_bytes(32, "big"))[0] if part["indexed"] else next(plain)
            for part in event["inputs"]
        ]
        return Log(event["name"], tuple(values))


def get_type(part: Abi) -> str:
    """Write an ABI type as signatures have it: structs as tuples."""
    if not part["type"].startswith("tuple"):
        return str(part["type"])
    return f"({','.join(get_type(inner) for inner in part['components'])}){part['type'][5:]}"


def get_selector(name: str, inputs: Sequence[str]) -> bytes:
    """Compute the first four bytes of a call."""
    return bytes(keccak(f"{name}({','.join(inputs)})".encode())[:4])


def get_reason(output: bytes) -> str:
    """Read why a contract reverted."""
    return str(decode(["string"], output[4:])[0]) if output[:4] == bytes.fromhex("08c379a0") else output.hex()


@cache
def load(name: str) -> Abi:
    """Load a contract as it ships."""
    return load_compiled(name)


@cache
def compile_token(name: str) -> Abi:
    """Compile one of the tests' tokens."""
    source = (TOKENS / f"{name}.vy").read_text()
    return vyper.compile_code(source, output_formats=["abi", "bytecode"])
