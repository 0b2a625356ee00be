from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.update.aggregate import MAX_UPDATES, WEIGHT_BITS, compute_candidate, reduce_weights
from openflock.update.codec import Rows, Update, encode_state, expand
from openflock.update.fixed import LIMIT, GlobalState, initial_state

from .examples import LARGEST_DELTA, PARENT, SMALL, make_update, states_with_updates

STATE = initial_state(SMALL, b"seed")
stakes = st.one_of(st.integers(1, 10), st.integers(1, 10**30))


def merge_by_hand(old, weights, deltas):
    """Merge single numbers with fractions."""
    mean = Fraction(sum(w * d for w, d in zip(weights, deltas, strict=True)), sum(weights))
    return max(-LIMIT, min(LIMIT, old + round(mean)))


@given(states_with_updates(), st.data())
@settings(deadline=None)
def test_candidate_agrees_with_fractions(case, data):
    state, updates = case
    weights = data.draw(st.lists(stakes, min_size=len(updates), max_size=len(updates)))
    candidate = compute_candidate(state, list(zip(weights, updates, strict=True)))
    factor = updates[0].factor
    frozen = "A" if factor == "B" else "B"
    assert candidate.step == state.step + 1
    assert candidate.get_factor(frozen) is state.get_factor(frozen)
    for name, old in state.get_factor(factor).items():
        deltas = [expand(update.rows[name]) for update in updates]
        for i in np.ndindex(old.shape):
            expected = merge_by_hand(int(old[i]), reduce_weights(weights), [int(d[i]) for d in deltas])
            assert candidate.get_factor(factor)[name][i] == expected


@given(states_with_updates(), st.data())
@settings(deadline=None)
def test_order_does_not_count(case, data):
    state, updates = case
    weighted = [(data.draw(stakes), update) for update in updates]
    shuffled = data.draw(st.permutations(weighted))
    one, other = compute_candidate(state, weighted), compute_candidate(state, shuffled)
    assert encode_state(one) == encode_state(other)


def test_ties_of_the_mean_go_to_even():
    for deltas, mean in [((0, 1), 0), ((1, 2), 2), ((-1, 0), 0), ((-1, -2), -2), ((0, 0, 1), 0), ((0, 1, 1), 1)]:
        updates = [(1, make_update(SMALL, "B", delta)) for delta in deltas]
        assert (compute_candidate(STATE, updates).B["a.k"] == mean).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_state_saturates(sign):
    edge = {name: array * 0 + sign * (LIMIT - 1) for name, array in STATE.B.items()}
    state = GlobalState(SMALL, 0, STATE.A, edge)
    for delta in (1, 2, LARGEST_DELTA):
        assert (compute_candidate(state, [(1, make_update(SMALL, "B", sign * delta))]).B["a.q"] == sign * LIMIT).all()


def test_the_largest_sum_does_not_overflow():
    # 1000 seats of the greatest weight and the greatest delta, with dust that lifts the sum past 2**30.
    updates = [(2**100 + i, make_update(SMALL, "B", LARGEST_DELTA)) for i in range(1000)]
    updates += [(1, make_update(SMALL, "B", LARGEST_DELTA))] * 1000
    assert (compute_candidate(STATE, updates).B["a.k"] == LARGEST_DELTA).all()


def test_weights_weigh():
    updates = [(3 * 10**30, make_update(SMALL, "B", 400)), (10**30, make_update(SMALL, "B", 0))]
    assert (compute_candidate(STATE, updates).B["a.k"] == 300).all()


@given(st.lists(stakes, min_size=1, max_size=50))
@settings(deadline=None)
def test_reduced_weights_are_close_and_bounded(weights):
    reduced = reduce_weights(weights)
    assert min(reduced) >= 1
    assert sum(reduced) <= 2**WEIGHT_BITS + len(weights)
    for weight, small in zip(weights, reduced, strict=True):
        share, exact = Fraction(small, sum(reduced)), Fraction(weight, sum(weights))
        assert abs(share - exact) <= Fraction(2 * len(weights), 2 ** (WEIGHT_BITS - 1))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=50), st.integers(1, 10**30))
@settings(deadline=None)
def test_a_common_unit_does_not_count(weights, unit):
    assert reduce_weights([weight * unit for weight in weights]) == reduce_weights(weights)


def test_the_greatest_sum_of_reduced_weights():
    assert sum(reduce_weights([2**200] + [1] * (MAX_UPDATES - 1))) < 2**31


@pytest.mark.parametrize(("weights", "reason"), [([], "0 updates"), ([0], "positive"), ([2, -1], "positive")])
def test_reduce_weights_refuses(weights, reason):
    with pytest.raises(ValueError, match=reason):
        reduce_weights(weights)


def test_candidate_refuses_what_admission_should_have_refused():
    with pytest.raises(ValueError, match="0 updates"):
        compute_candidate(STATE, [])
    with pytest.raises(ValueError, match="factor A, where B"):
        compute_candidate(STATE, [(1, make_update(SMALL, "A", 1))])
    good = make_update(SMALL, "B", 127).rows
    huge = {name: Rows(q, np.full_like(exponent, 62)) for name, (q, exponent) in good.items()}
    with pytest.raises(ValueError, match="exponent 62"):
        compute_candidate(STATE, [(1, Update(PARENT, "B", huge))])


def test_many_updates_in_any_order():
    shuffle = Random(0)
    updates = [(shuffle.randrange(1, 10**24), make_update(SMALL, "B", shuffle.randrange(-(10**6), 10**6)))]
    updates += [(10**20 + i, make_update(SMALL, "B", i**3)) for i in range(60)]
    blobs = set()
    for _ in range(5):
        shuffle.shuffle(updates)
        blobs.add(encode_state(compute_candidate(STATE, updates)))
    assert len(blobs) == 1
