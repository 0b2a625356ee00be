from dataclasses import replace
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.protocol.recipe import ONE, Recipe, compute_rate
from openflock.update.aggregate import compute_candidate, compute_dosed, compute_share, stream_candidate
from openflock.update.codec import encode_state, get_digest
from openflock.update.fixed import FACTORS, LIMIT, Layout, Module, initial_state
from openflock.update.outer import step_alone, step_rms, step_values, step_velocity
from openflock.update.plan import combine
from openflock.update.robust import reduce_weights

from .examples import SMALL, fill_update, plan_mean, read_whole, recipes, stakes, states_with_updates

STATE = initial_state(SMALL, b"seed")
MERGED = ("alternate", "ffa", "separate")
OPTIMIZERS = ("plain", "momentum", "nesterov", "adam")
LARGEST = 127 << 18
cases = states_with_updates(wanted=recipes(modes=MERGED, optimizers=OPTIMIZERS))
plain_cases = states_with_updates(wanted=recipes(modes=MERGED).map(lambda recipe: replace(recipe, rate=ONE, decay=0)))


def draw_weights(data, count):
    return data.draw(st.lists(stakes, min_size=count, max_size=count))


def merge(state, updates, weights=None):
    return compute_candidate(state, updates, plan_mean(state.recipe, weights or [1] * len(updates)))


def cut(number):
    return max(-LIMIT, min(LIMIT, number))


def mean_by_hand(weights, updates, factor):
    """Average in exact fractions, rounded half to even."""
    reduced = reduce_weights(weights)
    total = sum(weight * read_whole(update)[factor] for weight, update in zip(reduced, updates, strict=True))
    return [round(Fraction(n, sum(reduced))) for n in total]


# --- The mean ------------------------------------------------------------------------------------------------


@given(plain_cases, st.data())
@settings(max_examples=60)
def test_a_plain_candidate_agrees_with_fractions(case, data):
    state, drawn = case
    weights = draw_weights(data, len(drawn))
    candidate = merge(state, drawn, weights)
    assert candidate.step == state.step + 1
    for factor in state.trained:
        moved = mean_by_hand(weights, drawn, factor)
        assert candidate.factors[factor].tolist() == [
            cut(int(n) + move) for n, move in zip(state.factors[factor], moved, strict=True)
        ]


