from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.types import Judgement, Proposal, Round, Seat, Verdict
from openflock.update.admission import Inadmissible
from openflock.update.aggregate import compute_candidate
from openflock.update.codec import decode_state, digest, encode_state, encode_update, quantize
from openflock.update.fixed import initial_state
from openflock.update.merge import compute_merge, list_accepted

from ..protocol.helpers import make_rules
from .examples import SMALL

STATE = initial_state(SMALL, b"merge")
HERE = digest(encode_state(STATE))
RULES = make_rules(norm_ceiling=2**40)
GOOD, BAD = Verdict.PAID, Verdict.HARMFUL


def make_update(seed):
    chance = np.random.default_rng(seed)
    shapes = SMALL.compute_shapes("B")
    return quantize(SMALL, HERE, "B", {n: chance.integers(-(2**20), 2**20, shape) for n, shape in shapes.items()})


def merge(seeds, verdicts=None, weights=None, shuffle=0, rules=RULES, slots=None):
    """Merge updates drawn from seeds, one a slot (None: nothing published)."""
    blobs = {slot: encode_update(SMALL, make_update(seed)) for slot, seed in enumerate(seeds) if seed is not None}
    proposals = {slot: Proposal(digest(blob), len(blob)) for slot, blob in blobs.items()}
    weights = weights or [1] * len(seeds)
    seats = tuple(Seat(f"0x{slot:040x}", weight) for slot, weight in enumerate(weights))
    given = verdicts or [GOOD if seed is not None else Verdict.NONE for seed in seeds]
    current = Round(1, proposers=seats, proposals=proposals, judgements=tuple(map(Judgement, given)))
    found = {digest(blob): blob for blob in blobs.values()}
    return compute_merge(rules, current, STATE, lambda proposal: found[proposal.digest], shuffle)


def read_word(word, slots):
    return [word >> 4 * slot & 15 for slot in range(slots)]


def test_the_candidate_is_the_weighted_mean_of_what_was_accepted():
    merged = merge([1, 2, 3], [GOOD, BAD, Verdict.UNPAID], [5, 9, 7])
    wanted = compute_candidate(STATE, [(5, make_update(1)), (7, make_update(3))])
    assert merged.candidate == encode_state(wanted)
    assert decode_state(merged.candidate).step == 1


def test_only_paid_and_unpaid_are_accepted():
    judgements = tuple(map(Judgement, Verdict))
    assert list_accepted(Round(1, judgements=judgements)) == [int(Verdict.PAID), int(Verdict.UNPAID)]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2**32), st.data())
def test_no_order_of_summation_changes_a_bit(seeds, shuffle, data):
    weights = data.draw(st.lists(st.integers(1, 2**88), min_size=len(seeds), max_size=len(seeds)))
    assert merge(seeds, weights=weights, shuffle=shuffle) == merge(seeds, weights=weights)


def test_no_order_of_slots_changes_the_candidate():
    candidates = {merge(seeds).candidate for seeds in permutations([1, 2, 3])}
    assert len(candidates) == 1


def test_the_word_names_each_slots_first_near_duplicate():
    merged = merge([4, 1, 4, 1, 2, None, 4])
    assert read_word(merged.duplicates, 7) == [0, 1, 0, 1, 4, 5, 0]


def test_what_was_rejected_is_nobodys_original():
    merged = merge([4, 4, 4], [BAD, GOOD, GOOD])
    assert read_word(merged.duplicates, 3) == [0, 1, 1]


def test_sixteen_slots_fit_the_word():
    merged = merge([*range(15), 0])
    assert read_word(merged.duplicates, 16) == [*range(15), 0]
    assert merged.duplicates < 2**64


def test_shuffling_names_the_same_duplicates():
    assert {merge([4, 1, 4, 1], shuffle=shuffle).duplicates for shuffle in range(20)} == {0x1010}


def test_what_a_false_majority_accepted_is_not_merged():
    with pytest.raises(Inadmissible, match="norm"):
        merge([1], rules=make_rules(norm_ceiling=1))
