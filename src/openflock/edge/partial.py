"""A download that is not whole: one file in the cache, one writer at a time, found again after an interruption."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from openflock.edge.blobs import PARTIAL, SHARED, name_blob
from openflock.protocol.ports import Unreachable
from openflock.protocol.types import Digest

LOOK: Final = 0.05  # seconds between looks at who holds a download


def locate_partial(directory: Path, digest: Digest) -> Path:
    """Say where a download of a blob is written."""
    return directory / f"{PARTIAL}{digest.hex()}"


@contextmanager
def open_partial(directory: Path, digest: Digest, deadline: float) -> Iterator[BinaryIO]:
    """Open a download for its only writer; raise Unreachable if another holds it until the deadline (monotonic).

    Empty, it leaves no trace.
    """
    path = locate_partial(directory, digest)
    while (file := _try_to_open(path)) is None:
        if time.monotonic() > deadline:
            raise Unreachable(f"blob {name_blob(digest)} is still being fetched by another")
        time.sleep(LOOK)
    with file:
        try:
            yield file
        finally:
            file.flush()
            if _is_at(file, path) and os.fstat(file.fileno()).st_size == 0:
                path.unlink()


def _try_to_open(path: Path) -> BinaryIO | None:
    """Open and lock; None if another has it, or had it until now and gave it its place or removed it."""
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    if not _is_at(file, path):
        file.close()
        return None
    os.fchmod(file.fileno(), SHARED)
    return file


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Answer whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
