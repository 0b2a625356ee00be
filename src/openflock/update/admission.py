"""Judge an update by what all voters can compute alike: its bytes, its form, its parent and its norm."""

from fractions import Fraction
from typing import Final

from openflock.protocol.ports import Blob
from openflock.update.codec import Update, decode_update, max_update_size
from openflock.update.container import Malformed
from openflock.update.fixed import GlobalState
from openflock.update.geometry import compute_squared_norm, compute_squared_reach

NORM_BITS: Final = 16  # a norm ceiling n means n * 2**-16


class Inadmissible(Exception):
    """Say in one line why every honest voter refuses an update."""


def check_admission(state: GlobalState, blob: Blob, norm_ceiling: int) -> Update:
    """Decode an update to the current state, or raise Inadmissible.

    norm_ceiling bounds the Frobenius norm of the change of the effective weights, over all modules together,
    in units of 2**-16; where the frozen factor is smaller than the initial A, the change beside one of that size: a
    large delta would have its effect when the frozen factor grows. All voters reach the same answer: no floats, and
    nothing but the arguments counts.
    """
    check_size(state, len(blob))
    try:
        update = decode_update(state, blob)
    except Malformed as error:
        raise Inadmissible(str(error)) from error
    if compute_squared_size(state, update) > Fraction(norm_ceiling**2, 2 ** (2 * NORM_BITS)):
        raise Inadmissible("the norm is over the ceiling")
    return update


def compute_squared_size(state: GlobalState, update: Update) -> Fraction:
    """Compute what the ceiling bounds, squared: the change of the effective weights, now or beside a larger factor."""
    return max(compute_squared_norm(state, update), compute_squared_reach(state, update))


def check_size(state: GlobalState, size: int) -> None:
    """Refuse more bytes than an update can have, as soon as they are announced: nobody needs to fetch them."""
    largest = max_update_size(state)
    if size > largest:
        raise Inadmissible(f"{size} bytes, over the {largest} of this task")
