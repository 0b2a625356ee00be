"""Ports: all that a node asks of the world, each small and owned here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from openflock.protocol.calls import Call, Event
from openflock.protocol.types import Act, Address, Digest, Genesis

Blob = bytes | memoryview
Wanted = tuple[Digest, int]  # a blob, and the most bytes that it may have


@dataclass(frozen=True)
class Entry:
    """One line of a ledger's log: a call, or an event that followed from the last call."""

    time: int
    block: int
    item: Call | Event


class Unreachable(OSError):
    """A ledger or a store that does not answer now; nothing was refused, and asking again later is safe."""


class Ledger(Protocol):
    """An append-only log that accepts calls by the rules of `protocol.round`, whoever keeps it.

    Any of its methods may raise Unreachable.
    """

    def get_genesis(self) -> Genesis:
        """Read what the task was created with."""

    def submit(self, call: Call) -> None:
        """Make a call in its sender's name; raise Revert, with the task's reason, if it is refused.

        Where the log lags behind the calls (a chain's last blocks may still change), what was made is not made again
        by asking for it again before the log shows it.
        """

    def read(self, since: int) -> Sequence[Entry]:
        """Read the log from entry `since` on; a later read never changes an entry that was read."""


class Clock(Protocol):
    """The ledger's time."""

    def get_time(self) -> int:
        """Read the time, in seconds, at which a call made now would happen."""

    def get_block(self) -> int:
        """Read the number of the last block; a call made now happens in a later one."""

    def wait_until(self, time: int) -> None:
        """Return when a call made now would happen at `time` or later, with a new block at least."""


class BlobStore(Protocol):
    """Bytes by digest."""

    def put(self, data: Blob) -> Digest:
        """Store bytes durably and return their SHA-256."""

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        """Store what the parts make up, holding one of them at a time; as put otherwise."""

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        """Fetch bytes, their digest verified; raise BlobMissing or BlobCorrupt, and read at most `max_size`.

        Large ones may come as a view of a mapped file: memory that the system can take back.
        """


class BlobMissing(LookupError):
    """No such blob can be had now."""


class BlobCorrupt(ValueError):
    """What is stored under a digest is not what the digest names."""


class Journal(Protocol):
    """What a node must not forget across a crash: the content of each commitment, before it is sent."""

    def remember(self, task: Address, node: Address, round_number: int, act: Act, content: bytes) -> None:
        """Write down, durably, what a node is about to commit to."""

    def recall(self, task: Address, node: Address, round_number: int, act: Act) -> bytes | None:
        """Read what a node committed to, None if nothing was written down."""
