"""Blobs of a remote, through a cache: size known before the first byte, resumed by ranges, hashed, then placed."""

import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO, Final

from openflock.edge.blobs import DirectoryStore, StoreError, name_blob, place_durably, read_checked
from openflock.edge.partial import locate_partial, open_partial
from openflock.edge.remotes import Found, Remote
from openflock.protocol.ports import Blob, BlobCorrupt, BlobMissing, Unreachable
from openflock.protocol.types import Digest
from openflock.update.ahead import map_ahead

PART: Final = 2**23  # bytes of one range; a few are fetched at once, and held
PATIENCE: Final = 60.0  # seconds that a fetch may take,
SLOWEST: Final = 2**17  # and one more for so many bytes
ROOM: Final = 2**28  # bytes of the disk that are left free


class UrlStore:
    """A BlobStore whose blobs lie at a remote, each under the hex of its digest."""

    def __init__(self, remote: Remote, cache: DirectoryStore, patience: float = PATIENCE) -> None:
        """Open the store over a cache; a fetch ends within `patience` seconds and what its size needs at worst."""
        self.remote, self.cache, self._patience = remote, cache, patience

    def put(self, data: Blob) -> Digest:
        """Keep bytes in the cache, then upload them; what is there already is not sent again."""
        return self.put_stream([data])

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        """Put what the parts make up; raise StoreError where nothing may be put, Unreachable where it may be soon."""
        if self.remote.upload is None:
            raise StoreError(
                f"{self.remote.url}: can only be read; give a store that takes blobs: s3:// or a directory"
            )
        digest = self.cache.put_stream(parts)
        path = self.cache.locate(digest)
        with suppress(FileNotFoundError):
            if self.remote.find(digest.hex()).size == path.stat().st_size:
                return digest
        self.remote.upload(path, digest.hex())
        return digest

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        """Fetch from the cache, or else from the remote; raise Unreachable where it does not answer or is too slow.

        What an interruption leaves is kept, and fetched from there on the next time.
        """
        with suppress(BlobMissing, BlobCorrupt):
            return self.cache.fetch(digest, max_size)
        deadline = time.monotonic() + self._patience
        with open_partial(self.cache.directory, digest, deadline) as file:
            with suppress(BlobMissing, BlobCorrupt):  # another may have fetched it meanwhile
                return self.cache.fetch(digest, max_size)
            size, found = self._look_up(digest, max_size)
            self._download(file, digest, size, found, deadline + size / SLOWEST)
            return self._place(file, digest, max_size)

    def collect(self, keep: Collection[Digest], older_than: float) -> int:
        """Remove from the cache what is not to be kept; the remote is left as it is."""
        return self.cache.collect(keep, older_than)

    def close(self) -> None:
        """Drop connections."""
        self.remote.close()

    def _look_up(self, digest: Digest, max_size: int) -> tuple[int, Found]:
        """Say how many bytes to fetch at most; refuse what is too large before any of it is fetched."""
        try:
            found = self.remote.find(digest.hex())
        except FileNotFoundError as error:
            raise BlobMissing(f"blob {name_blob(digest)} is not at {self.remote.url}") from error
        if found.size is not None and found.size > max_size:
            raise BlobCorrupt(f"blob {name_blob(digest)} is larger than the {max_size} bytes it may have")
        room = max(0, shutil.disk_usage(self.cache.directory).free - ROOM)
        if found.size is not None and found.size > room:
            raise BlobMissing(
                f"blob {name_blob(digest)} of {found.size} bytes does not fit on this disk: {room} are free"
            )
        return (min(max_size, room) if found.size is None else found.size), found

    def _download(self, file: BinaryIO, digest: Digest, size: int, found: Found, deadline: float) -> None:
        """Fetch what the partial file lacks, again and again as long as each try brings something."""
        while True:
            start = file.seek(0, os.SEEK_END)
            if start > size or not found.has_ranges:
                start = file.seek(file.truncate(0))
            try:
                self._go_on(file, digest, start, size, found, deadline)
            except Unreachable:
                if not found.has_ranges or file.tell() <= start or time.monotonic() > deadline:
                    raise
            else:
                return
            finally:
                file.flush()

    def _go_on(self, file: BinaryIO, digest: Digest, start: int, size: int, found: Found, deadline: float) -> None:
        """Fetch from `start` on; what a server sends beyond the size it may have is not taken."""
        try:
            for chunk in self._read(digest.hex(), start, size, found, deadline):
                if file.tell() + len(chunk) > size:
                    locate_partial(self.cache.directory, digest).unlink()
                    raise BlobCorrupt(f"blob {name_blob(digest)} is larger than the {size} bytes it may have")
                file.write(chunk)
        except FileNotFoundError as error:
            raise BlobMissing(f"blob {name_blob(digest)} is no longer at {self.remote.url}") from error
        if found.size is not None and file.tell() < size:
            raise Unreachable(f"{self.remote.url}: {name_blob(digest)} ended at {file.tell()} of {size} bytes")

    def _read(self, name: str, start: int, size: int, found: Found, deadline: float) -> Iterator[bytes]:
        """Read on in one stream, or in several ranges at once where there is much to read."""
        if not found.has_ranges:
            yield from self._watch(self.remote.read(name, 0, None), deadline)
        elif size - start <= PART:
            yield from self._watch(self.remote.read(name, start, size), deadline) if start < size else ()
        else:
            yield from map_ahead(
                lambda at: self._read_part(name, at, min(at + PART, size), deadline), range(start, size, PART)
            )

    def _read_part(self, name: str, start: int, end: int, deadline: float) -> bytes:
        part = b"".join(self._watch(self.remote.read(name, start, end), deadline))
        if len(part) != end - start:
            raise Unreachable(f"{self.remote.url}: gave {len(part)} of {end - start} bytes of {name[:12]}")
        return part

    def _watch(self, chunks: Iterator[bytes], deadline: float) -> Iterator[bytes]:
        """Pass chunks on until the deadline; a server that sends a byte now and then holds nobody up."""
        for chunk in chunks:
            yield chunk
            if time.monotonic() > deadline:
                raise Unreachable(f"{self.remote.url}: too slow; what has come is kept for the next try")

    def _place(self, file: BinaryIO, digest: Digest, max_size: int) -> Blob:
        """Hash what came and give it its place in the cache; what is wrong goes, so that the next try starts afresh."""
        partial = locate_partial(self.cache.directory, digest)
        try:
            data = read_checked(file, digest, max_size, self.remote.url)
        except BlobCorrupt:
            partial.unlink()
            raise
        place_durably(file, partial, self.cache.locate(digest))
        return data
