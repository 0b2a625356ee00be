from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.app.settings import DEFAULT_RECIPE
from openflock.arena.attacks.deltas import compute_length, measure_effect, measure_median
from openflock.arena.attacks.targeted import (
    aim,
    constrain_and_scale,
    lean,
    model_replacement,
    neurotoxin,
    pgd,
    scale_delta,
    split_delta,
    veil,
)
from openflock.protocol.recipe import Recipe
from openflock.update.codec import make_update
from openflock.update.fixed import LIMIT
from openflock.update.geometry import compute_products
from openflock.update.plan import combine
from openflock.update.robust import compute_grouped_plan

from .helpers import SIZE, STATE, is_legal, make_delta, make_honest, scales, seeds, to_floats, to_integers

OWN = make_delta(1)
HONEST = make_honest(2, 7)
ATTACKS = {
    "model_replacement": model_replacement,
    "constrain_and_scale": constrain_and_scale,
    "constrained effect": partial(constrain_and_scale, measure=measure_effect(STATE)),
    "aim": aim,
    "lean": lean,
    "veil": veil,
    "pgd": pgd,
    "neurotoxin": neurotoxin,
}
measures = st.sampled_from([compute_length, measure_effect(STATE)])


def get_cosine(left, right):
    left, right = (delta["B"].astype(np.float64) for delta in (left, right))
    return left @ right / (np.linalg.norm(left) * np.linalg.norm(right))


@given(st.sampled_from(list(ATTACKS)), seeds, st.integers(0, 6), scales)
def test_all_give_deltas_of_the_task_s_integers_and_change_none_they_were_given(name, seed, count, scale):
    own, honest = make_delta(seed, scale=scale), make_honest(seed, count, scale=scale)
    before = [own["B"].copy(), *(delta["B"].copy() for delta in honest)]
    assert is_legal(ATTACKS[name](own, honest))
    assert all((left == right["B"]).all() for left, right in zip(before, [own, *honest], strict=True))


# --- Model replacement ---------------------------------------------------------------------------------------


@given(seeds, st.integers(1, 6), st.integers(1, 4))
def test_with_the_right_factor_the_mean_is_what_the_colluders_want_on_average(seed, count, colluders):
    honest, own = make_honest(seed, count), make_honest(seed + 1, colluders)
    factor = (count + colluders) / colluders
    bad = [model_replacement(each, honest, factor=factor, colluders=colluders) for each in own]
    assert np.abs(to_floats([*honest, *bad]).mean(axis=0) - to_floats(own).mean(axis=0)).max() <= 1


@given(seeds, st.floats(1, 1e6))
def test_who_knows_nobody_only_scales(seed, factor):
    own = make_delta(seed)
    wanted = np.clip(factor * own["B"].astype(np.float64), -LIMIT, LIMIT)
    assert np.abs(model_replacement(own, (), factor=factor)["B"] - wanted).max() <= 0.5 + 1e-6
    assert (scale_delta(factor)(own)["B"] == model_replacement(own, (), factor=factor)["B"]).all()


# --- Bounds --------------------------------------------------------------------------------------------------


@given(seeds, st.integers(1, 6), scales, scales, st.floats(0.1, 3), measures)
def test_pgd_stays_in_the_ball_and_leaves_alone_what_is_in_it(seed, count, mine, theirs, ratio, measure):
    own, honest = make_delta(seed, scale=mine), make_honest(seed, count, scale=theirs)
    radius = ratio * measure_median(own, honest, measure)
    bounded = pgd(own, honest, ratio=ratio, measure=measure)
    assert measure(bounded) <= radius
    if measure(own) <= radius:
        assert (bounded["B"] == own["B"]).all()
    elif measure is compute_length and radius > 1e4:
        assert measure(bounded) >= 0.999 * radius
        assert get_cosine(own, bounded) > 0.999


@given(seeds, st.integers(1, 6), scales, st.floats(0, 1), st.floats(0.1, 3), measures)
def test_constrain_and_scale_stays_under_its_bound(seed, count, scale, blend, ratio, measure):
    own, honest = make_delta(seed, scale=scale), make_honest(seed, count, scale=scale)
    bad = constrain_and_scale(own, honest, blend=blend, ratio=ratio, measure=measure)
    assert measure(bad) <= ratio * measure_median(own, honest, measure)


def test_constrain_and_scale_goes_up_to_its_bound_too():
    quiet = make_delta(1, scale=100)
    bad = constrain_and_scale(quiet, HONEST, blend=1)
    assert compute_length(bad) == pytest.approx(measure_median(quiet, HONEST, compute_length), rel=1e-3)
    assert get_cosine(quiet, bad) > 0.999


@given(seeds, st.floats(0.05, 0.95))
def test_its_blend_has_the_least_of_both_losses(seed, blend):
    """With squared distances for the task's and the anomaly's loss, no neighbour does better."""
    own, mean = make_delta(seed)["B"].astype(np.float64), to_floats(HONEST).mean(axis=0)

    def loss(delta):
        return blend * np.sum((delta - own) ** 2) + (1 - blend) * np.sum((delta - mean) ** 2)

    least = blend * own + (1 - blend) * mean
    steps = np.random.default_rng(seed).normal(0, 1000, (20, SIZE))
    assert all(loss(least) < loss(least + step) for step in steps)
    sent = constrain_and_scale(make_delta(seed), HONEST, blend=blend)
    assert get_cosine(sent, {"B": least}) > 0.99999


# --- Aimed at mixing by domain -------------------------------------------------------------------------------


