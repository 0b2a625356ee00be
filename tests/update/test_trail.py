from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update.fixed import initial_state
from openflock.update.geometry import compute_products
from openflock.update.trail import Trail, compare_trails

from .examples import SMALL, fill_update, read_whole, updates

MODES = [Recipe(), Recipe("ffa"), Recipe("separate")]


def start(recipe):
    return initial_state(SMALL, b"trail", recipe)


def add(state, each):
    """The sum of some updates' numbers, one factor after another."""
    return {factor: sum(read_whole(update)[factor] for update in each) for factor in state.trained}


@given(st.sampled_from(MODES), st.data())
@settings(max_examples=40)
def test_a_trail_is_read_as_the_sum_of_its_updates(recipe, data):
    state = start(recipe)
    drawn = data.draw(st.lists(updates(state), min_size=1, max_size=4))
    wanted = add(state, drawn)
    for factor, numbers in wanted.items():
        assert (Trail(drawn).read(factor, 0, numbers.size) == numbers).all()
        middle = numbers.size // 2
        assert (Trail(drawn).read(factor, middle, numbers.size) == numbers[middle:]).all()


@given(st.sampled_from(MODES), st.data())
@settings(max_examples=40)
def test_proposers_are_compared_by_the_mean_of_what_each_sent(recipe, data):
    state = start(recipe)
    sent = data.draw(st.lists(st.lists(updates(state), min_size=1, max_size=3), min_size=1, max_size=4))
    found = compare_trails(state, [each[0] for each in sent], [each[1:] for each in sent])
    sums = compute_products(state, [Trail(each) for each in sent])
    ratios = {
        Fraction(int(found[i, j]) * len(sent[i]) * len(sent[j]), int(sums[i, j]))
        for i, j in np.ndindex(found.shape)
        if sums[i, j]
    }
    assert len(ratios) <= 1  # one unit for all
    assert (found == found.T).all()


@pytest.mark.parametrize("recipe", MODES)
def test_who_has_no_past_is_compared_as_without_a_memory(recipe):
    state = start(recipe)
    drawn = [fill_update(state, number) for number in (1, 2, 5)]
    assert (compare_trails(state, drawn, [[], [], []]) == compute_products(state, drawn)).all()
