"""Where blobs lie afar: named files that are looked up, read by ranges and, where that is allowed, uploaded.

Web servers are read through urllib3, all else through fsspec. fsspec's own HTTP reads a body whole where a server
ignores the range it was asked for; what a hostile server sends must not decide how much memory we take.
"""

import posixpath
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import fsspec
import urllib3
from fsspec.asyn import sync

from openflock.edge.blobs import StoreError
from openflock.protocol.ports import Unreachable

STALL: Final = 20.0  # seconds without a byte, after which a server counts as unreachable
CHUNK: Final = 2**18  # bytes read at once
UPLOADED: Final = 5 * 2**20  # bytes of a part of an upload, the smallest that S3 takes: each must be sent within STALL
MOST_PARTS: Final = 10_000  # of one upload to S3
TOGETHER: Final = 2  # parts uploaded at once
AT_ONCE: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})  # show a file when it is whole


@dataclass(frozen=True)
class Found:
    """What a remote says of a file, which need not be so."""

    size: int | None  # None: it does not say
    has_ranges: bool


class Remote(Protocol):
    """Files by name. All methods raise Unreachable where nothing answers, or what answers has no sense."""

    url: str

    def find(self, name: str) -> Found:
        """Look a file up; raise FileNotFoundError."""

    def read(self, name: str, start: int, end: int | None) -> Iterator[bytes]:
        """Read a range in small chunks, never more than it; the whole file where `end` is None."""

    @property
    def upload(self) -> Callable[[Path, str], None] | None:
        """Copy a file there, so that nobody ever sees half of it; None where things can only be read.

        Raises StoreError where credentials or the bucket do not allow it.
        """

    def close(self) -> None:
        """Drop all connections."""


def open_remote(url: str) -> Remote:
    """Open what a URL names; raise StoreError if nothing here can."""
    scheme = url.partition(":")[0]
    if scheme in ("http", "https"):
        return HttpRemote(url)
    try:
        return S3Remote(url) if scheme in ("s3", "s3a") else FsspecRemote(url)
    except ImportError as error:
        mend = "pip install '/path/to/checkout[s3]'" if scheme in ("s3", "s3a") else str(error)
        raise StoreError(f"{scheme}: a library is missing: {mend}") from error
    except ValueError as error:
        raise StoreError(f"{url}: no such kind of store: {error}") from error


class HttpRemote:
    """Files of a web server, to be read only."""

    upload = None

    def __init__(self, url: str) -> None:
        """Name the directory; nothing is asked yet."""
        self.url = url.rstrip("/")
        retries = urllib3.Retry(connect=2, read=0, redirect=3, other=0, status=0, backoff_factor=0.1)
        self._pool = urllib3.PoolManager(
            maxsize=8, timeout=urllib3.Timeout(total=None, connect=5, read=STALL), retries=retries
        )

    def find(self, name: str) -> Found:
        """Ask for one byte: the answer says whether there are ranges, and the size."""
        with self._get(name, 0, 1) as response:
            if response.status == 206:
                return Found(_parse_total(response), has_ranges=True)
            if response.status == 416:  # not even one byte
                return Found(0, has_ranges=False)
            size = response.headers.get("Content-Length", "")
            return Found(int(size) if size.isdecimal() else None, has_ranges=False)

    def read(self, name: str, start: int, end: int | None) -> Iterator[bytes]:
        """Read a range; a server that no longer honours ranges counts as unreachable."""
        with self._get(name, start, end) as response:
            if (response.status == 206) != (end is not None):
                raise Unreachable(f"{self.url}: answers {response.status} to a range of {name[:12]}")
            left = end - start if end is not None else None
            while left is None or left > 0:
                chunk = response.read1(CHUNK if left is None else min(left, CHUNK), decode_content=False)
                if not chunk:
                    break
                left = left - len(chunk) if left is not None else None
                yield chunk

    def close(self) -> None:
        """Drop all connections."""
        self._pool.clear()

    @contextmanager
    def _get(self, name: str, start: int, end: int | None) -> Iterator[urllib3.BaseHTTPResponse]:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-{end - 1}"} if end is not None else {})
        response = None
        try:
            response = self._pool.request("GET", f"{self.url}/{name}", headers=headers, preload_content=False)
            if response.status in (404, 410):
                raise FileNotFoundError(name)
            if response.status not in (200, 206, 416):
                raise Unreachable(f"{self.url}: answers {response.status} {response.reason or ''}".rstrip())
            yield response
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise Unreachable(f"{self.url}: {_shorten(error)}") from error
        finally:
            if response is not None:
                response.close()  # what was not read is not wanted


def _parse_total(response: urllib3.BaseHTTPResponse) -> int | None:
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None


