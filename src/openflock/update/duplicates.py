"""Find updates that say nearly the same, so that copies share one reward, and what was merged before earns none."""

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
    _check_threshold(threshold_permille)
    if not updates:
        return ()
    dots = _compute_dots(state, updates)
    return tuple(
        next(first for first in range(i + 1) if first == i or _is_near(dots, first, i, threshold_permille))
        for i in range(len(updates))
    )


def find_stale(
    state: GlobalState, updates: Sequence[Update], past: Sequence[Update], threshold_permille: int
) -> tuple[bool, ...]:
    """Say for each update whether it says nearly nothing that `past` did not say.

    It is stale if its cosine with the nearest mixture of `past`, updates to earlier states that trained the same
    factors, is at least threshold_permille / 1000. With one update in `past` that is a near-duplicate of it, or of its
    opposite; with more, who mixes two old ones, or sends the last merge again, is found too. Decided in integers; a
    zero delta is not stale. ValueError unless the threshold is 1 to 1000.
    """
    _check_threshold(threshold_permille)
    if not updates or not past:
        return (False,) * len(updates)
    dots = _compute_dots(state, [*past, *updates])
    squares = dots.diagonal()[len(past) :]
    rests, unit = _compute_rests(dots, len(past))
    # The rest is what no mixture reaches: rest / whole <= 1 - t**2 where the cosine is t or more.
    share = 10**6 - threshold_permille**2
    return tuple(
        bool(square > 0 and rest * 10**6 <= share * square * unit) for square, rest in zip(squares, rests, strict=True)
    )


def _compute_rests(dots: NDArray[np.object_], count: int) -> tuple[NDArray[np.object_], int]:
    """Compute what is left of each vector's squared length beyond the span of the first `count`; and its unit.

    Elimination without fractions (Bareiss 1968): every division is exact. A vector within the span of those before it
    has a pivot of zero, and nothing to take from the others.
    """
    rest, unit = dots, 1
    for _ in range(count):
        pivot = rest[0, 0]
        if pivot:
            rest = (rest * pivot - np.multiply.outer(rest[:, 0], rest[0])) // unit
            unit = pivot
        rest = rest[1:, 1:]
    return rest.diagonal(), unit


def _compute_dots(state: GlobalState, updates: Sequence[Update]) -> NDArray[np.object_]:
    return (compute_products if state.recipe.mode == "stack" else compute_dots)(state, updates)


def _check_threshold(threshold_permille: int) -> None:
    if not 1 <= threshold_permille <= 1000:
        raise ValueError("duplicates: threshold must be 1 to 1000")


def _is_near(dots: NDArray[np.object_], i: int, j: int, threshold_permille: int) -> bool:
    # cosine >= t / 1000, squared, without division or root; exact because dots holds Python integers.
    dot = dots[i, j]
    return bool(dot > 0 and dot**2 * 10**6 >= threshold_permille**2 * dots[i, i] * dots[j, j])
