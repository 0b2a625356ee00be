import random
import subprocess
import sys
import threading
from contextlib import closing
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.edge.blobs import MAPPED, DirectoryStore
from openflock.edge.stores import StoreError
from openflock.protocol.ports import BlobCorrupt, BlobMissing

from .stores import KINDS, Http, list_files

DATA = bytes(range(256)) * 40
DIGEST = sha256(DATA).digest()
EXAMPLES = dict.fromkeys(KINDS, 30) | {"torrent": 5}  # a peer is connected to within a second


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.slow if kind == "torrent" else ()) for kind in KINDS])
def kind(request):
    return request.param


@pytest.fixture
def store(kind, tmp_path):
    with closing(KINDS[kind](tmp_path)) as store:
        yield store


def test_what_is_put_is_fetched_by_its_digest(store):
    assert store.put(DATA) == DIGEST
    assert store.fetch(DIGEST, len(DATA)) == DATA
    assert store.fetch(DIGEST, 2**40) == DATA


def test_an_empty_blob_is_a_blob(store):
    assert store.fetch(store.put(b""), 0) == b""


def test_any_bytes_come_back(kind, store):
    @given(st.binary(max_size=300))
    @settings(max_examples=EXAMPLES[kind], deadline=None)
    def check(data):
        assert store.fetch(store.put(data), len(data)) == data

    check()


def test_parts_are_stored_as_what_they_make_up(kind, store):
    @given(st.lists(st.binary(max_size=50), max_size=6))
    @settings(max_examples=EXAMPLES[kind], deadline=None)
    def check(parts):
        whole = b"".join(parts)
        digest = store.put_stream(iter(parts))
        assert digest == sha256(whole).digest() == store.put(whole)
        assert store.fetch(digest, len(whole)) == whole

    check()


def test_no_parts_make_the_empty_blob(store):
    assert store.put_stream([]) == store.put(b"")
    assert store.fetch(sha256().digest(), 0) == b""


def test_views_are_stored_as_their_bytes(store):
    assert store.put_stream([memoryview(DATA)[:100], memoryview(bytearray(DATA))[100:]]) == DIGEST
    assert store.put(memoryview(DATA)) == DIGEST
    assert store.fetch(DIGEST, len(DATA)) == DATA


@pytest.mark.parametrize("reached", [0, 1, 300])
def test_parts_that_end_in_an_error_leave_nothing(store, reached):
    kept = store.put(b"kept")

    def compute_parts():
        yield from [DATA] * reached
        raise ZeroDivisionError("no more parts")

    before = store.list_held()
    with pytest.raises(ZeroDivisionError, match="no more parts"):
        store.put_stream(compute_parts())
    assert store.list_held() == before
    assert store.fetch(kept, 4) == b"kept"


def test_a_part_that_is_no_bytes_leaves_nothing(store):
    with pytest.raises(TypeError):
        store.put_stream([DATA, "text", DATA])
    assert store.list_held() == []


def test_parts_of_a_spoiled_blob_mend_it(store):
    store.put(DATA)
    store.spoil(DIGEST, b"torn")
    assert store.put_stream([DATA[:7], DATA[7:]]) == DIGEST
    assert store.fetch(DIGEST, len(DATA)) == DATA
    assert len(store.list_held()) == 1


def test_a_second_opening_finds_what_the_first_put(store):
    store.put(DATA)
    store.reopen()
    assert store.fetch(DIGEST, len(DATA)) == DATA


def test_what_was_fetched_is_fetched_again_while_it_is_gone_elsewhere(store):
    store.put(DATA)
    assert store.fetch(DIGEST, len(DATA)) == store.reader.fetch(DIGEST, len(DATA)) == DATA


def test_where_things_can_only_be_read_a_put_is_refused_and_leaves_nothing(tmp_path):
    with closing(Http(tmp_path)) as store:
        for refuse in (lambda: store.reader.put(DATA), lambda: store.reader.put_stream([DATA])):
            with pytest.raises(StoreError, match="can only be read; give a store that takes blobs"):
                refuse()
        assert store.list_held() == list_files(store.cache.directory) == []


def test_a_missing_blob_is_named(store):
    with pytest.raises(BlobMissing, match=DIGEST.hex()[:12]):
        store.fetch(DIGEST, 1000)


@pytest.mark.parametrize("at", [0, pytest.param(5000, marks=pytest.mark.long), -1])
def test_one_changed_byte_is_noticed(store, at):
    store.put(DATA)
    spoiled = bytearray(DATA)
    spoiled[at] ^= 1
    store.spoil(DIGEST, spoiled)
    with pytest.raises(store.wrong, match=DIGEST.hex()[:12]):
        store.fetch(DIGEST, len(DATA))


@pytest.mark.parametrize("spoiled", [DATA[:-1], b""])
def test_a_cut_blob_is_noticed(store, spoiled):
    store.put(DATA)
    store.spoil(DIGEST, spoiled)
    with pytest.raises(store.wrong):
        store.fetch(DIGEST, 2**20)


def test_a_blob_larger_than_announced_is_refused(store):
    store.put(DATA)
    with pytest.raises(BlobCorrupt, match=f"larger than the {len(DATA) - 1} bytes"):
        store.fetch(DIGEST, len(DATA) - 1)


