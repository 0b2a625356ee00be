import random
import shutil
import threading
from hashlib import sha256

import pytest

from openflock.edge import url_store
from openflock.edge.blobs import DirectoryStore
from openflock.edge.partial import locate_partial, open_partial
from openflock.edge.remotes import Found, open_remote
from openflock.edge.stores import StoreError, open_store
from openflock.edge.url_store import PART, UrlStore
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Unreachable

from .servers import answer_ranges, answer_status, answer_whole, answer_without_end, cut_after, drip, serve

SMALL = b"a blob of a few bytes"
LARGE = random.Random(5).randbytes(3 * PART + 7)


@pytest.fixture
def server():
    with serve() as server:
        yield server


@pytest.fixture
def store(server, tmp_path):
    store = UrlStore(open_remote(server.url), DirectoryStore(tmp_path / "cache"))
    yield store
    store.close()


def offer(server, data):
    digest = sha256(data).digest()
    server.files[digest.hex()] = data
    return digest


def list_cache(store):
    return sorted(path.name for path in store.cache.directory.iterdir())


# --- Sizes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [answer_ranges, answer_whole])
@pytest.mark.parametrize("data", [b"", SMALL, LARGE[:PART], LARGE[: PART + 1], LARGE], ids=len)
def test_blobs_of_all_sizes_come_with_ranges_and_without(server, store, answer, data):
    server.answer = answer
    digest = offer(server, data)
    assert store.fetch(digest, len(data)) == data
    assert list_cache(store) == [digest.hex()]


def test_a_large_blob_comes_in_several_ranges(server, store):
    store.fetch(offer(server, LARGE), len(LARGE))
    assert len(server.asked) == 1 + 4
    assert len(LARGE) < server.sent <= len(LARGE) + 1  # and one byte to learn the size


def test_what_is_in_the_cache_is_not_asked_for(server, store):
    digest = offer(server, SMALL)
    store.fetch(digest, len(SMALL))
    server.answer = answer_status(500)
    assert store.fetch(digest, len(SMALL)) == SMALL


def test_a_spoiled_cache_is_mended(server, store):
    digest = offer(server, SMALL)
    store.fetch(digest, len(SMALL))
    store.cache.locate(digest).write_bytes(b"torn")
    assert store.fetch(digest, len(SMALL)) == SMALL == store.cache.fetch(digest, len(SMALL))


@pytest.mark.parametrize("answer", [answer_ranges, answer_whole])
def test_a_blob_too_large_is_refused_before_it_is_fetched(server, store, answer):
    server.answer = answer
    digest = offer(server, LARGE)
    with pytest.raises(BlobCorrupt, match=f"larger than the {len(LARGE) - 1} bytes"):
        store.fetch(digest, len(LARGE) - 1)
    assert list_cache(store) == []


def test_a_body_without_end_is_cut_at_the_largest_size(server, store):
    server.answer = answer_without_end
    with pytest.raises(BlobCorrupt, match=f"larger than the {2**20} bytes"):
        store.fetch(bytes(32), 2**20)
    assert list_cache(store) == []


def test_a_size_that_is_a_lie_brings_no_more_than_it_says(server, store):
    def lie(handler):
        start, end = handler.get_range(LARGE)
        handler.start(206, Content_Range=f"bytes {start}-{end - 1}/{len(SMALL)}")
        handler.send(LARGE)

    server.answer = lie
    with pytest.raises(BlobCorrupt, match="does not match its digest"):
        store.fetch(sha256(LARGE).digest(), 2**30)
    assert list_cache(store) == []


