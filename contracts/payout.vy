# pragma version ==0.4.3
"""
@title Payout: verdicts into amounts, rounded down
@license Apache-2.0
@notice Mirrors `openflock.protocol.payout`. A round never pays more than its
        budget; what is not earned returns to the pool.
"""


import ballots
import rules


uses: rules


@internal
@view
def _compute_budget(pool: uint256, number: uint256) -> uint256:
    """
    @dev The pool over the rounds left, this one included.
    """
    return pool // (rules.RULES.rounds - number + 1)


@internal
@view
def _compute_proposal_pot(budget: uint256) -> uint256:
    return budget * rules.RULES.proposer_share // rules.SHARE


@internal
@view
def _compute_proposal_pay(
    pot: uint256, weight: uint256, total: uint256, benefit: uint256, alike: uint256
) -> uint256:
    """
    @dev It depends on no rival's fate, so nobody gains by rejecting others;
         near-duplicates share.
    """
    return pot * weight * benefit // (total * rules.RULES.full_benefit * alike)


@internal
@view
def _compute_vote_pay(
    pot: uint256,
    weight: uint256,
    total: uint256,
    halves: uint256,
    agreement: int256,
    pairs: uint256,
) -> uint256:
    """
    @dev A negative agreement lowers the flat part: were it cut at zero by
         itself, random votes would earn in expectation. All is rounded once,
         so splitting a weight never gains a unit.
    """
    share: uint256 = rules.RULES.agreement_share
    flat: int256 = convert((rules.SHARE - share) * halves * pairs, int256)
    earned: int256 = flat + 2 * convert(share, int256) * agreement
    if earned <= 0:
        return 0
    return pot * weight * convert(earned, uint256) // (2 * rules.SHARE * total * pairs)


@internal
@view
def _compute_agreement(mine: uint256, theirs: uint256, slots: uint256) -> (int256, uint256):
    """
    @dev The share of proposals on which two ballots agree, less the share of
         pairs of different proposals on which they would: constant and random
         votes get 0. Returned as a fraction in [-1, 1].
    """
    n: uint256 = 0
    same: uint256 = 0
    my_goods: uint256 = 0
    their_goods: uint256 = 0
    for slot: uint256 in range(16):
        if (slots >> slot) & 1 == 0:
            continue
        flags: uint256 = ballots._get_flags(mine, slot) | ballots._get_flags(theirs, slot)
        if flags & ballots.UNCOMPARED != 0:
            continue
        my_good: uint256 = self._is_good(mine, slot)
        their_good: uint256 = self._is_good(theirs, slot)
        n += 1
        same += 1 - (my_good ^ their_good)
        my_goods += my_good
        their_goods += their_good
    if n < 2:
        return 0, 1
    different: uint256 = my_goods * their_goods + (n - my_goods) * (n - their_goods) - same
    return convert(same * (n - 1), int256) - convert(different, int256), n * (n - 1)


@internal
@view
def _is_good(ballot: uint256, slot: uint256) -> uint256:
    """
    @dev Answers, as 0 or 1, whether a mark speaks for a proposal: the one bit
         by which voters are compared.
    """
    if ballots._get_flags(ballot, slot) != 0:
        return 0
    harmless: bool = ballots._get_score(ballot, slot) >= ballots.ZERO - rules.RULES.tolerance
    return 1 if harmless else 0


@internal
@pure
def _get_original(duplicates: uint256, slot: uint256) -> uint256:
    """
    @dev Reads which slot a slot near-duplicates, itself if none.
    """
    return (duplicates >> (4 * slot)) & 15
