# pragma version ==0.4.3
"""
@title Payout: verdicts into amounts, rounded down
@license Apache-2.0
@notice Mirrors `openflock.protocol.payout`. A round never pays more than its
        budget; what is not earned returns to the creator.
"""


import ballots
import rules


uses: rules


# A signed part of a whole that is never 0.
struct Fraction:
    part: int256
    whole: uint256


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
    agreement: Fraction,
    answers: Fraction,
) -> uint256:
    """
    @dev A negative agreement lowers the flat part: were it cut at zero by
         itself, random votes would earn in expectation. All is rounded once,
         so splitting a weight never gains a unit.
    """
    share: uint256 = rules.RULES.agreement_share
    flat: int256 = convert((rules.SHARE - share) * halves * agreement.whole, int256)
    earned: int256 = flat + 2 * convert(share, int256) * agreement.part
    if earned <= 0:
        return 0
    earnings: uint256 = pot * weight * convert(answers.part * earned, uint256)
    return earnings // (2 * rules.SHARE * total * agreement.whole * answers.whole)


@internal
@pure
def _compute_agreement(
    mine: uint256[2],
    theirs: uint256[2],
    slots: uint256,
    proven: uint256,
    domains: uint256,
    near: bool,
) -> Fraction:
    """
    @dev How alike two ballots rank the updates of one domain, each compared
         with the one before it: constant votes get 0, guesses 0 in
         expectation. First words are compared of voters who are near, and
         second words in slots where sealed rows proved the benefit: the last
         bit of 16. A domain has four bits for each slot.
    """
    agreement: Fraction = empty(Fraction)
    before: uint256[32] = empty(uint256[32])  # by word and domain: the slot before, plus one
    for slot: uint256 in range(16):
        flags: uint256 = ballots._get_flags(mine[0] | theirs[0], slot)
        if (slots >> slot) & 1 == 0 or flags & ballots.UNSCORED != 0:
            continue
        for word: uint256 in range(2):
            if (proven >> (16 * slot + 15)) & word != word or (not near and word == 0):
                continue
            key: uint256 = 16 * word + ((domains >> (4 * slot)) & 15)
            if before[key] != 0:
                agreement.part += self._compare(mine[word], slot, before[key] - 1) * self._compare(
                    theirs[word], slot, before[key] - 1
                )
                agreement.whole += 1
            before[key] = slot + 1
    agreement.whole = max(1, agreement.whole)
    return agreement


@internal
@pure
def _compare(ballot: uint256, slot: uint256, other: uint256) -> int256:
    """
    @dev Answers which of two slots has the higher score: 1, 0 or -1.
    """
    score: uint256 = ballots._get_score(ballot, slot)
    before: uint256 = ballots._get_score(ballot, other)
    if score == before:
        return 0
    return 1 if score > before else -1


@internal
@pure
def _get_original(duplicates: uint256, slot: uint256) -> uint256:
    """
    @dev Reads which slot a slot near-duplicates, itself if none.
    """
    return (duplicates >> (4 * slot)) & 15


@internal
@pure
def _is_stale(duplicates: uint256, slot: uint256) -> bool:
    """
    @dev Reads whether a slot near-duplicates what was merged before.
    """
    return (duplicates >> (64 + slot)) & 1 == 1
