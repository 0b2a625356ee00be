"""Blobs from peer to peer, by BitTorrent v2: who has fetched a blob serves it on, so the proposer sends it to few.

A fetcher knows a digest and a largest size. Trackers say the rest, and need not be believed: what comes is hashed.
They can make a blob not to be had, never wrong. There is no DHT, no local discovery, no exchange of peers.
"""

import os
import shutil
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from openflock.edge.blobs import DirectoryStore, is_blob_name, name_blob, read_checked, write_atomically
from openflock.edge.outline import BadOutline, Outline, compute_outline, decode_outline
from openflock.edge.partial import open_partial
from openflock.edge.swarm import LOOK, Swarm
from openflock.edge.trackers import Offer, Trackers
from openflock.edge.url_store import PATIENCE, ROOM, SLOWEST
from openflock.protocol.ports import Blob, BlobCorrupt, BlobMissing, Unreachable
from openflock.protocol.types import Digest

INTERVAL: Final = 30.0  # seconds between two announcements of a blob
ABSENCE: Final = 10.0  # seconds without a byte from any peer, after which a blob counts as missing
ASK: Final = 1.0  # seconds between two questions to the trackers while nothing comes
FETCHES: Final = 512  # at once: a round, with all that it looks back on, has fewer blobs
CLOSING: Final = 3.0  # seconds that a fetch has to end when the store is closed
CLOSED: Final = "the store was closed"
OUTLINE: Final = ".outline-"
EMPTY: Final = sha256().digest()


@dataclass(frozen=True)
class Served:
    """A blob that peers can have from here."""

    outline: Outline
    torrent: Any
    inode: int


