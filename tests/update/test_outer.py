from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.recipe import ONE, Recipe
from openflock.update.fixed import LIMIT
from openflock.update.outer import BETA, FINE, saturate, scale, step_alone, step_rms, step_values, step_velocity

from .examples import entries, recipes

OPTIMIZERS = ("plain", "momentum", "nesterov")
LARGEST = 2**25 - 1
moves = st.one_of(st.integers(-3, 3), st.sampled_from([LARGEST, -LARGEST]), st.integers(-LARGEST, LARGEST))
cases = st.lists(st.tuples(entries, entries, moves), min_size=1, max_size=8)


def cut(number):
    return max(-LIMIT, min(LIMIT, number))


def multiply(number, factor):
    return round(Fraction(number * factor, ONE))


def find_rate(recipe, count):
    return max(1, floor(recipe.rate / (1 + Fraction(recipe.decay, ONE) * (count - 1))))


def step_by_hand(recipe, value, velocity, delta, count):
    """Take torch's SGD step in fractions, each product rounded once, half-even."""
    rate = find_rate(recipe, count)
    if recipe.optimizer == "plain":
        return cut(value + multiply(delta, rate)), None
    velocity = cut(multiply(velocity, recipe.momentum) + delta)
    move = velocity if recipe.optimizer == "momentum" else delta + multiply(velocity, recipe.momentum)
    return cut(value + multiply(move, rate)), velocity


def step(recipe, values, velocity, delta, count=1):
    speed = None if recipe.optimizer == "plain" else step_velocity(recipe, velocity, delta)
    return step_values(recipe, values, speed, delta.copy(), count=count), speed


@given(recipes(modes=("ffa",), encodings=("int8",), optimizers=OPTIMIZERS), cases, st.integers(1, 1000))
def test_a_step_agrees_with_fractions(recipe, case, count):
    values, velocity, delta = np.array(case).T
    found, speed = step(recipe, values.astype(np.int32), velocity.astype(np.int32), delta.astype(np.float64), count)
    wanted = [step_by_hand(recipe, *each, count) for each in case]
    assert found.tolist() == [value for value, _ in wanted]
    assert found.dtype == np.int32
    if speed is not None:
        assert speed.tolist() == [moved for _, moved in wanted]


@given(st.lists(entries, min_size=1), st.integers(0, 2**18))
def test_a_product_is_rounded_once_and_half_to_even(numbers, factor):
    assert scale(np.array(numbers, np.float64), factor).tolist() == [multiply(n, factor) for n in numbers]


