"""Every kind of blob store, with a way to spoil what it holds; one more kind is one more line."""

from collections.abc import Callable
from pathlib import Path

from openflock.edge.blobs import DirectoryStore
from openflock.protocol.ports import BlobStore

KINDS: dict[str, Callable[[Path], BlobStore]] = {"directory": lambda path: DirectoryStore(path / "blobs")}


def locate(path: Path, digest: bytes) -> Path:
    """The file that holds a blob, for who spoils it."""
    (found,) = (file for file in path.rglob(f"*{digest.hex()}*") if file.is_file())
    return found


def list_files(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
