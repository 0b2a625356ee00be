"""Blobs in a directory, one file a blob, named by its SHA-256; nothing is believed that was not hashed again."""

import fcntl
import mmap
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import EINVAL
from hashlib import file_digest, sha256
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from openflock.protocol.ports import Blob, BlobCorrupt, BlobMissing, Unreachable
from openflock.protocol.types import Digest

SHARED, PRIVATE = 0o644, 0o600  # modes of files
MAPPED = 2**20  # bytes; a whole number of pages
WRITING, PARTIAL = ".writing-", ".partial-"
TRACES = (WRITING, PARTIAL)  # beginnings of the names of what is not whole
LOCKED, LOOK = 10.0, 0.05  # seconds that a lock is waited for, and between two tries


class StoreError(ValueError):
    """A store that cannot serve as it was asked for: its address, its extra, its credentials, or what it allows."""


class DirectoryStore:
    """A BlobStore in a directory that all nodes of a machine can reach."""

    def __init__(self, directory: Path, *, private: bool = False) -> None:
        """Open the store, creating its directory; what is `private` only this user may read."""
        self.directory, self._mode = directory, PRIVATE if private else SHARED
        directory.mkdir(parents=True, exist_ok=True)

    def put(self, data: Blob) -> Digest:
        """Write bytes durably: to a temporary file first, so that a full disk leaves no half a blob."""
        return self.put_stream([data])

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        """Write what the parts make up, hashing as it goes; a blob that is here already, and whole, stays as it is.

        Raises Unreachable where somebody else stands in the way: a directory of that name, another's file where only
        its owner may replace it. A full disk is told as it is.
        """
        try:
            return self._put_parts(parts)
        except (IsADirectoryError, PermissionError) as error:
            raise Unreachable(f"{self.directory}: a blob cannot be put there: {error.strerror or error}") from error

    def _put_parts(self, parts: Iterable[Blob]) -> Digest:
        hasher = sha256()
        with open_atomically(self.directory, self._mode) as (file, place), ThreadPoolExecutor(1) as beside:
            hashed = beside.submit(lambda: None)
            for part in parts:  # one is hashed while the next is computed
                hashed.result()
                hashed = beside.submit(hasher.update, part)
                file.write(part)
            hashed.result()
            digest = hasher.digest()
            with lock(self.directory, fcntl.LOCK_SH):
                if self._holds(digest):
                    with suppress(OSError):  # another user's: only its owner may say so
                        os.utime(self.locate(digest))  # wanted again, so not to be collected now
                else:
                    place(self.locate(digest))
        return digest

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        """Read a blob of at most `max_size` bytes and check its digest; a large file of our own stays where it is.

        Who can write to a mapped file could change it after the check, so a file of another user's is read instead.
        What stands there and cannot be opened is Unreachable, as a disk that fails is.
        """
        try:
            with open_file(self.locate(digest)) as file:
                return read_checked(file, digest, max_size, self.directory)
        except FileNotFoundError as error:
            raise BlobMissing(f"blob {name_blob(digest)} is not in {self.directory}") from error
        except OSError as error:
            raise Unreachable(f"blob {name_blob(digest)} in {self.directory}: {error.strerror or error}") from error

    def check_all(self) -> int:
        """Hash every blob and return their number; raise BlobCorrupt at the first that is not what it is named."""
        names = sorted(path.name for path in self.directory.iterdir() if not path.name.startswith("."))
        for name in names:
            with (self.directory / name).open("rb") as file:
                if file_digest(file, "sha256").hexdigest() != name:
                    raise BlobCorrupt(f"blob {name} in {self.directory} does not match its digest")
        return len(names)

    def collect(self, keep: Collection[Digest], older_than: float) -> int:
        """Remove blobs that are not in `keep` and traces of what was never finished; return the bytes freed.

        What was put, or begun, less than `older_than` seconds ago stays: somebody may be about to name it. Who has
        mapped a blob keeps it. Files that are no blobs stay.
        """
        kept, freed = {digest.hex() for digest in keep}, 0
        for path in self.directory.iterdir():
            if not path.name.startswith(TRACES) and (path.name in kept or not is_blob_name(path.name)):
                continue
            with lock(self.directory, fcntl.LOCK_EX), suppress(FileNotFoundError):  # no put is between look and touch
                status = path.stat()
                if path.is_file() and time.time() - status.st_mtime > older_than:
                    path.unlink()
                    freed += status.st_size
        return freed

    def _holds(self, digest: Digest) -> bool:
        try:
            with open_file(self.locate(digest)) as file:
                return file_digest(file, "sha256").digest() == digest
        except OSError:  # what is to be put then takes its place
            return False

    def locate(self, digest: Digest) -> Path:
        """Say in which file a blob is, if it is here."""
        return self.directory / digest.hex()

    def close(self) -> None:
        """Do nothing: nothing is open between two calls."""


