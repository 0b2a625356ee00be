"""One libtorrent session: files that are served, and files on their way. It talks to no peers but those it is given."""

import time
from pathlib import Path
from typing import Any, Final

import libtorrent as lt

from openflock.edge.blobs import StoreError, name_blob
from openflock.edge.outline import Outline, build_torrent
from openflock.edge.trackers import Peer
from openflock.protocol.ports import Unreachable
from openflock.protocol.types import Digest

LOOK: Final = 0.05  # seconds between two looks at what libtorrent does meanwhile
PATIENCE: Final = 60.0  # seconds that opening a port, moving or closing a file may take at most

SETTINGS: Final = {
    "user_agent": "openflock",
    "alert_mask": 0,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_ip_notifier": False,
    "enable_incoming_utp": False,  # TCP alone: one way is enough
    "enable_outgoing_utp": False,
    "allow_multiple_connections_per_ip": True,  # several nodes of one machine
    "listen_system_port_fallback": False,
    "max_retry_port_bind": 0,
    "tick_interval": 100,  # milliseconds; peers are connected to at a tick
    "min_reconnect_time": 2,  # seconds; the peers are few and wanted
    "max_failcount": 30,
    "peer_connect_timeout": 5,
    "request_timeout": 10,
    "piece_timeout": 10,
    "connections_limit": 200,
    "aio_threads": 2,
    "max_queued_disk_bytes": 2**24,
}


class Swarm:
    """Torrents by libtorrent's handles."""

    def __init__(self, listen: str) -> None:
        """Listen at host:port, port 0 being any; raise StoreError where that cannot be."""
        settings: Any = {**SETTINGS, "listen_interfaces": listen}
        self._session: Any = lt.session(settings, 0)  # 0: no plugins, so no PEX
        deadline = time.monotonic() + PATIENCE
        while not self._session.is_listening() and time.monotonic() < deadline:
            time.sleep(LOOK)
            deadline = min(deadline, time.monotonic() + 5)
        self.port: int = self._session.listen_port()
        if not self.port:
            raise StoreError(
                f"cannot listen for peers at {listen}: give a free port of this machine in OPENFLOCK_LISTEN"
            )

    def serve(self, digest: Digest, outline: Outline, directory: Path) -> Any:
        """Serve a file that is whole; it is read only, and checked piece by piece when first asked for."""
        return self._add(digest, outline, directory, lt.torrent_flags.seed_mode | lt.torrent_flags.upload_mode)

    def begin(self, digest: Digest, outline: Outline, directory: Path) -> Any:
        """Fetch a file, keeping what is there already and right."""
        return self._add(digest, outline, directory, lt.torrent_flags.default_flags & 0)

    def connect(self, torrent: Any, peer: Peer) -> None:
        """Try a peer, unless there is a connection; libtorrent begins within a second, whatever its settings say."""
        torrent.connect_peer(peer, 0, 0)

    def move(self, torrent: Any, directory: Path) -> None:
        """Move a whole file, when all of it is written; raise Unreachable if it will not.

        Its flags are left alone: in libtorrent 2.1.1 upload_mode, set while requests are still out for what has come
        from elsewhere, ends the process.
        """
        torrent.move_storage(str(directory))
        deadline = time.monotonic() + PATIENCE
        while (status := torrent.status()).moving_storage or Path(status.save_path) != directory:
            if status.errc.value() or time.monotonic() > deadline:
                raise Unreachable(f"cannot move a fetched file to {directory}: {status.errc.message()}")
            time.sleep(LOOK / 10)

    def end(self, torrent: Any) -> None:
        """Drop a torrent; its file stays, and is written to no more."""
        if torrent.is_valid():
            self._session.remove_torrent(torrent)
        deadline = time.monotonic() + PATIENCE
        while torrent.is_valid() and time.monotonic() < deadline:
            time.sleep(LOOK / 10)

    def count_sent(self) -> int:
        """Count the bytes of blobs that peers have had from here."""
        return sum(torrent.status().total_payload_upload for torrent in self._session.get_torrents())

    def close(self) -> None:
        """End all connections; returns when libtorrent's threads have ended."""
        self._session = None

    def _add(self, digest: Digest, outline: Outline, directory: Path, flags: Any) -> Any:
        torrent = lt.load_torrent_buffer(lt.bencode(build_torrent(digest, outline)))
        torrent.save_path = str(directory)
        off = lt.torrent_flags.disable_dht | lt.torrent_flags.disable_lsd | lt.torrent_flags.disable_pex
        torrent.flags = flags | off | lt.torrent_flags.override_trackers | lt.torrent_flags.override_web_seeds
        try:
            return self._session.add_torrent(torrent)
        except RuntimeError as error:
            raise Unreachable(f"blob {name_blob(digest)}: libtorrent refuses it: {error}") from error
