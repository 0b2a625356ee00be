# pragma version ==0.4.3
"""
@title Ballots: two words, 16 bits in each for each of up to 16 proposals
@license Apache-2.0
@notice Mirrors `openflock.protocol.ballot`. Bits 0 to 11 of a slot are the
        score, a signed count of 1e-4 of the base's loss; bits 12 to 15
        are the flags. In the second word bits 0 to 11 are the score on the
        rows that the creator sealed, 0 if there is none. Every word is valid.
"""


import types


# An opened ballot and whose it is.
struct Vote:
    node: address
    domain: uint256
    weight: uint256
    ballot: uint256
    sealed: uint256


# Scores are compared as naturals: twelve bits of two's complement with the
# sign flipped are the score plus 2048.
ZERO: constant(uint256) = 2048

UNSCORED: constant(uint256) = (
    types.FLAG_UNAVAILABLE | types.FLAG_INADMISSIBLE | types.FLAG_ABSTAIN
)
REFUSED: constant(uint256) = types.FLAG_UNAVAILABLE | types.FLAG_INADMISSIBLE


@internal
@pure
def _get_score(ballot: uint256, slot: uint256) -> uint256:
    """
    @dev Reads the score of a slot, plus `ZERO`.
    """
    return ((ballot >> (16 * slot)) & 4095) ^ ZERO


@internal
@pure
def _get_flags(ballot: uint256, slot: uint256) -> uint256:
    """
    @dev Reads the flags of a slot.
    """
    return (ballot >> (16 * slot + 12)) & 15
