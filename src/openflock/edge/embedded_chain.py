"""An EVM chain inside this process (py-evm through eth-tester), whose every block repeats from a seed."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from eth_tester import EthereumTester
from eth_tester.backends.pyevm.main import PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_utils.address import to_canonical_address
from web3 import EthereumTesterProvider, Web3
from web3.types import RPCEndpoint, RPCResponse

from openflock.protocol.types import Address

GENESIS_TIME = 1_700_000_000
GAS_ETHER = 10**24  # what each account has for gas, in wei
BLOCK_GAS = 30_000_000


class SeededBackend(PyEVMBackend):  # type: ignore[misc]
    """The backend with block times one second apart and `prevrandao` from a seed.

    Its parent takes the one from the wall clock and draws the other at random, and so every block hash.
    """

    def __init__(self, seed: bytes, **options: Any) -> None:
        self._seed = seed
        super().__init__(**options)
        self.set_time(GENESIS_TIME + 1)

    def set_time(self, time: int) -> None:
        """Set the timestamp of the next block."""
        self.chain.header = self.chain.header.copy(timestamp=time)

    def mine_blocks(self, num_blocks: int = 1, coinbase: bytes = bytes(20)) -> tuple[bytes, ...]:
        """Mine blocks one second apart."""
        return tuple(self._mine(coinbase) for _ in range(num_blocks))

    def _mine(self, coinbase: bytes) -> bytes:
        header = self.chain.header
        mix_hash = sha256(self._seed + header.block_number.to_bytes(8, "big")).digest()
        block_hash: bytes = self.chain.mine_block(coinbase=coinbase, mix_hash=mix_hash, blob_gas_used=0).hash
        self.set_time(header.timestamp + 1)
        return block_hash


class EmbeddedProvider(EthereumTesterProvider):
    """The provider that answers a refused call as every other endpoint does; its parent raises its own exception."""

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer a request."""
        try:
            return super().make_request(method, params)
        except TransactionFailed as error:
            return {"id": 0, "jsonrpc": "2.0", "error": {"code": 3, "message": str(error)}}


class EmbeddedChain:
    """A chain and its clock; accounts are funded with gas at its genesis."""

    def __init__(self, accounts: Sequence[Address], seed: bytes) -> None:
        """Start a chain at block 0."""
        self._backend = SeededBackend(
            seed,
            genesis_parameters=PyEVMBackend.generate_genesis_params(
                overrides={"timestamp": GENESIS_TIME, "gas_limit": BLOCK_GAS}
            ),
            genesis_state=dict(_fund(accounts)),
        )
        self._tester = EthereumTester(self._backend)
        self.web3 = Web3(EmbeddedProvider(self._tester))
        # The chain charges even a read for its gas, to an account that must be able to pay.
        self.web3.eth.default_account = Web3.to_checksum_address(accounts[0])

    def get_time(self) -> int:
        """Read the timestamp that the next block will have."""
        time: int = self._backend.chain.header.timestamp
        return time

    def get_block(self) -> int:
        """Read the number of the last block."""
        return int(self.web3.eth.block_number)

    def wait_until(self, time: int) -> None:
        """Mine one empty block, late enough that the next has at least this timestamp."""
        self._backend.set_time(max(self.get_time(), time - 1))
        self._tester.mine_block()


def _fund(accounts: Sequence[Address]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for account in accounts:
        yield to_canonical_address(account), {"balance": GAS_ETHER, "nonce": 0, "code": b"", "storage": {}}
