"""Ask trackers, each of which may be gone or lie; one that answers is enough."""

import ipaddress
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import urllib3

from openflock.edge.blobs import StoreError, name_blob
from openflock.edge.deadline import end_within, open_pool
from openflock.edge.outline import MAX_OUTLINE, BadOutline, Outline, decode_outline
from openflock.protocol.ports import Unreachable
from openflock.protocol.types import Digest

OUTLINES, PEERS = 4, 64  # that are taken from one tracker
MAX_ANSWER: Final = 2 * OUTLINES * (MAX_OUTLINE + 40 * PEERS) + 2**10  # bytes
TIMEOUT: Final = urllib3.Timeout(connect=2, read=5)
WHOLE: Final = 8.0  # seconds that one exchange may take

UNKNOWN: Final = 404  # the outline; or no more is taken of it

Peer = tuple[str, int]
Of = TypeVar("Of")


@dataclass(frozen=True)
class Offer:
    """What trackers say of a blob: an outline, which need not be right, and who is said to have it."""

    outline: Outline
    peers: frozenset[Peer]


class Trackers:
    """All trackers of a store; each is asked the same."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """Name them as host:port."""
        self.addresses = addresses
        self._pool = open_pool(timeout=TIMEOUT, retries=urllib3.Retry(connect=1, read=0, redirect=0, other=0))

    def announce(self, digest: Digest, outline: Outline, port: int) -> None:
        """Say that a blob is here; raise Unreachable unless a tracker has heard it.

        One that takes no more has heard: who fills it with lies must not keep others from what they do next.
        """
        data = outline.encode()
        path = f"{digest.hex()}/{sha256(data).hexdigest()}?port={port}"

        def tell(address: str) -> None:
            status = self._request("POST", address, path, b"")[0]
            if status == UNKNOWN:
                status = self._request("POST", address, path, data)[0]
            if status not in (200, UNKNOWN):
                raise Unreachable(f"{address} answers {status}")

        _, failures = self._ask_all(tell)
        if len(failures) == len(self.addresses):
            raise Unreachable(f"no tracker takes blob {name_blob(digest)}: {'; '.join(failures)}")

    def look_up(self, digest: Digest) -> list[Offer]:
        """Ask all who has a blob; raise Unreachable if none answers. The order is theirs, the first tracker's first."""

        def ask(address: str) -> list[Offer]:
            status, answer = self._request("GET", address, digest.hex(), b"")
            if status != 200:
                raise Unreachable(f"{address} answers {status}")
            return _parse_offers(answer, address)

        answers, failures = self._ask_all(ask)
        if len(failures) == len(self.addresses):
            raise Unreachable(f"no tracker answers for blob {name_blob(digest)}: {'; '.join(failures)}")
        peers: dict[Outline, set[Peer]] = {}
        for offer in (offer for offers in answers for offer in offers):
            peers.setdefault(offer.outline, set()).update(offer.peers)
        return [Offer(outline, frozenset(found)) for outline, found in peers.items()]

    def _ask_all(self, ask: Callable[[str], Of]) -> tuple[list[Of], list[str]]:
        """Ask all at once, so that a slow one holds up no other; give the answers, in order, and what failed."""
        answers, failures = [], []
        with ThreadPoolExecutor(len(self.addresses)) as threads:
            for asked in [threads.submit(ask, address) for address in self.addresses]:
                try:
                    answers.append(asked.result())
                except Unreachable as error:
                    failures.append(str(error))
        return answers, failures

    def close(self) -> None:
        """Drop connections."""
        self._pool.clear()

    def _request(self, method: str, address: str, path: str, body: bytes) -> tuple[int, bytes]:
        try:
            url = f"http://{address}/{path}"
            with end_within(WHOLE):
                response = self._pool.request(method, url, body=body or None, preload_content=False)
                try:
                    answer = response.read(MAX_ANSWER + 1)
                finally:
                    response.close()
        except (urllib3.exceptions.HTTPError, TimeoutError) as error:
            raise Unreachable(f"tracker {address}: {getattr(error, 'reason', None) or error}") from error
        if len(answer) > MAX_ANSWER:
            raise Unreachable(f"tracker {address}: answers too much")
        return response.status, answer


def parse_addresses(url: str) -> list[str]:
    """Read `torrent://host:port[,host:port]`; raise StoreError."""
    addresses = url.partition("://")[2].rstrip("/").split(",")
    for address in addresses:
        parts = urlsplit(f"//{address}")
        try:
            is_whole = bool(parts.hostname and parts.port) and parts.netloc == address
        except ValueError:
            is_whole = False
        if not is_whole:
            raise StoreError(f"{url}: '{address}' is no tracker; write torrent://host:port[,host:port]")
    return addresses


def is_loopback(address: str) -> bool:
    """Answer whether a host:port is on this machine for certain.

    >>> is_loopback("127.0.0.1:80"), is_loopback("[::1]:80"), is_loopback("example.org:80")
    (True, True, False)
    """
    host = urlsplit(f"//{address}").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parse_offers(answer: bytes, address: str) -> list[Offer]:
    """Read what a tracker says, of which nothing is believed; what is not understood is as if not said."""
    try:
        items: Any = json.loads(answer)
        found = [(bytes.fromhex(item["outline"]), list(item["peers"])) for item in items[:OUTLINES]]
        return [
            Offer(decode_outline(outline), frozenset(_parse_peer(peer) for peer in peers[:PEERS]))
            for outline, peers in found
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, BadOutline) as error:
        raise Unreachable(f"tracker {address}: answers what makes no sense") from error


def _parse_peer(peer: Any) -> Peer:
    host, _, port = str(peer).rpartition(":")
    return str(ipaddress.ip_address(host.strip("[]"))), min(max(int(port), 1), 65535)
