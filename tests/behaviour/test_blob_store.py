import subprocess
import sys
import threading
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.protocol.ports import BlobCorrupt, BlobMissing

from .stores import KINDS, list_files, locate

DATA = bytes(range(256)) * 40
DIGEST = sha256(DATA).digest()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def store(kind, tmp_path):
    return KINDS[kind](tmp_path)


def test_what_is_put_is_fetched_by_its_digest(store):
    assert store.put(DATA) == DIGEST
    assert store.fetch(DIGEST, len(DATA)) == DATA
    assert store.fetch(DIGEST, 2**40) == DATA


def test_an_empty_blob_is_a_blob(store):
    assert store.fetch(store.put(b""), 0) == b""


@pytest.mark.parametrize("kind", KINDS)
def test_any_bytes_come_back(kind, tmp_path):
    store = KINDS[kind](tmp_path)

    @given(st.binary(max_size=300))
    @settings(max_examples=30)
    def check(data):
        assert store.fetch(store.put(data), len(data)) == data

    check()


def test_a_second_opening_finds_what_the_first_put(kind, store, tmp_path):
    store.put(DATA)
    assert KINDS[kind](tmp_path).fetch(DIGEST, len(DATA)) == DATA


def test_a_missing_blob_is_named(store):
    with pytest.raises(BlobMissing, match=DIGEST.hex()[:12]):
        store.fetch(DIGEST, 1000)


@pytest.mark.parametrize("at", [0, 5000, -1])
def test_one_changed_byte_is_noticed(store, tmp_path, at):
    store.put(DATA)
    spoiled = bytearray(DATA)
    spoiled[at] ^= 1
    locate(tmp_path, DIGEST).write_bytes(spoiled)
    with pytest.raises(BlobCorrupt, match=DIGEST.hex()[:12]):
        store.fetch(DIGEST, len(DATA))


@pytest.mark.parametrize("spoiled", [DATA[:-1], DATA + b"x", b""])
def test_a_cut_or_lengthened_blob_is_noticed(store, tmp_path, spoiled):
    store.put(DATA)
    locate(tmp_path, DIGEST).write_bytes(spoiled)
    with pytest.raises(BlobCorrupt):
        store.fetch(DIGEST, 2**20)


def test_a_blob_larger_than_announced_is_refused(store):
    store.put(DATA)
    with pytest.raises(BlobCorrupt, match=f"larger than the {len(DATA) - 1} bytes"):
        store.fetch(DIGEST, len(DATA) - 1)


def test_putting_a_spoiled_blob_again_mends_it(store, tmp_path):
    store.put(DATA)
    locate(tmp_path, DIGEST).write_bytes(b"torn")
    assert store.put(DATA) == DIGEST
    assert store.fetch(DIGEST, len(DATA)) == DATA
    assert len(list_files(tmp_path)) == 1


def test_putting_twice_keeps_one_copy(store, tmp_path):
    store.put(DATA)
    before = list_files(tmp_path)
    store.put(DATA)
    assert list_files(tmp_path) == before


def test_many_who_put_the_same_blob_at_once_all_succeed(store, tmp_path):
    threads = [threading.Thread(target=store.put, args=(DATA,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.fetch(DIGEST, len(DATA)) == DATA
    assert len(list_files(tmp_path)) == 1


# A limit on the size of any file this process writes stands for the full disk: the kernel refuses mid-write.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.behaviour.stores import KINDS, list_files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
store = KINDS[sys.argv[2]](path)
kept = store.put(b"small")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    store.put(b"large" * 4096)
except OSError as error:
    print(error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(list_files(path)), store.fetch(kept, 5).decode())
print(store.fetch(store.put(b"large" * 4096), 2**20)[:5].decode(), len(list_files(path)))
"""


def test_a_disk_that_fills_up_leaves_nothing_of_the_blob_and_all_of_the_others(kind, tmp_path, pytestconfig):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path, kind],
        cwd=pytestconfig.rootpath, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.split("\n")[:3] == ["27", "1 small", "large 2"]


def test_a_directory_of_blobs_is_checked_whole(tmp_path):
    store = KINDS["directory"](tmp_path)
    digests = [store.put(bytes([value])) for value in range(5)]
    assert store.check_all() == 5
    victim = locate(tmp_path, digests[3])
    victim.write_bytes(b"other")
    with pytest.raises(BlobCorrupt, match=victim.name):
        store.check_all()
    victim.write_bytes(b"\3")
    (victim.parent / "stray").write_text("note")
    with pytest.raises(BlobCorrupt, match="stray"):
        store.check_all()
