"""Defences that clip, weigh by direction or cluster, as published."""

from dataclasses import replace

import numpy as np

from openflock.arena.defences.proposals import (
    Aggregate,
    Flags,
    Numbers,
    Proposals,
    compute_cosines,
    find_median,
    merge_accepted,
    merge_shares,
    need,
    reject_broken,
)


@reject_broken
def clip_and_noise(proposals: Proposals, limit: float = 1.0, noise: float = 1e-3) -> Aggregate:
    """Clip updates to a multiple of the median norm, average them and add noise (Sun et al. 2019, arXiv 1911.07963).

    The noise of each coordinate has `noise` of the norm to which is clipped as deviation.
    """
    clipped, norm = clip(proposals, limit)
    return _add_noise(merge_shares(clipped, proposals.weights), noise * norm, proposals.seed)


@reject_broken
def fltrust(proposals: Proposals) -> Aggregate:
    """Weigh by the cosine with a trusted update, at its length (Cao et al. 2021, arXiv 2012.13995).

    Who points away from it counts for nothing. So does a domain that the trusted rows lack.
    """
    root: Numbers = need(proposals.root, "root, an update of rows that the defender trusts")
    trust = np.maximum(compute_cosines(proposals.updates, root[None])[:, 0], 0)
    lengths = np.linalg.norm(proposals.updates, axis=1)
    scaled = proposals.updates * (np.linalg.norm(root) / np.where(lengths > 0, lengths, 1))[:, None]
    return merge_shares(replace(proposals, updates=scaled), trust * proposals.weights)


@reject_broken
def foolsgold(proposals: Proposals) -> Aggregate:
    """Weigh down who was alike with others over all rounds (Fung et al. 2018, arXiv 1808.04866, Algorithm 1).

    All coordinates are taken for indicative. The published sum of weighted updates is divided by the weights' sum, so
    that the step is one of a mean, as the others' are.
    """
    past = np.zeros_like(proposals.updates) if proposals.history is None else proposals.history
    shares = compute_foolsgold(past + proposals.updates) * proposals.weights
    return merge_shares(proposals, shares)


def compute_foolsgold(histories: Numbers) -> Numbers:
    """Compute FoolsGold's learning rates, 0 to 1, from the sums of each one's updates."""
    if len(histories) == 1:
        return np.ones(1)
    cosines = compute_cosines(histories, histories)
    np.fill_diagonal(cosines, 0)
    most = cosines.max(axis=1)
    # Pardon: who is less alike with anybody than the other is, is not the Sybil of the two.
    pardoned = np.where(most > most[:, None], cosines * (most[:, None] / np.where(most, most, 1)), cosines)
    rates: Numbers = np.clip(1 - pardoned.max(axis=1), 0, 1)
    if rates.any():
        rates /= rates.max()
        with np.errstate(divide="ignore"):
            rates = np.clip(np.log(rates) - np.log1p(-rates) + 0.5, 0, 1)
    return rates


@reject_broken
def flame(proposals: Proposals, noise: float = 1e-3) -> Aggregate:
    """Keep the cluster of the majority by direction, clip to the median norm, add noise (arXiv 2101.02281).

    Clusters updates, not whole models, of which a frozen base would be nearly all.
    """
    clipped, norm = clip(proposals, 1.0)
    chosen = find_majority_cluster(1 - compute_cosines(proposals.updates, proposals.updates))
    return _add_noise(merge_accepted(clipped, chosen), noise * norm, proposals.seed)


def find_majority_cluster(distances: Numbers) -> Flags:
    """Find what HDBSCAN finds as FLAME sets it: clusters of more than half of all, one sample, a single one allowed.

    With one sample the mutual reachability is the distance itself, so the tree is that of single linkage; of two
    parts never both hold more than half, so the tree is one cluster that others leave; who is left at the end is the
    smallest linked group of more than half. The tests compare with the whole algorithm.
    """
    count = len(distances)
    groups = np.arange(count)
    for distance in np.unique(distances[np.triu_indices(count, 1)]):
        for left, right in np.argwhere(np.triu(distances == distance, 1)):
            groups[groups == groups[right]] = groups[left]
        largest = np.bincount(groups).argmax()
        if 2 * (groups == largest).sum() > count:
            chosen: Flags = groups == largest
            return chosen
    return np.ones(count, np.bool_)


def clip(proposals: Proposals, limit: float) -> tuple[Proposals, float]:
    """Scale each update down to a multiple of the median norm; give that norm too."""
    lengths = np.linalg.norm(proposals.updates, axis=1)
    norm = limit * find_median(lengths, proposals.weights)
    factors = np.minimum(1, norm / np.where(lengths > 0, lengths, 1))
    return replace(proposals, updates=proposals.updates * factors[:, None]), norm


def _add_noise(merged: Aggregate, deviation: float, seed: int) -> Aggregate:
    noise = np.random.default_rng(seed).normal(0, 1, merged.delta.shape)
    return replace(merged, delta=merged.delta + deviation * noise)
