"""Find updates that say nearly the same, so that copies share one reward."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openflock.update.codec import Update
from openflock.update.fixed import GlobalState
from openflock.update.geometry import compute_dots


def find_duplicates(state: GlobalState, updates: Sequence[Update], threshold_permille: int) -> tuple[int, ...]:
    """Give for each update the lowest index that it nearly duplicates: its own if there is none.

    Two updates are near-duplicates if the cosine of their deltas is at least threshold_permille / 1000; where updates
    are stacked, also their widths must be the same. All nodes attest to the answer, so it is decided in integers. A
    zero delta has no direction and duplicates nothing. ValueError unless the threshold is 1 to 1000.
    """
    if not 1 <= threshold_permille <= 1000:
        raise ValueError("duplicates: threshold must be 1 to 1000")
    originals = list(range(len(updates)))
    for width in {update.layout.width for update in updates}:
        alike = [index for index, update in enumerate(updates) if update.layout.width == width]
        dots = compute_dots(state, [updates[index] for index in alike])
        for i, index in enumerate(alike):
            originals[index] = next(
                alike[j] for j in range(i + 1) if j == i or _is_near(dots, j, i, threshold_permille)
            )
    return tuple(originals)


def _is_near(dots: NDArray[np.object_], i: int, j: int, threshold_permille: int) -> bool:
    # cosine >= t / 1000, squared, without division or root; exact because dots holds Python integers.
    dot = dots[i, j]
    return bool(dot > 0 and dot**2 * 10**6 >= threshold_permille**2 * dots[i, i] * dots[j, j])
