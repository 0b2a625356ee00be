"""Fear: an update whose bytes trickle in holds the voters until their phase is over, and costs them their ballots."""

from dataclasses import replace
from threading import Event

import pytest

from openflock.edge.blobs import DirectoryStore
from openflock.node import timely
from openflock.node.duties import Pace
from openflock.node.reader import Reader
from openflock.node.timely import Timely
from openflock.protocol.ports import Unreachable
from openflock.protocol.round import create_state
from openflock.protocol.types import NO_FLAGS, Flag, Phase, Proposal, Round, Seat
from openflock.update.fixed import initial_state

from ..node.helpers import SEED, get_model, make_camp


class Trickling(DirectoryStore):
    """A store in which one blob never ends."""

    ended = Event()
    endless = b""

    def fetch(self, digest, max_size):
        if digest == self.endless:
            self.ended.wait(60)
        return super().fetch(digest, max_size)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(timely, "GRACE", 1.0)
    yield Trickling(tmp_path / "blobs")
    Trickling.ended.set()


def test_it_is_called_unavailable_in_time_and_the_others_are_judged(tmp_path, store):
    camp = make_camp(tmp_path)
    node, other = camp.pitch("voter", 0), camp.pitch("rival", 1)
    me, state = node.identity.address, initial_state(get_model().layout, SEED)
    current = Round(1, proposers=(Seat("0x" + "8" * 40, 1), Seat(other.identity.address, 1)), voters=(Seat(me, 1),))
    for slot in range(2):
        blob = other.proposer.make_update(get_model(), state, 1 << 20, slot)
        current.proposals[slot] = Proposal(store.put(blob), len(blob))
    store.endless = current.proposals[0].digest
    node.reader = Reader(Timely(store, Pace(Event(), patience=0)))
    with pytest.raises(Unreachable, match="still on its way"):
        node.fetch_ahead(replace(create_state(camp.genesis), phase=Phase.PUBLISH, round=current))
    asked = (get_model(), node.reader, camp.rules, current, camp.rules.genesis, me)
    assert [mark.flags for mark in node.voter.mark_proposals(*asked)] == [Flag.UNAVAILABLE, NO_FLAGS]
