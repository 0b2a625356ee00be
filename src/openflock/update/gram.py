"""Multiply integer matrices exactly with the float unit: no BLAS, thread count or fused multiply-add can change a bit.

A float64 sum of integers is exact in every order while all partial sums stay below 2**53.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

EXACT_BITS: Final = 53
_LIMB: Final = 16
_COLUMNS: Final = 2**16  # with limbs of 16 bits: 2**16 products below 2**32 sum below 2**48
_NARROW: Final = 2**7  # columns; of 2**16 as narrow as that, sums are below 2**(53 - 7 + 16), which an int64 holds


def multiply_exact(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.object_]:
    """Compute left @ right.T as Python integers.

    left: (k, n), right: (m, n), integers within int32 of any dtype. Over as many columns at once as their sizes allow;
    where those are too few, by limbs of 16 bits. Memory beyond the inputs is bounded.
    """
    total = np.zeros((len(left), len(right)), object)
    for start in range(0, left.shape[1], _COLUMNS):
        a, b = left[:, start : start + _COLUMNS], right[:, start : start + _COLUMNS]
        total += _multiply(a.astype(np.float64, copy=False), b.astype(np.float64, copy=False))
    return total


def _multiply(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.object_]:
    width = 2**EXACT_BITS >> _count_bits(a) + _count_bits(b)  # none, if not even one product fits
    if width < min(_NARROW, a.shape[1]):
        return _multiply_limbs(a, b)
    total = np.zeros((len(a), len(b)), np.int64)
    for start in range(0, a.shape[1], width):
        total += (a[:, start : start + width] @ b[:, start : start + width].T).astype(np.int64)
    return total.astype(object)


def _multiply_limbs(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.object_]:
    a_high, b_high = np.floor(np.ldexp(a, -_LIMB)), np.floor(np.ldexp(b, -_LIMB))
    a_low, b_low = a - np.ldexp(a_high, _LIMB), b - np.ldexp(b_high, _LIMB)
    cross = _to_integers(a_high @ b_low.T) + _to_integers(a_low @ b_high.T)
    product = (_to_integers(a_high @ b_high.T) << 2 * _LIMB) + (cross << _LIMB) + _to_integers(a_low @ b_low.T)
    return np.asarray(product, object)


def _count_bits(values: NDArray[np.float64]) -> int:
    return int(max(values.max(initial=0), -values.min(initial=0))).bit_length()


def _to_integers(exact: NDArray[np.float64]) -> NDArray[np.object_]:
    integers: NDArray[np.object_] = exact.astype(np.int64).astype(object)
    return integers
