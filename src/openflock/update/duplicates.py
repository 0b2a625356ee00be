"""Find updates that say nearly the same, so that copies share one reward."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openflock.update.codec import Rows, Update, expand
from openflock.update.gram import compute_gram

_NUMBERS: Final = 2**18  # of each update at once; bounds memory, whatever the size of a module


def find_duplicates(updates: Sequence[Update], threshold_permille: int) -> tuple[int, ...]:
    """Give for each update the lowest index that it nearly duplicates: its own if there is none.

    Two updates are near-duplicates if the cosine of their deltas is at least threshold_permille / 1000. All
    nodes attest to the answer, so it is decided in integers. A zero delta has no direction and duplicates
    nothing. ValueError unless the threshold is 1 to 1000 and the updates are of one factor and one layout.
    """
    if not 1 <= threshold_permille <= 1000:
        raise ValueError("duplicates: threshold must be 1 to 1000")
    if not updates:
        return ()
    dots = _compute_dots(updates)
    return tuple(
        next(first for first in range(i + 1) if first == i or _is_near(dots, first, i, threshold_permille))
        for i in range(len(updates))
    )


def _compute_dots(updates: Sequence[Update]) -> NDArray[np.object_]:
    if any(u.factor != updates[0].factor or u.rows.keys() != updates[0].rows.keys() for u in updates):
        raise ValueError("duplicates: the updates are not of one factor and one layout")
    dots = np.zeros((len(updates), len(updates)), object)
    for name, (q, _) in updates[0].rows.items():
        step = max(1, _NUMBERS // q.shape[1])
        for start in range(0, len(q), step):
            block = slice(start, start + step)
            dots += compute_gram(np.stack([_expand_block(update.rows[name], block) for update in updates]))
    return dots


def _expand_block(rows: Rows, block: slice) -> NDArray[np.int64]:
    return expand(Rows(rows.q[block], rows.exponent[block])).ravel()


def _is_near(dots: NDArray[np.object_], i: int, j: int, threshold_permille: int) -> bool:
    # cosine >= t / 1000, squared, without division or root; exact because dots holds Python integers.
    dot = dots[i, j]
    return bool(dot > 0 and dot**2 * 10**6 >= threshold_permille**2 * dots[i, i] * dots[j, j])