@contextmanager
def lock(directory: Path, kind: int) -> Iterator[None]:
    """Hold a directory's lock, shared or exclusive, against whoever puts and collects; it ends with the process.

    Raises Unreachable if somebody else does not let go: who may read a directory may lock it.
    """
    handle, deadline = os.open(directory, os.O_RDONLY), time.monotonic() + LOCKED
    try:
        while not _try_to_lock(handle, kind):
            if time.monotonic() > deadline:
                raise Unreachable(f"{directory} is locked by another process for more than {LOCKED:.0f} s")
            time.sleep(LOOK)
        yield
    finally:
        os.close(handle)


def _try_to_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_file(path: Path) -> BufferedReader:
    """Open a file to read, and nothing else that may stand under its name: a pipe would wait for who writes to it."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(EINVAL, "is not a file", str(path))
    return os.fdopen(handle, "rb")


def is_blob_name(name: str) -> bool:
    """Answer whether a file's name is a digest in hex.

    >>> is_blob_name("0a" * 32), is_blob_name("notes.txt"), is_blob_name("0A" * 32)
    (True, False, False)
    """
    return re.fullmatch("[0-9a-f]{64}", name) is not None


def name_blob(digest: Digest) -> str:
    """Write a digest short, as messages do."""
    return digest.hex()[:12]


def read_checked(file: BinaryIO, digest: Digest, max_size: int, where: object) -> Blob:
    """Read or map a file from its start; raise BlobCorrupt if it is too large or not what the digest names."""
    size = os.fstat(file.fileno()).st_size
    if size > max_size:
        raise BlobCorrupt(f"blob {name_blob(digest)} is larger than the {max_size} bytes it may have")
    file.seek(0)
    data = map_file(file) if size >= MAPPED and is_ours(file) else file.read()
    if compute_digest(data) != digest:
        raise BlobCorrupt(f"blob {name_blob(digest)} in {where} does not match its digest")
    return data


def is_ours(file: BinaryIO) -> bool:
    """Answer whether nobody but this user can write to a file."""
    status = os.fstat(file.fileno())
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def map_file(file: BinaryIO) -> memoryview:
    """Map a file that is not empty, to be read only."""
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def compute_digest(data: Blob) -> Digest:
    """Hash bytes; of a mapped file only a part is in memory at a time."""
    hasher = sha256()
    for start in range(0, len(data), MAPPED):
        hasher.update(data[start : start + MAPPED])
        if isinstance(data, memoryview) and isinstance(data.obj, mmap.mmap):
            data.obj.madvise(mmap.MADV_DONTNEED, start, min(MAPPED, len(data) - start))
    return hasher.digest()


def write_atomically(path: Path, data: bytes, mode: int = SHARED) -> None:
    """Replace a file's content, or leave it as it was; an OSError (a full disk) leaves no trace."""
    with open_atomically(path.parent, mode) as (file, place):
        file.write(data)
        place(path)


@contextmanager
def open_atomically(directory: Path, mode: int) -> Iterator[tuple[BinaryIO, Callable[[Path], None]]]:
    """Open a temporary file beside where it will be placed, durably and as a whole; not placed, it leaves no trace."""
    handle, name = tempfile.mkstemp(dir=directory, prefix=WRITING)

    def place(path: Path) -> None:
        place_durably(file, Path(name), path)

    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            yield file, place
    finally:
        Path(name).unlink(missing_ok=True)


def place_durably(file: BinaryIO, name: Path, path: Path) -> None:
    """Give a file that was written under one name its place, as a whole and to stay there."""
    file.flush()
    os.fsync(file.fileno())
    name.replace(path)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Make a rename durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