@given(seeds, st.integers(2, 5), st.floats(0.1, 0.95))
def test_aim_stands_as_near_to_an_honest_delta_as_asked_and_on_its_own_s_side(seed, count, reach):
    own, honest = make_delta(seed), make_honest(seed + 1, count)
    sent, known = to_floats([aim(own, honest, reach=reach)])[0], to_floats(honest)
    away = np.linalg.norm(known - sent, axis=1)
    anchor = int(np.argmin(away))
    gaps = np.linalg.norm(known - known[anchor], axis=1)
    assert away[anchor] == pytest.approx(reach * np.sort(gaps)[1], rel=1e-3)
    assert (sent - known[anchor]) @ (own["B"] - known.mean(axis=0)) > 0


@given(st.integers(0, 100))
def test_mixing_and_trimming_among_three_take_nearly_half_of_what_is_aimed(seed):
    """The weakness that it was made for: with one of three a domain's rule moves with it."""
    own, honest = make_delta(seed), make_honest(seed + 1000, 2)
    bad = aim(own, honest, reach=0.4)
    updates = [make_update(STATE, delta) for delta in (*honest, bad)]
    digests, products = [bytes([each]) * 32 for each in range(3)], compute_products(STATE, updates)
    plan = compute_grouped_plan(Recipe(**DEFAULT_RECIPE), [1] * 3, products, digests, [0] * 3)
    merged = combine(plan, np.stack([update.read("B", 0, SIZE) for update in updates]))
    anchor = min(to_floats(honest), key=lambda each: np.linalg.norm(each - bad["B"]))
    moved, aimed = merged - anchor, bad["B"] - anchor
    assert 0.35 < moved @ aimed / (aimed @ aimed) < 0.5


@given(seeds, st.integers(2, 5))
def test_to_lean_is_to_be_within_what_the_honest_hold_and_as_far_towards_its_own_as_that_goes(seed, count):
    own, honest = make_delta(seed), make_honest(seed + 1, count)
    sent, known = lean(own, honest)["B"], to_floats(honest)
    ahead = own["B"] > known.mean(axis=0)
    assert (sent[ahead] == known.max(axis=0)[ahead]).all()
    assert (sent[~ahead] == known.min(axis=0)[~ahead]).all()


@given(seeds, st.floats(0.1, 2))
def test_a_veiled_delta_is_its_honest_one_moved_by_a_share_of_its_length(seed, reach):
    own, clean = make_delta(seed), make_delta(seed + 1)
    sent, start = to_floats([veil(own, [clean], reach=reach), clean])
    assert np.linalg.norm(sent - start) == pytest.approx(reach * np.linalg.norm(start), rel=1e-3)
    assert get_cosine({"B": sent - start}, {"B": own["B"] - start}) > 0.999
    assert veil(own, ()) is own


@pytest.mark.parametrize("attack", [aim, lean])
def test_who_knows_of_one_other_sends_its_own(attack):
    assert attack(OWN, HONEST[:1]) is OWN


# --- Neurotoxin ----------------------------------------------------------------------------------------------


@given(seeds, st.floats(0, 1))
def test_neurotoxin_zeroes_exactly_the_share_that_moved_most(seed, share):
    own, last = make_delta(seed), make_delta(seed + 1)
    masked = neurotoxin(own, (), last=last, share=share)["B"]
    kept, moves = masked == own["B"], np.abs(last["B"])
    zeroed = round(share * SIZE)
    mask = np.zeros(SIZE, bool)
    mask[np.argsort(-moves, kind="stable")[:zeroed]] = True
    assert not masked[mask].any()
    assert kept[~mask].all()
    if 0 < zeroed < SIZE:
        assert moves[mask].min() >= moves[~mask].max()


def test_without_a_last_move_the_honest_mean_says_what_moves():
    mean = to_floats(HONEST).mean(axis=0)
    last = {"B": np.rint(mean).astype(np.int32)}
    assert (neurotoxin(OWN, HONEST)["B"] == neurotoxin(OWN, (), last=last)["B"]).mean() > 0.95
    assert (neurotoxin(OWN, HONEST)["B"] == 0).sum() >= round(0.1 * SIZE)


# --- Shares --------------------------------------------------------------------------------------------------


@given(seeds, st.integers(1, 7), st.floats(0, 10), st.sampled_from([1.0, 1e4, 1e9, 1e12]))
def test_the_shares_sum_to_the_delta_exactly(seed, nodes, spread, scale):
    delta = make_delta(seed, scale=scale)
    shares = split_delta(delta, nodes, seed, spread)
    assert len(shares) == nodes
    assert all(is_legal(share) for share in shares)
    assert (sum(to_integers(share) for share in shares) == to_integers(delta)).all()


@pytest.mark.parametrize(("nodes", "spread"), [(2, 1.0), (3, 0.0), (4, 2.0)])
def test_a_share_alone_points_elsewhere_by_as_much_as_is_asked(nodes, spread):
    delta = make_delta(1, 20_000)
    for share in split_delta(delta, nodes, 3, spread):
        assert get_cosine(share, delta) == pytest.approx(1 / np.sqrt(1 + (nodes * spread) ** 2), abs=0.02)


def test_both_factors_of_a_stacked_delta_are_split():
    both = {"A": make_delta(1)["B"], "B": make_delta(2)["B"]}
    shares = split_delta(both, 3, seed=1)
    for factor, vector in both.items():
        assert (sum(share[factor].astype(np.int64) for share in shares) == vector).all()
