"""Take the outer step: add a round's merged delta to a vector of the state, in fixed point.

Plain, momentum and Nesterov as in torch.optim.SGD, with the merged delta for the negative gradient. A velocity belongs
to its factor, moves only when the factor is trained, and rolls back with the state, since it is part of it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.recipe import ONE, Recipe
from openflock.update.fixed import LIMIT, Vector

Numbers = NDArray[np.float64]  # integers in units of 2**-24


def step_values(recipe: Recipe, values: Vector, velocity: Vector | None, delta: Numbers) -> Vector:
    """Compute the next values, which spoils `delta`; `velocity` is the one after it, None in a plain recipe.

    Each product is rounded once, half-even; sums saturate at +-LIMIT. |delta| < 2**26, so all numbers stay below
    2**52 and float64 holds them exactly.
    """
    move = delta if velocity is None else velocity.astype(np.float64)
    if recipe.optimizer == "nesterov":
        move = delta + scale(move, recipe.momentum)
    return add_move(recipe, values, move)


def add_move(recipe: Recipe, values: Vector, move: Numbers) -> Vector:
    """Add a move, which it spoils, times the outer rate."""
    if recipe.rate != ONE:
        move = scale(move, recipe.rate)
    return saturate(np.add(values, move, out=move))


def step_velocity(recipe: Recipe, velocity: Vector, delta: Numbers) -> Vector:
    """Compute the next velocity: momentum times the old one, plus the delta."""
    return saturate(scale(velocity, recipe.momentum) + delta)


def scale(values: NDArray[Any], factor: int) -> Numbers:
    """Multiply by factor * 2**-16, rounded half-even.

    >>> scale(np.array([3, 5]), 2**15).tolist()
    [2.0, 2.0]
    """
    scaled: Numbers = np.rint(values * (factor / ONE))
    return scaled


def saturate(values: NDArray[Any]) -> Vector:
    """Bring numbers, which it spoils, into the state's range."""
    saturated: Vector = np.clip(values, -LIMIT, LIMIT, out=values).astype(np.int32)
    return saturated
