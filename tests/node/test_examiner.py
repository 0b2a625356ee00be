"""What a voter makes of the rows that the creator opened, and what it says where there are none."""

import math
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from openflock.learn.evaluate import list_losses
from openflock.learn.sealed import decode_sealed, encode_sealed
from openflock.node.case import Case
from openflock.node.examiner import Examiner, grade
from openflock.node.pace import TooLate
from openflock.node.proposer import Proposer
from openflock.node.shares import find_share
from openflock.node.unsealer import Unsealer
from openflock.node.watch import EXAMINATION
from openflock.protocol.ports import BlobMissing
from openflock.protocol.round import create_state
from openflock.protocol.types import Phase, Proposal, Round, Seat
from openflock.update.aggregate import compute_share
from openflock.update.codec import decode_update, digest, encode_update, make_update
from openflock.update.fixed import initial_state

from .helpers import JUDGING, SEED, SHORT, get_model, get_rows, make_camp

ME, HELPFUL, RUINOUS, SILENT = (f"0x{role:040x}" for role in range(4))
SEALED = encode_sealed([get_rows(domain, 30, 16) for domain in range(2)], b"nonce")


BARE = [[1.0] * 4, [1.0] * 4]


def test_losses_that_are_no_numbers_are_no_score(camp):
    assert grade([[math.nan], [1.0]], [[1.0], [1.0]], [[1.0], [1.0]], 1, camp.rules) is None
    for domain in range(2):  # in the own domain, or in another
        assert grade([[1.0, 1.0]] * 2, [[math.inf, 1.0], [1.0, 1.0]], [[1.0, 1.0]] * 2, domain, camp.rules) == -2047


def test_a_loss_that_is_infinite_is_the_largest_harm_where_that_is_tolerated_too(camp):
    rules = replace(camp.rules, tolerance=2047)
    assert grade([[1.0, 1.0]] * 2, [[math.inf, 1.0], [1.0, 1.0]], [[1.0, 1.0]] * 2, 0, rules) == -2047


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([0.9] * 4, 1000),  # a gain
        ([1.0] * 4, 0),  # nothing changed, which is certain
        ([0.99999, 1.00001, 0.9999, 1.0], 0),  # nearly nothing: no row leaves room for the least benefit
        ([1.01] * 4, -100),  # a loss that all rows show
        ([1.1, 0.92, 1.1, 0.9], 5),  # one that they cannot tell from a gain: the least that counts
        ([1.1, 0.95, 1.1, 0.95], -250),  # one of .58 standard errors
        ([1.02, 0.96, 1.03, 0.9899], 5),  # next to no gain, but it may be larger
        ([0.8, 1.1, 0.9, 1.1], 250),  # a gain that they cannot tell from a loss is a gain
        ([2.2, 2.2, 0.0, 0.0], -1000),  # beyond the tolerance it is harm, however rows differ
    ],
)
def test_what_rows_cannot_tell_from_a_gain_counts_as_the_least(camp, after, expected):
    rules = replace(camp.rules, min_benefit=5, full_benefit=500, tolerance=500)
    assert grade(BARE, [after, BARE[1]], BARE, 0, rules) == expected


def test_a_single_row_says_what_it_says(camp):
    rules = replace(camp.rules, min_benefit=5, full_benefit=500, tolerance=500)
    assert grade([[1.0], [1.0]], [[1.01], [1.0]], [[1.0], [1.0]], 0, rules) == -100


def test_harm_to_another_domain_counts_if_it_is_more_than_the_own_gain(camp):
    rules = replace(camp.rules, tolerance=500)
    assert grade(BARE, [[0.92] * 4, [1.06] * 4], BARE, 0, rules) == 800
    assert grade(BARE, [[0.95] * 4, [1.06] * 4], BARE, 0, rules) == -600


@pytest.fixture(scope="module")
def camp(tmp_path_factory):
    return make_camp(tmp_path_factory.mktemp("camp"))


@pytest.fixture(scope="module")
def current(camp):
    """A round with a good update, a ruinous one, one that nobody can fetch, and one's own."""
    state = initial_state(get_model().layout, SEED)
    proposer = Proposer(get_rows(1, 0, 64), replace(SHORT, steps=12, batch_size=8))
    good = proposer.make_update(get_model(), state, 1 << 20, 1)
    learnt = decode_update(state, good).read("B", 0, state.layout.compute_size("B"))
    bad = encode_update(make_update(state, {"B": -learnt.astype(np.int32)}))
    found = Round(1, proposers=tuple(Seat(node, 1) for node in (ME, HELPFUL, RUINOUS, SILENT)))
    for slot, blob in ((0, good), (1, good), (2, bad)):
        found.proposals[slot] = Proposal(camp.reader.store.put(blob), len(blob), domain=1)
    found.proposals[3] = Proposal(digest(b"nowhere"), 7, domain=1)
    return found


def examine(camp, current, *digests):
    examiner = Examiner(digests, JUDGING)
    return examiner.score_proposals(Case(get_model(), camp.reader, camp.rules, current, camp.rules.genesis, ME))


def test_updates_are_scored_but_ones_own_and_what_cannot_be_fetched(camp, current):
    own, good, bad, missing = examine(camp, current, camp.reader.store.put(SEALED))
    assert own is missing is None
    assert good > 0 > bad


def test_before_and_after_are_of_the_same_rows(camp, current):
    """All of the proposer's domain, every other one of the rest."""
    model, state = get_model(), camp.reader.fetch_state(camp.rules.genesis)
    rows = decode_sealed(SEALED, 2)
    update = camp.reader.admit(state, current.proposals[1], camp.rules.norm_ceiling)
    states = (state, compute_share(state, update, find_share(state.recipe, current, 1)))
    losses = []
    for each in states:
        model.load_state(each)
        losses.append([list_losses(model, group, JUDGING) for group in (rows[0][::2], rows[1])])
    model.clear()
    bare = [list_losses(model, group, JUDGING) for group in (rows[0][::2], rows[1])]
    scored = examine(camp, current, camp.reader.store.put(SEALED))[1]
    assert scored == pytest.approx(grade(*losses, bare, 1, camp.rules), abs=1)


@pytest.mark.parametrize("blob", [None, b"no rows", encode_sealed([get_rows(0)], b"one domain of two")])
def test_without_rows_that_can_be_used_there_are_no_scores(camp, current, blob):
    named = digest(b"never opened") if blob is None else camp.reader.store.put(blob)
    assert examine(camp, current, named) == [None] * 4


def test_rows_that_the_template_refuses_keep_nobody_from_its_ballot(camp, current, monkeypatch):
    monkeypatch.setattr(get_model().tokenizer, "chat_template", "{{ raise_exception('roles must alternate') }}")
    fresh = encode_sealed([get_rows(domain, 31) for domain in range(2)], b"tokens are remembered, so other rows")
    assert examine(camp, current, camp.reader.store.put(fresh)) == [None] * 4


def test_more_rows_than_there_is_time_for_keep_nobody_from_its_ballot(camp, current):
    work = []

    @contextmanager
    def watch(activity):
        work.append(activity)
        if work.count("evaluation") > 6:  # what was before, by domain with and without a state, and one update
            raise TooLate
        yield

    examiner = Examiner([camp.reader.store.put(SEALED)], JUDGING, watch=watch)
    case = Case(get_model(), camp.reader, camp.rules, current, camp.rules.genesis, ME)
    assert examiner.score_proposals(case) == [None, examine(camp, current, *examiner.digests)[1], None, None]
    assert work[0] == EXAMINATION


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
