"""Payout: verdicts -> amounts, in integers that round down, so that a round never pays more than its budget."""

from collections.abc import Sequence

from openflock.protocol.ballot import Mark
from openflock.protocol.rules import SHARE, Rules
from openflock.protocol.types import Amount, Flag, Judgement, Verdict

UNCOMPARED = Flag.UNAVAILABLE | Flag.ABSTAIN


def compute_budget(rules: Rules, pool: Amount, round_number: int) -> Amount:
    """Compute what a round may spend: the pool over the rounds left, this one included (rounds count from 1)."""
    return pool // (rules.rounds - round_number + 1)


def compute_proposal_pay(rules: Rules, budget: Amount, weight: int, total: int, benefit: int, alike: int) -> Amount:
    """Compute a merged proposal's pay, `alike` being the number of merged near-duplicates, itself included.

    It depends on no rival's fate, so nobody gains by rejecting others; what is not earned returns to the pool.
    """
    pot = budget * rules.proposer_share // SHARE
    return pot * weight * benefit // (total * rules.full_benefit * alike)


def compute_vote_pay(
    rules: Rules, budget: Amount, weight: int, total: int, halves: int, agreement: tuple[int, int]
) -> Amount:
    """Compute a voter's pay from what it did (`halves` of the flat part: ballot, attestation) and how it agreed.

    The agreement may be negative and then lowers the flat part: were it cut at zero by itself, random votes
    would earn in expectation. All is rounded once, so splitting a weight never gains a unit.
    """
    pot = budget - budget * rules.proposer_share // SHARE
    numerator, denominator = agreement
    earned = (SHARE - rules.agreement_share) * halves * denominator + 2 * rules.agreement_share * numerator
    return pot * weight * max(0, earned) // (2 * SHARE * total * denominator)


def is_good(rules: Rules, mark: Mark) -> bool:
    """Answer whether a mark speaks for a proposal: the one bit by which voters are compared."""
    return not mark.flags and mark.score >= -rules.tolerance


def is_compared(mark: Mark) -> bool:
    """Answer whether a mark says anything of a proposal."""
    return not mark.flags & UNCOMPARED


def compute_agreement(pairs: Sequence[tuple[bool, bool]]) -> tuple[int, int]:
    """Compute the correlated agreement of two voters as a fraction in [-1, 1].

    The share of proposals on which they agree, minus the share of pairs of different proposals on which they
    would: constant and random votes get 0 (Dasgupta and Ghosh 2013; Shnayder et al. 2016).

    >>> compute_agreement([(True, True), (False, False)]), compute_agreement([(True, True), (True, True)])
    ((2, 2), (0, 2))
    """
    n = len(pairs)
    if n < 2:
        return 0, 1
    same = sum(mine == theirs for mine, theirs in pairs)
    mine, theirs = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    different = mine * theirs + (n - mine) * (n - theirs) - same
    return same * (n - 1) - different, n * (n - 1)


def get_original(duplicates: int, slot: int) -> int:
    """Read which slot a slot near-duplicates, itself if none."""
    return duplicates >> (4 * slot) & 0xF


def count_alike(judgements: Sequence[Judgement], duplicates: int, slot: int) -> int:
    """Count the paid proposals that share a slot's payout, itself included."""
    original = get_original(duplicates, slot)
    return sum(
        judgement.verdict == Verdict.PAID and get_original(duplicates, other) == original
        for other, judgement in enumerate(judgements)
    )
