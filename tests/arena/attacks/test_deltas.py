from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.attacks.deltas import (
    average,
    compute_length,
    fit_norm,
    join_factors,
    measure_effect,
    measure_median,
    part_factors,
    scale,
    to_vector,
)
from openflock.node.proposer import hold
from openflock.protocol.recipe import Recipe
from openflock.update.codec import make_update
from openflock.update.fixed import LIMIT, initial_state
from openflock.update.geometry import compute_squared_norm

from .helpers import LAYOUT, SIZE, STATE, is_legal, make_delta, scales, seeds

STACK = initial_state(LAYOUT, b"seed", Recipe(mode="stack"))


@given(seeds, st.floats(-1e12, 1e12), scales)
def test_scaling_saturates_and_never_turns_a_number_round(seed, ratio, size):
    delta = make_delta(seed, scale=size)
    scaled = scale(delta, ratio)
    assert is_legal(scaled)
    wanted = [max(-LIMIT, min(LIMIT, round(Fraction(ratio) * int(number)))) for number in delta["B"]]
    assert np.abs(scaled["B"].astype(np.int64) - wanted).max() <= 1


@given(st.lists(seeds, min_size=1, max_size=4), scales)
def test_a_mean_is_rounded_once(drawn, size):
    deltas = [make_delta(seed, scale=size) for seed in drawn]
    mean = average(deltas)
    assert is_legal(mean)
    wanted = sum(each["B"].astype(object) for each in deltas)
    assert all(
        abs(Fraction(int(got)) - Fraction(int(total), len(deltas))) <= Fraction(1, 2)
        for got, total in zip(mean["B"], wanted, strict=True)
    )


def test_rounding_is_half_even():
    assert to_vector(np.array([0.5, 1.5, -0.5, -2.5, 2.0**40])).tolist() == [0, 2, 0, -2, LIMIT]


def test_of_two_factors_the_product_is_scaled():
    both = {"A": make_delta(1, LAYOUT.compute_size("A"))["B"], "B": make_delta(2)["B"]}
    scaled = scale(both, -3)
    assert (scaled["A"] == both["A"]).all()
    assert (scaled["B"] == -3 * both["B"]).all()
    measure = measure_effect(STACK)
    assert measure(scaled) == pytest.approx(3 * measure(both), rel=0.01)


def test_two_factors_are_one_to_an_attack_only_where_they_are_merged_number_by_number():
    both = {"A": make_delta(1, LAYOUT.compute_size("A"))["B"], "B": make_delta(2)["B"]}
    joined = join_factors(both, Recipe(mode="separate"))
    assert joined["B"].tolist() == [*both["A"].tolist(), *both["B"].tolist()]
    parted = part_factors(joined, both)
    assert {name: values.tolist() for name, values in parted.items()} == {
        name: values.tolist() for name, values in both.items()
    }
    assert join_factors(both, Recipe(mode="stack")) is both is part_factors(both, both)


def test_the_effect_is_what_admission_measures():
    delta = make_delta(3)
    update = make_update(STATE, hold(STATE, delta))
    assert measure_effect(STATE)(delta) == pytest.approx(float(compute_squared_norm(STATE, update)) ** 0.5)


@given(seeds, st.floats(0, 2.0**30), scales, st.booleans())
def test_a_fitted_norm_is_never_over_its_bound_and_nearly_at_it(seed, norm, size, by_effect):
    delta = make_delta(seed, scale=size)
    measure = measure_effect(STATE) if by_effect else compute_length
    norm = norm * 2.0**-24 if by_effect else norm
    fitted = fit_norm(delta, norm, measure)
    assert is_legal(fitted)
    assert measure(fitted) <= norm
    if size >= 1e4 and not by_effect and norm >= 1e5:
        assert measure(fitted) >= 0.999 * norm


def test_nothing_can_be_fitted_to_a_norm_of_zero():
    assert not fit_norm(make_delta(1), 0.0, compute_length)["B"].any()
    assert not fit_norm({"B": np.zeros(SIZE, np.int32)}, 5.0, compute_length)["B"].any()


def test_the_median_is_the_lower_one_as_clipping_takes_it():
    known = [{"B": np.full(1, size, np.int32)} for size in (9, 1, 5, 3)]
    assert measure_median({"B": np.full(1, 100, np.int32)}, known, compute_length) == 3
    assert measure_median({"B": np.full(1, 100, np.int32)}, (), compute_length) == 100
