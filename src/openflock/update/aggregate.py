"""Merge accepted updates into the next state with integers: the same bits in any order, on any machine."""

from collections.abc import Sequence
from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openflock.update.codec import Rows, Update, check_update
from openflock.update.fixed import LIMIT, GlobalState, divide_half_even, trained_factor

WEIGHT_BITS: Final = 30
MAX_UPDATES: Final = 2**20


def compute_candidate(state: GlobalState, updates: Sequence[tuple[int, Update]]) -> GlobalState:
    """Add the weighted mean of the updates' deltas to the factor they train, and count one step.

    Weights are positive integers of any size (stakes). The mean is exact and rounded once, half-even; the sum
    saturates at +-LIMIT. ValueError if there is no update, a weight is not positive, or an update is not for
    this state's factor and layout. Whether each one's parent is this state is for admission to say.
    """
    weights = reduce_weights([weight for weight, _ in updates])
    return _merge(state, [update for _, update in updates], weights, sum(weights))


def compute_share(state: GlobalState, update: Update, weight: int, total: int) -> GlobalState:
    """Compute what one update does in a mean of weight `total` in which the others move nothing.

    That is the dose at which it is judged: alone and whole, a specialist's update harms what its share does not.
    """
    weights = reduce_weights([weight, total - weight] if weight < total else [1])
    return _merge(state, [update], weights[:1], sum(weights))


def reduce_weights(weights: Sequence[int]) -> list[int]:
    """Scale weights down to a sum below 2**31, so that sums of weighted deltas fit int64.

    Divides by the greatest common divisor, then shifts right until the sum fits WEIGHT_BITS, but keeps every
    weight at 1 or more: dust gains about 2**-29 of the mean. Exact while the divided sum is below 2**30.
    """
    if not 0 < len(weights) <= MAX_UPDATES:
        raise ValueError(f"aggregate: {len(weights)} updates, not 1 to {MAX_UPDATES}")
    if min(weights) < 1:
        raise ValueError("aggregate: a weight is not positive")
    divisor = gcd(*weights)
    shift = max(0, (sum(weights) // divisor).bit_length() - WEIGHT_BITS)
    return [max(1, weight // divisor >> shift) for weight in weights]


def _merge(state: GlobalState, updates: Sequence[Update], weights: Sequence[int], divisor: int) -> GlobalState:
    factor = trained_factor(state.step)
    for update in updates:
        if update.factor != factor:
            raise ValueError(f"aggregate: an update of factor {update.factor}, where {factor} is trained")
        check_update(state.layout, update)
    merged = {
        name: _merge_module(old, weights, [update.rows[name] for update in updates], divisor)
        for name, old in state.get_factor(factor).items()
    }
    A, B = (merged, state.B) if factor == "A" else (state.A, merged)
    return GlobalState(state.layout, state.step + 1, A, B)


def _merge_module(
    old: NDArray[np.int32], weights: Sequence[int], deltas: Sequence[Rows], divisor: int
) -> NDArray[np.int32]:
    # |q| < 2**7, exponent <= 24, sum of weights < 2**31: the sum stays below 2**62.
    total = np.zeros(old.shape, np.int64)
    for weight, (q, exponent) in zip(weights, deltas, strict=True):
        total += q * (np.int64(weight) << exponent.astype(np.int64))[:, None]
    merged = old + divide_half_even(total, divisor)
    return merged.clip(-LIMIT, LIMIT).astype(np.int32)
