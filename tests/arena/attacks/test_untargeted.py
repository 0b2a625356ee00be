"""Each attack against a transcription of its published formula, in floats."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.attacks.untargeted import (
    alie,
    compute_alie_bound,
    gaussian,
    ipm,
    mimic,
    min_max,
    min_sum,
    sign_flip,
)
from openflock.update.fixed import LIMIT

from .helpers import SIZE, get_squared_distance, is_legal, make_delta, make_honest, scales, seeds, to_floats

OWN = make_delta(1)
HONEST = make_honest(2, 7)
DIRECTIONS = ("std", "unit", "sign")
ATTACKS = {
    "gaussian": partial(gaussian, seed=1),
    "sign_flip": sign_flip,
    "ipm": ipm,
    "alie": alie,
    **{f"min_max {way}": partial(min_max, direction=way) for way in DIRECTIONS},
    **{f"min_sum {way}": partial(min_sum, direction=way) for way in DIRECTIONS},
    "mimic": mimic,
}
nodes = st.integers(2, 6)
directions = st.sampled_from(DIRECTIONS)


@given(st.sampled_from(list(ATTACKS)), seeds, st.integers(0, 6), scales)
def test_all_give_deltas_of_the_task_s_integers_and_change_none_they_were_given(name, seed, count, scale):
    own, honest = make_delta(seed, scale=scale), make_honest(seed, count, scale=scale)
    before = [own["B"].copy(), *(delta["B"].copy() for delta in honest)]
    assert is_legal(ATTACKS[name](own, honest))
    assert all((left == right["B"]).all() for left, right in zip(before, [own, *honest], strict=True))


# --- Formulas, to the rounding of half a unit ----------------------------------------------------------------


def check(delta, wanted):
    assert np.abs(delta["B"] - np.clip(wanted, -LIMIT, LIMIT)).max() <= 0.5 + 1e-6


@given(seeds, nodes, scales, st.floats(0, 100))
def test_the_closed_formulas(seed, count, scale, parameter):
    own, honest = make_delta(seed, scale=scale), make_honest(seed, count, scale=scale)
    known = to_floats(honest)
    mean, deviation = known.mean(axis=0), known.std(axis=0, ddof=1)  # byzfl's ALIE divides by n - 1
    check(sign_flip(own, honest, strength=parameter), -parameter * own["B"].astype(np.float64))
    check(ipm(own, honest, epsilon=parameter), -parameter * mean)
    check(alie(own, honest, z=parameter), mean - parameter * deviation)


def test_the_defaults_are_byzfl_s():
    known = to_floats(HONEST)
    check(ipm(OWN, HONEST), -2 * known.mean(axis=0))
    check(alie(OWN, HONEST), known.mean(axis=0) - 1.5 * known.std(axis=0, ddof=1))
    check(mimic(OWN, HONEST), known[0])


def test_who_knows_nobody_takes_its_own_for_theirs():
    check(ipm(OWN, (), epsilon=0.5), -0.5 * OWN["B"])
    check(alie(OWN, ()), OWN["B"])
    check(min_max(OWN, ()), OWN["B"])


def test_gaussian_noise_has_the_deviation_asked_for_whatever_was_learned():
    drawn = gaussian(make_delta(1, 20_000), (), seed=3, sigma=0.25)["B"] / 2.0**24
    assert drawn.std() == pytest.approx(0.25, rel=0.02)
    assert abs(drawn.mean()) < 0.01
    assert (gaussian(make_delta(2, 20_000), (), seed=3, sigma=0.25)["B"] / 2.0**24 == drawn).all()


def test_a_third_of_ipm_attackers_stops_the_mean_and_more_reverse_it():
    mean = to_floats(HONEST).mean(axis=0)
    bad = ipm(OWN, HONEST)["B"]
    assert np.abs((2 * mean + bad) / 3).max() < 1
    assert (0.6 * mean + 0.4 * bad) @ mean < 0


def test_alie_s_bound_is_the_paper_s_example():
    assert compute_alie_bound(50, 24) == pytest.approx(1.43, abs=0.005)


# --- Min-max and min-sum -------------------------------------------------------------------------------------


def search_as_published(known, push, metric, start):
    """NDSS 2021, algorithm 1: halve the step; on success go up, else down."""
    mean = known.mean(axis=0)
    bound = max(metric(known - each) for each in known)
    gamma, step, reached = start, start / 2, 0.0
    while abs(reached - gamma) > 1e-9 * start:
        if metric(known - (mean + gamma * push)) <= bound:
            reached, gamma = gamma, gamma + step
        else:
            gamma -= step
        step /= 2
    return mean + reached * push


METRICS = {
    min_max: lambda x: np.linalg.norm(x, axis=1).max(),
    min_sum: lambda x: np.square(np.linalg.norm(x, axis=1)).sum(),
}


@pytest.mark.parametrize("attack", [min_max, min_sum])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_solved_distance_is_what_the_published_search_halves_its_way_to(attack, direction):
    known = to_floats(HONEST)
    mean = known.mean(axis=0)
    pushes = {"std": known.std(axis=0, ddof=1), "unit": mean / np.linalg.norm(mean), "sign": np.sign(mean)}
    start = 8 * np.linalg.norm(known) / np.linalg.norm(pushes[direction])
    wanted = search_as_published(known, -pushes[direction], METRICS[attack], start)
    far = np.linalg.norm(wanted - mean)
    assert np.linalg.norm(attack(OWN, HONEST, direction=direction)["B"] - wanted) < 1e-3 * far


def compute_largest(honest):
    return max(get_squared_distance(left, right) for left in honest for right in honest)


def compute_sum(delta, honest):
    return sum(get_squared_distance(delta, each) for each in honest)


@given(seeds, nodes, scales, directions)
def test_min_max_is_no_farther_from_any_than_some_are_apart_and_nearly_as_far(seed, count, scale, direction):
    honest = make_honest(seed, count, scale=scale)
    reached = max(get_squared_distance(min_max(OWN, honest, direction=direction), each) for each in honest)
    allowed = compute_largest(honest)
    assert reached <= allowed
    if 1e4 <= scale <= 1e7:  # below, rounding takes room; above, the deltas are cut off
        assert reached >= 0.998 * allowed


@given(seeds, nodes, scales, directions)
def test_min_sum_is_no_farther_from_all_than_some_honest_delta_and_nearly_as_far(seed, count, scale, direction):
    honest = make_honest(seed, count, scale=scale)
    reached = compute_sum(min_sum(OWN, honest, direction=direction), honest)
    allowed = max(compute_sum(each, honest) for each in honest)
    assert reached <= allowed
    if 1e4 <= scale <= 1e7:
        assert reached >= 0.998 * allowed


@pytest.mark.parametrize("attack", [min_max, min_sum])
def test_where_all_honest_deltas_are_one_there_is_no_room(attack):
    check(attack(OWN, [HONEST[0]] * 3), HONEST[0]["B"])


# --- Mimic ---------------------------------------------------------------------------------------------------


@given(seeds, st.integers(0, 6))
def test_mimic_sends_its_victim_s_delta(seed, whom):
    assert (mimic(OWN, HONEST, whom=whom)["B"] == HONEST[whom]["B"]).all()


# --- Where updates are stacked -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"gaussian"}))
def test_statistics_over_stacked_components_are_refused(name):
    both = {"A": OWN["B"][:SIZE], "B": OWN["B"]}
    with pytest.raises(ValueError, match="no mode stack"):
        ATTACKS[name](both, [both])


# --- byzfl -------------------------------------------------------------------------------------------------


def test_the_results_are_those_of_byzfl_s_documentation():
    """In units of a thousandth; byzfl's ALIE adds the deviation, and its sign flip is of the mean."""
    honest = [{"B": np.array(row, np.int32) * 1000} for row in ([1, 2, 3], [4, 5, 6], [7, 8, 9])]
    assert alie(honest[0], honest, z=-1.5)["B"].tolist() == [8500, 9500, 10500]
    assert ipm(honest[0], honest, epsilon=1)["B"].tolist() == [-4000, -5000, -6000]
    assert ipm(honest[0], honest)["B"].tolist() == [-8000, -10000, -12000]
    assert mimic(honest[2], honest, whom=0)["B"].tolist() == [1000, 2000, 3000]
