"""A store that is waited for no longer than there is time, and gives late what came late."""

import time
from threading import Event

import pytest

from openflock.edge.blobs import DirectoryStore
from openflock.node import timely
from openflock.node.duties import Pace, Stopped
from openflock.node.timely import Timely
from openflock.protocol.ports import BlobMissing, Unreachable
from openflock.update.codec import digest


class Dripping(DirectoryStore):
    """A store that gives nothing before it may."""

    def __init__(self, directory):
        super().__init__(directory)
        self.may, self.asked = Event(), 0

    def fetch(self, digest, max_size):
        self.asked += 1
        assert self.may.wait(10)
        return super().fetch(digest, max_size)


@pytest.fixture(autouse=True)
def no_grace(monkeypatch):
    monkeypatch.setattr(timely, "GRACE", 0.0)
    monkeypatch.setattr(timely, "LOOK", 0.01)


@pytest.fixture
def slow(tmp_path):
    store = Dripping(tmp_path)
    yield store
    store.may.set()


def test_what_is_put_is_fetched(slow):
    slow.may.set()
    store = Timely(slow, Pace(Event()))
    assert bytes(store.fetch(store.put(b"some bytes"), 10)) == b"some bytes"
    assert bytes(store.fetch(store.put_stream([b"more", b"bytes"]), 10)) == b"morebytes"


def test_what_trickles_in_is_waited_for_until_time_is_up_and_is_there_for_the_next_who_asks(slow):
    store, wanted = Timely(slow, Pace(Event(), patience=0)), slow.put(b"some bytes")
    for _ in range(3):
        with pytest.raises(Unreachable, match="still on its way"):
            store.fetch(wanted, 10)
    assert slow.asked == 1
    slow.may.set()
    store.pace.patience = time.monotonic() + 10
    assert bytes(store.fetch(wanted, 10)) == b"some bytes"


def test_what_is_nowhere_is_said_to_be(slow):
    slow.may.set()
    store = Timely(slow, Pace(Event()))
    for _ in range(2):
        with pytest.raises(BlobMissing):
            store.fetch(digest(b"nowhere"), 10)


def test_who_is_to_stop_does_not_wait(slow):
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        Timely(slow, Pace(stop)).fetch(slow.put(b"some bytes"), 10)
