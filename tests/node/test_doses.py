"""A dose is a multiple of what an update does, whatever the recipe makes of it."""

from fractions import Fraction

import numpy as np
import pytest

from openflock.learn.probe import HALF, NONE
from openflock.node.doses import Dosed
from openflock.protocol.recipe import Recipe
from openflock.update.codec import make_update
from openflock.update.fixed import Layout, Module, initial_state

LAYOUT = Layout((Module("a", 8, 6),), rank=2, alpha=4)
RECIPES = [Recipe(), Recipe("separate"), Recipe("separate", optimizer="adam", momentum=58_982, rate=131)]


@pytest.mark.parametrize("recipe", RECIPES, ids=["alternate", "separate", "adam"])
@pytest.mark.parametrize("dose", [Fraction(1, 2), Fraction(4), Fraction(16)])
def test_half_the_dose_moves_half_as_far_and_none_not_at_all(recipe, dose):
    state = initial_state(LAYOUT, b"seed", recipe)
    draw = np.random.default_rng(0)
    delta = {factor: draw.integers(-1000, 1000, LAYOUT.compute_size(factor)) for factor in state.trained}
    dosed = Dosed(state, make_update(state, delta), dose)
    assert dosed.move(NONE) is state
    for factor in state.trained:
        whole, half = (dosed.move(*share).factors[factor] - state.factors[factor] for share in ((), (HALF,)))
        assert np.abs(whole).max() > 100
        assert np.abs(2 * half - whole).max() <= 2
