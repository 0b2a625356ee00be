"""What a voter makes of the rows that the creator opened, and what it says where there are none."""

from dataclasses import replace

import numpy as np
import pytest

from openflock.learn.sealed import encode_sealed
from openflock.node.examiner import Examiner, grade
from openflock.node.proposer import Proposer
from openflock.node.unsealer import Unsealer
from openflock.protocol.ports import BlobMissing
from openflock.protocol.round import create_state
from openflock.protocol.types import Phase, Proposal, Round, Seat
from openflock.update.codec import digest, encode_update, make_update
from openflock.update.fixed import initial_state

from .helpers import JUDGING, SEED, SHORT, get_model, get_rows, make_camp

ME, HELPFUL, RUINOUS, SILENT = (f"0x{role:040x}" for role in range(4))
SEALED = encode_sealed([get_rows(domain, 30, 16) for domain in range(2)], b"nonce")


def test_losses_that_are_no_numbers_are_no_score():
    assert grade([float("nan"), 1.0], [1.0, 1.0], [1.0, 1.0], 1, 500) is None
    assert grade([1.0, 1.0], [float("inf"), 1.0], [1.0, 1.0], 1, 500) == -2047


@pytest.fixture(scope="module")
def camp(tmp_path_factory):
    return make_camp(tmp_path_factory.mktemp("camp"))


@pytest.fixture(scope="module")
def current(camp):
    """A round with a good update, a ruinous one, one that nobody can fetch, and one's own."""
    state = initial_state(get_model().layout, SEED)
    proposer = Proposer(get_rows(1, 0, 64), replace(SHORT, steps=12, batch_size=8))
    good = proposer.make_update(get_model(), state, 1 << 20, 1)
    noise = np.random.default_rng(1).integers(-(1 << 19), 1 << 19, state.layout.compute_size("B"))
    bad = encode_update(make_update(state, {"B": noise}))
    found = Round(1, proposers=tuple(Seat(node, 1) for node in (ME, HELPFUL, RUINOUS, SILENT)))
    for slot, blob in ((0, good), (1, good), (2, bad)):
        found.proposals[slot] = Proposal(camp.reader.store.put(blob), len(blob), domain=1)
    found.proposals[3] = Proposal(digest(b"nowhere"), 7, domain=1)
    return found


def examine(camp, current, *digests):
    examiner = Examiner(digests, JUDGING)
    return examiner.score_proposals(get_model(), camp.reader, camp.rules, current, camp.rules.genesis, ME)


def test_updates_are_scored_but_ones_own_and_what_cannot_be_fetched(camp, current):
    own, good, bad, missing = examine(camp, current, camp.reader.store.put(SEALED))
    assert own is missing is None
    assert good > 0 > bad


@pytest.mark.parametrize("blob", [None, b"no rows", encode_sealed([get_rows(0)], b"one domain of two")])
def test_without_rows_that_can_be_used_there_are_no_scores(camp, current, blob):
    named = digest(b"never opened") if blob is None else camp.reader.store.put(blob)
    assert examine(camp, current, named) == [None] * 4


def test_rows_that_the_template_refuses_keep_nobody_from_its_ballot(camp, current, monkeypatch):
    monkeypatch.setattr(get_model().tokenizer, "chat_template", "{{ raise_exception('roles must alternate') }}")
    fresh = encode_sealed([get_rows(domain, 31) for domain in range(2)], b"tokens are remembered, so other rows")
    assert examine(camp, current, camp.reader.store.put(fresh)) == [None] * 4


def test_a_round_beyond_those_that_were_sealed_has_no_rows(camp, current):
    assert examine(camp, current) == [None] * 4


# --- Who opens them ------------------------------------------------------------------------------------------


def test_rows_are_opened_once_the_updates_are_and_not_before(camp, tmp_path):
    other = make_camp(tmp_path)
    named = other.reader.store.put(SEALED)  # the chest; the store that all look into is another
    unsealer = Unsealer([named], other.reader.store, camp.reader.store)
    fresh = Examiner([named], JUDGING)
    state = create_state(camp.genesis)
    camp.reader.store.locate(named).unlink(missing_ok=True)
    for phase in Phase:
        state.phase = phase
        unsealer(state, 0)
        opened = phase >= Phase.PROBE
        if opened:
            assert fresh.fetch_rows(camp.reader, camp.rules, 1)
        else:
            with pytest.raises(BlobMissing):
                fresh.fetch_rows(camp.reader, camp.rules, 1)
    assert unsealer.opened == 1


def test_rounds_that_were_not_sealed_have_nothing_to_open(camp):
    unsealer = Unsealer([], camp.reader.store, camp.reader.store)
    state = create_state(camp.genesis)
    state.phase = Phase.VOTE
    unsealer(state, 0)
    assert unsealer.opened == 0
