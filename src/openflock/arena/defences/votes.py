"""Defences that ask voters, and the two controls: a filter that knows, and one that guesses."""

from typing import Final

import numpy as np

from openflock.arena.defences.proposals import (
    Aggregate,
    Flags,
    Numbers,
    Proposals,
    find_median,
    merge_accepted,
    merge_shares,
    need,
    reject_broken,
)

FLOCK_TOLERANCE: Final = 0.05


@reject_broken
def clean_loss_vote(proposals: Proposals, tolerance: float = 0.01) -> Aggregate:
    """Accept what half of the voters' weight sees no harm of: the median gain is not below -tolerance.

    It sees no backdoor, since clean loss does not, and turns minority domains away. Whom nobody judged is rejected.
    """
    scores: Numbers = need(proposals.scores, "scores, each voter's gain with each proposal")
    voters: Numbers = need(proposals.voters, "voters, the weight of each")
    accepted = [_is_harmless(column, voters, tolerance) for column in scores.T]
    return merge_accepted(proposals, np.array(accepted, np.bool_))


def _is_harmless(scores: Numbers, voters: Numbers, tolerance: float) -> bool:
    said = ~np.isnan(scores)
    return bool(said.any()) and find_median(scores[said], voters[said]) >= -tolerance


@reject_broken
def flock_game(proposals: Proposals, tolerance: float = FLOCK_TOLERANCE) -> Aggregate:
    """Play FLock's own game: vote on the aggregate, heads alike; refused, all its proposers are slashed together.

    The mean of all is accepted where more voters than not score it at least 1 - tolerance of the score before
    (arXiv 2307.00543, as others have rebuilt it; FLock's contract asks for more than none too).
    """
    judge = need(proposals.judge, "judge, the voters' gains with an aggregate")
    merged = merge_shares(proposals, proposals.weights)
    accepted = bool(compute_flock_votes(judge(merged.delta), tolerance).sum() > 0)
    if accepted:
        return merged
    nobody = np.zeros(len(proposals.updates), np.bool_)
    return Aggregate(np.zeros_like(merged.delta), nobody, ~nobody)


def compute_flock_votes(gains: Numbers, tolerance: float = FLOCK_TOLERANCE) -> Numbers:
    """Turn relative gains into votes of +1 and -1; a gain that is not a number is -1."""
    return np.where(gains >= -tolerance, 1.0, -1.0)


@reject_broken
def oracle_filter(proposals: Proposals) -> Aggregate:
    """Average the honest: what a defence could reach at best. It knows them; no defence does."""
    malicious: Flags = need(proposals.malicious, "malicious, which only a control may see")
    return merge_accepted(proposals, ~malicious)


@reject_broken
def random_filter(proposals: Proposals) -> Aggregate:
    """Reject as many as are malicious, by chance: what rejecting alone does, without knowing whom."""
    malicious: Flags = need(proposals.malicious, "malicious, which only a control may see")
    count = len(malicious)
    rejected = np.random.default_rng(proposals.seed).permutation(count)[: malicious.sum()]
    return merge_accepted(proposals, ~np.isin(np.arange(count), rejected))
