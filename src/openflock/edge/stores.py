"""Open a blob store by its address: the one place where a word of a user's becomes a store."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from openflock.edge.blobs import DirectoryStore, StoreError
from openflock.protocol.ports import BlobStore
from openflock.protocol.types import Digest

LISTEN: Final = "127.0.0.1:0"  # where peers are listened for, unless told otherwise

__all__ = ["Store", "StoreError", "open_store"]


class Store(BlobStore, Protocol):
    """A BlobStore that was opened, and is to be closed: `with contextlib.closing(open_store(...)) as store`."""

    def collect(self, keep: Collection[Digest], older_than: float) -> int:
        """Remove what this machine holds, but for `keep` and for what is younger than so many seconds.

        Returns the bytes freed. A plain directory loses it for all who share it; of other stores only the cache is
        touched, never what others uploaded or serve.
        """

    def close(self) -> None:
        """End connections, threads and what is being served."""


def open_store(url: str, cache: Path) -> Store:
    """Open a directory, a bucket, a web server or a swarm; raise StoreError, in one line, where that cannot be.

    Nothing is asked of the store yet: whether it answers shows with the first blob. What is fetched from afar is kept
    in the directory `cache`, which may be a node's own or shared by all nodes of a machine.
    """
    scheme, apart, rest = url.partition(":")
    if not apart or "/" in scheme:
        return DirectoryStore(Path(url))
    check_url(url)
    if scheme == "file":
        return DirectoryStore(Path(unquote(rest.removeprefix("//localhost").removeprefix("//"))))
    if scheme == "torrent":
        return open_torrents(url, cache)
    from openflock.edge.remotes import open_remote  # heavy
    from openflock.edge.url_store import UrlStore

    return UrlStore(open_remote(url), DirectoryStore(cache))


def open_torrents(url: str, cache: Path) -> Store:
    """Open a swarm by its trackers; peers reach this process at $OPENFLOCK_LISTEN, host:port."""
    try:
        from openflock.edge.torrent_store import TorrentStore
    except ImportError as error:
        raise StoreError(
            f"torrent: a library is missing ({error}): pip install '/path/to/checkout[torrent]'"
        ) from error
    from openflock.edge.trackers import Trackers, is_loopback, parse_addresses

    trackers, listen = parse_addresses(url), os.environ.get("OPENFLOCK_LISTEN", LISTEN)
    if is_loopback(listen) and not all(is_loopback(address) for address in trackers):
        raise StoreError(f"{url}: others cannot reach {listen}; set OPENFLOCK_LISTEN, as 0.0.0.0:6881")
    return TorrentStore(Trackers(trackers), DirectoryStore(cache), listen)


def check_url(url: str) -> None:
    """Refuse what would carry a secret, or would be read in more than one way."""
    try:
        parts = urlsplit(url)
        has_credentials = parts.username is not None or parts.password is not None
    except ValueError as error:
        raise StoreError(f"{url.partition(':')[0]}: not a store's address: {error}") from error
    if has_credentials:
        raise StoreError(
            f"{parts.scheme}://{parts.hostname}: a store's address must not hold credentials, since addresses are "
            "logged; give them by the environment (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws)"
        )
    if parts.query or parts.fragment:
        raise StoreError(f"{parts.scheme}://{parts.hostname}: a store's address has no '?' and no '#'")
    if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
        raise StoreError(f"{url}: a file of another machine; write file:///path")
    if parts.scheme != "file" and not parts.netloc:
        place = "host:port" if parts.scheme == "torrent" else "name/path"
        raise StoreError(f"{url}: names no host or bucket; write {parts.scheme}://{place}")
