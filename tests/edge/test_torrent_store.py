import random
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest

from openflock.edge import torrent_store
from openflock.edge.blobs import DirectoryStore
from openflock.edge.outline import compute_outline
from openflock.edge.torrent_store import TorrentStore
from openflock.edge.tracker import start_tracker
from openflock.edge.trackers import Trackers, parse_addresses
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Unreachable

pytestmark = pytest.mark.slow

DATA = random.Random(3).randbytes(5 * 2**20 + 11)
DIGEST = sha256(DATA).digest()
TASKS = Path("/proc/self/task")


@pytest.fixture
def tracker():
    with start_tracker() as tracker:
        yield tracker


@pytest.fixture
def join(tracker, tmp_path):
    """Give peers by name; the same name is the same directory."""
    opened = []

    def join(name, absence=5.0, addresses=None):
        trackers = Trackers(addresses or parse_addresses(tracker.url))
        store = TorrentStore(trackers, DirectoryStore(tmp_path / name), "127.0.0.1:0", absence)
        opened.append(store)
        return store

    yield join
    for store in opened:
        store.close()


def list_files(store):
    return sorted(path.name for path in store.cache.directory.rglob("*") if path.is_file())


# --- Peers -------------------------------------------------------------------------------------------------------


def test_who_has_fetched_serves_on_when_the_proposer_is_gone(join):
    proposer, voter, latecomer = join("proposer"), join("voter"), join("latecomer")
    proposer.put(DATA)
    assert voter.fetch(DIGEST, len(DATA)) == DATA
    proposer.close()
    assert latecomer.fetch(DIGEST, len(DATA)) == DATA
    assert list_files(latecomer) == [f".outline-{DIGEST.hex()}", DIGEST.hex()]


def test_a_peer_that_was_started_again_serves_what_it_had(join):
    join("proposer").put(DATA)
    join("proposer").close()
    again = join("proposer")
    assert again.swarm.count_sent() == 0
    assert join("voter").fetch(DIGEST, len(DATA)) == DATA


