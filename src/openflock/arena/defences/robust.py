"""Robust rules as published, by weight, in floats.

`update.robust` has most of them exactly, for a ledger; it takes integers below 2**25, so it can be shown neither an
attack without a bound nor the small numbers beside one. What both can be shown they merge alike: the tests compare.
Flower's rules (1.41) differ by two conventions alone: a neighbour less in Krum's score, and the mean of the middle two
for the median of an even number.
"""

from typing import Final

import numpy as np

from openflock.arena.defences.proposals import (
    Aggregate,
    Flags,
    Numbers,
    Proposals,
    compute_squares,
    find_median,
    merge_accepted,
    merge_shares,
    merge_whole,
    reject_broken,
)

_STEPS: Final = 64
_STILL: Final = 1e-10  # a step that moves no share by more is the last


@reject_broken
def mean(proposals: Proposals) -> Aggregate:
    """Average all: no defence."""
    return merge_shares(proposals, proposals.weights)


@reject_broken
def median(proposals: Proposals) -> Aggregate:
    """Take each coordinate's lower median (Yin et al. 2018, arXiv 1803.01498)."""
    return merge_whole(proposals, _find_medians(proposals.updates, proposals.weights))


@reject_broken
def trimmed_mean(proposals: Proposals) -> Aggregate:
    """Average each coordinate after the faulty weight was cut off at either end (Yin et al. 2018)."""
    return merge_whole(proposals, _trim(proposals.updates, proposals.weights, proposals.faulty))


@reject_broken
def krum(proposals: Proposals) -> Aggregate:
    """Take the update nearest to its neighbours (Blanchard et al. 2017, arXiv 1703.02757)."""
    squares = compute_squares(proposals.updates, proposals.updates)
    scores = score_krum(squares, proposals.weights, proposals.faulty)
    return merge_accepted(proposals, np.arange(len(scores)) == scores.argmin())


@reject_broken
def multi_krum(proposals: Proposals) -> Aggregate:
    """Average the updates with the best Krum scores, until only the faulty weight is left out."""
    squares = compute_squares(proposals.updates, proposals.updates)
    scores = score_krum(squares, proposals.weights, proposals.faulty)
    return merge_shares(proposals, _take_first(scores[None], proposals.weights, proposals.faulty)[0])


@reject_broken
def geometric_median(proposals: Proposals) -> Aggregate:
    """Find the point with the least sum of distances (RFA; Pillutla et al. 2019, arXiv 1912.13445).

    Weiszfeld's steps from the mean, smoothed by 2**-14 of the median distance.
    """
    updates, weights = proposals.updates, proposals.weights
    shares = weights / weights.sum()
    for _ in range(_STEPS):
        distances = np.sqrt(compute_squares(updates, (shares @ updates)[None])[:, 0])
        smoothing = find_median(distances, weights) / 2**14
        if not distances.max() + smoothing:
            break
        pulls = weights / np.maximum(distances + smoothing, distances.max() * 2**-50)
        before, shares = shares, pulls / pulls.sum()
        if np.abs(shares - before).max() < _STILL:
            break
    return merge_shares(proposals, shares)


@reject_broken
def bulyan(proposals: Proposals) -> Aggregate:
    """Pick by Krum one after another, then average what is nearest to each coordinate's median (arXiv 1802.07927).

    It withstands f of n >= 4 f + 3 only: where it is told of more, it withstands what it can.
    """
    updates, weights = proposals.updates, proposals.weights
    faulty = min(proposals.faulty, max(0.0, (len(updates) - 3) / (4 * len(updates))))
    taken = _pick_by_krum(compute_squares(updates, updates), weights, faulty)
    chosen = taken > 0
    medians = _find_medians(updates[chosen], taken[chosen])
    # Of the weight 1 - 2 f that was picked, 1 - 4 f stays.
    left_out = 2 * faulty / (1 - 2 * faulty)
    near = _take_first(np.abs(updates[chosen] - medians).T, taken[chosen], left_out).T
    delta = (near * updates[chosen]).sum(axis=0) / near.sum(axis=0)
    return Aggregate(delta, chosen, np.zeros(len(updates), np.bool_))


@reject_broken
def nnm_trimmed_mean(proposals: Proposals) -> Aggregate:
    """Let each update give way to the mean of the weight nearest to it, then trim (NNM; arXiv 2302.01772)."""
    updates, weights, faulty = proposals.updates, proposals.weights, proposals.faulty
    near = _take_first(compute_squares(updates, updates), weights, faulty)
    mixed = near @ updates / near.sum(axis=1, keepdims=True)
    return merge_whole(proposals, _trim(mixed, weights, faulty))


def score_krum(squares: Numbers, weights: Numbers, faulty: float) -> Numbers:
    """Sum squared distances to the nearest weight: its own and the next, until only the faulty weight is left out.

    So the last neighbour, of n - f - 1, is one more than Krum as published counts; byzfl counts it too.
    """
    scores: Numbers = (_take_first(squares, weights, faulty) * squares).sum(axis=1)
    return scores


def _pick_by_krum(squares: Numbers, weights: Numbers, faulty: float) -> Numbers:
    """Pick the best by Krum among those left, again and again, until weight 2 faulty is left; give what was taken."""
    taken, total = np.zeros(len(weights)), weights.sum()
    left: Flags = np.ones(len(weights), np.bool_)
    while left.any() and (missing := (1 - 2 * faulty) * total - taken.sum()) > 1e-9 * total:
        rest = weights[left].sum()
        scores = score_krum(squares[np.ix_(left, left)], weights[left], min(faulty * total / rest, 0.5))
        best = np.flatnonzero(left)[scores.argmin()]
        taken[best], left[best] = min(weights[best], missing), False
    return taken


def _take_first(values: Numbers, weights: Numbers, left_out: float) -> Numbers:
    """Take weight in each row (M, K) from the least value on, until the share left out is left; the last in part."""
    order = np.argsort(values, axis=1, kind="stable")
    kept = _cut(weights[order], 0.0, (1 - left_out) * weights.sum(), axis=1)
    taken = np.empty_like(kept)
    np.put_along_axis(taken, order, kept, axis=1)
    return taken


def _trim(updates: Numbers, weights: Numbers, faulty: float) -> Numbers:
    order = np.argsort(updates, axis=0, kind="stable")
    total = weights.sum()
    kept = _cut(weights[order], faulty * total, (1 - faulty) * total, axis=0)
    trimmed: Numbers = (kept * np.take_along_axis(updates, order, 0)).sum(axis=0) / kept.sum(axis=0)
    return trimmed


def _cut(weights: Numbers, low: float, high: float, axis: int) -> Numbers:
    reached = np.cumsum(weights, axis=axis)
    return np.clip(reached, low, high) - np.clip(reached - weights, low, high)


def _find_medians(updates: Numbers, weights: Numbers) -> Numbers:
    order = np.argsort(updates, axis=0, kind="stable")
    reached = np.cumsum(weights[order], axis=0)
    middle = (reached < reached[-1] * (0.5 - 1e-12)).sum(axis=0)[None]
    medians: Numbers = np.take_along_axis(updates, np.take_along_axis(order, middle, 0), 0)[0]
    return medians
