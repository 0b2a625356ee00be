"""A ballot: one 256-bit word, 16 bits for each of up to 16 proposals.

Bits 0 to 11 of a slot are the score, a signed count of 1e-4 of the base's loss (positive: the loss fell);
bits 12 to 15 are the flags.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from openflock.protocol.types import MAX_PROPOSERS, NO_FLAGS, Flag

MIN_SCORE, MAX_SCORE = -2048, 2047


@dataclass(frozen=True)
class Mark:
    """What a ballot says of one proposal."""

    score: int = 0
    flags: Flag = NO_FLAGS


def compute_ballot(marks: Sequence[Mark]) -> int:
    """Pack marks, slot 0 first, into a ballot; scores beyond 12 bits are clipped.

    >>> hex(compute_ballot([Mark(5), Mark(-1, Flag.ABSTAIN)]))
    '0x8fff0005'
    """
    if len(marks) > MAX_PROPOSERS:
        raise ValueError(f"ballot: {len(marks)} marks, at most {MAX_PROPOSERS}")
    word = 0
    for slot, mark in enumerate(marks):
        score = min(MAX_SCORE, max(MIN_SCORE, mark.score)) & 0xFFF
        word |= (int(mark.flags) << 12 | score) << (16 * slot)
    return word


def get_mark(ballot: int, slot: int) -> Mark:
    """Read what a ballot says of the proposal in a slot; every word is a valid ballot."""
    bits = ballot >> (16 * slot) & 0xFFFF
    score = bits & 0xFFF
    return Mark(score - 0x1000 if score & 0x800 else score, Flag(bits >> 12))
