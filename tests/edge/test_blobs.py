import fcntl
import os
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest

from openflock.edge import blobs
from openflock.edge.blobs import DirectoryStore, lock
from openflock.edge.partial import locate_partial, open_partial
from openflock.protocol.ports import BlobMissing, Unreachable

HOUR = 3600.0
NOTHING = frozenset()
BLOB = b"a blob"
NAME = sha256(BLOB).digest()


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


def make_old(path, seconds=2 * HOUR):
    past = time.time() - seconds
    os.utime(path, (past, past))


def put_old(store, data):
    digest = store.put(data)
    make_old(store.locate(digest))
    return digest


# --- Collecting --------------------------------------------------------------------------------------------------


def test_what_is_old_and_not_wanted_goes(store):
    kept, gone, young = put_old(store, b"kept"), put_old(store, b"gone!"), store.put(b"young")
    assert store.collect({kept}, older_than=HOUR) == 5
    assert (store.fetch(kept, 10), store.fetch(young, 10)) == (b"kept", b"young")
    with pytest.raises(BlobMissing):
        store.fetch(gone, 10)
    assert store.collect({kept}, older_than=HOUR) == 0


def test_what_was_put_again_is_young(store):
    digest = put_old(store, b"state")
    store.put(b"state")
    assert store.collect(NOTHING, older_than=HOUR) == 0
    assert store.fetch(digest, 10) == b"state"


def test_traces_of_what_was_never_finished_go_when_they_are_old(store, tmp_path):
    for name in (".writing-abc", f".partial-{'0' * 64}"):
        (tmp_path / name).write_bytes(b"12345678")
        assert store.collect(NOTHING, older_than=HOUR) == 0
        make_old(tmp_path / name)
        assert store.collect(NOTHING, older_than=HOUR) == 8
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["notes.txt", "0" * 63, "G" * 64, ".hidden", "journal.sqlite"])
def test_what_is_no_blob_stays(store, tmp_path, name):
    (tmp_path / name).write_text("mine")
    make_old(tmp_path / name)
    (tmp_path / ("1" * 64)).mkdir()
    assert store.collect(NOTHING, older_than=-1) == 0
    assert (tmp_path / name).read_text() == "mine"


def test_who_reads_a_blob_keeps_it(store):
    data = bytes(2**21)
    digest = put_old(store, data)
    held = store.fetch(digest, len(data))
    assert store.collect(NOTHING, older_than=HOUR) == len(data)
    assert held == data


def test_what_is_put_while_others_collect_is_there_afterwards(store):
    stop, lost = threading.Event(), []
    old = [put_old(store, bytes([value])) for value in range(8)]

    def collect():
        while not stop.is_set():
            store.collect(NOTHING, older_than=HOUR)

    collectors = [threading.Thread(target=collect) for _ in range(2)]
    for collector in collectors:
        collector.start()
    for turn in range(300):
        value = turn % 8
        digest = store.put(bytes([value]))
        lost += [value] if digest != old[value] or not store.locate(digest).exists() else []
        make_old(store.locate(digest)) if turn % 3 == 0 else None
    stop.set()
    for collector in collectors:
        collector.join()
    assert lost == []


# --- Downloads ---------------------------------------------------------------------------------------------------

DIGEST = sha256(b"whole").digest()


# --- A neighbour who may write to the directory ------------------------------------------------------------------


def make_loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize("obstacle", [Path.mkdir, os.mkfifo, make_loop], ids=["directory", "pipe", "loop"])
def test_what_stands_under_a_blob_s_name_and_is_no_file_holds_up_nobody(store, obstacle):
    obstacle(store.locate(NAME))
    with pytest.raises(Unreachable, match=NAME.hex()[:12]):
        store.fetch(NAME, 100)
    if obstacle is Path.mkdir:
        with pytest.raises(Unreachable, match="cannot be put there"):
            store.put(BLOB)
    else:
        assert store.put(BLOB) == NAME
        assert bytes(store.fetch(NAME, 100)) == BLOB


def test_a_lock_that_another_keeps_is_waited_for_a_while(store, monkeypatch):
    monkeypatch.setattr(blobs, "LOCKED", 0.1)
    with lock(store.directory, fcntl.LOCK_EX), pytest.raises(Unreachable, match="locked by another"):
        store.put(BLOB)
    assert store.put(BLOB) == NAME


def test_a_download_is_found_again(tmp_path):
    for part in (b"wh", b"ole"):
        with open_partial(tmp_path, DIGEST, 0) as file:
            file.write(part)
    assert locate_partial(tmp_path, DIGEST).read_bytes() == b"whole"


def test_a_download_that_brought_nothing_leaves_no_trace(tmp_path):
    with pytest.raises(ZeroDivisionError), open_partial(tmp_path, DIGEST, 0):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_download_has_one_writer(tmp_path):
    with open_partial(tmp_path, DIGEST, 0), pytest.raises(Unreachable), open_partial(tmp_path, DIGEST, 0):
        pass
    with open_partial(tmp_path, DIGEST, 0):
        pass


def test_who_waited_does_not_write_into_what_was_placed(tmp_path):
    started, opened = threading.Event(), []

    def wait():
        started.set()
        with open_partial(tmp_path, DIGEST, time.monotonic() + 60) as file:
            opened.append(os.fstat(file.fileno()).st_size)

    with open_partial(tmp_path, DIGEST, 0) as file:
        waiter = threading.Thread(target=wait)
        waiter.start()
        started.wait()
        file.write(b"whole")
        file.flush()
        locate_partial(tmp_path, DIGEST).replace(tmp_path / "placed")
    waiter.join()
    assert opened == [0]
    assert Path(tmp_path / "placed").read_bytes() == b"whole"
