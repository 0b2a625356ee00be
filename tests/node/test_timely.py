"""A store that is waited for no longer than there is time, and gives late what came late."""

import time
from contextlib import suppress
from threading import Event

import pytest

from openflock.edge.blobs import DirectoryStore
from openflock.node import timely
from openflock.node.pace import Pace, Stopped
from openflock.node.timely import Timely
from openflock.protocol.ports import BlobMissing, Unreachable
from openflock.update.codec import digest


class Dripping(DirectoryStore):
    """A store that gives nothing before it may."""

    def __init__(self, directory):
        super().__init__(directory)
        self.may, self.asked = Event(), []

    def fetch(self, digest, max_size):
        self.asked.append(digest)
        assert self.may.wait(60)
        return super().fetch(digest, max_size)


@pytest.fixture(autouse=True)
def little_grace(monkeypatch):
    monkeypatch.setattr(timely, "GRACE", 0.05)
    monkeypatch.setattr(timely, "LOOK", 0.01)


@pytest.fixture
def slow(tmp_path):
    store = Dripping(tmp_path)
    yield store
    store.may.set()


def hurried(store):
    return Timely(store, Pace(Event(), patience=0))


def test_what_is_put_is_fetched(slow):
    slow.may.set()
    store = Timely(slow, Pace(Event()))
    assert bytes(store.fetch(store.put(b"some bytes"), 10)) == b"some bytes"
    assert bytes(store.fetch(store.put_stream([b"more", b"bytes"]), 10)) == b"morebytes"


def test_what_trickles_in_is_waited_for_until_time_is_up_and_is_there_for_the_next_who_asks(slow):
    store, wanted = hurried(slow), slow.put(b"some bytes")
    for _ in range(3):
        with pytest.raises(Unreachable, match="still on its way"):
            store.fetch(wanted, 10)
    slow.may.set()
    store.pace.patience = time.monotonic() + 60
    assert bytes(store.fetch(wanted, 10)) == b"some bytes"
    assert len(slow.asked) == 1


def test_what_was_expected_long_ago_has_had_its_grace(slow, monkeypatch):
    """However many trickle, they take no more time than one."""
    monkeypatch.setattr(timely, "GRACE", 1e9)
    store, wanted = hurried(slow), [(slow.put(bytes([number])), 1) for number in range(16)]
    store.expect(wanted)
    monkeypatch.setattr(timely, "GRACE", 0.0)
    for each in wanted:
        with pytest.raises(Unreachable):
            store.fetch(*each)
    slow.may.set()
    store.pace.patience = time.monotonic() + 60
    assert [bytes(store.fetch(*each)) for each in wanted] == [bytes([number]) for number in range(16)]
    assert len(slow.asked) == 16


def test_what_is_expected_is_fetched_at_once_and_no_second_time(slow):
    wanted = [(slow.put(b"one"), 3), (slow.put(b"two"), 3)]
    store = Timely(slow, Pace(Event()))
    store.expect(wanted)
    store.expect(wanted)
    slow.may.set()
    assert [bytes(store.fetch(*each)) for each in wanted] == [b"one", b"two"]
    assert sorted(slow.asked) == sorted(each for each, _ in wanted)


def test_what_came_and_is_expected_no_more_is_dropped(slow):
    slow.may.set()
    store = Timely(slow, Pace(Event()))
    wanted = slow.put(b"one"), 3
    store.expect([wanted])
    assert store._fetches[wanted][0].result() == b"one"
    store.expect([])
    assert store._fetches == {}


def test_what_is_nowhere_is_said_to_be_and_asked_for_again(slow):
    slow.may.set()
    store = Timely(slow, Pace(Event()))
    for _ in range(2):
        with pytest.raises(BlobMissing):
            store.fetch(digest(b"nowhere"), 10)
    assert len(slow.asked) == 2


def test_what_failed_while_it_was_only_expected_is_fetched_again(slow):
    store, wanted = Timely(slow, Pace(Event())), (digest(b"late"), 4)
    slow.may.set()
    store.expect([wanted])
    with suppress(BlobMissing):
        store._fetches[wanted][0].result(60)
    slow.put(b"late")
    store.expect([wanted])
    assert bytes(store.fetch(*wanted)) == b"late"


def test_a_library_s_own_failure_costs_one_try(slow, monkeypatch):
    store, wanted = Timely(slow, Pace(Event())), (slow.put(b"some bytes"), 10)
    monkeypatch.setattr(Dripping, "fetch", lambda *_: {}["key"])
    with pytest.raises(Unreachable, match="KeyError"):
        store.fetch(*wanted)
    monkeypatch.undo()
    slow.may.set()
    assert bytes(store.fetch(*wanted)) == b"some bytes"


def test_what_is_put_here_is_waited_for_from_elsewhere_no_longer(slow):
    store, wanted = hurried(slow), (digest(b"some bytes"), 10)
    with pytest.raises(Unreachable):
        store.fetch(*wanted)
    store.put(b"some bytes")
    slow.may.set()
    store.pace.patience = time.monotonic() + 60
    assert bytes(store.fetch(*wanted)) == b"some bytes"
    assert len(slow.asked) == 2


def test_who_is_to_stop_does_not_wait(slow):
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        Timely(slow, Pace(stop)).fetch(slow.put(b"some bytes"), 10)
