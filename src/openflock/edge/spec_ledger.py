"""A ledger in this process: `protocol.round` behind the port, with a clock that moves only when told.

The arena and the tests run on it. Its block hashes are a hash chain from a seed, so a run repeats exactly.
"""

from collections.abc import Sequence
from hashlib import sha256

from openflock.protocol.calls import Call, Event
from openflock.protocol.ports import Entry
from openflock.protocol.round import create_state, process
from openflock.protocol.types import SEED_WINDOW, Genesis, Moment

BLOCK_TIME = 1  # seconds that a call takes


class SpecLedger:
    """Ledger and Clock over the executable specification; every call is a block of its own."""

    def __init__(self, genesis: Genesis, seed: bytes = b"") -> None:
        """Start a task; `seed` decides the block hashes."""
        self._genesis, self._seed = genesis, seed
        self._time, self._block = genesis.time, 1
        self._log: list[Entry] = []
        self.state = create_state(genesis)

    def get_genesis(self) -> Genesis:
        """Read what the task was created with."""
        return self._genesis

    def submit(self, call: Call) -> None:
        """Make a call in the next block; a refused call leaves no trace but the block."""
        self._mine(self._time + BLOCK_TIME)
        self.state, events = process(self.state, call, self._get_moment())
        items: list[Call | Event] = [call, *events]
        self._log += [Entry(self._time, self._block, item) for item in items]

    def read(self, since: int) -> Sequence[Entry]:
        """Read the log from entry `since` on."""
        return self._log[since:]

    def get_time(self) -> int:
        """Read the time of the next call."""
        return self._time + BLOCK_TIME

    def get_block(self) -> int:
        """Read the number of the last block."""
        return self._block

    def wait_until(self, time: int) -> None:
        """Mine one empty block, late enough that the next call happens at `time` or later."""
        self._mine(max(self._time, time - BLOCK_TIME))

    def _mine(self, time: int) -> None:
        self._time, self._block = time, self._block + 1

    def _get_moment(self) -> Moment:
        blocks = range(max(0, self._block - SEED_WINDOW), self._block)
        return Moment(self._time, self._block, {block: self._hash(block) for block in blocks})

    def _hash(self, block: int) -> bytes:
        return sha256(self._seed + block.to_bytes(8, "big")).digest()