def test_many_fetch_at_once_and_from_each_other(join):
    proposer, voters, got = join("proposer"), [join(f"voter {i}") for i in range(4)], []
    proposer.put(DATA)
    threads = [threading.Thread(target=lambda v=voter: got.append(v.fetch(DIGEST, len(DATA)))) for voter in voters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [data == DATA for data in got] == [True] * 4


def test_who_fetches_one_blob_in_two_threads_fetches_it_once(join):
    proposer, voter, got = join("proposer"), join("voter"), []
    proposer.put(DATA)
    threads = [threading.Thread(target=lambda: got.append(voter.fetch(DIGEST, len(DATA)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [data == DATA for data in got] == [True] * 3
    assert proposer.swarm.count_sent() < 2 * len(DATA)


def test_a_download_goes_on_where_it_was_interrupted(join):
    proposer, voter = join("proposer"), join("voter")
    proposer.put(DATA)
    half = len(DATA) // 2 // 2**16 * 2**16
    (voter.cache.directory / ".coming" / DIGEST.hex()).write_bytes(DATA[:half])
    assert voter.fetch(DIGEST, len(DATA)) == DATA
    assert proposer.swarm.count_sent() <= len(DATA) - half + 2**16


def test_a_blob_that_was_spoiled_while_it_was_served_is_fetched_again(join):
    proposer, voter = join("proposer"), join("voter")
    proposer.put(DATA)
    voter.fetch(DIGEST, len(DATA))
    for spoil in (lambda path: path.unlink(), lambda path: path.write_bytes(DATA[::-1])):
        spoil(voter.cache.locate(DIGEST))
        assert voter.fetch(DIGEST, len(DATA)) == DATA


# --- Nobody, or nobody honest ------------------------------------------------------------------------------------


def test_without_a_peer_a_blob_is_missing(join):
    voter = join("voter", absence=0.5)
    with pytest.raises(BlobMissing, match="no tracker knows who has it"):
        voter.fetch(DIGEST, 100)
    assert list_files(voter) == []


def test_peers_that_do_not_answer_have_nothing(join):
    voter = join("voter", absence=1.5)
    voter.trackers.announce(DIGEST, compute_outline(DATA), 1)
    with pytest.raises(BlobMissing, match="no peer gave a byte for 2 s"):
        voter.fetch(DIGEST, len(DATA))


def test_a_blob_that_is_announced_late_is_still_found(join):
    proposer, voter = join("proposer"), join("voter", absence=20)
    timer = threading.Timer(1.5, proposer.put, (DATA,))
    timer.start()
    assert voter.fetch(DIGEST, len(DATA)) == DATA
    timer.join()


def test_a_larger_blob_than_announced_is_refused_before_it_is_fetched(join):
    proposer, voter = join("proposer"), join("voter", absence=0.5)
    proposer.put(DATA)
    with pytest.raises(BlobCorrupt, match=f"larger than the {len(DATA) - 1} bytes"):
        voter.fetch(DIGEST, len(DATA) - 1)
    assert (proposer.swarm.count_sent(), list_files(voter)) == (0, [])


def serve_lie(liar, data):
    """Serve other bytes under the digest, as a peer that lies to trackers and peers alike."""
    liar._coming.locate(DIGEST).write_bytes(data)
    outline = compute_outline(data)
    liar.swarm.serve(DIGEST, outline, liar._coming.directory)
    liar.trackers.announce(DIGEST, outline, liar.swarm.port)


def test_wrong_bytes_never_come_through(join):
    liar, voter = join("liar"), join("voter")
    serve_lie(liar, DATA[::-1])
    with pytest.raises(BlobCorrupt, match="in the swarm does not match its digest"):
        voter.fetch(DIGEST, len(DATA))
    assert list_files(voter) == []


def test_a_liar_who_came_first_does_not_keep_the_blob_from_who_wants_it(join):
    liar, proposer, voter = join("liar"), join("proposer"), join("voter")
    serve_lie(liar, DATA[::-1])
    proposer.put(DATA)
    assert voter.fetch(DIGEST, len(DATA)) == DATA


# --- Trackers ----------------------------------------------------------------------------------------------------


def test_a_blob_nobody_can_be_told_of_is_kept_and_told_when_a_tracker_comes(join, tmp_path, monkeypatch):
    monkeypatch.setattr(torrent_store, "INTERVAL", 0.1)
    with start_tracker() as gone:
        address = parse_addresses(gone.url)
    proposer, voter = join("proposer", addresses=address), join("voter", absence=20, addresses=address)
    with pytest.raises(Unreachable, match="no tracker takes blob"):
        proposer.put(DATA)
    with pytest.raises(Unreachable, match="no tracker answers for blob"):
        voter.fetch(DIGEST, len(DATA))
    with start_tracker(port=int(address[0].rpartition(":")[2])):  # it has forgotten all
        assert voter.fetch(DIGEST, len(DATA)) == DATA


def test_the_empty_blob_needs_nobody(join):
    lonely = join("lonely", addresses=["127.0.0.1:1"])
    assert lonely.fetch(lonely.put(b""), 0) == b""


# --- Ends --------------------------------------------------------------------------------------------------------


def test_what_is_collected_is_served_no_more(join):
    proposer, voter = join("proposer"), join("voter", absence=1.5)
    proposer.put(DATA)
    kept = proposer.put(b"kept")
    assert proposer.collect([kept], older_than=-1) == len(DATA)
    assert list_files(proposer) == [f".outline-{kept.hex()}", kept.hex()]
    with pytest.raises(BlobMissing):
        voter.fetch(DIGEST, len(DATA))
    assert voter.fetch(kept, 4) == b"kept"


def test_a_closed_store_leaves_no_threads(join):
    before = {*TASKS.iterdir()}  # libtorrent's threads are none of Python's
    store = join("proposer")
    store.cache.put(DATA)
    store.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "announcer"]
    deadline = time.monotonic() + 10  # the kernel lists one for a moment after it was joined
    while {*TASKS.iterdir()} - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {*TASKS.iterdir()} <= before