class TorrentStore:
    """A BlobStore that is a swarm: a cache, a session that serves it, and trackers that say who else has what."""

    def __init__(self, trackers: Trackers, cache: DirectoryStore, listen: str, absence: float = ABSENCE) -> None:
        """Serve what the cache holds; no tracker is asked yet."""
        self.cache, self.trackers, self._absence = cache, trackers, absence
        self._coming = DirectoryStore(cache.directory / ".coming")
        self._arrived = DirectoryStore(cache.directory / ".arrived")
        self.swarm = Swarm(listen)
        self._served: dict[Digest, Served] = {}
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._fetching = threading.Semaphore(FETCHES)
        for path in cache.directory.glob(f"{OUTLINE}*"):
            self._serve_again(path.name.removeprefix(OUTLINE))
        self._announcer = threading.Thread(target=self._announce_all, name="announcer", daemon=True)
        self._announcer.start()

    def put(self, data: Blob) -> Digest:
        """Keep bytes in the cache and serve them; raise Unreachable if no tracker hears of it."""
        return self.put_stream([data])

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        """Put what the parts make up."""
        digest = self.cache.put_stream(parts)
        if digest != EMPTY:  # everybody has nothing
            outline = self._serve(digest)
            self.trackers.announce(digest, outline, self.swarm.port)
        return digest

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        """Fetch from the cache, or else from peers, and serve it on.

        Raises BlobMissing when for some seconds no peer gave a byte, BlobCorrupt where what they gave was wrong,
        Unreachable where no tracker answers or peers are too slow; what has come is kept for the next try.
        """
        if digest == EMPTY:
            return b""
        with suppress(BlobMissing, BlobCorrupt):
            return self.cache.fetch(digest, max_size)
        deadline = time.monotonic() + PATIENCE
        with self._fetching, open_partial(self.cache.directory, digest, deadline):  # others who want it wait
            with suppress(BlobMissing, BlobCorrupt):
                return self.cache.fetch(digest, max_size)
            self._stop_serving(digest)  # it was here, and went or was spoiled
            return self._find(digest, max_size)

    def collect(self, keep: Collection[Digest], older_than: float) -> int:
        """Remove from the cache what is not to be kept, and serve it no more."""
        freed = self.cache.collect(keep, older_than)
        freed += self._coming.collect((), older_than) + self._arrived.collect((), older_than)
        for path in self.cache.directory.glob(f"{OUTLINE}*"):
            name = path.name.removeprefix(OUTLINE)
            if not (self.cache.directory / name).exists():
                path.unlink(missing_ok=True)
                self._stop_serving(bytes.fromhex(name) if is_blob_name(name) else EMPTY)
        return freed

    def close(self) -> None:
        """Serve no more, and end the threads; a fetch that another thread waits for ends first, unreachable."""
        self._closed.set()
        self._announcer.join()
        deadline = time.monotonic() + CLOSING
        for _ in range(FETCHES):
            self._fetching.acquire(timeout=max(0.0, deadline - time.monotonic()))
        self.swarm.close()

    # --- Serving ---------------------------------------------------------------------------------------------

    def _serve(self, digest: Digest) -> Outline:
        """Serve a blob of the cache; one whose file was replaced since is opened again."""
        path = self.cache.locate(digest)
        inode = path.stat().st_ino
        with self._lock:
            served = self._served.get(digest)
            if served is not None and served.inode == inode:
                return served.outline
            outline = compute_outline(self.cache.fetch(digest, path.stat().st_size))
            if served is not None:
                self.swarm.end(served.torrent)
            torrent = self.swarm.serve(digest, outline, self.cache.directory)
            self._note(digest, Served(outline, torrent, inode))
        return outline

    def _note(self, digest: Digest, served: Served) -> None:
        write_atomically(self.cache.directory / f"{OUTLINE}{digest.hex()}", served.outline.encode())
        self._served[digest] = served

    def _serve_again(self, name: str) -> None:
        """Serve what was served before this process began; an outline that is no longer right is dropped."""
        path, outlined = self.cache.directory / name, self.cache.directory / f"{OUTLINE}{name}"
        try:
            outline, status = decode_outline(outlined.read_bytes()), path.stat()
        except (BadOutline, FileNotFoundError):
            outlined.unlink(missing_ok=True)
            return
        if status.st_size == outline.size and is_blob_name(name):
            torrent = self.swarm.serve(bytes.fromhex(name), outline, self.cache.directory)
            self._served[bytes.fromhex(name)] = Served(outline, torrent, status.st_ino)

    def _stop_serving(self, digest: Digest) -> None:
        with self._lock:
            served = self._served.pop(digest, None)
        if served is not None:
            self.swarm.end(served.torrent)

    def _announce_all(self) -> None:
        """Tell the trackers now and then, which forget, or were started anew."""
        while True:
            for digest, served in list(self._served.items()):
                if self._closed.is_set():
                    return
                with suppress(Unreachable):  # it is told again soon
                    self.trackers.announce(digest, served.outline, self.swarm.port)
            if self._closed.wait(INTERVAL):
                return

    # --- Fetching --------------------------------------------------------------------------------------------

    def _find(self, digest: Digest, max_size: int) -> Blob:
        """Ask the trackers, and try each outline that they offer, until one is right or nothing comes for long."""
        wrong: set[Outline] = set()
        failure: Exception = BlobMissing(f"blob {name_blob(digest)}: no tracker knows who has it")
        deadline = time.monotonic() + self._absence
        while True:
            for offer in self.trackers.look_up(digest):
                if offer.outline in wrong:
                    continue
                try:
                    return self._fetch_as(offer, digest, max_size)
                except BlobCorrupt as error:
                    wrong.add(offer.outline)
                    failure = error
                except BlobMissing as error:
                    failure = error
            if time.monotonic() > deadline:
                raise failure
            if self._closed.wait(ASK):
                raise Unreachable(CLOSED)

    def _fetch_as(self, offer: Offer, digest: Digest, max_size: int) -> Blob:
        """Fetch what one outline describes."""
        size = offer.outline.size
        if size > max_size:
            raise BlobCorrupt(f"blob {name_blob(digest)} is larger than the {max_size} bytes it may have")
        if size > (room := shutil.disk_usage(self.cache.directory).free - ROOM):
            raise BlobMissing(f"blob {name_blob(digest)} of {size} bytes does not fit on this disk: {room} are free")
        with ExitStack() as undo:
            torrent = self.swarm.begin(digest, offer.outline, self._coming.directory)
            undo.callback(self.swarm.end, torrent)
            self._await(torrent, offer, digest)
            self.swarm.move(torrent, self._arrived.directory)
            data = self._check(digest, max_size)
            self.swarm.move(torrent, self.cache.directory)
            with self._lock:
                self._note(digest, Served(offer.outline, torrent, self.cache.locate(digest).stat().st_ino))
            undo.pop_all()
        return data

    def _await(self, torrent: Any, offer: Offer, digest: Digest) -> None:
        """Wait until all is there, telling others what is here; ask the trackers again while nothing comes."""
        begun = moved = time.monotonic()
        asked, most, size = 0.0, -1, offer.outline.size
        while not (status := torrent.status()).is_seeding:
            now = time.monotonic()
            if self._closed.is_set():
                raise Unreachable(CLOSED)
            if status.errc.value():
                raise Unreachable(f"blob {name_blob(digest)}: {status.errc.message()}: {status.error_file}")
            if status.total_done > most or status.state == status.states.checking_files:
                most, moved = max(most, status.total_done), now
            if now - moved > self._absence:
                raise BlobMissing(f"blob {name_blob(digest)}: no peer gave a byte for {self._absence:.0f} s")
            if now - begun > PATIENCE + size / SLOWEST:
                raise Unreachable(f"blob {name_blob(digest)}: the peers are too slow; what has come is kept")
            is_open = status.state == status.states.downloading  # what is there already has been checked
            if is_open and (not asked or now - max(asked, moved) > ASK):
                asked = now
                self._call_peers(torrent, offer, digest)
            time.sleep(LOOK)

    def _call_peers(self, torrent: Any, offer: Offer, digest: Digest) -> None:
        """Connect to who is said to have a blob, and say that it will be here too."""
        peers = set(offer.peers)
        with suppress(Unreachable):  # the trackers may be gone while the peers are not
            self.trackers.announce(digest, offer.outline, self.swarm.port)  # first: of two who come, one sees the other
            peers.update(*(other.peers for other in self.trackers.look_up(digest) if other.outline == offer.outline))
        for peer in peers:
            self.swarm.connect(torrent, peer)

    def _check(self, digest: Digest, max_size: int) -> Blob:
        """Hash what has arrived; what is wrong goes."""
        path = self._arrived.locate(digest)
        with path.open("rb") as file:
            try:
                data = read_checked(file, digest, max_size, "the swarm")
            except BlobCorrupt:
                path.unlink()
                raise
            os.fsync(file.fileno())
        return data