class FsspecRemote:
    """Files of any file system that fsspec knows."""

    def __init__(self, url: str, **options: Any) -> None:
        """Find the library; nothing is asked yet. Listings are not cached: others upload too."""
        self.url = url.rstrip("/")
        protocol = url.partition(":")[0]
        fresh = {"skip_instance_cache": True, "use_listings_cache": False} if protocol != "memory" else {}
        self._system = fsspec.filesystem(protocol, **fresh, **options)
        self._root = str(self._system._strip_protocol(self.url))
        self._is_at_once = protocol in AT_ONCE

    def find(self, name: str) -> Found:
        """Look a file up."""
        with self._explained():
            return Found(self._system.info(self._locate(name))["size"], has_ranges=True)

    def read(self, name: str, start: int, end: int | None) -> Iterator[bytes]:
        """Read a range."""
        with self._explained():
            yield self._system.cat_file(self._locate(name), start=start, end=end)

    def upload(self, path: Path, name: str) -> None:
        """Send a file: where half of one would show, under another name first."""
        with self._explained(uploads=True):
            if self._is_at_once:
                self._put(path, self._locate(name))
            else:
                partial = self._locate(f".writing-{secrets.token_hex(8)}")
                self._system.makedirs(self._root, exist_ok=True)
                self._put(path, partial)
                self._system.mv(partial, self._locate(name))

    def close(self) -> None:
        """Leave it to the library: its connections end with the process."""

    def _locate(self, name: str) -> str:
        return posixpath.join(self._root, name)

    def _put(self, path: Path, target: str) -> None:
        self._system.put_file(str(path), target)

    @contextmanager
    def _explained(self, *, uploads: bool = False) -> Iterator[None]:
        """Turn a library's failures into the port's."""
        try:
            yield
        except FileNotFoundError as error:
            if uploads:
                raise StoreError(f"{self.url}: no such bucket or directory; create it first") from error
            raise
        except PermissionError as error:
            if uploads:
                raise StoreError(
                    f"{self.url}: refuses what is put there ({_shorten(error)}); check the credentials"
                ) from error
            raise Unreachable(
                f"{self.url}: refuses to answer ({_shorten(error)}); check the credentials: they must allow reading, "
                "and listing, without which S3 refuses where something is merely missing"
            ) from error
        except (Unreachable, StoreError):
            raise
        except (OSError, EOFError) as error:
            raise Unreachable(f"{self.url}: {_shorten(error)}") from error


class S3Remote(FsspecRemote):
    """Objects of an S3 bucket; credentials and endpoint come from where every AWS tool looks for them."""

    def __init__(self, url: str) -> None:
        """Set patience: a server that says nothing is soon given up, and asked again by who wants the blob."""
        import aiohttp
        import botocore.exceptions  # type: ignore[import-untyped]
        import s3fs  # noqa: F401  (its absence is noticed here)

        settings = {"connect_timeout": 5, "read_timeout": STALL, "retries": {"max_attempts": 2, "mode": "standard"}}
        super().__init__(url, config_kwargs=settings)
        self._system.retries = 2
        self._unready = (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError)
        self._faults = (botocore.exceptions.BotoCoreError, aiohttp.ClientError)

    def read(self, name: str, start: int, end: int | None) -> Iterator[bytes]:
        """Read a range as it comes, so that a body longer than what was asked for is cut."""
        with self._explained():
            bucket, key, _ = self._system.split_path(self._locate(name))
            asked = {"Range": f"bytes={start}-{end - 1}"} if end is not None else {}
            body = self._system.call_s3("get_object", Bucket=bucket, Key=key, **asked)["Body"]
            left = end - start if end is not None else None
            try:
                while left is None or left > 0:
                    amount = CHUNK if left is None else min(left, CHUNK)
                    chunk = sync(self._system.loop, body.read, amount, timeout=STALL)
                    if not chunk:
                        break
                    left = left - len(chunk) if left is not None else None
                    yield chunk
            finally:
                self._system.loop.call_soon_threadsafe(body.close)

    def _put(self, path: Path, target: str) -> None:
        part = max(UPLOADED, -(-path.stat().st_size // MOST_PARTS))
        self._system.put_file(str(path), target, chunksize=part, max_concurrency=TOGETHER)

    @contextmanager
    def _explained(self, *, uploads: bool = False) -> Iterator[None]:
        try:
            with super()._explained(uploads=uploads):
                yield
        except self._unready as error:
            raise StoreError(f"{self.url}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
        except self._faults as error:
            raise Unreachable(f"{self.url}: {_shorten(error)}") from error


def _shorten(error: BaseException) -> str:
    """Write a failure on one line, without the objects that libraries print in theirs."""
    reason = getattr(error, "reason", None)  # urllib3 says in it what its retries ended with
    text = " ".join((str(reason or error) or type(error).__name__).split())
    return text if len(text) <= 200 else f"{text[:200]} ..."
