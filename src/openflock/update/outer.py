"""Take the outer step: add a round's merged delta to a vector of the state, in fixed point.

Plain, momentum and Nesterov as in torch.optim.SGD, adam as in torch.optim.Adam, with the merged delta for the negative
gradient (FedAdam: Reddi et al., arXiv 2003.00295, there without Adam's correction for the first steps). A velocity or
second moment belongs to its factor, moves only when the factor is trained, and rolls back with the state, since it is
part of it. Adam divides and takes roots: in float64, one operation after another, each of which IEEE 754 rounds to one
bit pattern. Its moments are rounded towards zero: half-even, small ones would never fade, and what moved once would
creep for ever.
"""

from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.recipe import ONE, Recipe, compute_rate
from openflock.update.fixed import FRACTION_BITS, LIMIT, Vector

Numbers = NDArray[np.float64]  # integers in units of 2**-24

BETA: Final = 0.99  # of the second moment; Reddi et al., as the first is .9
FINE: Final = 16  # adam's moments are in units of 2**-28


def step_values(
    recipe: Recipe, values: Vector, velocity: Vector | None, delta: Numbers, rms: Vector | None = None, count: int = 1
) -> Vector:
    """Compute the next values, which spoils `delta`; `velocity` and `rms` are those after it, None if there is none.

    `count` is how often the factor has stepped, this step included: a rate that falls and adam depend on it. Sums
    saturate at +-LIMIT. But for adam each product is rounded once, half-even: |delta| < 2**26, so all numbers stay
    below 2**52 and float64 holds them exactly.
    """
    rate, move = compute_rate(recipe, count), delta if velocity is None else velocity.astype(np.float64)
    if rms is not None:
        return _add_normalized(values, move / (1 - _power(recipe.momentum / ONE, count)), rms, rate, count)
    if recipe.optimizer == "nesterov":
        move = delta + scale(move, recipe.momentum)
    return _add_move(values, move, rate)


def step_alone(
    rate: int, values: Vector, delta: Numbers, rms: Vector | None = None, count: int = 1, dose: float = 1.0
) -> Vector:
    """Compute what a delta alone would make of the values at a rate, which spoils it; momentum does not count.

    `rms` is adam's second moment before it; what adam makes of it counts `dose` times.
    """
    if rms is None:
        return _add_move(values, delta, rate)
    return _add_normalized(values, delta * (FINE * dose), step_rms(rms, delta), rate, count)


def step_velocity(recipe: Recipe, velocity: Vector, delta: Numbers) -> Vector:
    """Compute the next velocity: momentum times the old one, plus the delta, or what is left of 1 times it in adam."""
    if recipe.optimizer == "adam":
        beta = recipe.momentum / ONE
        return saturate(np.trunc(velocity * beta + delta * (FINE * (1 - beta))))
    return saturate(scale(velocity, recipe.momentum) + delta)


def step_rms(rms: Vector, delta: Numbers) -> Vector:
    """Compute the root of adam's next second moment; |delta| < 2**26."""
    squared = BETA * np.square(rms, dtype=np.float64) + (1 - BETA) * np.square(delta * FINE)
    return saturate(np.floor(np.sqrt(squared)))


def _add_move(values: Vector, move: Numbers, rate: int) -> Vector:
    """Add a move, which it spoils, times the outer rate."""
    if rate != ONE:
        move = scale(move, rate)
    return saturate(np.add(values, move, out=move))


def _add_normalized(values: Vector, move: Numbers, rms: Vector, rate: int, count: int) -> Vector:
    """Add a move in the second moment's units over the root of that, times the outer rate; what never moved stays."""
    root = rms / sqrt(1 - _power(BETA, count)) + FINE  # Adam's epsilon: 2**-24
    return saturate(np.add(values, np.rint(move * (rate / ONE * 2**FRACTION_BITS) / root)))


def _power(base: float, exponent: int) -> float:
    """Multiply a number with itself: the same bits everywhere, which pow() does not promise."""
    power = 1.0
    for bit in f"{exponent:b}":
        power *= power * (base if bit == "1" else 1.0)
    return power


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
