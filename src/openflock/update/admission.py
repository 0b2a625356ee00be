"""Judge an update by what all voters can compute alike: its bytes, its form, its parent and its norm."""

from fractions import Fraction
from typing import Final

from openflock.update.codec import Update, decode_update, digest, encode_state, expand, max_update_size
from openflock.update.container import Blob, Malformed
from openflock.update.fixed import FRACTION_BITS, GlobalState, trained_factor
from openflock.update.gram import compute_gram

NORM_BITS: Final = 16  # a norm ceiling n means n * 2**-16


class Inadmissible(Exception):
    """Say in one line why every honest voter refuses an update."""


def check_admission(state: GlobalState, blob: Blob, norm_ceiling: int) -> Update:
    """Decode an update to the current state, or raise Inadmissible.

    norm_ceiling bounds the Frobenius norm of the change of the effective weights, over all modules together,
    in units of 2**-16. All voters reach the same answer: no floats, and nothing but the arguments counts.
    What an enemy keeps: where the frozen factor is near zero, a large delta of the other passes, without effect
    until the frozen factor grows.
    """
    largest = max_update_size(state.layout)
    if len(blob) > largest:
        raise Inadmissible(f"{len(blob)} bytes, over the {largest} of this layout")
    parent = digest(encode_state(state))
    try:
        update = decode_update(state.layout, parent, trained_factor(state.step), blob)
    except Malformed as error:
        raise Inadmissible(str(error)) from error
    if squared_norm(state, update) > Fraction(norm_ceiling**2, 2 ** (2 * NORM_BITS)):
        raise Inadmissible("the norm is over the ceiling")
    return update


def squared_norm(state: GlobalState, update: Update) -> Fraction:
    """Compute the squared Frobenius norm of alpha / rank * dB @ A (or B @ dA) over all modules, exactly.

    |dB A|^2 = sum(dB^T dB * A A^T): two Gram matrices of rank x rank, and no product of outputs x inputs.
    """
    total = 0
    for name, rows in update.rows.items():
        left, right = (expand(rows), state.A[name]) if update.factor == "B" else (state.B[name], expand(rows))
        total += int((compute_gram(left.T) * compute_gram(right)).sum())
    # Four factors of 2**-24 make one product of two deltas and two frozen entries.
    return Fraction(total * state.layout.alpha**2, state.layout.rank**2 << 4 * FRACTION_BITS)
