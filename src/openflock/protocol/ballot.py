"""A ballot: two 256-bit words, 16 bits in each for each of up to 16 proposals.

Bits 0 to 11 of a slot are the score on the voter's own rows, a signed count of 1e-4 of the base's loss (positive: the
loss fell); bits 12 to 15 are the flags. In the second word bits 0 to 11 are the score on the rows that the creator
sealed; 0 says that there is none, so a score of 0 is written as -1, and where nothing is sealed the word is 0.
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
    return _pack([int(mark.flags) << 12 | _clip(mark.score) & 0xFFF for mark in marks])


def get_mark(ballot: int, slot: int) -> Mark:
    """Read what a ballot says of the proposal in a slot; every word is a valid ballot."""
    bits = ballot >> (16 * slot) & 0xFFFF
    score = bits & 0xFFF
    return Mark(score - 0x1000 if score & 0x800 else score, Flag(bits >> 12))


def choose_sealed_score(scores: Sequence[int], domain: int, tolerance: int) -> int:
    """Choose the one score that a second word has room for, of one by domain: the worst harm, or the own domain's gain.

    Harm is chosen if it is beyond the tolerance, and more than what the proposer's domain gains.

    >>> choose_sealed_score([800, -600], 0, 500), choose_sealed_score([500, -600], 0, 500)
    (800, -600)
    """
    worst = min(scores)
    return worst if worst < min(-tolerance, -scores[domain]) else scores[domain]


def compute_sealed_word(scores: Sequence[int | None]) -> int:
    """Pack the scores on sealed rows, slot 0 first; None where there is none.

    >>> hex(compute_sealed_word([None, 0, 5]))
    '0x50fff0000'
    """
    return _pack([0 if score is None else _clip(score or -1) & 0xFFF for score in scores])


def get_sealed_score(word: int, slot: int) -> int:
    """Read the score on sealed rows of the proposal in a slot, 0 if there is none; every word is valid."""
    return get_mark(word, slot).score


def _clip(score: int) -> int:
    return min(MAX_SCORE, max(MIN_SCORE, score))


def _pack(slots: Sequence[int]) -> int:
    if len(slots) > MAX_PROPOSERS:
        raise ValueError(f"ballot: {len(slots)} slots, at most {MAX_PROPOSERS}")
    return sum(bits << (16 * slot) for slot, bits in enumerate(slots))
