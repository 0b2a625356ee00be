"""What the attacks on deltas share: floats back to integers, scaling, and norms in two spaces.

Attacks work on the numbers of the one factor that the round trains, as the other is the same for all: sums and means
of them are sums and means of what they do to the model (in mode `separate` of both, laid out as one: so they are
merged). Distances and angles are not: there, who measures says how.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from openflock.node.proposer import Delta, hold
from openflock.protocol.recipe import Recipe
from openflock.update.codec import make_update
from openflock.update.fixed import FACTORS, LIMIT, Factor, GlobalState, Vector
from openflock.update.geometry import compute_squared_norm

Attack: TypeAlias = Callable[[Delta, Sequence[Delta]], Delta]
Measure: TypeAlias = Callable[[Delta], float]
Matrix: TypeAlias = NDArray[np.float64]


def to_vector(values: NDArray[Any]) -> Vector:
    """Round to integers, half-even, and saturate: what is too large stays as large as can be, and of its sign."""
    vector: Vector = np.rint(values).clip(-LIMIT, LIMIT).astype(np.int32)
    return vector


def get_factor(delta: Delta) -> Factor:
    """Give the one factor of a delta; ValueError if it holds both, as where updates are stacked.

    There, components of different nodes have nothing to do with one another, and statistics of them mean nothing.
    """
    if len(delta) != 1:
        raise ValueError("attacks: this one needs updates that are merged number by number; no mode stack")
    return next(iter(delta))


def join_factors(delta: Delta, recipe: Recipe) -> Delta:
    """Lay both factors out as the one that attacks work on, where they are merged each for itself, number by number."""
    if recipe.mode != "separate":
        return delta
    return {"B": np.concatenate([delta[factor] for factor in FACTORS])}


def part_factors(joined: Delta, like: Delta) -> Delta:
    """Undo `join_factors`, `like` what was joined."""
    if len(joined) == len(like):
        return joined
    parts = np.split(joined["B"], [like[FACTORS[0]].size])
    return dict(zip(FACTORS, parts, strict=True))


def lay_out(own: Delta, honest: Sequence[Delta]) -> tuple[Factor, Matrix]:
    """Lay the known deltas, (nodes, numbers), under one another; who knows no other's takes its own for theirs."""
    factor = get_factor(own)
    return factor, np.stack([delta[factor] for delta in honest or (own,)]).astype(np.float64)


def average(deltas: Sequence[Delta]) -> Delta:
    """Give the mean of deltas of the same factors."""
    return {name: to_vector(np.mean([delta[name] for delta in deltas], axis=0)) for name in deltas[0]}


def scale(delta: Delta, ratio: float) -> Delta:
    """Multiply what a delta does to the model; of two factors only B, since it is their product that counts."""
    scaled = max(delta)
    return {**delta, scaled: to_vector(delta[scaled].astype(np.float64) * ratio)}


# --- Norms ---------------------------------------------------------------------------------------------------


def compute_length(delta: Delta) -> float:
    """Compute the Euclidean norm of the trained factor's numbers, in units of 2**-24."""
    return float(np.linalg.norm(delta[get_factor(delta)].astype(np.float64)))


def measure_effect(state: GlobalState) -> Measure:
    """Give the norm that admission and clipping see: of the product's change, after the encoding has rounded it."""
    return lambda delta: float(compute_squared_norm(state, make_update(state, hold(state, delta)))) ** 0.5


def measure_median(own: Delta, honest: Sequence[Delta], measure: Measure) -> float:
    """Measure the median norm of the known deltas, as clipping does: of two in the middle the lower."""
    norms = sorted(measure(delta) for delta in honest or (own,))
    return norms[(len(norms) - 1) // 2]


def fit_norm(delta: Delta, norm: float, measure: Measure) -> Delta:
    """Scale a delta, up or down, to a norm that it never exceeds, whatever rounding does."""
    before = measure(delta)
    ratio, step = (norm / before if before else 0.0), 2.0**-24
    while measure(fitted := scale(delta, ratio)) > norm:
        ratio, step = ratio * max(0.0, 1 - step), 2 * step
    return fitted
