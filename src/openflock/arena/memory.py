"""Places in memory for what a node keeps in files: for runs of a minute, in one process, that never crash."""

from collections.abc import Iterable
from hashlib import sha256

from openflock.protocol.ports import Blob, BlobMissing
from openflock.protocol.types import Act, Address, Digest


class MemoryStore:
    """A blob store that lives as long as its run."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}

    def put(self, data: Blob) -> Digest:
        """Keep bytes."""
        digest = sha256(data).digest()
        self._blobs[digest] = bytes(data)
        return digest

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        """Keep what the parts make up."""
        return self.put(b"".join(parts))

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        """Give bytes; what is too large is missing too."""
        found = self._blobs.get(digest)
        if found is None or len(found) > max_size:
            raise BlobMissing(f"blob {digest.hex()} is not here, or too large")
        return found


class MemoryJournal:
    """A journal for nodes that never crash."""

    def __init__(self) -> None:
        self._contents: dict[tuple[Address, Address, int, Act], bytes] = {}

    def remember(self, task: Address, node: Address, round_number: int, act: Act, content: bytes) -> None:
        """Keep a content."""
        self._contents[task, node, round_number, act] = content

    def recall(self, task: Address, node: Address, round_number: int, act: Act) -> bytes | None:
        """Give a content."""
        return self._contents.get((task, node, round_number, act))
