"""Multiply integer matrices exactly with the float unit: limbs of 16 bits, whose sums stay below 2**53."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_COLUMNS: Final = 2**20  # products of two limbs are below 2**32, so this many of them sum below 2**53


def compute_gram(rows: NDArray[np.integer[Any]]) -> NDArray[np.object_]:
    """Compute rows @ rows.T exactly, as Python integers.

    rows: (k, n) integers within int32. A float64 sum of integers below 2**53 is exact in every order, so no
    BLAS, thread count or fused multiply-add can change the result. Memory beyond the input is bounded.
    """
    k, n = rows.shape
    total = np.zeros((k, k), object)
    for start in range(0, n, _COLUMNS):
        part = rows[:, start : start + _COLUMNS].astype(np.int64)
        low = (part & 0xFFFF).astype(np.float64)  # 0 to 2**16 - 1
        high = (part >> 16).astype(np.float64)  # -2**15 to 2**15 - 1
        cross = _to_integers(high @ low.T)
        total += (_to_integers(high @ high.T) << 32) + ((cross + cross.T) << 16) + _to_integers(low @ low.T)
    return total


def _to_integers(exact: NDArray[np.float64]) -> NDArray[np.object_]:
    return exact.astype(np.int64).astype(object)