def test_a_blob_that_does_not_fit_on_the_disk_cannot_be_had(server, store, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(url_store.shutil, "disk_usage", lambda _: usage._replace(free=url_store.ROOM + 5))
    with pytest.raises(BlobMissing, match=f"of {len(SMALL)} bytes does not fit on this disk: 5 are free"):
        store.fetch(offer(server, SMALL), 2**40)


# --- What goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_not_there_is_missing(server, store, status):
    server.answer = answer_status(status)
    with pytest.raises(BlobMissing, match="blob 000000000000 is not at http://"):
        store.fetch(bytes(32), 100)
    assert list_cache(store) == []


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
def test_a_server_that_refuses_is_asked_again_later(server, store, status):
    digest = offer(server, SMALL)
    server.answer = answer_status(status)
    with pytest.raises(Unreachable, match=f"answers {status}"):
        store.fetch(digest, 100)
    server.answer = answer_ranges
    assert store.fetch(digest, 100) == SMALL


def test_nobody_at_the_address_is_unreachable(tmp_path):
    store = UrlStore(open_remote("http://127.0.0.1:1/blobs"), DirectoryStore(tmp_path))
    with pytest.raises(Unreachable, match=r"http://127.0.0.1:1/blobs: .*refused"):
        store.fetch(bytes(32), 100)


def test_wrong_bytes_are_dropped_so_that_the_next_try_starts_afresh(server, store):
    digest = offer(server, SMALL)
    server.files[digest.hex()] = SMALL[::-1]
    with pytest.raises(BlobCorrupt, match=digest.hex()[:12]):
        store.fetch(digest, 100)
    assert list_cache(store) == []
    offer(server, SMALL)
    assert store.fetch(digest, 100) == SMALL


def test_a_server_that_hangs_up_again_and_again_is_asked_for_the_rest(server, store):
    digest = offer(server, LARGE[:PART])
    server.answer = cut_after(PART // 4)
    assert store.fetch(digest, PART) == LARGE[:PART]
    assert len(server.asked) == 1 + 4


def test_what_came_before_an_interruption_is_not_fetched_again(server, store):
    digest, most = offer(server, LARGE), 2 * PART

    def stop_after_two_parts(handler):
        start, _ = handler.get_range(LARGE)
        (answer_ranges if start < most else answer_status(503))(handler)

    server.answer = stop_after_two_parts
    with pytest.raises(Unreachable, match="503"):
        store.fetch(digest, len(LARGE))
    assert locate_partial(store.cache.directory, digest).stat().st_size == most
    server.answer, server.asked = answer_ranges, []
    assert store.fetch(digest, len(LARGE)) == LARGE
    assert sorted(server.asked)[1:] == [f"bytes={most}-{3 * PART - 1}", f"bytes={3 * PART}-{len(LARGE) - 1}"]
    assert list_cache(store) == [digest.hex()]


def test_a_server_that_drips_is_given_up_and_what_came_is_kept(server, tmp_path):
    store = UrlStore(open_remote(server.url), DirectoryStore(tmp_path), patience=0.2)
    digest = offer(server, LARGE[:1000])
    server.answer = drip
    with pytest.raises(Unreachable, match="too slow; what has come is kept"):
        store.fetch(digest, 1000)
    assert 0 < locate_partial(tmp_path, digest).stat().st_size < 1000
    server.answer = answer_ranges
    assert store.fetch(digest, 1000) == LARGE[:1000]


def test_a_blob_that_goes_while_it_is_fetched_is_missing(server, store):
    digest = offer(server, SMALL)
    server.answer = lambda handler: (answer_ranges if len(server.asked) == 1 else answer_status(404))(handler)
    with pytest.raises(BlobMissing, match="no longer at"):
        store.fetch(digest, 100)


# --- Many at once ------------------------------------------------------------------------------------------------


def test_many_who_fetch_the_same_blob_at_once_fetch_it_once(server, store):
    digest, got = offer(server, LARGE), []
    threads = [threading.Thread(target=lambda: got.append(store.fetch(digest, len(LARGE)))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(data == LARGE for data in got)
    assert len(got) == 5
    assert server.sent <= len(LARGE) + 5


def test_who_waits_for_anothers_download_gives_up_in_the_end(server, tmp_path):
    store = UrlStore(open_remote(server.url), DirectoryStore(tmp_path), patience=0.1)
    digest = offer(server, SMALL)
    with open_partial(tmp_path, digest, 0), pytest.raises(Unreachable, match="still being fetched by another"):
        store.fetch(digest, 100)
    assert store.fetch(digest, 100) == SMALL


# --- Uploads -----------------------------------------------------------------------------------------------------


class Bucket:
    """A remote that counts what is uploaded."""

    url = "bucket"

    def __init__(self):
        self.files, self.uploads, self.failure = {}, 0, None

    def find(self, name):
        if name not in self.files:
            raise FileNotFoundError(name)
        return Found(len(self.files[name]), has_ranges=True)

    def upload(self, path, name):
        if self.failure:
            raise self.failure
        self.uploads += 1
        self.files[name] = path.read_bytes()

    def close(self):
        pass


def test_a_blob_that_is_there_is_not_uploaded_again_unless_its_size_is_wrong(tmp_path):
    bucket = Bucket()
    store = UrlStore(bucket, DirectoryStore(tmp_path))
    digest = store.put(SMALL)
    store.put(SMALL)
    assert (bucket.uploads, bucket.files) == (1, {digest.hex(): SMALL})
    bucket.files[digest.hex()] = SMALL[:5]
    store.put(SMALL)
    assert (bucket.uploads, bucket.files) == (2, {digest.hex(): SMALL})


def test_an_upload_that_failed_is_made_by_the_next_put(tmp_path):
    bucket = Bucket()
    store, bucket.failure = UrlStore(bucket, DirectoryStore(tmp_path)), Unreachable("gone")
    with pytest.raises(Unreachable):
        store.put(SMALL)
    bucket.failure = None
    store.put(SMALL)
    assert bucket.uploads == 1


def test_collecting_leaves_what_others_can_fetch(tmp_path):
    bucket = Bucket()
    store = UrlStore(bucket, DirectoryStore(tmp_path))
    store.put(SMALL)
    assert store.collect((), older_than=-1) == len(SMALL)
    assert (list(tmp_path.iterdir()), len(bucket.files)) == ([], 1)


# --- S3 ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(monkeypatch):
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return lambda url: monkeypatch.setenv("AWS_ENDPOINT_URL", url)


def test_an_s3_server_that_does_not_answer_is_unreachable(s3, tmp_path):
    s3("http://127.0.0.1:1")
    store = open_store("s3://bucket/prefix", tmp_path)
    for ask in (lambda: store.fetch(bytes(32), 100), lambda: store.put(SMALL)):
        with pytest.raises(Unreachable, match=r"s3://bucket/prefix: Could not connect"):
            ask()


@pytest.fixture
def head(monkeypatch, server):
    """Let the server answer HEAD, too, as S3 clients ask."""
    return lambda answer: monkeypatch.setattr(server.RequestHandlerClass, "do_HEAD", answer, raising=False)


def test_an_s3_server_that_refuses_says_what_to_check(s3, head, server, tmp_path):
    s3(server.url)
    head(answer_status(403))
    store = open_store("s3://bucket", tmp_path)
    for ask in (lambda: store.fetch(bytes(32), 100), lambda: store.put(SMALL)):
        with pytest.raises(Unreachable, match=r"s3://bucket: refuses to answer .*; check the credentials"):
            ask()


def test_an_s3_body_without_end_is_cut_at_the_size_it_should_have(s3, head, server, tmp_path):
    s3(server.url)
    head(lambda handler: handler.start(200, Content_Length=len(SMALL)))
    server.answer = answer_without_end
    store = open_store("s3://bucket", tmp_path)
    with pytest.raises(BlobCorrupt, match="does not match its digest"):
        store.fetch(sha256(SMALL).digest(), 100)
    assert list_cache(store) == []


def test_without_credentials_s3_says_where_to_put_them(s3, server, tmp_path, monkeypatch):
    s3(server.url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket", tmp_path / "cache").fetch(bytes(32), 100)