@pytest.mark.parametrize(
    ("mode", "step", "rate"), [("ffa", 0, 1), ("ffa", 3, 4), ("alternate", 7, 4), ("separate", 1, 2)]
)
def test_a_rate_that_falls_counts_how_often_the_factor_was_trained(mode, step, rate):
    state = replace(initial_state(SMALL, b"", Recipe(mode, decay=ONE)), step=step)
    candidate = merge(state, [fill_update(state, 2**24)])
    for factor in state.trained:
        assert set(candidate.factors[factor] - state.factors[factor]) == {2**24 // rate}


def test_a_dose_does_not_fall_with_the_rate():
    fresh = initial_state(SMALL, b"", Recipe("ffa", decay=ONE))
    late = replace(fresh, step=3)
    update = fill_update(late, 2**24)
    for compute, wanted in ((compute_dosed, 2**24), (compute_share, 2**22)):
        moved = compute(late, update, Fraction(1))
        assert set(moved.factors["B"] - late.factors["B"]) == {wanted}


@given(cases, st.data())
@settings(max_examples=60)
def test_what_the_round_does_not_train_stays_as_it_was_with_its_moments(case, data):
    state, drawn = case
    candidate = merge(state, drawn, draw_weights(data, len(drawn)))
    assert (candidate.layout, candidate.recipe) == (state.layout, state.recipe)
    assert candidate.vectors.keys() == state.vectors.keys()
    for (kind, factor), vector in state.vectors.items():
        if factor not in state.trained:
            assert candidate.vectors[kind, factor].tolist() == vector.tolist()


@given(cases, st.data())
@settings(max_examples=60)
def test_order_does_not_count(case, data):
    state, drawn = case
    weighted = [(data.draw(stakes), update) for update in drawn]
    digests = []
    for order in (weighted, data.draw(st.permutations(weighted))):
        digests.append(get_digest(merge(state, [update for _, update in order], [weight for weight, _ in order])))
    assert digests[0] == digests[1]


def test_ties_of_the_mean_go_to_even():
    for deltas, mean in [((0, 1), 0), ((1, 2), 2), ((-1, 0), 0), ((-1, -2), -2), ((0, 0, 1), 0), ((0, 1, 1), 1)]:
        assert (merge(STATE, [fill_update(STATE, delta) for delta in deltas]).factors["B"] == mean).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_state_saturates(sign):
    state = replace(STATE, factors={**STATE.factors, "B": np.full(14, sign * (LIMIT - 1), np.int32)})
    for delta in (1, 2, LARGEST):
        assert (merge(state, [fill_update(state, sign * delta)]).factors["B"] == sign * LIMIT).all()


def test_the_largest_sum_does_not_overflow():
    # 1000 seats of the greatest weight and the greatest delta, with dust.
    drawn, weights = [fill_update(STATE, LARGEST)] * 2000, [2**100 + i for i in range(1000)] + [1] * 1000
    assert (merge(STATE, drawn, weights).factors["B"] == LARGEST).all()


def test_weights_weigh():
    drawn = [fill_update(STATE, 100), fill_update(STATE, 0)]
    assert (merge(STATE, drawn, [3 * 10**30, 10**30]).factors["B"] == 75).all()


def test_many_updates_in_any_order():
    shuffle = Random(0)
    weighted = [(10**20 + i, fill_update(STATE, i % 128 << i % 18)) for i in range(60)]
    digests = set()
    for _ in range(5):
        shuffle.shuffle(weighted)
        digests.add(get_digest(merge(STATE, [update for _, update in weighted], [weight for weight, _ in weighted])))
    assert len(digests) == 1


def test_nothing_to_merge_is_refused():
    with pytest.raises(ValueError, match="0 updates"):
        merge(STATE, [])


# --- The outer step ------------------------------------------------------------------------------------------


@given(cases, st.data())
@settings(max_examples=60)
def test_the_outer_step_is_taken_with_the_merged_delta(case, data):
    state, drawn = case
    weights = draw_weights(data, len(drawn))
    candidate = merge(state, drawn, weights)
    for factor in state.trained:
        delta = np.array(mean_by_hand(weights, drawn, factor), np.float64)
        speed = step_velocity(state.recipe, state.velocity[factor], delta) if state.velocity else None
        root = step_rms(state.rms[factor], delta) if state.rms else None
        moved = step_values(state.recipe, state.factors[factor], speed, delta.copy(), root, state.count)
        assert candidate.factors[factor].tolist() == moved.tolist()
        for moment, found in ((speed, candidate.velocity), (root, candidate.rms)):
            assert moment is None or found[factor].tolist() == moment.tolist()


def test_a_velocity_moves_only_with_its_factor():
    state = initial_state(SMALL, b"", Recipe(optimizer="momentum", momentum=ONE // 2))
    moved = []
    for _ in range(4):
        state = merge(state, [fill_update(state, 64)])
        moved.append((int(state.velocity["A"][0]), int(state.velocity["B"][0]), int(state.factors["B"][0])))
    assert moved == [(0, 64, 64), (64, 64, 64), (64, 96, 160), (96, 96, 160)]


# --- Pieces --------------------------------------------------------------------------------------------------


@given(cases, st.data())
@settings(max_examples=60)
def test_the_stream_is_the_candidate_s_bytes_and_can_be_had_again(case, data):
    state, drawn = case
    plan = plan_mean(state.recipe, draw_weights(data, len(drawn)))
    streamed = b"".join(stream_candidate(state, drawn, plan))
    assert (
        streamed
        == encode_state(compute_candidate(state, drawn, plan))
        == b"".join(stream_candidate(state, drawn, plan))
    )


@given(cases)
@settings(max_examples=30)
def test_the_order_in_which_factors_are_named_does_not_count(case):
    state, drawn = case
    turned = replace(
        state,
        factors=dict(reversed(state.factors.items())),
        velocity=dict(reversed(state.velocity.items())),
        rms=dict(reversed(state.rms.items())),
    )
    assert get_digest(merge(turned, drawn)) == get_digest(merge(state, drawn))


@pytest.mark.parametrize("size", [2 * 81_920 + 7, 2 * 655_360 + 327_680 + 7])
@pytest.mark.parametrize("encoding", ["int8", "ternary"])
def test_a_vector_of_many_pieces_is_merged_as_if_it_were_one(size, encoding):
    recipe = Recipe(encoding=encoding, optimizer="nesterov", momentum=ONE // 3, rate=ONE * 2 // 3)
    start = initial_state(Layout((Module("a", size, 1),), 1, 1), b"", recipe)
    n = np.arange(size, dtype=np.int64)
    old, speed = ((n * factor % 2**31 - 2**30).astype(np.int32) for factor in (40_503, 77_977))
    state = replace(start, factors={**start.factors, "B": old}, velocity={**start.velocity, "B": speed})
    drawn = []
    for k in range(3):
        update = fill_update(state, 0)
        part = update.parts["B"]
        part.codes[:] = (np.arange(part.codes.size) * (2 * k + 3) % 100 + 1).reshape(part.codes.shape)
        part.scales[:] = np.arange(len(part.scales)) % 7
        drawn.append(update)
    plan = plan_mean(recipe, [3, 1, 7])
    candidate = compute_candidate(state, drawn, plan)
    delta = combine(plan, np.stack([update.read("B", 0, size) for update in drawn]))
    moved = step_velocity(recipe, speed, delta)
    assert (candidate.velocity["B"] == moved).all()
    assert (candidate.factors["B"] == step_values(recipe, old, moved, delta.copy())).all()
    share = compute_share(state, drawn[1], Fraction(1, 3))
    dose = np.rint(np.rint(drawn[1].read("B", 0, size) / 3) * (recipe.rate / ONE))
    assert (share.factors["B"] == old + dose).all()


# --- A share -------------------------------------------------------------------------------------------------


@given(cases, st.integers(1, 1000), st.integers(0, 1000))
@settings(max_examples=60)
def test_a_share_adds_its_part_of_one_update_and_nothing_else(case, weight, rest):
    state, [update, *_] = case
    share = compute_share(state, update, Fraction(weight, weight + rest))
    assert (share.step, share.recipe) == (state.step + 1, state.recipe)
    assert share.velocity is state.velocity
    assert share.rms is state.rms
    for factor in FACTORS:
        if factor not in state.trained:
            assert share.factors[factor] is state.factors[factor]
            continue
        part = [round(Fraction(int(n) * weight, weight + rest)) for n in read_whole(update)[factor]]
        if state.rms:
            whole, dose = read_whole(update)[factor].astype(np.float64), Fraction(weight, weight + rest)
            old, rms = state.factors[factor], state.rms[factor]
            rate = compute_rate(state.recipe, state.count)
            wanted = step_alone(rate, old, whole, rms, state.count, float(dose)).tolist()
        else:
            moves = [round(Fraction(n * compute_rate(state.recipe, state.count), ONE)) for n in part]
            wanted = [cut(int(n) + d) for n, d in zip(state.factors[factor], moves, strict=True)]
        assert share.factors[factor].tolist() == wanted


@given(plain_cases, st.data())
@settings(max_examples=30)
def test_the_whole_share_is_the_candidate_of_one(case, data):
    state, [update, *_] = case
    assert get_digest(compute_share(state, update, Fraction(1))) == get_digest(merge(state, [update]))


@given(plain_cases, st.data())
@settings(max_examples=30)
def test_a_share_is_the_mean_with_one_who_moves_nothing(case, data):
    state, [update, *_] = case
    weight, rest = draw_weights(data, 2)
    still = fill_update(state, 0)
    assert get_digest(compute_share(state, update, Fraction(weight, weight + rest))) == get_digest(
        merge(state, [update, still], [weight, rest])
    )


@given(states_with_updates(max_updates=1, wanted=recipes(modes=("stack",))))
@settings(max_examples=30)
def test_a_share_of_a_stack_is_the_mean_with_nobody_else(case):
    state, [update] = case
    assert get_digest(compute_share(state, update, Fraction(1))) == get_digest(merge(state, [update]))
    half = compute_share(state, update, Fraction(1, 2))
    added = [round(Fraction(int(n), 2)) for n in read_whole(update)["B"]]
    start = state.layout.width
    found = [matrix[:, start:].ravel() for matrix in half.get_factor("B").values()]
    assert np.concatenate(found).tolist() == added
