"""Blobs in a directory, one file a blob, named by its SHA-256; nothing is believed that was not hashed again."""

import os
import tempfile
from hashlib import file_digest, sha256
from pathlib import Path

from openflock.protocol.ports import BlobCorrupt, BlobMissing
from openflock.protocol.types import Digest

SHARED, PRIVATE = 0o644, 0o600  # modes of files


class DirectoryStore:
    """A BlobStore in a directory that nodes on one machine, or on a shared mount, can all reach."""

    def __init__(self, directory: Path, *, private: bool = False) -> None:
        """Open the store, creating its directory; what is `private` only this user may read."""
        self.directory, self._mode = directory, PRIVATE if private else SHARED
        directory.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> Digest:
        """Write bytes durably: to a temporary file first, so that a full disk leaves no half a blob."""
        digest = sha256(data).digest()
        path = self._locate(digest)
        if not path.exists() or path.read_bytes() != data:
            write_atomically(path, data, self._mode)
        return digest

    def fetch(self, digest: Digest, max_size: int) -> bytes:
        """Read a blob of at most `max_size` bytes and check its digest."""
        path = self._locate(digest)
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size > max_size:
                    raise BlobCorrupt(f"blob {digest.hex()[:12]} is larger than the {max_size} bytes it may have")
                data = file.read()
        except FileNotFoundError as error:
            raise BlobMissing(f"blob {digest.hex()[:12]} is not in {self.directory}") from error
        if sha256(data).digest() != digest:
            raise BlobCorrupt(f"blob {digest.hex()[:12]} in {self.directory} does not match its digest")
        return data

    def check_all(self) -> int:
        """Hash every blob and return their number; raise BlobCorrupt at the first that is not what it is named."""
        names = sorted(path.name for path in self.directory.iterdir() if not path.name.startswith("."))
        for name in names:
            with (self.directory / name).open("rb") as file:
                if file_digest(file, "sha256").hexdigest() != name:
                    raise BlobCorrupt(f"blob {name} in {self.directory} does not match its digest")
        return len(names)

    def _locate(self, digest: Digest) -> Path:
        return self.directory / digest.hex()


def write_atomically(path: Path, data: bytes, mode: int = SHARED) -> None:
    """Replace a file's content, or leave it as it was; an OSError (a full disk) leaves no trace."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        _sync_directory(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    """Make a rename durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