def test_ties_of_a_product_go_to_even():
    assert scale(np.array([-5, -3, -1, 1, 3, 5]), ONE // 2).tolist() == [-2, -2, 0, 0, 2, 2]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_step_leaves_the_range(sign, optimizer):
    recipe = Recipe(optimizer=optimizer, momentum=0 if optimizer == "plain" else ONE - 1, rate=2**18)
    edge = np.full(1, sign * LIMIT, np.int32)
    values, speed = step(recipe, edge, edge, np.full(1, sign * float(LARGEST)))
    assert values.tolist() == [sign * LIMIT]
    assert speed is None or speed.tolist() == [sign * LIMIT]
    assert (
        saturate(np.array([sign * 2.0**51, sign * (LIMIT + 1.0), sign * float(LIMIT)])).tolist() == [sign * LIMIT] * 3
    )


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov"])
@pytest.mark.parametrize("rate", [ONE, ONE // 4, 3 * ONE])
def test_many_steps_stay_beside_those_of_torch(optimizer, rate):
    recipe = Recipe(optimizer=optimizer, rate=rate, momentum=ONE * 7 // 8)
    deltas = np.random.default_rng(1).integers(-(2**20), 2**20, (12, 50)).astype(np.float64)
    weight = torch.zeros(50, dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([weight], rate / ONE, momentum=7 / 8, nesterov=optimizer == "nesterov")
    values = velocity = np.zeros(50, np.int32)
    for count, delta in enumerate(deltas, 1):
        weight.grad = torch.from_numpy(-delta)
        sgd.step()
        values, velocity = step(recipe, values, velocity, delta)
        # A step rounds three products by half a unit each; the velocity's errors add up to 4, times the rate.
        assert np.abs(values - weight.detach().numpy()).max() <= count * (0.5 + 5 * rate / ONE)
        assert np.abs(velocity - sgd.state[weight]["momentum_buffer"].neg().numpy()).max() <= 4
    assert np.abs(values).max() > 2**20


# --- Adam ----------------------------------------------------------------------------------------------------

ADAM = Recipe(optimizer="adam", momentum=ONE * 7 // 8, rate=131)
NOTHING = np.zeros(50, np.int32)


def step_adam(values, velocity, rms, delta, count, recipe=ADAM):
    velocity, rms = step_velocity(recipe, velocity, delta), step_rms(rms, delta)
    return step_values(recipe, values, velocity, delta.copy(), rms, count), velocity, rms


@pytest.mark.parametrize(("recipe", "least"), [(ADAM, 5), (replace(ADAM, rate=2**12, decay=ONE // 8), 4)])
def test_many_steps_of_adam_stay_beside_those_of_torch(recipe, least):
    draw = np.random.default_rng(1)
    deltas = draw.choice([-1.0, 1.0], (40, 50)) * draw.integers(2**10, 2**16, (40, 50))  # small ones round coarsely
    weight = torch.zeros(50, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weight], recipe.rate / ONE, betas=(7 / 8, BETA), eps=2**-24)
    falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda count: find_rate(recipe, count + 1) / recipe.rate)
    values, velocity, rms = NOTHING, NOTHING, NOTHING
    for count, delta in enumerate(deltas, 1):
        weight.grad = torch.from_numpy(-delta * 2**-24)
        adam.step()
        falling.step()
        values, velocity, rms = step_adam(values, velocity, rms, delta, count, recipe)
        assert np.abs(values * 2.0**-24 - weight.detach().numpy()).max() <= 1e-3 * recipe.rate / ONE
    assert np.abs(values).max() * 2.0**-24 > least * recipe.rate / ONE


@given(st.lists(moves, min_size=1), st.integers(1, 2**20))
def test_adam_s_step_is_as_long_as_its_rate_however_long_the_delta(deltas, count):
    delta = np.array(deltas, np.float64)
    start = np.zeros(len(deltas), np.int32)
    first, _, _ = step_adam(start, start, start, delta, 1)
    alone = step_alone(ADAM.rate, start, delta.copy(), start, count)
    half = step_alone(ADAM.rate, start, delta.copy(), start, count, 0.5)
    rate = ADAM.rate * 2**8
    assert (np.abs(first) <= rate).all()
    assert (np.sign(first) == np.sign(delta)).all()
    assert (np.abs(first[np.abs(delta) > 100]) > rate * 0.98).all()
    assert (np.abs(alone) <= rate / (1 - BETA) ** 0.5 + 1).all()
    assert (np.abs(2 * half.astype(np.int64) - alone) <= 1).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_no_step_of_adam_leaves_the_range(sign):
    edge, delta = np.full(1, sign * LIMIT, np.int32), np.full(1, sign * float(LARGEST))
    values, velocity, rms = step_adam(edge, edge, np.full(1, LIMIT, np.int32), delta, 2**31)
    assert values.tolist() == [sign * LIMIT]
    assert abs(velocity[0]) <= LIMIT
    assert 0 <= rms[0] <= LIMIT


def test_what_never_moved_stays_and_the_moments_are_in_their_unit():
    still = np.zeros(1)
    assert [vector.tolist() for vector in step_adam(*(np.zeros(1, np.int32),) * 3, still, 1)] == [[0]] * 3
    delta = np.array([1000.0])
    _, velocity, rms = step_adam(*(np.zeros(1, np.int32),) * 3, delta, 1)
    assert (velocity[0], rms[0]) == (FINE * 1000 // 8, int(FINE * 1000 * (1 - BETA) ** 0.5))


@given(moves, st.sampled_from([0, ONE // 2, ONE * 9 // 10, ONE * 99 // 100]))
def test_what_moved_once_comes_to_rest(delta, momentum):
    recipe = replace(ADAM, momentum=momentum)
    values, velocity, rms = (np.zeros(1, np.int32),) * 3
    for count in range(1, 6000):
        moved = np.array([float(delta if count == 1 else 0)])
        velocity, rms = step_velocity(recipe, velocity, moved), step_rms(rms, moved)
        before, values = values, step_values(recipe, values, velocity, moved, rms, count)
        if not velocity[0]:
            return
    pytest.fail(f"after 6,000 steps it still moves by {values[0] - before[0]}")
