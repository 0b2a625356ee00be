import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.attacks.adaptive import MIN_TRIES, search
from openflock.arena.attacks.deltas import compute_length, measure_effect, measure_median
from openflock.arena.attacks.targeted import constrain_and_scale
from openflock.node.proposer import hold
from openflock.update.admission import Inadmissible, check_admission, compute_squared_size
from openflock.update.codec import encode_update, make_update

from .helpers import STATE, make_delta, make_honest

limits = st.floats(0.01, 100)


def pair(scale, stealth):
    return scale, stealth


def make_threshold(limit):
    """Stealth lets a larger scale pass, and takes strength."""

    def evaluate(candidate):
        scale, stealth = candidate
        return scale <= limit * (1 + stealth), scale * (1 - stealth / 2)

    return evaluate


@given(limits, st.integers(20, 60), st.integers(0, 9))
def test_it_tries_as_often_as_it_may_and_gives_the_strongest_that_passed(limit, tries, seed):
    found = search(make_threshold(limit), pair, seed, tries=tries)
    assert len(found.trace) == tries
    passed = [done for done in found.trace if done.passes]
    assert found.best == max(passed, key=lambda done: done.strength, default=None)
    assert found.candidate == (found.best and (found.best.scale, found.best.stealth))


@given(st.floats(0.2, 5), st.integers(0, 9))
def test_it_comes_close_to_the_threshold(limit, seed):
    found = search(make_threshold(limit), pair, seed, stealths=(0.0, 0.5))
    strongest = limit * 1.5 * 0.75  # at the most stealth that may be had
    assert 0.97 * strongest <= found.best.strength <= 1.01 * strongest


@given(limits, st.integers(0, 9))
def test_the_same_arguments_give_the_same_search_and_all_stays_in_bounds(limit, seed):
    one, same = (search(make_threshold(limit), pair, seed) for _ in range(2))
    assert one == same
    assert all(0.1 <= done.scale <= 10 and 0 <= done.stealth <= 0.9 for done in one.trace)


def test_another_seed_searches_elsewhere():
    assert search(make_threshold(1.0), pair, 1).trace != search(make_threshold(1.0), pair, 2).trace


def test_where_nothing_passes_nothing_is_found_and_all_was_tried():
    found = search(lambda candidate: (False, 1.0), pair, 1)
    assert found.candidate is None
    assert found.best is None
    assert len(found.trace) == 40
    assert len({done.scale for done in found.trace}) > 15


def test_where_all_pass_the_largest_scale_is_tried():
    found = search(lambda candidate: (True, candidate[0]), pair, 1)
    assert found.best.scale == 10


def test_a_check_that_only_sees_middling_scales_is_passed_from_below():
    """Passing need not be monotone: the random tries look beyond what bisection settles on."""
    found = search(lambda candidate: (candidate[0] < 0.5 or candidate[0] > 9, candidate[0]), pair, 1)
    assert found.best.scale == 10


def test_the_candidate_is_the_family_s_own():
    found = search(lambda made: (made["scale"] < 2, made["scale"]), lambda scale, stealth: {"scale": scale}, 1)
    assert found.candidate["scale"] == found.best.scale < 2


@pytest.mark.parametrize(
    "wrong", [{"tries": MIN_TRIES - 1}, {"scales": (1.0, 0.5)}, {"scales": (0.0, 1.0)}, {"stealths": (0.1,) * 16}]
)
def test_a_weaker_attacker_than_promised_is_refused(wrong):
    with pytest.raises(ValueError, match="adaptive"):
        search(make_threshold(1.0), pair, 1, **wrong)


def test_with_constrain_and_scale_as_its_family_it_goes_as_far_as_the_norm_ceiling_lets_it():
    own, honest, measure = make_delta(1), make_honest(2, 5), measure_effect(STATE)
    direction = own["B"] / compute_length(own)
    ceiling = 2 * measure_median(own, honest, measure)

    def evaluate(candidate):
        blob = encode_update(make_update(STATE, hold(STATE, candidate)))
        try:
            check_admission(STATE, blob, int(ceiling * 2**16))
        except Inadmissible:
            return False, 0.0
        return True, float(candidate["B"] @ direction)

    def family(scale, stealth):
        return constrain_and_scale(own, honest, blend=1 - stealth, ratio=scale, measure=measure)

    found = search(evaluate, family, seed=1)
    assert found.best.stealth < 0.5  # no one looks at the direction, so hiding it only costs
    size = float(compute_squared_size(STATE, make_update(STATE, hold(STATE, found.candidate)))) ** 0.5
    assert 0.97 * ceiling < size <= ceiling
