"""Hold a factor's delta in few bits: blocks of small integers under one power of two each.

| encoding | block | levels | bytes a block | bits a number |
|---|---|---|---|---|
| int8 | 64 | -127 to 127 | 64 + 1 | 8.13 |
| int4 | 64 | -7 to 7, two a byte | 32 + 1 | 4.13 |
| ternary | 160 | -1, 0, 1, five a byte | 32 + 1 | 1.65 |
| sparse4 | 64 | of every 16 the largest three, -7 to 7 with 4 bits of place | 12 + 1 | 1.63 |

A number is level * 2**exponent units of 2**-24. Exactly one form is legal for a delta: in a block the exponent is 0
or the largest level is over half of what a level can be. Which exponent serves best is the encoder's own choice; what
rounding leaves, the proposer carries over to its next update (error feedback; Seide et al. 2014, arXiv 1901.09847).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.recipe import Encoding

ILLEGAL: Final = -128  # the level that stands for bytes which mean nothing

Bytes = NDArray[np.uint8]
Levels = NDArray[np.int8]


@dataclass(frozen=True)
class Form:
    """Say how an encoding holds a block; pack and unpack take and give whole blocks, (blocks, ...) each."""

    block: int  # numbers
    size: int  # bytes of a block's levels
    limit: int  # the largest level
    max_exponent: int
    tries: int  # exponents to try: the least under which nothing is cut off, and lower ones
    pack: Callable[[Levels], Bytes]
    unpack: Callable[[Bytes], Levels]
    kept: int = 0  # of every GROUP numbers; 0 keeps all

    @property
    def largest(self) -> int:
        """Give the largest delta that can be held: below 2**25 units, a delta of 2, so that sums stay exact."""
        return self.limit << self.max_exponent


def quantize(form: Form, delta: NDArray[Any]) -> tuple[Bytes, Bytes]:
    """Round a delta, in units of 2**-24, to exponents and packed levels, block by block, with little squared error.

    The last block is filled up with zeros. ValueError beyond what the encoding can hold: nothing large is clipped
    silently.
    """
    values = np.zeros((-(-delta.size // form.block), form.block))
    values.ravel()[: delta.size] = delta
    if form.kept:
        values *= mark_largest(values.reshape(-1, GROUP), form.kept).reshape(values.shape)
    fitting = fit_exponents(form, np.abs(values).max(axis=1))
    levels = np.zeros(values.shape, np.int8)
    exponents = np.zeros(len(values), np.uint8)
    least = np.full(len(values), np.inf)
    for lower in range(form.tries):
        tried = np.maximum(fitting - lower, 0)
        scaled = np.ldexp(values, -tried[:, None])
        rounded = np.clip(np.rint(scaled), -form.limit, form.limit)
        error = np.ldexp(((rounded - scaled) ** 2).sum(axis=1), 2 * tried)
        better = error < least
        least[better], levels[better], exponents[better] = error[better], rounded[better], tried[better]
    exponents[~levels.any(axis=1)] = 0
    return exponents, form.pack(levels)


def fit_exponents(form: Form, peaks: NDArray[np.float64]) -> NDArray[np.int64]:
    """Find the least exponents at which peaks round to a legal level; ValueError if there is none."""
    fitting = np.zeros(peaks.shape, np.int64)
    for exponent in range(form.max_exponent + 1):
        fitting += np.rint(np.ldexp(peaks, -exponent)) > form.limit
    if (fitting > form.max_exponent).any():
        raise ValueError(f"compress: a delta is beyond {form.limit} * 2**{form.max_exponent} units")
    return fitting


def expand(form: Form, exponents: Bytes, codes: Bytes, out: NDArray[np.float64]) -> None:
    """Write the numbers of some blocks, in units of 2**-24: integers below 2**25 in size.

    Into memory that is there already: fresh pages for each piece would cost more than the arithmetic.
    """
    blocks = out.reshape(len(codes), form.block)
    np.copyto(blocks, form.unpack(codes))
    blocks *= _POWERS[exponents][:, None]


def find_fault(form: Form, exponents: Bytes, codes: Bytes, size: int) -> str | None:
    """Say why blocks are not the one legal form of `size` numbers, if they are not."""
    levels = form.unpack(codes)
    high, low = levels.max(axis=1), levels.min(axis=1)
    if low.min() < -form.limit:
        return "holds a level that means nothing"
    if exponents.max() > form.max_exponent:
        return f"exponent {exponents.max()} is over {form.max_exponent}"
    if ((exponents > 0) & (np.maximum(high, -low) <= form.limit // 2)).any():  # a block of zeros has exponent 0
        return "a block's exponent is not minimal"
    if levels.ravel()[size:].any():
        return "the last block is not filled up with zeros"
    return None


# --- One form each -------------------------------------------------------------------------------------------

GROUP: Final = 16  # numbers of which the sparse form keeps some
_POWERS: Final = np.exp2(np.arange(256.0))
_TRITS: Final = np.array(list(product((-1, 0, 1), repeat=5)), np.int8)[:, ::-1]  # by their number in base 3
_TRIT_TABLE: Final = np.concatenate([_TRITS, np.full((256 - 3**5, 5), ILLEGAL, np.int8)])
_TRIT_VALUES: Final = np.array([1, 3, 9, 27, 81], np.uint8)
_NIBBLES: Final = np.array([code - 16 * (code > 7) for code in range(16)], np.int8)
_NIBBLE_TABLE: Final = np.stack([np.tile(_NIBBLES, 16), np.repeat(_NIBBLES, 16)], axis=1)


def pack_int4(levels: Levels) -> Bytes:
    """Pack two levels into a byte, the first in its low half."""
    nibbles = levels.view(np.uint8) & np.uint8(15)
    packed: Bytes = nibbles[:, 0::2] | nibbles[:, 1::2] << np.uint8(4)
    return packed


def unpack_int4(codes: Bytes) -> Levels:
    """Undo pack_int4; the half-byte that would be -8 is beyond the limit, so it is found."""
    return look_up(_NIBBLE_TABLE, codes)


def pack_ternary(levels: Levels) -> Bytes:
    """Pack five levels into a byte, as digits in base 3, the lowest first."""
    digits = (levels + 1).view(np.uint8).reshape(len(levels), -1, 5)
    packed: Bytes = (digits * _TRIT_VALUES).sum(axis=2, dtype=np.uint8)
    return packed


def unpack_ternary(codes: Bytes) -> Levels:
    """Undo pack_ternary; bytes over 3**5 - 1 mean nothing."""
    return look_up(_TRIT_TABLE, codes)


def look_up(table: Levels, codes: Bytes) -> Levels:
    """Replace each byte by its row of a table: (blocks, bytes) to (blocks, bytes * columns)."""
    return table[codes.ravel()].reshape(len(codes), -1)


def mark_largest(groups: NDArray[np.float64], kept: int) -> NDArray[np.bool_]:
    """Mark the largest `kept` numbers by size in each row; of equal ones the first."""
    order = np.argsort(-np.abs(groups), axis=1, kind="stable")[:, :kept]
    marks = np.zeros(groups.shape, np.bool_)
    np.put_along_axis(marks, order, values=True, axis=1)
    return marks


def pack_sparse4(levels: Levels) -> Bytes:
    """Pack what is not zero in each group: a byte each, place * 16 + level, in order of place; then zero bytes."""
    groups = levels.reshape(-1, GROUP)
    places = np.argsort(groups == 0, axis=1, kind="stable")[:, :KEPT]
    values = np.take_along_axis(groups, places, axis=1)
    entries = np.where(values != 0, places.astype(np.uint8) << 4 | values.view(np.uint8) & 15, 0)
    return entries.astype(np.uint8).reshape(len(levels), -1)


def unpack_sparse4(codes: Bytes) -> Levels:
    """Undo pack_sparse4; a group that is not in order, or that spends a byte on a zero, means nothing."""
    entries = codes.reshape(-1, KEPT)
    values, places = _NIBBLES[entries & 15], entries >> 4
    groups = np.zeros((len(entries), GROUP), np.int8)
    rows = np.arange(len(entries))
    for index in reversed(range(KEPT)):  # an unused entry, which comes last, must not wipe out place 0
        groups[rows, places[:, index]] = values[:, index]
    used = values != 0
    in_order = ~used[:, 1:] | (used[:, :-1] & (places[:, 1:] > places[:, :-1]))
    groups[~((entries == 0) | used).all(axis=1) | ~in_order.all(axis=1)] = ILLEGAL
    return groups.reshape(len(codes), -1)


KEPT: Final = 3

FORMS: Final[dict[Encoding, Form]] = {
    "int8": Form(64, 64, 127, 18, 1, lambda levels: levels.view(np.uint8), lambda codes: codes.view(np.int8)),
    "int4": Form(64, 32, 7, 22, 3, pack_int4, unpack_int4),
    "ternary": Form(160, 32, 1, 24, 4, pack_ternary, unpack_ternary),
    "sparse4": Form(64, 12, 7, 22, 3, pack_sparse4, unpack_sparse4, KEPT),
}
