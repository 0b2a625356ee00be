"""Fear: updates whose bytes trickle in hold the voters until their phase is over, and cost them their ballots."""

from dataclasses import replace
from threading import Event

import pytest

from openflock.edge.blobs import DirectoryStore
from openflock.node.case import Case
from openflock.node.duties import Player
from openflock.node.pace import WORK, Pace
from openflock.node.reader import Reader
from openflock.node.timely import Timely
from openflock.protocol.ports import Unreachable
from openflock.protocol.round import create_state
from openflock.protocol.rules import compute_phase_times
from openflock.protocol.types import NO_FLAGS, Flag, Phase, Proposal, Round, Seat
from openflock.update.fixed import initial_state

from ..node.helpers import SEED, get_model, make_camp

ENDLESS, GOOD = range(3), 3


class Trickling(DirectoryStore):
    """A store in which some blobs never end; it tells when the good one came while all of them hung."""

    def __init__(self, directory):
        super().__init__(directory)
        self.endless, self.hanging, self.ended, self.came = set(), set(), Event(), Event()

    def fetch(self, digest, max_size):
        if digest in self.endless:
            self.hanging.add(digest)
            self.ended.wait(600)
        found = super().fetch(digest, max_size)
        if self.hanging == self.endless:
            self.came.set()
        return found


@pytest.fixture
def store(tmp_path):
    store = Trickling(tmp_path / "blobs")
    yield store
    store.ended.set()


def test_they_are_called_unavailable_in_time_and_the_others_are_judged(tmp_path, store):
    camp = make_camp(tmp_path)
    node, other = camp.pitch("voter", 0), camp.pitch("rival", 1)
    me, state = node.identity.address, initial_state(get_model().layout, SEED)
    seats = tuple(Seat(f"0x{slot + 8:040x}", 1) for slot in (*ENDLESS, GOOD))
    current = Round(1, proposers=seats, voters=(Seat(me, 1),))
    for slot in (*ENDLESS, GOOD):
        blob = other.proposer.make_update(get_model(), state, 1 << 20, slot)
        current.proposals[slot] = Proposal(store.put(blob), len(blob))
    store.endless = {current.proposals[slot].digest for slot in ENDLESS}
    pace = Pace(Event())
    timely = Timely(store, pace)
    node.reader = Reader(timely)
    state = replace(create_state(camp.genesis), phase=Phase.PUBLISH, round=current, deadline=10**6)
    assert Player(node, list, pace, timely.expect)(state, 0) is None  # what trickles is no failure yet
    assert store.came.wait(60)
    third = compute_phase_times(camp.rules)[Phase.VOTE] // WORK
    state = replace(state, phase=Phase.VOTE, deadline=third + 2)
    with pytest.raises(Unreachable, match="still on its way"):  # while there is time it is asked for again
        Player(node, list, pace, timely.expect)(state, 0)
    pace.hurry()
    node.voter.watch = refuse_work  # the good one was judged before the others were waited for
    case = Case(get_model(), node.reader, camp.rules, current, camp.rules.genesis, me)
    assert [mark.flags for mark in node.voter.mark_proposals(case)] == [Flag.UNAVAILABLE] * 3 + [NO_FLAGS]


def refuse_work(activity):
    raise AssertionError(f"{activity} was left for the time in which nothing is waited for any more")
