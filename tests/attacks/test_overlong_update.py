"""Fear: who sends the same work at twice its length is paid nearly twice for what the merge cuts off again."""

from dataclasses import replace

import numpy as np
import pytest

from openflock.learn.sealed import encode_sealed
from openflock.node.case import Case
from openflock.node.examiner import Examiner
from openflock.node.proposer import Proposer
from openflock.node.voter import Voter
from openflock.protocol.recipe import Recipe
from openflock.protocol.types import Proposal, Round, Seat
from openflock.update.codec import decode_update, encode_update, make_update, stream_state
from openflock.update.fixed import initial_state

from ..node.helpers import JUDGING, SEED, SHORT, get_model, get_rows, make_camp

ME, *OTHERS = (f"0x{digit * 40}" for digit in "1234")
SUBJECT = 3


@pytest.fixture(scope="module")
def camp(tmp_path_factory):
    return make_camp(tmp_path_factory.mktemp("camp"))


@pytest.fixture(scope="module")
def learnt():
    """A part of what some steps change, so small that twice of it does about twice as much."""
    state = initial_state(get_model().layout, SEED)
    proposer = Proposer(get_rows(1, 0, 64), replace(SHORT, steps=12, batch_size=8))
    blob = proposer.make_update(get_model(), state, 1 << 20, 1)
    return decode_update(state, blob).read("B", 0, state.layout.compute_size("B")).astype(np.int64) // 8


def judge(camp, learnt, times, clip=1000):
    """How own and sealed rows score the work at some times its length, beside two of the usual one."""
    state = replace(initial_state(get_model().layout, SEED), recipe=Recipe(clip=clip))
    base = camp.reader.put_state(stream_state(state))
    current = Round(1, proposers=tuple(Seat(node, 1) for node in (ME, *OTHERS)))
    for slot, factor in enumerate((1, 1, times), 1):
        blob = encode_update(make_update(state, {"B": (learnt * factor).astype(np.int64)}))
        current.proposals[slot] = Proposal(camp.reader.store.put(blob), len(blob), domain=1)
    sealed = camp.reader.store.put(encode_sealed([get_rows(domain, 30) for domain in range(2)], b"sealed"))
    case = Case(get_model(), camp.reader, camp.rules, current, base, ME)
    own = Voter(get_rows(1, 3, 32), JUDGING).mark_proposals(case)[SUBJECT].score
    return own, Examiner([sealed], JUDGING).score_proposals(case)[SUBJECT]


def test_where_nothing_is_clipped_length_is_paid_for_and_merged(camp, learnt):
    for once, twice in zip(judge(camp, learnt, 1, clip=0), judge(camp, learnt, 2, clip=0), strict=True):
        assert twice > 1.5 * once > 0


def test_what_the_merge_cuts_off_is_not_paid_for(camp, learnt):
    for once, twice in zip(judge(camp, learnt, 1), judge(camp, learnt, 2), strict=True):
        assert 0.8 * once < twice <= 1.02 * once


def test_what_is_not_longer_than_the_others_is_paid_in_full(camp, learnt):
    assert judge(camp, learnt, 1) == judge(camp, learnt, 1, clip=0)
    assert judge(camp, learnt, 0.5) == judge(camp, learnt, 0.5, clip=0)


def test_harm_is_seen_at_its_whole_length(camp, learnt):
    harm = judge(camp, learnt, -2)
    assert harm == judge(camp, learnt, -2, clip=0)
    assert max(harm) < 0