def test_putting_a_spoiled_blob_again_mends_it(store):
    store.put(DATA)
    store.spoil(DIGEST, b"torn")
    assert store.put(DATA) == DIGEST
    assert store.fetch(DIGEST, len(DATA)) == DATA
    assert len(store.list_held()) == 1


def test_putting_twice_keeps_one_copy(store):
    store.put(DATA)
    before = store.list_held()
    store.put(DATA)
    assert store.list_held() == before


def test_many_who_put_the_same_blob_at_once_all_succeed(store):
    threads = [threading.Thread(target=store.put, args=(DATA,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.fetch(DIGEST, len(DATA)) == DATA
    assert len(store.list_held()) == 1


# --- Large ones, which a store may map --------------------------------------------------------------------------

EDGE = 2**20
LARGE = random.Random(1).randbytes(EDGE + 5)


@pytest.mark.parametrize("size", [EDGE - 1, EDGE, EDGE + 1, 3 * EDGE + 7])
def test_a_large_blob_comes_back(store, size):
    data = (LARGE * 3)[:size]
    digest = store.put_stream(data[start : start + 4099] for start in range(0, size, 4099))
    assert digest == sha256(data).digest()
    fetched = store.fetch(digest, size)
    assert (len(fetched), fetched) == (size, data)
    assert store.put(fetched) == digest  # what was fetched can be put


@pytest.mark.parametrize(
    "at", [pytest.param(0, marks=pytest.mark.long), EDGE - 1, EDGE, pytest.param(EDGE + 4, marks=pytest.mark.long)]
)
def test_one_changed_byte_of_a_large_blob_is_noticed(store, at):
    digest = store.put(LARGE)
    spoiled = bytearray(LARGE)
    spoiled[at] ^= 1
    store.spoil(digest, spoiled)
    with pytest.raises(store.wrong, match=digest.hex()[:12]):
        store.fetch(digest, len(LARGE))


@pytest.mark.parametrize("data", [DATA, LARGE], ids=len)
def test_a_lengthened_blob_is_noticed_where_what_was_added_is_sent(store, data):
    digest = store.put(data)
    store.spoil(digest, data + b"x")
    if store.cuts:
        assert store.fetch(digest, 2 * len(data)) == data
    else:
        with pytest.raises(BlobCorrupt, match=digest.hex()[:12]):
            store.fetch(digest, 2 * len(data))


@pytest.mark.parametrize(
    "spoiled",
    [
        pytest.param(LARGE[:-1], marks=pytest.mark.long),
        LARGE[:EDGE],
        pytest.param(LARGE[:100], marks=pytest.mark.long),
        b"",
    ],
)
def test_a_large_blob_that_was_cut_is_noticed(store, spoiled):
    digest = store.put(LARGE)
    store.spoil(digest, spoiled)
    with pytest.raises(store.wrong, match=digest.hex()[:12]):
        store.fetch(digest, 2 * len(LARGE))


def test_a_large_blob_larger_than_announced_is_refused(store):
    digest = store.put(LARGE)
    with pytest.raises(BlobCorrupt, match=f"larger than the {len(LARGE) - 1} bytes"):
        store.fetch(digest, len(LARGE) - 1)


def test_mending_a_large_blob_leaves_who_reads_it_with_what_was_checked(store):
    digest = store.put(LARGE)
    reading = store.fetch(digest, len(LARGE))
    store.spoil(digest, b"torn")
    assert store.put(LARGE) == digest
    assert reading == LARGE == store.fetch(digest, len(LARGE))
    assert len(store.list_held()) == 1


# --- Full disks --------------------------------------------------------------------------------------------------

# A limit on the size of any file this process writes stands for the full disk: the kernel refuses mid-write.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.behaviour.stores import KINDS
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = KINDS[sys.argv[2]](Path(sys.argv[1]))
kept = store.put(b"small")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    store.put(b"large" * 4096)
except OSError as error:
    print(error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(store.list_held()), store.fetch(kept, 5).decode())
print(store.fetch(store.put(b"large" * 4096), 2**20)[:5].decode(), len(store.list_held()))
store.close()
"""


def test_a_disk_that_fills_up_leaves_nothing_of_the_blob_and_all_of_the_others(kind, tmp_path, pytestconfig):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path, kind],
        cwd=pytestconfig.rootpath, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.split("\n")[:3] == ["27", "1 small", "large 2"]


def test_a_directory_of_blobs_is_checked_whole(tmp_path):
    store = DirectoryStore(tmp_path)
    digests = [store.put(bytes([value])) for value in range(5)]
    assert store.check_all() == 5
    victim = store.locate(digests[3])
    victim.write_bytes(b"other")
    with pytest.raises(BlobCorrupt, match=victim.name):
        store.check_all()
    victim.write_bytes(b"\3")
    (victim.parent / "stray").write_text("note")
    with pytest.raises(BlobCorrupt, match="stray"):
        store.check_all()


def test_a_large_file_that_others_can_write_to_is_read_and_not_mapped(tmp_path):
    store, data = DirectoryStore(tmp_path), bytes(MAPPED)
    digest = store.put(data)
    assert isinstance(store.fetch(digest, len(data)), memoryview)
    (tmp_path / digest.hex()).chmod(0o666)
    held = store.fetch(digest, len(data))
    (tmp_path / digest.hex()).write_bytes(b"x" * len(data))
    assert held == data
