"""Find updates that say nearly the same, so that copies share one reward."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openflock.update.codec import Update
from openflock.update.fixed import GlobalState
from openflock.update.geometry import compute_dots, compute_products


def find_duplicates(state: GlobalState, updates: Sequence[Update], threshold_permille: int) -> tuple[int, ...]:
    """Give for each update the lowest index that it nearly duplicates: its own if there is none.

    Two updates are near-duplicates if the cosine of their deltas is at least threshold_permille / 1000; where updates
    are stacked, of what they do to the model, since the same product has many factors. All nodes attest to the answer,
    so it is decided in integers. A zero delta has no direction and duplicates nothing. ValueError unless the threshold
    is 1 to 1000.
    """
    if not 1 <= threshold_permille <= 1000:
        raise ValueError("duplicates: threshold must be 1 to 1000")
    if not updates:
        return ()
    dots = (compute_products if state.recipe.mode == "stack" else compute_dots)(state, updates)
    return tuple(
        next(first for first in range(i + 1) if first == i or _is_near(dots, first, i, threshold_permille))
        for i in range(len(updates))
    )


def _is_near(dots: NDArray[np.object_], i: int, j: int, threshold_permille: int) -> bool:
    # cosine >= t / 1000, squared, without division or root; exact because dots holds Python integers.
    dot = dots[i, j]
    return bool(dot > 0 and dot**2 * 10**6 >= threshold_permille**2 * dots[i, i] * dots[j, j])
