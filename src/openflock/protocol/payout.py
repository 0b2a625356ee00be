"""Payout: verdicts -> amounts, in integers that round down, so that a round never pays more than its budget."""

from collections.abc import Hashable, Iterable, Sequence

from openflock.protocol.ballot import Mark
from openflock.protocol.rules import SHARE, Rules
from openflock.protocol.types import NO_FLAGS, Amount, Flag, Judgement, Verdict
from openflock.protocol.verdict import UNSCORED

Fraction = tuple[int, int]  # above and below the line; never reduced
REFUSALS = {Verdict.UNAVAILABLE: Flag.UNAVAILABLE, Verdict.INADMISSIBLE: Flag.INADMISSIBLE}


def compute_budget(rules: Rules, pool: Amount, round_number: int) -> Amount:
    """Compute what a round may spend: the pool over the rounds left, this one included (rounds count from 1)."""
    return pool // (rules.rounds - round_number + 1)


def compute_proposal_pay(rules: Rules, budget: Amount, weight: int, total: int, benefit: int, alike: int) -> Amount:
    """Compute a merged proposal's pay, `alike` being the number of merged near-duplicates, itself included.

    It depends on no rival's fate, so nobody gains by rejecting others; what is not earned returns to the creator.
    """
    pot = budget * rules.proposer_share // SHARE
    return pot * weight * benefit // (total * rules.full_benefit * alike)


def compute_vote_pay(
    rules: Rules, budget: Amount, weight: int, total: int, halves: int, agreement: Fraction, answered: Fraction
) -> Amount:
    """Compute a voter's pay from what it did (`halves`: ballot, attestation), how it agreed, and what it answered.

    The agreement may be negative and then lowers the flat part: were it cut at zero by itself, random votes
    would earn in expectation. All is rounded once, so splitting a weight never gains a unit.
    """
    pot = budget - budget * rules.proposer_share // SHARE
    earned = (SHARE - rules.agreement_share) * halves * agreement[1] + 2 * rules.agreement_share * agreement[0]
    return pot * weight * answered[0] * max(0, earned) // (2 * SHARE * total * agreement[1] * answered[1])


def is_answer(mark: Mark, verdict: Verdict) -> bool:
    """Answer whether a mark is paid: a score, or a refusal that the verdict confirms; an abstention never."""
    if not mark.flags & UNSCORED:
        return True
    return bool(mark.flags & REFUSALS.get(verdict, NO_FLAGS))


def compute_agreement(scores: Iterable[tuple[Hashable, int, int]]) -> Fraction:
    """Compute how alike two voters rank updates, as a fraction in [-1, 1], from (domain, mine, theirs) by slot.

    Each update is compared with the one before it of its domain: +1 if both say which is better, and the same; -1 if
    they differ; 0 if one sees no difference. Constant votes get 0, guesses 0 in expectation, whatever the other says
    (Kendall's tau over neighbouring pairs; Dasgupta and Ghosh 2013). Only within a domain: that a specialist helps its
    own domain more than others do is known without a look.

    >>> compute_agreement([(0, 10, 7), (1, -5, 0), (0, 30, 9), (0, 20, 8)]), compute_agreement([(0, 1, 1), (1, 2, 2)])
    ((2, 2), (0, 1))
    """
    before = dict[Hashable, tuple[int, int]]()
    agreed = pairs = 0
    for domain, mine, theirs in scores:
        if domain in before:
            agreed += _compare(mine, before[domain][0]) * _compare(theirs, before[domain][1])
            pairs += 1
        before[domain] = mine, theirs
    return (agreed, pairs) if pairs else (0, 1)


def _compare(score: int, other: int) -> int:
    return (score > other) - (score < other)


def get_original(duplicates: int, slot: int) -> int:
    """Read which slot a slot near-duplicates, itself if none."""
    return duplicates >> (4 * slot) & 0xF


def count_alike(judgements: Sequence[Judgement], duplicates: int, slot: int) -> int:
    """Count the paid proposals that share a slot's payout, itself included."""
    original = get_original(duplicates, slot)
    return sum(
        is_paid(judgement, duplicates, other) and get_original(duplicates, other) == original
        for other, judgement in enumerate(judgements)
    )


def is_paid(judgement: Judgement, duplicates: int, slot: int) -> bool:
    """Answer whether a proposal of a merged round is paid: what is old earns nothing a second time."""
    return judgement.verdict == Verdict.PAID and not is_stale(duplicates, slot)


def is_stale(duplicates: int, slot: int) -> bool:
    """Read whether a slot near-duplicates what was merged in an earlier round: then it earns nothing."""
    return bool(duplicates >> (64 + slot) & 1)
