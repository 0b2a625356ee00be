"""Hold a factor's delta in few bits: blocks of small integers under one scale each.

| encoding | block | levels | bytes a block | bits a number |
|---|---|---|---|---|
| int8 | 64 | -127 to 127 | 64 + 1 | 8.13 |
| int4 | 64 | -7 to 7, two a byte | 32 + 1 | 4.13 |
| ternary | 160 | -1, 0, 1, five a byte | 32 + 1 | 1.65 |
| sparse4 | 64 | of every 16 the largest three, -7 to 7 with 4 bits of place | 12 + 1 | 1.63 |

A number is level * scale units of 2**-24. A scale is a byte: the exponent of a power of two, and for ternary one of
eight steps between powers. Exactly one form is legal for a delta: the byte is 0, or the block's largest level is over
half of what a level can be. Which scale serves best is the encoder's own choice; what rounding leaves, the proposer
carries over to its next update (error feedback; Seide et al. 2014, arXiv 1901.09847).
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
    scales: NDArray[np.float64]  # units of 2**-24, by their byte
    pack: Callable[[Levels], Bytes]
    unpack: Callable[[Bytes], Levels]
    kept: int = 0  # of every GROUP numbers; 0 keeps all

    @property
    def largest(self) -> int:
        """Give the largest delta that can be held: below 2**25 units, a delta of 2, so that sums stay exact."""
        return self.limit * int(self.scales[-1])


def quantize(form: Form, delta: NDArray[Any]) -> tuple[Bytes, Bytes]:
    """Round a delta, in units of 2**-24, to scales and packed levels, block by block.

    The last block is filled up with zeros. ValueError beyond what the encoding can hold: nothing large is cut off
    silently.
    """
    values = np.zeros((-(-delta.size // form.block), form.block))
    values.ravel()[: delta.size] = delta
    if np.abs(values).max(initial=0) > form.largest:
        raise ValueError(f"compress: a delta is beyond {form.largest} units")
    if form.kept:
        values *= mark_largest(values.reshape(-1, GROUP), form.kept).reshape(values.shape)
    scales, levels = choose_signs(form, values) if form.limit == 1 else choose_power(form, values)
    scales[~levels.any(axis=1)] = 0
    return scales, form.pack(levels)


def choose_power(form: Form, values: NDArray[np.float64]) -> tuple[Bytes, Levels]:
    """Round under the power of two of least squared error: the least that holds the block's peak, or a lower one."""
    fitting = fit_power(form, np.abs(values).max(axis=1))
    scales, levels = np.zeros(len(values), np.uint8), np.zeros(values.shape, np.int8)
    least = np.full(len(values), np.inf)
    for lower in range(1 if form.limit > 7 else 3):  # many levels: what would be cut off costs more than it saves
        tried = np.maximum(fitting - lower, 0)
        scaled = np.ldexp(values, -tried[:, None])
        rounded = np.clip(np.rint(scaled), -form.limit, form.limit)
        error = np.ldexp(((rounded - scaled) ** 2).sum(axis=1), 2 * tried)
        better = error < least
        least[better], levels[better], scales[better] = error[better], rounded[better], tried[better]
    return scales, levels


def fit_power(form: Form, peaks: NDArray[np.float64]) -> NDArray[np.int64]:
    """Find the least exponents at which peaks round to a legal level."""
    fitting: NDArray[np.int64] = np.sum([np.rint(peaks / scale) > form.limit for scale in form.scales], axis=0)
    return fitting


def choose_signs(form: Form, values: NDArray[np.float64]) -> tuple[Bytes, Levels]:
    """Keep the signs of what is large in a block, under the scale at which they lead as far along it as it does itself.

    The nearest ternary block would be shorter by a fifth, and so would be the step. Here the error lies across the
    delta, where it averages out over nodes (the scale as in DRIVE, arXiv 2105.08339; the threshold as in ternary weight
    networks, arXiv 1605.04711).
    """
    sizes = np.abs(values)
    means, energy = sizes.mean(axis=1, keepdims=True), (values**2).sum(axis=1)
    levels, wanted, best = np.zeros(values.shape, np.int8), np.zeros(len(values)), np.zeros(len(values))
    for share in (0.4, 0.55, 0.7, 0.85, 1.0):
        marks = sizes > share * means
        total = np.where(marks, sizes, 0).sum(axis=1)
        aligned = total**2 / np.maximum(marks.sum(axis=1), 1)
        better = aligned > best
        best[better], levels[better] = aligned[better], (np.sign(values) * marks)[better]
        wanted[better] = (energy / np.maximum(total, 1))[better]
    between = (form.scales[1:] + form.scales[:-1]) / 2
    return np.searchsorted(between, wanted).astype(np.uint8), levels


def expand(form: Form, scales: Bytes, codes: Bytes, out: NDArray[np.float64]) -> None:
    """Write the numbers of some blocks, in units of 2**-24: integers below 2**25 in size.

    Into memory that is there already: fresh pages for each piece would cost more than the arithmetic.
    """
    blocks = out.reshape(len(codes), form.block)
    np.copyto(blocks, form.unpack(codes))
    blocks *= form.scales[scales][:, None]


def find_fault(form: Form, scales: Bytes, codes: Bytes, size: int) -> str | None:
    """Say why blocks are not the one legal form of `size` numbers, if they are not."""
    levels = form.unpack(codes)
    sizes = merge_bits(np.abs(levels).view(np.uint8))
    if sizes.max() > form.limit:
        return "holds a level that means nothing"
    if scales.max() >= len(form.scales):
        return f"scale {scales.max()} is over {len(form.scales) - 1}"
    if ((scales > 0) & (sizes <= form.limit // 2)).any():  # a block of zeros has scale 0
        return "a block's scale is not minimal"
    if levels.ravel()[size:].any():
        return "the last block is not filled up with zeros"
    return None


def merge_bits(sizes: Bytes) -> Bytes:
    """Merge each row's bits by OR, in (blocks, 8 n): it is over 2**k - 1, as limits are, where the largest byte is.

    Eight bytes at a time: the maximum of each row takes ten times as long.
    """
    words = sizes.view(np.uint64)
    merged = words[:, 0].copy()
    for column in range(1, words.shape[1]):
        merged |= words[:, column]
    for shift in (32, 16, 8):
        merged |= merged >> np.uint64(shift)
    return merged.astype(np.uint8)


# --- One form each -------------------------------------------------------------------------------------------

GROUP: Final = 16  # numbers of which the sparse form keeps some
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


def list_powers(most: int) -> NDArray[np.float64]:
    """List the powers of two up to 2**most."""
    return np.ldexp(1.0, np.arange(most + 1))


_STEPS: Final = np.ldexp(8.0 + np.arange(22 * 8) % 8, np.arange(22 * 8) // 8)  # 8 to 15, each times 2**0 to 2**21

FORMS: Final[dict[Encoding, Form]] = {
    "int8": Form(64, 64, 127, list_powers(18), lambda levels: levels.view(np.uint8), lambda codes: codes.view(np.int8)),
    "int4": Form(64, 32, 7, list_powers(22), pack_int4, unpack_int4),
    "ternary": Form(160, 32, 1, _STEPS, pack_ternary, unpack_ternary),
    "sparse4": Form(64, 12, 7, list_powers(22), pack_sparse4, unpack_sparse4, KEPT),
}
